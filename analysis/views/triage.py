"""Triage: which interactions people should review, what that saves, and whether the queue copes.

Fitted, calibrated and decided on data before the candidate window, in this order of time; reported
on all of the candidate window (STATISTICS section 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from analysis.check import Check, Comparison, Outcome, Severity, rounded
from analysis.policy import Bad, Policy
from analysis.stats.intervals import t_quantile
from analysis.telemetry import Telemetry
from analysis.telemetry.history import Parts, forget, split
from analysis.views import triage_tables
from analysis.views.result import ViewResult
from analysis.views.triage_data import (
    CALIBRATE,
    CHOOSE,
    FIT,
    MAX_CALIBRATE_ROWS,
    MAX_FIT_ROWS,
    PART_SHARES,
    Reader,
)
from analysis.views.triage_model import RiskModel, calibrate, feature_columns, fit
from analysis.views.triage_policy import (
    Costs,
    Forecast,
    PolicyResult,
    Queue,
    Scores,
    choose_threshold,
    fits,
    forecast,
    lower_bound,
    outcome,
    reviewed_by,
    row_costs,
    saving,
)
from analysis.views.triage_quality import Quality, quality

Mode = Literal["selective", "review_all", "review_none"]
Bools = npt.NDArray[np.bool_]

MIN_ROWS, MIN_POSITIVES, MIN_PART_POSITIVES, MIN_CHOOSE_DAYS = 500, 50, 10, 3
POLICIES = ("selected", "review_all", "review_none", "random_at_capacity", "top_by_capacity")


@dataclass(frozen=True)
class Workload:
    """Reviews a day that the mode asks for, before capacity.

    reviews_per_day_*: seen in the window. predicted_*, overflow_probability: a day to come, from
    the window's days. history_*: what the days before the window predicted, by which the mode was
    chosen.
    """

    reviews_per_day_p50: float | None
    reviews_per_day_p90: float | None
    capacity_per_day: float
    predicted_p50: float | None
    predicted_p90: float | None
    overflow_probability: float | None
    history_p50: float | None = None
    history_p90: float | None = None


@dataclass(frozen=True)
class Rival:
    """A policy without a model, and what the model saved against it on the part that chose, with
    the one-sided 95 % lower bound."""

    name: str
    saving_usd: float
    low: float


@dataclass(frozen=True)
class TriageSection:
    """`threshold`: rows at or above it are reviewed; 0 all, 1 none. `reason`: why it is null."""

    label: str
    decide_at: str
    threshold: float | None
    operating_mode: Mode | None
    quality: Quality
    workload: Workload
    policies: tuple[PolicyResult, ...]
    features: tuple[str, ...]
    n_fit: int
    n_calibrate: int
    n_choose: int
    rivals: tuple[Rival, ...]
    reason: str | None


@dataclass(frozen=True)
class Learned:
    """A calibrated model with the queues that it was decided on."""

    model: RiskModel
    calibrating: Scores
    choosing: Queue
    n_fit: int
    n_calibrate: int

    def demand(self, threshold: float) -> npt.NDArray[np.float64]:
        """Reviews a day on the days that the fit did not see, whole weeks where there is one."""
        days = [scores.demand(threshold) for scores in (self.calibrating, self.choosing)]
        return last_weeks(np.concatenate(days))


@dataclass(frozen=True)
class Choice:
    """The mode and the threshold, fixed before the candidate window."""

    mode: Mode
    threshold: float
    rivals: tuple[Rival, ...]
    ahead: Forecast


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[TriageSection]:
    """The model, its mode, its workload and what it saves, with `triage.queue` and `.mode`."""
    settings = policy.triage
    costs = Costs(
        settings.review_cost_usd,
        settings.missed_cost_usd,
        settings.capacity_per_day,
        settings.queue_p90_guard,
    )
    if not telemetry.has(settings.label):
        reason = telemetry.unusable(settings.label) or f"there is no column {settings.label}"
        return _without(telemetry, policy, costs, reason)
    rule, notes = _rule(telemetry, policy)
    reader = Reader(telemetry, settings.label, rule)
    try:
        with threadpool_limits(limits=1):
            return _assess(reader, policy, costs, notes)
    finally:
        forget(telemetry.engine)


def _assess(
    reader: Reader, policy: Policy, costs: Costs, notes: tuple[str, ...]
) -> ViewResult[TriageSection]:
    telemetry, settings = reader.telemetry, policy.triage
    parts = split(telemetry.engine, telemetry.windows, PART_SHARES)
    learned = _learn(reader, parts, policy)
    model = None if isinstance(learned, str) else learned.model
    window, ids = reader.queue(model, None, parts)
    if isinstance(learned, str) or model is None:
        return _without(telemetry, policy, costs, str(learned), window, notes)
    choice = choose(learned, costs)
    wanted = _wanted(window, choice)
    ahead = forecast(last_weeks(window.daily(wanted)[window.full_days]), costs.capacity_per_day)
    if choice.mode == "review_none":
        ahead = Forecast(0.0, 0.0, 0.0, 0.0, 0.0)
    reviewed = {
        name: reviewed_by(window, costs, _policy_name(name, choice.mode), choice.threshold)
        for name in POLICIES
    }
    seen = window.daily(wanted)[window.full_days]
    section = TriageSection(
        label=settings.label,
        decide_at=settings.decide_at,
        threshold=choice.threshold,
        operating_mode=choice.mode,
        quality=quality(window),
        workload=Workload(
            _quantile(seen, 0.5),
            _quantile(seen, 0.9),
            costs.capacity_per_day,
            ahead.p50,
            ahead.p90,
            ahead.overflow,
            choice.ahead.p50,
            choice.ahead.p90,
        ),
        policies=tuple(outcome(window, costs, name, reviewed[name]) for name in POLICIES),
        features=tuple(f.name for f in model.features),
        n_fit=learned.n_fit,
        n_calibrate=learned.n_calibrate,
        n_choose=len(learned.choosing.risk),
        rivals=choice.rivals,
        reason=None,
    )
    unusable = telemetry.unusable(settings.label)
    history = _wanted(learned.choosing, choice)
    curve = triage_tables.threshold_curve(
        {"choose": learned.choosing, "candidate": window}, learned.choosing, choice.threshold, costs
    )
    return ViewResult(
        section=section,
        checks=(
            _queue_check(len(window.risk), ahead, choice.mode, costs, unusable),
            _mode_check(section, window, choice, reviewed["selected"], costs, unusable),
        ),
        tables={
            "triage_threshold_curve.csv": curve,
            "triage_actions.csv": triage_tables.actions(
                telemetry, model, window, ids, reviewed["selected"], costs
            ),
        },
        series={
            "triage_curve": curve,
            "triage_reliability": triage_tables.reliability_bins(window),
            "triage_days": triage_tables.daily_queue(
                {"history": (learned.choosing, history), "candidate": (window, wanted)}, costs
            ),
        },
        notes=notes,
    )


# ── learning and choosing, before the window ─────────────────────────────────────────────


def _learn(reader: Reader, parts: Parts, policy: Policy) -> Learned | str:
    """The calibrated model, or why there is none."""
    telemetry, settings = reader.telemetry, policy.triage
    if not parts.complete:
        return (
            "the model needs labelled history before the candidate window; the telemetry has "
            f"{sum(parts.n_rows):,} interactions there, on too few days"
        )
    columns = feature_columns(
        telemetry.contract, telemetry.columns, settings.decide_at, settings.label
    )
    if not columns:
        return f"no column of role context, action or cost is known at {settings.decide_at}"
    names = tuple(c.name for c in columns)
    fit_rows, fit_bad = reader.sample(FIT, parts, names, MAX_FIT_ROWS)
    cal_rows, cal_bad = reader.sample(CALIBRATE, parts, names, MAX_CALIBRATE_ROWS)
    reason = _too_little(fit_bad, cal_bad)
    if reason is not None:
        return reason
    model = calibrate(fit(fit_rows, fit_bad, columns), cal_rows, cal_bad)
    calibrating = reader.scores(model, CALIBRATE, parts)
    choosing, _ = reader.queue(model, CHOOSE, parts)
    reason = _too_little(fit_bad, cal_bad, choosing)
    if reason is not None:
        return reason
    return Learned(model, calibrating, choosing, len(fit_bad), len(cal_bad))


def _too_little(fit_bad: Bools, cal_bad: Bools, choosing: Queue | None = None) -> str | None:
    shares = [("fit", fit_bad), ("calibrate", cal_bad)]
    if choosing is not None:
        shares.append(("choose", choosing.bad[choosing.known]))
        everything = np.concatenate([bad for _, bad in shares])
        positives = int(everything.sum())
        if len(everything) < MIN_ROWS or positives < MIN_POSITIVES:
            return (
                f"the history before the candidate window has {len(everything):,} labelled "
                f"interactions, {positives:,} of them positive; the model needs {MIN_ROWS:,} and "
                f"{MIN_POSITIVES:,}"
            )
        if int(choosing.full_days.sum()) < MIN_CHOOSE_DAYS:
            return f"the part of the history that chooses has fewer than {MIN_CHOOSE_DAYS} days"
    for name, bad in shares:
        fewest = min(int(bad.sum()), int((~bad).sum()))
        if fewest < MIN_PART_POSITIVES:
            return (
                f"the part of the history that is used to {name} has {len(bad):,} labelled "
                f"interactions, {int(bad.sum()):,} of them positive; at least {MIN_PART_POSITIVES} "
                "positive and as many negative ones are needed"
            )
    return None


def choose(learned: Learned, costs: Costs) -> Choice:
    """The mode and threshold, from the part of the history that neither fitted nor calibrated.

    *selective* only where the lower bound of the paired saving is above 0 against each policy
    without a model that is feasible, and the demand fits; else review all or nothing, whichever is
    cheaper and feasible. The threshold looks at no label, so the test of its saving is unbiased.
    """
    queue = learned.choosing
    volume_fits = fits(learned.demand(0.0), costs)
    risks = np.concatenate([learned.calibrating.risk, queue.risk])
    threshold = choose_threshold(risks, learned.demand, costs)
    names = ["review_none", "random_at_capacity"]
    names += ["review_all"] if volume_fits else []
    names += ["rule"] if queue.rule is not None else []
    others = {name: reviewed_by(queue, costs, name, None) for name in names}
    rivals: tuple[Rival, ...] = ()
    if threshold is not None:
        reviewed = reviewed_by(queue, costs, "selected", threshold)
        saved = {name: saving(queue, costs, than, reviewed) for name, than in others.items()}
        rivals = tuple(Rival(name, s[0], lower_bound(s)) for name, s in saved.items())
        if all(rounded(rival.low) > 0 for rival in rivals):
            ahead = forecast(learned.demand(threshold), costs.capacity_per_day)
            return Choice("selective", threshold, rivals, ahead)
    totals = {
        name: float(row_costs(queue, costs, others[name]).sum())
        for name in ("review_none", "review_all")
        if name in others
    }
    if volume_fits and totals["review_all"] < totals["review_none"]:
        ahead = forecast(learned.demand(0.0), costs.capacity_per_day)
        return Choice("review_all", 0.0, rivals, ahead)
    return Choice("review_none", 1.0, rivals, Forecast(0.0, 0.0, 0.0, 0.0, 0.0))


def last_weeks(daily: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The last whole weeks, so that every weekday weighs the same; all days below one week."""
    whole = len(daily) // 7 * 7
    return daily[len(daily) - whole :] if whole else daily


def _wanted(queue: Queue, choice: Choice) -> Bools:
    """Rows that the mode asks to review, before capacity."""
    return np.asarray(queue.risk >= choice.threshold)


def _policy_name(name: str, mode: Mode) -> str:
    return mode if name == "selected" and mode != "selective" else name


def _rule(telemetry: Telemetry, policy: Policy) -> tuple[Bad | None, tuple[str, ...]]:
    """The policy's rule where it may be used: its column is there, and known in time."""
    given, moment = policy.triage.rule, policy.triage.decide_at
    if given is None:
        return None, ()
    rule = given if isinstance(given, Bad) else Bad(column=given)
    if not telemetry.has(rule.column):
        return None, (f"triage.rule names “{rule.column[:60]}”, which the telemetry lacks.",)
    if not telemetry.contract.knowable(rule.column, moment):
        return None, (f"triage.rule names “{rule.column[:60]}”, which is not known at {moment}.",)
    return rule, ()


# ── reporting, on the window ─────────────────────────────────────────────────────────────


def _quantile(daily: npt.NDArray[np.float64], level: float) -> float | None:
    return float(np.quantile(daily, level, method="inverted_cdf")) if len(daily) else None


def _without(
    telemetry: Telemetry,
    policy: Policy,
    costs: Costs,
    reason: str,
    window: Queue | None = None,
    notes: tuple[str, ...] = (),
) -> ViewResult[TriageSection]:
    """The view without a model: what needs none is still told."""
    told = []
    for name in POLICIES:
        if window is None or name in ("selected", "top_by_capacity"):
            told.append(PolicyResult.unknown(name, 0))
        else:
            told.append(outcome(window, costs, name, reviewed_by(window, costs, name, None)))
    section = TriageSection(
        label=policy.triage.label,
        decide_at=policy.triage.decide_at,
        threshold=None,
        operating_mode=None,
        quality=Quality.unknown(),
        workload=Workload(None, None, costs.capacity_per_day, None, None, None),
        policies=tuple(told),
        features=(),
        n_fit=0,
        n_calibrate=0,
        n_choose=0,
        rivals=(),
        reason=reason,
    )
    sentence = f"The review queue is not predicted: {reason}."
    action = "Provide labelled telemetry from before the candidate window."
    support = 0 if window is None else len(window.risk)
    return ViewResult(
        section=section,
        checks=(
            _check(
                "triage.queue",
                "inconclusive",
                "hold",
                None,
                None,
                None,
                costs.guard_p90,
                "at_most",
                "reviews a day",
                support,
                reason,
                sentence,
                action,
            ),
            _check(
                "triage.mode",
                "inconclusive",
                "note",
                None,
                None,
                None,
                0.0,
                "at_least",
                "USD",
                support,
                reason,
                f"No mode of triage is chosen: {reason}.",
                action,
            ),
        ),
        tables={
            "triage_threshold_curve.csv": triage_tables.empty(triage_tables.CURVE_COLUMNS),
            "triage_actions.csv": triage_tables.empty(triage_tables.ACTION_COLUMNS),
        },
        notes=(*notes, sentence),
    )


def _queue_check(
    support: int, ahead: Forecast, mode: Mode, costs: Costs, unusable: str | None
) -> Check:
    guard, reason = costs.guard_p90, unusable
    story = (
        f"On one day in ten at least {ahead.p90:.0f} reviews are due in mode {mode}"
        if ahead.low is None or ahead.high is None
        else f"On one day in ten at least {ahead.p90:.0f} reviews are due in mode {mode} "
        f"(95 % interval {ahead.low:.0f} to {ahead.high:.0f}), against a guard of {guard:g}"
    )
    result: Outcome = "inconclusive"
    action = "Wait for more days, or raise the capacity and the guard."
    if reason is not None:
        sentence = f"The review queue is not judged: {reason}."
    elif mode == "review_none":
        result, action = "pass", "Nothing to do."
        sentence = "Nothing is queued for review: the mode chosen is to review nothing."
    elif ahead.low is None or ahead.high is None:
        reason = "the window has fewer than three days"
        sentence = f"{story}: {reason}."
    elif rounded(ahead.low) > guard:
        result, sentence = "fail", f"{story}: the queue will overflow."
        action = "Raise the capacity or the threshold before the release takes more traffic."
    elif rounded(ahead.high) <= guard:
        result, sentence, action = "pass", f"{story}: the queue copes.", "Nothing to do."
    else:
        reason = "the interval holds the guard"
        sentence = f"{story}: whether it copes is not decided."
    return _check(
        "triage.queue",
        result,
        "hold",
        ahead.p90,
        ahead.low,
        ahead.high,
        guard,
        "at_most",
        "reviews a day",
        support,
        reason,
        sentence,
        action,
    )


def _mode_check(
    section: TriageSection,
    window: Queue,
    choice: Choice,
    reviewed: npt.NDArray[np.float64],
    costs: Costs,
    unusable: str | None,
) -> Check:
    """Whether the mode kept its promise in the window: saving against the cheapest rival there."""
    support = int(window.known.sum())
    value = low = high = None
    reason = unusable
    result: Outcome = "pass"
    action = "Nothing to do."
    if reason is not None:
        result, sentence = "inconclusive", f"The mode of triage is not judged: {reason}."
        action = "Provide the missing labels."
    elif choice.mode != "selective":
        which = "all that arrives" if choice.mode == "review_all" else "nothing"
        sentence = f"Review {which}: before the window, the model was not surely cheaper than working without it."
    else:
        others = {r.name: reviewed_by(window, costs, r.name, None) for r in choice.rivals}
        best = min(others, key=lambda n: (float(row_costs(window, costs, others[n]).sum()), n))
        value, error, df = saving(window, costs, others[best], reviewed)
        half = t_quantile(0.975, df) * error
        low, high = value - half, value + half
        story = (
            f"Reviewing at a risk of {choice.threshold:.3g} or more saved {value:.0f} USD in the "
            f"window (95 % interval {low:.0f} to {high:.0f}) against {best}"
        )
        if rounded(low) > 0:
            sentence, action = f"{story}.", "Review the queue in triage_actions.csv."
        elif rounded(high) < 0:
            result, sentence = "fail", f"{story}: it cost more than it saved."
            action = "Stop selective review, and fit again once the new labels are in."
        else:
            result, reason = "inconclusive", "the interval of the saving holds 0"
            sentence, action = f"{story}: not decided.", "Watch the saving in the next window."
    return _check(
        "triage.mode",
        result,
        "note",
        value,
        low,
        high,
        0.0,
        "at_least",
        "USD",
        support,
        reason,
        sentence,
        action,
    )


def _check(
    id: str,
    result: Outcome,
    severity: Severity,
    value: float | None,
    low: float | None,
    high: float | None,
    limit: float,
    comparison: Comparison,
    unit: str,
    support: int,
    reason: str | None,
    sentence: str,
    action: str,
) -> Check:
    return Check(
        id=id,
        view="triage",
        outcome=result,
        severity=severity,
        value=value,
        low=low,
        high=high,
        limit=limit,
        comparison=comparison,
        unit=unit,
        support=support,
        p_value=None,
        p_adjusted=None,
        reason=reason if result == "inconclusive" else None,
        sentence=sentence,
        action=action,
    )
