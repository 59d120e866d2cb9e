"""The risk model of the triage view: features that may be known, a logistic fit, its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from analysis.contract import Contract, KnownAt
from analysis.stats.calibration import platt
from analysis.stats.ridge import ridge_logistic
from analysis.views.encoding import CategoryFeature, ClockFeature, Feature, NumberFeature, source

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MODELLED_ROLES = frozenset({"context", "action", "cost"})
NEVER = frozenset({"release_id", "routing_propensity"})
RIDGE = 3.0
RISK_DIGITS = 6
# No score reaches 1, so that a threshold of 1 reviews nothing and one of 0 everything.
MAX_RISK = 0.999999


@dataclass(frozen=True)
class FeatureColumn:
    """A column that may be modelled, and how."""

    name: str
    kind: Literal["number", "category"]


def feature_columns(
    contract: Contract, columns: Sequence[str], decide_at: KnownAt, label: str
) -> tuple[FeatureColumn, ...]:
    """The columns that are known at `decide_at`, sorted by name: the leakage guard.

    Only declared columns of role context, action or cost; never the label, an identifier, a time,
    an outcome, feedback, a rollup, the release, or the logging propensity.
    """
    have = set(columns)
    out = []
    for name in sorted(have - NEVER - {label}):
        column = contract.column(name)
        if column is None or column.role not in MODELLED_ROLES or column.type == "timestamp":
            continue
        if not contract.knowable(name, decide_at) or (name == "domain" and "use_case" in have):
            continue
        kind: Literal["number", "category"] = (
            "number" if column.type in ("integer", "number") else "category"
        )
        out.append(FeatureColumn(name, kind))
    return tuple(out)


@dataclass(frozen=True)
class RiskModel:
    """A logistic model and its calibration.

    weights: the feature's coefficients, one array a feature. typical: the mean contribution of
    each feature in the fit, against which reasons are told.
    """

    features: tuple[Feature, ...]
    weights: tuple[tuple[float, ...], ...]
    typical: tuple[float, ...]
    intercept: float
    slope: float = 1.0
    shift: float = 0.0

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """(n,): before calibration, added up feature by feature in a fixed order."""
        total = np.full(len(frame), self.intercept)
        for feature, weights in zip(self.features, self.weights, strict=True):
            total = total + feature.effect(frame[source(feature)], np.array(weights))
        return total

    def risk(self, frame: pd.DataFrame) -> Floats:
        """(n,): the calibrated risk, rounded to 1e-6 and below 1."""
        return self.calibrated(self.log_odds(frame))

    def calibrated(self, log_odds: Floats) -> Floats:
        """Risks of these log-odds."""
        risk = np.asarray(special.expit(self.slope * log_odds + self.shift))
        return np.minimum(np.round(risk, RISK_DIGITS), MAX_RISK)

    def reasons(self, frame: pd.DataFrame, most: int = 3) -> list[str]:
        """The features that raise each row's risk most above a typical row's, in words."""
        effects = (
            np.column_stack(
                [
                    f.effect(frame[source(f)], np.array(w))
                    for f, w in zip(self.features, self.weights, strict=True)
                ]
            )
            - np.array(self.typical)
            if self.features
            else np.zeros((len(frame), 0))
        )
        effects = np.round(effects * self.slope, RISK_DIGITS)
        order = np.argsort(-effects, axis=1, kind="stable")[:, :most]
        values: Mapping[str, list[object]] = {
            f.name: frame[source(f)].tolist() for f in self.features
        }
        out = []
        for row in range(len(frame)):
            told = [
                _told(self.features[k], values[self.features[k].name][row])
                for k in order[row]
                if effects[row, k] > 0.01
            ]
            out.append("; ".join(told))
        return out


def fit(frame: pd.DataFrame, y: Bools, columns: Sequence[FeatureColumn]) -> RiskModel:
    """The model on rows sorted by key. frame: `ts` and `columns`; y: (n,)."""
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
    return RiskModel(tuple(learned), tuple(weights), tuple(typical), float(beta[0]))


def calibrate(model: RiskModel, frame: pd.DataFrame, y: Bools) -> RiskModel:
    """The same model with a sigmoid fitted on rows that the fit did not see."""
    slope, shift = platt(model.log_odds(frame), y)
    return RiskModel(model.features, model.weights, model.typical, model.intercept, slope, shift)


def _told(feature: Feature, value: object) -> str:
    if isinstance(feature, ClockFeature):
        return feature.name
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return f"{feature.name} is missing"
    if isinstance(feature, NumberFeature):
        return f"{feature.name} {float(str(value)):.6g}"
    text = str(value)
    return f"{feature.name} “{text if len(text) <= 60 else text[:59] + '…'}”"
