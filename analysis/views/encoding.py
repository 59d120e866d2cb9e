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
        scaled, absent = self._scaled(values)
        return np.column_stack([scaled, absent][: self.width]).astype(float)

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        scaled, absent = self._scaled(values)
        scaled *= weights[0]
        if self.flag_missing:
            scaled += absent * weights[1]
        return scaled

    def _scaled(self, values: pd.Series) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The first column of the design, and where the value is missing."""
        scaled = _logs(values)
        absent = np.isnan(scaled)
        scaled -= self.mean
        scaled /= self.scale
        np.clip(scaled, -CLIP, CLIP, out=scaled)
        scaled[absent] = 0.0
        return scaled, absent


@dataclass(frozen=True)
class CategoryFeature:
    """Indicators of the levels that the fit saw often enough; all else, null too, is `other`."""

    name: str
    levels: tuple[str, ...]

    @classmethod
    def learn(cls, name: str, values: pd.Series) -> CategoryFeature | None:
        """None where a single level is left."""
        often = [(k, n) for k, n in _counts(values).items() if n >= MIN_LEVEL_ROWS]
        often.sort(key=lambda item: (-item[1], item[0]))
        levels = tuple(sorted(k for k, _ in often[:MAX_LEVELS]))
        if not levels or (len(levels) == 1 and len(values) - often[0][1] < MIN_LEVEL_ROWS):
            return None
        return cls(name, levels)

    @property
    def width(self) -> int:
        return len(self.levels)

    def codes(self, values: pd.Series) -> npt.NDArray[np.int64]:
        """Index of each value among the levels; their number for `other`."""
        if isinstance(values.dtype, pd.CategoricalDtype):
            codes = values.cat.codes.to_numpy()
            seen = _texts(values.cat.categories.to_series()).tolist()
        else:
            codes, found = pd.factorize(_texts(values), use_na_sentinel=True)
            seen = list(found)
        place = {level: index for index, level in enumerate(self.levels)}
        table = np.array([place.get(str(v), self.width) for v in seen] + [self.width])
        return table[codes].astype(np.int64)

    def design(self, values: pd.Series) -> Floats:
        """(n, width)."""
        identity = np.vstack([np.eye(self.width), np.zeros(self.width)])
        return np.asarray(identity[self.codes(values)])

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        return np.asarray(np.append(weights, 0.0)[self.codes(values)])


@dataclass(frozen=True)
class ClockFeature:
    """Hour of the day as a circle, and the weekend, in UTC."""

    name: str = CLOCK
    width: int = 3

    def design(self, values: pd.Series) -> Floats:
        """(n, 3). values: µs since 1970, or timestamps in UTC."""
        minute, weekend = _clock(values)
        hour = np.arange(1440) // 60 + np.arange(1440) % 60 / 60.0
        angle = hour / 24.0 * 2.0 * np.pi
        return np.column_stack([np.sin(angle)[minute], np.cos(angle)[minute], weekend])

    def effect(self, values: pd.Series, weights: Floats) -> Floats:
        """(n,): the contribution to the log-odds."""
        every = 60_000_000 * np.concatenate([np.arange(1440), 2 * 1440 + np.arange(1440)])
        design = self.design(pd.Series(every))  # a Thursday's minutes, then a Saturday's
        table = design[:, 0] * weights[0] + design[:, 1] * weights[1] + design[:, 2] * weights[2]
        minute, weekend = _clock(values)
        return np.asarray(table[minute + 1440 * weekend])


Feature = NumberFeature | CategoryFeature | ClockFeature


def source(feature: Feature) -> str:
    """The column of `fact` that a feature reads."""
    return "ts_us" if isinstance(feature, ClockFeature) else feature.name


def _clock(values: pd.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(minute of the day, 1 on Saturday and Sunday else 0)."""
    if values.dtype.kind == "M":
        values = values.astype("datetime64[us]").astype(np.int64)
    minutes = values.to_numpy(dtype=np.int64) // 60_000_000
    return minutes % 1440, ((minutes // 1440 + 3) % 7 >= 5).astype(np.int64)


def _logs(values: pd.Series) -> Floats:
    """A new array: sign(x) log(1 + |x|), nan where x is no finite number."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    finite = np.isfinite(numbers)
    logs = np.abs(numbers)
    np.log1p(logs, out=logs)
    np.copysign(logs, numbers, out=logs)
    logs[~finite] = np.nan
    return logs


def _counts(values: pd.Series) -> dict[str, int]:
    """How often each text is there."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return {str(k): int(n) for k, n in _texts(values).value_counts().items()}
    codes = values.cat.codes.to_numpy()
    words = _texts(values.cat.categories.to_series()).tolist()
    counts: dict[str, int] = {}
    for word, n in zip(words, np.bincount(codes[codes >= 0], minlength=len(words)), strict=True):
        counts[str(word)] = counts.get(str(word), 0) + int(n)
    return counts


def as_text(value: object) -> str:
    """A value as text; true and false in one spelling, whatever the file's type was."""
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _texts(values: pd.Series) -> pd.Series:
    """Values as text; true and false in one spelling, whatever the file's type was."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _texts(values.astype(values.cat.categories.dtype))
    known = values.notna()
    return (
        values.astype(str).str.lower().where(known)
        if values.dtype != object
        else (values.map(as_text).where(known))
    )
