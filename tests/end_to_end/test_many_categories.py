"""Columns in which every row has a value of its own: a review ends, and what it writes stays small."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pypdf import PdfReader

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS
from analysis.present import draw
from analysis.render import render_site
from analysis.render.site_check import MAX_PAGE_BYTES, check_site
from analysis.review import UNCHANGED
from analysis.sample import generate
from analysis.telemetry.opening import KNOWN
from tests.end_to_end.hostile import PAYLOADS
from tests.end_to_end.promises import broken
from tests.end_to_end.reading import PAGES, hidden, read

N = 20_000
UNDECLARED = "colour of the =user"
COLUMNS = ("region", "model_name", "account_tier", "failure_type", UNDECLARED)
MAX_ARTIFACT_BYTES = 1_000_000
MAX_TABLE_BYTES = 2_000_000
MAX_FIGURE_BYTES = 300_000
MAX_PRINTED = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Telemetry whose columns `COLUMNS` have `N` values each, its policy, review and site."""
    root = tmp_path_factory.mktemp("many")
    (root / "data").mkdir()
    texts = [p.text[:60].replace("CANARY", "http://127.0.0.1:9") for p in PAYLOADS]
    for name, table in generate("regressed", N, 1).tables.items():
        frame = table.to_pandas()
        if name == INTERACTIONS:
            for place, column in enumerate(COLUMNS):
                frame[column] = [f"{texts[(k + place) % len(texts)]} {k}" for k in range(N)]
        frame.to_parquet(root / "data" / f"{name}.parquet", index=False)
    settings = yaml.safe_load((reviews.PROJECT / "report" / "policy.yml").read_text())
    settings["dimensions"].append(UNDECLARED)
    settings["drift"]["columns"] = [*COLUMNS, "channel"]
    settings["routing"]["candidates"].append(
        {"name": "elsewhere", "rules": [{"when": {"use_case": "coding"}, "use": {
            "model_provider": "aurora", "model_name": texts[1] + " 0"}}]}
    )  # fmt: skip
    (root / "policy.yml").write_text(yaml.safe_dump(settings))
    wanted = reviews.request(data=str(root / "data"), policy=root / "policy.yml")
    finished = reviews.cached(wanted, draw, project=root)
    render_site(reviews.PROJECT, finished, root / "site", engine="embedded")
    return root


def test_the_artifact_stays_small_and_keeps_every_promise(folder: Path) -> None:
    path = folder / "site" / artifacts.FILE_NAME
    assert path.stat().st_size < MAX_ARTIFACT_BYTES
    body = artifacts.read(path)
    assert broken(body) == []
    drivers = body["views"]["budget"]["drivers"]
    assert sum(p["nano_usd_days"] for p in drivers["by_slice"]) == drivers["change_nano_usd_days"]


def test_columns_that_are_left_out_are_named(folder: Path) -> None:
    text = read((folder / "site" / "report" / "hotspots.html").read_text()).text
    for column in ("region", "model_name", UNDECLARED):
        assert column in text


def test_pages_and_figures_stay_small(folder: Path) -> None:
    assert check_site(folder / "site") == []
    for name in PAGES:
        path = folder / "site" / "report" / f"{name}.html"
        assert path.stat().st_size < MAX_PAGE_BYTES
        images = read(path.read_text()).images
        assert all(len(base64.b64decode(image)) < MAX_FIGURE_BYTES for image in images)
    assert len(PdfReader(folder / "site" / "review.pdf").pages) < 60


def test_tables_stay_small_and_visible(folder: Path) -> None:
    for path in (folder / "site" / "tables").iterdir():
        assert path.stat().st_size < MAX_TABLE_BYTES, path.name
        assert hidden(path.read_text()) == set()


def test_terminals_get_few_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PROJECT", folder)
    data = str(folder / "data")
    assert main(["validate", "--data", data]) == 0
    assert main(["review", "--data", data, "--policy", str(folder / "policy.yml")]) == 0
    main(["gate", str(folder / "site" / artifacts.FILE_NAME)])
    out, err = capsys.readouterr()
    assert len(out) < MAX_PRINTED
    assert hidden(out) == set()
    assert err in ("", f"{KNOWN}\n", f"{UNCHANGED}\n")


def test_violations_in_every_row_are_told_in_one_line_each(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / "data").iterdir():
        frame = pd.read_parquet(path)
        if path.stem == INTERACTIONS:
            frame["latency_ms"] = frame["region"]
            frame["session_id"] = frame["model_name"]
        frame.to_parquet(tmp_path / path.name, index=False)
    assert main(["validate", "--data", str(tmp_path), "--format", "json"]) == 1
    out = capsys.readouterr().out
    assert len(out) < MAX_PRINTED
    assert max(v["n_rows"] for v in json.loads(out)["violations"]) == N
