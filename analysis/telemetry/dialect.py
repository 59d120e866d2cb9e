"""Statements of other engines, from the one dialect in which reductions are written.

Reductions are written for DuckDB, in the part of its SQL that others know too, and transpiled by
sqlglot, the library that Ibis transpiles with. What sqlglot does not know is mapped here: 128-bit
integers, microseconds, hashes, exact counts of values.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import sqlglot
from sqlglot import exp

DIALECTS = ("postgres", "spark", "bigquery", "snowflake")

_WIDE: Mapping[str, str] = {
    "postgres": "DECIMAL",
    "spark": "DECIMAL(38, 0)",
    "bigquery": "BIGNUMERIC",
    "snowflake": "DECIMAL(38, 0)",
}
_MICROS: Mapping[str, str] = {
    "postgres": "CAST(EXTRACT(EPOCH FROM {0}) * 1000000 AS BIGINT)",
    "spark": "UNIX_MICROS(CAST({0} AS TIMESTAMP))",
    "bigquery": "UNIX_MICROS(CAST({0} AS TIMESTAMP))",
    "snowflake": "DATE_PART(EPOCH_MICROSECOND, {0})",
}


def transpile(sql: str, dialect: str, parameters: Mapping[str, object] | None = None) -> str:
    """A statement in another dialect, its parameters as literals that the dialect escapes.

    Every name is quoted: engines fold the case of bare ones in ways of their own. Raises
    sqlglot.errors.SqlglotError where the dialect cannot say it.
    """
    tree: exp.Expr = _parsed(sql).copy()
    given = dict(parameters or {})
    tree = tree.transform(lambda node: _parameter(node, given))
    tree = tree.transform(lambda node: _mapped(node, dialect))
    return tree.sql(
        dialect=dialect, identify=True, unsupported_level=sqlglot.ErrorLevel.RAISE, comments=False
    )


@functools.lru_cache(maxsize=512)
def _parsed(sql: str) -> exp.Expression:
    tree = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(tree, exp.Expression)
    return tree


def _parameter(node: exp.Expr, given: Mapping[str, object]) -> exp.Expr:
    if isinstance(node, exp.Parameter | exp.Placeholder):
        return exp.convert(given[node.name])
    return node


def _mapped(node: exp.Expr, dialect: str) -> exp.Expr:
    if dialect == "bigquery" and isinstance(node, exp.Ordered) and node.find_ancestor(exp.Window):
        # BigQuery takes no word on nulls here; what windows are ordered by holds none.
        node.set("nulls_first", not node.args.get("desc"))
        return node
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.INT128:
        return exp.DataType.build(_WIDE[dialect], dialect=dialect)
    if isinstance(node, exp.TryCast) and dialect in ("postgres", "spark"):
        return _try_cast(node)
    if isinstance(node, exp.ApproxDistinct):
        return exp.Count(this=exp.Distinct(expressions=[node.this]))
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
        if name == "epoch_us":
            inner = node.expressions[0].sql(dialect=dialect, identify=True)
            return sqlglot.parse_one(_MICROS[dialect].format(inner), read=dialect)
        if name == "hash":
            return _hash(node.expressions)
        if name == "binary_text":
            return _binary(node.expressions[0], dialect)
        if name == "utc_of":
            return _utc(node.expressions[0], dialect)
    return node


# No backslash, no class by name: the same in PostgreSQL and in Java.
_NUMBER = (
    "^ *([+-]?([0-9]{1,200}[.]?[0-9]{0,200}|[.][0-9]{1,200})([eE][+-]?[0-9]{1,2})?"
    "|[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN]) *$"
)
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def _try_cast(node: exp.TryCast) -> exp.Expr:
    """A text as a number or a boolean, null where it is none, by patterns.

    PostgreSQL has no such cast, and Spark's takes other texts than DuckDB's.
    """
    text = exp.cast(node.this.copy(), "TEXT")
    if node.args["to"].this == exp.DataType.Type.DOUBLE:
        fits = exp.RegexpLike(this=text, expression=exp.Literal.string(_NUMBER))
        return exp.Case(ifs=[exp.If(this=fits, true=exp.cast(text.copy(), "DOUBLE"))])
    if node.args["to"].this == exp.DataType.Type.BOOLEAN:
        lowered = exp.Lower(this=text)
        return exp.Case(
            ifs=[
                exp.If(this=lowered.copy().isin(*words), true=exp.convert(value))
                for words, value in ((_TRUE, True), (_FALSE, False))
            ]
        )
    raise sqlglot.errors.UnsupportedError(f"{node.sql('duckdb')}: no such cast in house SQL")


def _binary(text: exp.Expr, dialect: str) -> exp.Expr:
    """A text that is compared byte by byte, and so is all that is made of it."""
    if dialect != "postgres":
        return text
    return exp.Collate(this=text, expression=exp.to_identifier("C", quoted=True))


def _utc(moment: exp.Expr, dialect: str) -> exp.Expr:
    """A time with a zone as a time of UTC without one."""
    if dialect == "postgres":
        return exp.AtTimeZone(this=moment, zone=exp.Literal.string("UTC"))
    # The sessions of the others are in UTC.
    return exp.cast(moment, "TIMESTAMP_NTZ", dialect="spark")


def _hash(values: list[exp.Expr]) -> exp.Expr:
    """md5 of the values as text: a null differs from every text, and no value runs into the next."""
    parts: list[exp.Expr] = []
    for value in values:
        text = exp.cast(value.copy(), "TEXT")
        parts.append(
            exp.Case(
                ifs=[exp.If(this=value.copy().is_(exp.null()), true=exp.Literal.string("-"))],
                default=exp.Concat(
                    expressions=[
                        exp.cast(exp.Length(this=text.copy()), "TEXT"), exp.Literal.string(":"), text
                    ],
                    safe=False,
                    coalesce=False,
                ),
            )
        )  # fmt: skip
    whole = parts[0]
    for part in parts[1:]:
        whole = exp.DPipe(this=whole, expression=part, safe=False)
    return exp.MD5(this=whole)
