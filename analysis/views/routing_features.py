"""What was known when a request was routed, as numbers: for outcome models and propensities.

Categories as indicators; numbers on a log scale, with a step at each of their deciles (routers have
thresholds); every cell of `routing.context` (routers decide by cells); the clock; the window's course,
straight and in blocks (routers change, and outages reroute); and products of two features where the log
says that choices or outcomes hang on both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.ridge import ridge_residuals
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
    """values: (n, p). names: (p,) the column behind each, in words."""

    values: Floats
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
    parts: list[Floats] = []
    names: list[str] = []
    columns = feature_columns(
        telemetry.contract, context_columns(telemetry), "request", "is_failure"
    )
    for column in columns:
        part = (
            _number(column.name, frame[column.name])
            if column.kind == "number"
            else _category(column.name, frame[column.name])
        )
        if part is not None:
            parts.append(part)
            names += [column.name] * part.shape[1]
    for name, part in (
        ("the cell of routing.context", _cells(cell)),
        (_TIMES[0], ClockFeature().design(frame["ts_us"])),
        (_TIMES[1], _course(frame["ts_us"])),
    ):
        varies = part[:, part.std(axis=0) > 1e-9] if len(part) else part
        parts.append(varies)
        names += [name] * varies.shape[1]
    return Features(np.column_stack(parts), tuple(names))


def _number(name: str, values: pd.Series) -> Floats | None:
    feature = NumberFeature.learn(name, values)
    if feature is None:
        return None
    design = feature.design(values)
    scaled = design[:, 0]
    knots = np.unique(np.quantile(scaled, STEPS, method="inverted_cdf"))
    steps = scaled[:, None] > knots[None, :]
    rare = steps.sum(axis=0)
    kept = (rare >= MIN_CELL_ROWS) & (len(scaled) - rare >= MIN_CELL_ROWS)
    return np.column_stack([design, steps[:, kept].astype(float)])


def _category(name: str, values: pd.Series) -> Floats | None:
    feature = CategoryFeature.learn(name, values)
    return None if feature is None else feature.design(values)


def _cells(cell: Ints) -> Floats:
    """Indicators of the frequent cells; of two or none their columns say it all."""
    return indicators(cell, MAX_CELLS if cell.max(initial=0) >= 2 else 0)


def indicators(codes: Ints, most: int) -> Floats:
    """(n, ≤ most): whether a row has each code that at least `MIN_CELL_ROWS` have, in order of the codes;
    of more than `most` the most frequent. codes: (n,), from 0."""
    counts = np.bincount(codes)
    often = np.argsort(-counts, kind="stable")[:most]
    often = np.sort(often[counts[often] >= MIN_CELL_ROWS])
    return np.asarray(codes[:, None] == often[None, :], dtype=float)


def _course(ts_us: pd.Series) -> Floats:
    """The window's course from 0 to 1, and indicators of its blocks: half days of two weeks."""
    at = ts_us.to_numpy(dtype=float)
    span = float(at.max() - at.min()) if len(at) else 0.0
    course = (at - at.min()) / span if span > 0 else np.zeros(len(at))
    block = np.minimum((course * BLOCKS).astype(np.int64), BLOCKS - 1)
    return np.column_stack([course, indicators(block, BLOCKS)])


def with_products(features: Features, action: Ints, outcomes: Floats) -> Features:
    """The features, and products of two where choices or outcomes hang on both together.

    What a linear model of the features leaves of each frequent action's choice, and of each outcome given
    the action, is held against every product (a score test; Rao 1948), all at once: two cross products of
    the features. outcomes: (n, k). At most `MAX_PRODUCTS`, the surest first, and `MAX_OF_A_PAIR` of the
    same two columns.
    """
    step = max(-(-len(action) // MAX_ROWS), 1)
    x, a, y = features.values[::step], action[::step], outcomes[::step]
    if len(x) < 10 * x.shape[1]:
        return features
    chosen = indicators(a, MAX_CHOICES)
    rest = np.column_stack([_left(x, chosen), _left(np.column_stack([x, chosen]), y)])
    squares, surest = x * x, np.zeros((x.shape[1], x.shape[1]))
    for r in rest.T:
        if float(np.abs(r).max()) < 1e-9:
            continue
        spread = np.sqrt((squares * (r * r)[:, None]).T @ squares)
        score = np.abs((x * r[:, None]).T @ x)
        surest = np.maximum(surest, np.where(spread > 1e-9, score / np.maximum(spread, 1e-9), 0.0))
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
    values = features.values
    return Features(
        np.column_stack([values, *(values[:, i] * values[:, j] for i, j in taken)]),
        (*features.names, *(f"{features.names[i]}{_WITH}{features.names[j]}" for i, j in taken)),
    )


def _left(x: Floats, y: Floats) -> Floats:
    penalty = np.array([0.0, *[RIDGE] * x.shape[1]])
    return ridge_residuals(np.column_stack([np.ones(len(x)), x]), y, penalty)
