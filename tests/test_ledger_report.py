"""`history` as text, JSON, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis import ledger
from analysis.__main__ import main
from analysis.ledger_history import history
from analysis.ledger_report import FORMATS
from analysis.review import Review
from analysis.sample.hostile import ANSI, FORMULA, RIGHT_TO_LEFT, SCRIPT_SCENARIO, SHORTCODE
from tests import ledgers

HOSTILE = (
    ANSI,
    FORMULA,
    RIGHT_TO_LEFT,
    SCRIPT_SCENARIO,
    SHORTCODE,
    "a|b\n| x |",
    "@octocat #1 ##[error]x",
)


def twice_as_bad(body: dict[str, Any]) -> None:
    rate = body["views"]["health"]["candidate"]["failure_rate"]
    rate.update(value=0.5, low=0.45, high=0.55)


@pytest.fixture
def place(tiny_review: Review, tmp_path: Path) -> Path:
    body = tiny_review.body
    folder = tmp_path / "releases"
    ledgers.record(folder, ledgers.artifact(body, "r1", "2026-01-05"))
    ledgers.record(folder, ledgers.artifact(body, "r2", "2026-03-02", twice_as_bad))
    ledgers.record(folder, ledgers.artifact(body, "r3", "2026-05-04"))
    return folder


def run(place: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["history", "--ledger", str(place), *argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_text_has_a_line_a_release_in_the_order_of_time(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(place, capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["release", "decision"]
    assert [row.split()[0] for row in lines if row.startswith("r") and "2026-" in row] == [
        "r1",
        "r2",
        "r3",
    ]
    (worse,) = [row for row in lines if "rose" in row]
    assert worse.strip().startswith("▲ failures rose to 50.00 %: from ")
    assert "at the release before (r1), by " in worse
    assert lines.index(worse) == 1 + next(k for k, row in enumerate(lines) if row.startswith("r2"))


def test_last_keeps_the_newest_and_what_they_are_compared_with(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(place, capsys, "--last", "2", "--format", "json")
    releases = json.loads(out)["releases"]
    assert [r["release_id"] for r in releases] == ["r2", "r3"]
    assert [x["reference"] for x in releases[0]["regressions"]] == ["r1"]


def test_json_and_csv_hold_the_same_numbers(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(place, capsys, "--format", "json")
    held = json.loads(out)
    assert held["faults"] == []
    _, table, _ = run(place, capsys, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    for release, row in zip(held["releases"], rows, strict=True):
        assert row["release"] == release["release_id"]
        for figure in release["figures"]:
            name = figure["kind"] if figure["slo"] is None else f"{figure['kind']}:{figure['slo']}"
            for part, column in (("value", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
                said = float(row[column]) if row[column] else None
                assert (
                    said == pytest.approx(figure[part])
                    if figure[part] is not None
                    else said is None
                )
    assert [row["worse"] for row in rows] == ["", "failures", ""]


def test_a_bad_entry_is_told_as_an_error_and_the_rest_is_complete(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "r2" / "decision_artifact.json"
    path.write_text(path.read_text().replace('"outcome": "', '"outcome": "not ', 1))
    code, out, err = run(place, capsys, "--quiet")
    assert code == 0
    assert "r2" not in out
    assert out.count("2026-") == 2
    assert err.startswith("error: ")
    assert "r2: " in err
    assert "does not agree with its digest" in err
    _, out, _ = run(place, capsys, "--format", "json")
    assert [f["folder"] for f in json.loads(out)["faults"]] == ["r2"]


def test_an_empty_ledger_and_one_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(tmp_path, capsys)
    assert (code, out) == (0, "no release is recorded\n")
    code, _, err = run(tmp_path / "none", capsys)
    assert (code, "no such directory" in err) == (2, True)


def test_a_report_may_go_to_a_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "history.md"
    assert run(place, capsys, "--format", "markdown", "--out", str(out))[:2] == (0, "")
    assert out.read_text().startswith("| release | decision |")


@pytest.mark.parametrize("format_", FORMATS)
def test_hostile_text_is_text(tiny_review: Review, format_: str) -> None:
    def named(body: dict[str, Any]) -> None:
        for slo in (*body["policy"]["settings"]["slos"], *body["views"]["budget"]["slos"]):
            slo["name"] = " ".join(HOSTILE) + slo["name"]
        twice_as_bad(body)

    bodies: list[Mapping[str, Any]] = [
        ledgers.artifact(tiny_review.body, name, ledgers.weeks_after("2026-01-05", 5 * k), named)
        for k, name in enumerate(HOSTILE)
    ]
    entries = tuple(ledger.Entry("x", Path("x"), body) for body in bodies)
    text = FORMATS[format_](history(ledger.Ledger(entries)))
    assert not {"\x1b", "\u202e"} & set(text)
    assert "##[" not in text
    if format_ == "markdown":
        assert "<script" not in text
        assert "@octocat" not in text
        table = [row for row in text.splitlines() if row.startswith("|")]
        assert len({row.count("|") for row in table}) == 1
        assert len(table) == 2 + len(HOSTILE)
    if format_ == "csv":
        rows = list(csv.reader(io.StringIO(text)))
        assert not any(
            cell[:1] in "=+-@" for row in rows for cell in row if cell and not _is_number(cell)
        )
        assert len(rows) == 1 + len(HOSTILE)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
