"""The rows that break rules: how many, which first, what they look like, and which rules share them.

Only rules that are broken come here. Their rows are kept in the engine's table `faults` (violation,
rule, tbl, col, error, source_row, session, person; the last two are hashes of the row's keys), from
which causes are told and rows are set aside.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry.engine import DuckDB
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.sql import literal
from analysis.telemetry.violations import Violation

MAX_FIRST_ROWS = 5
MAX_EXAMPLES = 3
SAME = 0.9
"""Two rules have one cause where the rows of each are this share of the other's, or more."""

_BITS = 62
_CHUNK = 50_000


def located(source: Source, rules: Sequence[Rule]) -> list[Violation]:
    """The violations by rows of the rules that are broken, in the order of the rules.

    A rule that a coarser look suspected, and that no row breaks, is none.
    """
    engine = source.engine
    out: list[Violation] = []
    for rule in rules:
        number = len(out)
        have = source.columns[rule.table]
        session = "hash(t.session_id)" if "session_id" in have else _NOBODY
        person = "hash(t.user_id)" if "user_id" in have else _NOBODY
        engine.create(
            f"fault_{number}",
            f"SELECT t.source_row AS source_row, {session} AS session, {person} AS person "
            f"FROM {rule.relation} WHERE {rule.broken}",
        )
        n = int(engine.row(f"SELECT count(*) FROM fault_{number}")[0])
        if not n:
            continue
        out.append(
            Violation(
                rule.rule,
                rule.table,
                rule.column,
                rule.severity,
                n,
                n / source.rows(rule.table),
                rule.hint,
                _first_rows(source, number),
                _examples(source, rule),
            )
        )
    _together(source, out)
    return out


_NOBODY = "CAST(NULL AS VARCHAR)"


def _together(source: Source, violations: Sequence[Violation]) -> None:
    """The view `faults` of all of them."""
    parts = [
        f"SELECT {number} AS violation, {literal(v.rule)} AS rule, {literal(v.table)} AS tbl, "
        f"{_NOBODY if v.column is None else literal(v.column)} AS col, "
        f"{literal(v.severity == 'error')} AS error, source_row, session, person FROM fault_{number}"
        for number, v in enumerate(violations)
    ]
    if not parts:
        parts.append(
            f"SELECT 0 AS violation, {_NOBODY} AS rule, {_NOBODY} AS tbl, {_NOBODY} AS col, "
            f"false AS error, CAST(0 AS BIGINT) AS source_row, {_NOBODY} AS session, "
            f"{_NOBODY} AS person WHERE 1 = 0"
        )
    source.engine.view("faults", " UNION ALL ".join(parts))


def _first_rows(source: Source, number: int) -> tuple[int, ...]:
    rows = source.engine.rows(
        f"SELECT source_row FROM fault_{number} ORDER BY source_row LIMIT {MAX_FIRST_ROWS}"
    )
    return tuple(int(r[0]) for r in rows)


def _examples(source: Source, rule: Rule) -> tuple[str, ...]:
    """The most frequent examples; they do not depend on the order of the rows."""
    if rule.example is None or not isinstance(source.engine, DuckDB):
        return ()  # texts are masked by patterns of the embedded engine's own
    rows = source.engine.rows(
        f"SELECT made, count(*) FROM (SELECT {rule.example} AS made FROM {rule.relation} "
        f"WHERE {rule.broken}) WHERE made IS NOT NULL GROUP BY made "
        f"ORDER BY count(*) DESC, made LIMIT {MAX_EXAMPLES}"
    )
    return tuple(str(r[0]) for r in rows)


# ── causes ───────────────────────────────────────────────────────────────────────────────


def grouped(source: Source, violations: Sequence[Violation]) -> list[Violation]:
    """The violations with the number of their cause: rules that fail on the same rows share one.

    Rows of one table are compared as they are, interactions and sessions by their session, and
    either with users by their user. What no other rule shares keeps no number.
    """
    unit = {INTERACTIONS: 0, SESSIONS: 1, USERS: 2}
    groups = [{i} for i in range(len(violations))]
    alike: set[tuple[int, int]] = set()
    for level, column in enumerate(("source_row", "session", "person")):
        shared = _overlaps(source, column, len(violations))
        for a, b in itertools.combinations(range(len(violations)), 2):
            one, other = violations[a], violations[b]
            finest = 0 if one.table == other.table else max(unit[one.table], unit[other.table])
            larger = max(shared[a, a], shared[b, b])
            if finest == level and larger and shared[a, b] >= SAME * larger:
                alike.add((a, b))
    # What two rules share with a third says nothing of the two: all of a group are alike.
    for a, b in sorted(alike):
        crossed = ((min(i, j), max(i, j)) for i in groups[a] for j in groups[b])
        if groups[a] is not groups[b] and all(pair in alike for pair in crossed):
            groups[a] |= groups[b]
            for member in groups[b]:
                groups[member] = groups[a]
    firsts = sorted({min(g) for g in groups if len(g) > 1})
    number = {first: k for k, first in enumerate(firsts, 1)}
    return [
        dataclasses.replace(v, cause=number.get(min(g)))
        for v, g in zip(violations, groups, strict=True)
    ]


def _overlaps(source: Source, column: str, n: int) -> npt.NDArray[np.float64]:
    """How many units each two of the n violations share, shape (n, n); on the diagonal each one's own.

    A unit becomes the set of its violations, as bits, and equal sets are counted in the engine: the
    work grows with the faults, not with their pairs.
    """
    words = [f"m{k}" for k in range(-(-n // _BITS))]
    sets = []
    for k, word in enumerate(words):
        members = range(k * _BITS, min(n, (k + 1) * _BITS))
        cases = " ".join(f"WHEN {v} THEN {1 << (v - k * _BITS)}" for v in members)
        sets.append(f"bit_or(CAST(CASE violation {cases} ELSE 0 END AS BIGINT)) AS {word}")
    shared = np.zeros((n, n))
    if not words:
        return shared
    listed = ", ".join(words)
    found = source.engine.frame(
        f"SELECT {listed}, count(*) AS units FROM (SELECT {', '.join(sets)} FROM faults "
        f"WHERE {column} IS NOT NULL GROUP BY {column}) held GROUP BY {listed}"
    )
    counts = np.asarray(found["units"], dtype=np.float64)
    place = np.arange(n)
    for start in range(0, len(counts), _CHUNK):
        part = slice(start, start + _CHUNK)
        masks = np.stack([np.asarray(found[w], dtype=np.int64)[part] for w in words], axis=1)
        held = ((masks[:, place // _BITS] >> (place % _BITS)) & 1).astype(np.float64)
        shared += (held * counts[part, None]).T @ held
    return shared
