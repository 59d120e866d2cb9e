"""The rules of one's own as conditions that the engine has accepted for columns of the declared types.

Whether an expression is a condition at all, the contract has asked (`own_rules`). Whether it holds
together (no text is added to a number, and the outcome is true, false or null) only the engine can
say, on a table without data.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from analysis.contract import Contract, RuleSeverity, Table
from analysis.errors import PolicyError
from analysis.own_rules import Condition, NoCondition, condition
from analysis.telemetry.cells import TYPES
from analysis.telemetry.rules import Rule, shown
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.violations import one_line


@dataclass(frozen=True)
class CompiledRule:
    """One rule of one's own, ready to run.

    sql: true where a row keeps the rule, false where it breaks it; null, which keeps it, where a
    value is missing or cannot be computed (a cast that fails, a number that is too large).
    columns: those that `sql` needs, by the contract's names. hint: never empty.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    sql: str
    severity: RuleSeverity
    hint: str


def own_rules(source: Source, contract: Contract) -> dict[str, list[Rule]]:
    """Table → the rules of one's own that its columns allow to ask. Raises PolicyError."""
    out: dict[str, list[Rule]] = {}
    for rule in compiled(contract):
        if not set(rule.columns) <= set(source.columns.get(rule.table, ())):
            continue
        table = contract.tables[rule.table]
        values = [
            f"{literal(c)} || ' ' || coalesce({shown(c, table.column(c))}, 'null')"
            for c in rule.columns
        ]
        out.setdefault(rule.table, []).append(
            Rule(
                rule.name,
                rule.table,
                rule.columns[0] if len(rule.columns) == 1 else None,
                f"NOT ({rule.sql})",
                rule.hint,
                rule.severity,
                f"cells_{rule.table} t",
                " || ', ' || ".join(values),
            )
        )
    return out


def compiled(contract: Contract, *, source: str = "contract") -> tuple[CompiledRule, ...]:
    """Every rule of one's own, in the file's order. Raises PolicyError with every problem.

    source: the file that the problems are of.
    """
    if not contract.rules:
        return ()
    rules: list[CompiledRule] = []
    problems: list[str] = []
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_external_access = false")
        for place, rule in enumerate(contract.rules):
            table = contract.tables[rule.table]
            try:
                read = condition(rule.expression, table)
                wrong = _wrong(con, read, table)
            except NoCondition as error:
                problems += [f"rules[{place}].expression: {problem}" for problem in error.problems]
                continue
            if wrong is not None:
                problems.append(f"rules[{place}].expression: {wrong}")
            hint = rule.hint or f"expected {one_line(' '.join(rule.expression.split()), 200)}"
            sql = f"TRY({read.sql})"
            rules.append(
                CompiledRule(rule.name, rule.table, read.columns, sql, rule.severity, hint)
            )
    if problems:
        raise PolicyError(problems, source)
    return tuple(rules)


def _wrong(con: duckdb.DuckDBPyConnection, read: Condition, table: Table) -> str | None:
    """What the engine has against a condition, if anything."""
    declared = []
    for name in read.columns:
        column = table.column(name)
        assert column is not None  # or it would be no condition
        declared.append(f"{identifier(name)} {TYPES[column.type]}")
    try:
        con.execute(f"CREATE OR REPLACE TABLE declared ({', '.join(declared)})")
        # One row, of nulls: a constant that is no value of its type is only looked at for a row.
        con.execute(f"INSERT INTO declared VALUES ({', '.join('NULL' for _ in declared)})")
        con.execute(f"SELECT {read.sql} FROM declared")
        kind = str(con.description[0][1]) if con.description else ""
        if kind != "BOOLEAN":
            return f"comes to {kind.lower()}; expected a condition: true, false or null"
        con.execute(f"SELECT count(*) FILTER (NOT ({read.sql})) FROM declared").fetchall()
    except duckdb.Error as error:
        return f"the engine refuses it: {one_line(str(error).split(chr(10))[0], 200)}"
    return None
