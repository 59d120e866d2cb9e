"""Rows that break the contract, set aside: what is left, and the broken ones in a directory.

A row is set aside for an error of its own; an interaction also where its session or its user is set
aside, for then nobody can say whose it was. A total that does not add up (`rollup`) says that
interactions are lost or altered, not which: the summary's row is set aside, and its interactions
stay.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.tables import safe_cell
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import ContractSection

BATCH = 10_000
OWN = ("source_row", "rules")
"""The columns of a written table that are not its own."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


def can_be_set_aside(report: ContractSection) -> bool:
    """Whether every error is one of rows; a table that is not there cannot be left out."""
    return all(v.n_rows for v in report.violations if v.severity == "error")


def find_broken(source: Source, report: ContractSection) -> Mapping[str, int]:
    """Makes `broken_<table>` (source_row), the rows to set aside; returns how many each holds.

    Needs the `faults` that `validate` leaves. Makes `errors` of them: those of rules that the report
    calls errors, for what stays below its threshold is none.
    """
    con = source.con
    _errors(source, report)
    unread = {v.table for v in report.violations if v.rule == "files"}
    have = {t: set(c) for t, c in source.columns.items() if t not in unread}
    for table in TABLES:
        con.execute(
            f"CREATE OR REPLACE TABLE broken_{table} AS "
            "SELECT DISTINCT source_row FROM errors WHERE tbl = ?",
            [table],
        )
    for table, key in ((SESSIONS, "session_id"), (USERS, "user_id")):
        if any(key not in have.get(t, ()) for t in (table, INTERACTIONS)):
            continue  # a table that is not there, or cannot be read: nothing joins the two
        con.execute(
            f"INSERT INTO broken_{INTERACTIONS} SELECT source_row FROM cells_{INTERACTIONS} "
            f"WHERE {key} IN (SELECT {key} FROM cells_{table} "
            f"WHERE {_in_doubt(table)} AND {key} IS NOT NULL) "
            f"AND source_row NOT IN (SELECT source_row FROM broken_{INTERACTIONS})"
        )
    return {
        table: int(con.execute(f"SELECT count(*) FROM broken_{table}").fetchall()[0][0])
        for table in TABLES
    }


def _errors(source: Source, report: ContractSection) -> None:
    source.con.execute(
        "CREATE OR REPLACE TABLE errors (rule VARCHAR, tbl VARCHAR, col VARCHAR, source_row BIGINT)"
    )
    found = [v for v in report.violations if v.severity == "error" and v.n_rows]
    for rule, table, column in dict.fromkeys((v.rule, v.table, v.column) for v in found):
        source.con.execute(
            "INSERT INTO errors SELECT rule, tbl, col, source_row FROM faults WHERE error "
            "AND rule = $rule AND tbl = $table AND col IS NOT DISTINCT FROM $column",
            {"rule": rule, "table": table, "column": column},
        )


def _in_doubt(table: str) -> str:
    """Rows of a summary that break more than a total."""
    return (
        f"source_row IN (SELECT source_row FROM errors WHERE tbl = '{table}' AND rule <> 'rollup')"
    )


def set_aside(source: Source) -> None:
    """From here on the tables hold what is left; the rest stays in `cells_<table>`.

    A session or user whose only fault is a total stays, for its interactions do.
    """
    for table in TABLES:
        gone = f"source_row IN (SELECT source_row FROM broken_{table})"
        if table != INTERACTIONS:
            gone = _in_doubt(table)
        listed = ", ".join(map(identifier, source.columns[table]))
        source.con.execute(
            f"CREATE OR REPLACE VIEW {table} AS SELECT {listed}, source_row FROM cells_{table} "
            f"WHERE NOT ({gone})"
        )


def write(source: Source, directory: Path) -> None:
    """Writes `<table>.csv` with the rows that are set aside, why, and where they stood.

    Cells are safe to open in a spreadsheet, as in `tables/`. Columns: source_row (1-based data row),
    rules (those that the row breaks; `of its session or user` where only these do), then the
    table's own, with the text of cells that do not fit.
    """
    for table in TABLES:
        held = source.con.execute(f"SELECT count(*) FROM broken_{table}").fetchall()[0][0]
        if held:
            rows = _rows(source, table)
            with (directory / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([*OWN, *map(safe_cell, source.columns[table])])
                writer.writerows(rows)


def _rows(source: Source, table: str) -> Iterator[list[str]]:
    misfits = source.misfits[table]
    cells = []
    for column in source.columns[table]:
        value = f"CAST(c.{identifier(column)} AS VARCHAR)"
        cells.append(f"coalesce({value}, c.{misfits[column]})" if column in misfits else value)
    cursor = source.con.execute(
        f"""
        SELECT c.source_row, f.why, {", ".join(cells)}
        FROM cells_{table} c JOIN broken_{table} b ON b.source_row = c.source_row
        LEFT JOIN (
            SELECT source_row, string_agg(DISTINCT concat_ws(' ', rule, col), '; '
                                          ORDER BY concat_ws(' ', rule, col)) AS why
            FROM errors WHERE tbl = $table GROUP BY source_row
        ) f ON f.source_row = c.source_row
        ORDER BY c.source_row
        """,
        {"table": table},
    )
    while batch := cursor.fetchmany(BATCH):
        for row, why, *values in batch:
            yield [
                str(row),
                safe_cell(why or "of its session or user"),
                *(_shown(value) for value in values),
            ]


def _shown(value: str | None) -> str:
    """A number as it is; a sign in front of it begins no formula."""
    if value is None:
        return ""
    return value if _NUMBER.fullmatch(value) else safe_cell(value)


__all__ = ["OWN", "can_be_set_aside", "find_broken", "set_aside", "write"]
