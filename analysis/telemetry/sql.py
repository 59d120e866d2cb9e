"""The few pieces of SQL text that are built: identifiers and literals from the policy, always quoted.

Nothing that stands in a telemetry row ever becomes part of a statement.
"""

from __future__ import annotations

from analysis.policy import Bad, Scalar


def identifier(name: str) -> str:
    """A column name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """A policy value as an SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + value.replace("'", "''") + "'"


def bad_when(rule: Bad, column_type: str) -> str:
    """A nullable boolean expression: true where the row is bad, null where that is not known.

    column_type: the DuckDB type of the column in `fact`.
    """
    column = identifier(rule.column)
    if rule.above is not None:
        return f"({_number(column, column_type)} > {literal(float(rule.above))})"
    if rule.below is not None:
        return f"({_number(column, column_type)} < {literal(float(rule.below))})"
    if rule.at_least is not None:
        return f"({_number(column, column_type)} >= {literal(float(rule.at_least))})"
    if rule.at_most is not None:
        return f"({_number(column, column_type)} <= {literal(float(rule.at_most))})"
    if isinstance(rule.equals, bool):
        return f"({_flag(column, column_type)} = {literal(rule.equals)})"
    if isinstance(rule.equals, int | float):
        return f"({_number(column, column_type)} = {literal(float(rule.equals))})"
    if rule.equals is not None:
        return f"(CAST({column} AS VARCHAR) = {literal(rule.equals)})"
    return _flag(column, column_type)


def number_of(name: str, column_type: str) -> str:
    """A column as a nullable number: a flag is 1 or 0, and so is a text that says one."""
    column = identifier(name)
    number = _number(column, column_type)
    if column_type == "BOOLEAN" or column_type in _NUMBERS:
        return number
    flag = _flag(column, column_type)
    return f"coalesce({number}, CASE WHEN {flag} THEN 1.0 WHEN NOT {flag} THEN 0.0 END)"


_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE")


def _number(column: str, column_type: str) -> str:
    """A column as a number; null where a text is none."""
    if column_type == "BOOLEAN":
        return f"(CASE WHEN {column} THEN 1 WHEN NOT {column} THEN 0 END)"
    cast = "CAST" if column_type in _NUMBERS else "TRY_CAST"
    return f"{cast}({column} AS DOUBLE)"


def _flag(column: str, column_type: str) -> str:
    """A column as a boolean; null where a text is none."""
    if column_type == "BOOLEAN":
        return column
    if column_type in _NUMBERS:
        return f"(CASE WHEN {column} = 0 THEN false WHEN {column} IS NOT NULL THEN true END)"
    return f"TRY_CAST({column} AS BOOLEAN)"
