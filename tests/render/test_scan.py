"""Planted leaks are found in every kind of output, and told without what they say."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import typst

from analysis.errors import RenderError
from analysis.render import render_site
from analysis.render.scan import Known, main, refusal, scan_site
from analysis.sample import generate, write

PROSE = "my tablets make me dizzy, <b>ask</b> Dr. “Ada” & co. about the dose at night"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(generate("tiny", 600, 1), tmp_path_factory.mktemp("scan") / "data", "csv")
    path = folder / "llm_system_interactions.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame["note"] = ""
    frame.loc[0, "note"] = PROSE
    frame.to_csv(path, index=False)
    return folder


@pytest.fixture(scope="module")
def secrets(data: Path) -> dict[str, str]:
    """kind → a value of it."""
    frame = pd.read_csv(data / "llm_system_interactions.csv", dtype=str)
    return {
        "interaction id": frame["interaction_id"][3],
        "session id": frame["session_id"][3],
        "user id": frame["user_id"][3],
        "trace id": frame["trace_id"][3],
        "text of note": PROSE,
        "email address": "ada@clinic.example",
        "URL": "https://intranet.clinic.example/cases/7",
        "path": "/home/ada/prompts/intake.txt",
        "IP address": "10.20.30.40",
        "host name": "db01.clinic.internal",
    }


def escaped(text: str) -> str:
    return "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in text)


def svg(text: str) -> str:
    inner = f'<svg xmlns="http://www.w3.org/2000/svg"><text>{escaped(text)}</text></svg>'
    return base64.b64encode(inner.encode()).decode()


def pdf(site: Path, text: str) -> None:
    source = site / "x.typ"
    source.write_text(
        f"#set page(width: 40cm)\nBefore it.\n\n#{json.dumps(text, ensure_ascii=False)}"
    )
    typst.compile(str(source), output=str(site / "review.pdf"))
    source.unlink()


PLACES: dict[str, Callable[[Path, str], object]] = {
    "report/index.html": lambda site, t: (site / "report/index.html").write_text(
        f"<html>\n<body><p>see {escaped(t)}</p></body></html>"
    ),
    "report/attribute.html": lambda site, t: (site / "report/attribute.html").write_text(
        f'<img src="x.png" alt="of {escaped(t)}">'
    ),
    "report/figure.html": lambda site, t: (site / "report/figure.html").write_text(
        f'<img src="data:image/svg+xml;base64,{svg(t)}" alt="a figure">'
    ),
    "tables/hotspots.csv": lambda site, t: (site / "tables/hotspots.csv").write_text(f'a,b\n1,"{t}"\n'),
    "decision_artifact.json": lambda site, t: (site / "decision_artifact.json").write_text(
        json.dumps({"views": {"health": [{"x": t}]}})
    ),
    "decision.intoto.json": lambda site, t: (site / "decision.intoto.json").write_text(
        json.dumps({"subject": [{"name": f"tables of {t}"}]})
    ),
    "search.json": lambda site, t: (site / "search.json").write_text(json.dumps([{"text": f"so {t} is"}])),
    "review.pdf": pdf,
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with nothing to find: numbers, words and what formats name."""
    site = tmp_path / "site"
    (site / "report").mkdir(parents=True)
    (site / "tables").mkdir()
    (site / "site_libs").mkdir()
    (site / "report" / "health.html").write_text(
        '<html xmlns="http://www.w3.org/1999/xhtml"><p>Release 2026.11.2 of aurora-large: 7.40 %, '
        "see <a href='../tables/x.csv'>tables/x.csv</a> and data/contract.yml, e.g. /tables. In 3.5.1 it "
        "was gate.threshold.mail; 12:30:00 and 1/2.</p></html>"
    )
    (site / "site_libs" / "x.js").write_text("// https://getbootstrap.com by someone@example.net")
    (site / "a.json").write_text('{"$schema": "https://json-schema.org/draft/2020-12/schema"}')
    return site


def test_a_site_without_leaks_has_no_findings(site: Path, data: Path) -> None:
    assert scan_site(site, Known(data)) == []


@pytest.mark.parametrize("place", PLACES)
def test_every_kind_is_found_in_every_output(
    site: Path, data: Path, secrets: dict[str, str], place: str
) -> None:
    for kind, secret in secrets.items():
        PLACES[place](site, secret)
        found = scan_site(site, Known(data))
        assert any((f.file, f.kind) == (place, kind) for f in found), (kind, found)
        told = refusal(found)
        assert secret[:12] not in told
        assert f"{place}: {kind}" in told


def test_a_long_text_is_found_where_a_page_cuts_it(site: Path, data: Path) -> None:
    (site / "report" / "index.html").write_text(f"<p>{escaped(PROSE[:60])}…</p>")
    assert [f.kind for f in scan_site(site, Known(data))] == ["text of note"]


def test_a_file_may_be_named_after_a_secret(
    site: Path, data: Path, secrets: dict[str, str]
) -> None:
    (site / "tables" / f"{secrets['user id']}.csv").write_text("a\n1\n")
    found = scan_site(site, Known(data))
    assert [(f.kind, f.place) for f in found] == [("user id", "its name")]
    assert secrets["user id"] not in refusal(found)


def test_what_this_machine_is_called_is_found(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "build-17-blue")
    monkeypatch.setattr("getpass.getuser", lambda: "adalovelace")
    (site / "report" / "index.html").write_text(
        f"<p>made by adalovelace</p>\n<p>on build-17-blue</p>\n<p>in {tmp_path / 'review'}</p>"
    )
    kinds = {(f.kind, f.place) for f in scan_site(site, places=[tmp_path / "review"])}
    assert kinds >= {("user name", "line 1"), ("host name", "line 2"), ("path", "line 3")}


def test_what_the_policy_names_is_no_secret(site: Path, data: Path) -> None:
    (site / "report" / "index.html").write_text(f"<p>{escaped(PROSE)}</p>")
    assert scan_site(site, Known(data), settings={"release": {"title": PROSE}}) == []


def test_the_command_lists_findings_by_their_place(
    site: Path, data: Path, secrets: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(site), "--data", str(data)]) == 0
    PLACES["search.json"](site, secrets["session id"])
    assert main([str(site), "--data", str(data)]) == 1
    told = capsys.readouterr()
    assert "search.json: session id, at [0].text" in told.out
    assert secrets["session id"] not in told.out + told.err


def test_a_finding_stops_the_publication_and_leaves_what_was_there(
    project: Path, review_dir: Path, data: Path, secrets: dict[str, str]
) -> None:
    artifact = review_dir / "decision_artifact.json"
    body = {**json.loads(artifact.read_text()), "publication": {"min_cell": 10}}
    artifact.write_text(json.dumps(body))
    page = project / "report" / "health.qmd"
    clean = page.read_text()
    page.write_text(clean.replace("Some prose.", f"Some prose of {secrets['user id']}."))
    out = project / "_site"
    out.mkdir()
    (out / "index.html").write_text("before")
    with pytest.raises(RenderError, match=r"report/health\.html: user id, line") as refused:
        render_site(project, review_dir, engine="embedded", telemetry=Known(data))
    assert secrets["user id"] not in str(refused.value)
    assert [p.name for p in out.iterdir()] == ["index.html"]
    assert not [p for p in project.iterdir() if p.name.startswith("._site")]
    page.write_text(clean)
    shutil.rmtree(out)
    render_site(project, review_dir, engine="embedded", telemetry=Known(data))
    assert (out / "report" / "health.html").is_file()
