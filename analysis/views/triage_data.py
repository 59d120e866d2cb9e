"""Reads the triage view's rows: the history in three parts that run forward in time, and the window.

A session lies in one part as a whole. Users come back over time and may be in several parts: the
model knows no user, so nothing of a user can leak from one part into another but by its features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.policy import Bad, utc
from analysis.telemetry import Telemetry
from analysis.telemetry.windows import DAY, EPOCH, Span, day_number
from analysis.views.triage_model import RiskModel
from analysis.views.triage_policy import Queue

Bools = npt.NDArray[np.bool_]

FIT, CALIBRATE, CHOOSE = 0, 1, 2
PART_SHARES = (0.5, 0.7)
MAX_FIT_ROWS = 120_000
MAX_CALIBRATE_ROWS = 60_000

_TRUE = frozenset({"true", "t", "1", "1.0", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "0.0", "no", "n"})


@dataclass(frozen=True)
class Parts:
    """The history before the candidate window, cut at UTC days into three parts.

    n_rows: rows of each part. first_days: the first day of each part, None where it is empty.
    """

    n_rows: tuple[int, int, int]
    first_days: tuple[int | None, int | None, int | None]

    @property
    def complete(self) -> bool:
        return all(self.n_rows)


@dataclass(frozen=True)
class Reader:
    """What the rows are read with: the label, and the policy's rule where it may be used."""

    telemetry: Telemetry
    label: str
    rule: Bad | None

    @property
    def label_column(self) -> str:
        """`failure` stands for is_failure: labels not known yet are null in it."""
        return "failure" if self.label == "is_failure" else self.label

    @property
    def dated_labels(self) -> bool:
        """Whether it is known when the label became known."""
        column = self.telemetry.contract.column(self.label)
        outcome = column is not None and column.role == "outcome"
        return outcome and self.telemetry.has("label_available_utc")

    def window(self) -> str:
        """The rows that the workload covers: the candidate's, of a canary all traffic of its span."""
        if not self.telemetry.windows.by_release:
            return "win = 1"
        span = self.telemetry.windows.candidate
        return f"ts >= {_moment(span.start)} AND ts < {_moment(span.end)}{self._outside()}"

    def part(self, *parts: int) -> str:
        """The rows of these parts of the history."""
        numbers = ", ".join(str(int(p)) for p in parts)
        return (
            f"ts < {_moment(self.telemetry.windows.candidate.start)}{self._outside()} AND session IN "
            f"(SELECT session FROM triage_parts WHERE part IN ({numbers}))"
        )

    def _outside(self) -> str:
        return "".join(
            f" AND NOT (ts >= {_moment(e.start)} AND ts < {_moment(e.end)})"
            for e in self.telemetry.windows.exclude
        )

    def split(self) -> Parts:
        """Makes the table `triage_parts` (session, part): half of the rows, a fifth, the rest.

        A session that reaches into the candidate window belongs to no part.
        """
        con = self.telemetry.con
        start = _moment(self.telemetry.windows.candidate.start)
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE triage_history AS
            SELECT session, min(day) AS first_day,
                   count(*) FILTER (true{self._outside()}) AS n
            FROM fact WHERE session IS NOT NULL GROUP BY session
            HAVING max(ts) < {start} AND NOT coalesce(bool_or({self.window()}), false)
            """
        )
        days = con.execute(
            "SELECT first_day, CAST(sum(n) AS BIGINT) FROM triage_history WHERE n > 0 "
            "GROUP BY first_day ORDER BY first_day"
        ).fetchall()
        total = sum(n for _, n in days)
        of_day: dict[int, int] = {}
        rows, reached = [0, 0, 0], 0
        for day, n in days:
            middle = (reached + n / 2) / total
            part = (
                FIT if middle < PART_SHARES[0] else CALIBRATE if middle < PART_SHARES[1] else CHOOSE
            )
            of_day[int(day)] = part
            rows[part] += int(n)
            reached += n
        first = [min((d for d, p in of_day.items() if p == k), default=None) for k in range(3)]
        table = pd.DataFrame(
            {
                "first_day": np.array(list(of_day), dtype=np.int64),
                "part": np.array(list(of_day.values()), dtype=np.int64),
            }
        )
        con.register("triage_days", table)
        con.execute(
            "CREATE OR REPLACE TEMP TABLE triage_parts AS "
            "SELECT session, part FROM triage_history JOIN triage_days USING (first_day)"
        )
        con.unregister("triage_days")
        con.execute("DROP TABLE triage_history")
        return Parts((rows[0], rows[1], rows[2]), (first[0], first[1], first[2]))

    def sample(
        self, part: int, columns: Sequence[str], max_rows: int
    ) -> tuple[pd.DataFrame, Bools]:
        """Rows of a part whose label was known before the window began, and that label."""
        wanted = ["ts", self.label_column, *columns]
        wanted += ["label_available_utc"] if self.dated_labels else []
        frame = self.telemetry.sample(
            wanted, self.part(part), max_rows=max_rows, seed=f"triage-{part}"
        )
        known, bad = self._labels(frame, history=True)
        return frame[known].reset_index(drop=True), bad[known]

    def queue(
        self, model: RiskModel | None, columns: Sequence[str], part: int | None, parts: Parts
    ) -> tuple[Queue, pd.Series]:
        """All rows of a part of the history, or of the window (part None), scored; and their ids."""
        where = self.window() if part is None else self.part(part)
        base = ["ts", "day", "cluster", "win", self.label_column]
        base += ["label_available_utc"] if self.dated_labels else []
        base += [self.rule.column] if self.rule is not None else []
        pieces: list[list[npt.NDArray]] = []
        ids: list[pd.Series] = []
        for frame in self.telemetry.batches([*base, *(columns if model else ())], where):
            known, bad = self._labels(frame, history=part is not None)
            risk = model.risk(frame) if model is not None else np.full(len(frame), np.nan)
            flagged = flags(frame[self.rule.column], self.rule) if self.rule else known
            own = np.ones(len(frame), dtype=bool)
            if part is None:
                own = frame["win"].eq(1).fillna(False).to_numpy(dtype=bool)
            ts = frame["ts"].to_numpy().astype("datetime64[us]").astype(np.int64)
            pieces.append(
                [
                    risk,
                    known,
                    bad,
                    frame["day"].to_numpy(dtype=np.int64),
                    frame["cluster"].to_numpy(dtype=np.int64),
                    ts,
                    flagged,
                    own,
                ]
            )
            ids.append(frame["interaction_id"])
        if pieces:
            columns_ = [np.concatenate(p) for p in zip(*pieces, strict=True)]
        else:
            kinds = (float, bool, bool, np.int64, np.int64, np.int64, bool, bool)
            columns_ = [np.zeros(0, dtype=k) for k in kinds]
        risk, known, bad, day, cluster, ts, flagged, own = columns_
        days, coverage = self._days(part, parts)
        arrival = np.empty(len(ts), dtype=np.int64)
        arrival[np.argsort(ts, kind="stable")] = np.arange(len(ts))
        queue = Queue(
            risk=risk,
            known=known,
            bad=bad,
            day=np.clip(day - days[0], 0, len(days) - 1),
            # Codes by first appearance in key order: sums run in the same order for any input.
            cluster=pd.factorize(cluster)[0].astype(np.int64),
            arrival=arrival,
            rule=flagged if self.rule else None,
            own=own,
            days=days,
            coverage=coverage,
        )
        return queue, pd.concat(ids, ignore_index=True) if ids else pd.Series([], dtype="str")

    def _labels(self, frame: pd.DataFrame, *, history: bool) -> tuple[Bools, Bools]:
        known, bad = truth(frame[self.label_column])
        if history and self.dated_labels:
            # At the window's start nobody could have learned from a label that came later.
            available = pd.to_datetime(frame["label_available_utc"])
            limit = pd.Timestamp(self.telemetry.windows.candidate.start.replace(tzinfo=None))
            late = (available.dt.tz_localize(None) >= limit).to_numpy(dtype=bool)
            known, bad = known & ~late, bad & ~late
        return known, bad

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


def truth(values: pd.Series) -> tuple[Bools, Bools]:
    """(known, true) of a column of booleans, of 0 and 1, or of their usual spellings."""
    if values.dtype == bool:
        return np.ones(len(values), dtype=bool), values.to_numpy(dtype=bool)
    codes, seen = pd.factorize(values, use_na_sentinel=True)
    words = [str(v).strip().lower() for v in seen]
    yes = np.array([w in _TRUE for w in words] + [False])
    no = np.array([w in _FALSE for w in words] + [False])
    return yes[codes] | no[codes], yes[codes]


def flags(values: pd.Series, rule: Bad) -> Bools:
    """Where a rule holds; a missing value is not flagged."""
    if rule.above is not None or rule.below is not None:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        with np.errstate(invalid="ignore"):
            if rule.above is not None:
                return np.asarray(numbers > rule.above)
            return np.asarray(numbers < float(rule.below or 0.0))
    if rule.equals is None or isinstance(rule.equals, bool):
        known, true = truth(values)
        return true if rule.equals is not False else known & ~true
    if isinstance(rule.equals, int | float):
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(numbers == float(rule.equals))
    return values.astype(object).map(lambda v: v == rule.equals).to_numpy(dtype=bool)


def day_text(day: int) -> str:
    """A day number as an ISO date."""
    return (EPOCH + timedelta(days=int(day))).date().isoformat()


def _moment(moment: datetime) -> str:
    """A time of the policy as an SQL literal; formatted from a datetime, so nothing can slip in."""
    return f"TIMESTAMP '{utc(moment).replace(tzinfo=None).isoformat(sep=' ')}'"
