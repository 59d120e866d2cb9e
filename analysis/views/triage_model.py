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
from analysis.stats.calibration import platt, ridge_logistic

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MODELLED_ROLES = frozenset({"context", "action", "cost"})
NEVER = frozenset({"release_id", "routing_propensity"})
MIN_LEVEL_ROWS = 30
MAX_LEVELS = 40
CLIP = 5.0
RIDGE = 3.0
RISK_DIGITS = 6
# No score reaches 1, so that a threshold of 1 reviews nothing and one of 0 everything.
MAX_RISK = 0.999999
CLOCK = "time of day and week"


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
class NumberFeature:
    """log1p (signed), standardised, clipped; a missing value counts as the mean, and is flagged."""

    name: str
    mean: float
    scale: float
    flag_missing: bool

    @classmethod
    def learn(cls, name: str, values: pd.Series) -> NumberFeature | None:
        """None where the column never varies."""
        logs = _logs(values)
        known = logs[~np.isnan(logs)]
        absent = len(logs) - len(known)
        flag = min(absent, len(known)) >= MIN_LEVEL_ROWS
        varies = len(known) > 1 and float(known.std()) > 1e-9
        if not varies and not flag:
            return None
        mean = float(known.mean()) if len(known) else 0.0
        return cls(name, mean, float(known.std()) if varies else 1.0, flag)

    @property
    def width(self) -> int:
        return 2 if self.flag_missing else 1

    def design(self, values: pd.Series) -> Floats:
        """(n, width)."""
        logs = _logs(values)
        absent = np.isnan(logs)
        scaled = np.clip(np.where(absent, 0.0, (logs - self.mean) / self.scale), -CLIP, CLIP)
        return np.column_stack([scaled, absent][: self.width]).astype(float)

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        design = self.design(values)
        out = design[:, 0] * weights[0]
        return out + design[:, 1] * weights[1] if self.flag_missing else out


@dataclass(frozen=True)
class CategoryFeature:
    """Indicators of the levels that the fit saw often enough; all else, null too, is `other`."""

    name: str
    levels: tuple[str, ...]

    @classmethod
    def learn(cls, name: str, values: pd.Series) -> CategoryFeature | None:
        """None where a single level is left."""
        counts = _texts(values).value_counts()
        often = [(str(k), int(v)) for k, v in counts.items() if v >= MIN_LEVEL_ROWS]
        often.sort(key=lambda item: (-item[1], item[0]))
        levels = tuple(sorted(k for k, _ in often[:MAX_LEVELS]))
        if not levels or (len(levels) == 1 and len(values) - often[0][1] < MIN_LEVEL_ROWS):
            return None
        return cls(name, levels)

    @property
    def width(self) -> int:
        return len(self.levels)

    def _codes(self, values: pd.Series) -> npt.NDArray[np.int64]:
        """Index of each value among the levels; their number for `other`."""
        codes, seen = pd.factorize(_texts(values), use_na_sentinel=True)
        place = {level: index for index, level in enumerate(self.levels)}
        table = np.array([place.get(str(v), self.width) for v in seen] + [self.width])
        return table[codes].astype(np.int64)

    def design(self, values: pd.Series) -> Floats:
        """(n, width)."""
        identity = np.vstack([np.eye(self.width), np.zeros(self.width)])
        return np.asarray(identity[self._codes(values)])

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        return np.asarray(np.append(weights, 0.0)[self._codes(values)])


@dataclass(frozen=True)
class ClockFeature:
    """Hour of the day as a circle, and the weekend, in UTC."""

    name: str = CLOCK
    width: int = 3

    def design(self, values: pd.Series) -> Floats:
        """(n, 3)."""
        hour = (values.dt.hour + values.dt.minute / 60.0).to_numpy(dtype=float) / 24.0 * 2.0 * np.pi
        weekend = (values.dt.weekday >= 5).to_numpy(dtype=float)
        return np.column_stack([np.sin(hour), np.cos(hour), weekend])

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        design = self.design(values)
        return np.asarray(
            design[:, 0] * weights[0] + design[:, 1] * weights[1] + design[:, 2] * weights[2]
        )


Feature = NumberFeature | CategoryFeature | ClockFeature


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
        effects = np.column_stack(
            [f.effect(frame[source(f)], np.array(w)) for f, w in
             zip(self.features, self.weights, strict=True)]
        ) - np.array(self.typical) if self.features else np.zeros((len(frame), 0))
        effects = np.round(effects * self.slope, RISK_DIGITS)
        order = np.argsort(-effects, axis=1, kind="stable")[:, :most]
        values: Mapping[str, list[object]] = {
            f.name: frame[source(f)].tolist() for f in self.features
        }
        out = []
        for row in range(len(frame)):
            told = [
                _told(self.features[k], values[self.features[k].name][row])
                for k in order[row] if effects[row, k] > 0.01
            ]
            out.append("; ".join(told))
        return out


def source(feature: Feature) -> str:
    """The column of `fact` that a feature reads."""
    return "ts" if isinstance(feature, ClockFeature) else feature.name


def fit(frame: pd.DataFrame, y: Bools, columns: Sequence[FeatureColumn]) -> RiskModel:
    """The model on rows sorted by key. frame: `ts` and `columns`; y: (n,)."""
    learned: list[Feature] = []
    for column in columns:
        learner = NumberFeature if column.kind == "number" else CategoryFeature
        feature = learner.learn(column.name, frame[column.name])
        if feature is not None:
            learned.append(feature)
    learned.append(ClockFeature())
    designs = [f.design(frame[source(f)]) for f in learned]
    beta = ridge_logistic(np.hstack(designs), y.astype(float), ridge=RIDGE)
    weights, typical, start = [], [], 1
    for feature, design in zip(learned, designs, strict=True):
        part = beta[start : start + feature.width]
        start += feature.width
        weights.append(tuple(float(w) for w in part))
        typical.append(float((design.mean(axis=0) * part).sum()))
    return RiskModel(tuple(learned), tuple(weights), tuple(typical), float(beta[0]))


def calibrate(model: RiskModel, frame: pd.DataFrame, y: Bools) -> RiskModel:
    """The same model with a sigmoid fitted on rows that the fit did not see."""
    slope, shift = platt(model.log_odds(frame), y)
    return RiskModel(
        model.features, model.weights, model.typical, model.intercept, slope, shift
    )


def _logs(values: pd.Series) -> Floats:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))


def _texts(values: pd.Series) -> pd.Series:
    """Values as text; true and false in one spelling, whatever the file's type was."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    known = values.notna()
    return values.astype(str).str.lower().where(known) if values.dtype != object else (
        values.map(lambda v: str(v).lower() if isinstance(v, bool | np.bool_) else str(v))
        .where(known)
    )


def _told(feature: Feature, value: object) -> str:
    if isinstance(feature, ClockFeature):
        return feature.name
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return f"{feature.name} is missing"
    if isinstance(feature, NumberFeature):
        return f"{feature.name} {float(str(value)):.6g}"
    text = str(value)
    return f"{feature.name} “{text if len(text) <= 60 else text[:59] + '…'}”"
