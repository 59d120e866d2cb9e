"""The baseline risk model: a logistic regression of standardised numbers and indicators of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.ridge import ridge_logistic
from analysis.views.encoding import CategoryFeature, ClockFeature, Feature, NumberFeature, source
from analysis.views.triage_columns import FeatureColumn

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RIDGE = 3.0


@dataclass(frozen=True)
class Logistic:
    """features: in the order in which they are added. weights: each feature's coefficients. typical:
    the mean contribution of each in the fit, against which reasons are told."""

    features: tuple[Feature, ...]
    weights: tuple[tuple[float, ...], ...]
    typical: tuple[float, ...]
    intercept: float

    @property
    def kind(self) -> Literal["logistic"]:
        return "logistic"

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(source(f) for f in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """(n,): added up feature by feature in a fixed order."""
        total = np.full(len(frame), self.intercept)
        for feature, weights in zip(self.features, self.weights, strict=True):
            total = total + feature.effect(frame[source(feature)], np.array(weights))
        return total

    def contributions(self, frame: pd.DataFrame) -> list[tuple[tuple[str, ...], Floats]]:
        """The columns of each term, and what it adds to each row's log-odds beyond what is typical."""
        return [
            ((f.name,), f.effect(frame[source(f)], np.array(w)) - usual)
            for f, w, usual in zip(self.features, self.weights, self.typical, strict=True)
        ]


def fit(frame: pd.DataFrame, y: Bools, columns: Sequence[FeatureColumn]) -> Logistic:
    """The model on rows sorted by key. frame: `ts_us` and `columns`; y: (n,)."""
    learned: list[Feature] = []
    for column in columns:
        values = frame[column.name]
        found: NumberFeature | CategoryFeature | None = (
            NumberFeature.learn(column.name, values)
            if column.kind == "number"
            else CategoryFeature.learn(column.name, values)
        )
        if found is not None:
            learned.append(found)
    learned.append(ClockFeature())
    x = np.empty((len(frame), sum(f.width for f in learned)))
    means, start = [], 0
    for feature in learned:
        design = feature.design(frame[source(feature)])
        x[:, start : start + feature.width] = design
        means.append(design.mean(axis=0))
        start += feature.width
    beta = ridge_logistic(x, y.astype(float), ridge=RIDGE)
    weights, typical, start = [], [], 1
    for feature, mean in zip(learned, means, strict=True):
        part = beta[start : start + feature.width]
        start += feature.width
        weights.append(tuple(float(w) for w in part))
        typical.append(float((mean * part).sum()))
    return Logistic(tuple(learned), tuple(weights), tuple(typical), float(beta[0]))
