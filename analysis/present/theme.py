"""One restrained theme for every figure, and how a plot becomes SVG."""

from __future__ import annotations

import functools
import io
import re
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

# Okabe & Ito (2008): told apart also by colour-blind readers.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, MUTED, LINE, SHADE = "#1d2430", "#56606e", "#d5dae1", "#eef2f6"
OUTCOMES = {"pass": GREEN, "fail": VERMILLION, "inconclusive": ORANGE}
SHAPES = {"pass": "o", "fail": "X", "inconclusive": "D"}
WINDOWS = {"baseline": MUTED, "candidate": BLUE}
# Inches: narrow, so that the lettering stays legible where a phone shrinks the figure to its width.
WIDTH = 4.8
# Points.
SIZE = 9.5
NOTE = 8.5

_STYLE = re.compile(r'style="[^"]*"')
_LETTER = re.compile(r'(<use xlink:href="#[^"]*") transform="translate\((-?[\d.]+) (-?[\d.]+)\)"/>')
# Letters are drawn at 1/64: no number of theirs is rounded.
_LONG = re.compile(r"(?<!scale\()(?<![\d.])-?\d+\.\d{3,}(?![\de])")
_GLYPH = re.compile(r'<path id="(d-[^"]*)" d="[^"]*" transform="scale[^"]*"/>')
_USED = re.compile(r'(?<=<use xlink:href="#)d-[^"]*')
# A circle as Matplotlib draws it: eight curves from its lowest point, and round to it.
_EIGHT = re.compile(r'd="M [-\d. ]+\n(?:C [-\d. ]+\n){8}z\n"')
_DRAWN = re.compile(r'( d=")([^"]*)')
MAX_LETTERING = 45_000
"""Bytes of a figure's different letters, a hundred and more; others are boxes, as where a font lacks them."""
_BOX = (
    '<path id="d-box" d="M 300 0 V 3650 H 2950 V 0 z M 600 300 H 2650 V 3350 H 600 z"'
    ' transform="scale(0.015625)"/>'
)
_NOISE = re.compile(r"<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.S)


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
        plot_background=element_rect(fill="white", color="white"),
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
    """The plot as SVG of `width` × `height` inches, lettering as paths; the same bytes every time."""
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
    return _smaller(buffer.getvalue().decode("utf-8")).encode()


def _smaller(text: str) -> str:
    """The same picture in fewer bytes: pages hold their figures, and have to stay small.

    A hundredth of a point is seen by nobody; letters are named shortly and placed by one attribute.
    """
    text = _NOISE.sub("", text)
    text = _STYLE.sub(lambda m: m.group().replace("; ", ";").replace(": ", ":"), text)
    text = _LETTER.sub(r'\1 x="\2" y="\3"/>', text.replace("DejaVuSans", "d"))
    text = _LONG.sub(lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), text)
    text = _EIGHT.sub(_arcs, re.sub(r" *\n\s*", "\n", text))
    text = _DRAWN.sub(lambda m: m[1] + re.sub(r"\s*([A-Za-z])\s*", r"\1", m[2]), text)
    return _bounded(text)


def _arcs(eight: re.Match[str]) -> str:
    """A circle as two arcs; whatever else is made of eight curves stays."""
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", eight.group())]
    x, y = start = numbers[0], numbers[1]
    ends = [(numbers[at], numbers[at + 1]) for at in range(6, len(numbers), 6)]
    radius = (y - ends[3][1]) / 2
    sides = (x + radius, y - radius), (x, y - 2 * radius), (x - radius, y - radius), start
    off = max(
        max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in zip(ends[1::2], sides, strict=True)
    )
    if radius <= 0 or off > 0.02:
        return eight.group()
    arcs = (f"A {radius:.3g} {radius:.3g} 0 1 0 {x:g} {at:g}" for at in (ends[3][1], y))
    return f'd="M {x:g} {y:g}{"".join(arcs)}z"'


def _bounded(text: str) -> str:
    """The picture with no more than `MAX_LETTERING` bytes of letters, whatever scripts its names are in."""
    size, beyond = 0, set()

    def kept(glyph: re.Match[str]) -> str:
        nonlocal size
        size += len(glyph.group())
        if size <= MAX_LETTERING:
            return glyph.group()
        beyond.add(glyph.group(1))
        return ""

    text = _GLYPH.sub(kept, text)
    if not beyond:
        return text
    text = _USED.sub(lambda m: "d-box" if m.group() in beyond else m.group(), text)
    return text.replace("<defs>", f"<defs>{_BOX}", 1)


def ordered(values: list[str]) -> pd.CategoricalDtype:
    """A category whose first value stands at the top of a horizontal chart."""
    return pd.CategoricalDtype(list(dict.fromkeys(reversed(values))), ordered=True)
