"""Interactions as a whole: nulls and values by column, and rows by day and by hour.

What is suspicious without any row being wrong is told from these few small reductions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from analysis.contract import INTERACTIONS, Contract
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

FEW_VALUES = 25
"""Columns with fewer values in all are not counted by day."""


@dataclass(frozen=True)
class Day:
    """One UTC day of interactions.

    known: column → rows in which it is not null. failed: column known only later → rows in which it
    is not null and the call failed. failures: failed calls. categories: column → about how many values.
    """

    day: date
    rows: int
    known: Mapping[str, int]
    categories: Mapping[str, int]
    failures: int
    failed: Mapping[str, int]


@dataclass(frozen=True)
class Profile:
    """Interactions as a whole, by day and by hour; rows that have no time only in `known`.

    known: column → rows in which it is not null. In `days` stand the columns that have nulls, and
    text columns by which rows are grouped, those with many values.
    """

    known: Mapping[str, int]
    failures: int
    days: tuple[Day, ...]
    hours: Mapping[datetime, int]


def profile(source: Source, contract: Contract, used: frozenset[str]) -> Profile:
    """The reductions. used: columns that the policy names, declared or not."""
    have = source.columns[INTERACTIONS]
    named = [c for c in have if contract.column(c) is not None or c in used]
    grouped = _categorical(source, contract, used)
    parts = [f"count({identifier(c)})" for c in named]
    failures = "count(*) FILTER (WHERE is_failure)" if "is_failure" in have else "0"
    row = source.engine.row(f"SELECT {', '.join([failures, *parts])} FROM {INTERACTIONS}")
    known = dict(zip(named, map(int, row[1:]), strict=True))
    if "timestamp_utc" not in have:
        return Profile(known, int(row[0]), (), {})
    n = source.rows(INTERACTIONS)
    hours = source.engine.rows(
        f"SELECT date_trunc('hour', timestamp_utc), count(*) FROM {INTERACTIONS} "
        "WHERE timestamp_utc IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return Profile(
        known,
        int(row[0]),
        _days(
            source,
            contract,
            [c for c in named if 0 < known[c] < n],
            _of_many_values(source, grouped),
        ),
        {h: int(k) for h, k in hours},
    )


def _of_many_values(source: Source, columns: Sequence[str]) -> list[str]:
    """Those of the columns that have `FEW_VALUES` values or more: no more than these are looked for."""
    if not columns:
        return []
    counts = ", ".join(
        f"(SELECT count(*) FROM (SELECT DISTINCT {identifier(c)} FROM {INTERACTIONS} "
        f"WHERE {identifier(c)} IS NOT NULL LIMIT {FEW_VALUES}) some_{place})"
        for place, c in enumerate(columns)
    )
    found = source.engine.row(f"SELECT {counts}")
    return [c for c, n in zip(columns, found, strict=True) if int(n) >= FEW_VALUES]


def _days(
    source: Source, contract: Contract, holed: Sequence[str], many: Sequence[str]
) -> tuple[Day, ...]:
    later = [c for c in holed if _is_later(contract, c) and c != "is_failure"]
    if "is_failure" not in source.columns[INTERACTIONS]:
        later = []
    parts = ["CAST(timestamp_utc AS DATE)", "count(*)"]
    parts.append("count(*) FILTER (WHERE is_failure)" if later else "0")
    parts += [f"count({identifier(c)})" for c in holed]
    parts += [f"count({identifier(c)}) FILTER (WHERE is_failure)" for c in later]
    parts += [f"approx_count_distinct({identifier(c)})" for c in many]
    rows = source.engine.rows(
        f"SELECT {', '.join(parts)} FROM {INTERACTIONS} WHERE timestamp_utc IS NOT NULL "
        "GROUP BY 1 ORDER BY 1"
    )

    def counts(columns: Sequence[str], values: Sequence[int]) -> dict[str, int]:
        return {c: int(v) for c, v in zip(columns, values, strict=True)}

    n, m = 3 + len(holed), 3 + len(holed) + len(later)
    return tuple(
        Day(r[0], int(r[1]), counts(holed, r[3:n]), counts(many, r[m:]), int(r[2]),
            counts(later, r[n:m]))
        for r in rows
    )  # fmt: skip


def _is_later(contract: Contract, column: str) -> bool:
    declared = contract.column(column)
    return declared is not None and declared.known_at == "later"


def _categorical(source: Source, contract: Contract, used: frozenset[str]) -> list[str]:
    """Text columns by which rows are grouped."""
    types = source.engine.types(INTERACTIONS)
    out = []
    for name in source.columns[INTERACTIONS]:
        declared = contract.column(name)
        grouped = declared is not None and declared.role in ("context", "action")
        if types.get(name) == "VARCHAR" and (grouped or (declared is None and name in used)):
            out.append(name)
    return out
