"""From telemetry to a published site, with the project's own pages and the embedded engine."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pypdf import PdfReader

from analysis import review as reviews
from analysis.present import draw
from analysis.render import render_site
from analysis.render.site_check import check_site
from analysis.review import PROJECT
from analysis.sample import generate, write
from analysis.sample.hostile import ANSI, SCRIPT_REPAIR, SCRIPT_SCENARIO, SHORTCODE
from analysis.verification import verify

HOME = os.environ.get("HOME", "/root")
PAGES = [
    "index",
    "contract",
    "health",
    "budget",
    "hotspots",
    "routing",
    "drift",
    "triage",
    "history",
    "artifact",
    "glossary",
]


def rendered(data: Path, folder: Path, policy: Path | None = None) -> Path:
    """The site of a review of `data` under the project's policy, or another."""
    review = reviews.compute(reviews.request(data=str(data), policy=policy))
    finished = folder / "review"
    reviews.save(review, finished)
    draw(review, finished)
    render_site(PROJECT, finished, folder / "site", engine="embedded")
    return folder / "site"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return rendered(write(generate("tiny", None, 1), folder / "data", "csv"), folder)


def test_the_site_verifies_with_every_file_and_carries_its_schema(tiny: Path) -> None:
    artifact = tiny / "decision_artifact.json"
    found = verify(artifact)
    assert [part.name for part in found.parts] == ["schema and digests", "site"]
    assert found.agrees
    schema = json.loads((tiny / "decision_artifact.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(artifact.read_text()))
    named = {
        one["name"] for one in json.loads((tiny / "decision.intoto.json").read_text())["subject"]
    }
    files = {p.relative_to(tiny).as_posix() for p in tiny.rglob("*") if p.is_file()}
    # Other releases have statements of their own.
    assert {n for n in files - named if not n.startswith("releases/")} == {"decision.intoto.json"}
    assert named <= files


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, under a policy that looks at the columns with hostile values, and holds one."""
    folder = tmp_path_factory.mktemp("sample")
    settings = yaml.safe_load((PROJECT / "report" / "policy.yml").read_text())
    settings["release"]["title"] = f"{SHORTCODE} {SCRIPT_SCENARIO} $x$ and $y$"
    settings["drift"]["columns"] = ["channel", "repair_strategy"]
    policy = folder / "policy.yml"
    policy.write_text(yaml.safe_dump(settings))
    return rendered(PROJECT / "data" / "sample", folder, policy)


@pytest.mark.parametrize("site", ["tiny", "sample"])
def test_the_site_has_every_page_and_no_fault(site: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(site)
    assert sorted(p.stem for p in (folder / "report").glob("*.html")) == sorted(PAGES)
    assert check_site(folder) == []
    assert len(PdfReader(folder / "review.pdf").pages) >= len(PAGES)


def test_hostile_values_are_text_on_the_site_and_in_the_pdf(sample: Path) -> None:
    pages = {name: (sample / "report" / f"{name}.html").read_text() for name in PAGES}
    pdf = "\n".join(page.extract_text() for page in PdfReader(sample / "review.pdf").pages)
    shown = {name: html.unescape(page) for name, page in pages.items()}
    for value in (SHORTCODE, SCRIPT_SCENARIO, "$x$ and $y$"):
        assert value in shown["index"]
    assert SHORTCODE in pdf
    # The values of a drifted column, in its figure's alternative text.
    assert SCRIPT_REPAIR in shown["drift"]
    assert ANSI.replace("\x1b", "\\u001b") in shown["drift"]
    for text in (*pages.values(), pdf):
        content = text[text.find("<main") :] if "<main" in text else text
        assert not re.search(rf"(?<![\w/]){re.escape(HOME)}(?!\w)", content)
        assert not {"\x1b", "\u202e"} & set(content)
        assert "<script>alert" not in content or text is pdf


def test_the_decision_is_the_first_thing_read(sample: Path) -> None:
    page = (sample / "report" / "index.html").read_text()
    body = page[page.index("<main") :]
    assert body.index("rr-outcome-block") < body.index("What to do next") < body.index("All checks")
    first = PdfReader(sample / "review.pdf").pages[0].extract_text()
    assert "Do not ship" in first


def test_each_page_has_at_most_three_cells_and_no_front_matter() -> None:
    for name in PAGES:
        text = (PROJECT / "report" / f"{name}.qmd").read_text()
        assert text.startswith("# ")
        assert text.count("```{python}") <= 3
        assert not re.search(r"@(?:fig|tbl|sec)-|(?<!`)`\{python\}", text)
