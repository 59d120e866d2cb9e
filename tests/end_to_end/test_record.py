"""`record` with the project's own pages: what a recorded release holds, and what a render publishes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from pypdf import PdfReader

from analysis import artifact as artifacts
from analysis import ledger
from analysis.render.site_check import check_site
from analysis.review import PROJECT
from analysis.tables import FILES, OF_ROWS, TABLES
from tests.end_to_end.children import Place, content
from tests.end_to_end.conftest import RELEASE

SAMPLE = PROJECT / "data" / "sample"
ENGINE = ("--engine", "embedded")


@pytest.fixture(scope="module")
def entry(place: Place) -> Path:
    return place.project / ledger.RELEASES / RELEASE


def ids() -> set[str]:
    """Every id of the sample: of interactions, sessions, users, traces."""
    found: set[str] = set()
    for path in SAMPLE.glob("*.csv.gz"):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found |= {
                    v for k, v in row.items() if k.endswith("_id") and k != "release_id" and v
                }
    return found


def words(path: Path) -> set[str]:
    """Whatever in a file an id could be."""
    if path.suffix == ".pdf":
        text = "\n".join(page.extract_text() for page in PdfReader(path).pages)
        # A long word breaks over lines in a cell.
        text = f"{text} {re.sub(chr(10), '', text)}"
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
    return set(re.findall(r"[A-Za-z0-9]+", text))


def test_a_recorded_release_holds_no_row_ids_plain_or_hashed(place: Place, entry: Path) -> None:
    plain = ids()
    assert len(plain) > 40_000
    hashed = {
        h(i.encode()).hexdigest()
        for i in plain
        for h in (hashlib.sha256, hashlib.md5, hashlib.sha1)
    }
    starts = {h[:8] for h in hashed}

    def naming(path: Path) -> set[str]:
        own = words(path)
        guessed = {w for w in own if len(w) >= 16 and w[:8] in starts}
        return (own & plain) | {w for w in guessed if any(h.startswith(w) for h in hashed)}

    files = [p for p in entry.rglob("*") if p.is_file() and "site_libs" not in p.parts]
    assert {p.suffix for p in files} >= {".html", ".pdf", ".csv", ".json"}
    assert {p.name: found for p in files if (found := naming(p))} == {}
    # The published page and table of the current site do, which shows that this finds them.
    site = place.project / "_site"
    assert len(naming(site / "tables" / "triage_actions.csv")) > 100
    assert len(naming(site / "report" / "hotspots.html")) >= 5


def test_it_is_whole_and_sound(entry: Path) -> None:
    assert artifacts.verify_file(entry / artifacts.FILE_NAME) == []
    assert check_site(entry / ledger.SITE) == []
    names = {p.name for p in (entry / ledger.TABLES).iterdir()}
    assert names == {*TABLES, *FILES} - set(OF_ROWS)
    assert sorted(p.name for p in entry.iterdir()) == ["decision_artifact.json", "site", "tables"]
    for name in (*names, artifacts.FILE_NAME):
        inner = ledger.TABLES if name != artifacts.FILE_NAME else ""
        assert (entry / inner / name).read_bytes() == (
            entry / ledger.SITE / inner / name
        ).read_bytes()


def test_the_current_site_keeps_it_byte_for_byte(place: Place, entry: Path) -> None:
    site = place.project / "_site"
    assert content(site / "releases" / RELEASE) == content(entry / ledger.SITE)
    assert check_site(site) == []
    index = (site / "releases" / "index.html").read_text()
    assert f'<a href="{RELEASE}/report/index.html">{RELEASE}</a>' in index


def test_every_page_has_the_switcher_and_its_links_lead_somewhere(
    place: Place, entry: Path
) -> None:
    pages = sorted((place.project / "_site" / "report").glob("*.html"))
    assert len(pages) == 11
    for page in [*pages, *sorted((entry / ledger.SITE / "report").glob("*.html"))]:
        text = page.read_text()
        assert text.count('<nav class="rr-releases"') == 1
        assert (
            text.index("<main") < text.index('<nav class="rr-releases"') < text.index("rr-answer")
        )
    # check_site follows them; from a recorded page they lead to the index above.
    recorded = (entry / ledger.SITE / "report" / "health.html").read_text()
    assert 'href="../../index.html">All releases</a>' in recorded


def test_again_is_nothing_and_another_is_refused(place: Place, entry: Path, tmp_path: Path) -> None:
    before = content(entry)
    code, out, _ = place.run("record", "_site/decision_artifact.json", *ENGINE)
    assert code == 0
    assert "is recorded already" in out
    body = json.loads((entry / artifacts.FILE_NAME).read_text())
    body["release"]["title"] = "another"
    body["digest"] = artifacts.digest(body)
    other = tmp_path / "other.json"
    artifacts.write(body, other)
    code, _, err = place.run("record", other, *ENGINE)
    assert (code, "another artifact" in err) == (2, True)
    assert content(entry) == before
    assert place.litter() == []


def test_what_does_not_verify_or_has_no_pages_is_refused(place: Place, tmp_path: Path) -> None:
    body = artifacts.read(place.project / "_site" / artifacts.FILE_NAME)
    changed = tmp_path / "changed.json"
    changed.write_bytes(artifacts.file_bytes({**body, "release": {**body["release"], "id": "r9"}}))
    code, _, err = place.run("record", changed)
    assert code == 1
    assert "does not verify" in err
    body["release"]["id"] = "r9"
    body["digest"] = artifacts.digest(body)
    artifacts.write(body, changed)
    code, _, err = place.run("record", changed)
    assert code == 2
    assert "run `python -m analysis render`" in err
    assert [p.name for p in (place.project / ledger.RELEASES).iterdir()] == [RELEASE]
    assert place.run("record", tmp_path / "none.json")[0] == 2


def test_two_commands_at_once_leave_one_whole_release(place: Place, tmp_path: Path) -> None:
    given = place.project / "_site" / artifacts.FILE_NAME
    both = [place.start("record", given, "--ledger", tmp_path / "l", *ENGINE) for _ in range(2)]
    said = sorted(p.communicate(timeout=300)[0].split(" ")[0] for p in both)
    assert said == ["recorded", "release"]
    assert [p.returncode for p in both] == [0, 0]
    assert [p.name for p in (tmp_path / "l").iterdir()] == [RELEASE]
    assert check_site(tmp_path / "l" / RELEASE / ledger.SITE) == []


def test_a_recorded_release_is_a_drift_reference_as_it_lies(place: Place, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    text = (place.project / "report" / "policy.yml").read_text()
    named = "references: [{name: before, recorded: data/releases/2026.11.2}]"
    policy.write_text(text.replace("columns: auto}", f"columns: [channel], {named}}}"))
    out = tmp_path / "out"
    code, _, err = place.run("review", "--data", SAMPLE, "--policy", policy, "--out", out)
    assert code == 0, err
    files = [i["file"] for i in artifacts.read(out / artifacts.FILE_NAME)["inputs"]]
    assert f"{ledger.RELEASES}/{RELEASE}/{artifacts.FILE_NAME}" in files


def test_a_copy_elsewhere_is_a_site_of_its_own(entry: Path, tmp_path: Path) -> None:
    """Out of the ledger its links to the other releases lead nowhere, and the check says so."""
    shutil.copytree(entry / ledger.SITE, tmp_path / "alone")
    assert {p.split(": ", 1)[1] for p in check_site(tmp_path / "alone")} == {
        "link out of the site: ../../index.html"
    }
