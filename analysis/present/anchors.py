"""Permanent places on the pages: the ids of tables, figures, checks and terms, and the links to them.

An id is made of words that are the report's own, so that it is the same in every render, and no text of the
telemetry is ever in one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal

from analysis.present.escape import Html, escape, say

Kind = Literal["table", "figure"]

_LONGEST = 60
_NO_SLUG = re.compile(r"[^a-z0-9]+")
_NO_CHECK = re.compile(r"[^A-Za-z0-9._-]+")
# Only the report's own markup has a quotation mark in it: in a text from outside it is an entity.
_PLACES = re.compile(r'( id="|<a class="rr-anchor" href="#)((?:table|figure)-[a-z0-9-]+)"')
_IDS = re.compile(r' id="([^"]+)"')
_EVIDENCE = re.compile(r'href="([a-z]+)\.html#((?:table|figure|check)-[^"]+)"')


def slug(words: str) -> str:
    """`words` in lower-case letters, digits and single hyphens: what an address may hold everywhere."""
    plain = unicodedata.normalize("NFKD", words.replace("'", "")).encode("ascii", "ignore").decode()
    short = _NO_SLUG.sub("-", plain.lower()).strip("-")[:_LONGEST]
    return short.rpartition("-")[0] if len(short) == _LONGEST and "-" in short else short


def place(kind: Kind, words: str) -> str:
    """The id of a table or figure. words: its title, or a name without any text from outside."""
    return f"{kind}-{slug(words) or 'untitled'}"


def check_place(check_id: str) -> str:
    """The id of a check's row; names of the policy's own are reduced to what an address may hold."""
    return f"check-{_NO_CHECK.sub('-', check_id)}"


def term_place(term: str) -> str:
    """The id of a term of the glossary."""
    return f"term-{slug(term)}"


def itself(at: str, what: object) -> Html:
    """The link of a place to itself. It has no words on the page: the style sheet draws its mark."""
    return say(
        '<a class="rr-anchor" href="#{at}" aria-label="Link to {what}"></a>', at=at, what=what
    )


def unique(blocks: Sequence[str], taken: dict[str, int]) -> list[str]:
    """The blocks, in which the second place of one id is called -2, the third -3, and so on.

    taken: how often each id of the page was met so far; counted on.
    """
    out = []
    for block in blocks:
        renamed: dict[str, str] = {}

        def rename(found: re.Match[str], renamed: dict[str, str] = renamed) -> str:
            lead, at = found.groups()
            if at not in renamed:
                taken[at] = taken.get(at, 0) + 1
                renamed[at] = at if taken[at] == 1 else f"{at}-{taken[at]}"
            return f'{lead}{renamed[at]}"'

        out.append(_PLACES.sub(rename, block))
    return out


def places(blocks: Sequence[str]) -> set[str]:
    """Every id in the blocks."""
    return {found for block in blocks for found in _IDS.findall(block)}


def resolved(blocks: Sequence[str], known: Mapping[str, set[str]]) -> list[str]:
    """The blocks, in which a link to a table, figure or check that its page does not show leads to the page.

    known: the ids of each page by its name.
    """

    def lead(found: re.Match[str]) -> str:
        page, at = found.groups()
        return found.group(0) if at in known.get(page, ()) else f'href="{page}.html"'

    return [_EVIDENCE.sub(lead, block) for block in blocks]


def named(at: str, shown: object) -> Html:
    """`shown` as a place of the page."""
    return say('<span id="{at}">{shown}</span>', at=at, shown=escape(shown))
