from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import artifact as artifacts
from analysis import artifact_schema
from analysis.artifact import canonical, rounded_tree
from analysis.check import Check
from analysis.errors import ArtifactError, UsageError
from analysis.review import Review

Body = dict[str, Any]


@pytest.fixture
def body(tiny_review: Review) -> Body:
    return copy.deepcopy(dict(tiny_review.body))


def sealed(body: Body) -> Body:
    """With digests that fit, as one who tampers and knows the design would leave it."""
    body["evidence_digest"] = artifacts.evidence_digest(body)
    body["digest"] = artifacts.digest(body)
    return body


def by_the_design(value: Any) -> bytes:
    """The canonical bytes, as DESIGN section 6 spells them."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode("utf-8")


# ── canonical bytes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, b"1"),
        (True, b"true"),
        (None, b"null"),
        (1.0, b"1.0"),
        (10**20, b"100000000000000000000"),
        (0.1 + 0.2, b"0.3"),
        (1 / 3, b"0.333333333333"),
        (2 / 3 * 1e-7, b"6.66666666667e-08"),
        (123456789.123456789, b"123456789.123"),
        (-0.0, b"0.0"),
        (-1e-320 * 0, b"0.0"),
        (1e300, b"1e+300"),
        (np.float64(0.1) + 0.2, b"0.3"),
        ("é – “x” \u2028", '"é – “x” \u2028"'.encode()),
        ('a"\\\n\x07', b'"a\\"\\\\\\n\\u0007"'),
        ({"b": 1, "a": [1.0, (2, 3)]}, b'{"a":[1.0,[2,3]],"b":1}'),
        ({"é": 1, "z": 2, "Z": 3}, '{"Z":3,"z":2,"é":1}'.encode()),
        ([], b"[]"),
        ({}, b"{}"),
    ],
)
def test_values_have_one_spelling(value: Any, expected: bytes) -> None:
    assert canonical(rounded_tree(value)) == expected


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": [0.5, float("nan")]}}, r"a\.b\[1\]"),
        ({"a": float("inf")}, "a is inf"),
        ({"a": np.int64(1)}, "a is of type int64"),
        ({"a": np.bool_(True)}, "a is of type bool"),
        ({"a": {1, 2}}, "a is of type set"),
        ({"a": b"x"}, "a is of type bytes"),
        ({"a": {1: 2}}, "a has the key 1"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, path: str) -> None:
    with pytest.raises(ArtifactError, match=path):
        rounded_tree(value)


def test_canonical_bytes_never_hold_what_is_not_a_number() -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            canonical({"a": value})


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=300, deadline=None)
def test_a_rounded_number_survives_its_spelling_and_rounds_to_itself(value: float) -> None:
    once = rounded_tree(value)
    assert json.loads(canonical(once)) == once
    assert rounded_tree(once) == once
    assert canonical(once) != b"-0.0"
    assert once == pytest.approx(value, rel=1e-11)


def test_the_artifact_is_made_of_rounded_values_and_is_not_changed_by_reading(body: Body) -> None:
    assert rounded_tree(body) == body
    assert canonical(json.loads(canonical(body))) == canonical(body)
    assert canonical(body) == by_the_design(body)


# ── digests ──────────────────────────────────────────────────────────────────────────────


def test_the_digest_covers_the_whole_without_itself(body: Body) -> None:
    rest = {key: value for key, value in body.items() if key != "digest"}
    assert body["digest"] == f"sha256:{hashlib.sha256(by_the_design(rest)).hexdigest()}"


def test_the_evidence_digest_covers_what_must_not_depend_on_the_form_of_the_data(
    body: Body,
) -> None:
    evidence = {name: body[name] for name in ("checks", "decision", "views", "windows")}
    chosen = {k: v for k, v in body["policy"]["settings"].items() if k != "data"}
    evidence["policy"] = {"settings": chosen}
    # Engines spell values in ways of their own, so the examples of violations are no evidence.
    contract = copy.deepcopy(body["views"]["contract"])
    for one in (*contract["violations"], *contract["below"]):
        del one["examples"]
    evidence["views"] = {**body["views"], "contract": contract}
    expected = f"sha256:{hashlib.sha256(by_the_design(evidence)).hexdigest()}"
    assert body["evidence_digest"] == expected


def violation(body: Body) -> Any:
    """A violation that the contract counts."""
    return body["views"]["contract"]["below"][0]


# case: (change, whether it is evidence)
CHANGES: dict[str, tuple[Callable[[Body], Any], bool]] = {
    "the release's title": (lambda b: b["release"].update(title="other"), False),
    "the release's id": (lambda b: b["release"].update(id="other"), False),
    "an input's digest": (lambda b: b["inputs"][0].update(sha256="0"), False),
    "the producer": (lambda b: b["producer"].update(version="9"), False),
    "the policy file's digest": (lambda b: b["policy"].update(sha256="0"), False),
    "the policy's data": (lambda b: b["policy"]["settings"].update(data="elsewhere"), False),
    "a setting": (lambda b: b["policy"]["settings"]["gate"].update(error_rate=0.1), True),
    "a check": (lambda b: b["checks"][0].update(support=1), True),
    "the decision": (lambda b: b["decision"].update(outcome="ship"), True),
    "a window": (lambda b: b["windows"]["candidate"].update(n_users=1), True),
    "a view": (lambda b: b["views"]["hotspots"].update(n_tested=1), True),
    "an example of a violation": (lambda b: violation(b).update(examples=["other"]), False),
    "the rows of a violation": (lambda b: violation(b).update(n_rows=77), True),
}


@pytest.mark.parametrize(("change", "is_evidence"), CHANGES.values(), ids=CHANGES.keys())
def test_any_change_shows_in_the_digest_and_evidence_in_its_own(
    body: Body, change: Callable[[Body], Any], is_evidence: bool
) -> None:
    before = (body["evidence_digest"], body["digest"])
    change(body)
    problems = artifacts.verify(body)
    assert any(p.startswith("digest: ") for p in problems)
    assert any(p.startswith("evidence_digest: ") for p in problems) == is_evidence
    sealed(body)
    assert (body["evidence_digest"] != before[0]) == is_evidence
    assert body["digest"] != before[1]
    assert artifacts.verify(body) == []


def test_the_evidence_digest_is_covered_by_the_digest(body: Body) -> None:
    body["evidence_digest"] = "sha256:" + "0" * 64
    body["digest"] = artifacts.digest(body)
    assert [p.partition(":")[0] for p in artifacts.verify(body)] == ["evidence_digest"]


# ── the file ─────────────────────────────────────────────────────────────────────────────


def verified(raw: bytes, tmp_path: Path) -> list[str]:
    path = tmp_path / "decision_artifact.json"
    path.write_bytes(raw)
    return artifacts.verify_file(path)


def test_the_file_is_the_canonical_form_indented_by_two(body: Body, tmp_path: Path) -> None:
    path = tmp_path / "made" / "decision_artifact.json"
    artifacts.write(body, path)
    expected = json.dumps(body, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    assert path.read_bytes() == expected.encode()
    assert artifacts.read(path) == body
    assert [p.name for p in path.parent.iterdir()] == ["decision_artifact.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_canonical_and_indented_files_both_verify(body: Body, tmp_path: Path) -> None:
    assert verified(canonical(body), tmp_path) == []
    assert verified(artifacts.file_bytes(body), tmp_path) == []


def test_a_failed_write_leaves_the_previous_file_and_nothing_else(
    body: Body, tmp_path: Path
) -> None:
    path = tmp_path / "decision_artifact.json"
    artifacts.write(body, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write({**body, "digest": float("nan")}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["decision_artifact.json"]


def test_what_a_run_that_was_killed_left_of_a_file_is_removed(body: Body, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    half = tmp_path / f".decision_artifact.json.building-{dead.pid}-0123abcd"
    half.write_text('{"half')
    artifacts.write(body, tmp_path / "decision_artifact.json")
    assert [p.name for p in tmp_path.iterdir()] == ["decision_artifact.json"]


@pytest.mark.parametrize("form", ["indented", "canonical"])
def test_any_tampered_byte_is_found(body: Body, tmp_path: Path, form: str) -> None:
    raw = artifacts.file_bytes(body) if form == "indented" else canonical(body)
    rng = random.Random(20261116)
    for _ in range(25):
        place = rng.randrange(len(raw))
        other = bytes([rng.choice([b for b in range(256) if b != raw[place]])])
        assert verified(raw[:place] + other + raw[place + 1 :], tmp_path), place


# bytes made of the file's → what is wrong with them
SPELLINGS: dict[str, tuple[Callable[[bytes, Body], bytes], str]] = {
    "a byte is missing": (lambda raw, _: raw[:-1], "not JSON"),
    "a byte is added": (lambda raw, _: raw + b"x", "not JSON"),
    "half of the file": (lambda raw, _: raw[: len(raw) // 2], "not JSON"),
    "nothing": (lambda raw, _: b"", "not JSON"),
    "a BOM": (lambda raw, _: b"\xef\xbb\xbf" + raw, "not JSON"),
    "UTF-16": (lambda raw, _: raw.decode().encode("utf-16"), "not JSON"),
    "latin-1": (lambda raw, _: raw + b"\xe9", "not JSON"),
    "text": (lambda raw, _: b"Do not ship.", "not JSON"),
    "a list": (lambda raw, _: b"[]", "expected an object"),
    "null": (lambda raw, _: b"null", "expected an object"),
    "an empty object": (lambda raw, _: b"{}", "expected schema"),
    "another schema": (
        lambda raw, b: canonical({**b, "schema": "decision-artifact/2"}),
        "expected schema",
    ),
    "a key that stands twice": (
        lambda raw, b: b'{"decision":{"outcome":"ship"},' + canonical(b)[1:],
        "the key 'decision' stands twice",
    ),
    "not a number": (
        lambda raw, b: raw.replace(b'"support": ', b'"support": NaN, "x": ', 1),
        "NaN",
    ),
    "a number beyond floats": (
        lambda raw, b: raw.replace(b'"support": ', b'"support": 1e999, "x": ', 1),
        "too large",
    ),
    "a number of 5,000 digits": (
        lambda raw, b: raw.replace(b'"support": ', b'"support": ' + b"9" * 5000, 1),
        "not JSON",
    ),
    "a very deep nest": (lambda raw, _: b"[" * 200_000, "not JSON"),
    "a newline at the end": (lambda raw, _: raw + b"\n", "bytes are neither"),
    "another indent": (
        lambda raw, b: json.dumps(b, sort_keys=True, ensure_ascii=False, indent=4).encode(),
        "bytes are neither",
    ),
    "another order of keys": (
        lambda raw, b: json.dumps(
            dict(reversed(b.items())), ensure_ascii=False, separators=(",", ":")
        ).encode(),
        "bytes are neither",
    ),
    "escaped characters": (
        lambda raw, b: raw.replace(b'"block"', b'"\\u0062lock"', 1),
        "bytes are neither",
    ),
    "another spelling of a number": (
        lambda raw, b: raw.replace(b"0.05,", b"5e-2,", 1),
        "bytes are neither",
    ),
    "CRLF": (lambda raw, _: raw.replace(b"\n", b"\r\n"), "bytes are neither"),
}


@pytest.mark.parametrize(("tamper", "problem"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_file_that_is_not_the_artifact_s_bytes_does_not_verify(
    body: Body, tmp_path: Path, tamper: Callable[[bytes, Body], bytes], problem: str
) -> None:
    raw = artifacts.file_bytes(body)
    tampered = tamper(raw, body)
    assert tampered != raw
    problems = verified(tampered, tmp_path)
    assert problems
    assert problem in problems[0]
    assert all(c.isprintable() for c in "".join(problems))


def test_a_file_that_cannot_be_read_is_a_matter_of_the_command_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        for read in (artifacts.read, artifacts.verify_file):
            with pytest.raises(UsageError) as refused:
                read(path)
            assert refused.value.exit_code == 2


# Changes after which the digests were made to fit again → what still does not agree.
FORGED: dict[str, tuple[Callable[[Body], Any], str]] = {
    "more than twelve digits": (
        lambda b: b["checks"][0].update(value=0.12345678901234567),
        "more than 12 digits",
    ),
    "a negative zero": (lambda b: b["checks"][0].update(value=-0.0), "−0.0"),
    "an unknown key": (lambda b: b.update(approved=True), "approved"),
    "an unknown key of a check": (lambda b: b["checks"][0].update(note="x"), "note"),
    "an unknown key of a view": (lambda b: b["views"]["drift"].update(x=1), "'x'"),
    "a missing key": (lambda b: b["decision"].pop("needs"), "needs"),
    "a missing view": (lambda b: b["views"].pop("triage"), "triage"),
    "an outcome of its own": (lambda b: b["decision"].update(outcome="go"), "'go'"),
    "a check's outcome of its own": (lambda b: b["checks"][0].update(outcome="ok"), "'ok'"),
    "a number as text": (lambda b: b["checks"][0].update(support="12"), "'12'"),
    "a fraction of an interaction": (lambda b: b["checks"][0].update(support=0.5), "0.5"),
    "no checks at all": (lambda b: b.update(checks=None), "checks"),
    "an id that is a number": (lambda b: b["release"].update(id=5), "5"),
    "a nest in the settings": (
        lambda b: b["policy"]["settings"].update(x=json.loads("[" * 900 + "]" * 900)),
        "nested too deeply",
    ),
}


@pytest.mark.parametrize(("forge", "problem"), FORGED.values(), ids=FORGED.keys())
def test_digests_that_fit_do_not_make_an_artifact(
    body: Body, forge: Callable[[Body], Any], problem: str
) -> None:
    forge(body)
    sealed(body)
    problems = artifacts.verify(body)
    assert problems
    assert any(problem in p for p in problems)


def test_what_is_wrong_is_told_as_text_that_no_terminal_obeys(body: Body) -> None:
    body["\x1b[31mred"] = 1
    body["release"]["id"] = ["\x1b[2J"]
    assert all(p.isprintable() for p in artifacts.verify(body))
    del body["\x1b[31mred"]
    body["release"]["id"] = "a"
    body["digest"] = "\x1b[2J\u202e"
    assert all(p.isprintable() for p in artifacts.verify(body))


# ── the schema ───────────────────────────────────────────────────────────────────────────


def test_the_published_schema_is_what_the_models_give() -> None:
    """Where this fails, the form has changed: `make schemas`, and a new revision once one is released."""
    path = artifact_schema.schema_file(artifacts.REVISION)
    assert path.read_text() == artifact_schema.schema_text(artifacts.json_schema())


# Artifacts of these revisions are out there: what they promised does not change any more.
FROZEN = {1: "3a6cd53692d313875c1d6fe1351c8de1e7e05168992248e06c9c1b897a8fcd73"}


def test_every_revision_is_published_and_earlier_ones_stay_as_they_were() -> None:
    revisions = range(1, artifacts.REVISION + 1)
    files = sorted(path.name for path in artifact_schema.FOLDER.iterdir())
    assert files == [f"decision-artifact-1.{revision}.json" for revision in revisions]
    assert list(FROZEN) == list(revisions)[:-1]
    for revision, expected in FROZEN.items():
        raw = artifact_schema.schema_file(revision).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == expected


def test_a_later_revision_keeps_every_key_of_an_earlier_one() -> None:
    def keys(node: Any, path: str = "") -> set[str]:
        if not isinstance(node, dict):
            return set()
        own = {f"{path}.{key}" for key in node.get("properties", {})}
        return own.union(*(keys(held, f"{path}/{key}") for key, held in node.items()))

    for revision in range(1, artifacts.REVISION):
        older = keys(artifact_schema.published(revision))
        assert older <= keys(artifact_schema.published(revision + 1))


def test_an_artifact_of_a_revision_that_is_not_known_is_refused(body: Body) -> None:
    for unknown in (0, artifacts.REVISION + 1, True, "2", 1.0, None, [2]):
        body["revision"] = unknown
        assert "revision: " in artifacts.verify(sealed(body))[0]
    # Without the key it would be of revision 1, which knows no migration.
    del body["revision"]
    assert "'migrated_from'" in artifacts.verify(sealed(body))[0]


def test_the_schema_is_one_and_accepts_the_artifact(body: Body) -> None:
    schema = artifacts.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(body)


def test_every_object_of_the_schema_is_closed_and_complete() -> None:
    def objects(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, dict):
            own = [node] if "properties" in node and node.get("type") == "object" else []
            return own + [o for item in node.values() for o in objects(item)]
        return [o for item in node for o in objects(item)] if isinstance(node, list) else []

    found = objects(artifacts.json_schema())
    assert len(found) > 20
    for one in found:
        assert one["additionalProperties"] is False, one.get("title")
        assert one["required"] == sorted(one["properties"]), one.get("title")


# DESIGN section 6: object → keys that it names there (it may hold more).
PROMISED: dict[str, set[str]] = {
    "": {"schema", "release", "decision", "windows", "checks", "views", "inputs", "policy", "producer",
         "evidence_digest", "digest", "revision", "migrated_from"},
    "release": {"id", "title", "commit"},
    "decision": {"outcome", "headline", "blocking", "holding", "needs", "watch"},
    "decision.needs": {"interactions", "days"},
    "windows": {"comparison", "baseline", "candidate", "exclude"},
    "windows.candidate": {"start_utc", "end_utc", "n_interactions", "n_sessions", "n_users"},
    "checks.0": {"id", "view", "outcome", "severity", "value", "low", "high", "limit", "comparison", "unit",
                 "support", "p_value", "reason", "sentence", "action"},
    "views": {"contract", "health", "budget", "hotspots", "routing", "drift", "triage"},
    "views.contract": {"n_rules", "n_errors", "n_warnings", "violations"},
    "views.health": {"baseline", "candidate", "change", "more", "missing"},
    "views.health.change": {"failure_rate", "latency_breach_rate", "cost_usd_per_interaction",
                            "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"},
    "views.health.change.failure_rate": {"value", "low", "high", "support"},
    "views.budget": {"slos", "spend", "drivers"},
    "views.budget.slos.0": {"name", "target", "error_budget", "period_days", "burn_rate", "budget_consumed",
                            "budget_remaining", "exhausts_utc", "alerts", "episodes"},
    "views.budget.slos.0.alerts.0": {"long_hours", "short_hours", "budget_share", "threshold", "feasible",
                                     "burn_long", "burn_short", "firing", "firing_plain"},
    "views.budget.spend": {"usd_per_day", "budget_usd_per_day", "burn_rate", "forecast_usd_per_day", "unseen_usd",
                           "unseen", "period", "history_days", "weekdays"},
    "views.budget.spend.period": {"start_utc", "end_utc", "spent_usd", "budget_usd", "forecast_usd",
                                  "exhausts_utc"},
    "views.budget.drivers": {"change_usd_per_day", "effects", "by_slice", "by_use_case", "by_token", "new", "gone",
                             "prices"},
    "views.hotspots": {"n_tested", "fdr", "coverage", "detectable_ratio", "listed", "found",
                       "bins"},
    "views.routing": {"propensity", "on_policy", "candidates"},
    "views.routing.candidates.0": {"name", "estimator", "unit_cost_usd", "failure_rate", "cost_usd", "saving_usd",
                                   "saving_usd_per_day", "bounds", "effective_sample_size", "matched_failures",
                                   "overlap", "max_weight", "pareto_k", "gamma_flip", "recommendation", "reason",
                                   "rules"},
    "views.drift": {"features", "joint", "outcome_change"},
    "views.drift.features.0": {"feature", "role", "statistic", "effect", "psi", "p_value", "q_value", "severity"},
    "views.drift.joint": {"auc", "low", "high", "p_value"},
    "views.drift.outcome_change": {"total", "mix", "mix_context", "mix_action", "within"},
    "views.triage": {"label", "decide_at", "threshold", "operating_mode", "quality", "workload", "policies"},
    "views.triage.quality": {"roc_auc", "average_precision", "brier", "brier_skill", "calibration_error"},
    "views.triage.workload": {"reviews_per_day_p50", "reviews_per_day_p90", "capacity_per_day", "predicted_p50",
                              "predicted_p90", "overflow_probability"},
    "inputs.0": {"table", "file", "format", "bytes", "rows", "sha256"},
    "policy": {"sha256", "settings"},
    "producer": {"version", "commit", "python", "packages"},
}  # fmt: skip


@pytest.mark.parametrize(("path", "keys"), PROMISED.items())
def test_the_artifact_has_the_keys_of_the_design(body: Body, path: str, keys: set[str]) -> None:
    node: Any = body
    for part in path.split(".") if path else []:
        node = node[int(part)] if part.isdigit() else node[part]
    assert keys <= set(node)


def test_no_clock_and_no_absolute_path_is_in_the_artifact(body: Body, tiny_data: Path) -> None:
    text = canonical({**body, "policy": {**body["policy"], "settings": {}}}).decode()
    assert str(tiny_data) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(tiny_data.parents[1]) not in text
    assert [i["file"] for i in body["inputs"]] == sorted(i["file"] for i in body["inputs"])
    assert all("/" not in i["file"] for i in body["inputs"])


def test_every_check_has_an_id_of_its_own_and_says_what_and_what_to_do(body: Body) -> None:
    ids = [c["id"] for c in body["checks"]]
    assert len(set(ids)) == len(ids)
    for one in body["checks"]:
        assert one["sentence"].endswith("."), one["id"]
        assert one["action"], one["id"]
        assert (one["reason"] is not None) == (one["outcome"] == "inconclusive"), one["id"]
    assert {f.name for f in dataclasses.fields(Check)} == set(body["checks"][0])
