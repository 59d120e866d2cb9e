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
        return f"(TRY_CAST({column} AS DOUBLE) > {literal(float(rule.above))})"
    if rule.below is not None:
        return f"(TRY_CAST({column} AS DOUBLE) < {literal(float(rule.below))})"
    if isinstance(rule.equals, bool):
        return f"(TRY_CAST({column} AS BOOLEAN) = {literal(rule.equals)})"
    if isinstance(rule.equals, int | float):
        return f"(TRY_CAST({column} AS DOUBLE) = {literal(float(rule.equals))})"
    if rule.equals is not None:
        return f"(CAST({column} AS VARCHAR) = {literal(rule.equals)})"
    if column_type == "BOOLEAN":
        return column
    return f"TRY_CAST({column} AS BOOLEAN)"
