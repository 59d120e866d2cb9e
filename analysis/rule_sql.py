"""The SQL of a rule of one's own, written anew from its parsed tree by a table of the kinds of nodes.

Whatever has no place in the table is refused: a new version of the parser that knows more kinds of
nodes, or notes more on them, cannot widen what a rule may hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from analysis.strict_yaml import short

MAX_DEPTH = 60

# How the parser calls a function, and which of its arguments there are.
FUNCTIONS = {
    "abs": ("Abs", ("this",)),
    "round": ("Round", ("this", "decimals")),
    "floor": ("Floor", ("this",)),
    "ceil": ("Ceil", ("this",)),
    "length": ("Length", ("this",)),
    "lower": ("Lower", ("this",)),
    "upper": ("Upper", ("this",)),
    "trim": ("Trim", ("this", "expression")),
    "coalesce": ("Coalesce", ("this", "expressions")),
    "nullif": ("Nullif", ("this", "expression")),
    "least": ("Least", ("this", "expressions")),
    "greatest": ("Greatest", ("this", "expressions")),
    "contains": ("Contains", ("this", "expression")),
    "starts_with": ("StartsWith", ("this", "expression")),
}
TYPES = {
    "varchar": "VARCHAR",
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "timestampntz": "TIMESTAMP",  # the parser's own name of a timestamp without a zone
}
ALLOWED = (
    "a rule may hold columns, numbers, 'text', true, false, null, comparisons, AND, OR, NOT, IN, "
    "BETWEEN, LIKE, IS NULL, + - * / // %, CASE, CAST to varchar, bigint, double, boolean or "
    f"timestamp, and the functions {', '.join(FUNCTIONS)}"
)
_BINARY = {
    "And": "AND",
    "Or": "OR",
    "EQ": "=",
    "NEQ": "<>",
    "LT": "<",
    "LTE": "<=",
    "GT": ">",
    "GTE": ">=",
    "NullSafeEQ": "IS NOT DISTINCT FROM",
    "NullSafeNEQ": "IS DISTINCT FROM",
    "Add": "+",
    "Sub": "-",
    "Mul": "*",
    "Div": "/",
    "IntDiv": "//",
    "Mod": "%",
}
_CALLS = {node: (name, arguments) for name, (node, arguments) in FUNCTIONS.items()}
# What the parser notes on a node that has no meaning of its own here.
_NOTES = frozenset({"ignore_nulls", "nested", "quoted", "is_string", "safe", "typed"})


class NoCondition(ValueError):
    """An expression that is no condition on a table's rows; `problems` says all that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class Writer:
    """Writes a parsed tree as SQL, each operation in brackets; refuses every node it has no place for."""

    def __init__(self) -> None:
        self._depth = 0

    def written(self, node: Any) -> str:
        """The SQL of `node`. Raises NoCondition, or RecursionError where it is too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        try:
            return self._written(node)
        finally:
            self._depth -= 1

    def _written(self, node: Any) -> str:
        kind = type(node).__name__
        if kind in _BINARY:
            return self._chain(node)
        if kind in _CALLS:
            name, arguments = _CALLS[kind]
            self._only(node, name, *arguments)
            given = [value for key in arguments for value in _values(node.args.get(key))]
            return f"{name}({', '.join(self.written(value) for value in given)})"
        if kind not in _WRITTEN:
            raise NoCondition([f"found {_named(node)}; {ALLOWED}"])
        return _WRITTEN[kind](self, node)

    def _only(self, node: Any, what: str, *allowed: str) -> None:
        """Refuses a node that carries more than is written out."""
        more = [
            key
            for key, value in node.args.items()
            if value not in (None, False, []) and key not in allowed and key not in _NOTES
        ]
        if more:
            raise NoCondition([f"found {what} with {short(', '.join(more))}; {ALLOWED}"])

    def _chain(self, node: Any) -> str:
        """a AND b AND c …: a loop on the left side, which alone may be long."""
        spine = []
        while type(node).__name__ in _BINARY:
            self._only(node, "an operation", "this", "expression")
            spine.append((_BINARY[type(node).__name__], node.args["expression"]))
            node = node.args["this"]
        sql = self.written(node)
        for sign, right in reversed(spine):
            sql = f"({sql} {sign} {self.written(right)})"
        return sql

    def _paren(self, node: Any) -> str:
        self._only(node, "brackets", "this")
        return self.written(node.args["this"])

    def _not(self, node: Any) -> str:
        self._only(node, "NOT", "this")
        return f"(NOT {self.written(node.args['this'])})"

    def _neg(self, node: Any) -> str:
        self._only(node, "-", "this")
        return f"(- {self.written(node.args['this'])})"

    def _column(self, node: Any) -> str:
        self._only(node, "a name", "this")
        name = node.args["this"]
        if type(name).__name__ != "Identifier" or not name.args.get("quoted"):
            raise NoCondition([f"found {_named(name)}; {ALLOWED}"])
        return quoted(name.args["this"])

    def _literal(self, node: Any) -> str:
        text = str(node.args["this"])
        if node.args["is_string"]:
            return text_literal(text)
        number = re.fullmatch(r"[0-9]*\.?[0-9]*([eE][+-]?[0-9]+)?", text, re.ASCII)
        if number is None or not any(c.isdigit() for c in text) or not math.isfinite(float(text)):
            raise NoCondition(
                [f"found the number {short(text)}; expected one such as 1, 0.5 or 1e6"]
            )
        return text

    def _boolean(self, node: Any) -> str:
        return "true" if node.args["this"] else "false"

    def _null(self, node: Any) -> str:
        return "NULL"

    def _is(self, node: Any) -> str:
        self._only(node, "IS", "this", "expression", "negate")
        what = type(node.args["expression"]).__name__
        if what not in ("Null", "Boolean"):
            raise NoCondition(["found IS with something else than NULL, TRUE or FALSE; write ="])
        sign = "IS NOT" if node.args.get("negate") else "IS"
        return f"({self.written(node.args['this'])} {sign} {self.written(node.args['expression'])})"

    def _like(self, node: Any) -> str:
        self._only(node, "LIKE", "this", "expression", "negate")
        sign = "NOT LIKE" if node.args.get("negate") else "LIKE"
        return f"({self.written(node.args['this'])} {sign} {self.written(node.args['expression'])})"

    def _between(self, node: Any) -> str:
        self._only(node, "BETWEEN", "this", "low", "high")
        this, low, high = (self.written(node.args[key]) for key in ("this", "low", "high"))
        return f"({this} BETWEEN {low} AND {high})"

    def _in(self, node: Any) -> str:
        self._only(node, "IN", "this", "expressions")
        values = _values(node.args.get("expressions"))
        if not values:
            raise NoCondition(["found IN without values; write IN ('a', 'b')"])
        for value in values:
            if type(value).__name__ == "Null":
                raise NoCondition(
                    ["found NULL in a list: NOT IN would never be broken; ask IS NULL instead"]
                )
            inner = value.args["this"] if type(value).__name__ == "Neg" else value
            if type(inner).__name__ not in ("Literal", "Boolean"):
                raise NoCondition([f"found {_named(value)} in a list; IN takes numbers and 'text'"])
        listed = ", ".join(self.written(value) for value in values)
        return f"({self.written(node.args['this'])} IN ({listed}))"

    def _case(self, node: Any) -> str:
        self._only(node, "CASE", "this", "ifs", "default")
        parts = ["CASE"]
        if node.args.get("this") is not None:
            parts.append(self.written(node.args["this"]))
        for branch in node.args["ifs"]:
            self._only(branch, "WHEN", "this", "true")
            then = self.written(branch.args["true"])
            parts.append(f"WHEN {self.written(branch.args['this'])} THEN {then}")
        if node.args.get("default") is not None:
            parts.append(f"ELSE {self.written(node.args['default'])}")
        return f"({' '.join(parts)} END)"

    def _cast(self, node: Any) -> str:
        self._only(node, "CAST", "this", "to")
        to = node.args["to"]
        self._only(to, "a type", "this")
        name = getattr(to.args["this"], "name", "").lower()
        if name not in TYPES:
            raise NoCondition([f"found a cast to something else; {ALLOWED}"])
        # A constant that is no value of its type is told at once; in a row it is null.
        verb = "CAST" if type(node.args["this"]).__name__ == "Literal" else "TRY_CAST"
        return f"{verb}({self.written(node.args['this'])} AS {TYPES[name]})"


_WRITTEN: dict[str, Callable[[Writer, Any], str]] = {
    "Between": Writer._between,
    "Boolean": Writer._boolean,
    "Case": Writer._case,
    "Cast": Writer._cast,
    "Column": Writer._column,
    "In": Writer._in,
    "Is": Writer._is,
    "Like": Writer._like,
    "Literal": Writer._literal,
    "Neg": Writer._neg,
    "Not": Writer._not,
    "Null": Writer._null,
    "Paren": Writer._paren,
    "TryCast": Writer._cast,
}


def _values(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _named(node: Any) -> str:
    """What a node is, in a word that its author would know."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
    return _NODES.get(type(node).__name__, words)


_NODES = {
    "Tuple": "a list of values outside of IN",
    "Select": "a query",
    "Subquery": "a query",
    "Star": "*",
    "Concat": "two texts in a row",
    "Distinct": "DISTINCT within a function",
    "Alias": "a new name (AS)",
}
