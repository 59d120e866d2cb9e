"""Figures on the pages: in the colours of the scheme that the page shows."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from analysis.present.palette import DARK, GROUND
from tests.end_to_end import devtools
from tests.end_to_end.test_render import PAGES

SWITCH = "smalldocsToggleScheme(); new Promise(done => setTimeout(() => done(1), 300))"
# A place inside of the first figure, clear of its border and of what is drawn.
PLACE = """new Promise(done => {
  const image = document.querySelector(".rr-schemes img");
  image.scrollIntoView({block: "center"});
  setTimeout(() => { const box = image.getBoundingClientRect(); done([box.right - 14, box.bottom - 14]) }, 300);
})"""


def test_figures_have_no_colour_without_a_dark_one(site: Path) -> None:
    n_figures = 0
    for name in PAGES:
        page = (site / "report" / f"{name}.html").read_text(encoding="utf-8")
        for data in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page):
            drawn = re.sub(r"<style>@media.*?</style>", "", base64.b64decode(data).decode())
            n_figures += 1
            assert set(re.findall(r"(?:fill|stroke)[:=]\"?(#\w+)", drawn)) <= DARK.keys()
    assert n_figures > 20


@pytest.mark.parametrize("system", ["light", "dark"])
def test_a_figure_follows_the_pages_switch_and_not_only_the_system(
    system: str, chromium: str, site: Path, tmp_path: Path
) -> None:
    def ground(tab: devtools.Tab) -> str:
        at = tab.run(PLACE)
        pixel = Image.open(io.BytesIO(tab.picture())).convert("RGB").getpixel(tuple(map(int, at)))
        return "#" + "".join(f"{part:02x}" for part in pixel)

    with devtools.tab(chromium, tmp_path) as tab:
        tab.look(1280, 900, system == "dark")
        tab.open((site / "report" / "budget.html").resolve().as_uri())
        first = ground(tab)
        tab.run(SWITCH)
        assert (first, ground(tab)) == (
            (DARK[GROUND], GROUND) if system == "dark" else (GROUND, DARK[GROUND])
        )
        # What the reader chose stays chosen.
        tab.open((site / "report" / "health.html").resolve().as_uri())
        assert ground(tab) == (GROUND if system == "dark" else DARK[GROUND])
