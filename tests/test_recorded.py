"""A recorded release from end to end: review A is kept, and a later review B compares with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.errors import PolicyError
from analysis.review import Request, Review
from analysis.stats.divergence import psi
from tests.views.world import DAY, START, at, traffic, written

FOLDER = "data/releases/a"
TABLE = f"{FOLDER}/tables/drift_distributions.csv"
COLUMNS = ["channel", "account_tier", "use_case", "latency_ms", "prompt_tokens", "cost_usd", "is_failure",
           "model_name", "retry_index", "odd text", "odd number", "odd flag", "few numbers"]  # fmt: skip
SHARES = [0.5, 0.3, 0.2]


def rows() -> pd.DataFrame:
    """Seventy days: the channel moves in the last two weeks; names and values that a CSV cell may bend."""
    found = traffic(3000, days=70)
    rng = np.random.default_rng(5)
    n = len(found)
    late = found["timestamp_utc"] >= START + 56 * DAY
    found.loc[late, "channel"] = rng.choice(
        ["web", "api", "mobile"], late.sum(), p=[0.25, 0.3, 0.45]
    )
    found["odd text"] = rng.choice(["=1+1", "a;=b", '\u00e9\u00df, "q"', "'quoted", "x" * 80], n)
    found["odd number"] = np.where(rng.random(n) < 0.1, np.nan, rng.normal(-5, 1 / 3, n))
    found["odd flag"] = rng.random(n) < 0.3
    found["few numbers"] = rng.choice([-1.5, 0.1, 1 / 3], n)
    return found


def project_with(folder: Path, name: str, **policy: Any) -> Path:
    """A project whose policy is this, over the telemetry in `folder`/telemetry."""
    root = folder / name
    (root / "report").mkdir(parents=True)
    drift = {"columns": COLUMNS, **policy.pop("drift", {})}
    held = {"release": {"id": name}, "drift": drift, **policy}
    (root / "report" / "policy.yml").write_text(yaml.safe_dump(held))
    return root


def windows(first: int, middle: int, start: int, end: int) -> dict[str, Any]:
    return {
        "baseline": {"start": at(first), "end": at(middle)},
        "candidate": {"start": at(start), "end": at(end)},
    }


REFERENCES = [
    {"name": "release A", "recorded": FOLDER},
    {"name": "the same days", "start": at(42), "end": at(56)},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with telemetry, and the project B in which A is recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    written(rows(), folder / "telemetry")
    a = project_with(folder, "a", windows=windows(0, 42, 42, 56))
    b = project_with(folder, "b", windows=windows(0, 42, 56, 70), drift={"references": REFERENCES})
    first = reviews.compute(asked(a, folder))
    reviews.save(first, b / FOLDER)
    return folder


def asked(project: Path, folder: Path) -> Request:
    return reviews.request(data=str(folder / "telemetry"), project=project)


@pytest.fixture(scope="module")
def later(world: Path) -> Review:
    return reviews.compute(asked(world / "b", world))


def lines(review: Review, reference: str) -> pd.DataFrame:
    table = review.tables["drift_references.csv"]
    return table[table["reference"] == reference].set_index("feature")


def test_every_column_is_compared_with_the_recorded_one(later: Review) -> None:
    own = lines(later, "release A")
    assert set(own.index) == set(COLUMNS)
    assert own["reason"].isna().all()
    assert (own["kind"] == "recorded").all()


def test_its_numbers_are_those_of_the_same_days_in_the_later_telemetry(later: Review) -> None:
    recorded, direct = lines(later, "release A"), lines(later, "the same days")
    for name in COLUMNS:
        one, two = recorded.loc[name], direct.loc[name]
        # Both reviews have the same baseline, so the bins and the counts are the same.
        assert one["n_reference"] == two["n_reference"]
        assert one["n_candidate"] == two["n_candidate"]
        # What chance explains differs: the recorded one knows its design effect, and no day.
        assert one["psi"] == pytest.approx(two["psi"], abs=0.004), name
        assert one["severity"] == two["severity"], name
    assert recorded.loc["channel", "severity"] in ("medium", "high")
    assert (recorded["severity"] != "none").sum() == 1


def test_its_stability_index_is_that_of_the_recorded_counts(world: Path, later: Review) -> None:
    old = pd.read_csv(world / "b" / TABLE, keep_default_na=False)
    new = later.tables["drift_distributions.csv"]
    own = lines(later, "release A")
    for name in COLUMNS:
        # The same baseline gives the same bins, so the later table has the candidate in them.
        a, b = old[old["feature"] == name], new[new["feature"] == name]
        counts = np.stack([a["candidate"].to_numpy(float), b["candidate"].to_numpy(float)])
        counts = counts[:, counts.sum(axis=0) > 0]
        effective = np.array([a["candidate_effective"].sum(), b["candidate_effective"].sum()])
        chance = (counts.shape[1] - 1) * (1 / effective).sum()
        assert own.loc[name, "psi"] == pytest.approx(psi(counts) - chance, abs=1e-9), name


def test_the_artifact_says_what_was_read_and_verifies(world: Path, later: Review) -> None:
    held = {i["file"]: i["sha256"] for i in later.body["inputs"]}
    for file in (f"{FOLDER}/decision_artifact.json", TABLE):
        assert held[file] == hashlib.sha256((world / "b" / file).read_bytes()).hexdigest()
    assert artifacts.verify(later.body) == []
    [one] = [r for r in later.body["views"]["drift"]["references"] if r["kind"] == "recorded"]
    assert one["start_utc"] == f"{START + 42 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    assert one["n_drifted"] == 1
    assert one["drifted"][0]["feature"] == "channel"


def test_an_artifact_names_the_distributions_beside_it(world: Path) -> None:
    body = artifacts.read(world / "b" / FOLDER / artifacts.FILE_NAME)
    digest = hashlib.sha256((world / "b" / TABLE).read_bytes()).hexdigest()
    assert body["views"]["drift"]["distributions_sha256"] == f"sha256:{digest}"


def test_a_finished_review_is_used_again_until_the_recorded_release_is_another(
    world: Path, tmp_path: Path
) -> None:
    project = tmp_path / "b"
    shutil.copytree(world / "b", project)
    wanted = asked(project, world)
    first = reviews.cached(wanted, None, project=project)
    assert reviews.cached(asked(project, world), None, project=project) == first
    other = reviews.compute(
        asked(project_with(tmp_path, "other", windows=windows(0, 35, 35, 42)), world)
    )
    shutil.rmtree(project / FOLDER)
    reviews.save(other, project / FOLDER)
    assert reviews.cache_key(asked(project, world)) != reviews.cache_key(wanted)


# ── what cannot be used ──────────────────────────────────────────────────────────────────


def edited(
    change: Callable[[dict[str, Any]], None], *, sign: bool = True
) -> Callable[[Path], None]:
    """Changes the artifact's values, with digests that hold where it is signed again."""

    def edit(folder: Path) -> None:
        path = folder / artifacts.FILE_NAME
        body = json.loads(path.read_text())
        change(body)
        if sign:
            body["evidence_digest"] = artifacts.evidence_digest(body)
            body["digest"] = artifacts.digest(body)
        path.write_bytes(artifacts.file_bytes(body))

    return edit


def retabled(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes the table, and the artifact that names it."""

    def edit(folder: Path) -> None:
        path = folder / "tables" / "drift_distributions.csv"
        path.write_text(change(path.read_text()))
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        edited(lambda body: body["views"]["drift"].update(distributions_sha256=digest))(folder)

    return edit


def unlinked(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "no such directory"),
    "no artifact": (unlinked(artifacts.FILE_NAME), "decision_artifact.json is missing"),
    "no table": (unlinked("tables/drift_distributions.csv"), "drift_distributions.csv is missing"),
    "no JSON": (
        lambda folder: (folder / artifacts.FILE_NAME).write_text("{"),
        "not JSON",
    ),
    "another schema": (
        edited(lambda body: body.update(schema="decision-artifact/9")),
        "expected schema 'decision-artifact/1'",
    ),
    "a changed artifact": (
        edited(lambda body: body["release"].update(id="other"), sign=False),
        "does not agree with its digests",
    ),
    "an artifact of before": (
        edited(lambda body: body["views"]["drift"].pop("distributions_sha256") and None),
        "made before they were recorded",
    ),
    "a first release": (
        edited(lambda body: body["views"]["drift"].update(distributions_sha256=None)),
        "had no baseline",
    ),
    "a changed table": (
        lambda folder: (folder / "tables" / "drift_distributions.csv").write_text("feature\n"),
        "is not the one that its artifact names",
    ),
    "another table": (retabled(lambda text: "a,b\n1,2\n"), "expected the columns feature, kind"),
    "an empty table": (retabled(lambda text: ""), "expected the columns"),
    "a bin that is lost": (
        retabled(lambda text: "\n".join(text.split("\n")[:1] + text.split("\n")[2:])),
        "not numbered from 0 on",
    ),
    "a count that is none": (
        retabled(lambda text: text.replace(",text,0,", ",text,zero,")),
        "cannot be read",
    ),
}


@pytest.mark.parametrize(("case", "edit", "told"), [(k, *v) for k, v in WRONG.items()])
def test_a_folder_that_cannot_be_used_is_the_fault_of_the_policy(
    world: Path, tmp_path: Path, case: str, edit: Callable[[Path], None], told: str
) -> None:
    project = tmp_path / "b"
    shutil.copytree(world / "b", project)
    edit(project / FOLDER)
    with pytest.raises(PolicyError) as refused:
        asked(project, world)
    assert refused.value.exit_code == 2
    [problem] = refused.value.problems
    assert problem.startswith(f"drift.references[0].recorded: {FOLDER}: ")
    assert told in problem
    assert str(tmp_path) not in problem


def test_every_folder_that_cannot_be_used_is_said_at_once(world: Path, tmp_path: Path) -> None:
    gone = [{"name": n, "recorded": f"data/releases/{n}"} for n in ("x", "y")]
    project = project_with(tmp_path, "p", drift={"references": gone})
    with pytest.raises(PolicyError) as refused:
        asked(project, world)
    assert len(refused.value.problems) == 2


def test_columns_that_are_new_gone_or_of_another_type_are_told(world: Path, tmp_path: Path) -> None:
    changed = rows().drop(columns=["odd number"])
    changed["few numbers"] = np.where(changed["few numbers"] > 0, "up", "down")
    changed["brand new"] = "x"
    written(changed, tmp_path / "telemetry")
    columns = [c for c in COLUMNS if c != "odd number"] + ["brand new"]
    drift = {"references": REFERENCES[:1], "columns": columns}
    project = project_with(tmp_path, "b", windows=windows(0, 42, 56, 70), drift=drift)
    shutil.copytree(world / "b" / FOLDER, project / FOLDER)
    own = lines(reviews.compute(asked(project, tmp_path)), "release A")
    assert own.loc["brand new", "reason"] == "that review had no such column"
    assert own.loc["few numbers", "reason"] == "its type is another"
    assert "odd number" not in own.index
    assert own.loc["channel", "severity"] != "none"
