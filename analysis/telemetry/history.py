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
from analysis.telemetry.engine import Engine
from analysis.telemetry.windows import EPOCH, ResolvedWindows


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


def window_rows(windows: ResolvedWindows) -> str:
    """The rows that a workload covers: the candidate's, of a canary all traffic of its span."""
    if not windows.by_release:
        return "win = 1"
    span = windows.candidate
    return f"{_within(span.start, span.end)}{_outside(windows)}"


def part_rows(windows: ResolvedWindows, part: int) -> str:
    """The rows of a part, once `split` has made them."""
    return (
        f"ts_us < {microseconds(windows.candidate.start)}{_outside(windows)} AND session IN "
        f"(SELECT session FROM history_parts WHERE part = {int(part)})"
    )


def split(engine: Engine, windows: ResolvedWindows, shares: Sequence[float]) -> Parts:
    """Makes the table `history_parts` (session, part).

    shares: the rows at which the second and the third part begin, as shares of all.
    """
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
    return Parts((rows[0], rows[1], rows[2]), (first[0], first[1], first[2]))


def forget(engine: Engine) -> None:
    """Drops what `split` made."""
    engine.drop("history_parts")


def microseconds(moment: datetime) -> int:
    """µs since 1970."""
    return (utc(moment) - EPOCH) // timedelta(microseconds=1)


def _within(start: datetime, end: datetime) -> str:
    return f"ts_us >= {microseconds(start)} AND ts_us < {microseconds(end)}"


def _outside(windows: ResolvedWindows) -> str:
    return "".join(f" AND NOT ({_within(e.start, e.end)})" for e in windows.exclude)
