"""The contract file: what it must declare, how it is refused, and that its README agrees."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import contract as contracts
from analysis import contract_file
from analysis.contract import DEFAULT_PATH, INTERACTIONS, RULES, SESSIONS, TABLES, USERS
from analysis.errors import PolicyError, UsageError

CONTRACT = contracts.load()
RAW = yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))
KNOWN = {
    ("request", "context"): "use_case domain scenario account_tier channel region country_code "
    "segment prompt_tokens max_tokens temperature top_p retry_index instruction_template "
    "prompt_version",
    ("request", "action"): "model_provider model_name release_id routing_propensity",
    ("response", "cost"): "completion_tokens cached_prompt_tokens reasoning_tokens total_tokens "
    "latency_ms time_to_first_token_ms tokens_per_second cost_usd tool_calls_count",
    ("later", "outcome"): "is_failure failure_type response_quality_score final_resolution_state "
    "repair_strategy label_available_utc refusal_flag anything_flag",
    ("later", "feedback"): "user_feedback_score user_feedback_label user_reported_issue",
}


@pytest.mark.parametrize(
    ("known_at", "role", "name"),
    [(k, r, name) for (k, r), names in KNOWN.items() for name in names.split()],
)
def test_every_known_column_has_its_role_and_its_moment(
    known_at: str, role: str, name: str
) -> None:
    column = CONTRACT.column(name)
    assert column is not None
    assert (column.known_at, column.role) == (known_at, role)
    assert column.required == (name == "is_failure")


@pytest.mark.parametrize(
    ("table", "required"),
    [
        (INTERACTIONS, "interaction_id session_id user_id timestamp_utc is_failure"),
        (SESSIONS, "session_id"),
        (USERS, "user_id"),
    ],
)
def test_the_required_columns_are_those_of_the_design(table: str, required: str) -> None:
    declared = CONTRACT.tables[table].columns
    assert {n for n, c in declared.items() if c.required} == set(required.split())


@pytest.mark.parametrize(("table", "prefix"), [(SESSIONS, "session"), (USERS, "user")])
def test_rollups_go_by_their_own_and_by_other_names(table: str, prefix: str) -> None:
    assert CONTRACT.tables[table].rollups == {
        f"{prefix}_total_cost_usd": "cost_usd",
        f"{prefix}_total_tokens": "total_tokens",
        f"{prefix}_total_requests": "requests",
        f"{prefix}_total_failures": "failures",
        "total_cost_usd": "cost_usd",
        "total_tokens": "total_tokens",
        "total_requests": "requests",
        "failed_requests": "failures",
        "total_failed_requests": "failures",
    }
    for name in CONTRACT.tables[table].rollups:
        column = CONTRACT.tables[table].columns[name]
        assert (column.role, column.known_at) == ("rollup", "later")


def test_what_may_be_as_it_should_be_warns_and_what_cannot_be_is_an_error() -> None:
    assert tuple(CONTRACT.severities) == RULES
    warnings = {rule for rule, severity in CONTRACT.severities.items() if severity == "warning"}
    assert warnings == {
        "missing_rate",
        "duplicate_rows",
        "near_duplicates",
        "clock",
        "missing_days",
        "constant",
        "missing_jump",
        "cardinality",
    }


def test_every_rule_says_what_it_says_in_one_sentence() -> None:
    assert tuple(CONTRACT.descriptions) == RULES
    for rule, sentence in CONTRACT.descriptions.items():
        assert re.fullmatch(r"[A-Z][^|\n]+\.", sentence), rule
    assert len(set(CONTRACT.descriptions.values())) == len(RULES)


@pytest.mark.parametrize(
    ("name", "request_", "response", "later"),
    [
        ("use_case", True, True, True),
        ("model_name", True, True, True),
        ("latency_ms", False, True, True),
        ("is_failure", False, False, True),
        ("refusal_flag", False, False, True),
        ("user_feedback_score", False, False, True),
        ("mood", False, False, False),
        ("USE_CASE", False, False, False),
    ],
)
def test_a_column_is_knowable_from_its_moment_on(
    name: str, request_: bool, response: bool, later: bool
) -> None:
    moments = [CONTRACT.knowable(name, m) for m in ("request", "response", "later")]
    assert moments == [request_, response, later]


def section_of_the_readme(heading: str) -> list[str]:
    """The rows of the table below a heading."""
    text = (DEFAULT_PATH.parent / "README.md").read_text(encoding="utf-8")
    below = re.split(r"^#+ ", text.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    return [line for line in below.splitlines() if line.startswith("| `")]


def test_the_readme_lists_every_column_as_it_is_declared() -> None:
    for table in TABLES:
        declared = CONTRACT.tables[table]
        assert section_of_the_readme(f"`{table}`") == [
            f"| `{name}` | {c.type} | {c.unit or ''} | {'yes' if c.required else ''} | {c.role} | "
            f"{c.known_at} | {c.description} |"
            for name, c in [*declared.columns.items(), *declared.patterns.items()]
        ], table


def test_the_readme_lists_every_rule_as_it_is_declared() -> None:
    assert section_of_the_readme("Rules") == [
        f"| `{rule}` | {CONTRACT.severities[rule]} | {CONTRACT.descriptions[rule]} |"
        for rule in RULES
    ]


Change = Callable[[dict[str, Any]], object]


def table(name: str, **settings: Any) -> Change:
    """Settings of a table replaced."""
    return lambda raw: raw["tables"][name].update(settings)


def column(name: str, **settings: Any) -> Change:
    """Settings of an interactions column replaced."""
    return lambda raw: raw["tables"][INTERACTIONS]["columns"][name].update(settings)


def without_column(name: str, of: str = INTERACTIONS) -> Change:
    """A column that is not declared."""
    return lambda raw: raw["tables"][of]["columns"].pop(name)


# ── a contract by itself ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (
            "a rule left out",
            lambda r: r["severities"].pop("rollup"),
            "severities.rollup: is missing",
        ),
        (
            "a rule that says nothing",
            lambda r: r["descriptions"].pop("rollup"),
            "descriptions.rollup: is missing",
        ),
        ("an unknown rule", lambda r: r["severities"].update(rule="error"), "severities"),
        ("an unknown severity", lambda r: r["severities"].update(rollup="fatal"), "rollup"),
        ("a table left out", lambda r: r["tables"].pop(USERS), f"tables.{USERS}: is missing"),
        ("an unknown key", table(USERS, colour="red"), "colour"),
        ("an unknown type", column("use_case", type="text"), "use_case.type"),
        ("an unknown role", column("use_case", role="thing"), "use_case.role"),
        ("another key", table(INTERACTIONS, key="trace_id"), "key: expected interaction_id"),
        ("a key that is not declared", without_column("user_id", USERS), "user_id: is missing"),
        (
            "a required column that is not",
            column("is_failure", required=False),
            "columns.is_failure.required: expected true",
        ),
        (
            "a type that nothing can compute with",
            column("cost_usd", type="string", min=None),
            "columns.cost_usd.type: expected number, found string",
        ),
        ("no range", column("top_p", min=2), "columns.top_p: min 2 exceeds max 1"),
        ("values of a number", column("top_p", allowed=["1"]), "columns.top_p.allowed"),
        (
            "two names that differ in case",
            lambda r: r["tables"][INTERACTIONS]["columns"].update(
                Use_Case=dict(r["tables"][INTERACTIONS]["columns"]["use_case"])
            ),
            "columns.Use_Case: differs from use_case only in case",
        ),
        (
            "a foreign key of no column",
            table(SESSIONS, foreign_keys={"owner": USERS}),
            "foreign_keys.owner: is no column",
        ),
        (
            "a foreign key to no table",
            table(SESSIONS, foreign_keys={"user_id": "people"}),
            "people is no table",
        ),
        (
            "a sum of no numbers",
            table(INTERACTIONS, token_sums=[{"total": "total_tokens", "parts": ["use_case"]}]),
            "token_sums.total_tokens: use_case is no number",
        ),
        (
            "a part of nothing",
            table(INTERACTIONS, token_parts=[{"part": "max_tokens", "whole": "all_tokens"}]),
            "token_parts.max_tokens: all_tokens is no number",
        ),
        ("a rollup of nothing", table(USERS, rollups={"sum": "requests"}), "sum is no number"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused_with_the_place(
    tmp_path: Path, name: str, change: Change, problem: str
) -> None:
    raw = copy.deepcopy(RAW)
    change(raw)
    path = tmp_path / "contract.yml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        contract_file.read(path, extends=None)
    assert refused.value.exit_code == 2
    assert any(problem in p for p in refused.value.problems), refused.value.problems


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    raw = copy.deepcopy(RAW)
    raw["severities"].pop("rollup")
    raw["tables"].pop(USERS)
    raw["tables"][INTERACTIONS]["key"] = "trace_id"
    path = tmp_path / "contract.yml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        contract_file.read(path, extends=None)
    assert refused.value.problems == (
        "severities.rollup: is missing",
        f"tables.{USERS}: is missing",
        f"tables.{INTERACTIONS}.key: expected interaction_id, found trace_id",
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a list", b"- a\n- b\n"),
        ("not YAML", b"a: [1,\n"),
        ("not UTF-8", b"a: \xff\n"),
        ("UTF-16", "a: 1\n".encode("utf-16")),
        ("a tag", b"a: !!python/object/apply:os.getcwd []\n"),
        ("NUL", b"a: \x00\n"),
    ],
)
def test_a_file_that_is_no_contract_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "contract.yml"
    path.write_bytes(data)
    with pytest.raises(PolicyError):
        contracts.load(path)


def test_a_file_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yml", tmp_path):
        with pytest.raises(UsageError, match="contract"):
            contracts.load(path)


def test_the_contract_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "contract.yml"
    path.write_text(yaml.safe_dump(CONTRACT.model_dump(mode="json")), encoding="utf-8")
    assert contracts.load(path) == CONTRACT
