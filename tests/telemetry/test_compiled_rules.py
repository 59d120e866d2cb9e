"""Rules of one's own against the engine: their types, and which rows keep them."""

from __future__ import annotations

import duckdb
import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, OwnRule
from analysis.errors import PolicyError
from analysis.telemetry.compiled_rules import CompiledRule, compiled

CONTRACT = contracts.load()


def own(*expressions: str, table: str = INTERACTIONS) -> contracts.Contract:
    rules = tuple(
        OwnRule(name=f"r{i}", table=table, expression=text) for i, text in enumerate(expressions)
    )
    return CONTRACT.model_copy(update={"rules": rules})


def test_without_rules_there_is_nothing_to_compile() -> None:
    assert compiled(CONTRACT) == ()


def test_a_rule_is_compiled_with_its_columns_and_what_to_do() -> None:
    rules = (
        OwnRule(
            name="cached", table=INTERACTIONS, expression="top_p > 0", severity="warning", hint="h"
        ),
        OwnRule(
            name="ended",
            table=SESSIONS,
            expression="end_timestamp_utc\n  >= start_timestamp_utc",
        ),
    )
    assert compiled(CONTRACT.model_copy(update={"rules": rules})) == (
        CompiledRule("cached", INTERACTIONS, ("top_p",), 'TRY(("top_p" > 0))', "warning", "h"),
        CompiledRule(
            "ended",
            SESSIONS,
            ("end_timestamp_utc", "start_timestamp_utc"),
            'TRY(("end_timestamp_utc" >= "start_timestamp_utc"))',
            "error",
            "expected end_timestamp_utc >= start_timestamp_utc",
        ),
    )


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("prompt_tokens", "comes to bigint; expected a condition: true, false or null"),
        ("coalesce(use_case, 'x')", "comes to varchar; expected a condition"),
        (
            "use_case > 1",
            "the engine refuses it: Binder Error: Cannot compare values of type VARCHAR",
        ),
        ("toxic_flag LIKE 'x'", "the engine refuses it: Binder Error"),
        ("lower(prompt_tokens) = 'a'", "the engine refuses it: Binder Error: No function matches"),
        ("prompt_tokens > 'many'", "the engine refuses it: Conversion Error"),
        ("timestamp_utc > 'never'", "the engine refuses it: Conversion Error"),
        ("timestamp_utc > timestamp 'never'", "the engine refuses it: Conversion Error"),
    ],
)
def test_what_does_not_hold_together_is_refused_in_one_line(expression: str, problem: str) -> None:
    with pytest.raises(PolicyError) as refused:
        compiled(own("is_failure", expression), source="own.yml")
    assert refused.value.source == "own.yml"
    (found,) = refused.value.problems
    assert found.startswith(f"rules[1].expression: {problem}")
    assert found.isprintable()


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(PolicyError) as refused:
        compiled(own("prompt_tokens", "getenv('HOME')", "is_failure", "use_case > 1"))
    assert {p.split(".")[0] for p in refused.value.problems} == {"rules[0]", "rules[1]", "rules[3]"}


@pytest.mark.parametrize(
    ("expression", "broken"),
    [
        ("prompt_tokens >= 0", [2]),
        ("prompt_tokens >= 0 AND prompt_tokens IS NOT NULL", [2, 3]),
        ("use_case IN ('a', 'b')", [4]),
        ("NOT is_failure OR use_case = 'a'", [2]),
        ("CAST(use_case AS bigint) < 10", [4]),
        ("CAST(use_case AS bigint) IS NOT NULL", [1, 2, 3]),
        ("prompt_tokens * 9223372036854775807 > 0", [2]),
        ("prompt_tokens % 0 > 1", []),
        ("length(use_case) = 1", [4]),
        ("timestamp_utc < timestamp '2026-01-02'", [3]),
        ("toxic_flag IS DISTINCT FROM true", [1]),
    ],
)
def test_a_row_keeps_a_rule_where_it_holds_or_nobody_can_say(
    expression: str, broken: list[int]
) -> None:
    (rule,) = compiled(own(expression))
    with duckdb.connect(":memory:") as con:
        con.execute(
            f"CREATE TABLE {INTERACTIONS} AS SELECT * FROM (VALUES "
            "(1, 5, 'a', true, TIMESTAMP '2026-01-01', true), "
            "(2, -5, 'b', true, TIMESTAMP '2026-01-01', false), "
            "(3, NULL, 'a', NULL, TIMESTAMP '2026-01-02', NULL), "
            "(4, 4, '12', false, NULL, NULL)) "
            "AS t(source_row, prompt_tokens, use_case, is_failure, timestamp_utc, toxic_flag)"
        )
        con.execute(f"ALTER TABLE {INTERACTIONS} ALTER prompt_tokens TYPE BIGINT")
        found = con.execute(
            f"SELECT source_row FROM {INTERACTIONS} t WHERE NOT ({rule.sql}) ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in found] == broken
