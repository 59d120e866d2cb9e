"""The colours of every figure, in a light and a dark scheme.

The hues are those of Okabe & Ito (2008), moved until every one can be read as text (4.5:1, WCAG 2.2) on its
ground, and until any two stay as far apart as can be for readers with each of the three colour deficiencies.
"""

from __future__ import annotations

BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#064696", "#ac6300", "#05874a", "#951c00", "#c74380"
PALE = "#5b8fb5"
"""A fill beside ORANGE and VERMILLION for what weighs less; never text."""
INK, MUTED, LINE, GROUND = "#1d2430", "#56606e", "#d5dae1", "#ffffff"
DARK = {
    BLUE: "#62cbfb",
    ORANGE: "#fab10d",
    GREEN: "#32996e",
    VERMILLION: "#ec5d2f",
    PURPLE: "#ab77ab",
    PALE: "#4f81a6",
    INK: "#e2e6eb",
    MUTED: "#a3adb9",
    LINE: "#39424e",
    GROUND: "#1b2027",
    # What a plot draws without being told a colour.
    "#000000": "#e2e6eb",
}
"""What each colour becomes where the reader's scheme is dark; GROUND is `--rr-soft` of the style sheet."""


def in_both_schemes(svg: str) -> str:
    """The figure with the colours of the dark scheme beside its own, in a style sheet of few bytes.

    An image follows the `color-scheme` of the page that shows it, and so the page's own switch; a browser
    that lets it follow the reader's system instead shows a figure that brings its ground with it.
    """
    rules = "".join(
        f'[style*="{name}:{light}"]{{{name}:{dark}!important}}'
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
        if f"{name}:{light}" in svg
    )
    at = svg.index(">", svg.index("<svg")) + 1
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    return svg[:at] + style + svg[at:]
