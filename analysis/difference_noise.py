"""Whether the headline figures of two artifacts differ beyond noise.

An artifact holds each figure with its 95 % interval and no rows. The variance of a difference is recovered
from the two intervals (method of variance estimates recovery: Zou & Donner 2008, eqs 9 and 10), towards
the side on which the other value lies: on the log scale for costs and latencies, else as they stand. All
p-values of one comparison are adjusted together (Holm 1979): of artifacts that do not truly differ, at
most `ERROR_RATE` show any figure beyond noise.

- Only windows that do not overlap in time are judged: what they share moves both figures, and how much is
  not in the artifacts. Users of both windows make the difference less uncertain than assumed here.
- A rate's interval knows sessions and users, not days. Windows at different times differ by their days as
  well: the interval is widened by what the artifact's own change between its windows showed days to add
  (STATISTICS section 1). Arms that ran at the same time tell nothing of days, and are not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from analysis.check import finite, rounded
from analysis.policy_types import utc
from analysis.stats.multiple import holm
from analysis.stats.needed import QUANTILE_975

Body = Mapping[str, Any]
Unit = Literal["rate", "burn", "usd", "ms", "usd_per_day"]
Verdict = Literal["beyond_noise", "within_noise", "not_judged"]
ERROR_RATE = 0.05
_LOG: frozenset[Unit] = frozenset({"usd", "ms"})


@dataclass(frozen=True)
class Figure:
    """One figure of one artifact. check: the id of the check on it; definition: what must be the same
    for two of them to mean the same; days: by what the days between windows multiply its half-widths,
    None where that is not known; twin: the figure that it is a multiple of, which it is judged with."""

    name: str
    unit: Unit
    check: str
    value: float | None
    low: float | None
    high: float | None
    definition: Any
    days: float | None
    twin: str | None = None


@dataclass(frozen=True)
class FigureChange:
    """A figure in both artifacts.

    change, low, high: after / before of costs and latencies, else after − before, with its 95 %
    interval. p_value: two-sided, p_adjusted after Holm over the figures that are judged. All None where
    it is not judged, for `reason`; the change alone is there where both values are.
    """

    name: str
    unit: Unit
    check: str
    before: float | None
    after: float | None
    change: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str | None


def figure_changes(before: Body, after: Body) -> tuple[FigureChange, ...]:
    """Every headline figure that either artifact holds, in the order of the artifact."""
    old, new = figures(before), figures(after)
    overlap = why_not_independent(before, after)
    made = [
        _compared(name, old.get(name), new.get(name), overlap)
        for name in [*new, *(name for name in old if name not in new)]
    ]
    twins = {name: one.twin for name, one in new.items() if one.twin is not None}
    alone = judged([one for one in made if one.name not in twins])
    verdicts = {one.name: one for one in alone}
    return tuple(
        _like(one, verdicts[twins[one.name]]) if one.name in twins else verdicts[one.name]
        for one in made
    )


def _like(change: FigureChange, twin: FigureChange) -> FigureChange:
    """A multiple of another figure with that one's verdict: one question is asked once."""
    if change.p_value is None:
        return change
    judged_with = ("p_value", "p_adjusted", "verdict", "reason")
    return replace(change, **{name: getattr(twin, name) for name in judged_with})


def judged(changes: Sequence[FigureChange]) -> tuple[FigureChange, ...]:
    """The changes with their verdicts, at one error rate for all of them."""
    family = {c.name: c.p_value for c in changes if c.p_value is not None}
    adjusted = dict(zip(family, holm(list(family.values())), strict=True)) if family else {}
    out = []
    for c in changes:
        p = adjusted.get(c.name)
        if p is None:
            out.append(c)
            continue
        verdict: Verdict = "beyond_noise" if rounded(float(p)) < ERROR_RATE else "within_noise"
        out.append(replace(c, p_adjusted=rounded(float(p)), verdict=verdict))
    return tuple(out)


def why_not_independent(before: Body, after: Body) -> str | None:
    """Why the two candidate windows are no two samples, or None where they are."""
    spans = [body["windows"]["candidate"] for body in (before, after)]
    try:
        (old_start, old_end), (new_start, new_end) = (
            (
                utc(datetime.fromisoformat(one["start_utc"])),
                utc(datetime.fromisoformat(one["end_utc"])),
            )
            for one in spans
        )
    except ValueError:
        return "the times of a candidate window cannot be read"
    if old_start < new_end and new_start < old_end:
        return "the candidate windows overlap in time, so they are not independent"
    return None


def figures(body: Body) -> dict[str, Figure]:
    """The headline figures of an artifact by name: health, burn rates, spend a day."""
    health, budget = body["views"]["health"], body["views"]["budget"]
    slos = _objectives(body["policy"]["settings"])
    by_days = body["windows"]["comparison"] == "before_after"
    found = []
    widened: list[float] = []
    for name, interval in health["candidate"].items():
        unit = _health_unit(name)
        days = 1.0 if by_days else None
        if unit == "rate":
            days = _days_add(
                *(health[window][name] for window in ("baseline", "candidate", "change"))
            )
            days = days if by_days else None
            widened += [] if days is None else [days]
        definition = (
            (slos.get("latency") or {}).get("bad") if name.startswith("latency_b") else None
        )
        check = "health.cost_usd" if unit == "usd" else f"health.{name}"
        found.append(_figure(name, unit, check, interval, definition, days))
    # Of an objective's own days nothing is known: those of the rates above stand for them.
    widest = max(widened, default=None)
    for slo in budget["slos"]:
        name = slo["name"]
        own = slos.get(name) or {}
        definition = {key: own.get(key) for key in ("bad", "target")}
        twin = "failure_rate" if own.get("bad") == "is_failure" else None
        if name == "latency":
            twin = "latency_breach_rate"
        burn = _figure(
            f"burn_rate.{name}", "burn", f"budget.{name}", slo["burn_rate"], definition, widest
        )
        found.append(replace(burn, twin=twin if twin in health["candidate"] else None))
    found.append(
        _figure(
            "usd_per_day", "usd_per_day", "budget.spend", budget["spend"]["usd_per_day"], None, 1.0
        )
    )
    return {one.name: one for one in found}


def _objectives(settings: Mapping[str, Any]) -> dict[Any, Mapping[str, Any]]:
    """The policy's objectives by name. Of an artifact the schema leaves the settings open."""
    listed = settings.get("slos")
    known = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return {one["name"]: one for one in known if isinstance(one.get("name"), str)}


def _health_unit(name: str) -> Unit:
    return "rate" if name.endswith("_rate") else "usd" if "_usd" in name else "ms"


def _figure(
    name: str, unit: Unit, check: str, interval: Body, definition: Any, days: float | None
) -> Figure:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    return Figure(name, unit, check, value, low, high, definition, days)


def _days_add(baseline: Body, candidate: Body, change: Body) -> float | None:
    """Half-width of a change over that of its two windows taken as independent; at least 1."""
    parts = [(one["value"], one["low"], one["high"]) for one in (baseline, candidate, change)]
    if any(x is None for part in parts for x in part):
        return None
    (_, low0, high0), (_, low1, high1), (_, low, high) = parts
    alone = math.hypot(high0 - low0, high1 - low1)
    return max(1.0, (high - low) / alone) if alone > 0 else None


def _compared(
    name: str, old: Figure | None, new: Figure | None, overlap: str | None
) -> FigureChange:
    one = new or old
    assert one is not None
    before, after = (None if f is None else f.value for f in (old, new))
    blank = FigureChange(
        name, one.unit, one.check, before, after,
        None, None, None, None, None, "not_judged", None,
    )  # fmt: skip
    if old is None or new is None:
        return replace(blank, reason=f"only the {'second' if old is None else 'first'} holds it")
    if before is None or after is None:
        return replace(blank, reason="not known in both")
    is_log = one.unit in _LOG
    if is_log and (before <= 0 or after <= 0):
        return replace(blank, reason="not positive in both")
    change = finite(after / before if is_log else after - before)
    if change is None:
        return replace(blank, reason="too large to be compared")
    known = replace(blank, change=change)
    if old.definition != new.definition:
        return replace(known, reason="the two policies define it otherwise")
    if overlap is not None:
        return replace(known, reason=overlap)
    if old.days is None or new.days is None:
        return replace(known, reason="how much days differ is not in both artifacts")
    reach = [_reaches(f, is_log) for f in (old, new)]
    if reach[0] is None or reach[1] is None:
        return replace(known, reason="without an interval in both")
    (down0, up0), (down1, up1) = reach[0], reach[1]
    effect = math.log(after / before) if is_log else after - before
    below, above = math.hypot(down1, up0), math.hypot(up1, down0)
    towards_none = below if effect > 0 else above
    if towards_none <= 0:
        return replace(known, reason="without an interval in both")
    limits = (effect - below, effect + above)
    low, high = (math.exp(min(x, 700.0)) for x in limits) if is_log else limits
    p = math.erfc(abs(effect) / towards_none * QUANTILE_975 / math.sqrt(2.0))
    return replace(known, low=rounded(low), high=rounded(high), p_value=rounded(p))


def _reaches(f: Figure, is_log: bool) -> tuple[float, float] | None:
    """How far the interval reaches below and above the value, days included."""
    value, low, high, days = f.value, f.low, f.high, f.days
    if value is None or low is None or high is None or days is None:
        return None
    if is_log:
        if low <= 0:
            return None
        value, low, high = math.log(value), math.log(low), math.log(high)
    return days * max(0.0, value - low), days * max(0.0, high - value)
