"""Turns columns into the numbers that a linear model reads; learnt on some rows, used on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

MIN_LEVEL_ROWS = 30
MAX_LEVELS = 40
CLIP = 5.0
CLOCK = "time of day and week"


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
        weekend = (values.dt.day_of_week >= 5).to_numpy(dtype=float)
        return np.column_stack([np.sin(hour), np.cos(hour), weekend])

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        design = self.design(values)
        return np.asarray(
            design[:, 0] * weights[0] + design[:, 1] * weights[1] + design[:, 2] * weights[2]
        )


Feature = NumberFeature | CategoryFeature | ClockFeature


def source(feature: Feature) -> str:
    """The column of `fact` that a feature reads."""
    return "ts" if isinstance(feature, ClockFeature) else feature.name


def _logs(values: pd.Series) -> Floats:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))


def _texts(values: pd.Series) -> pd.Series:
    """Values as text; true and false in one spelling, whatever the file's type was."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    known = values.notna()
    return (
        values.astype(str).str.lower().where(known)
        if values.dtype != object
        else (
            values.map(
                lambda v: str(v).lower() if isinstance(v, bool | np.bool_) else str(v)
            ).where(known)
        )
    )
