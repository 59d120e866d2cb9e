"""What every number is called, and where the code that computes it says what it means.

A term is defined by a paragraph in the docstring of the function that computes it:

    Burn rate (×): bad share of the candidate window divided by … Source: Google SRE Workbook, chapter 5.

which is its name, its unit if it has one, the definition, and the source of the method if there is one. The
glossary page is made of these paragraphs, and every heading that names a figure links to its term. Looking a
term up imports none of that code.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from analysis.present.anchors import term_place
from analysis.present.escape import Html, escape, say
from analysis.present.glossary_terms import GROUPS, Term

PAGE = "glossary.html"


@dataclass(frozen=True)
class Definition:
    """What a docstring says of a term; unit and source are empty where it names none."""

    unit: str
    text: str
    source: str


def definition(term: Term) -> Definition:
    """The paragraph of the docstring that begins with the term's name.

    Raises ValueError where there is none: a term without a definition is a fault of the code.
    """
    module, _, name = term.defined.partition(":")
    found = getattr(importlib.import_module(f"analysis.{module}"), name)
    pattern = re.compile(
        rf"{re.escape(term.name)}(?: \((?P<unit>[^)]+)\))?: (?P<text>.+?)(?: Source: (?P<source>.+)\.)?"
    )
    for paragraph in (inspect.getdoc(found) or "").split("\n\n"):
        told = pattern.fullmatch(" ".join(paragraph.split()))
        if told:
            return Definition(told["unit"] or "", told["text"], told["source"] or "")
    raise ValueError(
        f"analysis.{term.defined}: no paragraph of its docstring begins “{term.name}:”"
    )


@cache
def _by_heading(of_words: bool) -> Mapping[str, Term]:
    return {
        heading: term
        for group in GROUPS
        for term in group.terms
        for heading in (term.words if of_words else term.headings)
    }


def of_heading(table: str, heading: str, of_words: bool = False) -> Term | None:
    """The term that a heading of a table means; None where it names no figure.

    of_words: whether the column holds words, and no numbers.
    """
    named = _by_heading(of_words)
    return named.get(f"{table}: {heading}") or named.get(heading)


def of_check(check_id: str) -> Term | None:
    """The term of a check, by its id."""
    for group in GROUPS:
        for term in group.terms:
            for known in term.checks:
                first, star, last = known.partition("*")
                if check_id == known or (
                    star and check_id.startswith(first) and check_id.endswith(last)
                ):
                    return term
    return None


def link(term: Term, shown: object, named: object = "") -> Html:
    """`shown` as a link to the term's definition. named: its name where what is shown tells too little."""
    label = say(' aria-label="{named}"', named=named) if named else Html("")
    return say(
        '<a class="rr-term" href="{page}#{at}"{label}>{shown}</a>',
        page=PAGE, at=term_place(term.name), label=label, shown=shown,
    )  # fmt: skip


def explained(table: str, heading: str, of_words: bool = False) -> Html:
    """A heading, or the name of a figure, as a link to its definition where it has one."""
    term = of_heading(table, heading, of_words)
    return escape(heading) if term is None else link(term, heading)
