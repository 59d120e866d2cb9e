from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.errors import PolicyError, UsageError
from analysis.policy import known_check_ids, load
from analysis.progress import Progress
from analysis.review import Request, Review
from analysis.tables import FILES, TABLES

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "report" / "policy.yml"
CONTRACT = ROOT / "data" / "contract.yml"


@pytest.fixture
def project(tmp_path: Path, tiny_data: Path) -> Path:
    """A project with a policy of its own, whose data lie in it."""
    root = tmp_path / "project"
    (root / "report").mkdir(parents=True)
    (root / "report" / "policy.yml").write_text("release: {id: r1}\ndata: telemetry\n")
    shutil.copytree(tiny_data, root / "telemetry")
    shutil.copyfile(CONTRACT, root / "contract.yml")
    return root


@pytest.fixture
def wanted(project: Path) -> Request:
    return reviews.request(project=project, contract=project / "contract.yml")


class Notes(Progress):
    """Remembers the messages."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class Computed:
    """Stands for the computation: counts it, and answers with the finished review."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self.times = 0

    def __call__(self, *_: Any) -> Review:
        self.times += 1
        return self.review


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch, tiny_review: Review) -> Computed:
    stand_in = Computed(tiny_review)
    monkeypatch.setattr(reviews, "compute", stand_in)
    return stand_in


def draw(review: Review, directory: Path) -> None:
    (directory / "pages").mkdir()
    (directory / "pages" / "index.json").write_text("{}")


# ── the request ──────────────────────────────────────────────────────────────────────────


def test_the_policy_s_data_lie_relative_to_the_project(project: Path, tmp_path: Path) -> None:
    assert reviews.request(project=project).data == project / "telemetry"
    elsewhere = tmp_path / "policy.yml"
    elsewhere.write_text("data: telemetry")
    assert reviews.request(project=project, policy=elsewhere).data == project / "telemetry"


def test_the_policy_s_data_may_be_absolute(project: Path, tiny_data: Path) -> None:
    (project / "report" / "policy.yml").write_text(f"data: '{tiny_data}'")
    assert reviews.request(project=project).data == tiny_data


def test_data_of_the_command_line_come_first_and_lie_relative_to_the_working_directory(
    project: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_data.parent)
    assert reviews.request(project=project, data="data").data.resolve() == tiny_data.resolve()


@pytest.mark.parametrize("data", ["absent", "", "x" * 5000])
def test_data_that_are_not_there_are_a_matter_of_the_command_line(project: Path, data: str) -> None:
    with pytest.raises(UsageError, match="--data") as refused:
        reviews.request(project=project, data=data)
    assert not isinstance(refused.value, PolicyError)
    assert refused.value.exit_code == 2


def test_data_that_the_policy_names_and_are_not_there_are_put_down_to_the_policy(
    project: Path,
) -> None:
    shutil.rmtree(project / "telemetry")
    with pytest.raises(UsageError, match=r"policy\.yml: data: .*telemetry: no such directory"):
        reviews.request(project=project)


def test_without_any_data_the_policy_is_asked_for_them(project: Path) -> None:
    (project / "report" / "policy.yml").write_text("release: {id: a}")
    with pytest.raises(PolicyError, match="--data was not given"):
        reviews.request(project=project)


def test_the_release_of_the_command_line_replaces_the_policy_s(project: Path) -> None:
    loaded = reviews.request(project=project, release_id="r2").loaded
    assert loaded.policy.release.id == "r2"


# ── the key of the cache ─────────────────────────────────────────────────────────────────


def test_the_same_request_has_the_same_key(wanted: Request, project: Path) -> None:
    again = reviews.request(project=project, contract=project / "contract.yml")
    assert reviews.cache_key(wanted) == reviews.cache_key(again)


def test_threads_and_memory_do_not_change_the_key(wanted: Request) -> None:
    other = dataclasses.replace(wanted, threads=7, memory_limit="1GB")
    assert reviews.cache_key(wanted) == reviews.cache_key(other)


@pytest.mark.parametrize(
    "table",
    ["llm_system_interactions", "llm_system_sessions_summary", "llm_system_users_summary"],
)
def test_one_byte_of_any_table_changes_the_key(wanted: Request, table: str) -> None:
    before = reviews.cache_key(wanted)
    path = wanted.data / f"{table}.csv"
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
    assert reviews.cache_key(wanted) != before


def test_a_file_beside_the_tables_does_not_change_the_key(wanted: Request) -> None:
    before = reviews.cache_key(wanted)
    (wanted.data / "notes.txt").write_text("x")
    assert reviews.cache_key(wanted) == before


def test_a_part_more_or_another_name_changes_the_key(wanted: Request) -> None:
    keys = {reviews.cache_key(wanted)}
    path = wanted.data / "llm_system_users_summary.csv"
    path.rename(path.with_suffix(".csv.gz"))
    keys.add(reviews.cache_key(wanted))
    path.with_suffix(".csv.gz").rename(path)
    parts = wanted.data / "llm_system_users_summary"
    parts.mkdir()
    (parts / "1.parquet").write_bytes(b"x")
    keys.add(reviews.cache_key(wanted))
    assert len(keys) == 3


def test_the_policy_the_contract_and_as_of_change_the_key(wanted: Request, project: Path) -> None:
    def key(**options: Any) -> str:
        options.setdefault("contract", project / "contract.yml")
        return reviews.cache_key(reviews.request(project=project, **options))

    moment = datetime(2026, 11, 10, tzinfo=UTC)
    keys = [reviews.cache_key(wanted), key(release_id="r2"), key(as_of=moment)]
    (project / "report" / "policy.yml").write_text(
        "release: {id: r1}\ndata: telemetry\ncluster: user\n"
    )
    keys.append(key())
    (project / "report" / "policy.yml").write_text(
        "release: {id: r1}\ndata: telemetry\ncluster: user\n# why\n"
    )
    keys.append(key())
    with (project / "contract.yml").open("a") as file:
        file.write("# a remark\n")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_as_of_is_a_moment_however_it_is_written(wanted: Request) -> None:
    bare = dataclasses.replace(wanted, as_of=datetime(2026, 11, 10))
    utc = dataclasses.replace(wanted, as_of=datetime(2026, 11, 10, tzinfo=UTC))
    east = timezone(timedelta(hours=2))
    there = dataclasses.replace(wanted, as_of=datetime(2026, 11, 10, 2, tzinfo=east))
    assert reviews.cache_key(bare) == reviews.cache_key(utc) == reviews.cache_key(there)


def test_the_code_changes_the_key(
    wanted: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = reviews.cache_key(wanted)
    copy = tmp_path / "analysis"
    shutil.copytree(reviews.CODE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reviews, "CODE", copy)
    reviews._code_digest.cache_clear()
    try:
        assert reviews.cache_key(wanted) == before
        with (copy / "views" / "health.py").open("a") as file:
            file.write("# changed\n")
        reviews._code_digest.cache_clear()
        assert reviews.cache_key(wanted) != before
    finally:
        reviews._code_digest.cache_clear()


# ── the cache ────────────────────────────────────────────────────────────────────────────


def same_inputs(computed: Computed, wanted: Request) -> None:
    """The stand-in reviewed the same tables: the project's are a copy of them."""
    read = {(i["file"], i["sha256"]) for i in computed.review.body["inputs"]}
    assert read <= set(reviews.digest_inputs(wanted.data))


def test_a_second_run_loads(wanted: Request, project: Path, computed: Computed) -> None:
    same_inputs(computed, wanted)
    said = Notes()
    first = reviews.cached(wanted, None, project)
    second = reviews.cached(wanted, None, project, said)
    assert first == second
    assert computed.times == 1
    assert said.texts == ["the inputs have not changed: the finished review is used"]
    assert artifacts.verify_file(first / artifacts.FILE_NAME) == []
    assert {p.name for p in (first / "tables").iterdir()} == {*TABLES, *FILES}
    assert [p.name for p in first.parent.iterdir()] == [first.name]


def test_a_change_computes_again_and_keeps_the_other_review(
    wanted: Request, project: Path, computed: Computed
) -> None:
    first = reviews.cached(wanted, None, project)
    other = reviews.request(project=project, release_id="r2", contract=wanted.contract_path)
    second = reviews.cached(other, None, project)
    assert first != second
    assert first.is_dir()
    assert computed.times == 2


def test_pages_are_added_to_a_review_that_lacks_them(
    wanted: Request, project: Path, computed: Computed
) -> None:
    without = reviews.cached(wanted, None, project)
    assert not (without / "pages").exists()
    drawn = reviews.cached(wanted, draw, project)
    assert drawn == without
    assert (drawn / "pages" / "index.json").is_file()
    reviews.cached(wanted, draw, project)
    reviews.cached(wanted, None, project)
    assert computed.times == 2
    assert [p.name for p in drawn.parent.iterdir()] == [drawn.name]


def test_a_drawing_that_fails_leaves_nothing(
    wanted: Request, project: Path, computed: Computed
) -> None:
    def fail(review: Review, directory: Path) -> None:
        (directory / "pages").mkdir()
        raise RuntimeError("no ink")

    with pytest.raises(RuntimeError):
        reviews.cached(wanted, fail, project)
    assert list((project / ".cache" / "review").iterdir()) == []
    before = reviews.cached(wanted, None, project)
    with pytest.raises(RuntimeError):
        reviews.cached(wanted, fail, project)
    assert (before / artifacts.FILE_NAME).is_file()
    assert [p.name for p in before.parent.iterdir()] == [before.name]


@pytest.mark.parametrize("lost", ["decision_artifact.json", "tables"])
def test_a_review_of_which_a_part_is_gone_is_computed_again(
    wanted: Request, project: Path, computed: Computed, lost: str
) -> None:
    place = reviews.cached(wanted, None, project)
    path = place / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert reviews.cached(wanted, None, project) == place
    assert path.exists()
    assert computed.times == 2


def test_the_one_that_is_first_wins_where_two_compute_the_same(
    wanted: Request, project: Path, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = reviews.save
    place = project / ".cache" / "review" / reviews.cache_key(wanted)

    def save_while_another_finishes(review: Review, directory: Path) -> None:
        save(review, directory)
        shutil.copytree(directory, place)
        (place / "by-the-other").touch()

    monkeypatch.setattr(reviews, "save", save_while_another_finishes)
    assert reviews.cached(wanted, None, project) == place
    assert (place / "by-the-other").exists()
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_telemetry_that_changes_while_it_is_read_is_not_cached_under_its_old_digest(
    wanted: Request, project: Path, tiny_review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = dict(tiny_review.body)
    body["inputs"] = [{**one, "sha256": "0" * 64} for one in body["inputs"]]
    changed = dataclasses.replace(tiny_review, body=body)
    monkeypatch.setattr(reviews, "compute", Computed(changed))
    with pytest.raises(UsageError, match="changed while it was read"):
        reviews.cached(wanted, None, project)
    assert not (project / ".cache" / "review").exists()


def test_what_killed_runs_left_is_removed_and_what_runs_is_kept(
    wanted: Request, project: Path, computed: Computed
) -> None:
    root = project / ".cache" / "review"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive = f".building-{os.getppid()}-0123abcd"
    for name in (f".building-{gone.pid}-0123abcd", alive):
        (root / name).mkdir(parents=True)
    place = reviews.cached(wanted, None, project)
    assert {p.name for p in root.iterdir()} == {place.name, alive}


SLOW = """
import sys, time
from pathlib import Path
from analysis import review as reviews
project = Path(sys.argv[1])
save = reviews.save
def slow(review, directory):
    (directory / "tables").mkdir()
    (directory / "tables" / "hotspots.csv").write_text("half")
    print("half", flush=True)
    time.sleep(60)
reviews.compute = lambda *_: type("R", (), {"body": {"inputs": []}})()
reviews.save = slow
reviews.cached(reviews.request(project=project), None, project)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_half_review(
    wanted: Request, project: Path, computed: Computed, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", SLOW, str(project)]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.send_signal(how)
    finally:
        child.wait(timeout=30)
        child.stdout.close()
    root = project / ".cache" / "review"
    assert [p.name for p in root.iterdir() if not p.name.startswith(".")] == []
    # The next run is none the wiser, and tidies up.
    request = reviews.request(project=project)
    place = reviews.cached(request, None, project)
    assert artifacts.verify_file(place / artifacts.FILE_NAME) == []
    assert [p.name for p in root.iterdir()] == [place.name]


# ── the review itself ────────────────────────────────────────────────────────────────────


def test_every_check_of_a_review_is_one_that_the_policy_may_name(tiny_review: Review) -> None:
    known = known_check_ids(load(POLICY).policy)
    assert {c["id"] for c in tiny_review.body["checks"]} <= known
    assert known - {c["id"] for c in tiny_review.body["checks"]} <= {
        "contract.errors",
        "gate.waivers",
        "gate.registration",
    }


def test_the_checks_have_the_severities_of_the_statistics(tiny_review: Review) -> None:
    found = {c["id"]: c["severity"] for c in tiny_review.body["checks"]}
    expected = {
        "health.failure_rate": "block",
        "health.latency_breach_rate": "block",
        "health.cost_usd": "hold",
        "budget.availability": "hold",
        "budget.latency": "hold",
        "budget.spend": "hold",
        "hotspots.regression": "hold",
        "drift.high": "hold",
        "triage.queue": "hold",
    }
    for name, severity in found.items():
        assert severity == expected.get(name, "note"), name


def test_the_settings_in_the_artifact_are_the_policy_s(tiny_review: Review) -> None:
    loaded = load(POLICY)
    assert tiny_review.body["policy"] == {
        "sha256": loaded.sha256,
        "settings": artifacts.rounded_tree(loaded.policy.settings()),
        "registration": None,
    }


def test_a_first_release_compares_nothing_and_waits_for_its_budgets(
    project: Path, tiny_data: Path
) -> None:
    (project / "report" / "policy.yml").write_text(
        "data: telemetry\nwindows: {baseline: none}\n"
        "gate: {severity: {health.failure_rate: block, health.cost_usd: hold}}\n"
    )
    body = reviews.compute(reviews.request(project=project)).body
    assert body["windows"]["baseline"] is None
    checks = {c["id"]: c for c in body["checks"]}
    for name in (
        "health.failure_rate",
        "health.latency_breach_rate",
        "health.cost_usd",
        "hotspots.regression",
        "drift.high",
    ):
        assert (checks[name]["outcome"], checks[name]["severity"]) == ("inconclusive", "note"), name
    held = [
        c["id"]
        for c in body["checks"]
        if (c["view"] == "budget" or c["id"] == "triage.queue")
        and c["severity"] != "note"
        and c["outcome"] != "pass"
    ]
    assert body["decision"]["holding"] == held
    assert body["decision"]["outcome"] == ("hold" if held else "ship")
    assert artifacts.verify(body) == []
