"""The daily series in which drift looks for changes of level: rates, cost, volume, and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.stats.change_point_daily import Levels
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.windows import ResolvedWindows, coverage
from analysis.views.drift_features import Feature
from analysis.views.health import headline_metrics

Kind = Literal[
    "failure_rate", "latency_breach_rate", "cost_usd_per_interaction", "volume", "missing_rate", "share"
]  # fmt: skip
Unit = Literal["share", "usd_per_interaction", "interactions_per_day"]
Floats = npt.NDArray[np.float64]

MAX_COLUMNS = 12
MAX_DAYS = 126
"""Older days say little of when the newest level began."""
LEAST_MISSING = 0.01
"""Change of a column's share of missing values that makes it a series."""
_WHOLE = 1 - 1e-9


@dataclass(frozen=True)
class Scale:
    """Where a series' errors are about alike from day to day, and effects of weekdays add up."""

    of: Callable[[Floats, Floats], Floats]
    back: Callable[[Floats], Floats]


def _arcsine(y: Floats, n: Floats) -> Floats:
    """Anscombe (1948): the variance of a rate then depends on n alone."""
    return np.asarray(np.arcsin(np.sqrt((y + 0.375) / (n + 0.75))))


RATE = Scale(_arcsine, lambda z: np.asarray(np.sin(np.clip(z, 0.0, np.pi / 2)) ** 2))
# Half an interaction, so that a day without any has a logarithm.
VOLUME = Scale(lambda y, n: np.asarray(np.log(y + 0.5)), lambda z: np.asarray(np.exp(z)))
MEAN = Scale(lambda y, n: np.asarray(np.log(y / n)), lambda z: np.asarray(np.exp(z)))
PLAIN = Scale(lambda y, n: np.asarray(y / n), lambda z: np.asarray(z))


@dataclass(frozen=True)
class DailySeries:
    """One series by whole days.

    name: of the column, else the kind. tracked: whose share it is. days: (T,) day numbers. y, n: (T,)
    numerators and denominators, the value is y/n; of a volume n is 1. support: interactions behind it.
    """

    name: str
    kind: Kind
    unit: Unit
    tracked: str | None
    days: npt.NDArray[np.int64]
    y: Floats
    n: Floats
    scale: Scale
    support: int

    @property
    def values(self) -> Floats:
        """In the series' unit."""
        return self.y / self.n

    @property
    def scaled(self) -> Floats:
        """Where errors are about alike."""
        return self.scale.of(self.y, self.n)

    @property
    def weights(self) -> Floats:
        """Relative precision of days: half of the mean day's variance is by rows, half by days themselves.

        Which part each has is not known; between them weights are never far off. A volume's rows are
        the mean of its weekday: a day's own would weigh it by its error.
        """
        n = self.n
        if self.kind == "volume":
            place = self.days % 7
            n = np.array([self.y[place == k].mean() for k in place]) + 0.5
        return np.asarray(1 / (1 / n + 1 / n.mean()))

    @property
    def sampling(self) -> Floats | float:
        """Standard deviation of `scaled` where rows are all that vary; 0 where that is not known."""
        if self.scale is RATE:
            return np.asarray(0.5 / np.sqrt(self.n))
        return np.asarray(1 / np.sqrt(self.y + 0.5)) if self.scale is VOLUME else 0.0

    def level(self, found: Levels, shift: float) -> float:
        """The level of a usual week where the changes have added `shift`, spikes left out."""
        kept = found.kept
        back = self.scale.back
        fitted = float((self.n[kept] * back(found.base + found.shift)).sum())
        scale = float(self.y[kept].sum()) / fitted if fitted > 0 else 1.0
        week = [self.days[kept] % 7 == k for k in range(7)]
        parts = [(float(self.n[kept][w].mean()), float(found.base[w][0])) for w in week if w.any()]
        size, base = np.array(parts).T
        return scale * float((size * back(base + shift)).sum() / size.sum())


def whole_days(telemetry: Telemetry, *, candidate_only: bool) -> list[int]:
    """The days that the windows cover wholly, exclusions left out; at most the newest `MAX_DAYS`."""
    windows: ResolvedWindows = telemetry.windows
    covered: dict[int, float] = {}
    for span in (windows.candidate, None if candidate_only else windows.baseline):
        if span is not None:
            for day, share in coverage(windows, span).items():
                covered[day] = covered.get(day, 0.0) + share
    return [day for day in sorted(covered) if covered[day] >= _WHOLE][-MAX_DAYS:]


# ── rates, cost and volume ───────────────────────────────────────────────────────────────


def key_series(
    telemetry: Telemetry, days: Sequence[int], *, candidate_only: bool
) -> list[DailySeries]:
    """Failure and latency breach rate, cost per interaction, and interactions a day.

    A release's own rows have no volume: what others serve decides it.
    """
    metrics = headline_metrics(telemetry)
    rows = Metric("rows", "1", "1")
    found = telemetry.moments([*metrics.values(), rows])
    out = []
    for name, metric in metrics.items():
        totals = _totals(telemetry.windows, found[name], candidate_only=candidate_only)
        own = _ratio(name, metric.scale, days, totals)
        if own is not None:
            out.append(own)
    if not telemetry.windows.by_release:
        totals = _totals(telemetry.windows, found["rows"], candidate_only=candidate_only)
        # Weekdays that the candidate lacks weigh nothing in the baseline, and are not counted there.
        days = [d for d in days if telemetry.windows.weekday_weights[(d + 3) % 7]]
        counts = np.array([totals.get(d, (0, 0))[0] for d in days], dtype=float)
        out.append(
            DailySeries("volume", "volume", "interactions_per_day", None, np.array(days), counts,
                        np.ones(len(days)), VOLUME, int(counts.sum()))
        )  # fmt: skip
    return out


def _totals(
    windows: ResolvedWindows, moments: Moments, *, candidate_only: bool
) -> dict[int, tuple[int, int]]:
    """day → (n, y), the weights of weekdays taken out again."""
    out: dict[int, tuple[int, int]] = {}
    for win, day, n, y in moments.days.days:
        if candidate_only and win == 0:
            continue
        weight = windows.weekday_weights[(day + 3) % 7] if win == 0 else 1
        had = out.get(day, (0, 0))
        out[day] = (had[0] + n // weight, had[1] + y // weight)
    return out


def _ratio(
    name: str, scale: int, days: Sequence[int], totals: Mapping[int, tuple[int, int]]
) -> DailySeries | None:
    held, y, n = _with_rows(days, totals, scale)
    if not len(held):
        return None
    if name == "cost_usd_per_interaction":
        form = MEAN if (y > 0).all() else PLAIN
        return DailySeries(name, "cost_usd_per_interaction", "usd_per_interaction", None, held, y, n,
                           form, int(n.sum()))  # fmt: skip
    kind: Kind = "failure_rate" if name == "failure_rate" else "latency_breach_rate"
    return DailySeries(name, kind, "share", None, held, y, n, RATE, int(n.sum()))


def _with_rows(
    days: Sequence[int], totals: Mapping[int, tuple[int, int]], scale: int = 1
) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(days that have rows, y, n) of totals day → (n, y)."""
    held = [d for d in days if totals.get(d, (0, 0))[0] > 0]
    n = np.array([totals[d][0] for d in held], dtype=float)
    y = np.array([totals[d][1] / scale for d in held], dtype=float)
    return np.array(held, dtype=np.int64), y, n


# ── columns ──────────────────────────────────────────────────────────────────────────────


def column_series(
    features: Sequence[Feature],
    binned: Mapping[str, BinnedColumn],
    days: Sequence[int],
    beside: Sequence[DailySeries] = (),
) -> list[DailySeries]:
    """What moved most of the first `MAX_COLUMNS` counted columns that drift, and missing values that moved.

    beside: series that are there already, and are not told again under a column's name.
    """
    drifted = [f for f in features if f.counted and f.severity != "none"]
    out: list[DailySeries] = []
    for feature in drifted[:MAX_COLUMNS]:
        column = binned[feature.feature]
        moved = abs((feature.missing_candidate or 0.0) - (feature.missing_baseline or 0.0))
        # The bin of missing values is the last one, where there are any.
        gone = [] if column.missing_bin is None else [column.missing_bin]
        if moved >= LEAST_MISSING and gone:
            out.append(_share(feature.feature, "missing_rate", None, column, gone, (), days))
        inside, tracked = _moved_most(column, gone, _LACKING.get(feature.statistic))
        if inside:
            out.append(_share(feature.feature, "share", tracked, column, inside, gone, days))
    return _distinct([*beside, *out])[len(_distinct(beside)) :]


def _distinct(series: Sequence[DailySeries]) -> list[DailySeries]:
    """Those that have days, and do not say the same as an earlier one: a failure type is missing where
    nothing failed."""
    seen: set[tuple[bytes, ...]] = set()
    out = []
    for one in series:
        said = (one.days.tobytes(), one.y.tobytes(), one.n.tobytes())
        if len(one.days) and said not in seen:
            out.append(one)
        seen |= {said, (said[0], (one.n - one.y).tobytes(), said[2])}
    return out


_LACKING = {"new_category": 0, "vanished_category": 1}
"""The window that lacks what a column's own test is about."""


def _moved_most(
    column: BinnedColumn, gone: Sequence[int], lacking: int | None
) -> tuple[list[int], str | None]:
    """The bins whose share moved most among known values, and how they are called.

    Of numbers those above the edge at which the distributions lie farthest apart (Kolmogorov and Smirnov's
    distance), of categories the one that moved most. lacking: the window that has none of it, where that is
    what drifts: a rare value that is new moves less than large ones do by chance.
    """
    known = [i for i in range(len(column.labels)) if i not in gone]
    shares = column.clusters.shares[:, known]
    total = shares.sum(axis=1, keepdims=True)
    if len(known) < 2 or not (total > 0).all():
        return [], None
    change = (shares / total)[1] - (shares / total)[0]
    if column.kind == "categorical":
        size = np.round(np.abs(change), 12)
        if lacking is not None:
            own = column.clusters.counts[lacking, known] == 0
            size = np.where(own, size, 0.0) if own.any() else size
        place = known[int(np.argmax(size))]
        return [place], column.labels[place]
    upper = np.cumsum(change[::-1])[::-1][1:]
    first = 1 + int(np.argmax(np.round(np.abs(upper), 12)))
    return known[first:], f"> {_lower_edge(column.labels[known[first]])}"


def _lower_edge(label: str) -> str:
    """The lower edge of a number's bin, as its label has it: “a – b”, or “> a”."""
    return label.removeprefix("> ").split(" – ")[0]


def _share(
    name: str,
    kind: Kind,
    tracked: str | None,
    column: BinnedColumn,
    inside: Sequence[int],
    beside: Sequence[int],
    days: Sequence[int],
) -> DailySeries:
    """The daily share of the bins `inside` among all but `beside`."""
    counted = [i for i in range(len(column.labels)) if i not in beside]
    held = column.by_day
    totals: dict[int, tuple[int, int]] = {}
    for day, n, y in zip(
        held.days.tolist(),
        held.rows[:, counted].sum(axis=1).tolist(),
        held.rows[:, list(inside)].sum(axis=1).tolist(),
        strict=True,
    ):
        had = totals.get(day, (0, 0))
        totals[day] = (had[0] + n, had[1] + y)
    used, y_, n_ = _with_rows(days, totals)
    return DailySeries(name, kind, "share", tracked, used, y_, n_, RATE, int(n_.sum()))
