"""Every page in a real browser: the rules of axe-core, and what only keys and sizes show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import devtools
from tests.end_to_end.conftest import RELEASE, WEB
from tests.end_to_end.test_render import PAGES

AXE = WEB / "axe-core" / "axe.min.js"
# WCAG 2.2, A and AA, and what axe's makers recommend beyond it.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = f"""axe.run(document, {{runOnly: {json.dumps(RULES)}, resultTypes: ["violations", "incomplete"]}})
  .then(found => ["violations", "incomplete"].map(kind => found[kind].flatMap(
    rule => rule.nodes.map(node => [rule.id, node.html.slice(0, 160), node.target.join(" ")]))))"""
DESKTOP, PHONE, NARROW = (1280, 900), (390, 844), (320, 640)
ALL = [
    "releases/index.html",
    *(f"report/{name}.html" for name in PAGES),
    *(f"releases/{RELEASE}/report/{name}.html" for name in PAGES),
]
# The element that has the focus: what it is, whether it is on the screen, and whether that is seen.
FOCUS = """new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn))).then(() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const box = one.getBoundingClientRect(), style = getComputedStyle(one);
  return {
    what: one.outerHTML.slice(0, 100),
    main: !!one.closest("main"),
    shown: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth && style.visibility === "visible",
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1
      || style.boxShadow !== "none",
  };
})"""
REACHABLE = """[...document.querySelectorAll('a[href], button, input, summary, [tabindex="0"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true})).length"""


@pytest.fixture(scope="module")
def tab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[devtools.Tab]:
    with devtools.tab(chromium, tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip(f"axe-core is not installed at {AXE}: .ci/run does, with npm")
    return AXE.read_text(encoding="utf-8")


def opened(tab: devtools.Tab, page: Path, size: tuple[int, int], dark: bool = False) -> None:
    tab.look(*size, dark)
    tab.open(page.resolve().as_uri())


def found(tab: devtools.Tab, axe: str) -> tuple[list[Any], list[Any]]:
    """What breaks a rule, and what axe could not tell."""
    tab.run(f"{axe};1")
    violations, incomplete = tab.run(RUN)
    return violations, incomplete


@pytest.mark.parametrize("name", PAGES)
def test_what_acts_is_a_button_and_what_leads_has_an_address(name: str, site: Path) -> None:
    text = (site / "report" / f"{name}.html").read_text(encoding="utf-8")
    assert re.findall(r"<a\b(?![^>]* href=\"[^\"]).*?>", text) == []
    # The sections of the sidebar, and the menu above it.
    n_sections = text.count('<button type="button" class="sidebar-item-text')
    assert text.count('data-bs-toggle="collapse"') == n_sections + 1
    assert text.count('href="#quarto-document-content"') == 1
    assert text.count("<nav ") == len(re.findall(r"<nav (?=[^>]*aria-label)", text)) == 6


@pytest.mark.parametrize("name", ALL)
def test_no_page_breaks_a_rule_in_either_scheme_on_a_desk_or_in_a_hand(
    name: str, tab: devtools.Tab, axe: str, site: Path
) -> None:
    # A recorded page is the same page once more, below another address.
    recorded = name.startswith(f"releases/{RELEASE}/")
    for size in (DESKTOP, PHONE):
        for dark in [size == PHONE] if recorded else [False, True]:
            opened(tab, site / name, size, dark)
            scheme = tab.run("getComputedStyle(document.documentElement).colorScheme")
            assert ("dark" in scheme) == dark
            violations, incomplete = found(tab, axe)
            assert violations == [], (size, dark)
            # In a hand a table's far columns lie outside of its box, and axe does not see their ground.
            unsure = incomplete if size == DESKTOP else []
            assert [one for one in unsure if one[0] == "color-contrast" and len(one[1]) > 60] == []


def test_axe_finds_what_is_wrong(tab: devtools.Tab, axe: str, tmp_path: Path) -> None:
    wrong = (
        '<img src="x.png"><p style="color:#999;background:#fff">faint</p><button></button>'
        '<table><tr><th></th></tr></table><a href="#nowhere">more</a>'
    )
    page = tmp_path / "page.html"
    page.write_text(
        f"<!DOCTYPE html><html><head><title>x</title></head><body>{wrong}</body></html>"
    )
    opened(tab, page, DESKTOP)
    rules = {one[0] for one in found(tab, axe)[0]}
    assert rules >= {"image-alt", "color-contrast", "button-name", "html-has-lang"}


@pytest.mark.parametrize("name", ALL)
def test_no_page_scrolls_sideways_and_none_when_text_is_spaced_out(
    name: str, tab: devtools.Tab, site: Path
) -> None:
    """WCAG 1.4.10, a width of 320 CSS pixels; and 1.4.12, the spacing that a reader may set."""
    opened(tab, site / name, NARROW)
    assert tab.run("document.documentElement.scrollWidth") <= NARROW[0]
    style = {"line-height": "1.5", "letter-spacing": "0.12em", "word-spacing": "0.16em"}
    spaced = f"* {{ {' '.join(f'{k}: {v} !important;' for k, v in style.items())} }}"
    tab.run(
        f"document.head.appendChild(document.createElement('style')).textContent = {spaced!r}; 1"
    )
    assert tab.run("document.documentElement.scrollWidth") <= NARROW[0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["report/index.html", "report/triage.html", "releases/index.html"])
def test_the_tab_key_reaches_everything_is_always_seen_and_is_never_held(
    name: str, size: tuple[int, int], tab: devtools.Tab, site: Path
) -> None:
    opened(tab, site / name, size)
    wanted = tab.run(REACHABLE)
    reached = []
    while True:
        tab.press("Tab")
        focus = tab.run(FOCUS)
        # Past the last one the focus goes to the browser, or begins anew.
        if focus in (None, *reached[:1]) or len(reached) > wanted:
            break
        reached.append(focus)
    assert [one["what"] for one in reached if not one["shown"]] == []
    assert [one["what"] for one in reached if not one["seen"]] == []
    assert len(reached) == wanted > 3


def test_the_first_stop_leads_to_the_content(tab: devtools.Tab, site: Path) -> None:
    opened(tab, site / "report" / "health.html", DESKTOP)
    tab.press("Tab")
    assert "Skip to the content" in tab.run(FOCUS)["what"]
    tab.press("Enter")
    tab.press("Tab")
    assert tab.run(FOCUS)["main"]


def test_a_wide_table_is_scrolled_by_keys(tab: devtools.Tab, site: Path) -> None:
    opened(tab, site / "report" / "index.html", PHONE)
    wide = (
        "[...document.querySelectorAll('.rr-table')].find(t => t.scrollWidth > t.clientWidth + 50)"
    )
    tab.run(f"window.wide = {wide}; wide.focus(); 1")
    for _ in range(5):
        tab.press("ArrowRight")
    tab.run("new Promise(done => setTimeout(() => done(1), 400))")
    assert tab.run("wide.scrollLeft") > 0


def test_sections_scheme_and_menu_are_buttons_that_say_their_state(
    tab: devtools.Tab, site: Path
) -> None:
    def state(selector: str, name: str) -> str:
        # A section unfolds in a third of a second.
        tab.run("new Promise(done => setTimeout(() => done(1), 500))")
        return str(tab.run(f"document.querySelector('{selector}').getAttribute('{name}')"))

    opened(tab, site / "report" / "index.html", DESKTOP)
    section, scheme = "#quarto-sidebar button", ".quarto-color-scheme-toggle"
    menu = ".quarto-btn-toggle"
    for selector, name, key in ((section, "aria-expanded", "Enter"), (scheme, "aria-pressed", " ")):
        before = state(selector, name)
        tab.run(f"document.querySelector('{selector}').focus(); 1")
        tab.press(key)
        assert {before, state(selector, name)} == {"true", "false"}, selector
    assert tab.run("getComputedStyle(document.documentElement).colorScheme") == "dark"
    tab.run("localStorage.clear(); 1")
    opened(tab, site / "report" / "index.html", PHONE)
    assert state(menu, "aria-expanded") == "false"
    tab.run(f"document.querySelector('{menu}').focus(); 1")
    tab.press("Enter")
    assert state(menu, "aria-expanded") == "true"
    tab.press("Tab")
    assert "Decision" in tab.run(FOCUS)["what"] or tab.run(FOCUS)["shown"]
    tab.press("Escape")
    assert state(menu, "aria-expanded") == "false"
    assert "quarto-btn-toggle" in tab.run(FOCUS)["what"]
