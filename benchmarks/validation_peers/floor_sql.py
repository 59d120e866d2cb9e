"""What the floor's screen and its exact counts share: readers, conditions, and counting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.validation_peers.rules import (
    ABOVE_LOW,
    INTERACTIONS,
    KEY_COLUMNS,
    RANGES,
    TIME_FORMAT,
    TOKEN_PARTS,
    TOKEN_SUM,
    TYPES,
)

ENGINE_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
}


@dataclass(frozen=True)
class Broken:
    """A condition that no row may fulfil, and the rule that it belongs to."""

    rule: str
    table: str
    column: str | None
    condition: str


Counts = dict[tuple[str, str, str | None], int]
"""(rule, table, column) → rows; only what is broken."""


def reader(path: Path, table: str, *, as_text: bool = False) -> str:
    """What stands in FROM. A CSV cell that does not fit its type raises ConversionException."""
    if path.suffix == ".parquet":
        return f"read_parquet('{path}')"
    # As integers the engine would round fractions without a word.
    kinds = ENGINE_TYPES | {"integer": "DOUBLE"}
    columns = {c: "VARCHAR" if as_text else kinds[t] for c, t in TYPES[table].items()}
    return (
        f"read_csv('{path}', auto_detect = false, header = true, delim = ',', quote = '\"', "
        f"escape = '\"', columns = {columns}, timestampformat = '{TIME_FORMAT}')"
    )


def column_rules(table: str, path: Path) -> list[Broken]:
    """Keys, ranges, token sums, and what the types of the file leave open."""
    out = [
        # No text that is empty or all spaces sorts after "!".
        Broken("key_null", table, c, f"{c} IS NULL OR ({c} < '!' AND trim({c}) = '')")
        for c in KEY_COLUMNS[table]
    ]
    for column, (low, high) in RANGES[table].items():
        below = f"{column} {'<=' if column in ABOVE_LOW else '<'} {_number(table, column, low)}"
        above = "" if high is None else f" OR {column} > {_number(table, column, high)}"
        if TYPES[table][column] == "number":
            out.append(Broken("types", table, column, f"NOT isfinite({column})"))
            out.append(Broken("ranges", table, column, f"isfinite({column}) AND ({below}{above})"))
        else:
            out.append(Broken("ranges", table, column, f"{below}{above}"))
            if path.suffix != ".parquet":
                out.append(Broken("types", table, column, f"{column} <> floor({column})"))
    if table == INTERACTIONS:
        total, *parts = TOKEN_SUM
        out.append(Broken("token_sum", table, total, f"{total} <> {' + '.join(parts)}"))
        out += [Broken("token_sum", table, p, f"{p} > {whole}") for p, whole in TOKEN_PARTS]
    return out


def _number(table: str, column: str, value: float) -> str:
    """A limit in the column's own type, so that the engine casts no column."""
    return str(int(value)) if TYPES[table][column] == "integer" else f"{value!r}::DOUBLE"


def rollups(prefix: str) -> dict[str, str]:
    """Total → the condition under which it is wrong, in a join with the sums.

    Over rows with unknown parts a total can only be a lower bound.
    """
    cost, tokens = f"{prefix}_total_cost_usd", f"{prefix}_total_tokens"
    requests, failures = f"{prefix}_total_requests", f"{prefix}_total_failures"
    tolerance = "(n * 0.5e-6 + 0.501e-6)"
    return {
        requests: f"{requests} <> n",
        failures: f"{failures} NOT BETWEEN failures AND failures + n - n_failures",
        tokens: f"CASE WHEN n_tokens = n THEN {tokens} <> tokens "
        f"ELSE {tokens} < coalesce(tokens, 0) END",
        cost: f"CASE WHEN n_cost = n THEN abs({cost} - cost_usd) > {tolerance} "
        f"ELSE {cost} < coalesce(cost_usd, 0) - {tolerance} END",
    }


def count(con: duckdb.DuckDBPyConnection, rules: list[Broken], relation: str) -> Counts:
    """Counts the rules of one relation in one scan."""
    filters = ", ".join(f"count_if({b.condition})" for b in rules)
    counted = con.execute(f"SELECT {filters} FROM {relation}").fetchall()[0]
    return {(b.rule, b.table, b.column): n for b, n in zip(rules, counted, strict=True) if n}
