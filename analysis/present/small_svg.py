"""A figure in fewer bytes: what Matplotlib writes, said more shortly."""

from __future__ import annotations

import re

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


def smaller(text: str) -> str:
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
