from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.attestation import write_statement
from analysis.contract import TABLES
from analysis.errors import PolicyError, UsageError
from analysis.migration import migrated
from analysis.review import Review
from analysis.sample import generate, write
from analysis.verification import Inputs, Verification, verify
from analysis.verification_report import as_json, as_text

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "report" / "policy.yml"

Body = dict[str, Any]


@pytest.fixture
def artifact(tiny_review: Review, tmp_path: Path) -> Path:
    path = tmp_path / "made" / "decision_artifact.json"
    artifacts.write(tiny_review.body, path)
    return path


@pytest.fixture
def quick(tiny_review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    """The review is not computed again, but taken from the one that all tests share."""
    monkeypatch.setattr(reviews, "compute", lambda wanted, progress: tiny_review)


def changed(path: Path, change: Callable[[Body], Any]) -> Path:
    """The artifact with a change, and digests that fit."""
    body = artifacts.read(path)
    change(body)
    artifacts.write(artifacts.sealed(artifacts.rounded_tree(body)), path)
    return path


def parts(found: Verification) -> dict[str, bool]:
    return {part.name: part.agrees for part in found.parts}


def paths(found: Verification, name: str = "review") -> list[str]:
    return [d.path for part in found.parts if part.name == name for d in part.differences]


# ── computed again ───────────────────────────────────────────────────────────────────────


def test_a_review_computed_again_from_its_inputs_agrees(artifact: Path, tiny_data: Path) -> None:
    found = verify(artifact, Inputs(str(tiny_data), policy=POLICY))
    assert parts(found) == dict.fromkeys(("schema and digests", "inputs", "policy", "review"), True)
    assert found.agrees
    assert not any("other code" in note for note in found.notes)


def test_the_artifact_s_own_release_moment_and_settings_are_reviewed(
    tiny_data: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "release: {id: r1}\nwindows: {candidate: {days: 7}}\nmissing: {max_rate: 0.1}\n"
    )
    wanted = reviews.request(
        data=str(tiny_data),
        policy=policy,
        release_id="r9",
        as_of=datetime.fromisoformat("2026-11-14T12:00:00.25+00:00"),
    )
    path = tmp_path / "a.json"
    body = reviews.compute(wanted).body
    assert body["windows"]["as_of"] == "2026-11-14T12:00:00.250000Z"
    artifacts.write(body, path)
    assert verify(path, Inputs(str(tiny_data))).agrees
    assert verify(path, Inputs(policy=policy)).agrees


def test_other_telemetry_is_named_and_what_it_gives_is_said(artifact: Path, tmp_path: Path) -> None:
    data = write(generate("tiny", None, 2), tmp_path / "other", "csv")
    found = verify(artifact, Inputs(str(data)))
    assert parts(found) == {"schema and digests": True, "inputs": False, "review": False}
    inputs = next(part for part in found.parts if part.name == "inputs")
    assert [p.partition(":")[0] for p in inputs.problems] == [f"{table}.csv" for table in TABLES]
    review = next(part for part in found.parts if part.name == "review")
    assert review.n_differences > len(review.differences) == 50
    assert f"and {review.n_differences - 50:,} more values" in as_text(found, "a.json")
    # Inputs are told once.
    assert not any(path.startswith("inputs") for path in paths(found))


def test_an_artifact_of_an_older_revision_and_what_was_migrated_agree_with_today_s_review(
    tiny_review: Review, tiny_data: Path, tmp_path: Path, quick: None
) -> None:
    older = artifacts.as_it_was(tiny_review.body, 1)
    assert "revision" not in older
    for name, body in (("older.json", older), ("migrated.json", migrated(older))):
        artifacts.write(body, tmp_path / name)
        found = verify(tmp_path / name, Inputs(str(tiny_data)))
        assert found.agrees, as_text(found, name)
        changed(tmp_path / name, lambda b: b["windows"]["candidate"].update(n_users=1))
        assert not verify(tmp_path / name, Inputs(str(tiny_data))).agrees


def test_tables_of_an_engine_are_reviewed_again_as_well(tiny_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "telemetry.duckdb"
    with duckdb.connect(str(file)) as connection:
        for table in TABLES:
            source = str(tiny_data / f"{table}.csv")
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_csv(?)", [source])
    address = f"duckdb:///{file}"
    path = tmp_path / "a.json"
    wanted = reviews.request(data=address, policy=POLICY)
    artifacts.write(reviews.compute(wanted).body, path)
    found = verify(path, Inputs(address))
    assert found.agrees, as_text(found, "a.json")


def test_telemetry_that_breaks_the_contract_is_a_difference_and_no_end(
    artifact: Path, tiny_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    (data / f"{TABLES[1]}.csv").unlink()
    found = verify(artifact, Inputs(str(data)))
    assert parts(found) == {"schema and digests": True, "inputs": False, "review": False}
    text = as_text(found, "a.json")
    assert f"{TABLES[1]}.csv: missing" in text
    assert "cannot be computed again" in text


# ── what differs ─────────────────────────────────────────────────────────────────────────


def scaled(body: Body, factor: float) -> None:
    body["views"]["health"]["candidate"]["failure_rate"]["value"] *= factor


def check(body: Body, name: str) -> Body:
    return next(c for c in body["checks"] if c["id"] == name)


# change of the artifact → the paths that are said
CHANGES: dict[str, tuple[Callable[[Body], Any], list[str]]] = {
    "the decision": (lambda b: b["decision"].update(outcome="ship"), ["decision.outcome"]),
    "a check's outcome, after the decision": (
        lambda b: (check(b, "health.cost_usd").update(outcome="fail"), b["decision"].update(headline="x")),
        ["decision.headline", "checks[health.cost_usd].outcome"],
    ),
    "a check less": (
        lambda b: b["checks"].remove(check(b, "health.failure_rate")),
        ["checks[health.failure_rate]"],
    ),
    "a count": (
        lambda b: b["windows"]["candidate"].update(n_users=1),
        ["windows.candidate.n_users"],
    ),
    "a float beyond a millionth": (
        lambda b: scaled(b, 1.00001),
        ["views.health.candidate.failure_rate.value"],
    ),
    "a float within a millionth": (
        lambda b: scaled(b, 1.0000005),
        [],
    ),
    "the title": (lambda b: b["release"].update(title="other"), ["release.title"]),
    "an input's rows": (
        lambda b: b["inputs"][0].update(rows=1),
        ["inputs[llm_system_interactions.csv].rows"],
    ),
    "the path of the data": (lambda b: b["policy"]["settings"].update(data="elsewhere"), []),
    "the producer": (lambda b: b["producer"].update(version="9"), []),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_a_value_that_differs_is_said_by_its_path(
    artifact: Path, tiny_data: Path, quick: None, change: Callable[[Body], Any], expected: list[str]
) -> None:
    found = verify(changed(artifact, change), Inputs(str(tiny_data)))
    assert paths(found) == expected
    assert found.agrees == (not expected)


def test_other_code_is_a_note_that_may_explain_and_no_difference(
    artifact: Path, tiny_data: Path, quick: None
) -> None:
    changed(artifact, lambda b: b["producer"]["packages"].update(numpy="1.0"))
    found = verify(artifact, Inputs(str(tiny_data)))
    assert found.agrees
    assert any("packages.numpy 1.0 there" in note for note in found.notes)


def test_a_policy_is_compared_setting_by_setting_also_without_data(
    artifact: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        POLICY.read_text().replace("budget_usd_per_day: 60", "budget_usd_per_day: 61")
    )
    found = verify(artifact, Inputs(policy=policy))
    assert parts(found) == {"schema and digests": True, "policy": False}
    assert paths(found, "policy") == ["policy.sha256", "policy.spend.budget_usd_per_day"]
    assert "the artifact says 60.0, the file says 61.0" in as_text(found, "a.json")


def test_settings_that_today_s_code_refuses_are_all_said(artifact: Path, tiny_data: Path) -> None:
    changed(artifact, lambda b: b["policy"]["settings"].update(gone=1, missing={"max_rate": 7}))
    with pytest.raises(PolicyError) as refused:
        verify(artifact, Inputs(str(tiny_data)))
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "missing.max_rate",
        "gone",
    ]


def test_inputs_that_are_not_there_are_a_matter_of_the_command_line(
    artifact: Path, tmp_path: Path
) -> None:
    for inputs in (Inputs(str(tmp_path / "none")), Inputs(policy=tmp_path / "none.yml")):
        with pytest.raises(UsageError):
            verify(artifact, inputs)


# ── the site ─────────────────────────────────────────────────────────────────────────────


def test_every_file_of_the_site_is_checked_where_a_statement_lies_beside(artifact: Path) -> None:
    (artifact.parent / "index.html").write_text("hold")
    assert parts(verify(artifact)) == {"schema and digests": True}
    write_statement(artifact.parent)
    assert parts(verify(artifact)) == {"schema and digests": True, "site": True}
    (artifact.parent / "index.html").write_text("ship")
    found = verify(artifact)
    assert parts(found) == {"schema and digests": True, "site": False}
    assert "index.html: changed" in as_text(found, "a.json")


def test_a_site_whose_artifact_was_exchanged_is_found_in_every_part(artifact: Path) -> None:
    write_statement(artifact.parent)
    changed(artifact, lambda b: b["decision"].update(outcome="ship"))
    found = verify(artifact)
    site = next(part for part in found.parts if part.name == "site")
    assert {p.partition(" ")[2].partition(" ")[0] for p in site.problems} == {
        *["predicate.decision", "predicate.digest", "predicate.evidence_digest", "changed"],
    }
    artifact.write_text("{}")
    assert parts(verify(artifact)) == {"schema and digests": False, "site": False}


# ── how it is told ───────────────────────────────────────────────────────────────────────


def test_the_json_holds_the_same_as_the_text(artifact: Path, tiny_data: Path, quick: None) -> None:
    changed(artifact, lambda b: b["decision"].update(outcome="ship"))
    told = json.loads(as_json(verify(artifact, Inputs(str(tiny_data))), "a.json"))
    assert told["agrees"] is False
    review = next(part for part in told["parts"] if part["name"] == "review")
    assert review["differences"] == [
        {"path": "decision.outcome", "said": "ship", "found": "hold", "only": None}
    ]
    assert review["n_differences"] == 1


def test_hostile_values_are_told_as_text(artifact: Path, tiny_data: Path, quick: None) -> None:
    hostile = "\x1b[2J\n::error::x ##[x]\u202e"

    def change(body: Body) -> None:
        body["release"]["title"] = hostile
        check = copy.deepcopy(body["checks"][0])
        body["checks"].append({**check, "id": hostile})

    found = verify(changed(artifact, change), Inputs(str(tiny_data)))
    for text in (as_text(found, hostile), as_json(found, hostile)):
        assert all(line.isprintable() for line in text.split("\n"))
        assert "##[" not in text
        assert not any(line.startswith("::") for line in text.split("\n"))
    assert len(paths(found)) == 2
