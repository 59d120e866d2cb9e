"""A sample is written whole or not at all, with the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import in_place
from analysis.errors import UsageError
from analysis.sample import FORMATS, generate, hostile, write, writing

TABLES = (
    "llm_system_interactions",
    "llm_system_sessions_summary",
    "llm_system_users_summary",
)
TEXT = {"keep_default_na": False, "na_values": [""], "dtype": str}


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write(generate("regressed", 700, seed), tmp_path / name, form)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert set(digests(tmp_path / "a").values()).isdisjoint(digests(tmp_path / "c").values())
    files = {*(f"{t}.{form}" for t in TABLES), "truth.json"}
    assert set(digests(tmp_path / "a")) == files


def test_every_format_holds_the_same_values(tmp_path: Path) -> None:
    made = generate("regressed", 3_000, 2)
    for form in FORMATS:
        write(made, tmp_path / form, form)
    for table in TABLES:
        plain = pd.read_csv(tmp_path / "csv" / f"{table}.csv", **TEXT)
        packed = pd.read_csv(tmp_path / "csv.gz" / f"{table}.csv.gz", **TEXT)
        pd.testing.assert_frame_equal(plain, packed)
        parquet = pd.read_parquet(tmp_path / "parquet" / f"{table}.parquet")
        assert list(parquet.columns) == list(plain.columns)
        for column in plain.columns:
            text, value = plain[column], parquet[column]
            if pd.api.types.is_float_dtype(value) or pd.api.types.is_integer_dtype(value):
                assert (text.dropna().astype(float) == value.dropna().astype(float)).all(), column
            elif pd.api.types.is_datetime64_any_dtype(value):
                assert (pd.to_datetime(text.dropna()) == value.dropna()).all(), column
            elif column.endswith("_flag") or column in ("is_failure", "user_reported_issue"):
                assert (text.dropna() == value.dropna().astype(str).str.lower()).all(), column
            else:
                assert (text.dropna() == value.dropna().astype(str)).all(), column
            assert text.isna().equals(value.isna()), column


def test_the_text_of_a_csv_is_as_the_contract_reads_it(tmp_path: Path) -> None:
    write(generate("regressed", 500, 1), tmp_path / "out", "csv")
    rows = pd.read_csv(tmp_path / "out" / f"{TABLES[0]}.csv", **TEXT)
    assert rows.timestamp_utc.str.fullmatch(r"2026-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    assert rows.cost_usd.str.fullmatch(r"\d+\.\d{6}").all()
    assert set(rows.is_failure.dropna()) == {"true", "false"}
    users = pd.read_csv(tmp_path / "out" / f"{TABLES[2]}.csv", **TEXT)
    assert users.user_total_cost_usd.str.fullmatch(r"\d+\.\d{6}").all()


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_values_arrive_unchanged(tmp_path: Path, form: str) -> None:
    write(generate("regressed", 20_000, 1), tmp_path / "out", form)
    path = tmp_path / "out" / f"{TABLES[0]}.{form}"
    rows = pd.read_parquet(path) if form == "parquet" else pd.read_csv(path, **TEXT)
    for planted in hostile.HOSTILE:
        assert (rows[planted.column] == planted.value).any(), planted


def test_the_committed_sample_is_small(tmp_path: Path) -> None:
    for form in ("csv.gz", "parquet"):
        folder = write(generate("regressed", 20_000, 1), tmp_path / form, form)
        assert sum(p.stat().st_size for p in folder.iterdir()) < 4_000_000


def test_truth_is_written_beside_the_tables(tmp_path: Path) -> None:
    made = generate("regressed", 2_000, 3)
    folder = write(made, tmp_path / "deep" / "er" / "out")
    assert json.loads((folder / "truth.json").read_text()) == made.truth


def test_an_earlier_sample_is_replaced_whole_whatever_its_format(tmp_path: Path) -> None:
    write(generate("tiny", 100, 1), tmp_path / "out", "csv")
    write(generate("tiny", 100, 2), tmp_path / "out", "parquet")
    assert sorted(digests(tmp_path / "out")) == sorted(
        [*(f"{t}.parquet" for t in TABLES), "truth.json"]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_earlier_sample_is_replaced_also_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "_exchange", lambda one, other: False)
    write(generate("tiny", 100, 1), tmp_path / "out")
    before = digests(tmp_path / "out")
    write(generate("tiny", 100, 2), tmp_path / "out")
    assert digests(tmp_path / "out") != before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        write(generate("tiny", 50, 1), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write(generate("tiny", 50, 1), tmp_path / "out")
    with pytest.raises(UsageError, match="cannot write the sample"):
        write(generate("tiny", 50, 1), tmp_path / "out" / "below")


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"csv, csv\.gz, parquet"):
        write(generate("tiny", 50, 1), tmp_path / "out", "xlsx")


def test_a_failure_halfway_leaves_the_earlier_sample_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(generate("tiny", 50, 1), tmp_path / "out")
    before = digests(tmp_path / "out")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "put_in_place", full)
    with pytest.raises(UsageError, match="No space left"):
        write(generate("tiny", 50, 2), tmp_path / "out")
    assert digests(tmp_path / "out") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
