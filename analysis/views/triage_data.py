"""Reads the triage view's rows: the history in three parts that run forward in time, and the window.

A session lies in one part as a whole. Users come back over time and may be in several parts: the
model knows no user, so nothing of a user can leak from one part into another but by its features.

The model reads bounded samples. What it scores is all of a part or of the window, since a queue's length
is a count of days: rows come a batch at a time and leave as a few numbers each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.policy import Bad
from analysis.telemetry import Telemetry
from analysis.telemetry.history import Parts, microseconds, window_rows
from analysis.telemetry.key_order import Ids, own_texts
from analysis.telemetry.past import BLANKS, FALSE_WORDS, TRUE_WORDS, Past
from analysis.telemetry.rows import rows_of
from analysis.telemetry.windows import DAY, EPOCH, Span, day_number
from analysis.views.encoding import as_text
from analysis.views.triage_columns import FeatureColumn, sources
from analysis.views.triage_policy import Queue, Scores
from analysis.views.triage_risk import RiskModel

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FIT, CALIBRATE, CHOOSE = 0, 1, 2
PART_SHARES = (0.5, 0.7)
"""Where the parts that calibrate and that choose begin. A model gains little from more rows to fit; to be
sure that it pays, the part that chooses needs many."""
MAX_FIT_ROWS = 60_000
MAX_CALIBRATE_ROWS = 60_000


Slices = Mapping[str, tuple[Ints, tuple[str, ...]]]
"""Dimension → code of each row among its values (−1 where it is missing), and these values."""


@dataclass(frozen=True)
class Read:
    """Scored rows in key order. unit: (n,) the engine's codes of their clusters, which mean the same in all
    parts; null where there is none."""

    queue: Queue
    ids: Ids
    slices: Slices
    unit: pd.Series


@dataclass(frozen=True)
class Reader:
    """What the rows are read with.

    dated: whether it is known when the label became known. rule: the policy's, where it may be used.
    delay: how long after an interaction its label counts as known, where the telemetry does not say it.
    past: the rows with what was known of the past.
    """

    telemetry: Telemetry
    label: str
    dated: bool
    rule: Bad | None
    delay: timedelta
    past: Past

    @property
    def label_column(self) -> str:
        """`failure` stands for is_failure: labels not known yet are null in it."""
        return "failure" if self.label == "is_failure" else self.label

    def sample(
        self, part: int, parts: Parts, columns: Sequence[FeatureColumn], max_rows: int
    ) -> tuple[pd.DataFrame, Bools]:
        """Rows of a part whose label was known before the window began, and that label."""
        frame = self.telemetry.sample(
            ["ts_us", *self._label_columns, *(c.name for c in columns), *self.past.columns],
            parts.where[part],
            max_rows=max_rows,
            seed=f"triage-{part}",
            source=self.past.source,
        )
        known, bad = self._labels(frame, history=True)
        return frame[known].reset_index(drop=True), bad[known]

    def scores(self, model: RiskModel, part: int, parts: Parts) -> Scores:
        """The risks of all rows of a part of the history, in no order."""
        days, coverage = self._days(part, parts)
        risk, day = _Column(float), _Column(np.int64)
        for frame in self._scan(["day"], model, part, parts):
            risk.add(model.risk(frame))
            day.add(frame["day"])
        return Scores(risk.whole(), _places(day.whole(), days), days, coverage)

    def queue(
        self,
        model: RiskModel | None,
        part: int | None,
        parts: Parts,
        dimensions: Sequence[str] = (),
    ) -> Read:
        """All rows of a part of the history, or of the window (part None), scored."""
        base = ["interaction_id", "ts_us", "day", "cluster", "win", *self._label_columns]
        base += [self.rule.column] if self.rule is not None else []
        base += dimensions
        values = {name: _Values() for name in dimensions}
        risk, day, ts = _Column(float), _Column(np.int64), _Column(np.int64)
        known, bad, own, rule = (_Column(bool) for _ in range(4))
        ids: list[pa.LargeStringArray] = []
        clusters: list[pd.Series] = []
        for frame in self._scan(base, model, part, parts):
            labels = self._labels(frame, history=part is not None)
            known.add(labels[0])
            bad.add(labels[1])
            risk.add(model.risk(frame) if model is not None else np.full(len(frame), np.nan))
            if self.rule is not None:
                rule.add(flags(frame[self.rule.column], self.rule))
            mine = frame["win"].eq(1).fillna(False) if part is None else np.ones(len(frame))
            own.add(mine)
            day.add(frame["day"])
            ts.add(frame["ts_us"])
            ids.append(own_texts(frame["interaction_id"]))
            clusters.append(frame["cluster"].copy())
            for name, held in values.items():
                held.add(frame[name])
        keys = Ids.of(ids)
        order = keys.order
        codes = (
            pd.concat(clusters, ignore_index=True) if clusters else pd.Series([], dtype=np.int64)
        )
        days, coverage = self._days(part, parts)
        queue = Queue(
            risk=risk.whole()[order],
            day=_places(day.whole(), days)[order],
            days=days,
            coverage=coverage,
            known=known.whole()[order],
            bad=bad.whole()[order],
            # Codes by first appearance in key order: sums run in the same order for any input.
            cluster=pd.factorize(codes.take(order), use_na_sentinel=False)[0].astype(np.int64),
            ts_us=ts.whole()[order],
            rule=rule.whole()[order] if self.rule is not None else None,
            own=own.whole()[order],
        )
        slices = {name: held.whole(order) for name, held in values.items()}
        return Read(queue, keys, slices, codes.take(order))

    def _scan(
        self, base: Sequence[str], model: RiskModel | None, part: int | None, parts: Parts
    ) -> Iterator[pd.DataFrame]:
        """The rows of a part or of the window with what the model reads, a batch at a time."""
        read = self.read_by(model) if model is not None else []
        where = window_rows(self.telemetry.windows) if part is None else parts.where[part]
        return self.telemetry.scan([*base, *read], where, source=self.past.source)

    def rows_of(self, model: RiskModel, ids: Sequence[str]) -> pd.DataFrame:
        """What a model reads of the rows with these ids, in key order."""
        engine = self.telemetry.engine
        return rows_of(engine, self.read_by(model), ids, source=self.past.source)

    def read_by(self, model: RiskModel) -> list[str]:
        """The columns of the telemetry that a model reads."""
        return sources(model.scorer.sources)

    @property
    def _label_columns(self) -> list[str]:
        return [self.label_column, *(["label_available_utc"] if self.dated else [])]

    def _labels(self, frame: pd.DataFrame, *, history: bool) -> tuple[Bools, Bools]:
        known, bad = truth(frame[self.label_column])
        if history:
            # At the window's start nobody could have learned from a label that came later.
            late = self._known_from(frame) >= microseconds(self.telemetry.windows.candidate.start)
            known, bad = known & ~late, bad & ~late
        return known, bad

    def _known_from(self, frame: pd.DataFrame) -> Ints:
        """(n,): when each label became known, in µs: never before its interaction."""
        moment = frame["ts_us"].to_numpy(dtype=np.int64)
        assumed = moment + self.delay // timedelta(microseconds=1)
        if not self.dated:
            return assumed
        given = pd.to_datetime(frame["label_available_utc"]).dt.tz_localize(None)
        stamps = given.to_numpy().astype("datetime64[us]")
        dated = np.where(np.isnat(stamps), assumed, stamps.astype(np.int64))
        return np.maximum(dated, moment)

    def _days(
        self, part: int | None, parts: Parts
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The days of a part or of the window, those without traffic too, and their coverage."""
        windows = self.telemetry.windows
        start, end = windows.candidate.start, windows.candidate.end
        if part is not None:
            first = parts.first_days[part]
            assert first is not None
            after = next((d for d in parts.first_days[part + 1 :] if d is not None), None)
            end = start if after is None else EPOCH + after * DAY
            start = EPOCH + first * DAY
        days = np.arange(
            day_number(start), max(math.ceil((end - EPOCH) / DAY), day_number(start) + 1)
        )
        coverage = []
        for day in days.tolist():
            piece = Span(max(start, EPOCH + day * DAY), min(end, EPOCH + (day + 1) * DAY))
            left = piece.days - windows.excluded_days(piece) if piece.end > piece.start else 0.0
            coverage.append(min(1.0, max(0.0, left)))
        return days.astype(np.int64), np.array(coverage)


class _Column:
    """Pieces of one array: copies, since a column that is kept keeps all of its batch."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.pieces: list[npt.NDArray[Any]] = [np.zeros(0, dtype=kind)]

    def add(self, values: npt.ArrayLike | pd.Series) -> None:
        self.pieces.append(np.array(values, dtype=self.kind))

    def whole(self) -> npt.NDArray[Any]:
        return np.concatenate(self.pieces)


class _Values:
    """Pieces of one column of texts as codes into one list of values."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self.pieces: list[npt.NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]

    def add(self, values: pd.Series) -> None:
        codes, seen = pd.factorize(values, use_na_sentinel=True)
        at = [self.place.setdefault(as_text(v), len(self.place)) for v in seen]
        self.pieces.append(np.array([*at, -1], dtype=np.int32)[codes])

    def whole(self, order: Ints) -> tuple[Ints, tuple[str, ...]]:
        """The codes in this order, of values in theirs: batches come in none."""
        names = sorted(self.place)
        table = np.full(len(names) + 1, -1, dtype=np.int64)
        for code, name in enumerate(names):
            table[self.place[name]] = code
        return table[np.concatenate(self.pieces)[order]], tuple(names)


def _places(day: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.clip(day - days[0], 0, len(days) - 1)


def truth(values: pd.Series) -> tuple[Bools, Bools]:
    """(known, true) of a column of booleans, of 0 and 1, or of their usual spellings: as `past` reads it."""
    if values.dtype == bool:
        return np.ones(len(values), dtype=bool), values.to_numpy(dtype=bool)
    codes, seen = pd.factorize(values, use_na_sentinel=True)
    words = [str(v).strip(BLANKS).lower() for v in seen]
    yes = np.array([w in TRUE_WORDS for w in words] + [False])
    no = np.array([w in FALSE_WORDS for w in words] + [False])
    return yes[codes] | no[codes], yes[codes]


def flags(values: pd.Series, rule: Bad) -> Bools:
    """Where a rule holds; a missing value is not flagged."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    limits = (
        (rule.above, np.greater),
        (rule.below, np.less),
        (rule.at_least, np.greater_equal),
        (rule.at_most, np.less_equal),
    )
    for limit, beyond in limits:
        if limit is not None:
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
            with np.errstate(invalid="ignore"):
                return np.asarray(beyond(numbers, limit))
    if rule.equals is None or isinstance(rule.equals, bool):
        known, true = truth(values)
        return true if rule.equals is not False else known & ~true
    if isinstance(rule.equals, int | float):
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(numbers == float(rule.equals))
    codes, seen = pd.factorize(values, use_na_sentinel=True)
    return np.array([*(v == rule.equals for v in seen), False], dtype=bool)[codes]


def day_text(day: int) -> str:
    """A day number as an ISO date."""
    return (EPOCH + timedelta(days=int(day))).date().isoformat()
