"""Writes a first contract for data whose columns may have any names.

The draft extends `data/contract.yml`: `names` maps the contract's names to the data's, `columns`
declares what else is there. What needs a decision stands in comments, never in force.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from analysis import contract as contracts
from analysis.contract import TABLES, Column, Contract
from analysis.errors import UsageError
from analysis.propose import profile as profiles
from analysis.propose.extra_columns import Guess, guess, listable
from analysis.propose.matching import (
    Match,
    TableMatch,
    evidence,
    match,
    span,
    to_look_at,
    unit_objection,
)
from analysis.propose.profile import ColumnProfile
from analysis.propose.synonyms import NOT_FOUND
from analysis.telemetry.columns import RESERVED
from analysis.telemetry.csv_file import NoCsv
from analysis.telemetry.source import Source
from analysis.yaml_text import (
    comment,
    counted,
    listed,
    per_cent,
    quoted,
    scalar,
)

HEADER = (
    "A first contract, proposed from the data: read every line, then keep, change or delete it. It "
    "extends data/contract.yml: what is not said here is as it stands there.",
    "names: the contract's name of a column, then its name in the data. columns: what the contract "
    "does not declare. Undeclared columns are carried and never used, so a line may always go.",
    "known_at (request, response, later) keeps a model from what it could not have known. Every "
    "known_at below is a guess; a wrong `request` makes an evaluation look better than it is.",
)
USE = (
    "Check the data under it:  python -m analysis validate --data DIR --contract FILE",
    "Then a first policy:      python -m analysis schema policy --propose --data DIR",
)

MAX_KEY = 1_000
"""YAML reads no key on one line that is longer than 1,024 characters."""


@dataclass(frozen=True)
class _Listed:
    """An extra column with its guess, or with why it cannot be declared."""

    column: ColumnProfile
    guess: Guess | None
    problem: str | None
    allowed: tuple[str, ...]


def contract_text(data: Path) -> str:
    """A commented contract for the telemetry in `data`, as YAML that extends `data/contract.yml`.

    The data may violate every rule of the contract. Raises UsageError where a table is missing or
    cannot be read.
    """
    contract = contracts.load()
    source = profiles.open_raw(data, contract)
    try:
        drafts = [_table(data, source, contract, name) for name in TABLES]
    finally:
        source.close()
    lines = [line for text in HEADER for line in comment(text, hanging=2)]
    lines += [f"#   {text}" for text in USE]
    lines += ["#", *comment(_summary([d[0] for d in drafts], [d[1] for d in drafts])), ""]
    body = [_written(found, extra) for found, extra in drafts]
    lines.append("tables:" if any(active for _, active in body) else "tables: {}")
    for text, _ in body:
        lines += ["", *text]
    return "\n".join(lines)


def _table(
    data: Path, source: Source, contract: Contract, name: str
) -> tuple[TableMatch, tuple[_Listed, ...]]:
    try:
        names = profiles.headers(data, source, name)
    except (OSError, NoCsv, pa.ArrowException):
        raise UsageError(f"--data {data}: {name} changed while it was read") from None
    columns = profiles.profile(source, name, names, to_look_at(contract, name, names))
    found = match(contract, name, columns)
    return found, tuple(_extra(source, contract, found))


def _extra(source: Source, contract: Contract, found: TableMatch) -> Iterator[_Listed]:
    declared = contract.tables[found.name].columns
    taken = {*(n.lower() for n in declared), *(c.name.lower() for c, _ in found.present), *RESERVED}
    for column in found.extra:
        problem = _no_name(column, taken)
        taken.add(column.name.lower())
        made = None if problem else guess(found.name, column)
        allowed: tuple[str, ...] = ()
        if made is not None and made.may_list:
            seen = profiles.values(source, found.name, column, limit=12)
            allowed = tuple(value for value, _ in seen) if listable(seen) else ()
        if made is None and problem is None:
            problem = "lists or objects" if column.is_nested else "empty: no type can be read"
        yield _Listed(column, made, problem, allowed)


def _no_name(column: ColumnProfile, taken: set[str]) -> str | None:
    if not column.name.strip():
        return "a column without a name"
    if len(scalar(column.name)) > MAX_KEY:
        return "its name is too long for a key: give it a shorter one in the data"
    if column.name.lower() in taken:
        return "its name is taken, case aside: give it another in the data"
    return None


# ── writing ──────────────────────────────────────────────────────────────────────────────


def _summary(tables: Sequence[TableMatch], extra: Sequence[Sequence[_Listed]]) -> str:
    n_renamed = sum(m.accepted is not None for t in tables for m in t.matches)
    n_open = sum(m.accepted is None for t in tables for m in t.matches)
    n_missing = sum(len(t.missing) for t in tables)
    n_extra = sum(one.guess is not None for of in extra for one in of)
    return (
        f"Found: {counted(sum(len(t.present) for t in tables), 'column')} under their own names, "
        f"{n_renamed} under another, {n_open} to decide (look for DECIDE), {n_missing} required and "
        f"not found (look for REQUIRED), {n_extra} that the contract does not declare."
    )


def _written(found: TableMatch, extra: Sequence[_Listed]) -> tuple[list[str], bool]:
    """The lines of one table, and whether any of them is in force."""
    named = any(m.accepted is not None for m in found.matches)
    added = any(one.guess is not None for one in extra)
    off = "" if named or added else "# "
    lines = [f"  {off}{found.name}:"]
    lines += comment(f"{counted(found.n_rows, 'row')}, {counted(_n_columns(found), 'column')}.", 4)
    lines += _present(found)
    if found.matches or found.missing:
        lines.append("    names:" if named else "    # names:")
        for one in found.matches:
            lines += _name(one)
        for name in found.missing:
            lines += comment(f"REQUIRED, not found: {name}: {NOT_FOUND[name]}.", 6, 2)
    if extra:
        lines.append("    columns:" if added else "    # columns:")
        for listing in extra:
            lines += _column(listing)
    return lines, named or added


def _n_columns(found: TableMatch) -> int:
    options = {o.column.engine for m in found.matches for o in m.options}
    return len(found.present) + len(options) + len(found.extra)


def _present(found: TableMatch) -> list[str]:
    """The declared columns that are there: only what is worth a line."""
    said = [(c, text) for c, rule in found.present if (text := _worth_saying(c, rule))]
    if not found.present:
        return []
    if not said:
        return comment("The declared columns that are there need no word.", 4)
    lines = comment("Declared columns that are there, where there is something to say:", 4)
    for column, text in said:
        lines += comment(f"{quoted(column.name)}: {text}", 6, 2)
    return lines


def _worth_saying(column: ColumnProfile, rule: Column) -> str | None:
    if not column.n_filled:
        return "empty"
    parts = [f"{per_cent(column.missing)} empty"] if column.missing else []
    wrong = column.n_filled - column.fits.get(rule.type, 0) if rule.type != "string" else 0
    if wrong:
        parts.append(f"cells that are no {rule.type}, which `validate` lists: {wrong:,}")
    warned = unit_objection(column.name, column)
    if warned:
        parts.append(f"DECIDE: {warned}")
    outside = rule.min is not None and column.low is not None and column.low < rule.min
    outside |= rule.max is not None and column.high is not None and column.high > rule.max
    if (parts or outside) and column.low is not None and column.high is not None:
        text = span(column.low, column.high)
        parts.append(text + (", which is outside of what the contract allows" if outside else ""))
    return "; ".join(parts) or None


def _name(one: Match) -> list[str]:
    if one.accepted is not None:
        column = one.accepted
        seen = evidence(column, one.rule.type, exact=True)
        lines = comment(f"Looks like it: {seen}.{_misfits(one.rule, column)}", 6)
        return [*lines, f"      {one.declared}: {scalar(column.name)}"]
    need = "REQUIRED, DECIDE" if one.rule.required else "DECIDE"
    what = "one column" if len(one.options) == 1 else f"{len(one.options)} columns"
    way_out = "take away the # of at most one line, and of the keys above it."
    lines = comment(f"{need}: {what} may be {one.declared}; {way_out}", 6, 2)
    for option in one.options:
        objection = f" But {option.objection}." if option.objection else ""
        text = f"{evidence(option.column, None, exact=True)}.{objection}"
        lines += comment(f"  {text[0].upper()}{text[1:]}", 6, 4)
        lines.append(f"      # {one.declared}: {scalar(option.column.name)}")
    return lines


def _misfits(rule: Column, column: ColumnProfile) -> str:
    wrong = column.n_filled - column.fits.get(rule.type, column.n_filled)
    return f" Cells that are no {rule.type}, which `validate` lists: {wrong:,}." if wrong else ""


def _column(one: _Listed) -> list[str]:
    column, made = one.column, one.guess
    if made is None:
        return comment(f"{quoted(column.name)}: left out; {one.problem}.", 6, 2)
    lines = [f"      {scalar(column.name)}:"]
    for text in made.why:
        lines += comment(f"{text[0].upper()}{text[1:]}", 8, 2)
    lines += [
        f"        type: {made.type}",
        f"        role: {made.role}",
        f"        known_at: {made.known_at}",
        '        description: "Not described yet."',
    ]
    if made.max_missing is not None:
        lines.append(f"        max_missing: {scalar(made.max_missing)}")
    if one.allowed:
        lines.append(f"        # allowed: {listed(one.allowed)}")
    return lines
