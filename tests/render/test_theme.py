"""The theme: readable in both schemes, and one file for both engines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

EXTENSION = Path(__file__).resolve().parents[2] / "_extensions" / "release-review"
STYLE = (EXTENSION / "review.scss").read_text(encoding="utf-8")


def colours(selector: str) -> dict[str, str]:
    """The `--rr-*` variables of the first block with this selector."""
    block = re.search(rf"^{re.escape(selector)} \{{(.*?)^\}}", STYLE, re.S | re.M)
    assert block is not None
    return dict(re.findall(r"--rr-([\w-]+): (#[0-9a-f]{6});", block.group(1)))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio (WCAG 2.2), 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [":root", ".quarto-dark"])
@pytest.mark.parametrize(
    ("ink", "papers"),
    [
        ("text", ["bg", "soft", "good-bg", "warn-bg", "bad-bg"]),
        ("muted", ["bg", "soft"]),
        ("link", ["bg", "soft", "good-bg", "warn-bg", "bad-bg"]),
        ("good", ["bg", "good-bg"]),
        ("warn", ["bg", "warn-bg"]),
        ("bad", ["bg", "bad-bg"]),
    ],
)
def test_every_text_reaches_the_contrast_of_wcag_aa(
    scheme: str, ink: str, papers: list[str]
) -> None:
    held = colours(scheme)
    for paper in papers:
        assert contrast(held[ink], held[paper]) >= 4.5, (scheme, ink, paper)


def test_the_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_the_rules_are_plain_css_that_loads_nothing() -> None:
    rules = re.sub(r"/\*.*?\*/", "", STYLE, flags=re.S)
    assert not re.search(r"[$&]|@(?!media)|url\(|//", rules)


def test_quartos_schemes_have_the_colours_of_the_rules() -> None:
    for name, selector in (("light.scss", ":root"), ("dark.scss", ".quarto-dark")):
        text = (EXTENSION / name).read_text(encoding="utf-8")
        given = dict(re.findall(r"\$([\w-]+): (#[0-9a-f]{6});", text))
        held = colours(selector)
        assert (given["body-bg"], given["body-color"]) == (held["bg"], held["text"])
        assert given["link-color"] == held["link"]
        assert "$web-font-path: false;" in text


def test_quarto_is_asked_to_load_the_script_as_a_file_of_the_site(tmp_path: Path) -> None:
    import pypandoc

    asked = tmp_path / "asked.lua"
    asked.write_text(
        "FORMAT = 'html'\n"
        "quarto = { doc = { add_html_dependency = function(d) print(d.name, d.scripts[1], #d.scripts) end } }\n"
        f"dofile('{EXTENSION / 'html.lua'}')[1].Meta()\n"
        "FORMAT = 'typst'\n"
        f"print(#dofile('{EXTENSION / 'html.lua'}'))\n"
    )
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), "lua", str(asked)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["release-review", "release-review.js", "1", "0"]
    assert (EXTENSION / "release-review.js").is_file()
    assert "- html.lua" in (EXTENSION / "_extension.yml").read_text(encoding="utf-8")
