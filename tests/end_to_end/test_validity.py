"""Every page and style sheet of ours, read by the Nu Html Checker (the W3C's validator)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from analysis.review import PROJECT
from tests.end_to_end.conftest import WEB

JAR = WEB / "vnu-jar" / "build" / "dist" / "vnu.jar"


def sheets(site: Path) -> tuple[Path, ...]:
    return site / "release-review.css", PROJECT / "_extensions" / "release-review" / "releases.css"


# Container queries (CSS Containment 3, in every browser since 2023): its CSS checker lacks them.
UNKNOWN = ("Property “container-type” doesn't exist", "CSS: “max-width”: Parse Error.")


@pytest.fixture(scope="module")
def told(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the checker says, errors and warnings, of each page and style sheet, and of two bad ones."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("no Java: the Nu Html Checker needs it (Debian package: default-jre-headless)")
    if not JAR.is_file():
        pytest.skip(f"the Nu Html Checker is not installed at {JAR}: .ci/run does, with npm")
    bad = tmp_path_factory.mktemp("bad")
    (bad / "bad.html").write_text(
        "<!DOCTYPE html><html lang=en><title>x</title><p><img src=x></div>"
    )
    (bad / "bad.css").write_text("p { colour: red }")
    files = [*sorted(site.rglob("*.html")), *sheets(site), *bad.iterdir()]
    options = "--also-check-css", "--format", "json", "--stdout", "--exit-zero-always"
    done = subprocess.run(
        [java, "-Xss8m", "-jar", str(JAR), *options, *map(str, files)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {str(path): [] for path in files}
    for one in json.loads(done.stdout)["messages"]:
        where = f"line {one.get('lastLine')}: {one.get('extract', '')[:120]!r}"
        found[unquote(one["url"].removeprefix("file:"))].append(f"{one['message']} {where}")
    return found


def test_every_page_is_valid_html(told: dict[str, list[str]]) -> None:
    pages = {name: said for name, said in told.items() if name.endswith(".html")}
    assert len(pages) > 20
    assert {n: said for n, said in pages.items() if said and not n.endswith("/bad.html")} == {}


def test_every_style_sheet_of_ours_is_valid_css(told: dict[str, list[str]], site: Path) -> None:
    for sheet in sheets(site):
        said = told[str(sheet)]
        assert [one for one in said if not any(known in one for known in UNKNOWN)] == []
        assert len(said) <= len(UNKNOWN)


def test_what_is_not_valid_is_told(told: dict[str, list[str]]) -> None:
    bad = {Path(name).name: " ".join(said) for name, said in told.items()}
    assert "must have an “alt” attribute" in bad["bad.html"]
    assert "“colour” doesn't exist" in bad["bad.css"]
