"""How much arrives by day and hour of the day, of all rows before a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from analysis.policy import utc
from analysis.telemetry.engine import Engine
from analysis.telemetry.history import microseconds
from analysis.telemetry.windows import DAY, EPOCH, ResolvedWindows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Arrivals:
    """Rows by their own time. days: (D,) whole days since 1970, ascending, those without rows too.
    by_hour: (D, 24)."""

    days: Ints
    by_hour: Ints

    @property
    def by_day(self) -> Ints:
        """(D,): rows a day."""
        return np.asarray(self.by_hour.sum(axis=1))


def arrivals(engine: Engine, windows: ResolvedWindows, before: datetime) -> Arrivals:
    """Whole days before a moment, since the last week without any row.

    Left out: days that an exclusion touches, and the first day where its first row comes later than
    any other day's, since the telemetry began during it.
    """
    counted = engine.rows(
        "SELECT ts_hour, count(*) FROM "
        "(SELECT CAST(floor(ts_us / 3600000000) AS BIGINT) AS ts_hour FROM fact "
        f"WHERE ts_us < {microseconds(before)}) AS hours GROUP BY ts_hour ORDER BY ts_hour"
    )
    end = (utc(before) - EPOCH) // DAY
    hours = np.array([(int(hour), int(n)) for hour, n in counted], dtype=np.int64).reshape(-1, 2)
    hours = hours[hours[:, 0] < 24 * end]
    if not len(hours):
        return Arrivals(np.zeros(0, dtype=np.int64), np.zeros((0, 24), dtype=np.int64))
    busy = np.unique(hours[:, 0] // 24)
    gaps = np.flatnonzero(np.diff(busy) > 7)
    first = int(busy[gaps[-1] + 1 if len(gaps) else 0])
    hours = hours[hours[:, 0] >= 24 * first]
    by_hour = np.zeros((end - first, 24), dtype=np.int64)
    by_hour[hours[:, 0] // 24 - first, hours[:, 0] % 24] = hours[:, 1]
    opens = np.where(by_hour.any(axis=1), (by_hour > 0).argmax(axis=1), -1)
    whole = np.ones(len(by_hour), dtype=bool)
    whole[0] = bool(opens[0] <= opens[1:].max(initial=-1))
    for out in windows.exclude:
        begins, ends = (utc(out.start) - EPOCH) / DAY, (utc(out.end) - EPOCH) / DAY
        if ends > begins:
            whole[max(0, math.floor(begins) - first) : max(0, math.ceil(ends) - first)] = False
    days = np.arange(first, end, dtype=np.int64)
    return Arrivals(days[whole], by_hour[whole])
