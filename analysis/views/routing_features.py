"""What was known when a request was routed, as numbers: for outcome models and propensities.

Categories as indicators; numbers on a log scale, with a step at each of their deciles (routers have
thresholds); every cell of `routing.context` (routers decide by cells); the clock; the window's course,
straight and in blocks (routers change, and outages reroute); and products of two features where the log
says that choices or outcomes hang on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.design import Coded, Design
from analysis.telemetry import Telemetry
from analysis.views.encoding import CategoryFeature, ClockFeature, NumberFeature
from analysis.views.triage_columns import feature_columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_CELL_ROWS = 30
MAX_CELLS = 60
BLOCKS = 28
MAX_CHOICES, RIDGE = 8, 10.0
MAX_PRODUCTS, MAX_OF_A_PAIR = 24, 4
SURE = 4.5
"""A product enters where its score is this many standard errors from 0: of some 5,000 hardly any by chance."""
MAX_ROWS = 50_000
_TIMES = ("the time of day and week", "the time")
_WITH = " with "
STEPS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class Features:
    """design: n requests, p columns. names: (p,) the column behind each, in words."""

    design: Design
    names: tuple[str, ...]

    @property
    def of_requests(self) -> npt.NDArray[np.bool_]:
        """(p,): whether a feature is of the request itself: no product, no block of time."""
        return np.array([n not in _TIMES and _WITH not in n for n in self.names], dtype=bool)


def context_columns(telemetry: Telemetry) -> list[str]:
    """Columns that describe a request before it is routed."""
    found = []
    for column in feature_columns(telemetry.contract, telemetry.columns, "request", "is_failure"):
        declared = telemetry.contract.column(column.name)
        if declared is not None and declared.role == "context":
            found.append(column.name)
    return found


def request_features(telemetry: Telemetry, frame: pd.DataFrame, cell: Ints) -> Features:
    """Encoded without a look at an outcome. frame: `ts_us` and the context; cell: (n,) codes."""
    parts: list[Coded | Floats] = []
    names: list[str] = []
    columns = feature_columns(
        telemetry.contract, context_columns(telemetry), "request", "is_failure"
    )
    for column in columns:
        found = (
            _number(column.name, frame[column.name])
            if column.kind == "number"
            else _category(column.name, frame[column.name])
        )
        parts += found
        names += [column.name] * _width(found)
    timed: tuple[tuple[str, Sequence[Coded | Floats]], ...] = (
        ("the cell of routing.context", [_cells(cell)]),
        (_TIMES[0], [ClockFeature().design(frame["ts_us"])]),
        (_TIMES[1], _course(frame["ts_us"])),
    )
    for name, known in timed:
        varying = [_varying(part) for part in known]
        parts += varying
        names += [name] * _width(varying)
    return Features(Design.joined(parts, len(frame)), tuple(names))


def _width(parts: Sequence[Coded | Floats]) -> int:
    return sum(p.width if isinstance(p, Coded) else p.shape[1] for p in parts)


def _varying(part: Coded | Floats) -> Coded | Floats:
    """The columns that are not the same for all."""
    if isinstance(part, Coded):
        used = part.table[part.counts() > 0]
        return part.picked(np.ptp(used, axis=0) > 0) if len(used) else part
    return part[:, part.std(axis=0) > 1e-9] if len(part) else part


def _number(name: str, values: pd.Series) -> list[Coded | Floats]:
    """Scaled, whether it is missing where that is so, and its steps; empty where it never varies."""
    feature = NumberFeature.learn(name, values)
    if feature is None:
        return []
    design = feature.design(values)
    scaled = design[:, 0]
    knots = np.unique(np.quantile(scaled, STEPS, method="inverted_cdf"))
    steps = Coded.of(np.searchsorted(knots, scaled), np.tri(len(knots) + 1, len(knots), -1))
    above = steps.counts() @ steps.table
    kept = (above >= MIN_CELL_ROWS) & (len(scaled) - above >= MIN_CELL_ROWS)
    return [design, steps.picked(kept)]


def _category(name: str, values: pd.Series) -> list[Coded | Floats]:
    """Indicators of its levels; empty where there is one."""
    feature = CategoryFeature.learn(name, values)
    if feature is None:
        return []
    return [Coded.of(feature.codes(values), np.eye(feature.width + 1, feature.width))]


def _cells(cell: Ints) -> Coded:
    """Indicators of the frequent cells; of two or none their columns say it all."""
    return indicators(cell, MAX_CELLS if cell.max(initial=0) >= 2 else 0)


def indicators(codes: Ints, most: int) -> Coded:
    """(n, ≤ most): whether a row has each code that at least `MIN_CELL_ROWS` have, in order of the codes;
    of more than `most` the most frequent. codes: (n,), from 0."""
    counts = np.bincount(codes)
    often = np.argsort(-counts, kind="stable")[:most]
    often = np.sort(often[counts[often] >= MIN_CELL_ROWS])
    place = np.full(len(counts), len(often))
    place[often] = np.arange(len(often))
    return Coded.of(place[codes], np.eye(len(often) + 1, len(often)))


def _course(ts_us: pd.Series) -> list[Coded | Floats]:
    """The window's course from 0 to 1, and indicators of its blocks: half days of two weeks."""
    at = ts_us.to_numpy(dtype=float)
    span = float(at.max() - at.min()) if len(at) else 0.0
    course = (at - at.min()) / span if span > 0 else np.zeros(len(at))
    block = np.minimum((course * BLOCKS).astype(np.int64), BLOCKS - 1)
    return [course[:, None], indicators(block, BLOCKS)]


def with_products(features: Features, action: Ints, outcomes: Floats) -> Features:
    """The features, and products of two where choices or outcomes hang on both together.

    What a linear model of the features leaves of each frequent action's choice, and of each outcome given
    the action, is held against every product (a score test; Rao 1948), all at once: sums over all pairs of
    codes of the features. outcomes: (n, k). At most `MAX_PRODUCTS`, the surest first, and
    `MAX_OF_A_PAIR` of the same two columns.
    """
    step = max(-(-len(action) // MAX_ROWS), 1)
    every = slice(None, None, step)
    x, a, y = features.design.rows(every), action[every], outcomes[every]
    if len(x) < 10 * x.width:
        return features
    rest = _unexplained(x, indicators(a, MAX_CHOICES), y)
    rest = np.ascontiguousarray(rest[:, np.abs(rest).max(axis=0) >= 1e-9])
    surest = np.zeros((x.width, x.width))
    for score, square in zip(*x.products(rest), strict=True):
        spread = np.sqrt(square)
        surest = np.maximum(
            surest, np.where(spread > 1e-9, np.abs(score) / np.maximum(spread, 1e-9), 0.0)
        )
    rows, columns = np.nonzero(np.triu(np.round(surest, 6), 1) >= SURE)
    order = np.lexsort((columns, rows, -np.round(surest[rows, columns], 6)))
    taken: list[tuple[int, int]] = []
    held: dict[tuple[str, str], int] = {}
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        pair = (features.names[i], features.names[j])
        if pair[0] == pair[1] or held.get(pair, 0) >= MAX_OF_A_PAIR:
            continue
        held[pair] = held.get(pair, 0) + 1
        taken.append((i, j))
        if len(taken) == MAX_PRODUCTS:
            break
    if not taken:
        return features
    products = np.empty((len(action), len(taken)))
    for k, (i, j) in enumerate(taken):
        np.multiply(features.design.column(i), features.design.column(j), out=products[:, k])
    return Features(
        features.design.with_more(products),
        (*features.names, *(f"{features.names[i]}{_WITH}{features.names[j]}" for i, j in taken)),
    )


def _unexplained(x: Design, chosen: Coded, y: Floats) -> Floats:
    """(n, choices + k): what x leaves of each choice, and x and the choice of each outcome, by ridge
    regressions of the same moments."""
    both, n_choices = x.with_more(chosen), chosen.width
    told = np.column_stack([chosen.table[chosen.codes], y])
    (gram,), (cross,) = both.moments(told)
    gram[np.arange(1, len(gram)), np.arange(1, len(gram))] += RIDGE
    own, beta = 1 + x.width, np.zeros(cross.shape)
    beta[:own, :n_choices] = np.linalg.solve(gram[:own, :own], cross[:own, :n_choices])
    beta[:, n_choices:] = np.linalg.solve(gram, cross[:, n_choices:])
    return told - both.times(beta)
