"""The history before the candidate window, cut at UTC days into parts that run forward in time.

A session lies in one part as a whole, or in none: where it reaches into the window. Conditions are SQL
over `fact`; every moment in them is an integer, µs since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from analysis.policy import utc
from analysis.telemetry.engine import Engine, Row
from analysis.telemetry.windows import EPOCH, ResolvedWindows


@dataclass(frozen=True)
class Parts:
    """The history before the candidate window, cut at UTC days into three parts.

    n_rows: rows of each part. first_days: the first day of each part, None where it is empty. where: each
    part's rows as SQL, until `forget`.
    """

    n_rows: tuple[int, int, int]
    first_days: tuple[int | None, int | None, int | None]
    where: tuple[str, str, str]

    @property
    def complete(self) -> bool:
        return all(self.n_rows)


def window_rows(windows: ResolvedWindows) -> str:
    """The rows that a workload covers: the candidate's, of a canary all traffic of its span."""
    if not windows.by_release:
        return "win = 1"
    span = windows.candidate
    return f"{_within(span.start, span.end)}{_outside(windows)}"


def split(engine: Engine, windows: ResolvedWindows, shares: Sequence[float]) -> Parts:
    """Cuts the history. shares: the rows at which the second and third part begin, as shares of all."""
    if windows.by_release:
        return split_by_sessions(engine, windows, shares)
    return split_by_days(engine, windows, shares)


def split_by_days(engine: Engine, windows: ResolvedWindows, shares: Sequence[float]) -> Parts:
    """`split` where a row's day is that of its session's start: parts are spans of days.

    Only sessions that reach into the window need to be known by themselves: they are few.
    """
    before = f"ts_us < {microseconds(windows.candidate.start)}"
    last = engine.row(f"SELECT coalesce(max(day), -1) FROM fact WHERE {before}")[0]
    engine.create(
        "history_spoiled",
        f"SELECT DISTINCT session FROM fact WHERE session IS NOT NULL AND day <= {int(last)} "
        f"AND (NOT ({before}) OR {window_rows(windows)})",
    )
    rows = (
        f"{before}{_outside(windows)} AND session IS NOT NULL "
        "AND session NOT IN (SELECT session FROM history_spoiled)"
    )
    days = engine.rows(f"SELECT day, count(*) FROM fact WHERE {rows} GROUP BY day ORDER BY day")
    of_day, n_rows, first = _cut(days, shares)
    where = []
    for part in range(3):
        own = [day for day, p in of_day.items() if p == part]
        where.append(f"{rows} AND day BETWEEN {min(own)} AND {max(own)}" if own else "false")
    return Parts(n_rows, first, (where[0], where[1], where[2]))


def split_by_sessions(engine: Engine, windows: ResolvedWindows, shares: Sequence[float]) -> Parts:
    """`split` for any windows: a session's part is that of its first day."""
    before = f"ts_us < {microseconds(windows.candidate.start)}"
    engine.create(
        "history_sessions",
        f"""
        SELECT session, min(day) AS first_day,
               count(*) FILTER (WHERE true{_outside(windows)}) AS n
        FROM fact WHERE session IS NOT NULL GROUP BY session
        HAVING max(ts_us) < {microseconds(windows.candidate.start)}
           AND NOT coalesce(bool_or({window_rows(windows)}), false)
        """,
    )
    days = engine.rows(
        "SELECT first_day, CAST(sum(n) AS BIGINT) FROM history_sessions WHERE n > 0 "
        "GROUP BY first_day ORDER BY first_day"
    )
    of_day, n_rows, first = _cut(days, shares)
    engine.put(
        "history_days",
        pd.DataFrame(
            {
                "first_day": np.array(list(of_day), dtype=np.int64),
                "part": np.array(list(of_day.values()), dtype=np.int64),
            }
        ),
    )
    engine.create(
        "history_parts",
        "SELECT s.session, d.part FROM history_sessions AS s "
        "JOIN history_days AS d ON s.first_day = d.first_day",
    )
    engine.drop("history_sessions", "history_days")
    rows = f"{before}{_outside(windows)} AND session IN (SELECT session FROM history_parts WHERE part = "
    return Parts(n_rows, first, (f"{rows}0)", f"{rows}1)", f"{rows}2)"))


Three = tuple[int, int, int]


def _cut(
    days: Sequence[Row], shares: Sequence[float]
) -> tuple[dict[int, int], Three, tuple[int | None, int | None, int | None]]:
    """(each day's part, rows of each part, first day of each part) from rows by day."""
    total = sum(int(n) for _, n in days)
    of_day: dict[int, int] = {}
    rows, reached = [0, 0, 0], 0
    for day, n in days:
        middle = (reached + int(n) / 2) / total
        part = sum(middle >= share for share in shares)
        of_day[int(day)] = part
        rows[part] += int(n)
        reached += int(n)
    first = [min((d for d, p in of_day.items() if p == k), default=None) for k in range(3)]
    return of_day, (rows[0], rows[1], rows[2]), (first[0], first[1], first[2])


def forget(engine: Engine) -> None:
    """Drops what `split` made."""
    engine.drop("history_parts", "history_spoiled")


def microseconds(moment: datetime) -> int:
    """µs since 1970."""
    return (utc(moment) - EPOCH) // timedelta(microseconds=1)


def _within(start: datetime, end: datetime) -> str:
    return f"ts_us >= {microseconds(start)} AND ts_us < {microseconds(end)}"


def _outside(windows: ResolvedWindows) -> str:
    return "".join(f" AND NOT ({_within(e.start, e.end)})" for e in windows.exclude)
