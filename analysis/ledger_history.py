"""Releases over time: each one's figures, and which are worse than before beyond noise.

A release is compared with the one before it, and with the median of those before it. Both say the same only
of figures that mean the same (the same objective, the same prices), of windows that share no moment:
overlapping windows are partly the same rows, and claim nothing. Intervals are widened by what days add, as
where two artifacts are compared (`difference_noise`); arms that ran side by side do not tell, and are
compared with none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Literal

from analysis import difference_noise
from analysis.ledger import Entry, Fault, Ledger
from analysis.stats.intervals import mover_difference

MEDIAN_OF = 5
"""How many releases the median is of at most; of an odd number, and of three at least."""
ERROR_RATE = 0.025
"""One-sided, over all comparisons of one release."""
_TWO_SIDED_95 = NormalDist().inv_cdf(0.975)
Kind = Literal["failure_rate", "latency_breach_rate", "cost_usd", "usd_per_day", "burn_rate"]
PLAIN: tuple[Kind, ...] = ("failure_rate", "latency_breach_rate", "cost_usd", "usd_per_day")
"""The figures that every release has, in the order in which they are shown; burn rates follow."""
SHARES = frozenset({"failure_rate", "latency_breach_rate"})
RATIOS = frozenset({"cost_usd", "usd_per_day"})
"""Compared as ratios; all other figures as differences."""


@dataclass(frozen=True)
class Figure:
    """One figure of a release with its 95 % interval; None where it is not known.

    slo: the objective of a burn rate. meaning: figures are compared where this is the same. days: by what
    the days between releases multiply its half-widths (`difference_noise.figures`); None where the artifact
    does not tell, and then the figure is compared with none.
    """

    kind: Kind
    slo: str | None
    value: float | None
    low: float | None
    high: float | None
    meaning: str
    days: float | None = 1.0

    @property
    def key(self) -> tuple[str, str | None]:
        return self.kind, self.slo

    @property
    def compared(self) -> tuple[float, float, float] | None:
        """Value, low and high as they are compared, days included: of costs the logarithms; None where one
        is not known."""
        if self.value is None or self.low is None or self.high is None or self.days is None:
            return None
        value, low, high = self.value, self.low, self.high
        if self.kind in RATIOS:
            if min(value, low, high) <= 0:
                return None
            value, low, high = math.log(value), math.log(low), math.log(high)
        return value, value - self.days * (value - low), value + self.days * (high - value)


@dataclass(frozen=True)
class Regression:
    """A figure that is worse than at a reference, beyond noise.

    against: `previous` or `median`. reference: that release's id. change, low, high: the difference, or of
    costs the ratio, with limits at `ERROR_RATE` over all comparisons of the release.
    """

    kind: Kind
    slo: str | None
    against: Literal["previous", "median"]
    reference: str
    value: float
    before: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Hotspot:
    """A finding, by what it is of. name: the slice in words."""

    name: str
    metric: str
    kind: str
    status: str


@dataclass(frozen=True)
class Severities:
    """How many columns drift, by severity; of those that count in a check."""

    high: int
    medium: int
    low: int


@dataclass(frozen=True)
class Line:
    """One release. folder: of the ledger, None where it is not recorded. week: ISO, of its last day.
    n_compared: its comparisons with earlier ones, of which `regressions` are those that are worse."""

    release_id: str
    title: str
    folder: str | None
    digest: str
    outcome: str
    headline: str
    start_utc: str
    end_utc: str
    week: str
    n_interactions: int
    figures: tuple[Figure, ...]
    hotspots: tuple[Hotspot, ...]
    drift: Severities | None
    regressions: tuple[Regression, ...] = ()
    n_compared: int = 0

    def figure(self, kind: Kind, slo: str | None = None) -> Figure | None:
        return next((f for f in self.figures if f.key == (kind, slo)), None)


@dataclass(frozen=True)
class History:
    """The lines in the order of their time, and the folders that are no sound releases.

    at_hand: the digest of the review that asks; its line is among them, recorded or not.
    """

    lines: tuple[Line, ...]
    faults: tuple[Fault, ...]
    at_hand: str | None = None

    @property
    def slos(self) -> tuple[str, ...]:
        """The objectives of all releases, in the order in which they first appear."""
        names = (f.slo for line in self.lines for f in line.figures if f.slo is not None)
        return tuple(dict.fromkeys(names))


def history(ledger: Ledger, at_hand: Mapping[str, Any] | None = None) -> History:
    """The releases of a ledger and, where it is not among them, the review at hand.

    Worse than before: the interval of the change from the release before, or from the median of the last few,
    lies above no change at one error rate over all comparisons of the release. Source: MOVER, Zou and Donner
    2008; Bonferroni.
    """
    lines: list[Line] = []
    faults = list(ledger.faults)
    for entry in ledger.entries:
        try:
            lines.append(_line(entry.body, entry.folder))
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.append(_unreadable(entry))
    if at_hand is not None and at_hand["digest"] not in {line.digest for line in lines}:
        lines.append(_line(at_hand, None))
    lines.sort(key=lambda line: (line.end_utc, line.release_id, line.folder is None))
    judged = tuple(
        replace(
            line,
            regressions=_regressions(line, lines[:place]),
            n_compared=len(_comparisons(line, lines[:place])),
        )
        for place, line in enumerate(lines)
    )
    return History(
        judged,
        tuple(sorted(faults, key=lambda f: f.folder)),
        None if at_hand is None else str(at_hand["digest"]),
    )


def _unreadable(entry: Entry) -> Fault:
    return Fault(
        entry.folder,
        entry.path,
        "its artifact lacks what a history shows; see python -m analysis verify",
    )


# ── one release ──────────────────────────────────────────────────────────────────────────


def _line(body: Mapping[str, Any], folder: str | None) -> Line:
    window, views = body["windows"]["candidate"], body["views"]
    return Line(
        release_id=str(body["release"]["id"]),
        title=str(body["release"]["title"]),
        folder=folder,
        digest=str(body["digest"]),
        outcome=str(body["decision"]["outcome"]),
        headline=str(body["decision"]["headline"]),
        start_utc=str(window["start_utc"]),
        end_utc=str(window["end_utc"]),
        week=_week(window["end_utc"]),
        n_interactions=int(window["n_interactions"]),
        figures=_figures(body),
        hotspots=tuple(
            Hotspot(_name(f["slice"]), str(f["metric"]), str(f["kind"]), str(f["status"]))
            for f in views["hotspots"]["found"]
        ),
        drift=_severities(views["drift"]["features"]),
    )


def _week(end_utc: str) -> str:
    """The ISO week of a window's last moment."""
    last = datetime.fromisoformat(end_utc) - timedelta(microseconds=1)
    year, week, _ = last.isocalendar()
    return f"{year}-W{week:02}"


def _figures(body: Mapping[str, Any]) -> tuple[Figure, ...]:
    views, settings = body["views"], body["policy"]["settings"]
    days = {name: figure.days for name, figure in difference_noise.figures(body).items()}
    health, spend = views["health"]["candidate"], views["budget"]["spend"]
    slos = {slo["name"]: _meaning(slo) for slo in settings["slos"]}
    prices = _meaning(settings["spend"]["prices"])
    burns: list[tuple[Kind, str | None, Mapping[str, Any], str, str]] = [
        (
            "burn_rate",
            slo["name"],
            slo["burn_rate"],
            slos.get(slo["name"], ""),
            f"burn_rate.{slo['name']}",
        )
        for slo in views["budget"]["slos"]
    ]
    found: list[tuple[Kind, str | None, Mapping[str, Any], str, str]] = [
        ("failure_rate", None, health["failure_rate"], "", "failure_rate"),
        ("latency_breach_rate", None, health["latency_breach_rate"], slos.get("latency", ""),
         "latency_breach_rate"),
        ("cost_usd", None, health["cost_usd_per_interaction"], prices, "cost_usd_per_interaction"),
        ("usd_per_day", None, spend["usd_per_day"], prices, "usd_per_day"),
        *burns,
    ]  # fmt: skip
    return tuple(
        Figure(
            kind,
            slo,
            _number(f["value"]),
            _number(f["low"]),
            _number(f["high"]),
            meaning,
            days[name],
        )
        for kind, slo, f, meaning, name in found
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _meaning(settings: Any) -> str:
    return json.dumps(settings, sort_keys=True)


def _name(slice_: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {'not known' if v is None else v}" for k, v in slice_.items())


def _severities(features: Sequence[Mapping[str, Any]]) -> Severities | None:
    """None where nothing was compared: a first release."""
    counted = [f["severity"] for f in features if f["counted"]]
    if not features:
        return None
    return Severities(*(counted.count(name) for name in ("high", "medium", "low")))


# ── worse than before ────────────────────────────────────────────────────────────────────


def _regressions(line: Line, before: Sequence[Line]) -> tuple[Regression, ...]:
    """What is worse at `line` than at the references among `before`, its releases in their order."""
    compared = _comparisons(line, before)
    # Bonferroni: a normal quantile for the chance of any false mark of the release.
    quantile = NormalDist().inv_cdf(1 - ERROR_RATE / len(compared)) if compared else 0.0
    found = (
        _worse(figure, reference, against, release, quantile / _TWO_SIDED_95)
        for figure, against, release, reference in compared
    )
    return tuple(one for one in found if one is not None)


def _comparisons(
    line: Line, before: Sequence[Line]
) -> list[tuple[Figure, Literal["previous", "median"], str, Figure]]:
    return [
        (figure, against, release, reference)
        for figure in line.figures
        for against, release, reference in _references(line, figure, before)
    ]


def _references(
    line: Line, figure: Figure, before: Sequence[Line]
) -> list[tuple[Literal["previous", "median"], str, Figure]]:
    """The figure at the release before, and at the middle one of the last few."""
    if figure.compared is None:
        return []
    earlier: list[tuple[str, Figure]] = []
    for other in before:
        same = next((f for f in other.figures if f.key == figure.key), None)
        apart = other.end_utc <= line.start_utc and other.digest != line.digest
        if same is None or same.compared is None or same.meaning != figure.meaning:
            continue
        if apart:
            earlier.append((other.release_id, same))
    out: list[tuple[Literal["previous", "median"], str, Figure]] = []
    if earlier:
        out.append(("previous", *earlier[-1]))
    size = min(len(earlier), MEDIAN_OF)
    size -= 1 - size % 2
    if size >= 3:
        # The middle release's own interval: wider than the median's, so that it claims no more than it may.
        last = sorted(earlier[-size:], key=lambda one: (one[1].compared or (), one[0]))
        out.append(("median", *last[size // 2]))
    return out


def _worse(
    new: Figure,
    old: Figure,
    against: Literal["previous", "median"],
    release: str,
    width: float,
) -> Regression | None:
    """The change with its limits from both intervals, as of independent samples (MOVER; Zou & Donner 2008,
    equation 3), where the lower one is above no change. width: of the limits, in those of 95 %."""
    if new.compared is None or old.compared is None:
        return None
    (v1, l1, h1), (v0, l0, h0) = new.compared, old.compared
    change = v1 - v0
    low, high = (
        change + width * (limit - change) for limit in mover_difference(v1, l1, h1, v0, l0, h0)
    )
    if low <= 0 or new.value is None or old.value is None:
        return None
    shown = [math.exp(x) if new.kind in RATIOS else x for x in (change, low, high)]
    return Regression(new.kind, new.slo, against, release, new.value, old.value, *shown)
