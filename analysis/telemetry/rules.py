"""The rules of one table: types, keys, ranges, token sums and a team's own, as engine expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.contract import Column, Contract, RuleSeverity, Table
from analysis.telemetry.cells import EXPECTED, foreign_offset
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier, literal

MAX_USD = 1e6
MAX_NUMBER = 1e12
_NO_VALUE = (
    "(empty)", "nan", "null", "none", "na", "n/a", "-", "?", "inf", "-inf", "+inf", "infinity",
    "-infinity", "yes", "no", "y", "n", "t", "f", "on", "off", "ok", "error",
)  # fmt: skip
OTHER_OFFSET = "an offset other than Z or +00:00; convert the times to UTC"


@dataclass(frozen=True)
class Rule:
    """A condition on rows of one table that must hold nowhere.

    relation: a FROM clause in which `t` has `source_row` and the keys. broken: true where a row
    breaks the rule. example: text that shows such a row, None where there is nothing to show;
    values of text columns stand in it as `masked`.
    """

    rule: str
    table: str
    column: str | None
    broken: str
    hint: str
    severity: RuleSeverity
    relation: str
    example: str | None = None


def masked(text: str) -> str:
    """The shape of a text: letters become a or A, digits 9, the rest stays, 40 characters at most.

    A person sees what kind of value it is; whose it was does not leave the telemetry.
    """
    shape = f"left({text}, 40)"
    for pattern, letter in (("[0-9]|\\p{Nd}", "9"), ("\\p{Lu}", "A"), ("\\p{L}", "a")):
        shape = f"regexp_replace({shape}, '{pattern}', '{letter}', 'g')"
    return f"{shape} || CASE WHEN length({text}) > 40 THEN '…' ELSE '' END"


def shown(column: str, declared: Column | None) -> str:
    """The value of a column as an example: numbers and times as they are, text masked."""
    value = f"CAST({identifier(column)} AS VARCHAR)"
    plain = declared is not None and declared.type != "string"
    return value if plain else masked(value)


def column_rules(source: Source, contract: Contract, name: str) -> list[Rule]:
    """The rules that one scan of a table decides."""
    table, have = contract.tables[name], source.columns[name]
    rules: list[Rule] = []
    for column in have:
        declared = table.column(column)
        if declared is not None:
            rules += _type_rules(source, contract, name, column, declared)
            rules += _range_rules(contract, name, column, declared)
    keys = [table.key, *(k for k in table.foreign_keys if k in have)]
    rules += [_key_null(contract, name, k) for k in dict.fromkeys(keys) if k in have]
    rules += _token_rules(contract, name, table, have)
    return rules


def twice_of(hashed: str, relation: str) -> str:
    """A query for the hashes that stand in more than one row, as `source_hash`.

    Sorting hashes and looking at the one before takes half the time and memory of counting them.
    """
    return (
        "SELECT DISTINCT source_hash FROM (SELECT source_hash, lag(source_hash) OVER "
        f"(ORDER BY source_hash) AS before FROM (SELECT {hashed} AS source_hash FROM {relation}) hashes) pairs "
        "WHERE source_hash = before"
    )


def key_unique(source: Source, contract: Contract, name: str) -> list[Rule]:
    """The rule that a key stands once, where it is broken: a scan of hashes finds that out."""
    key = contract.tables[name].key
    if key not in source.columns[name]:
        return []
    column = identifier(key)
    twice = source.engine.rows(
        f"SELECT 1 FROM ({twice_of(f'hash({column})', f'{name} WHERE {column} IS NOT NULL')}) twice LIMIT 1"
    )
    if not twice:
        return []
    source.engine.create(
        f"repeated_{name}",
        f"SELECT {column} AS repeated FROM {name} WHERE {column} IS NOT NULL "
        f"GROUP BY {column} HAVING count(*) > 1",
    )
    return [
        Rule(
            "key_unique",
            name,
            key,
            f"{column} IN (SELECT repeated FROM repeated_{name})",
            "the key stands in more than one row; keep one row a key",
            contract.severities["key_unique"],
            f"{name} t",
            masked(column),
        )
    ]


def _type_rules(
    source: Source, contract: Contract, name: str, column: str, declared: Column
) -> list[Rule]:
    """Cells that hold something and do not fit.

    A time that the contract requires must be there: a row without one belongs to no window.
    """
    misfit = source.misfits[name].get(column)
    expected = f"expected {EXPECTED[declared.type]}"
    severities, cells = contract.severities, f"cells_{name} t"
    rules: list[Rule] = []
    wrong = "false" if misfit is None else f"{misfit} IS NOT NULL"
    if declared.required and declared.role == "time":
        wrong = f"{identifier(column)} IS NULL"
    example = None if misfit is None else _spelling(misfit)
    # Only a file holds times as text, with an offset.
    if declared.type == "timestamp" and misfit is not None and source.staging is not None:
        offset = foreign_offset(misfit)
        rules.append(
            Rule("timestamp_utc", name, column, f"({wrong}) AND {offset}", OTHER_OFFSET,
                 severities["timestamp_utc"], cells, example)
        )  # fmt: skip
        wrong = f"({wrong}) AND NOT {offset}"
    if wrong != "false":
        rules.append(
            Rule("types", name, column, wrong, expected, severities["types"], cells, example)
        )
    return rules


def _spelling(misfit: str) -> str:
    """A cell that does not fit: usual spellings of no value as they are, anything else masked."""
    usual = ", ".join(literal(word) for word in _NO_VALUE)
    text = f"coalesce({misfit}, '(empty)')"
    return f"CASE WHEN lower({text}) IN ({usual}) THEN {text} ELSE {masked(text)} END"


def _range_rules(contract: Contract, name: str, column: str, declared: Column) -> list[Rule]:
    quoted = identifier(column)
    unit = f" {declared.unit}" if declared.unit else ""
    rules: list[tuple[str, str]] = []
    if declared.type in ("integer", "number"):
        broken, expected = [], []
        low, high = declared.min, declared.max
        if declared.role != "rollup":
            # Beyond these, sums and their squares would not be exact integers.
            largest = MAX_USD if declared.unit == "USD" else MAX_NUMBER
            high = largest if high is None else high
            if low is None:
                broken.append(f"{quoted} < {literal(-largest)}")
        if low is not None:
            sign = "<=" if declared.min_exclusive else "<"
            broken.append(f"{quoted} {sign} {literal(low)}")
            expected.append(f"{'above' if declared.min_exclusive else 'at least'} {low:g}{unit}")
        if high is not None:
            broken.append(f"{quoted} > {literal(high)}")
            expected.append(f"at most {high:g}{unit}")
        if broken:
            rules.append((f"({' OR '.join(broken)})", f"expected {' and '.join(expected)}"))
    if declared.allowed is not None:
        values = ", ".join(literal(v) for v in declared.allowed)
        rules.append(
            (f"{quoted} NOT IN ({values})", f"expected one of: {', '.join(declared.allowed)}")
        )
    return [
        Rule(
            "ranges",
            name,
            column,
            broken_when,
            hint,
            contract.severities["ranges"],
            f"cells_{name} t",
            shown(column, declared),
        )
        for broken_when, hint in rules
    ]


def _key_null(contract: Contract, name: str, key: str) -> Rule:
    column = identifier(key)
    return Rule(
        "key_null",
        name,
        key,
        # Few keys begin with a space or less, and only those are trimmed: CASE looks at no others.
        f"(CASE WHEN {column} < '!' THEN trim({column}) = '' ELSE {column} IS NULL END)",
        "a key is empty; every row needs one",
        contract.severities["key_null"],
        f"cells_{name} t",
    )


def _token_rules(contract: Contract, name: str, table: Table, have: Sequence[str]) -> list[Rule]:
    found: list[tuple[str, str, str, str]] = []
    for total in table.token_sums:
        if total.total in have and all(p in have for p in total.parts):
            parts = " + ".join(f"CAST({identifier(p)} AS HUGEINT)" for p in total.parts)
            found.append(
                (
                    total.total,
                    f"{identifier(total.total)} <> {parts}",
                    f"{total.total} must equal {' + '.join(total.parts)}",
                    f"{identifier(total.total)} || ' against ' || ({parts})",
                )
            )
    for part in table.token_parts:
        if part.part in have and part.whole in have:
            found.append(
                (
                    part.part,
                    f"{identifier(part.part)} > {identifier(part.whole)}",
                    f"{part.part} is a part of {part.whole} and cannot exceed it",
                    f"{identifier(part.part)} || ' of ' || {identifier(part.whole)}",
                )
            )
    return [
        Rule("token_sum", name, column, broken, hint, contract.severities["token_sum"],
             f"cells_{name} t", example)
        for column, broken, hint, example in found
    ]  # fmt: skip
