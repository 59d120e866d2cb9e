from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from analysis import artifact as artifacts
from analysis import gate_report
from analysis.artifact_schema import completed, projected
from analysis.errors import ArtifactError
from analysis.migration import migrated, readable
from analysis.review import Review

FIRST = Path(__file__).resolve().parent / "revisions" / "decision-artifact-1.1.json"
"""An artifact as it was written before artifacts had a revision; never made again."""

Body = dict[str, Any]


@pytest.fixture
def first() -> Body:
    return artifacts.read(FIRST)


def test_an_artifact_of_the_first_revision_verifies_by_its_own_schema(first: Body) -> None:
    assert "revision" not in first
    assert artifacts.verify_file(FIRST) == []
    first["release"]["approved"] = True
    assert "'approved'" in artifacts.verify(artifacts.sealed(first))[0]


def test_a_migration_keeps_everything_and_says_what_it_was_made_of(first: Body) -> None:
    made = migrated(first)
    assert artifacts.verify(made) == []
    assert made["revision"] == artifacts.REVISION
    assert made["migrated_from"] == {
        "revision": 1,
        "digest": first["digest"],
        "evidence_digest": first["evidence_digest"],
    }
    assert artifacts.as_it_was(made, 1) == first


def test_a_migration_is_idempotent_and_changes_no_argument(first: Body) -> None:
    before = copy.deepcopy(first)
    made = migrated(first)
    assert first == before
    assert migrated(made) == made


def test_a_current_artifact_stays_as_it_is(tiny_review: Review) -> None:
    assert migrated(tiny_review.body) == tiny_review.body


def test_what_does_not_verify_is_not_migrated(first: Body) -> None:
    first["decision"]["outcome"] = "ship"
    with pytest.raises(ArtifactError, match=r"the artifact does not verify:\n  evidence_digest: "):
        migrated(first)


@pytest.mark.parametrize(
    ("forge", "problem"),
    [
        (lambda b: b["decision"].update(outcome="ship"), "migrated_from.evidence_digest: "),
        (lambda b: b["release"].update(title="other"), "migrated_from.digest: "),
        (lambda b: b["migrated_from"].update(digest="sha256:0"), "migrated_from.digest: "),
        (lambda b: b["migrated_from"].update(revision=0), "no earlier revision"),
        (lambda b: b["migrated_from"].update(revision=artifacts.REVISION), "no earlier revision"),
        (lambda b: b["migrated_from"].update(by="me"), "'by'"),
    ],
)
def test_a_migrated_artifact_that_was_changed_does_not_give_the_digests_of_the_original(
    first: Body, forge: Any, problem: str
) -> None:
    made = migrated(first)
    forge(made)
    found = artifacts.verify(artifacts.sealed(made))
    assert found
    assert problem in found[0]


def test_an_older_artifact_is_read_with_every_key_of_today_and_its_own_digests(first: Body) -> None:
    shown = readable(first)
    assert {shown[name] for name in ("digest", "evidence_digest")} == {
        first["digest"],
        first["evidence_digest"],
    }
    for form in gate_report.FORMATS.values():
        assert form(shown)


# ── the walk over a schema ───────────────────────────────────────────────────────────────

INNER = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "new": {"type": "string"}},
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "$defs": {"Inner": INNER, "Other": {"type": "object", "properties": {"b": {}, "c": {}}}},
    "type": "object",
    "properties": {
        "nullable": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "null"}], "default": {"a": 1}},
        "default": {"type": "integer", "default": 3},
        "const": {"const": "x", "type": "string"},
        "list": {"type": "array", "items": {"$ref": "#/$defs/Inner"}},
        "map": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Inner"}},
        "free": {"type": "object", "additionalProperties": True},
        "either": {
            "anyOf": [{"$ref": "#/$defs/Inner"}, {"$ref": "#/$defs/Other"}],
            "default": None,
        },
    },
}


def test_what_is_missing_is_null_else_the_default_else_empty() -> None:
    assert completed({}, SCHEMA) == {
        "nullable": None,
        "default": 3,
        "const": "x",
        "list": [],
        "map": {},
        "free": {},
        "either": None,
    }


def test_missing_keys_are_found_within_lists_maps_and_the_form_that_fits() -> None:
    older = {
        "nullable": {"a": 1},
        "list": [{"a": 2}, {"a": 3, "new": "kept"}],
        "map": {"any": {"a": 4}},
        "free": {"x": {"a": 5}},
        "either": {"b": 1, "c": {"a": 6}},
    }
    made = completed(older, SCHEMA)
    assert made["nullable"] == {"a": 1, "new": ""}
    assert made["list"] == [{"a": 2, "new": ""}, {"a": 3, "new": "kept"}]
    assert made["map"] == {"any": {"a": 4, "new": ""}}
    assert made["free"] == {"x": {"a": 5}}
    assert made["either"] == {"b": 1, "c": {"a": 6}}


def test_a_number_that_nobody_counted_is_refused_with_its_path() -> None:
    with pytest.raises(ArtifactError, match=r"^list\[0\]\.a: older artifacts lack it"):
        completed({"list": [{"new": ""}]}, SCHEMA)


def test_a_projection_drops_what_the_schema_does_not_name_and_nothing_else() -> None:
    known = {"list": [{"a": 2}], "free": {"x": 1}, "default": 1}
    newer = {"list": [{"a": 2, "later": 1}], "free": {"x": 1}, "default": 1, "later": {"a": 1}}
    assert projected(newer, SCHEMA) == known
