"""Which column of the data is which column of the contract, and what speaks against it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from analysis.contract import Column, ColumnType, Contract, Table
from analysis.propose.profile import Closely, ColumnProfile
from analysis.propose.synonyms import OPPOSITE, factor_by_name, looks_like, normalised
from analysis.telemetry.cells import EXPECTED
from analysis.yaml_text import NAME, counted, figure, per_cent, shown

ENOUGH_FIT = 0.95
"""Cells of which more than this share fit are faults of the data, not another kind of column."""
SURE_DISTINCT = 50
"""From here on, an estimated number of distinct values is called one."""

# Medians below which a time in milliseconds, with fractions, is in truth one in seconds.
_SECONDS_BELOW = {"latency_ms": 60.0, "time_to_first_token_ms": 10.0}
_USD_ABOVE = 1.0
_EPOCHS = ((1e9, 1e11, "seconds"), (1e12, 1e14, "milliseconds"), (1e15, 1e17, "microseconds"))


@dataclass(frozen=True)
class Option:
    """A column that may be the declared one; `objection` says why a rename alone is not enough."""

    column: ColumnProfile
    objection: str | None


@dataclass(frozen=True)
class Match:
    """A declared column that is not there under its name, and what looks like it.

    accepted: the one that a rename makes the declared column; else a person decides.
    """

    declared: str
    rule: Column
    options: tuple[Option, ...]
    accepted: ColumnProfile | None


@dataclass(frozen=True)
class TableMatch:
    """How the columns of one table fall out.

    present: columns that have a declared name. extra: the others, but those of `matches`.
    """

    name: str
    n_rows: int
    present: tuple[tuple[ColumnProfile, Column], ...]
    matches: tuple[Match, ...]
    missing: tuple[str, ...]
    extra: tuple[ColumnProfile, ...]


def to_look_at(contract: Contract, table: str, names: Collection[str]) -> Closely:
    """What must be known to decide on the columns with these names."""
    declared = contract.tables[table]
    counted, also = set(), {}
    for name in names:
        rule = declared.column(name)
        if rule is not None:
            also[name] = frozenset([rule.type]) - {"string"}
            counted |= {name} if rule.unit in ("ms", "USD") and rule.role == "cost" else set()
            continue
        rules = [r for c, r in declared.columns.items() if looks_like(table, c, name)]
        if rules:
            counted.add(name)
            also[name] = frozenset(r.type for r in rules) - {"string"}
    return Closely(frozenset(counted), also)


def match(contract: Contract, table: str, columns: Sequence[ColumnProfile]) -> TableMatch:
    """Sorts the columns of a table into present, alike and extra."""
    declared = contract.tables[table]
    present = [(c, rule) for c in columns if (rule := declared.column(c.name)) is not None]
    there = {c.name for c, _ in present}
    free = [c for c in columns if c.name not in there]
    matches, missing = [], []
    for name, rule in declared.columns.items():
        if name in there:
            continue
        found = _match(declared, table, name, rule, free)
        if found is not None:
            matches.append(found)
            used = {o.column.engine for o in found.options}
            free = [c for c in free if c.engine not in used]
        elif rule.required:
            missing.append(name)
    return TableMatch(
        table, columns[0].n_rows, tuple(present), tuple(matches), tuple(missing), tuple(free)
    )


def _match(
    declared: Table, table: str, name: str, rule: Column, free: Sequence[ColumnProfile]
) -> Match | None:
    """The same name but for case and separators wins over any other; two that are alike are left
    to a person."""
    alike = [c for c in free if c.name.strip() and looks_like(table, name, c.name)]
    same = [c for c in alike if normalised(c.name) == normalised(name)]
    options = [Option(c, objection(declared, name, rule, c)) for c in same or alike]
    fitting = [o.column for o in options if o.objection is None]
    if len(options) > 1 and len(fitting) == 1 and declared.key == name:
        # Of several ids, only one identifies a row.
        options = [o for o in options if o.objection is None]
    if not options:
        return None
    accepted = fitting[0] if len(options) == 1 and fitting else None
    return Match(name, rule, tuple(options), accepted)


def objection(declared: Table, name: str, rule: Column, column: ColumnProfile) -> str | None:
    """Why a rename does not make `column` the declared column; None where it does."""
    if column.is_nested:
        return "its cells are lists or objects: give it one value a row"
    if not column.n_filled:
        return "it is empty: nothing shows that it is the right one"
    if normalised(column.name) in map(normalised, OPPOSITE) and name == "is_failure":
        return "it seems to say the opposite: write is_failure as its negation"
    return (
        _type_objection(rule, column)
        or _range_objection(rule, column)
        or unit_objection(name, column)
        or _key_objection(declared, name, column)
    )


def _type_objection(rule: Column, column: ColumnProfile) -> str | None:
    if rule.type == "string":
        return None
    fit = column.fits.get(rule.type, 0)
    if fit >= ENOUGH_FIT * column.n_filled:
        return None
    if rule.type == "timestamp" and column.fit("number") and column.high is not None:
        unit = next((u for low, high, u in _EPOCHS if low <= column.high < high), None)
        if unit is not None:
            return f"it counts {unit} since 1970: write the times as ISO 8601 in UTC"
    share = per_cent(1 - fit / column.n_filled)
    return f"{share} of its cells are no {rule.type}: expected {EXPECTED[rule.type]}"


def _range_objection(rule: Column, column: ColumnProfile) -> str | None:
    if rule.min is not None and column.low is not None and column.low < rule.min:
        return f"its lowest value is {figure(column.low)}, below {figure(rule.min)}"
    if rule.max is not None and column.high is not None and column.high > rule.max:
        return f"its highest value is {figure(column.high)}, above {figure(rule.max)}"
    return None


def unit_objection(name: str, column: ColumnProfile) -> str | None:
    """What looks wrong with the unit of a column that stands for `name`."""
    factor = factor_by_name(name, column.name)
    if factor is not None:
        return f"by its name it has another unit: multiply it by {figure(factor)}"
    if name == "retry_index" and column.low is not None and column.low >= 1:
        return "it begins with 1: subtract 1, so that the first attempt is 0"
    if column.median is None:
        return None
    below = _SECONDS_BELOW.get(name)
    if below is not None and column.median < below and column.n_fractional:
        return (
            f"half of its values are at most {figure(column.median)}, with fractions: if these are "
            "seconds, multiply by 1,000"
        )
    if name == "cost_usd" and column.median > _USD_ABOVE:
        return (
            f"half of its values are at least {figure(column.median)}: if these are cents or another "
            "unit, convert them to USD"
        )
    return None


def _key_objection(declared: Table, name: str, column: ColumnProfile) -> str | None:
    if name != declared.key or column.n_distinct == column.n_rows:
        return None
    if column.n_filled < column.n_rows:
        return f"{per_cent(column.missing)} of its cells are empty: no key"
    return (
        f"{counted(column.n_distinct, 'distinct value')} in {counted(column.n_rows, 'row')}: the "
        "key of the table has one of its own in every row"
    )


def evidence(column: ColumnProfile, kind: ColumnType | None, *, exact: bool) -> str:
    """What was seen of a column that is taken for a `kind`; text is never told, only counted.

    exact: whether its distinct values were counted; else their number is an estimate.
    """
    held = "text" if column.is_text else shown(column.kind.lower()[:NAME])
    fits = f" that reads as {kind}" if kind not in (None, "string") and column.is_text else ""
    empty = f"{per_cent(column.missing)} empty" if column.missing else "none empty"
    values = f"{column.n_distinct:,} distinct"
    if not exact and column.n_distinct >= SURE_DISTINCT:
        number = min(column.n_distinct, column.n_filled)
        values = f"about {round(number, 2 - len(str(number))):,} distinct"
    return f"{held}{fits}, {empty}, {values}{_span(column, kind)}"


def _span(column: ColumnProfile, kind: ColumnType | None) -> str:
    if kind in ("integer", "number") and column.low is not None and column.high is not None:
        return f", {span(column.low, column.high)}"
    if kind == "timestamp" and column.first is not None and column.last is not None:
        return f", from {column.first:%Y-%m-%d} to {column.last:%Y-%m-%d}"
    return ""


def span(low: float, high: float) -> str:
    """A range in words."""
    return f"from {figure(low)} to {figure(high)}" if low < high else f"always {figure(low)}"
