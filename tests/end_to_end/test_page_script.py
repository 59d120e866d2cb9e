"""The script of the pages, in a real browser: tables sort, filter, print whole, and are downloaded.

The page is made by the report's own tables and figures, from cells that are attacks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pypdf import PdfReader

from analysis.present.blocks import figure, over
from analysis.present.escape import Html
from analysis.present.grid import Column, table, text
from analysis.render.project import EXTENSION
from analysis.review import PROJECT
from analysis.tables import safe_cell
from tests.end_to_end import browser
from tests.end_to_end.devtools import Tab, tab
from tests.end_to_end.hostile import MARK, PAYLOADS, TITLE

SCRIPT = PROJECT / EXTENSION / "release-review.js"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='60' height='20'><path d='M0 0H9'/></svg>"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Calm</title>
<link rel="stylesheet" href="release-review.css"><script src="release-review.js" defer></script></head>
<body><main>{content}</main></body></html>"""
NUMBERS = ["+4.21 pp", "−12.5 pp", None, "1,234.5 pp", "0.00 pp", "≤ 3 pp"]
SORTED = ["−12.5 pp", "0.00 pp", "≤ 3 pp", "+4.21 pp", "1,234.5 pp", "–"]
WORDS = ["gone", "Alpha", "beta 10", "beta 9", "2026-11-02", "2026-10-30"]


def made(folder: Path, content: Sequence[Html], canary: str = "") -> str:
    (folder / "release-review.js").write_bytes(SCRIPT.read_bytes())
    style = (PROJECT / EXTENSION / "review.scss").read_bytes()
    (folder / "release-review.css").write_bytes(style)
    html = PAGE.format(content="".join(content)).replace("CANARY", canary)
    (folder / "page.html").write_text(html, encoding="utf-8")
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = browser.chromium()
    if program is None:
        pytest.skip(browser.ABSENT)
    with tab(program, tmp_path_factory.mktemp("tab")) as one:
        yield one


def mixed() -> Html:
    rows = [
        [w, over(n or "–", "below 99"), n2]
        for w, n, n2 in zip(
            WORDS, NUMBERS, ["5 min", "2 h", "1 d", "30 min", "–", "3 h"], strict=True
        )
    ]
    return table("Mixed", [text("Words"), Column("Change"), Column("Long")], rows, "A window.")


def long(n: int = 40) -> Html:
    rows = [[f"row {i:02}", "coding" if i % 4 == 0 else "chat", i] for i in range(n)]
    return table("Long", [text("Slice"), text("Use case"), Column("n")], rows, "A window.")


def column(one: Tab, table_id: str, place: int) -> list[str]:
    return list(one.run(
        f"[...document.querySelectorAll('#{table_id} tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{place}].innerText.split('\\n')[0])"
    ))  # fmt: skip


def click(one: Tab, selector: str) -> None:
    one.run(f"document.querySelector({selector!r}).click()")


def test_numbers_sort_as_numbers_and_what_is_not_known_stands_last(
    opened: Tab, tmp_path: Path
) -> None:
    opened.open(made(tmp_path, [mixed()]))
    button, head = "#table-mixed th:nth-child(2) button", "#table-mixed th:nth-child(2)"
    state = f"document.querySelector({head!r}).getAttribute('aria-sort')"
    seen = []
    for _ in range(3):
        click(opened, button)
        seen.append((opened.run(state), column(opened, "table-mixed", 1)))
    assert seen == [
        ("ascending", SORTED),
        ("descending", [*SORTED[4::-1], "–"]),
        (None, ["–" if n is None else n for n in NUMBERS]),
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0, ["2026-10-30", "2026-11-02", "Alpha", "beta 9", "beta 10", "gone"]),
        (2, ["5 min", "30 min", "2 h", "3 h", "1 d", "–"]),
    ],
)
def test_words_dates_and_stretches_of_time_sort_as_what_they_are(
    opened: Tab, tmp_path: Path, place: int, expected: list[str]
) -> None:
    opened.open(made(tmp_path, [mixed()]))
    click(opened, f"#table-mixed th:nth-child({place + 1}) button")
    assert column(opened, "table-mixed", place) == expected
    assert "ascending" in opened.run("document.querySelector('.rr-told').textContent")


def test_rows_are_sorted_below_the_heading_of_their_group(opened: Tab, tmp_path: Path) -> None:
    row = '<tr><td class="gt_row">{}</td><td class="gt_row">{}</td></tr>'
    group = '<tr class="gt_group_heading_row"><th class="gt_group_heading" colspan="2">{}</th></tr>'
    rows = [group.format("one"), row.format("b", 1), row.format("a", 2), group.format("two")]
    rows += [row.format("d", 0), row.format("c", 9)]
    html = Html(
        '<div class="rr-table" id="table-g" aria-label="G"><table><thead><tr><th scope="col">Name</th>'
        f'<th scope="col">n</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    opened.open(made(tmp_path, [html]))
    click(opened, "#table-g th button")
    assert column(opened, "table-g", 0) == ["one", "a", "b", "two", "c", "d"]


def test_by_keyboard_alone_a_table_is_filtered_and_sorted(opened: Tab, tmp_path: Path) -> None:
    opened.open(made(tmp_path, [long()]))
    opened.press("Tab")
    assert opened.run("document.activeElement.type") == "search"
    assert opened.run("document.activeElement.getAttribute('aria-label')") == "Filter rows: Long"
    opened.write("CODING row 1")
    told = "document.querySelector('.rr-count').textContent"
    assert opened.run(told) == "2 of 40 rows"
    assert column(opened, "table-long", 0) == ["row 12", "row 16"]
    while opened.run("document.activeElement.getAttribute('aria-label')") != "Sort by n":
        opened.press("Tab")
    opened.press("Enter")
    opened.press(" ")
    assert column(opened, "table-long", 0) == ["row 16", "row 12"]
    opened.run("document.querySelector('input').focus()")
    opened.press("Escape")
    assert opened.run(told) == "40 rows"
    assert len(column(opened, "table-long", 0)) == 40


def test_a_filtered_table_is_printed_whole_and_without_what_works_on_a_screen_only(
    opened: Tab, tmp_path: Path
) -> None:
    opened.open(made(tmp_path, [long()]))
    opened.run("document.querySelector('input').focus()")
    opened.write("row 07")
    assert column(opened, "table-long", 0) == ["row 07"]
    pdf = PdfReader(io.BytesIO(opened.printed()))
    printed = "\n".join(page.extract_text() for page in pdf.pages)
    assert [i for i in range(40) if f"row {i:02}" not in printed] == []
    assert "Filter" not in printed
    assert "Download" not in printed


def test_a_download_holds_what_is_shown_and_nothing_that_a_spreadsheet_runs(
    opened: Tab, tmp_path: Path
) -> None:
    # The page's own dash, for a cell that is not known, is an empty field.
    rows = [
        [p.text.replace("\n", " ")[:70], over("+1.5 pp", "−0.2 to +3 pp"), "1,234", None]
        for p in PAYLOADS
    ]
    rows += [["=1+1", "+7", "−2.5", "x;=1+1"], ["＠cmd", '"a", b', "3 ms", "-1 d"]]
    columns = [text("Slice"), Column("Change"), Column("n"), Column("Long")]
    opened.open(made(tmp_path, [table("Taken", columns, rows, "A window.", most=500)]))
    click(opened, "#table-taken th:nth-child(1) button")
    raw = opened.downloaded(
        "document.querySelector('.rr-get').click()", "table-taken.csv", tmp_path
    )
    held = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert held[0] == ["Slice", "Change", "n", "Long"]
    # The tables beside the artifact are kept from a spreadsheet in the same way.
    assert [r[0] for r in held[1:]] == [safe_cell(t) for t in column(opened, "table-taken", 0)]
    by = {r[0]: r[1:] for r in held}
    assert by["'=1+1"] == ["7", "-2.5", "x;'=1+1"]
    assert by["'＠cmd"] == ['"a", b', "3 ms", "'-1 d"]
    assert ["1.5 pp (−0.2 to +3 pp)", "1234", ""] in by.values()
    runs = [
        c for r in held for c in r if c.lstrip().startswith(tuple("=+-@＝＋－＠")) and c != "-2.5"
    ]
    assert runs == []


def test_a_figure_is_downloaded_as_it_was_drawn(opened: Tab, tmp_path: Path) -> None:
    opened.open(made(tmp_path, [figure(SVG, "A line.", "A caption.", name="A line")]))
    assert (
        opened.downloaded(
            "document.querySelector('.rr-get').click()", "figure-a-line.svg", tmp_path
        )
        == SVG
    )


def test_no_text_of_a_page_becomes_markup_and_no_request_leaves(
    opened: Tab, tmp_path: Path
) -> None:
    with browser.serving(tmp_path) as canary:
        content = [
            table(
                p.text[:80],
                [text(p.text[:80]), Column("n")],
                [[p.text, i] for i in range(20)],
                p.text,
            )
            for p in PAYLOADS
        ] + [figure(SVG, p.text, p.text, name="A line") for p in PAYLOADS[:3]]
        before = len(opened.asked)
        opened.open(made(tmp_path, content, canary.address))
        opened.run(
            "document.querySelectorAll('.rr-sort').forEach(b => b.click());"
            "document.querySelectorAll('input').forEach(i => {i.value = '<img src=x onerror=alert(1)>';"
            "i.dispatchEvent(new Event('input'))})"
        )
        assert canary.asked == []
    asked = {url.rpartition("/")[2] for url in opened.asked[before:] if not url.startswith("data:")}
    assert asked == {"page.html", "release-review.css", "release-review.js"}
    assert opened.run("document.title") == "Calm" != TITLE
    assert opened.run(f"document.getElementById({MARK!r})") is None
    assert opened.run("document.querySelectorAll('.rr-sort').length") == 2 * len(PAYLOADS)
    assert opened.run("document.querySelectorAll('img:not(.rr-figure img), script').length") == 1


def test_the_script_is_small_and_names_no_address() -> None:
    source = SCRIPT.read_text(encoding="utf-8")
    assert len(source.encode()) < 10_000
    assert '"use strict";' in source
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "Function(",
        "://",
        "fetch(",
    )
    assert [word for word in forbidden if word in source] == []
