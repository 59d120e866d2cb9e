"""Typed cells: each declared column cast in the engine, null where a cell does not fit.

Text is read by fixed patterns, not by what the engine would accept: `1_000`, `infinity` or a time
with the name of a zone are no values. An empty cell is null in every format.
"""

from __future__ import annotations

from analysis.contract import Column

TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
}
EXPECTED = {
    "boolean": "true or false in any case, or 0 or 1",
    "integer": "a whole number",
    "number": "a finite number",
    "timestamp": "an ISO 8601 time in UTC, such as 2026-11-16T09:30:00Z",
    "string": "text in UTF-8",
}
_DATE = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
_UTC = " ?(Z|z|UTC|[+-]00(:?00)?)"
_USUAL = r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z"
_WIDER = ("INTEGER", "SMALLINT", "TINYINT", "UTINYINT", "USMALLINT", "UINTEGER")
FIRST, LAST = "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


def cast(quoted: str, held: str, rule: Column | None) -> str:
    """The column as its declared type; null where it does not fit. `held`: its DuckDB type."""
    if rule is None or rule.type == "string":
        return _string(quoted, held, declared=rule is not None)
    if rule.type == "boolean":
        return _boolean(quoted, held)
    if rule.type == "timestamp":
        return _timestamp(quoted, held)
    if rule.type == "integer":
        return _integer(quoted, held)
    return _number(quoted, held)


def always_fits(held: str, rule: Column) -> bool:
    """Whether no cell of this DuckDB type can fail to be of the declared type."""
    if rule.type == "string":
        return held != "BLOB"
    return held == TYPES[rule.type] and rule.type in ("boolean", "integer")


def filled(quoted: str, held: str) -> str:
    """Whether a cell holds more than spaces: an empty cell is null, not a fault."""
    return f"({_text(quoted)} <> '')" if held in ("VARCHAR", "BLOB") else f"({quoted} IS NOT NULL)"


def misfit(quoted: str, held: str, typed: str) -> str:
    """The text of a cell that holds something and is not of its type; null where all is well.

    typed: the cell as `cast` reads it.
    """
    return f"CASE WHEN ({typed}) IS NULL AND {filled(quoted, held)} THEN {_text(quoted)} END"


def zoned(quoted: str) -> str:
    """Whether the text of a time in UTC says so; null for null."""
    spelled = f"regexp_matches({_text(quoted)}, '(Z|z|UTC|[0-9] ?[+-]00(:?00)?)$')"
    return f"CASE WHEN suffix({quoted}, 'Z') THEN true ELSE {spelled} END"


def foreign_offset(quoted: str) -> str:
    """Whether a cell is a time with an offset or a zone other than UTC; false for null."""
    text = _text(quoted)
    zoned = f"regexp_full_match({text}, '{_DATE}{_CLOCK} ?[A-Za-z+−-].*')"
    return f"coalesce({zoned} AND NOT regexp_full_match({text}, '{_DATE}{_CLOCK}({_UTC})?'), false)"


def _text(quoted: str) -> str:
    return f"trim(CAST({quoted} AS VARCHAR))"


def _string(quoted: str, held: str, *, declared: bool) -> str:
    if held == "VARCHAR":
        return f"nullif({quoted}, '')"
    if held == "BLOB":
        decoded = f"nullif(try(decode({quoted})), '')"
        return decoded if declared else f"coalesce({decoded}, CAST({quoted} AS VARCHAR))"
    return f"CAST({quoted} AS VARCHAR)" if declared else quoted


def _boolean(quoted: str, held: str) -> str:
    if held == "BOOLEAN":
        return quoted
    text = f"lower({_text(quoted)})"
    return (
        f"CASE WHEN {text} IN ('true', '1', '1.0') THEN true "
        f"WHEN {text} IN ('false', '0', '0.0') THEN false END"
    )


def _timestamp(quoted: str, held: str) -> str:
    if held.startswith("TIMESTAMP"):
        moment = f"CAST({quoted} AS TIMESTAMP)"
        if held == "TIMESTAMP WITH TIME ZONE":
            # Microseconds of UTC: no calendar is needed to take the zone away.
            moment = f"make_timestamp(epoch_us({quoted}))"
        elif held.startswith("TIMESTAMPTZ"):
            moment = f"CAST(CAST({quoted} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS TIMESTAMP)"
        return f"CASE WHEN {moment} BETWEEN {FIRST} AND {LAST} THEN {moment} END"
    text = _text(quoted)
    bare = f"regexp_replace({text}, '{_UTC}$', '')"
    usual = ""
    if held == "VARCHAR":
        # The form of nearly every log comes first: its pattern costs a third of the general one.
        usual = (
            f"WHEN regexp_full_match({quoted}, '{_USUAL}') THEN TRY_CAST({quoted} AS TIMESTAMP) "
        )
    return (
        f"CASE {usual}WHEN regexp_full_match({text}, '{_DATE}{_CLOCK}({_UTC})?') "
        f"THEN TRY_CAST({bare} AS TIMESTAMP) "
        f"WHEN regexp_full_match({text}, '{_DATE}') THEN TRY_CAST({text} AS TIMESTAMP) END"
    )


def _integer(quoted: str, held: str) -> str:
    if held == "BIGINT":
        return quoted
    if held in _WIDER:
        return f"CAST({quoted} AS BIGINT)"
    if held == "DOUBLE":
        whole = f"isfinite({quoted}) AND {quoted} = floor({quoted})"
        return f"CASE WHEN {whole} AND abs({quoted}) < 9e18 THEN CAST({quoted} AS BIGINT) END"
    number = _double(quoted)
    whole = f"isfinite({number}) AND {number} = floor({number})"
    text = _text(quoted)
    return (
        f"CASE WHEN {whole} AND abs({number}) < {2**53} THEN CAST({number} AS BIGINT) "
        f"WHEN regexp_full_match({text}, '[+-]?[0-9]+') THEN TRY_CAST({text} AS BIGINT) "
        f"WHEN {whole} AND abs({number}) < 9e18 THEN CAST({number} AS BIGINT) END"
    )


def _number(quoted: str, held: str) -> str:
    number = quoted if held == "DOUBLE" else _double(quoted)
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _double(quoted: str) -> str:
    """A number as the engine reads it, but without digit separators."""
    text = _text(quoted)
    return f"(CASE WHEN NOT contains({text}, '_') THEN TRY_CAST({text} AS DOUBLE) END)"
