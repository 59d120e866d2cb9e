"""What would settle each open check that holds: traffic, days, or a column's values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from analysis.check import Check, RegressionTest
from analysis.gate import CheckNeeds
from analysis.policy import Policy
from analysis.stats.needed import QUANTILE_80, QUANTILE_975
from analysis.views.gate_thresholds import measured, threshold_columns
from analysis.views.health_checks import MAX_WINDOWS

_More = tuple[int | None, float | None]
"""Further interactions and days; None where no traffic that can be waited for settles it."""
_NOTHING_KNOWN: _More = (None, None)


def columns_of(check_id: str, policy: Policy) -> tuple[str, ...]:
    """The interactions columns that a check's figure rests on; empty where it is about all of them."""
    view, _, rest = check_id.partition(".")
    name = rest.removesuffix(".alerts")
    latency = policy.latency_slo
    if check_id == "health.failure_rate":
        return ("is_failure",)
    if check_id == "health.latency_breach_rate":
        return () if latency is None else (latency.rule.column,)
    if check_id in ("health.cost_usd", "budget.spend"):
        return ("cost_usd",)
    if view == "budget":
        return tuple(slo.rule.column for slo in policy.slos if slo.name == name)
    if view == "triage":
        return (policy.triage.label,)
    if view == "threshold":
        return tuple(
            column
            for t in policy.gate.thresholds
            if t.name == name
            for column in threshold_columns(t, policy)
        )
    if view == "baseline":
        return measured(name, policy)
    return ()


def check_needs(
    holding: Sequence[str],
    checks: Sequence[Check],
    tests: Sequence[Check | RegressionTest],
    policy: Policy,
    *,
    days: float,
    rows: int,
    known: Mapping[str, _More],
    unusable: Callable[[str], str | None],
) -> tuple[CheckNeeds, ...]:
    """One a check that holds because it is open, in the given order.

    days, rows: length of the candidate window, and its interactions. known: further interactions and
    days by check id, where a view has worked them out. unusable: why a column cannot be used, or None.

    What more traffic settles: the further interactions, and days at current traffic, after which an open
    check is expected to be decided with a power of 80 %, at the rates seen so far.
    """
    by_id = {c.id: c for c in checks}
    tested = {t.id: t for t in tests}
    out = []
    for check_id in holding:
        check = by_id[check_id]
        if check.outcome != "inconclusive":
            continue
        label = next((c for c in columns_of(check_id, policy) if unusable(c) is not None), None)
        test = tested.get(check_id)
        if label is not None:
            more = _NOTHING_KNOWN
        elif isinstance(test, RegressionTest):
            more = _of_regression(test, days)
        else:
            more = known.get(check_id) or _of_interval(check, days, rows)
        out.append(CheckNeeds(check_id, *more, label))
    return tuple(out)


def _of_regression(test: RegressionTest, days: float) -> _More:
    if test.needs_interactions is None or test.needs_days is None:
        return _NOTHING_KNOWN
    more = max(test.needs_interactions - test.support, 1)
    return more, _tenths(max(test.needs_days - days, 0.1))


def _of_interval(check: Check, days: float, rows: int) -> _More:
    """An interval shrinks with the root of the traffic: how much until it leaves its limit out with a
    power of 0.8. None beyond ten windows, or where there is no interval."""
    if check.value is None or check.low is None or check.high is None or check.limit is None:
        return _NOTHING_KNOWN
    distance = check.limit - check.value
    half = check.high - check.value if distance > 0 else check.value - check.low
    if distance == 0 or half <= 0:
        return _NOTHING_KNOWN
    windows = (half / abs(distance) * (1 + QUANTILE_80 / QUANTILE_975)) ** 2
    if not 1 < windows <= MAX_WINDOWS:
        return _NOTHING_KNOWN
    return math.ceil((windows - 1) * rows), _tenths((windows - 1) * days)


def _tenths(days: float) -> float:
    return math.ceil(10 * days) / 10
