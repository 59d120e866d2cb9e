"""The share-safe site of data/sample, rendered for the public: scanned whole, and nothing found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.present import draw
from analysis.render import render_site
from analysis.render.scan import Known, scan_site
from analysis.verification import verify

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "data" / "sample"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publishing it is the scan's verdict: a finding would have stopped it."""
    folder = tmp_path_factory.mktemp("share-safe")
    held = yaml.safe_load((PROJECT / "report" / "policy.yml").read_text())
    policy = folder / "policy.yml"
    policy.write_text(yaml.safe_dump({**held, "publish": {"share_safe": True}}))
    wanted = reviews.request(data=str(SAMPLE), policy=policy)
    finished = reviews.cached(wanted, draw, project=folder)
    render_site(
        PROJECT,
        finished,
        folder / "site",
        engine="embedded",
        profile="public",
        telemetry=Known(wanted.data, wanted.contract_path),
    )
    return folder / "site"


def test_the_published_site_has_no_findings_and_verifies(site: Path) -> None:
    settings = artifacts.read(site / artifacts.FILE_NAME)["policy"]["settings"]
    assert scan_site(site, Known(SAMPLE), settings) == []
    assert verify(site / artifacts.FILE_NAME).agrees


def test_the_same_scan_finds_an_id_that_is_put_in(site: Path) -> None:
    ids = pd.read_csv(SAMPLE / "llm_system_users_summary.csv.gz", dtype=str)["user_id"]
    page = site / "report" / "triage.html"
    before = page.read_text(encoding="utf-8")
    try:
        page.write_text(before.replace("</main>", f"<p>{ids[7]}</p></main>"), encoding="utf-8")
        assert {f.kind for f in scan_site(site, Known(SAMPLE))} == {"user id"}
    finally:
        page.write_text(before, encoding="utf-8")


def test_pages_say_for_whom_they_are_and_what_is_suppressed(site: Path) -> None:
    for page in sorted((site / "report").glob("*.html")):
        text = re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))
        assert "For the public" in text, page.name
        assert "counts below 10" in text, page.name


def test_no_day_or_hour_with_few_interactions_is_told(site: Path) -> None:
    assert (site / "tables" / "spend_by_hour.csv").read_text().count("\n") == 1
    body = json.loads((site / artifacts.FILE_NAME).read_text())
    found = [f for f in body["views"]["hotspots"]["found"] if f["detail"]]
    days = [day for f in found for day in f["detail"]["days"]]
    assert all(day["n"] >= 10 and (day["bad"] is None or day["bad"] >= 10) for day in days)
    assert {f["metric"] for f in found if f["detail"]["days"]} == {"cost"}
