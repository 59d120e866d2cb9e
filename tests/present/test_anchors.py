"""Permanent places: readable, once a page, the same in every render."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.present import anchors, draw, measures
from analysis.present.anchors import check_place, place, places, resolved, slug, term_place, unique
from analysis.review import Review

_ID = re.compile(r' id="([^"]*)"')


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Headline figures with their 95 % intervals", "headline-figures-with-their-95-intervals"),
        ("A weekday's queue, what overflows", "a-weekdays-queue-what-overflows"),
        ("Dudík & Langford – Γ", "dudik-langford"),
        ("  --A--  ", "a"),
        ("Γ", ""),
        ("one " * 40, "one-one-one-one-one-one-one-one-one-one-one-one-one-one-one"),
        ('"><script>alert(1)</script>', "script-alert-1-script"),
    ],
)
def test_a_slug_is_what_an_address_may_hold(words: str, expected: str) -> None:
    assert slug(words) == expected
    assert len(slug(words)) <= 60


def test_places_say_what_they_are() -> None:
    assert place("table", "Error budgets") == "table-error-budgets"
    assert place("figure", "Γ") == "figure-untitled"
    assert check_place("health.failure_rate") == "check-health.failure_rate"
    assert check_place('budget.<b>"x" y') == "check-budget.-b-x-y"
    assert term_place("Burn rate") == "term-burn-rate"


def block(at: str) -> str:
    return f'<div id="{at}">{anchors.itself(at, "it")}</div>'


def test_the_second_place_of_a_name_gets_a_number_with_its_link() -> None:
    taken: dict[str, int] = {}
    first = unique([block("table-a"), block("table-b")], taken)
    second = unique([block("table-a"), block("table-a")], taken)
    assert first == [block("table-a"), block("table-b")]
    assert second == [block("table-a-2"), block("table-a-3")]


def test_a_link_leads_to_the_place_where_its_page_has_it() -> None:
    given = ['<a href="b.html#table-x">', '<a href="b.html#table-y">', '<a href="b.html#evidence">']
    assert resolved(given, {"b": {"table-x"}}) == [
        '<a href="b.html#table-x">', '<a href="b.html">', '<a href="b.html#evidence">',
    ]  # fmt: skip


@pytest.fixture(scope="module")
def written(sample: Review, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The blocks of every page, as they are kept."""
    folder = tmp_path_factory.mktemp("drawn")
    draw(sample, folder)
    return {p.stem: blocks(p) for p in sorted((folder / "pages").glob("*.json"))}


def blocks(page: Path) -> list[str]:
    held = json.loads(page.read_text(encoding="utf-8"))
    return [*held["answer"], *held["evidence"], *held["actions"]]


def ids(held: Sequence[str]) -> list[str]:
    return [found for one in held for found in _ID.findall(one)]


def test_every_table_and_figure_has_a_place_of_its_own_and_a_link_to_it(
    written: dict[str, list[str]],
) -> None:
    for name, held in written.items():
        found = ids(held)
        assert Counter(found).most_common(1)[0][1] == 1 if found else True, name
        html = "".join(held)
        shown = len(re.findall(r'<figure|<div class="rr-table"', html))
        own = [i for i in found if i.startswith(("table-", "figure-"))]
        assert len(own) == shown, name
        assert [i for i in own if f'class="rr-anchor" href="#{i}"' not in html] == []
        assert "untitled" not in "".join(own)


def test_every_check_has_a_row_to_link_to_and_leads_to_its_evidence(
    sample: Review, written: dict[str, list[str]]
) -> None:
    known = {name: set(places(held)) for name, held in written.items()}
    page = "".join(written["index"])
    for check in sample.body["checks"]:
        assert check_place(check["id"]) in known["index"]
        file, _, at = measures.page_of(check).partition("#")
        assert at in known[file.removesuffix(".html")], check["id"]
        assert f'href="{file}#{at}"' in page
