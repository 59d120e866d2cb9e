"""Lettering of figures, and how few bytes a figure has."""

from __future__ import annotations

import re
import warnings

import pandas as pd
from matplotlib.path import Path
from plotnine import aes, geom_point, geom_text, ggplot, labs

from analysis.present import small_svg, theme
from analysis.present.small_svg import MAX_LETTERING
from analysis.present.theme import heading, label, look, svg


def plot(names: list[str], title: str = "") -> str:
    frame = pd.DataFrame({"x": range(len(names)), "y": 1.5, "name": names})
    drawn = (
        ggplot(frame, aes("x", "y")) + geom_point() + geom_text(aes(label="name")) + labs(title=title)
    )  # fmt: skip
    return svg(drawn + look(), height=2).decode()


def letters(found: str) -> list[str]:
    return re.findall(r'<path id="(d-[^"]*)"', found)


def test_a_label_is_no_longer_than_its_limit_where_letters_are_spelled_as_codes() -> None:
    assert label("\u202e" * 40, 16) == "\\u202e\\u202e\\u2…"
    assert label("中文" * 20, 16) == "\\u4e2d\\u6587\\u4…"
    assert label("short", 16) == "short"


def test_letters_that_the_bold_font_lacks_do_not_warn_in_a_title() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(["a"], heading("column \U0001d5a0"))


def test_a_figure_has_few_bytes_of_letters_whatever_they_are() -> None:
    many = [chr(c) for c in sorted(theme._letters()) if 0x400 <= c < 0x2C00][:600]
    found = plot([label("".join(many[at : at + 20])) for at in range(0, len(many), 20)])
    held = re.findall(r'<path id="d-[^"]*" d="[^"]*"[^>]*/>', found)
    assert sum(map(len, held)) < MAX_LETTERING + 200
    assert "d-box" in letters(found)
    used = set(re.findall(r'<use xlink:href="#(d-[^"]*)"', found))
    assert used == set(letters(found))


def test_a_figure_of_few_letters_keeps_them_all() -> None:
    found = plot(["The quick brown fox jumps over the lazy dog 0123456789"])
    assert "d-box" not in found


def test_circles_are_arcs_through_their_lowest_and_highest_points() -> None:
    found = plot(["a", "b", "c"])
    arcs = re.findall(r'd="M(\S+) (\S+?)A(\S+) \S+ 0 1 0 (\S+) (\S+?)A.*? (\S+) (\S+?)z"', found)
    assert len(arcs) == 3
    for x, y, radius, over, top, *end in (map(float, arc) for arc in arcs):
        assert (x, y) == tuple(end)
        assert over == x
        assert abs(y - top - 2 * radius) < 0.02


def test_what_is_made_of_eight_curves_and_no_circle_stays() -> None:
    points = Path.unit_circle().vertices * [3, 1] + 10
    curves = "\n".join(
        "C " + " ".join(f"{n:.2f}" for n in points[at : at + 3].ravel()) for at in range(1, 25, 3)
    )
    shape = f'd="M {points[0, 0]:.2f} {points[0, 1]:.2f}\n{curves}\nz\n"'
    assert small_svg._EIGHT.fullmatch(shape)
    assert small_svg._EIGHT.sub(small_svg._arcs, shape) == shape
