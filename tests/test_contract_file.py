# ruff: noqa: E501 (contract files stand as a person writes them)
"""A contract of one's own: what a file may change, what it may not, and how it is told so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from analysis import contract as contracts
from analysis.contract import DEFAULT_PATH, INTERACTIONS, SESSIONS, USERS, Contract, OwnRule
from analysis.errors import PolicyError, UsageError
from analysis.strict_yaml import MAX_BYTES
from analysis.telemetry.fact import DERIVED

CONTRACT = contracts.load()
EXAMPLE = """
severities: {duplicate_rows: error}
tables:
  llm_system_interactions:
    names: {timestamp_utc: created_at, interaction_id: request_id}
    columns:
      gpu_type: {type: string, role: context, known_at: request, description: "…", max_missing: 0.01, allowed: [a100, h100]}
      latency_ms: {max: 600000}
rules:
  - {name: cached_within_prompt, table: llm_system_interactions, expression: "cached_prompt_tokens <= prompt_tokens", severity: warning, hint: "…"}
"""


def loaded(text: str | bytes, folder: Path) -> Contract:
    path = folder / "own.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return contracts.load(path)


def problems_of(text: str | bytes, folder: Path) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as refused:
        loaded(text, folder)
    assert refused.value.exit_code == 2
    assert refused.value.source == str(folder / "own.yml")
    return refused.value.problems


def of_interactions(text: str) -> str:
    return f"tables: {{llm_system_interactions: {{{text}}}}}"


def columns(text: str) -> str:
    return of_interactions(f"columns: {{{text}}}")


def rule(text: str) -> str:
    return f"rules: [{{name: r, table: llm_system_interactions, {text}}}]"


OWN = "type: string, role: context, known_at: request"


# ── what is accepted ─────────────────────────────────────────────────────────────────────


def test_the_example_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    own = loaded(EXAMPLE, tmp_path)
    table, default = own.tables[INTERACTIONS], CONTRACT.tables[INTERACTIONS]
    gpu = table.columns["gpu_type"]
    assert (gpu.type, gpu.required, gpu.max_missing, gpu.allowed) == (
        "string",
        False,
        0.01,
        ("a100", "h100"),
    )
    assert own.knowable("gpu_type", "request")
    assert table.columns["latency_ms"] == default.columns["latency_ms"].model_copy(
        update={"max": 600000.0}
    )
    assert table.names == {"timestamp_utc": "created_at", "interaction_id": "request_id"}
    assert own.severities == {**CONTRACT.severities, "duplicate_rows": "error"}
    assert own.rules == (
        OwnRule(
            name="cached_within_prompt",
            table=INTERACTIONS,
            expression="cached_prompt_tokens <= prompt_tokens",
            severity="warning",
            hint="…",
        ),
    )
    unchanged = {n: c for n, c in table.columns.items() if n not in ("gpu_type", "latency_ms")}
    assert unchanged == {n: c for n, c in default.columns.items() if n != "latency_ms"}
    assert list(table.columns) == [*default.columns, "gpu_type"]
    assert (own.tables[SESSIONS], own.tables[USERS]) == (
        CONTRACT.tables[SESSIONS],
        CONTRACT.tables[USERS],
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "{}", "---\n", "severities: {}\ntables: {}\nrules: []\n"]
)
def test_a_file_that_says_nothing_is_the_contract_itself(tmp_path: Path, text: str) -> None:
    assert loaded(text, tmp_path) == CONTRACT


def test_a_full_copy_is_the_contract_itself(tmp_path: Path) -> None:
    assert loaded(DEFAULT_PATH.read_bytes(), tmp_path) == CONTRACT


def test_a_column_of_ones_own_needs_no_description_and_a_rule_is_an_error(tmp_path: Path) -> None:
    own = loaded(columns(f"gpu: {{{OWN}}}") + "\n" + rule("expression: gpu <> ''"), tmp_path)
    assert own.tables[INTERACTIONS].columns["gpu"].description == ""
    assert (own.rules[0].severity, own.rules[0].hint) == ("error", "")


@pytest.mark.parametrize(
    ("name", "text", "read", "expected"),
    [
        (
            "a list replaces the one that stands there",
            of_interactions(
                "token_parts: [{part: reasoning_tokens, whole: completion_tokens}], token_sums: []"
            ),
            lambda t: ([p.part for p in t.token_parts], t.token_sums),
            (["reasoning_tokens"], ()),
        ),
        (
            "a foreign key is added to the others",
            of_interactions("foreign_keys: {region: llm_system_users_summary}"),
            lambda t: list(t.foreign_keys),
            ["session_id", "user_id", "region"],
        ),
        (
            "a pattern is added to the others",
            of_interactions(
                'patterns: {"score_*": {type: number, role: outcome, known_at: later}}'
            ),
            lambda t: (list(t.patterns), t.column("score_tone").type),
            (["*_flag", "score_*"], "number"),
        ),
        (
            "null takes away a bound that nothing rests on",
            columns("top_p: {max: null}"),
            lambda t: t.columns["top_p"].max,
            None,
        ),
        (
            "a range of what the review computes with may become narrower",
            columns("cost_usd: {min: 0.001, max: 5}, routing_propensity: {min: 0.01}"),
            lambda t: (t.columns["cost_usd"].min, t.columns["cost_usd"].max),
            (0.001, 5.0),
        ),
        (
            "the data may spell a name in another case",
            of_interactions("names: {use_case: Use_Case}"),
            lambda t: t.names,
            {"use_case": "Use_Case"},
        ),
        (
            "the data may call a flag otherwise",
            of_interactions("names: {toxic_flag: 'is toxic?'}"),
            lambda t: t.names,
            {"toxic_flag": "is toxic?"},
        ),
    ],
)
def test_what_is_given_goes_over_what_is_there(
    tmp_path: Path, name: str, text: str, read: Any, expected: object
) -> None:
    assert read(loaded(text, tmp_path).tables[INTERACTIONS]) == expected


# ── what is refused ──────────────────────────────────────────────────────────────────────

TABLE = f"tables.{INTERACTIONS}"
# (what it is, the file, the start of the problem)
REFUSED = [
    ("an unknown key", "tabels: {}", "tabels: unknown key; did you mean 'tables'?"),
    ("an unknown rule", "severities: {rollop: error}", "severities.rollop: is no rule of the project; did you mean 'rollup'?"),
    ("an unknown rule described", "descriptions: {rollop: x}", "descriptions.rollop: is no rule"),
    ("a severity of one's own rule", rule("expression: is_failure") + "\nseverities: {r: warning}", "severities.r: is no rule of the project; the severity of a rule of one's own stands with it"),
    ("an unknown severity", "severities: {rollup: fatal}", "severities.rollup: expected 'error' or 'warning' (found \"fatal\")"),
    ("an unknown table", "tables: {llm_system_users: {}}", "tables.llm_system_users: is no table of the project; did you mean 'llm_system_users_summary'?"),
    ("a table that is none", "tables: {llm_system_interactions: [1]}", f"{TABLE}: expected keys and values (found [1])"),
    ("nothing after a key", "tables:\n", "tables: expected keys and values (found null); leave the key out"),
    ("another key", of_interactions("key: trace_id"), f"{TABLE}.key: expected interaction_id, found trace_id"),
    ("a key twice", "severities: {}\nseverities: {}", "severities: stands twice; keep one (line 2)"),
    ("an alias", "severities: &a {}\ntables: *a", "tables: aliases (*name) are not accepted"),
    ("a tag", "rules: !!python/name:os.system", "rules: the tag"),
    ("a key that is no text", "severities: {1: error}", "severities.1: the key is a whole number"),
    # columns
    ("a type that is none", columns("gpu: {type: text, role: context, known_at: request}"), f"{TABLE}.columns.gpu.type: expected 'string', 'integer', 'number', 'boolean' or 'timestamp' (found \"text\")"),
    ("a key of a column that is none", columns("latency_ms: {maximum: 1}"), f"{TABLE}.columns.latency_ms.maximum: unknown key; did you mean 'max'?"),
    ("a column half declared", columns("gpu: {type: string}"), f"{TABLE}.columns.gpu.role: is missing"),
    ("a change of a column that is not there", columns("latencyms: {max: 5}"), f"{TABLE}.columns.latencyms: is not declared; a column of one's own needs type, role and known_at; did you mean 'latency_ms'?"),
    ("a share of nulls above 1", columns("latency_ms: {max_missing: 1.5}"), f"{TABLE}.columns.latency_ms.max_missing: should be less than or equal to 1 (found 1.5)"),
    ("a share of nulls below 0", columns("latency_ms: {max_missing: -0.1}"), f"{TABLE}.columns.latency_ms.max_missing: should be greater than or equal to 0"),
    ("a number as text", columns('latency_ms: {max: "9"}'), f"{TABLE}.columns.latency_ms.max: expected a number (found \"9\"); write 9, without quotes"),
    ("no values", columns("region: {allowed: []}"), f"{TABLE}.columns.region.allowed: is empty"),
    ("values of a number", columns("top_p: {allowed: ['1']}"), f"{TABLE}.columns.top_p.allowed: is for text, found number"),
    ("a range of text", columns("region: {min: 1}"), f"{TABLE}.columns.region.min: is for numbers, found string"),
    ("a range that is none", columns("top_p: {min: 2}"), f"{TABLE}.columns.top_p: min 2 exceeds max 1"),
    ("a name in another case", columns(f"Region: {{{OWN}}}"), f"{TABLE}.columns.Region: differs from region only in case"),
    ("a name of the review's own", columns(f"Day: {{{OWN}}}"), f"{TABLE}.columns.Day: the review has a column of this name"),
    ("a required column made optional", columns("is_failure: {required: false}"), f"{TABLE}.columns.is_failure.required: expected true"),
    ("a required column of another type", columns("is_failure: {type: string}"), f"{TABLE}.columns.is_failure.type: expected boolean, found string"),
    ("a label known before it is", columns("is_failure: {known_at: request}"), f"{TABLE}.columns.is_failure.known_at: expected later, found request"),
    ("a key in another role", columns("user_id: {role: context}"), f"{TABLE}.columns.user_id.role: expected key, found context"),
    ("a wider range of a cost", columns("cost_usd: {min: -1}"), f"{TABLE}.columns.cost_usd.min: expected at least 0, found -1"),
    ("no range of a cost", columns("cost_usd: {min: null}"), f"{TABLE}.columns.cost_usd.min: expected at least 0, found none"),
    ("a probability of nothing", columns("routing_propensity: {min_exclusive: false}"), f"{TABLE}.columns.routing_propensity.min: expected above 0, found 0"),
    ("a probability above 1", columns("routing_propensity: {max: 2}"), f"{TABLE}.columns.routing_propensity.max: expected at most 1, found 2"),
    # names
    ("two columns by one name", of_interactions("names: {use_case: topic, scenario: topic}"), f"{TABLE}.names.scenario: topic already stands for use_case; keep one"),
    ("two columns by one name in another case", of_interactions("names: {use_case: topic, scenario: Topic}"), f"{TABLE}.names.scenario: Topic already stands for use_case"),
    ("the name of another column", of_interactions("names: {use_case: domain}"), f"{TABLE}.names.use_case: domain is a column of the contract itself"),
    ("the name of another column in another case", of_interactions("names: {use_case: Domain}"), f"{TABLE}.names.use_case: Domain is a column of the contract itself"),
    ("two names exchanged", of_interactions("names: {use_case: scenario, scenario: use_case}"), f"{TABLE}.names.use_case: scenario is a column"),
    ("a column that is not there", of_interactions("names: {usecase: topic}"), f"{TABLE}.names.usecase: is no column of the contract; did you mean 'use_case'?"),
    ("the two sides exchanged", of_interactions("names: {created_at: timestamp_utc}"), f"{TABLE}.names.created_at: is no column of the contract; write timestamp_utc: created_at"),
    ("a pattern", of_interactions('names: {"*_flag": flag}'), f"{TABLE}.names.*_flag: is no column of the contract; a pattern stands for many"),
    ("an empty name", of_interactions('names: {use_case: ""}'), f"{TABLE}.names.use_case: String should have at least 1 character"),
    ("spaces for a name", of_interactions('names: {use_case: " "}'), f"{TABLE}.names.use_case: expected the column's name in the data"),
    ("a number for a name", of_interactions("names: {use_case: 3}"), f"{TABLE}.names.use_case: expected text (found 3); quote it"),
    # what refers to columns
    ("a foreign key of a number", of_interactions("foreign_keys: {retry_index: llm_system_users_summary}"), f"{TABLE}.foreign_keys.retry_index: a key is text, found integer"),
    ("a foreign key to no table", of_interactions("foreign_keys: {region: regions}"), f"{TABLE}.foreign_keys.region: regions is no table; known: {INTERACTIONS}"),
    ("a sum of no numbers", of_interactions("token_sums: [{total: total_tokens, parts: [region]}]"), f"{TABLE}.token_sums.total_tokens: region is no number of the table"),
    # rules
    ("a rule without a name", f"rules: [{{table: {INTERACTIONS}, expression: is_failure}}]", "rules[0].name: is missing"),
    ("a rule by a name that is none", f"rules: [{{name: a b, table: {INTERACTIONS}, expression: is_failure}}]", "rules[0].name: String should match pattern"),
    ("a rule by the name of another", "rules:\n" + f"  - {{name: a, table: {INTERACTIONS}, expression: is_failure}}\n" * 2, "rules[1].name: 'a' stands twice; keep one"),
    ("a rule by the name of the project's", f"rules: [{{name: clock, table: {INTERACTIONS}, expression: is_failure}}]", "rules[0].name: 'clock' is a rule of the project; give another name"),
    ("a rule on no table", "rules: [{name: a, table: interactions, expression: is_failure}]", "rules[0].table: interactions is no table"),
    ("a rule that is a statement", rule('expression: "DROP TABLE x"'), "rules[0].expression: 'DROP' is no column of the table"),
    ("a rule by the data's name", of_interactions("names: {use_case: topic}") + "\n" + rule("expression: topic <> ''"), "rules[0].expression: 'topic' is no column of the table; write 'use_case', as the contract calls it"),
    ("a rule on a column of another table", "rules: [{name: a, table: llm_system_users_summary, expression: latency_ms > 0}]", "rules[0].expression: 'latency_ms' is no column of the table"),
    ("a rule that is too long", rule(f'expression: "{"x" * 2001}"'), "rules[0].expression: String should have at most 2000 characters"),
    ("an unknown severity of a rule", rule("expression: is_failure, severity: fatal"), "rules[0].severity: expected 'error' or 'warning'"),
    ("rules by their names", "rules: {a: is_failure}", "rules: expected a list"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "problem"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_is_refused_with_its_key(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    found = problems_of(text, tmp_path)
    assert [p for p in found if p.startswith(problem)], found
    assert len(found) == 1 or name in MORE_THAN_ONE, found


def test_no_column_can_be_declared_by_a_name_of_the_review_s_own() -> None:
    assert set(DERIVED) <= contracts.KEPT
    assert not contracts.KEPT & {n for t in CONTRACT.tables.values() for n in t.columns}


# What is wrong in one way only is told once, but for these.
MORE_THAN_ONE = {
    "a column half declared",
    "two names exchanged",
    "a rule that is a statement",
    "a required column of another type",
}


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """
colour: red
severities: {rollop: error, ranges: fatal}
tables:
  llm_system_users: {}
  llm_system_interactions:
    names: {created: timestamp_utc, use_case: domain}
    columns:
      gpu_type: {type: text, role: context, known_at: request, max_missing: 2}
      latency_ms: {mx: 1}
      latencyms: {max: 1}
      is_failure: {required: false}
      region: {allowed: []}
      twice: {type: string, role: context, known_at: request}
      twice: {type: string, role: context, known_at: request}
    token_sums: [{total: total_tokens, parts: [nothing]}]
rules:
  - {table: llm_system_interactions, expression: is_failure}
  - {name: ranges, table: llm_system_interactions, expression: "nothing > 1"}
  - {name: fine, table: llm_system_interactions, expression: "read_csv('x') > prompt_tokens"}
"""
    found = problems_of(text, tmp_path)
    assert {p.split(": ")[0] for p in found} == {
        "colour",
        "severities.rollop",
        "severities.ranges",
        "tables.llm_system_users",
        f"{TABLE}.names.created",
        f"{TABLE}.names.use_case",
        f"{TABLE}.columns.gpu_type.type",
        f"{TABLE}.columns.gpu_type.max_missing",
        f"{TABLE}.columns.latency_ms.mx",
        f"{TABLE}.columns.latencyms",
        f"{TABLE}.columns.is_failure.required",
        f"{TABLE}.columns.region.allowed",
        f"{TABLE}.columns.twice",
        f"{TABLE}.token_sums.total_tokens",
        "rules[0].name",
        "rules[1].name",
        "rules[1].expression",
        "rules[2].expression",
    }


@pytest.mark.parametrize(
    "broken",
    [
        "gpu: {type: text, role: context, known_at: request}",
        "gpu: {type: string, role: !x context, known_at: request}",
        "gpu: !x {type: string, role: context, known_at: request}",
        "gpu: {type: string}",
        "gpu: {max: 3}",
        "gpu: 3",
    ],
)
def test_what_refers_to_a_column_that_was_refused_is_not_refused_too(
    tmp_path: Path, broken: str
) -> None:
    text = of_interactions(
        f"columns: {{{broken}}}, names: {{gpu: card}}, foreign_keys: {{gpu: {USERS}}}, "
        "token_parts: [{part: gpu, whole: prompt_tokens}]"
    )
    found = problems_of(f"{text}\n{rule('expression: gpu > 1')}", tmp_path)
    assert {p.split(": ")[0].split(".columns.gpu")[0] for p in found} == {TABLE}, found


def test_nothing_of_a_file_reaches_a_terminal_unprintable(tmp_path: Path) -> None:
    odd = '"\\e[31m\\u202e"'
    text = f"""
{odd}: 1
severities: {{{odd}: error}}
tables:
  {odd}: {{}}
  llm_system_interactions:
    key: {odd}
    names: {{{odd}: x, use_case: {odd}}}
    columns: {{{odd}: {{type: {odd}, role: context, known_at: request}}}}
    foreign_keys: {{region: {odd}}}
    token_sums: [{{total: {odd}, parts: [{odd}]}}]
rules:
  - {{name: a, table: {odd}, expression: {odd}}}
  - {{name: {odd}, table: llm_system_interactions, expression: {odd}}}
  - {{name: b, table: llm_system_interactions, expression: {odd}}}
"""
    found = problems_of(text, tmp_path)
    assert len(found) > 8
    for problem in found:
        assert problem.isprintable(), problem


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a list", b"- a\n", "expected keys and values, found a list"),
        ("a value", b"12\n", "expected keys and values, found a single value"),
        ("not YAML", b"a: [1,\n", "line 2, column 1:"),
        ("not UTF-8", b"a: \xff\n", "byte 3 is not UTF-8; save the file as UTF-8"),
        ("NUL", b"a: \x00\n", "character 3: U+0000 is not accepted in YAML"),
        ("too large", b"# " + b"x" * MAX_BYTES, "the file is larger than 1,000,000 bytes"),
        ("deep", b"a: " + b"[" * 5000, "nested too deeply, or not YAML"),
        ("two documents", b"a: 1\n---\na: 2\n", "line 2, column 1:"),
    ],
)
def test_a_file_that_is_no_contract_says_why(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    (found,) = problems_of(data, tmp_path)
    assert found.startswith(problem)


def test_a_file_that_cannot_be_read_says_which_option_named_it(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yml", tmp_path):
        with pytest.raises(
            UsageError, match=f"contract {path}: .*; give another file with --contract"
        ):
            contracts.load(path)


# ── the schema ───────────────────────────────────────────────────────────────────────────


def valid(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(contracts.json_schema())
    return not list(validator.iter_errors(yaml.safe_load(text)))


def test_the_schema_describes_the_files_that_load() -> None:
    jsonschema.Draft202012Validator.check_schema(contracts.json_schema())
    assert valid(EXAMPLE)
    assert valid(DEFAULT_PATH.read_text(encoding="utf-8"))
    assert valid("{}")


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.replace("severities", "severeties"),
        EXAMPLE.replace("duplicate_rows", "duplicated_rows"),
        EXAMPLE.replace("duplicate_rows: error", "duplicate_rows: fatal"),
        EXAMPLE.replace("llm_system_interactions:", "llm_interactions:"),
        EXAMPLE.replace("names:", "name:"),
        EXAMPLE.replace("max_missing", "max_mising"),
        EXAMPLE.replace("0.01", "1.01"),
        EXAMPLE.replace("latency_ms:", "latencyms:"),
        EXAMPLE.replace("role: context, ", ""),
        EXAMPLE.replace("{max: 600000}", "{maximum: 600000}"),
        EXAMPLE.replace("expression:", "condition:"),
        EXAMPLE.replace("severity: warning", "severity: note"),
    ],
)
def test_the_schema_refuses_a_slip(text: str) -> None:
    assert text != EXAMPLE
    assert not valid(text)
