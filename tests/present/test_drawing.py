"""Every page of a review: inert whatever it holds, described, complete without what is missing."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.present import draw
from analysis.present.drawing import PAGES
from analysis.present.page import raw_block
from analysis.review import Review

from .conftest import HOSTILE, Compute, poisoned

TAGS = frozenset(
    (
        "p",
        "strong",
        "code",
        "span",
        "div",
        "ul",
        "ol",
        "li",
        "a",
        "br",
        "wbr",
        "figure",
        "figcaption",
    )
    + ("img", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "colgroup", "col")
    + ("details", "summary", "pre", "h3", "dl", "dt", "dd")
)
ATTRIBUTES = frozenset(
    (
        "class",
        "id",
        "href",
        "src",
        "alt",
        "role",
        "tabindex",
        "aria-label",
        "scope",
        "colspan",
        "rowspan",
    )
    + ("style", "data-quarto-bootstrap", "data-quarto-disable-processing")
)


class Parsed(HTMLParser):
    """Tags, attributes and text of one block."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for held, value in self.attributes if held == name]


def drawn(review: Review) -> dict[str, list[str]]:
    """The blocks of every page."""
    pages = {name: parts(review) for name, parts in PAGES.items()}
    return {n: [*p.answer, *p.evidence, *p.actions] for n, p in pages.items()}


@pytest.fixture(scope="module")
def pages(sample: Review) -> dict[str, list[str]]:
    return drawn(sample)


@pytest.fixture(scope="module")
def hostile_pages(sample: Review) -> dict[str, list[str]]:
    return drawn(poisoned(sample))


def test_hostile_text_adds_no_markup_anywhere(hostile_pages: dict[str, list[str]]) -> None:
    for name, blocks in hostile_pages.items():
        for block in blocks:
            parsed = Parsed(block)
            assert parsed.tags <= TAGS, (name, parsed.tags - TAGS)
            assert {a for a, _ in parsed.attributes} <= ATTRIBUTES, name
            for address in parsed.values("href"):
                assert re.fullmatch(r"(\.\./)?[\w./-]*(#[\w.-]+)?", address), (name, address)
            for place in parsed.values("id"):
                assert re.fullmatch(r"[A-Za-z0-9._-]+", place), (name, place)
            assert all(v.startswith("data:image/svg+xml;base64,") for v in parsed.values("src"))


def test_hostile_text_is_in_no_address_of_a_table_or_figure(
    pages: dict[str, list[str]], hostile_pages: dict[str, list[str]]
) -> None:
    def places(blocks: list[str]) -> list[str]:
        found = [i for block in blocks for i in Parsed(block).values("id")]
        return [i for i in found if not i.startswith("check-")]

    for name, blocks in pages.items():
        assert places(hostile_pages[name]) == places(blocks), name


def test_markup_of_ours_is_never_shown_as_text(pages: dict[str, list[str]]) -> None:
    """Finished HTML that goes through an f-string is text again, and escaped."""
    for name, parts in pages.items():
        if name == "glossary":
            continue  # its terms have placeholders: budget.<slo>
        # The sample has values that are markup, and sentences that name them.
        shown = re.sub(r"&lt;script&gt;alert\([^)]*\)&lt;/script&gt;", "", "".join(parts))
        assert re.findall(r"&lt;/?[a-z][^&]*", shown) == [], name


def test_hostile_text_is_no_shortcode_fence_or_control_sequence(
    hostile_pages: dict[str, list[str]],
) -> None:
    for name, blocks in hostile_pages.items():
        for block in blocks:
            assert not set("{}`\x1b\u202e\n") & set(block.replace("\n", "", block.count("\n"))), (
                name
            )
            assert raw_block(block).count("```") == 2


def test_hostile_text_is_shown_and_not_lost(hostile_pages: dict[str, list[str]]) -> None:
    shown = " ".join(Parsed(block).text for blocks in hostile_pages.values() for block in blocks)
    for value in HOSTILE:
        seen = value.replace("\x1b", "\\u001b").replace("\u202e", "\\u202e")
        assert seen in shown, value


def test_hostile_text_draws_the_same_figures(
    pages: dict[str, list[str]], hostile_pages: dict[str, list[str]]
) -> None:
    def count(held: dict[str, list[str]]) -> dict[str, int]:
        return {name: sum("<figure" in b for b in blocks) for name, blocks in held.items()}

    assert count(hostile_pages) == count(pages)


def test_every_figure_tells_its_numbers_to_those_who_cannot_see_it(
    pages: dict[str, list[str]],
) -> None:
    n_figures = 0
    for name, blocks in pages.items():
        for block in blocks:
            if "<figure" not in block:
                continue
            n_figures += 1
            (alt,) = Parsed(block).values("alt")
            assert len(re.findall(r"\d", alt)) >= 2, (name, alt)
            assert len(alt) >= 40, (name, alt)
            assert Parsed(block).text.strip(), name
    assert n_figures >= 15


def test_figures_are_svg_that_loads_nothing(pages: dict[str, list[str]]) -> None:
    for blocks in pages.values():
        for block in blocks:
            for source in Parsed(block).values("src"):
                svg = base64.b64decode(source.split(",", 1)[1]).decode()
                assert svg.lstrip().startswith("<?xml")
                assert not re.search(r"<script|<text|href=\"(?!#)|<metadata", svg)


def test_every_page_is_far_below_a_million_bytes(pages: dict[str, list[str]]) -> None:
    assert max(sum(map(len, blocks)) for blocks in pages.values()) < 600_000


def test_the_same_review_gives_the_same_bytes_and_every_page_its_three_parts(
    sample: Review, pages: dict[str, list[str]], tmp_path: Path
) -> None:
    draw(sample, tmp_path)
    for name in PAGES:
        held = json.loads((tmp_path / "pages" / f"{name}.json").read_text())
        assert list(held) == ["answer", "evidence", "actions"]
        assert [block for part in held.values() for block in part] == pages[name]
        first = held["answer"][0].removeprefix('<div class="rr-first">')
        assert first.startswith('<div class="rr-answer'), name
        assert held["evidence"], name
        assert Parsed(held["actions"][-1]).text.strip(), name


def without_series(review: Review) -> Review:
    """As if no view had anything to draw."""
    results = {
        name: replace(result, series={k: f.iloc[:0] for k, f in result.series.items()})
        for name, result in review.results.items()
    }
    return replace(review, results=results)


def test_empty_series_still_draw_every_page(sample: Review) -> None:
    pages = drawn(without_series(sample))
    assert all(blocks for blocks in pages.values())


ALL_OFF = {
    "slos": [],
    "dimensions": [],
    "spend": {"budget_usd_per_day": None, "prices": None},
    "routing": {"candidates": []},
}


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("tiny", {}),
        ("tiny", {"windows": {"candidate": {"days": 14}, "baseline": "none"}}),
        ("tiny", ALL_OFF),
        ("stripped", {}),
        ("stripped", ALL_OFF),
        ("stripped", {"windows": {"candidate": {"days": 1}, "baseline": {"days": 1}}}),
    ],
    ids=[
        "little telemetry",
        "a first release",
        "a policy without objectives, slices, budget and candidates",
        "only the required columns",
        "neither columns nor policy",
        "windows of a day",
    ],
)
def test_what_is_missing_is_said_and_draws_every_page(
    request: pytest.FixtureRequest, compute: Compute, data: str, changes: dict
) -> None:
    review = compute(request.getfixturevalue(data), **changes)
    for name, blocks in drawn(review).items():
        text = " ".join(Parsed(block).text for block in blocks)
        if name == "glossary":
            continue  # no number of the review stands there
        assert not re.search(r"\b(?:nan|None(?! of)|NaT|inf)\b", text), (name, text)


def test_all_null_figures_are_dashes_and_no_zeroes(stripped: Path, compute: Compute) -> None:
    health = drawn(compute(stripped))["health"]
    headline = next(block for block in health if "Headline figures" in block)
    row = re.search(r"<tr>(?:(?!</tr>).)*Latency, median.*?</tr>", headline, re.S)
    assert row is not None
    assert Parsed(row.group()).text.count("–") == 3
