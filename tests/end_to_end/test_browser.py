"""That opening a page in the browser sees what it must: on a page that is meant to be caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import browser
from tests.end_to_end.hostile import MARK, PAYLOADS, TITLE

PAGE = '<!DOCTYPE html><html lang="en"><head><title>Calm</title></head><body>{}</body></html>'
# Markup that works as soon as the page is opened: what it must leave behind.
WORKING = [p for p in PAYLOADS if p.tries in (
    "a script", "a script from elsewhere", "an event handler", "an SVG", "an end of an attribute",
    "a style", "a stylesheet from elsewhere", "a redirect", "a form",
)]  # fmt: skip


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    """A server that nobody should ask."""
    with browser.serving(tmp_path_factory.mktemp("canary")) as server:
        yield server


def opened(content: str, chromium: str, folder: Path) -> tuple[browser.Visit, browser.Server]:
    site = folder / "site"
    site.mkdir()
    (site / "page.html").write_text(PAGE.format(content), encoding="utf-8")
    with browser.serving(site) as server:
        return browser.visit(chromium, f"{server.address}/page.html", folder), server


@pytest.mark.parametrize("payload", WORKING, ids=lambda p: p.tries)
def test_markup_that_works_is_seen_to_ask_the_canary(
    payload, chromium: str, canary: browser.Server, tmp_path: Path
) -> None:
    canary.asked.clear()
    for attempt in ("first", "second", "third"):
        # On a busy machine the browser may end before a form or a redirect has left it.
        (tmp_path / attempt).mkdir()
        text = payload.text.replace("CANARY", canary.address)
        seen, _ = opened(text, chromium, tmp_path / attempt)
        if canary.asked:
            break
    assert canary.asked != []
    assert any(url.startswith(canary.address) for url in seen.requests)


def test_a_script_that_runs_is_seen_in_the_title_and_in_the_document(
    chromium: str, canary: browser.Server, tmp_path: Path
) -> None:
    text = PAYLOADS[0].text.replace("CANARY", canary.address)
    seen, _ = opened(f"<p>words</p>{text}", chromium, tmp_path)
    assert seen.title == TITLE
    assert MARK in seen.ids


def test_a_calm_page_asks_its_own_server_and_nobody_else(chromium: str, tmp_path: Path) -> None:
    seen, server = opened('<p id="one">&lt;script&gt; as text</p>', chromium, tmp_path)
    assert (seen.title, seen.ids) == ("Calm", {"one"})
    assert {url.removeprefix(server.address) for url in seen.requests} <= set(server.asked)
    assert "/page.html" in server.asked


def test_the_browser_reaches_no_host_by_name(chromium: str, tmp_path: Path) -> None:
    seen, server = opened('<img src="http://localhost:9/x.png" alt="x">', chromium, tmp_path)
    assert "http://localhost:9/x.png" in seen.requests
    assert all(path in ("/page.html", "/favicon.ico") for path in server.asked)
