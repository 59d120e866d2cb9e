"""The rows that break rules: how many, which first, what they look like, and which rules share them.

Only rules that are broken come here. Their rows are kept in the engine's table `faults` (violation,
rule, tbl, col, error, source_row, session, person; the last two are hashes of the row's keys), from
which causes are told and rows are set aside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.violations import Violation

MAX_FIRST_ROWS = 5
MAX_EXAMPLES = 3
SAME = 0.9
"""Two rules have one cause where the rows of each are this share of the other's, or more."""


def located(source: Source, rules: Sequence[Rule]) -> list[Violation]:
    """The violations by rows of the rules that are broken, in the order of the rules.

    A rule that a coarser look suspected, and that no row breaks, is none.
    """
    source.con.execute(
        "CREATE OR REPLACE TEMP TABLE faults "
        "(violation INTEGER, rule VARCHAR, tbl VARCHAR, col VARCHAR, error BOOLEAN, "
        "source_row BIGINT, session UBIGINT, person UBIGINT)"
    )
    out: list[Violation] = []
    for rule in rules:
        number = len(out)
        have = source.columns[rule.table]
        session = "hash(t.session_id)" if "session_id" in have else "NULL"
        person = "hash(t.user_id)" if "user_id" in have else "NULL"
        source.con.execute(
            f"INSERT INTO faults SELECT {number}, $rule, $table, $column, $error, t.source_row, "
            f"{session}, {person} FROM {rule.relation} WHERE {rule.broken}",
            {
                "rule": rule.rule,
                "table": rule.table,
                "column": rule.column,
                "error": rule.severity == "error",
            },
        )
        n = source.con.execute(
            "SELECT count(*) FROM faults WHERE violation = ?", [number]
        ).fetchall()[0][0]
        if not n:
            continue
        out.append(
            Violation(
                rule.rule,
                rule.table,
                rule.column,
                rule.severity,
                int(n),
                int(n) / source.rows(rule.table),
                rule.hint,
                _first_rows(source, number),
                _examples(source, rule),
            )
        )
    return out


def _first_rows(source: Source, number: int) -> tuple[int, ...]:
    rows = source.con.execute(
        "SELECT source_row FROM faults WHERE violation = ? ORDER BY source_row "
        f"LIMIT {MAX_FIRST_ROWS}",
        [number],
    ).fetchall()
    return tuple(int(r[0]) for r in rows)


def _examples(source: Source, rule: Rule) -> tuple[str, ...]:
    """The most frequent examples; they do not depend on the order of the rows."""
    if rule.example is None:
        return ()
    rows = source.con.execute(
        f"SELECT made, count(*) FROM (SELECT {rule.example} AS made FROM {rule.relation} "
        f"WHERE {rule.broken}) WHERE made IS NOT NULL GROUP BY made "
        f"ORDER BY count(*) DESC, made LIMIT {MAX_EXAMPLES}"
    ).fetchall()
    return tuple(str(r[0]) for r in rows)


# ── causes ───────────────────────────────────────────────────────────────────────────────


def grouped(source: Source, violations: Sequence[Violation]) -> list[Violation]:
    """The violations with the number of their cause: rules that fail on the same rows share one.

    Rows of one table are compared as they are, interactions and sessions by their session, and
    either with users by their user. What no other rule shares keeps no number.
    """
    unit = {INTERACTIONS: 0, SESSIONS: 1, USERS: 2}
    groups = [{i} for i in range(len(violations))]
    rows: set[tuple[int, int]] = set()

    def apart(one: int, other: int) -> bool:
        """Whether two rules of one table fail on other rows: then nothing puts them together."""
        same_table = violations[one].table == violations[other].table
        return same_table and (min(one, other), max(one, other)) not in rows

    for level, column in enumerate(("source_row", "session", "person")):
        sizes, shared = _overlaps(source, column)
        for (a, b), both in sorted(shared.items()):
            one, other = violations[a], violations[b]
            finest = 0 if one.table == other.table else max(unit[one.table], unit[other.table])
            if finest != level or both < SAME * max(sizes[a], sizes[b]):
                continue
            if level == 0:
                rows.add((a, b))
            if groups[a] is not groups[b] and not any(
                apart(i, j) for i in groups[a] for j in groups[b]
            ):
                groups[a] |= groups[b]
                for member in groups[b]:
                    groups[member] = groups[a]
    firsts = sorted({min(g) for g in groups if len(g) > 1})
    number = {first: k for k, first in enumerate(firsts, 1)}
    return [
        dataclasses.replace(v, cause=number.get(min(g)))
        for v, g in zip(violations, groups, strict=True)
    ]


def _overlaps(source: Source, column: str) -> tuple[dict[int, int], dict[tuple[int, int], int]]:
    """Distinct units of each violation, and how many of them each pair shares."""
    source.con.execute(
        "CREATE OR REPLACE TEMP TABLE units AS "
        f"SELECT DISTINCT violation, {column} AS unit FROM faults WHERE {column} IS NOT NULL"
    )
    sizes = source.con.execute("SELECT violation, count(*) FROM units GROUP BY 1").fetchall()
    shared = source.con.execute(
        "SELECT a.violation, b.violation, count(*) FROM units a JOIN units b "
        "ON a.unit = b.unit AND a.violation < b.violation GROUP BY ALL"
    ).fetchall()
    source.con.execute("DROP TABLE units")
    return {int(v): int(n) for v, n in sizes}, {(int(a), int(b)): int(n) for a, b, n in shared}
