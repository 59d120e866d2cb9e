"""Spend: what a day costs, what it will cost, and what moved it (STATISTICS section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis.check import Check, Interval, Range, rounded
from analysis.policy import Policy
from analysis.stats.lmdi import DRIVERS, Cell, Part, decompose
from analysis.telemetry import Telemetry
from analysis.telemetry.spending import model_cells, spent, spent_by_day
from analysis.telemetry.windows import DAY, EPOCH, ResolvedWindows, Span, day_number
from analysis.views.result import ViewResult

NANO = 1e9
MIN_DAYS_FOR_WEEKDAYS = 21
MAX_MODELS = 200
OTHERS = "(all other models)"
_REST = "all other models: no JSON, and so no model's name in the cells"


@dataclass(frozen=True)
class SpendSection:
    """USD a day over all traffic of the candidate's time span. `unseen_usd` estimates what rows
    without a known cost cost, at the mean of those with one."""

    usd_per_day: Interval
    budget_usd_per_day: float | None
    burn_rate: Interval
    forecast_usd_per_day: Range
    unseen_usd: float | None


@dataclass(frozen=True)
class Effect:
    """`nano_usd_days`: the same as an exact integer, in nano-USD × days²."""

    driver: str
    usd_per_day: float
    nano_usd_days: int


@dataclass(frozen=True)
class SliceEffect:
    slice: dict[str, str | None]
    driver: str
    usd_per_day: float
    nano_usd_days: int


@dataclass(frozen=True)
class DriversSection:
    """The change of spend between the windows, and its exact parts. `reason`: why it is null."""

    change_usd_per_day: float | None
    effects: tuple[Effect, ...]
    by_slice: tuple[SliceEffect, ...]
    change_nano_usd_days: int | None
    reason: str | None


def assess_spend(
    telemetry: Telemetry, policy: Policy
) -> ViewResult[tuple[SpendSection, DriversSection]]:
    """Spend a day with its interval and forecast, its check, and the drivers of its change."""
    drivers, driver_table, note = _drivers(telemetry)
    budget = policy.spend.budget_usd_per_day
    reason = telemetry.unusable("cost_usd")
    if reason is not None:
        section = SpendSection(
            Interval.unknown(), budget, Interval.unknown(), Range(None, None, None), None
        )
        days = pd.DataFrame({"day": [], "usd": [], "coverage": []})
    else:
        days = _daily(telemetry)
        section = _spend(telemetry, days, budget)
    return ViewResult(
        section=(section, drivers),
        checks=(_check(section, reason),),
        tables={"spend_drivers.csv": driver_table},
        series={"spend_days": days, "drivers": _driver_series(drivers)},
        notes=tuple(told for told in (reason, note) if told),
    )


def _daily(telemetry: Telemetry) -> pd.DataFrame:
    """day (UTC midnight), usd, coverage: every day of the span, those without traffic as zero.

    coverage: the share of the day that lies within the window and in no exclusion.
    """
    by_day = spent_by_day(telemetry)
    coverage = _coverage(telemetry.windows, telemetry.windows.candidate)
    return pd.DataFrame(
        {
            "day": [pd.Timestamp(d, unit="D", tz="UTC") for d in coverage],
            "usd": [by_day.get(d, 0) / NANO for d in coverage],
            "coverage": list(coverage.values()),
        }
    )


def _coverage(windows: ResolvedWindows, span: Span) -> dict[int, float]:
    """Day number → the share of that day that lies within `span` and in no exclusion."""
    out = {}
    for day in range(day_number(span.start), math.ceil((span.end - EPOCH) / DAY)):
        begin, end = max(span.start, EPOCH + day * DAY), min(span.end, EPOCH + (day + 1) * DAY)
        piece = Span(begin, end)
        out[day] = piece.days - windows.excluded_days(piece)
    return out


def _spend(telemetry: Telemetry, days: pd.DataFrame, budget: float | None) -> SpendSection:
    found = spent(telemetry)
    n_rows, n_known, total = found.n_rows, found.n_known, found.nano_usd
    squares = found.cluster_squares
    length = telemetry.candidate_days
    if not n_known:
        nothing = Interval.unknown()
        return SpendSection(nothing, budget, nothing, Range(None, None, None), None)
    value = total / NANO / length
    # Days that are cut short, by the window's ends or an exclusion, do not vary like whole ones.
    whole = days[days["coverage"] == 1.0]
    # Clusters arrive at random: the variance of a compound Poisson total is Σ y_c².
    variance, df = squares / NANO**2 / length**2, math.inf
    spread, spread_df = math.nan, 0
    if len(whole) >= 3:
        spread, spread_df = _day_deviation(whole)
        if spread**2 / length >= variance:
            variance, df = spread**2 / length, spread_df
    half = float(student.ppf(0.975, df)) * math.sqrt(variance)
    per_day = Interval.of(value, max(value - half, 0.0), value + half, n_known)
    forecast = Range(value, None, None)
    if spread_df > 0:
        ahead = float(student.ppf(0.975, spread_df)) * spread * math.sqrt(2 / length)
        forecast = Range(value, max(value - ahead, 0.0), value + ahead)
    burn = Interval.unknown(n_known)
    if budget is not None and per_day.low is not None and per_day.high is not None:
        burn = Interval.of(value / budget, per_day.low / budget, per_day.high / budget, n_known)
    unseen = (n_rows - n_known) * (total / n_known) / NANO if n_known else None
    return SpendSection(per_day, budget, burn, forecast, unseen)


def _day_deviation(days: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation between days and its degrees of freedom; weekdays from three weeks on."""
    usd = days["usd"].to_numpy()
    if len(usd) >= MIN_DAYS_FOR_WEEKDAYS:
        weekday = days["day"].dt.day_of_week.to_numpy()
        means = np.array(
            [usd[weekday == k].mean() if (weekday == k).any() else 0.0 for k in range(7)]
        )
        residual = usd - means[weekday]
        df = len(usd) - len(set(weekday.tolist()))
        return math.sqrt(float((residual**2).sum()) / df), df
    return float(usd.std(ddof=1)), len(usd) - 1


def _check(spend: SpendSection, reason: str | None) -> Check:
    burn, severity = spend.burn_rate, "hold"
    outcome, action = "inconclusive", "Wait for more traffic, or provide what is missing."
    if spend.budget_usd_per_day is None:
        severity, reason = "note", "the policy sets no budget (spend.budget_usd_per_day)"
        sentence, action = (
            f"Spend is not judged: {reason}.",
            "Set spend.budget_usd_per_day in the policy if spend should be judged.",
        )
    elif reason is not None or burn.value is None or burn.low is None or burn.high is None:
        reason = reason or "no interaction has a known cost (cost_usd)"
        sentence = f"Spend cannot be judged: {reason}."
    else:
        day = spend.usd_per_day
        story = (
            f"Spend is {day.value:.2f} USD a day (95 % interval {day.low:.2f} to {day.high:.2f}) "
            f"against a budget of {spend.budget_usd_per_day:g} USD a day"
        )
        if rounded(burn.low) > 1:
            outcome, sentence = "fail", f"{story}: over budget."
            action = (
                "Read the drivers on the budgets page, and cut the largest or raise the budget."
            )
        elif rounded(burn.high) <= 1:
            outcome, sentence, action = "pass", f"{story}: within budget.", "Nothing to do."
        else:
            reason = "the interval holds the budget"
            sentence = f"{story}: whether it is within budget is not decided."
    return Check(
        id="budget.spend",
        view="budget",
        outcome=outcome,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        value=burn.value,
        low=burn.low,
        high=burn.high,
        limit=1.0,
        comparison="at_most",
        unit="burn rate",
        support=burn.support,
        p_value=None,
        p_adjusted=None,
        reason=reason if outcome == "inconclusive" else None,
        sentence=sentence,
        action=action,
    )


# ── drivers ──────────────────────────────────────────────────────────────────────────────

_DRIVER_COLUMNS = ["slice", "driver", "usd_per_day", "nano_usd_days"]


def _drivers(telemetry: Telemetry) -> tuple[DriversSection, pd.DataFrame, str | None]:
    """The section, the table behind it, and a note where models are taken together."""
    reason = telemetry.unusable("cost_usd")
    if telemetry.baseline is None:
        reason = "this is a first release: there is no baseline to compare with"
    elif telemetry.windows.by_release or (
        telemetry.windows.baseline is not None and telemetry.windows.baseline.release_id
    ):
        reason = "releases share the traffic: a change of spend a day is not theirs"
    if reason is not None:
        empty = pd.DataFrame(columns=_DRIVER_COLUMNS)
        return DriversSection(None, (), (), None, reason), empty, None
    keys = tuple(c for c in ("model_provider", "model_name") if telemetry.has(c))
    cells, labels = model_cells(telemetry, keys)
    candidate, baseline = _merged(cells[1], cells[0])
    labels[_REST] = dict.fromkeys(keys, OTHERS)
    scale, time1, time0 = _times(telemetry)
    tokens = telemetry.has("total_tokens") or telemetry.has("prompt_tokens", "completion_tokens")
    change, parts = decompose(candidate, baseline, time1, time0, tokens_known=tokens)

    def usd(amount: int) -> float:
        return amount / (time1 * time0) * scale / NANO

    def total(driver: str) -> int:
        return sum(p.amount for p in parts if p.driver == driver)

    section = DriversSection(
        change_usd_per_day=usd(change),
        effects=tuple(Effect(d, usd(total(d)), total(d)) for d in DRIVERS),
        by_slice=tuple(
            SliceEffect(labels[p.name], p.driver, usd(p.amount), p.amount) for p in _ranked(parts)
        ),
        change_nano_usd_days=change,
        reason=None if tokens else "the telemetry has no tokens: they stand under price",
    )
    table = pd.DataFrame(
        [
            {
                **labels[p.name],
                "driver": p.driver,
                "usd_per_day": usd(p.amount),
                "nano_usd_days": p.amount,
            }
            for p in _ranked(parts)
        ],
        columns=[*keys, "driver", "usd_per_day", "nano_usd_days"],
    )
    note = None
    if _REST in candidate:
        note = (
            f"What moved the spend is told of the {MAX_MODELS} models that cost most; the other "
            f"{len(labels) - 1 - MAX_MODELS:,} are taken together."
        )
    return section, table, note


def _ranked(parts: tuple[Part, ...]) -> list[Part]:
    return sorted(parts, key=lambda p: (-abs(p.amount), p.name, p.driver))


def _merged(
    candidate: dict[str, Cell], baseline: dict[str, Cell]
) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """The `MAX_MODELS` models that cost most in both windows, and all others as one cell `_REST`.

    A change of the mix among those others stands under their tokens and price.
    """
    names = set(candidate) | set(baseline)
    if len(names) <= MAX_MODELS:
        return candidate, baseline

    def cost(name: str) -> int:
        return candidate.get(name, Cell()).cost + baseline.get(name, Cell()).cost

    kept = set(sorted(names, key=lambda n: (-cost(n), n))[:MAX_MODELS])
    return _with_rest(candidate, kept), _with_rest(baseline, kept)


def _with_rest(cells: dict[str, Cell], kept: set[str]) -> dict[str, Cell]:
    others = [c for n, c in cells.items() if n not in kept]
    rest = Cell(
        sum(c.attempts for c in others),
        sum(c.first_attempts for c in others),
        sum(c.tokens for c in others),
        sum(c.cost for c in others),
    )
    return {**{n: c for n, c in cells.items() if n in kept}, _REST: rest}


def _times(telemetry: Telemetry) -> tuple[float, int, int]:
    """(units a day, D₁, D₀): lengths in days where whole, else in seconds.

    The baseline's length counts each weekday with its weight.
    """
    windows = telemetry.windows
    assert windows.baseline is not None
    days1, days0 = telemetry.candidate_days, telemetry.baseline_days
    if any(w != 1 for w in windows.weekday_weights):
        days0 = sum(
            windows.weekday_weights[(day + 3) % 7] * share
            for day, share in _coverage(windows, windows.baseline).items()
        )
    if days1.is_integer() and days0.is_integer():
        return 1.0, int(days1), int(days0)
    return 86_400.0, round(days1 * 86_400), round(days0 * 86_400)


def _driver_series(drivers: DriversSection) -> pd.DataFrame:
    """driver, usd_per_day: the waterfall, in the order of the drivers."""
    return pd.DataFrame(
        [(e.driver, e.usd_per_day) for e in drivers.effects], columns=["driver", "usd_per_day"]
    )
