"""The boosted risk model: small tables of one column or of two that add up to the log-odds.

An explainable boosting machine (Lou, Caruana, Gehrke & Hooker 2013; Nori, Jenkins, Koch & Caruana 2019),
fitted by InterpretML on one thread. What it learnt is kept as bins and scores of our own: so that a
reason is the very number that was added, and that a service can score without any library.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.crossfit import fold_of
from analysis.stats.queue_simulation import DAY_US, HOUR_US
from analysis.views.encoding import CategoryFeature
from analysis.views.triage_columns import HOUR, WEEKDAY, FeatureColumn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_BINS, MAX_PAIR_BINS, MAX_PAIRS = 64, 12, 12
MAX_ROUNDS, LEARNING_RATE, PATIENCE = 600, 0.08, 30
MIN_LEAF_ROWS = 20
HELD_OUT = 7
"""One cluster in so many says when to stop."""
BAGS, BAGGED_ROWS = 3, 30_000
"""Up to so many rows the mean of so many models is taken, each with other clusters held out: few rows are
noisy, and their fits are cheap."""
SCORE_DIGITS = 6
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def weekday_of(ts_us: Ints | np.int64) -> Ints:
    """Monday 0, of µs since 1970-01-01, a Thursday."""
    return np.asarray((ts_us // DAY_US + 3) % 7)


@dataclass(frozen=True)
class NumberAxis:
    """Bins of a number: 0 missing, then below the first cut, … up to from the last one on."""

    name: str
    cuts: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.cuts) + 2

    def codes(self, frame: pd.DataFrame) -> Ints:
        """(n,)."""
        numbers = _numbers(frame, self.name)
        codes = np.searchsorted(np.array(self.cuts), numbers, side="right") + 1
        return np.where(np.isnan(numbers), 0, codes).astype(np.int64)


@dataclass(frozen=True)
class CategoryAxis:
    """Bins of a category: its levels in their order, then all else, null too."""

    name: str
    levels: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.levels) + 1

    def codes(self, frame: pd.DataFrame) -> Ints:
        """(n,)."""
        if self.name == WEEKDAY:
            return weekday_of(frame["ts_us"].to_numpy(dtype=np.int64))
        return CategoryFeature(self.name, self.levels).codes(frame[self.name])


Axis = NumberAxis | CategoryAxis


@dataclass(frozen=True)
class Term:
    """A table. scores: what its cells add, row-major. typical: its mean in the fit."""

    axes: tuple[Axis, ...]
    scores: tuple[float, ...]
    typical: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)


@dataclass(frozen=True)
class Boosted:
    """The intercept and the tables, those of one column first."""

    intercept: float
    terms: tuple[Term, ...]

    @property
    def kind(self) -> Literal["boosted"]:
        return "boosted"

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that it reads."""
        names = dict.fromkeys(name for term in self.terms for name in term.names)
        return tuple(dict.fromkeys("ts_us" if n in (HOUR, WEEKDAY) else n for n in names))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.names))

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """(n,): added up table by table in a fixed order."""
        total = np.full(len(frame), self.intercept)
        for scores in self._added(frame):
            total = total + scores
        return total

    def contributions(self, frame: pd.DataFrame) -> list[tuple[tuple[str, ...], Floats]]:
        """The columns of each table, and what it adds to each row's log-odds beyond its mean."""
        added = zip(self.terms, self._added(frame), strict=True)
        return [(term.names, scores - term.typical) for term, scores in added]

    def _added(self, frame: pd.DataFrame) -> list[Floats]:
        codes: dict[Axis, Ints] = {}
        out = []
        for term in self.terms:
            for axis in term.axes:
                if axis not in codes:
                    codes[axis] = axis.codes(frame)
            cell = codes[term.axes[0]]
            for axis in term.axes[1:]:
                cell = cell * axis.size + codes[axis]
            out.append(np.array(term.scores)[cell])
        return out


def fit(
    frame: pd.DataFrame, y: Bools, columns: Sequence[FeatureColumn], clusters: pd.Series
) -> Boosted:
    """The model on rows sorted by key. frame: `ts_us` and `columns`; y: (n,); clusters: (n,) ids.

    Clusters as wholes say when to stop: of rows that hang together, each half knows the other.
    """
    # Its import takes a second: only where a model is fitted.
    from interpret.glassbox import ExplainableBoostingClassifier

    axes, values, kinds = _prepared(frame, columns)
    codes, ids = pd.factorize(clusters)
    fold = np.array([fold_of(str(c), HELD_OUT) for c in ids], dtype=np.int64)[codes]
    which = [k for k in range(BAGS if len(y) <= BAGGED_ROWS else 1) if _halves(fold == k, y)]
    bags = np.column_stack([np.where(fold == k, -1, 1) for k in which]) if which else None
    model = ExplainableBoostingClassifier(
        feature_types=kinds,
        interactions=min(MAX_PAIRS, len(axes) * (len(axes) - 1) // 2),
        max_bins=MAX_BINS,
        max_interaction_bins=MAX_PAIR_BINS,
        outer_bags=max(1, len(which)),
        validation_size=0.15 if which else 0,
        learning_rate=LEARNING_RATE,
        max_rounds=MAX_ROUNDS,
        early_stopping_rounds=PATIENCE,
        smoothing_rounds=0,
        interaction_smoothing_rounds=0,
        min_samples_leaf=MIN_LEAF_ROWS,
        n_jobs=1,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing values, which have a bin of their own
        model.fit(values, y, bags=None if bags is None else bags.astype(np.int8))
    return _kept(model, axes, frame)


def _halves(held: Bools, y: Bools) -> bool:
    """Whether rows of either label are held out, and are left."""
    return all(part.any() and not part.all() for part in (y[held], y[~held]))


def _prepared(
    frame: pd.DataFrame, columns: Sequence[FeatureColumn]
) -> tuple[list[tuple[str, tuple[str, ...] | None]], pd.DataFrame, list[str]]:
    """(name and levels of each column that varies, what the library reads, its kinds)."""
    axes: list[tuple[str, tuple[str, ...] | None]] = []
    values: dict[str, npt.NDArray[np.float64] | Ints] = {}
    clock = (FeatureColumn(HOUR, "number"), FeatureColumn(WEEKDAY, "category"))
    for column in (*columns, *clock):
        if column.kind == "number":
            numbers = _numbers(frame, column.name)
            if len(np.unique(numbers)) < 2:
                continue
            axes.append((column.name, None))
            values[column.name] = numbers
            continue
        if column.name == WEEKDAY:
            levels: tuple[str, ...] = WEEKDAYS
        else:
            learned = CategoryFeature.learn(column.name, frame[column.name])
            if learned is None:
                continue
            levels = learned.levels
        codes = CategoryAxis(column.name, levels).codes(frame)
        if len(np.unique(codes)) < 2:
            continue
        axes.append((column.name, levels))
        values[column.name] = codes
    kinds = ["continuous" if levels is None else "nominal" for _, levels in axes]
    return axes, pd.DataFrame(values), kinds


def _kept(
    model: Any, axes: Sequence[tuple[str, tuple[str, ...] | None]], frame: pd.DataFrame
) -> Boosted:
    """The library's bins and scores as axes and tables of our own."""
    bins, terms, scores = model.bins_, model.term_features_, model.term_scores_
    intercept = float(np.ravel(model.intercept_)[0])
    kept = []
    for features, table in zip(terms, scores, strict=True):
        own: list[Axis] = []
        places = []
        for feature in features:
            name, levels = axes[feature]
            resolution = bins[feature][min(len(features), len(bins[feature])) - 1]
            if levels is None:
                own.append(NumberAxis(name, tuple(float(c) for c in resolution)))
                places.append(np.arange(len(resolution) + 2))
            else:
                own.append(CategoryAxis(name, levels))
                unseen = table.shape[len(places)] - 1
                places.append(
                    np.array([resolution.get(str(k), unseen) for k in range(len(levels) + 1)])
                )
        values = np.round(np.asarray(table, dtype=float)[np.ix_(*places)], SCORE_DIGITS) + 0.0
        kept.append(Term(tuple(own), tuple(float(v) for v in values.ravel()), 0.0))
    plain = Boosted(round(intercept, SCORE_DIGITS), tuple(kept))
    means = [float(np.round(added.mean(), SCORE_DIGITS)) for added in plain._added(frame)]
    return Boosted(
        plain.intercept,
        tuple(Term(t.axes, t.scores, m) for t, m in zip(kept, means, strict=True)),
    )


def _numbers(frame: pd.DataFrame, name: str) -> Floats:
    """(n,): nan where the value is no finite number."""
    if name == HOUR:
        return frame["ts_us"].to_numpy(dtype=np.int64) % DAY_US / HOUR_US
    numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)
