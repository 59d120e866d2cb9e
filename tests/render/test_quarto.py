"""Quarto: found, run on a copy of the project, and completed by the hooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import review as reviews
from analysis.attestation import site_problems
from analysis.errors import RenderError
from analysis.render import render_site
from analysis.render.quarto import explain_absence, find
from analysis.sample import generate, write

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "analysis" / "render" / "hooks"

# Stands in for the binary: shows how it was called, and renders as the test asks.
PROGRAM = """#!{python}
import json, os, pathlib, sys
if "--version" in sys.argv:
    print("1.9.1"); sys.exit(0)
keys = ("RELEASE_REVIEW_DIR", "QUARTO_PYTHON", "PYTHONPATH")
seen = {{"cwd": os.getcwd(), "args": sys.argv[1:], **{{key: os.environ[key] for key in keys}}}}
pathlib.Path({record!r}).write_text(json.dumps(seen))
print("[ 1/3] report/index.qmd")
site = pathlib.Path("_site/report"); site.mkdir(parents=True)
(site / "half.html").write_text("half a site")
print("ERROR: a cell failed: no such view", file=sys.stderr)
sys.exit({code})
"""


def test_quarto_is_asked_for_by_name_and_its_absence_is_explained(
    project: Path, review_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find() is None
    with pytest.raises(RenderError, match=r"no `quarto` on PATH.*--engine embedded"):
        render_site(project, review_dir, engine="quarto")


@pytest.mark.parametrize(
    ("version", "usable"),
    [("1.9.12", True), ("1.10.0", True), ("99.9.9", True), ("1.8.27", False), ("broken", False)],
)
def test_a_quarto_is_used_from_the_version_that_the_pages_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    program = tmp_path / "quarto"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = find()
    assert (found is not None) is usable
    if found:
        assert found.version == version


def stand_in(folder: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program called quarto first on PATH; returns where it records its call."""
    record = folder / "call.json"
    program = folder / "quarto"
    program.write_text(PROGRAM.format(python=sys.executable, record=str(record), code=code))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return record


def test_quarto_runs_on_a_copy_with_the_review_and_this_python(
    project: Path, review_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = stand_in(tmp_path, 0, monkeypatch)
    with pytest.raises(RenderError, match=r"half\.html: no title"):
        render_site(project, review_dir, engine="auto")
    call = json.loads(record.read_text())
    assert call["args"][0] == "render"
    assert Path(call["cwd"]) != project
    assert call["RELEASE_REVIEW_DIR"] == str(review_dir)
    assert call["QUARTO_PYTHON"] == sys.executable
    assert call["PYTHONPATH"].split(os.pathsep)[:2] == [str(project), str(ROOT)]
    assert not (project / "_site").exists()


def test_a_failing_quarto_is_reported_in_its_own_words_and_publishes_nothing(
    project: Path, review_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, 1, monkeypatch)
    steps: list[str] = []
    with pytest.raises(RenderError, match=r"ended with 1:\n(?s:.*)no such view"):
        render_site(project, review_dir, engine="quarto", report=steps.append)
    assert "page 1/3: report/index.qmd" in steps
    assert not (project / "_site").exists()


@pytest.mark.parametrize(("said", "calls"), [("error: PDF/UA-1 error: no text", 2), ("no view", 1)])
def test_a_pdf_that_may_not_be_pdf_ua_is_made_once_more_without(
    project: Path,
    review_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    calls: int,
) -> None:
    record = tmp_path / "calls"
    program = tmp_path / "quarto"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 1.9.1 && exit 0\n'
        f'echo "standard: $QUARTO_PDF_STANDARD" >> {record}; echo "{said}"; exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("QUARTO_PDF_STANDARD", raising=False)
    with pytest.raises(RenderError, match="quarto render ended with 1"):
        render_site(project, review_dir, engine="quarto")
    assert record.read_text().splitlines() == ["standard: ua-1", "standard: "][:calls]


def run_hook(name: str, project: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("QUARTO_")}
    clean.pop("RELEASE_REVIEW_DIR", None)
    return subprocess.run(
        [sys.executable, str(HOOKS / name)],
        cwd=project,
        env={**clean, "QUARTO_PROJECT_DIR": str(project), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_before_a_render_a_review_that_is_handed_over_must_be_there(
    project: Path, review_dir: Path, tmp_path: Path
) -> None:
    done = run_hook("pre_render.py", project, RELEASE_REVIEW_DIR=str(review_dir))
    assert (done.returncode, done.stderr) == (0, "")
    done = run_hook("pre_render.py", project, RELEASE_REVIEW_DIR=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "no finished review" in done.stderr


def test_after_a_render_of_one_file_nothing_is_written(project: Path, review_dir: Path) -> None:
    done = run_hook("post_render.py", project, RELEASE_REVIEW_DIR=str(review_dir))
    assert done.returncode == 0
    assert not (project / "_site").exists()


def test_after_a_full_render_the_site_is_completed_and_its_faults_stop_the_build(
    project: Path, review_dir: Path
) -> None:
    report = project / "_site" / "report"
    report.mkdir(parents=True)
    page = "<html><main>{{&lt; broken &gt;}} <a href='\x1b[2J.html'>x</a></main></html>"
    (report / "index.html").write_text(page)
    (report / "review.pdf").write_bytes(b"no PDF")
    (report / "review.html").write_text("left over")
    done = run_hook(
        "post_render.py",
        project,
        RELEASE_REVIEW_DIR=str(review_dir),
        QUARTO_PROJECT_RENDER_ALL="1",
        QUARTO_PROJECT_OUTPUT_DIR=str(project / "_site"),
    )
    assert done.returncode == 1
    assert "report/index.html: unresolved in the text" in done.stderr
    assert "review.pdf: cannot be read" in done.stderr
    assert "broken link: \\u001b[2J.html" in done.stderr
    site = project / "_site"
    assert (site / "decision_artifact.json").is_file()
    assert (site / "tables" / "hotspots.csv").is_file()
    assert "report/index.html" in (site / "index.html").read_text()
    assert not (report / "review.html").exists()
    assert site_problems(site, json.loads((site / "decision_artifact.json").read_text())) == []


@pytest.fixture
def real_review(tmp_path: Path) -> Path:
    """A computed review: the hook verifies its artifact in a process of its own."""
    data = write(generate("tiny", None, 1), tmp_path / "data", "csv")
    wanted = reviews.request(data=str(data), policy=ROOT / "report" / "policy.yml")
    return reviews.cached(wanted, None, project=tmp_path / "reviewed")


@pytest.mark.skipif(find() is None, reason=explain_absence())
def test_quarto_and_the_embedded_engine_make_the_same_site(
    project: Path, real_review: Path, tmp_path: Path
) -> None:
    by_quarto, embedded = tmp_path / "quarto", tmp_path / "embedded"
    assert render_site(project, real_review, by_quarto, engine="quarto").engine == "quarto"
    render_site(project, real_review, embedded, engine="embedded")
    for site in (by_quarto, embedded):
        page = (site / "report" / "health.html").read_text()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert f"rose in {os.environ.get('HOME', '/root')}" not in page
        assert (site / "review.pdf").stat().st_size > 20_000
        assert "url=report/index.html" in (site / "index.html").read_text()
