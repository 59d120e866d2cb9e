"""A rule of one's own: an expression of a contract file, read as a condition on the rows of a table.

What a rule may hold is a short list; all else is refused, not filtered. Each word and sign is looked
at before anything is parsed, so that the parser never meets a function, a statement or a name that
is not on the list. The SQL is then written anew from the parsed tree (`rule_sql`): nothing of the
text is passed on.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from analysis.contract_model import MAX_EXPRESSION, Table
from analysis.rule_sql import ALLOWED, FUNCTIONS, TYPES, NoCondition, Writer, quoted, text_literal
from analysis.strict_yaml import short

# The parser tries some things twice at each bracket: what is nested deeper would take it minutes.
MAX_NESTING = 16

# fmt: off
_KEYWORDS = frozenset({
    "and", "or", "not", "in", "between", "like", "is", "null", "true", "false",
    "case", "when", "then", "else", "end", "as", "distinct", "from",
})
_SIGNS = frozenset({
    "(", ")", ",", "=", "==", "<>", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%", "::",
})
# fmt: on
_CASTS = frozenset({"cast", "try_cast"})
_OTHER_SIGNS = {
    ".": " (a name stands without its table, a number as 0.5)",
    ";": " (a rule is one condition)",
    "||": " (texts are not joined)",
}
_UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")

_Role = Literal["column", "function", "type", "keyword", "text", "number", "sign", "odd"]


@dataclass(frozen=True)
class Condition:
    """A condition in DuckDB's SQL: true where a row keeps the rule, null where nobody can say.

    columns: those that it needs, by the contract's names, sorted.
    """

    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    """A word, a literal or a sign. opens: whether a bracket follows."""

    text: str
    role: _Role
    opens: bool


def condition(expression: str, table: Table) -> Condition:
    """The condition that `expression` states on the rows of `table`. Raises NoCondition."""
    if len(expression) > MAX_EXPRESSION:
        raise NoCondition(
            [f"has {len(expression):,} characters; expected at most {MAX_EXPRESSION:,}"]
        )
    unseen = sorted({c for c in expression if _unseen(c)})
    if unseen:
        shown = ", ".join(f"U+{ord(c):04X}" for c in unseen[:5])
        raise NoCondition([f"holds characters that do not show ({shown}); leave them out"])
    tokens = _tokens(expression)
    problems = list(_wrong(tokens, table))
    if problems:
        raise NoCondition(_once(problems))
    try:
        sql = Writer().written(_parsed(tokens))
    except RecursionError:
        raise NoCondition(["is nested too deeply; split it into several rules"]) from None
    return Condition(sql, tuple(sorted({t.text for t in tokens if t.role == "column"})))


def _unseen(character: str) -> bool:
    """Whether a character could make an expression look like another one."""
    return character not in "\n\t" and unicodedata.category(character) in _UNSEEN


# ── words and signs ──────────────────────────────────────────────────────────────────────


def _tokens(expression: str) -> list[_Token]:
    """The words and signs, each with what it can only be meant as. Raises NoCondition."""
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.errors import SqlglotError

    try:
        found = [*DuckDB().tokenize(expression)]
    except SqlglotError:
        raise NoCondition(["cannot be read; is a quote left open?"]) from None
    # Comments hang on the tokens beside them; without any token there is nothing else.
    if any(token.comments for token in found):
        raise NoCondition(["holds a comment; write it into the hint, or beside the rule"])
    if not found:
        raise NoCondition(["is empty; expected a condition on the rows of the table"])
    kinds = ["", *(token.token_type.name for token in found), ""]
    texts = ["", *(token.text for token in found)]
    return [
        _Token(
            text,
            _role(text, kinds[place], kinds[place + 1], texts[place - 1], kinds[place - 1]),
            kinds[place + 1] == "L_PAREN",
        )
        for place, text in enumerate(texts)
        if place
    ]


def _role(text: str, kind: str, next_kind: str, before: str, kind_before: str) -> _Role:
    if kind == "IDENTIFIER":
        return "column"
    if kind in ("STRING", "NUMBER"):
        return "text" if kind == "STRING" else "number"
    if kind.endswith("STRING"):
        return "odd"  # e'…', $$…$$ and the like
    if not re.fullmatch(r"[^\W\d][\w$ ]*", text):
        return "sign" if text in _SIGNS else "odd"
    if text.isascii() and text.lower() in _KEYWORDS:
        return "keyword"
    after_as = before.lower() in ("as", "::") and kind_before not in ("STRING", "IDENTIFIER")
    if after_as or next_kind == "STRING":
        return "type"
    return "function" if next_kind == "L_PAREN" else "column"


def _wrong(tokens: list[_Token], table: Table) -> Iterator[str]:
    """What is wrong with each word and sign by itself."""
    nesting = deepest = 0
    for token in tokens:
        nesting += {"(": 1, ")": -1}.get(token.text, 0) if token.role == "sign" else 0
        deepest = max(deepest, nesting)
        word = token.text.lower()
        if token.role == "odd":
            note = _OTHER_SIGNS.get(token.text, "")
            yield f"found {short(token.text)!r}{note}; {ALLOWED}"
        elif token.role == "function" and word not in FUNCTIONS.keys() | _CASTS:
            yield f"found {short(token.text)}(…), which is no function that a rule may call; {ALLOWED}"
        elif token.role == "type" and (word not in TYPES or token.opens):
            shown = f"{short(token.text)}{' (…)' if token.opens else ''}"
            yield f"found {shown!r}, which is neither a type nor another word for a rule; {ALLOWED}"
        elif token.role == "column":
            yield from _no_column(token.text, table)
    if deepest > MAX_NESTING:
        yield f"has brackets {deepest:,} deep; expected at most {MAX_NESTING}; split the rule"
    if not any(token.role == "column" for token in tokens):
        yield "names no column of the table; a rule is a condition on its rows"


def _once(problems: list[str]) -> list[str]:
    """The same problems; what a rule may hold is said with the last of those that it answers."""
    rest = f"; {ALLOWED}"
    bare = list(dict.fromkeys(problem.removesuffix(rest) for problem in problems))
    answered = [p.removesuffix(rest) for p in problems if p.endswith(rest)]
    return [p + rest if answered and p == answered[-1] else p for p in bare]


def _no_column(name: str, table: Table) -> Iterator[str]:
    if name not in table.patterns and table.column(name) is not None:
        return
    renamed = next((own for own, given in table.names.items() if given == name), None)
    close = difflib.get_close_matches(name[:80].lower(), table.columns, n=1, cutoff=0.75)
    if renamed is not None:
        hint = f"write {short(renamed)!r}, as the contract calls it"
    elif close:
        hint = f"did you mean {short(close[0])!r}?"
    else:
        hint = f"declare it under columns if it is one; {ALLOWED}"
    yield f"{short(name)!r} is no column of the table; {hint}"


# ── reading ──────────────────────────────────────────────────────────────────────────────


def _parsed(tokens: list[_Token]) -> Any:
    """The tree of the tokens, every column in quotes: no name can be taken for a word of SQL."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    written = {"column": quoted, "text": text_literal}
    text = " ".join(written.get(token.role, str)(token.text) for token in tokens)
    try:
        return sqlglot.parse_one(text, read="duckdb", into=exp.Condition)
    except SqlglotError as error:
        places = error.errors if isinstance(error, ParseError) else []
        found = places[0].get("highlight") if places else None
        near = f" (near {short(found)!r})" if found else ""
        raise NoCondition([f"cannot be read as one condition{near}; {ALLOWED}"]) from None
