"""The nearest change that turns a check, in data and in policy.

Figures move with their intervals as wide as they are: on the scale on which a check's interval is made,
a difference for rates, a ratio for all else that is above 0. That is the first order of what more or
fewer bad interactions would do, and told as *about*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from scipy import special

from analysis.check import Check, Outcome, RegressionTest, finite
from analysis.gate import Decision, Flip
from analysis.policy import LIMITS, Policy
from analysis.stats.needed import QUANTILE_975

N_NEAREST = 3
"""Checks that a release that ships is told: those nearest to stop it."""


@dataclass(frozen=True)
class Evidence:
    """What the flips are told from besides checks. n_candidate: interactions of the candidate window.

    error_rate: of the gate at this look. worst_psi: the largest stability index of a counted column, None
    where there is none.
    """

    n_candidate: int
    error_rate: float
    worst_psi: float | None = None


def flips(
    decision: Decision,
    checks: Sequence[Check],
    tests: Sequence[Check | RegressionTest],
    policy: Policy,
    evidence: Evidence,
) -> tuple[Flip, ...]:
    """What turns each check that blocks or holds; of a release that ships, what nearly stops it."""
    tested = {t.id: t for t in tests if isinstance(t, RegressionTest)}
    by_id = {c.id: c for c in checks}
    deciding = (*decision.blocking, *decision.holding)
    if deciding:
        return tuple(
            _flip(by_id[i], tested.get(i), _eased(by_id[i]), policy, evidence) for i in deciding
        )
    near = []
    for check in checks:
        becomes = _worse(check)
        if becomes is None:
            continue
        value = turning_value(check, tested.get(check.id), becomes, evidence.error_rate)
        away = None if value is None else _distance(check, value)
        if away is not None:
            near.append((away, check, becomes))
    near.sort(key=lambda n: (n[0], n[1].id))
    return tuple(
        _flip(check, tested.get(check.id), becomes, policy, evidence)
        for _, check, becomes in near[:N_NEAREST]
    )


def _eased(check: Check) -> Outcome:
    """The outcome at which a check stops deciding: an open hold check holds nothing."""
    return "inconclusive" if check.severity == "hold" and check.outcome == "fail" else "pass"


def _worse(check: Check) -> Outcome | None:
    """The outcome at which a check that lets a release ship would stop it; None of notes."""
    if check.severity == "block" and check.outcome == "pass":
        return "inconclusive"
    return "fail" if check.severity == "hold" and check.outcome != "fail" else None


def turning_value(
    check: Check, test: RegressionTest | None, becomes: Outcome, error_rate: float
) -> float | None:
    """The figure at which a check turns, its interval as wide as it is; None where no figure says it."""
    if check.value is None:
        return None
    if test is None:
        return _absolute(check, becomes)
    if test.passes_at is None and test.material_at is None:
        return 0.0 if becomes != "fail" else None  # a count of findings
    if becomes == "pass" or (check.outcome == "pass" and becomes == "inconclusive"):
        return finite(test.passes_at)
    significant = _significant_from(check, error_rate)
    if significant is None or test.material_at is None:
        return None
    return max(significant, test.material_at)


def _absolute(check: Check, becomes: Outcome) -> float | None:
    """Where the interval's one end reaches the limit: the upper one to pass a limit from above."""
    value, low, high, limit = check.value, check.low, check.high, check.limit
    if value is None or limit is None:
        return None
    if low is None or high is None:
        return limit
    passes = becomes == "pass" or (check.outcome == "pass" and becomes == "inconclusive")
    end = high if passes == (check.comparison == "at_most") else low
    if value > 0 and low > 0:
        return limit * value / end
    return limit + value - end


def _significant_from(check: Check, error_rate: float) -> float | None:
    """The change from which the adjusted p-value is below the gate's error rate."""
    p, adjusted = check.p_value, check.p_adjusted
    if p is None or adjusted is None or check.low is None or check.high is None:
        return None
    on_log = check.unit == "ratio"
    if on_log and check.low <= 0:
        return None
    low, high = (math.log(v) if on_log else v for v in (check.low, check.high))
    se = (high - low) / (2 * QUANTILE_975)
    factor = adjusted / p if p > 0 and adjusted < 1 else 1.0
    z = float(-special.ndtri(min(error_rate / max(factor, 1.0), 0.5)))
    return math.exp(z * se) if on_log else z * se


def _distance(check: Check, value: float) -> float | None:
    """How far a figure is from its turning value, in half-widths of its interval."""
    if check.value is None or check.low is None or check.high is None:
        return None
    half = (check.high - check.low) / 2
    return abs(value - check.value) / half if half > 0 else None


# ── in words ─────────────────────────────────────────────────────────────────────────────


def _flip(
    check: Check,
    test: RegressionTest | None,
    becomes: Outcome,
    policy: Policy,
    evidence: Evidence,
) -> Flip:
    value = turning_value(check, test, becomes, evidence.error_rate)
    setting, current, needed = _setting(check, test, becomes, policy, evidence)
    return Flip(
        check=check.id,
        becomes=becomes,
        value=value,
        data=_in_data(check, value, becomes, evidence),
        setting=setting,
        current=current,
        needed=needed,
        policy=None
        if setting is None
        else f"{setting}: {_plain(needed)} in the place of {_plain(current)}, all else as it is.",
    )


def _turns(check: Check, becomes: Outcome) -> str:
    if becomes != "inconclusive":
        return becomes
    return f"no longer {check.outcome}"


def _in_data(check: Check, value: float | None, becomes: Outcome, evidence: Evidence) -> str:
    turns = _turns(check, becomes)
    if check.value is None:
        return "It has no figure: what is missing must come first."
    if value is None:
        return "No figure of this check alone turns it."
    worse = "or more" if (becomes == "fail" or check.outcome == "pass") else "or less"
    if check.comparison == "at_least":
        worse = "or less" if worse == "or more" else "or more"
    if check.unit in ("slices", "features", "waivers", "rows", "share of rows"):
        noun = "columns" if check.unit == "features" else check.unit
        return f"At {value:g} {noun} in the place of {check.value:g} it would {turns}."
    shown, now = _figure(check.unit, value), _figure(check.unit, check.value)
    return (
        f"At about {shown} {worse} in the place of {now}{_counted(check, value, evidence)} it would "
        f"{turns}."
    )


def _figure(unit: str, value: float) -> str:
    if unit == "rate":
        return f"{100 * value:+.2f} points"
    if unit == "ratio":
        return f"{100 * (value - 1):+.1f} %"
    if unit == "share":
        return f"{100 * value:.2f} %"
    if unit == "burn rate":
        return f"{value:.2f} times the sustainable rate"
    return f"{value:.4g} {unit}".rstrip()


def _counted(check: Check, value: float, evidence: Evidence) -> str:
    """A change of a rate as interactions of the candidate window."""
    if check.unit not in ("rate", "share") or check.value is None or check.view != "health":
        return ""
    n = round((value - check.value) * evidence.n_candidate)
    more = "more" if n > 0 else "fewer"
    return f" ({abs(n):,} {more} bad ones of {evidence.n_candidate:,} interactions)"


_Setting = tuple[str | None, float | str | None, float | str | None]
_NONE: _Setting = (None, None, None)


def _setting(
    check: Check,
    test: RegressionTest | None,
    becomes: Outcome,
    policy: Policy,
    evidence: Evidence,
) -> _Setting:
    """The policy's key that turns a check, what it is, and what it would have to be."""
    view, _, name = check.id.partition(".")
    eased = becomes != "fail" and check.outcome != "pass"
    if test is not None and eased:
        return _of_regression(check, test, becomes, policy, evidence)
    if test is not None:
        bound = finite(test.bound)
        if check.id not in LIMITS or bound is None or check.limit is None or becomes == "fail":
            return _NONE
        return f"gate.limits.{check.id}", check.limit, outward(bound, up=False)
    if check.low is None or check.high is None or check.value is None:
        return _NONE
    # To fail the lower end decides, to pass the upper one; the limit moves there.
    to_pass = becomes == "pass" or check.outcome == "pass"
    end = check.high if to_pass == (check.comparison == "at_most") else check.low
    loosened = check.comparison == "at_most" if eased else check.comparison != "at_most"
    if view == "budget" and name == "spend" and policy.spend.budget_usd_per_day is not None:
        budget = policy.spend.budget_usd_per_day
        return "spend.budget_usd_per_day", budget, outward(budget * end, up=loosened)
    if view == "budget":
        for slo in policy.slos:
            if slo.name == name:
                target = 1 - (1 - slo.target) * end
                needed = outward(target, up=not loosened)
                return f"slos.{name}.target", slo.target, needed if 0 < needed < 1 else None
    if check.id == "triage.queue":
        return "triage.queue_p90_guard", policy.triage.queue_p90_guard, outward(end, up=loosened)
    for threshold in policy.gate.thresholds:
        if check.id == f"threshold.{threshold.name}":
            side = "max" if threshold.max is not None else "min"
            return (
                f"gate.thresholds.{threshold.name}.{side}",
                threshold.limit,
                outward(end, up=loosened),
            )
    return _NONE


def _of_regression(
    check: Check,
    test: RegressionTest,
    becomes: Outcome,
    policy: Policy,
    evidence: Evidence,
) -> _Setting:
    if check.id == "drift.high" and evidence.worst_psi is not None:
        return "drift.high.psi", policy.drift.high.psi, outward(evidence.worst_psi, up=True)
    name = check.id.removeprefix("baseline.")
    rules = policy.gate.baselines
    if check.id.startswith("baseline.") and rules is not None and check.value is not None:
        level = check.value if becomes == "inconclusive" else test.bound
        if finite(level) is None or level is None:
            return _NONE
        allowed: Mapping[str, float] = {str(k): v for k, v in rules.allowed.items()}
        return f"gate.baselines.allowed.{name}", allowed[name], outward(level, up=True)
    if check.outcome == "inconclusive" and test.p_value is not None and becomes == "pass":
        bound = finite(test.bound)
        return (
            _NONE
            if bound is None or check.limit is None
            else (f"gate.limits.{check.id}", check.limit, outward(bound, up=True))
        )
    return f"gate.severity.{check.id}", check.severity, "note"


def outward(value: float, *, up: bool) -> float:
    """`value` at three significant digits, rounded beyond it, never to it."""
    if value == 0 or not math.isfinite(value):
        return value
    # In decimals, for a number that has three digits must move by a whole one.
    exact = Decimal(repr(value))
    step = Decimal(1).scaleb(exact.adjusted() - 2)
    whole = (exact / step).to_integral_value(ROUND_FLOOR if up else ROUND_CEILING)
    return float((whole + (1 if up else -1)) * step)


def _plain(value: float | str | None) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:g}"
