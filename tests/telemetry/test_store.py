"""Encoded telemetry is read again where nothing has changed, and never where something has."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import contract as contracts
from analysis import review as reviews
from analysis.contract import INTERACTIONS
from analysis.progress import Progress
from analysis.sample import generate, write
from analysis.telemetry import open_telemetry
from analysis.telemetry import store as stores

ROOT = Path(__file__).resolve().parents[2]
KNOWN = "the telemetry is known: its encoded copy is read"


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some telemetry, with two columns that the contract does not declare."""
    data = write(generate("regressed", 4000, 3), tmp_path_factory.mktemp("made") / "data", "csv")
    path = data / f"{INTERACTIONS}.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    lines = [f"{head},colour,shade"]
    lines += [f"{r},{('red', 'blue')[i % 2]},{i % 7}" for i, r in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data


@pytest.fixture
def project(tmp_path: Path, tables: Path) -> Path:
    root = tmp_path / "project"
    (root / "report").mkdir(parents=True)
    shutil.copytree(tables, root / "telemetry")
    return root


def requested(project: Path, **changes: object) -> reviews.Request:
    """What is to be reviewed under a policy with these changes."""
    options = {name: changes.pop(name, None) for name in ("as_of", "contract")}
    policy = yaml.safe_load((ROOT / "report" / "policy.yml").read_text(encoding="utf-8"))
    policy.update({"data": "telemetry", "release": {"id": "r1"}, **changes})
    path = project / "report" / "policy.yml"
    path.write_text(yaml.safe_dump(policy), encoding="utf-8")
    return reviews.request(project=project, **options)  # type: ignore[arg-type]


def opened(project: Path, *, kept: bool = True, **changes: object) -> tuple[str, bool]:
    """All that views may see of the telemetry, and whether the encoded copy was read."""
    wanted = requested(project, **changes)
    root, inputs = project / ".cache" / "encoded", reviews.digest_inputs(wanted.data)
    notes = Notes()
    telemetry = open_telemetry(
        wanted.data,
        contracts.load(wanted.contract_path),
        wanted.loaded.policy,
        as_of=wanted.as_of,
        store=reviews._store(wanted, root, inputs) if kept else None,
        progress=notes,
    )
    try:
        rows = telemetry.engine.frame("SELECT * FROM fact ORDER BY interaction_id").to_csv()
        ids = telemetry.engine.frame("SELECT * FROM cluster_ids ORDER BY code").to_csv()
        seen = (telemetry.windows, telemetry.cluster, telemetry.columns, telemetry.types,
                telemetry.missing, telemetry.inputs, telemetry.validation, telemetry.warnings)  # fmt: skip
    finally:
        telemetry.close()
    return f"{rows}{ids}{seen}", KNOWN in notes.texts


def reviewed(project: Path, *, kept: bool = True, **changes: object) -> tuple[bytes, bool]:
    """The artifact, and whether the encoded copy was read."""
    wanted, notes = requested(project, **changes), Notes()
    if not kept:
        return artifacts.canonical(reviews.compute(wanted).body), False
    place = reviews.cached(wanted, None, project, notes)
    body = artifacts.canonical(artifacts.read(place / artifacts.FILE_NAME))
    shutil.rmtree(project / ".cache" / "review")
    return body, KNOWN in notes.texts


def encoded(project: Path) -> list[Path]:
    """The places that are kept."""
    return sorted((project / ".cache" / "encoded").iterdir())


def policies(project: Path) -> dict[str, dict[str, object]]:
    """Changes of windows and limits, all of which the same encoded copy serves."""
    with duckdb.connect() as con:
        newest = con.sql(
            f"SELECT epoch(max(timestamp_utc)) FROM '{project}/telemetry/{INTERACTIONS}.csv'"
        ).fetchall()[0][0]
    end = datetime.datetime.fromtimestamp(newest, datetime.UTC).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None
    )
    back: Callable[[int], str] = lambda n: (end - datetime.timedelta(days=n)).isoformat()  # noqa: E731
    base = yaml.safe_load((ROOT / "report" / "policy.yml").read_text(encoding="utf-8"))
    slos = [{**base["slos"][0], "target": 0.9}, *base["slos"][1:]]
    return {
        "another release": {"release": {"id": "r2", "title": "Second"}},
        "exclude": {
            "windows": {
                "candidate": {"days": 14},
                "baseline": {"days": 28},
                "exclude": [{"start": back(3), "end": back(2), "reason": "an incident"}],
            }
        },
        "shorter": {"windows": {"candidate": {"days": 7}, "baseline": {"days": 21}}},
        "a first release": {"windows": {"candidate": {"days": 14}, "baseline": "none"}},
        "sessions": {"cluster": "session"},
        "other targets": {"slos": slos},
        "as of": {"as_of": end.replace(tzinfo=datetime.UTC) - datetime.timedelta(days=3)},
        "another severity": {"gate": {"severity": {"health.cost_usd": "block"}}},
    }


def test_windows_and_limits_change_and_the_copy_serves_them_alike(project: Path) -> None:
    _, known = opened(project)
    assert not known
    for name, changes in policies(project).items():
        served, known = opened(project, **changes)
        assert known, name
        assert served == opened(project, kept=False, **changes)[0], name
    assert len(encoded(project)) == 1


def same_bytes(project: Path, names: Sequence[str] | None) -> None:
    """Reviews from the copy and without it agree."""
    opened(project)
    found = policies(project)
    for name in names or found:
        served, known = reviewed(project, **found[name])
        assert known, name
        assert served == reviewed(project, kept=False, **found[name])[0], name


def test_a_review_of_the_copy_has_the_same_bytes(project: Path) -> None:
    same_bytes(project, ["exclude"])


@pytest.mark.simulate
def test_every_review_of_the_copy_has_the_same_bytes(project: Path) -> None:
    same_bytes(project, None)


def with_another_file(project: Path) -> dict[str, object]:
    path = project / "telemetry" / f"{INTERACTIONS}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",red,", ",green,"), encoding="utf-8")
    return {}


def with_a_contract(project: Path) -> dict[str, object]:
    path = project / "own.yml"
    path.write_text((ROOT / "data" / "contract.yml").read_text(encoding="utf-8") + "\n# mine\n")
    return {"contract": path}


OTHERS: dict[str, Callable[[Path], dict[str, object]]] = {
    "another file": with_another_file,
    "another contract": with_a_contract,
    "a column that nobody declared": lambda _: {"dimensions": ["model_name", "colour"]},
    "another cap on what is missing": lambda _: {"missing": {"max_rate": 0.2}},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_what_the_copy_depends_on_is_read_again(
    project: Path, change: Callable[[Path], dict[str, object]]
) -> None:
    opened(project)
    changes = change(project)
    body, known = opened(project, **changes)
    assert not known
    assert body == opened(project, kept=False, **changes)[0]


def test_policies_that_name_columns_in_turn_share_a_copy_in_the_end(project: Path) -> None:
    """Where what validation looks at stays: a title of an exclusion may name a column as well."""
    store = stores.Store(project / "root", "k", frozenset())
    (project / "root" / "k").mkdir(parents=True)
    (project / "root" / "k" / "told.json").write_text('{"encoded": ["a", "colour"]}')
    assert store.with_known(["a", "shade"], ["a", "b", "colour", "shade"]) == (
        "a",
        "colour",
        "shade",
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def of_another(path: Path) -> None:
    """A file of the same kind with nothing in it."""
    path.unlink()
    duckdb.connect(str(path)).close()


DAMAGED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file cut short": ("encoded.duckdb", cut),
    "one bit": ("encoded.duckdb", flip),
    "another file": ("encoded.duckdb", of_another),
    "garbage": ("encoded.duckdb", lambda p: p.write_bytes(b"garbage" * 999)),
    "no file": ("encoded.duckdb", Path.unlink),
    "half a story": ("told.json", cut),
    "another story": ("told.json", lambda p: p.write_text("[1]")),
    "a story without its end": ("told.json", lambda p: p.write_text("{}")),
    "no story": ("told.json", Path.unlink),
}


@pytest.mark.parametrize(("name", "harm"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_copy_is_read_again_and_replaced(
    project: Path, name: str, harm: Callable[[Path], object]
) -> None:
    first, _ = opened(project)
    (place,) = encoded(project)
    harm(place / name)
    assert opened(project) == (first, False)
    assert encoded(project) == [place]
    assert opened(project) == (first, True)


def test_a_copy_of_another_version_of_the_engine_is_read_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest agrees, and the engine refuses it."""
    first, _ = opened(project)
    (place,) = encoded(project)
    raw = bytearray((place / "encoded.duckdb").read_bytes())
    raw[8:20] = b"DUCK" + (9999).to_bytes(8, "little")
    (place / "encoded.duckdb").write_bytes(raw)
    told = json.loads((place / "told.json").read_text())
    told["sha256"] = stores.sha256(place / "encoded.duckdb")
    (place / "told.json").write_text(json.dumps(told))
    assert opened(project) == (first, False)


def test_those_used_last_are_kept_by_number_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_BYTES", 100)
    for name, size, age in (("a", 40, 5), ("b", 40, 1), ("c", 40, 3), ("d", 10, 2), ("e", 1, 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "encoded.duckdb").write_bytes(b"x" * size)
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    stores.Store(tmp_path, "b", frozenset())._tidy()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c", "d"]
    monkeypatch.setattr(stores, "MAX_BYTES", 60)
    stores.Store(tmp_path, "b", frozenset())._tidy()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "d"]


def test_one_that_is_larger_than_all_that_may_be_kept_is_used_and_not_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = opened(project)
    shutil.rmtree(project / ".cache")
    monkeypatch.setattr(stores, "MAX_BYTES", 1000)
    assert opened(project) == (first, False)
    assert encoded(project) == []


BOTH = """
import sys
from pathlib import Path
from analysis import review as reviews
project = Path(sys.argv[1])
wanted = reviews.request(project=project, release_id=sys.argv[2])
print(reviews.cached(wanted, None, project))
"""


def test_two_that_review_the_same_input_at_once_both_succeed(project: Path) -> None:
    opened(project)
    shutil.rmtree(project / ".cache")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BOTH, str(project), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in ("r1", "r2")
    ]
    told = [process.communicate(timeout=240) for process in running]
    assert [p.returncode for p in running] == [0, 0], told
    for out, _ in told:
        assert artifacts.verify_file(Path(out.strip()) / artifacts.FILE_NAME) == []
    assert len(encoded(project)) == 1
    assert list((project / ".cache").rglob(".building-*")) == []
