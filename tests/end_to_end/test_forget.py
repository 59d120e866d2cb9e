"""`forget`: what was asked to go is nowhere any more, and what is left is sound."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis.sample import generate, write
from tests.end_to_end.children import Place, content

TABLES = [f"llm_system_{name}" for name in ("interactions", "sessions_summary", "users_summary")]


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("telemetry")
    made = generate("tiny", 1_500, 1)
    return {kind: write(made, folder / kind, kind) for kind in ("csv", "csv.gz", "parquet")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def frames(data: Path) -> dict[str, pd.DataFrame]:
    out = {}
    for table in TABLES:
        (path,) = data.glob(f"{table}.*")
        out[table] = (
            pd.read_parquet(path).astype("string")
            if path.suffix == ".parquet"
            else pd.read_csv(path, dtype="string")
        )
    return out


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name, held in content(folder).items():
        yield name, gzip.decompress(held) if name.endswith(".gz") else held


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_person_leaves_the_tables_the_caches_and_the_site(
    telemetry: dict[str, Path], place: Place, kind: str
) -> None:
    data = shutil.copytree(telemetry[kind], place.project / "data")
    before = frames(data)
    rows = before[TABLES[0]]
    user = rows["user_id"].value_counts().index[0]
    own = rows[rows["user_id"] == user]
    assert place.run("review", "--data", data)[0] == 0
    site = place.project / "_site"
    (site / "tables").mkdir(parents=True)
    for name in ("decision_artifact.json", "tables/triage_actions.csv"):
        (site / name).write_text(str(user))
    code, out, _ = place.run("forget", user, "--data", data)
    assert code == 0
    assert f"{len(own):,} removed" in out
    after = frames(data)
    for table, frame in before.items():
        key = "user_id" if "user_id" in frame else "session_id"
        gone = frame[key].isin([user, *own["session_id"]])
        assert gone.any(), table
        pd.testing.assert_frame_equal(after[table], frame[~gone].reset_index(drop=True))
    assert not site.exists()
    for folder in (data, place.project / ".cache"):
        for name, held in texts(folder):
            for secret in (user, *own["interaction_id"], *own["session_id"]):
                assert secret.encode() not in held, name
    assert place.run("validate", "--data", data)[0] == 0
    assert place.litter() == []


def test_rows_past_their_time_go_and_the_rest_obeys_the_contract(
    telemetry: dict[str, Path], place: Place
) -> None:
    data = shutil.copytree(telemetry["csv"], place.project / "data")
    policy = place.project / "report" / "policy.yml"
    settings = yaml.safe_load(policy.read_text())
    settings["windows"] = {"candidate": {"days": 7}, "baseline": {"days": 14}}
    policy.write_text(yaml.safe_dump(settings))
    code, _, err = place.run("forget", "--expired", "--data", data)
    assert (code, "keeps rows for ever; set retain.days" in err) == (2, True)
    policy.write_text(yaml.safe_dump({**settings, "retain": {"days": 21}}))
    before = frames(data)[TABLES[0]]
    code, out, _ = place.run("forget", "--expired", "--data", data)
    assert code == 0
    assert "with totals emptied" in out
    after = frames(data)[TABLES[0]]
    limit = pd.Timestamp(before["timestamp_utc"].max()).normalize() - pd.Timedelta(days=20)
    last = pd.to_datetime(before["timestamp_utc"]).groupby(before["session_id"]).max()
    assert 0 < len(after) < len(before)
    assert set(after["session_id"]) == set(last[last >= limit].index)
    code, out, err = place.run("validate", "--data", data)
    assert code == 0, out
    code, out, _ = place.run("forget", "--expired", "--data", data)
    assert [line.split(": ")[1] for line in out.splitlines()[:3]] == ["0 removed"] * 3


def test_a_quarantine_is_forgotten_from_too(telemetry: dict[str, Path], place: Place) -> None:
    data = shutil.copytree(telemetry["csv"], place.project / "data")
    path = data / f"{TABLES[0]}.csv"
    rows = pd.read_csv(path, dtype="string")
    user = rows["user_id"][0]
    rows.loc[0, "latency_ms"] = "-5"
    rows.to_csv(path, index=False)
    aside = place.project / "aside"
    assert place.run("validate", "--data", data, "--quarantine", aside)[0] == 1
    assert user in (aside / f"{TABLES[0]}.csv").read_text()
    code, out, _ = place.run("forget", user, "--data", data, "--quarantine", aside)
    assert code == 0
    assert f"aside/{TABLES[0]}: 1 removed" in out
    assert user not in (aside / f"{TABLES[0]}.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give the users to forget"),
        (["u1", "--expired"], "and not both"),
        (["u1", "--as-of", "2026-01-01"], "counts only with --expired"),
        (["u1", "--data", "postgres://u:secret@host/db"], "delete the rows in the engine"),
        (["u1", "--data", "nowhere"], "no such directory"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    place: Place, telemetry: dict[str, Path], arguments: list[str], why: str
) -> None:
    code, out, err = place.run("forget", "--data", telemetry["csv"], *arguments)
    assert (code, out) == (2, "")
    assert why in err
    assert "secret" not in err
    assert len(err.splitlines()) == 1


def test_tables_that_are_not_there_stop_it_before_anything_goes(
    place: Place, telemetry: dict[str, Path]
) -> None:
    data = place.project / "data"
    data.mkdir()
    shutil.copy(telemetry["csv"] / f"{TABLES[0]}.csv", data)
    before = content(data)
    code, _, err = place.run("forget", "u1", "--data", data)
    assert code == 1
    assert TABLES[1] in err
    assert TABLES[2] in err
    assert content(data) == before


def test_ids_are_read_from_stdin_and_shown_nowhere(
    place: Place, telemetry: dict[str, Path]
) -> None:
    data = shutil.copytree(telemetry["csv"], place.project / "data")
    users = frames(data)[TABLES[2]]["user_id"][:2]
    code, out, err = place.run("forget", "-", "--data", data, given="\n".join(users) + "\n")
    assert code == 0, err
    assert not set(users) & set(frames(data)[TABLES[2]]["user_id"])
    assert not any(user in out + err for user in users)
