"""What is told of each finding beside its figures: by day, since when, of what kind, where within it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.check import finite
from analysis.share_safe import Shown
from analysis.stats.change_point import ChangePoint, mean_change, rate_change
from analysis.stats.tails import mean_level_test, rate_level_test
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slice_rows import Asked, SliceRows, slice_rows
from analysis.telemetry.windows import midnight_of
from analysis.views.hotspot_family import Family

MAX_DETAILED = 20
N_TYPES = N_EXAMPLES = 5
N_CONTRIBUTORS = 3
CONTRIBUTOR_LEVEL = 0.01
_TYPE = "failure_type"
_WINDOWS = ("baseline", "candidate")


@dataclass(frozen=True)
class Day:
    """A slice on one day of a window: day_utc as an ISO date (of the session's start in date windows).

    n: interactions with a known outcome. bad: of these, None for means. mean: USD per interaction,
    None for rates.
    """

    day_utc: str
    window: str
    n: int
    bad: int | None
    mean: float | None


@dataclass(frozen=True)
class Since:
    """When the slice changed its level: the day that is the first of the new one, as its midnight.

    low, high: the first and the last such day that 95 % confidence leaves. before, after: the rate or
    USD per interaction on either side; `after` can be the lower. p_value: of no change at all, Bonferroni's
    bound over the days.
    """

    since_utc: str
    low: str
    high: str
    before: float
    after: float
    p_value: float


@dataclass(frozen=True)
class FailureType:
    """A failure type (None: not known) among the slice's bad interactions of the candidate.

    share: of these; share_of_rest: its share among the bad ones of the rest of the window, None
    where that has none.
    """

    failure_type: str | None
    n: int
    share: float
    share_of_rest: float | None


@dataclass(frozen=True)
class Contributor:
    """The value of a dimension that the slice leaves free which is most over-represented where it is bad.

    share: among the slice's bad interactions of the candidate; reference_share: among its good ones. For
    means: its share of the slice's USD (of scores: of what they are short of) and of its interactions.
    excess: share − reference_share. p_value:
    one-sided, after Bonferroni over all values of all free dimensions.
    """

    dimension: str
    value: str | None
    share: float
    reference_share: float
    excess: float
    p_value: float


@dataclass(frozen=True)
class Detail:
    """What is known of one of the first 20 findings.

    days: of both windows, baseline first. since: None where no change of level is significant.
    failure_types: the five most frequent; empty for cost and without that column. contributors: at
    most three dimensions, the largest excess first, each significant at 1 %. examples: none, for an
    artifact names no row; the page has them (artifacts of revision 1 held hashes).
    """

    days: tuple[Day, ...]
    since: Since | None
    failure_types: tuple[FailureType, ...]
    contributors: tuple[Contributor, ...]
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """A finding's details, and what no artifact holds: ids of rows.

    examples: five interactions of the candidate, bad ones by md5 of their id, for cost the dearest, for
    scores the lowest: their ids as they are.
    """

    detail: Detail
    examples: tuple[str, ...]


def details(
    telemetry: Telemetry,
    metrics: Sequence[Metric],
    family: Family,
    found: Sequence[tuple[Mapping[str, str | None], str]],
) -> tuple[Told, ...]:
    """The details of the first `MAX_DETAILED` of these (slice, metric), in their order.

    metrics: those of the family. All are looked at together, in three scans of the rows.
    """
    places = [(_place(family, labels), family.table.metrics.index(m)) for labels, m in found]
    places = places[:MAX_DETAILED]
    distinct = list(dict.fromkeys(places))
    rows = slice_rows(
        telemetry.engine,
        family.table.dimensions,
        [Asked(family.table.codes[s], metrics[m]) for s, m in distinct],
        _TYPE if telemetry.has(_TYPE) else None,
        N_TYPES,
    )
    concurrent = telemetry.windows.comparison == "concurrent"
    told = {
        (slice_, metric): Told(
            Detail(
                days=_days(own, metrics[metric]),
                since=_since(
                    family, own, metrics[metric], slice_, metric, candidate_only=concurrent
                ),
                failure_types=_types(own),
                contributors=_contributors(family, slice_, metric),
            ),
            own.examples[:N_EXAMPLES],
        )
        for (slice_, metric), own in zip(distinct, rows, strict=True)
    }
    return tuple(told[place] for place in places)


def examples(told: Sequence[Told], how: Shown) -> pd.DataFrame:
    """place (of the finding, from 0), id: what the page shows of the examples; no artifact has them.

    Ids are hashed by the team's key in share-safe mode (or left out without one), else plainly.
    """
    rows = [
        (place, shown)
        for place, one in enumerate(told)
        for shown in (how.ids(one.examples) if how.safe else map(hashed, one.examples))
        if shown is not None
    ]
    return pd.DataFrame(rows, columns=["place", "id"])


def hashed(interaction_id: str) -> str:
    """The first 16 hexadecimal digits of an id's SHA-256: short, and no secret to who can guess ids."""
    data = interaction_id.encode("utf-8", errors="surrogatepass")
    return hashlib.sha256(data).hexdigest()[:16]


def _place(family: Family, labels: Mapping[str, str | None]) -> int:
    """The place of a slice in the table."""
    codes = [
        d.values.index(labels[d.name]) if d.name in labels else -1 for d in family.table.dimensions
    ]
    return int(np.flatnonzero((family.table.codes == codes).all(axis=1))[0])


def _days(rows: SliceRows, metric: Metric) -> tuple[Day, ...]:
    rate = metric.scale == 1
    return tuple(
        Day(
            midnight_of(day)[:10],
            _WINDOWS[win],
            n,
            y if rate else None,
            None if rate else finite(_mean(metric, y / n)),
        )
        for win, day, n, y in rows.days
    )


def _mean(metric: Metric, mean: float) -> float:
    """In the metric's unit; of a shortfall the score itself."""
    return (mean if metric.best is None else metric.best - mean) / metric.scale


# ── since when ───────────────────────────────────────────────────────────────────────────


def _since(
    family: Family,
    rows: SliceRows,
    metric: Metric,
    slice_: int,
    index: int,
    *,
    candidate_only: bool,
) -> Since | None:
    """The change of level over both windows; over the candidate where both run at the same time."""
    totals: dict[int, list[int]] = {}
    for win, day, n, y in rows.days:
        if win == 1 or not candidate_only:
            own = totals.setdefault(day, [0, 0])
            own[0] += n
            own[1] += y
    days = sorted(totals)
    n_, y_ = ([totals[d][i] for d in days] for i in (0, 1))
    sides = family.sides[index]
    used = [s for s in (sides.own1, sides.own0) if s.n[slice_] > 0]
    found: ChangePoint | None = None
    if metric.scale == 1:
        found = rate_change(y_, n_, max(float(s.deff[slice_]) for s in used))
    elif sum(n_):
        scaled = np.array(y_, dtype=float) / metric.scale
        variation = max(float(s.cv2[slice_]) for s in used)
        found = mean_change(scaled, n_, variation * (float(scaled.sum()) / sum(n_)) ** 2)
    if found is None:
        return None
    levels = [found.before, found.after]
    if metric.scale != 1:
        levels = [_mean(metric, level * metric.scale) for level in levels]
    return Since(
        midnight_of(days[found.first]),
        midnight_of(days[found.low]),
        midnight_of(days[found.high]),
        levels[0],
        levels[1],
        found.p_value,
    )


# ── of what kind, and where within it ────────────────────────────────────────────────────


def _types(rows: SliceRows) -> tuple[FailureType, ...]:
    rest = rows.n_bad_window - rows.n_bad
    return tuple(
        FailureType(
            t.text,
            t.n_slice,
            t.n_slice / rows.n_bad,
            (t.n_window - t.n_slice) / rest if rest else None,
        )
        for t in rows.texts
    )


def _contributors(family: Family, slice_: int, metric: int) -> tuple[Contributor, ...]:
    """Of each free dimension the value with the largest excess among those significant.

    A value is over-represented among bad rows where its rate is above that of the slice's other
    rows: Fisher's test, both counts divided by the slice's design effect (means: by the window's variation).
    """
    table, cells = family.table, family.cells
    own = cells.mask(table.codes[slice_])
    n, y = cells.n[own, metric, 1], cells.y[own, metric, 1]
    keys: list[tuple[int, int]] = []
    counts: list[tuple[float, float]] = []
    for index in np.flatnonzero(table.codes[slice_] < 0).tolist():
        size = len(table.dimensions[index].values)
        codes = cells.codes[own, index]
        of_n, of_y = (np.bincount(codes, values, size) for values in (n, y))
        for code in np.flatnonzero((of_n > 0) & (of_n < n.sum())).tolist():
            keys.append((index, code))
            counts.append((float(of_n[code]), float(of_y[code])))
    figure = family.pooled[metric]
    y_all, n_all = float(y.sum()), float(n.sum())
    if not keys or y_all <= 0 or (figure.is_rate and y_all >= n_all):
        return ()
    n_, y_ = np.array(counts).T
    if figure.is_rate:
        deff = float(family.sides[metric].own1.deff[slice_])
        p = rate_level_test(y_, n_, deff, y_all - y_, n_all - n_, deff)
        share, reference = y_ / y_all, (n_ - y_) / (n_all - y_all)
    else:
        cv2 = float(family.sides[metric].own1.cv2[slice_])
        p = mean_level_test(y_ / n_, n_, cv2, (y_all - y_) / (n_all - n_), n_all - n_, cv2)
        share, reference = y_ / y_all, n_ / n_all
    p = np.minimum(np.nan_to_num(p, nan=1.0) * len(keys), 1.0)
    excess = share - reference
    best: dict[int, int] = {}
    for k in np.lexsort((np.arange(len(keys)), -excess)).tolist():
        if p[k] <= CONTRIBUTOR_LEVEL and excess[k] > 0:
            best.setdefault(keys[k][0], k)
    return tuple(
        Contributor(
            table.dimensions[index].name,
            table.dimensions[index].values[keys[k][1]],
            float(share[k]),
            float(reference[k]),
            float(excess[k]),
            float(p[k]),
        )
        for index, k in list(best.items())[:N_CONTRIBUTORS]
    )


__all__ = [
    "Contributor",
    "Day",
    "Detail",
    "FailureType",
    "Since",
    "Told",
    "details",
    "examples",
    "hashed",
]
