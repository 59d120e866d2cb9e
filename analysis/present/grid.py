"""Tables by great-tables, in the form that the report's format expects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from great_tables import GT, html

from analysis.present import anchors, glossary
from analysis.present.blocks import link, say
from analysis.present.escape import Html, escape
from analysis.present.formats import NONE

MAX_ROWS = 100
_OF_FIGURES = ("Figure", "Measure")
# Ids that great-tables makes: they would repeat over the page. Those of the report's cells are on a span.
_IDS = re.compile(r'(<(?!span\b)[^>]*?) (?:id|headers|aria-labelledby)="[^"]*"')
# great-tables' title is a row of the head: a caption is what names a table for a screen reader.
_TITLE = re.compile(r'<tr class="gt_heading">\s*<td[^>]*>(.*?)</td>\s*</tr>', re.S)


@dataclass(frozen=True)
class Column:
    """A column's heading, with the unit of its numbers; numbers stand right.

    term: the heading by which the glossary knows it, where the label holds a name besides.
    """

    label: str
    align: Literal["left", "right", "center"] = "right"
    term: str | None = None

    def headed(self, title: str) -> Html:
        """The heading in a table of this title, as a link to the definition of what it names."""
        term = glossary.of_heading(title, self.term or self.label, self.align == "left")
        return escape(self.label) if term is None else glossary.link(term, self.label)


def text(label: str) -> Column:
    return Column(label, "left")


def table(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    source: object,
    file: str | None = None,
    total: int | None = None,
    most: int = MAX_ROWS,
    name: str | None = None,
) -> Html:
    """A table of at most 100 rows, or of `most`, with a permanent id.

    rows: cells as text (escaped here), `Html`, or None. source: what stands below: window and
    support. file: the full table's name in `tables/`, which has `total` rows. name: what the id is made of
    where the title has text from telemetry or policy.
    """
    shown = rows[:most]
    at = anchors.place("table", name or title)
    names = [f"c{i}" for i in range(len(columns))]
    frame = pd.DataFrame(
        [_cells(title, columns[0], row) for row in shown],
        columns=names,
        dtype=object,
    )
    drawn = (
        GT(frame, id="t")
        .fmt(lambda cell: cell, columns=names)
        .tab_header(html(say('<span class="rr-source">{t}</span>', t=_headed(at, title))))
        .cols_label({n: html(c.headed(title)) for n, c in zip(names, columns, strict=True)})
        .tab_source_note(html(_note(source, len(shown), total or len(rows), file)))
        .tab_options(quarto_disable_processing=True)
    )
    for align in ("left", "right", "center"):
        chosen = [n for n, c in zip(names, columns, strict=True) if c.align == align]
        if chosen:
            drawn = drawn.cols_align(align, columns=chosen)
    raw = drawn.as_raw_html()
    # Only the table itself: its wrapper carries styles, and ids would repeat over the page.
    inner = raw[raw.index("<table") : raw.rindex("</table>") + len("</table>")]
    while (bare := _IDS.sub(r"\1", inner)) != inner:
        inner = bare
    inner = _captioned(inner)
    return say(
        '<div class="rr-table" id="{at}" role="region" tabindex="0" aria-label="{title}">{inner}</div>',
        at=at, title=title, inner=Html(inner),
    )  # fmt: skip


def _cells(title: str, first: Column, row: Sequence[object]) -> list[object]:
    """The cells of a row; the name of a figure leads to its definition."""
    cells: list[object] = [NONE if cell is None else escape(cell) for cell in row]
    if first.label in _OF_FIGURES and isinstance(row[0], str) and not isinstance(row[0], Html):
        cells[0] = glossary.explained(title, row[0])
    return cells


def _headed(at: str, title: str) -> Html:
    return say("{title} {link}", title=title, link=anchors.itself(at, f"the table: {title}"))


def _captioned(markup: str) -> str:
    found = _TITLE.search(markup)
    assert found is not None
    start = markup.index(">") + 1
    caption = f'<caption class="gt_title">{found[1]}</caption>'
    return markup[:start] + caption + markup[start : found.start()] + markup[found.end() :]


def _note(source: object, shown: int, total: int, file: str | None) -> Html:
    more = Html("")
    if shown < total and file:
        where = link(f"../tables/{file}", f"tables/{file}")
        more = say(
            " First {n} of {total}; all in {where}.", n=shown, total=f"{total:,}", where=where
        )
    elif shown < total:
        more = say(" First {n} of {total}.", n=shown, total=f"{total:,}")
    elif file:
        more = say(" In full: {where}.", where=link(f"../tables/{file}", f"tables/{file}"))
    # Its own box: where the table is wider than the page, the note is not.
    return say('<span class="rr-source">{source}{more}</span>', source=source, more=more)
