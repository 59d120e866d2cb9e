"""Counts by day and bin of rows that no window counts, by the bins that the windows gave.

What the windows hold was counted by day when their columns were cut (`bins`); here one statement adds all
other days, one more the releases that the policy names, and one the candidate's rows in the bins of
releases recorded earlier. A row of an exclusion is in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.policy import Exclusion
from analysis.telemetry.bin_cuts import Reading
from analysis.telemetry.bins import BinnedColumn, Counted
from analysis.telemetry.cluster_choice import IN_WINDOWS
from analysis.telemetry.engine import Engine
from analysis.telemetry.fact import micros
from analysis.telemetry.recorded import RecordedColumn
from analysis.telemetry.union import Part, union_rows

Days = Mapping[int, np.ndarray]
"""Day number → rows by bin, (B,)."""

_NOT_COUNTED = "(f.win IS NULL OR f.weight = 0)"


@dataclass(frozen=True)
class DayBins:
    """A column's rows by day and bin, unweighted, all bins of its cut, empty ones included.

    everything: of all rows. baseline, candidate: of that window alone. earlier: of all but the candidate's.
    releases: of those that the policy names, by id, without the candidate's rows.
    """

    size: int
    everything: Days
    baseline: Days
    candidate: Days
    earlier: Days
    releases: Mapping[str, Days]

    def rows(self, days: Days) -> np.ndarray:
        """(D, B) rows of all that `days` holds, one line a day."""
        return np.array(list(days.values())).reshape(-1, self.size)

    def span(self, days: Days, first: int, end: int) -> np.ndarray:
        """(D, B) rows of the days in [first, end), one line a day."""
        nothing = np.zeros(self.size)
        return np.array([days.get(day, nothing) for day in range(first, end)]).reshape(
            -1, self.size
        )


def day_bins(
    engine: Engine,
    columns: Mapping[str, BinnedColumn],
    first: int,
    end: int,
    releases: Sequence[str],
    exclude: Sequence[Exclusion],
) -> dict[str, DayBins]:
    """Every column's rows of the days in [first, end), and those of releases on all days."""
    counted = {name: column.counted for name, column in columns.items()}
    everything: dict[str, dict[int, np.ndarray]] = {}
    windows: dict[str, tuple[dict[int, np.ndarray], dict[int, np.ndarray]]] = {}
    for name, one in counted.items():
        size = len(one.cut.labels)
        everything[name], windows[name] = {}, ({}, {})
        for win, day, index, _, n in one.per_day:
            _add(everything[name], day, index, n, size)
            _add(windows[name][win], day, index, n, size)
    kept = _without(exclude)
    outside = f"{_NOT_COUNTED} AND f.day >= $first AND f.day < $end{kept}"
    limits: dict[str, object] = {"first": first, "end": end}
    if engine.row(f"SELECT count(*) FROM fact f WHERE {outside}", limits)[0]:
        for name, _, day, index, n in _counts(engine, counted, outside, limits, {}):
            _add(everything[name], day, index, n, len(counted[name].cut.labels))
    of: dict[str, dict[str, dict[int, np.ndarray]]] = {
        name: {release: {} for release in releases} for name in columns
    }
    if releases and "release_id" in engine.types("fact"):
        named: dict[str, object] = {f"release{i}": r for i, r in enumerate(releases)}
        listed = ", ".join(f"${key}" for key in named)
        where = f"(f.win IS NULL OR f.win = 0) AND f.release_id IN ({listed}){kept}"
        for name, place, day, index, n in _counts(engine, counted, where, named, named):
            _add(of[name][releases[place]], day, index, n, len(counted[name].cut.labels))
    return {
        name: DayBins(
            len(one.cut.labels),
            everything[name],
            *windows[name],
            {day: k - windows[name][1].get(day, 0) for day, k in everything[name].items()},
            of[name],
        )
        for name, one in counted.items()
    }


def recorded_bins(
    engine: Engine, columns: Sequence[tuple[BinnedColumn, RecordedColumn]]
) -> list[np.ndarray]:
    """The candidate's rows in the bins of a recorded column, (B,), for each pair."""
    parts = []
    for index, (column, recorded) in enumerate(columns):
        one = column.counted
        parameters: dict[str, object] = {}
        code = recorded.cut.code(_recorded_value(one.reading), f"r{index}", parameters)
        parts.append(
            Part(
                f"""
                SELECT {index} AS col, {code} AS bin, sum(q.n) AS n
                FROM (SELECT {one.reading.raw} AS value, count(*) AS n FROM fact f
                      WHERE {IN_WINDOWS} AND f.win = 1{_known(one)} GROUP BY 1) q
                GROUP BY 2
                """,
                parameters,
            )
        )
    found = [np.zeros(len(recorded.cut.labels)) for _, recorded in columns]
    for row in union_rows(engine, parts):
        index, place, n = map(int, row)
        found[index][place] += n
    return found


def _recorded_value(reading: Reading) -> str:
    """A number as it is, a text by its digest: no release records what its rows hold."""
    value = reading.of("q.value")
    return value if reading.is_number else f"md5({value})"


def _counts(
    engine: Engine,
    columns: Mapping[str, Counted],
    where: str,
    given: Mapping[str, object],
    releases: Mapping[str, object],
) -> list[tuple[str, int, int, int, int]]:
    """(column, release's place, day, bin, rows) of the rows that `where` chooses."""
    names = list(columns)
    which = "0"
    if releases:
        cases = " ".join(f"WHEN f.release_id = ${key} THEN {i}" for i, key in enumerate(releases))
        which = f"CASE {cases} END"
    parts = []
    for index, name in enumerate(names):
        one = columns[name]
        # Every part gives the same names the same values: a statement takes each once.
        parameters = dict(given)
        code = one.cut.code(one.reading.of("q.value"), f"o{index}", parameters)
        sql = f"""
            SELECT {index} AS col, q.named_release, q.day, {code} AS bin, count(*) AS n
            FROM (SELECT {one.reading.raw} AS value, f.day, {which} AS named_release
                  FROM fact f WHERE {where}{_known(one)}) q
            GROUP BY 2, 3, 4
            """
        parts.append(Part(sql, parameters))
    rows = (tuple(map(int, row)) for row in union_rows(engine, parts))
    return [(names[col], place, day, index, n) for col, place, day, index, n in rows]


def _known(column: Counted) -> str:
    return " AND f.failure IS NOT NULL" if column.known_outcome else ""


def _without(exclude: Sequence[Exclusion]) -> str:
    return "".join(
        f" AND NOT (f.ts_us >= {micros(out.start)} AND f.ts_us < {micros(out.end)})"
        for out in exclude
    )


def _add(days: dict[int, np.ndarray], day: int, index: int, n: int, size: int) -> None:
    if day not in days:
        days[day] = np.zeros(size)
    days[day][index] += n
