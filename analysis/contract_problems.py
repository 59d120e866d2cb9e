"""What the types of a contract cannot say: names that refer to nothing, ranges that are none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from analysis.contract_model import (
    BUILT_ON,
    KEPT,
    REQUIRED,
    RULES,
    TABLES,
    Column,
    Contract,
    OwnRule,
    Table,
)
from analysis.own_rules import NoCondition, condition
from analysis.policy_problems import again, hint_for
from analysis.strict_yaml import join, short


@dataclass(frozen=True)
class Refused:
    """What was refused before, and is not in the contract: its absence is no contradiction.

    paths: of everything refused. columns: table → names that were meant as columns. places: of the
    rules that are left, where they stand in the file; None where none was taken out.
    """

    paths: frozenset[str] = frozenset()
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    places: tuple[int, ...] | None = None


def contradictions(
    contract: Contract, *, default: Contract | None = None, refused: Refused | None = None
) -> list[str]:
    """Every contradiction, each with its path. default: what the contract extends, if anything."""
    refused = refused or Refused()
    problems = [f"severities.{r}: is missing" for r in RULES if r not in contract.severities]
    problems += [f"descriptions.{r}: is missing" for r in RULES if r not in contract.descriptions]
    problems += [f"tables.{t}: is missing" for t in TABLES if t not in contract.tables]
    lost = set(refused.paths)
    tables = {}
    for name, table in contract.tables.items():
        unsure = refused.columns.get(name, frozenset()) - table.columns.keys()
        lost |= {join(f"{join('tables', name)}.columns", column) for column in unsure}
        stand_ins = dict.fromkeys(sorted(unsure), _STAND_IN)
        table = tables[name] = table.model_copy(update={"columns": table.columns | stand_ins})
        given = None if default is None else default.tables.get(name)
        for found in (
            _required(name, table, given),
            _columns(table),
            _computed(name, table, given),
            _names(table),
            _references(table, unsure),
        ):
            problems += [f"{join('tables', name)}.{problem}" for problem in found]
    problems += _rules(contract.rules, tables, refused.places)
    return [p for p in problems if not _lost(p.partition(": ")[0], lost)]


_STAND_IN = Column(type="string", role="carried", known_at="later")


def _lost(path: str, lost: set[str]) -> bool:
    """Whether a problem may only be there because its place, or a part of it, was refused."""
    return any(
        path == gone or path.startswith((f"{gone}.", f"{gone}[")) or gone.startswith(f"{path}.")
        for gone in lost
    )


# ── columns ──────────────────────────────────────────────────────────────────────────────


def _required(name: str, table: Table, default: Table | None) -> Iterator[str]:
    """The key, and the columns without which there is no review: as they are, or refused."""
    if name not in REQUIRED:
        return
    expected = REQUIRED[name][0]
    if table.key != expected:
        yield f"key: expected {expected}, found {short(table.key)}"
    for column in REQUIRED[name]:
        found = table.columns.get(column)
        if found is None:
            yield f"columns.{column}: is missing"
            continue
        if not found.required:
            yield f"columns.{column}.required: expected true"
        fixed = None if default is None else default.columns.get(column)
        for key in ("role", "known_at"):
            if fixed is not None and getattr(found, key) != getattr(fixed, key):
                yield f"columns.{column}.{key}: expected {getattr(fixed, key)}, found {getattr(found, key)}"


def _columns(table: Table) -> Iterator[str]:
    seen: dict[str, str] = {}
    for column, declared in table.columns.items():
        path = join("columns", column)
        other = seen.setdefault(column.lower(), column)
        if other != column:
            yield f"{path}: differs from {short(other)} only in case"
        if not column.strip():
            yield f"{path}: a column needs a name"
        if column.lower() in KEPT:
            yield (
                f"{path}: the review has a column of this name; declare another one, "
                "and write under names what the data call it"
            )
        yield from _column(path, declared)
    for pattern, declared in table.patterns.items():
        yield from _column(join("patterns", pattern), declared)


def _column(path: str, declared: Column) -> Iterator[str]:
    low, high = declared.min, declared.max
    if low is not None and high is not None and low > high:
        yield f"{path}: min {low:g} exceeds max {high:g}"
    if declared.type not in ("integer", "number"):
        for key, value in (("min", low), ("max", high)):
            if value is not None:
                yield f"{path}.{key}: is for numbers, found {declared.type}"
    if declared.allowed is not None and declared.type != "string":
        yield f"{path}.allowed: is for text, found {declared.type}"
    if declared.allowed == ():
        yield f"{path}.allowed: is empty; list the values, or leave it out"


def _computed(name: str, table: Table, default: Table | None) -> Iterator[str]:
    """Columns that the review computes with keep their type, and their range or a part of it."""
    for column, kind in BUILT_ON.get(name, {}).items():
        found = table.columns.get(column)
        if found is None:
            continue
        path = f"columns.{column}"
        if found.type != kind:
            yield f"{path}.type: expected {kind}, found {found.type}"
        fixed = None if default is None else default.columns.get(column)
        if fixed is None or found.type != kind:
            continue
        if fixed.min is not None and (
            found.min is None
            or found.min < fixed.min
            or (found.min == fixed.min and fixed.min_exclusive and not found.min_exclusive)
        ):
            bound = "above" if fixed.min_exclusive else "at least"
            shown = "none" if found.min is None else f"{found.min:g}"
            yield (
                f"{path}.min: expected {bound} {fixed.min:g}, found {shown}; "
                "the review computes with the column, so its range can only become narrower"
            )
        if fixed.max is not None and (found.max is None or found.max > fixed.max):
            shown = "none" if found.max is None else f"{found.max:g}"
            yield (
                f"{path}.max: expected at most {fixed.max:g}, found {shown}; "
                "the review computes with the column, so its range can only become narrower"
            )


# ── what names something ─────────────────────────────────────────────────────────────────


def _names(table: Table) -> Iterator[str]:
    """The engine does not tell names apart by their case, and neither do these."""
    declared = {column.lower(): column for column in table.columns}
    seen: dict[str, str] = {}
    for column, given in table.names.items():
        path = join("names", column)
        if column in table.patterns or table.column(column) is None:
            yield f"{path}: is no column of the contract{_meant(column, table)}"
            continue
        if not given.strip():
            yield f"{path}: expected the column's name in the data, found only spaces"
        other = declared.get(given.lower())
        if other is not None and other != column:
            yield (
                f"{path}: {short(given)} is a column of the contract itself; "
                f"the data's {short(given)} cannot be {short(column)} too"
            )
        first = seen.setdefault(given.lower(), column)
        if first != column:
            yield f"{path}: {short(given)} already stands for {short(first)}; keep one"


def _meant(name: str, table: Table) -> str:
    """A hint at the column that was meant, or at where the two sides belong."""
    for own, given in table.names.items():
        if own == name and given in table.columns:
            return (
                f"; write {short(given)}: {short(own)} (the contract's name: its name in the data)"
            )
    if name in table.patterns:
        return "; a pattern stands for many, write the one column's name"
    close = difflib.get_close_matches(name[:80].lower(), table.columns, n=1)
    if close:
        return f"; did you mean {short(close[0])!r}?"
    return "; declare it under columns first"


def _references(table: Table, unsure: Set[str]) -> Iterator[str]:
    for column, other in table.foreign_keys.items():
        path = join("foreign_keys", column)
        declared = table.columns.get(column)
        if declared is None:
            yield f"{path}: is no column of the table"
        elif declared.type != "string":
            yield f"{path}: a key is text, found {declared.type}"
        if other not in TABLES:
            yield f"{path}: {short(other)} is no table{hint_for(other, TABLES)}"
    summed = [
        (join("token_sums", t.total), c) for t in table.token_sums for c in (t.total, *t.parts)
    ]
    summed += [
        (join("token_parts", t.part), c) for t in table.token_parts for c in (t.part, t.whole)
    ]
    summed += [("rollups", c) for c in table.rollups]
    for path, column in summed:
        rule = table.column(column)
        if column not in unsure and (rule is None or rule.type not in ("integer", "number")):
            yield f"{path}: {short(column)} is no number of the table"


# ── rules ────────────────────────────────────────────────────────────────────────────────


def _rules(
    rules: Sequence[OwnRule], tables: Mapping[str, Table], places: Sequence[int] | None
) -> Iterator[str]:
    names = [rule.name for rule in rules]
    repeated = again(names)
    for i, rule in enumerate(rules):
        path = f"rules[{i if places is None else places[i]}]"
        if i in repeated:
            yield f"{path}.name: {rule.name!r} stands twice; keep one"
        if rule.name in RULES:
            yield (
                f"{path}.name: {rule.name!r} is a rule of the project; give another name "
                "(its severity is set under severities)"
            )
        if rule.table not in TABLES:
            yield f"{path}.table: {short(rule.table)} is no table{hint_for(rule.table, TABLES)}"
        if rule.table not in tables:
            continue
        try:
            condition(rule.expression, tables[rule.table])
        except NoCondition as error:
            for problem in error.problems:
                yield f"{path}.expression: {problem}"
