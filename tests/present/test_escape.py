"""Text from outside comes out visible, short and inert."""

from __future__ import annotations

import pytest

from analysis.present.escape import CELL, Html, escape, say, visible
from analysis.present.page import raw_block
from analysis.present.theme import label


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>", "&lt;script&gt;"),
        ("{{< env HOME >}}", "&#123;&#123;&lt; env HOME &gt;&#125;&#125;"),
        ("`code`", "&#96;code&#96;"),
        ('" onload="x', "&quot; onload=&quot;x"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\nc", "a\\u200bb\\u000ac"),
        ("\U000e0041", "\\U000e0041"),
        ("=HYPERLINK(1)", "=HYPERLINK(1)"),
        ("$x$", "$x$"),
        ("NA", "NA"),
        (None, "None"),
    ],
)
def test_each_trick_is_plain_text(text: object, shown: str) -> None:
    assert escape(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 500) == "x" * (CELL - 1) + "…"


def test_finished_html_is_not_escaped_again() -> None:
    assert escape(Html("<b>a</b>")) == "<b>a</b>"


def test_a_value_cannot_reach_into_a_template() -> None:
    assert say("<p>{a} {b}</p>", a="{b} {0} {a.__class__}", b="<i>") == (
        "<p>&#123;b&#125; &#123;0&#125; &#123;a.__class__&#125; &lt;i&gt;</p>"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [("$x$", r"\$x\$"), ("日", "\\u65e5"), ("a" * 50, "a" * 39 + "…")],
)
def test_a_plot_shows_no_mathematics_and_no_boxes(text: str, shown: str) -> None:
    assert label(text) == shown


def test_a_block_cannot_close_its_fence() -> None:
    assert raw_block("a ```` b").splitlines()[0] == "`````{=html}"
