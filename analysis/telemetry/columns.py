"""The columns of one table in the engine: their names, their types, and the cells that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from analysis.contract import Table
from analysis.telemetry.cells import always_fits, cast, misfit, zoned
from analysis.telemetry.files import Unreadable
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import clean

RESERVED = ("source_row", "source_hash")


@dataclass(frozen=True)
class Cells:
    """One table as a select list: its columns, and those beside them (see `Source`)."""

    select: str
    columns: tuple[str, ...]
    misfits: Mapping[str, str]
    zoned: Mapping[str, str]


def typed_cells(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    names: Sequence[str],
    declared: Table,
    held: Mapping[str, str] | None = None,
) -> Cells:
    """The columns as their declared types, and the text of what does not fit, as a select list.

    held: column → its DuckDB type; None to ask.
    """
    if held is None:
        described = con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        types = {str(row[0]): str(row[1]) for row in described}
    else:
        types = dict(held)
    mark = "misfit"
    while any(n.lower().startswith(mark) for n in names):
        mark += "_"
    select: list[str] = []
    apart: list[str] = []
    misfits: dict[str, str] = {}
    zones: dict[str, str] = {}
    for place, column in enumerate(names):
        rule, quoted = declared.column(column), identifier(column)
        typed = cast(quoted, types[column], rule)
        select.append(f"{typed} AS {quoted}")
        if rule is not None and not always_fits(types[column], rule):
            misfits[column] = f"{mark}{place}"
            apart.append(f"{misfit(quoted, types[column], typed)} AS {misfits[column]}")
        if rule is not None and rule.type == "timestamp" and types[column] == "VARCHAR":
            zones[column] = f"{mark}{place}_zoned"
            apart.append(f"{zoned(quoted)} AS {zones[column]}")
    return Cells(", ".join([*select, *apart]), tuple(names), misfits, zones)


def engine_names(held: Sequence[str], declared: Table, file: str) -> tuple[str, ...]:
    """A name for each column that the engine can tell apart, case aside.

    A column that the contract knows by another name takes the contract's. A declared column keeps
    its name, and so does the first of several; a later one gets a number. Refuses two columns of
    the very same name, or that stand for the same one: nobody could say which is meant.
    """
    own = {theirs: ours for ours, theirs in declared.names.items()}
    called = [own.get(n, n) for n in held]
    twice = sorted({n for n in called if n.strip() and called.count(n) > 1})
    if twice:
        shown = ", ".join(clean(n, 60) for n in twice)
        raise Unreadable("columns", f"{file} has more than one column named {shown}", twice[0])
    taken = {*RESERVED, *(n.lower() for n in called if n in declared.columns)}
    out = []
    for place, name in enumerate(called, start=1):
        wanted = name if name.strip() else f"column {place}"
        number = 1
        if name not in declared.columns:
            while (new := wanted if number == 1 else f"{wanted} ({number})").lower() in taken:
                number += 1
            wanted = new
        taken.add(wanted.lower())
        out.append(wanted)
    return tuple(out)
