"""The glossary: every term of the report with its unit, its definition and its source."""

from __future__ import annotations

from analysis.present import anchors
from analysis.present.blocks import Parts, answer, joined, paragraph
from analysis.present.escape import Html, say
from analysis.present.glossary import definition
from analysis.present.glossary_terms import GROUPS, Group, Term
from analysis.review import Review


def parts(_review: Review) -> Parts:
    """The page; the same for every review, as it tells what the code means and not what it found."""
    n = sum(len(group.terms) for group in GROUPS)
    return Parts(
        (
            answer(
                "",
                paragraph(
                    f"What each of {n} terms means, as it is written beside the code that computes it. "
                    "Headings and names of figures on every page lead here."
                ),
            ),
        ),
        tuple(_group(group) for group in GROUPS),
        (
            paragraph(
                "Where a term does not say what you need to know, read the function that it names: its "
                "docstring has the method, and its units."
            ),
        ),
    )


def _group(group: Group) -> Html:
    at = f"terms-{anchors.slug(group.title)}"
    return say(
        '<h3 id="{at}">{title}</h3><dl class="rr-terms">{terms}</dl>',
        at=at, title=group.title, terms=joined(_term(term) for term in group.terms),
    )  # fmt: skip


def _term(term: Term) -> Html:
    told = definition(term)
    at = anchors.term_place(term.name)
    source = say('<br><span class="rr-range">Source: {s}.</span>', s=told.source)
    return say(
        '<dt id="{at}">{name}{unit} {link}</dt><dd>{text}{source}<span class="rr-web rr-range"><br>'
        "Computed by <code>analysis.{code}</code></span></dd>",
        at=at,
        name=term.name,
        unit=say(' <span class="rr-range">({u})</span>', u=told.unit) if told.unit else Html(""),
        link=anchors.itself(at, f"the term {term.name}"),
        text=f"{told.text[:1].upper()}{told.text[1:]}",
        source=source if told.source else Html(""),
        code=term.defined.replace(":", "."),
    )
