"""One restrained theme for every figure, and how a plot becomes SVG."""

from __future__ import annotations

import functools
import io
import textwrap
import warnings

import matplotlib as mpl
import pandas as pd
from matplotlib import font_manager
from plotnine import (
    element_blank,
    element_line,
    element_rect,
    element_text,
    ggplot,
    theme,
    theme_minimal,
)
from plotnine.exceptions import PlotnineWarning

from analysis.present.escape import visible
from analysis.present.palette import (
    BLUE,
    GREEN,
    GROUND,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    in_both_schemes,
)
from analysis.present.small_svg import smaller

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "LINE",
    "MUTED",
    "ORANGE",
    "PALE",
    "PURPLE",
    "VERMILLION",
    "heading",
    "label",
    "look",
    "svg",
]
OUTCOMES = {"pass": GREEN, "fail": VERMILLION, "inconclusive": ORANGE}
SHAPES = {"pass": "o", "fail": "X", "inconclusive": "D"}
# Of lines in one figure, in their order: colour and stroke, so that print without colours tells them too.
STROKES = (
    (BLUE, "solid"),
    (VERMILLION, "dashed"),
    (GREEN, "dotted"),
    (PURPLE, "dashdot"),
    (ORANGE, "solid"),
    (INK, "dashed"),
)
WINDOWS = {"baseline": MUTED, "candidate": BLUE}
# Inches: narrow, so that the lettering stays legible where a phone shrinks the figure to its width.
WIDTH = 4.8
# Points.
SIZE = 9.5
NOTE = 8.5


def look(grid: str = "x") -> theme:
    """The theme. grid: the axis whose lines help to read values."""
    lines = element_line(color=LINE, size=0.4)
    return theme_minimal(base_size=SIZE, base_family="DejaVu Sans") + theme(
        text=element_text(color=INK),
        plot_title=element_text(
            size=SIZE + 1, weight="bold", ha="left", margin={"b": 9, "unit": "pt"}
        ),
        plot_title_position="plot",
        axis_title=element_text(size=SIZE - 0.5, color=MUTED),
        axis_text=element_text(color=INK, size=SIZE - 0.5),
        panel_grid_minor=element_blank(),
        panel_grid_major_x=lines if "x" in grid else element_blank(),
        panel_grid_major_y=lines if "y" in grid else element_blank(),
        strip_text=element_text(ha="left", weight="bold", size=SIZE - 0.5),
        plot_background=element_rect(fill=GROUND, color=GROUND),
        legend_position="none",
    )


def label(value: object, limit: int = 40, width: int | None = None) -> str:
    """Plain text for a plot: one line (or wrapped at `width`), no mathematics, known letters only.

    No longer than `limit`, also where letters are spelled as codes: a figure's room is its text's.
    """
    plain = "".join(c if ord(c) in _letters() else _code(c) for c in visible(value, limit))
    plain = plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
    lines = textwrap.wrap(plain, width, max_lines=2, placeholder="…") if width else [plain]
    return "\n".join(lines or [""]).replace("$", r"\$")


def heading(title: str) -> str:
    """A figure's title, wrapped to its width."""
    return label(title, 100, width=46)


def _code(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


@functools.cache
def _letters() -> frozenset[int]:
    """Characters that the figures' fonts, plain and bold, have: others would be boxes, and warn."""
    plain, bold = (
        font_manager.get_font(font_manager.findfont(name)).get_charmap()
        for name in ("DejaVu Sans", "DejaVu Sans:bold")
    )
    return frozenset(plain.keys() & bold.keys())


def svg(plot: ggplot, height: float, width: float = WIDTH) -> bytes:
    """The plot as SVG of `width` × `height` inches, lettering as paths; the same bytes every time.

    It has both schemes (`in_both_schemes`)."""
    buffer = io.BytesIO()
    with (
        mpl.rc_context({"svg.hashsalt": "release-review", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        # A day or group that stands alone has no line: that is no news to who reads stderr.
        warnings.filterwarnings("ignore", "geom_path: Each group", PlotnineWarning)
        plot.save(
            buffer, format="svg", width=width, height=height, verbose=False, metadata={"Date": None}
        )
    return in_both_schemes(smaller(buffer.getvalue().decode("utf-8"))).encode()


def ordered(values: list[str]) -> pd.CategoricalDtype:
    """A category whose first value stands at the top of a horizontal chart."""
    return pd.CategoricalDtype(list(dict.fromkeys(reversed(values))), ordered=True)
