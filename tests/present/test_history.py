"""The history page over ledgers of none, one, some and many releases."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis import ledger
from analysis.ledger import Fault, Ledger
from analysis.present import draw_ledger, drawing
from analysis.present.blocks import Parts
from analysis.present.history import parts_of
from analysis.review import Review
from tests import ledgers

from .conftest import hostile
from .test_drawing import ATTRIBUTES, TAGS, Parsed


@pytest.fixture(scope="module")
def body(tiny_review: Review) -> Mapping[str, Any]:
    return tiny_review.body


def some(body: Mapping[str, Any], n: int, bad: frozenset[int] = frozenset()) -> Ledger:
    """`n` releases two weeks apart, of which those in `bad` fail in every second interaction."""

    def changed(place: int) -> ledgers.Change:
        def change(held: dict[str, Any]) -> None:
            health, rate = held["views"]["health"]["candidate"], 0.5 if place in bad else 0.04
            health["failure_rate"].update(value=rate, low=rate - 0.01, high=rate + 0.01)
            held["decision"]["outcome"] = ("ship", "hold", "block")[place % 3]
            held["views"]["drift"]["features"][0]["severity"] = ("none", "high")[place % 2]

        return change

    return Ledger(
        tuple(
            ledger.Entry(f"r{k}", Path("x"), ledgers.artifact(
                body, f"r{k}", ledgers.weeks_after("2024-01-01", 2 * k), changed(k)))
            for k in range(n)
        )
    )  # fmt: skip


def blocks(parts: Parts) -> list[str]:
    return [*parts.answer, *parts.evidence, *parts.actions]


def read(of: list[str]) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", " ".join(of)))


def test_a_first_release_stands_alone_and_says_so(body: Mapping[str, Any]) -> None:
    parts = parts_of(body, Ledger())
    assert "No release is recorded yet" in read([*parts.answer])
    assert "rr-inconclusive" in parts.answer[0]
    assert "python -m analysis record" in read([*parts.actions])
    assert not any("<figure" in block for block in parts.evidence)


def test_the_only_recorded_release_is_the_one_at_hand(body: Mapping[str, Any]) -> None:
    parts = parts_of(body, Ledger((ledger.Entry("x", Path("x"), body),)))
    assert "No other release is recorded" in read([*parts.answer])
    assert "python -m analysis record" not in read([*parts.actions])


@pytest.mark.parametrize("n", [1, 8, 120])
def test_few_and_many_releases_are_drawn(body: Mapping[str, Any], n: int) -> None:
    parts = parts_of(body, some(body, n))
    drawn = [b for b in parts.evidence if "<figure" in b]
    assert len(drawn) == 2 if n > 1 else 1
    for block in drawn:
        (alt,) = Parsed(block).values("alt")
        assert len(re.findall(r"\d", alt)) >= 4
    text = read(blocks(parts))
    assert f"{n} recorded release" in text
    assert not re.search(r"\b(?:nan|None(?! of)|NaT|inf)\b", text)
    if n == 120:
        assert "First 100 of 121." in text
    assert sum(map(len, blocks(parts))) < 400_000


def test_what_is_worse_is_marked_in_answer_table_and_figure(body: Mapping[str, Any]) -> None:
    at_hand = ledgers.artifact(
        body, "now", change=lambda b: b["views"]["health"]["candidate"]["failure_rate"].update(
            value=0.6, low=0.55, high=0.65))  # fmt: skip
    parts = parts_of(at_hand, some(body, 4))
    assert "rr-fail" in parts.answer[0]
    assert "Failures rose to 60.00 %: from 4.00 % at the release before (r3)" in read(
        [*parts.answer]
    )
    (table,) = [b for b in parts.evidence if "Releases, the newest first" in b]
    assert table.count("▲ 60.00 %") == table.count("▲ ") == 1
    (alt,) = Parsed(
        next(b for b in parts.evidence if "Releases over time" in b or "<figure" in b)
    ).values("alt")
    assert "now 60.00 % (worse)" in alt


def test_nothing_worse_and_nothing_to_compare_are_told_apart(body: Mapping[str, Any]) -> None:
    parts = parts_of(body, some(body, 3, bad=frozenset({2})))
    assert "No figure is worse" in read([*parts.answer])
    same_days = Ledger((ledger.Entry("r1", Path("x"), ledgers.artifact(body, "r1")),))
    parts = parts_of(body, same_days)
    assert "overlapping windows are not compared" in read([*parts.answer])


def test_hotspots_came_stay_and_went(body: Mapping[str, Any], tiny_review: Review) -> None:
    template = {"slice": {}, "metric": "failure", "kind": "level", "status": "new"}

    def with_slices(*names: str) -> ledgers.Change:
        return lambda b: b["views"]["hotspots"].update(
            found=[{**template, "slice": {"channel": name}} for name in names]
        )

    entries = tuple(
        ledger.Entry(f"r{k}", Path("x"), ledgers.artifact(
            body, f"r{k}", ledgers.weeks_after("2024-01-01", 2 * k), with_slices(*names)))
        for k, names in enumerate([("web", "api"), ("api",)])
    )  # fmt: skip
    parts = parts_of(
        ledgers.artifact(body, "now", change=with_slices("api", "app")), Ledger(entries)
    )
    (table,) = [b for b in parts.evidence if "Hotspots over the releases" in b]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    told = {" ".join(read([row]).split()) for row in rows}
    assert "channel = api failure r0 now 3 of 3 stays" in told
    assert "channel = app failure now now 1 of 3 came" in told
    assert "channel = web failure r0 r0 1 of 3 went" in told


def test_faults_of_the_ledger_are_on_the_page(body: Mapping[str, Any]) -> None:
    held = Ledger(faults=(Fault("r9", Path("x"), "does not agree with its digest"),))
    parts = parts_of(body, held)
    assert "r9" in read([*parts.evidence])
    assert "verify" in read([*parts.actions])


def test_hostile_text_of_a_ledger_adds_no_markup(body: Mapping[str, Any]) -> None:
    def harm(held: dict[str, Any]) -> None:
        held["release"]["id"] = hostile(held["release"]["id"])
        held["release"]["title"] = hostile("title")
        for slo in (*held["policy"]["settings"]["slos"], *held["views"]["budget"]["slos"]):
            slo["name"] = hostile(slo["name"])
        for f in held["views"]["hotspots"]["found"]:
            f["slice"] = {hostile(k): hostile(str(v)) for k, v in f["slice"].items()}

    entries = tuple(
        ledger.Entry(f"r{k}", Path("x"), ledgers.artifact(
            body, "r" * k, ledgers.weeks_after("2024-01-01", 2 * k), harm))
        for k in range(1, 12)
    )  # fmt: skip
    held = Ledger(entries, (Fault("<b>", Path("x"), hostile("x")),))
    for block in blocks(parts_of(body, held)):
        parsed = Parsed(block)
        assert parsed.tags <= TAGS
        assert {a for a, _ in parsed.attributes} <= ATTRIBUTES
        assert not set("{}`\x1b\u202e") & set(block)


def test_the_page_is_drawn_again_only_when_the_ledger_is_another(
    body: Mapping[str, Any], tiny_review: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis import review as reviews
    from analysis.present import draw

    reviews.save(tiny_review, tmp_path)
    draw(tiny_review, tmp_path)
    page = tmp_path / "pages" / "history.json"
    first = page.read_bytes()
    drawn = []
    real = drawing.ledger_pages
    monkeypatch.setattr(drawing, "ledger_pages", lambda *a: drawn.append(a) or real(*a))
    draw_ledger(tmp_path, Ledger())
    assert (page.read_bytes(), drawn) == (first, [])
    held = some(body, 2)
    for _ in range(2):
        draw_ledger(tmp_path, held)
    assert len(drawn) == 1
    assert json.loads(page.read_text())["ledger"] == held.digest
    draw_ledger(tmp_path, Ledger())
    assert json.loads(page.read_text())["answer"] == json.loads(first)["answer"]


def test_releases_that_cannot_be_compared_are_not_said_to_be_as_before(
    body: Mapping[str, Any],
) -> None:
    def side_by_side(held: dict[str, Any]) -> None:
        held["windows"]["comparison"] = "concurrent"
        for figure in (
            held["views"]["health"]["candidate"]["cost_usd_per_interaction"],
            held["views"]["budget"]["spend"]["usd_per_day"],
        ):
            figure.update(value=None, low=None, high=None)

    before, after = (
        ledgers.artifact(body, name, end, side_by_side)
        for name, end in (("r1", "2026-01-05"), ("r2", "2026-03-02"))
    )
    held = Ledger((ledger.Entry("r1", Path("x"), before),))
    text = read(blocks(parts_of(after, held)))
    assert "None can be compared with" in text
    assert "No figure is worse" not in text


def test_pages_of_a_share_safe_review_tell_of_no_release_that_is_not(
    body: Mapping[str, Any], tiny_review: Review, tmp_path: Path
) -> None:
    """Whoever draws them: the ledger is read where pages are drawn."""
    from analysis import artifact as artifacts
    from analysis import review as reviews
    from analysis.present import draw

    reviews.save(tiny_review, tmp_path)
    draw(tiny_review, tmp_path)
    safe = {"min_cell": 10, "rounded_to": 5, "hidden": [], "left_out": [], "masked": []}
    artifacts.write({**tiny_review.body, "publication": safe}, tmp_path / artifacts.FILE_NAME)
    held = some(body, 2)
    draw_ledger(tmp_path, held)
    told = "".join((tmp_path / "pages" / f"{n}.json").read_text() for n in ("index", "history"))
    assert "<p>r1: " not in told
    assert "recorded release" not in told
    artifacts.write(tiny_review.body, tmp_path / artifacts.FILE_NAME)
    draw_ledger(tmp_path, held)
    told = "".join((tmp_path / "pages" / f"{n}.json").read_text() for n in ("index", "history"))
    assert "<p>r1: " in told
    assert "2 recorded releases" in told
