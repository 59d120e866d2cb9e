"""The colours of figures: readable in both schemes, and told apart by every reader."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from plotnine import aes, geom_col, geom_point, ggplot

from analysis.present import palette
from analysis.present.palette import DARK, GROUND, INK, LINE, MUTED, PALE, in_both_schemes
from analysis.present.theme import STROKES, look, svg
from tests.render.test_theme import colours, contrast

LINES = tuple(colour for colour, _ in STROKES)
"""What can stand for different things in one figure."""
# Machado, Oliveira & Fernandes (2009), table 1, severity 1.0: linear RGB as these readers see it.
SIGHT = {
    "all three cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
SCHEMES = {"light": {c: c for c in DARK}, "dark": DARK}
# From sRGB's primaries to CIE XYZ, and its white, D65.
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour: str, sight: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of a colour as a reader sees it."""
    part = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    t = XYZ @ np.clip(sight @ linear, 0, 1) / WHITE
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(first: str, second: str, sight: np.ndarray) -> float:
    """CIE 1976 colour difference; 2.3 is just noticeable (Mahy et al. 1994)."""
    return float(np.linalg.norm(lab(first, sight) - lab(second, sight)))


def test_the_distance_is_the_cies() -> None:
    assert apart("#000000", "#ffffff", SIGHT["all three cones"]) == pytest.approx(100, abs=0.1)
    # Okabe & Ito's green and vermillion are made for it; a plain green and a brown are not.
    assert apart("#009e73", "#d55e00", SIGHT["deuteranopia"]) > 30
    assert apart("#2ca02c", "#8c6d1f", SIGHT["deuteranopia"]) < 10


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_one_figure_are_told_apart(scheme: str, sight: str) -> None:
    shown = SCHEMES[scheme]
    least = min(
        apart(shown[a], shown[b], SIGHT[sight]) for a, b in itertools.combinations(LINES, 2)
    )
    # Eight times what is just noticeable; the strokes and shapes of `theme` come on top.
    assert least >= 8 * 2.3
    # A bar's parts: low, medium, high.
    parts = PALE, palette.ORANGE, palette.VERMILLION
    assert min(
        apart(shown[a], shown[b], SIGHT[sight]) for a, b in itertools.combinations(parts, 2)
    ) >= 8 * 2.3  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_colour_can_be_read_as_text_and_a_fill_can_be_seen(scheme: str) -> None:
    shown = SCHEMES[scheme]
    for colour in (*LINES, INK, MUTED):
        assert contrast(shown[colour], shown[GROUND]) >= 4.5, colour
    assert contrast(shown[PALE], shown[GROUND]) >= 3
    # Lines that help to read a value are no information, and stay faint.
    assert contrast(shown[LINE], shown[GROUND]) < 2


def test_the_ground_is_that_of_the_style_sheet() -> None:
    assert colours(":root")["figure"] == GROUND
    assert colours(".quarto-dark")["figure"] == colours(".quarto-dark")["soft"] == DARK[GROUND]
    assert (INK, DARK[INK]) == (colours(":root")["text"], colours(".quarto-dark")["text"])


def drawn() -> str:
    frame = pd.DataFrame({"x": [1, 2], "y": [1, 2]})
    plot = ggplot(frame, aes("x", "y")) + geom_col(fill=palette.BLUE) + geom_point(color="#123456")
    return svg(plot + look(), height=2).decode()


def test_a_figure_says_its_dark_colours_once_and_only_those_that_it_has() -> None:
    text = drawn()
    (style,) = re.findall(r"<style>(@media \(prefers-color-scheme:dark\).*?)</style>", text)
    rules = re.findall(r'\[style\*="(fill|stroke):(#\w{6})"\]\{\1:(#\w{6})!important\}', style)
    assert {(light, dark) for _, light, dark in rules} <= set(DARK.items())
    assert ("fill", palette.BLUE, DARK[palette.BLUE]) in rules
    assert ("fill", GROUND, DARK[GROUND]) in rules
    assert not any(light in (palette.GREEN, "#123456") for _, light, _ in rules)
    assert len(style) < 1_200


def test_the_rest_of_a_figure_is_as_it_was() -> None:
    text = '<?xml version="1.0"?>\n<svg a="b">\n<g style="fill:#ffffff"/></svg>'
    found = in_both_schemes(text)
    assert re.sub(r"<style>.*?</style>", "", found) == text
    assert found.index("<svg") < found.index("<style>") < found.index("<g ")
