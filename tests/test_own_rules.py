"""Rules of one's own: what an expression may hold, and that nothing else gets to the engine."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time

import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS
from analysis.contract_model import MAX_EXPRESSION
from analysis.own_rules import MAX_NESTING, condition
from analysis.rule_sql import ALLOWED, FUNCTIONS, NoCondition

TABLE = contracts.load().tables[INTERACTIONS]


def problems_of(expression: str) -> tuple[str, ...]:
    with pytest.raises(NoCondition) as refused:
        condition(expression, TABLE)
    for problem in refused.value.problems:
        assert problem.isprintable()
    return refused.value.problems


@pytest.mark.parametrize(
    ("expression", "sql", "columns"),
    [
        ("is_failure", '"is_failure"', "is_failure"),
        (
            "cached_prompt_tokens <= prompt_tokens",
            '("cached_prompt_tokens" <= "prompt_tokens")',
            "cached_prompt_tokens prompt_tokens",
        ),
        (
            "NOT is_failure OR failure_type IS NOT NULL",
            '((NOT "is_failure") OR (NOT ("failure_type" IS NULL)))',
            "failure_type is_failure",
        ),
        ("toxic_flag is distinct from true", '("toxic_flag" IS DISTINCT FROM true)', "toxic_flag"),
        ("use_case IN ('a', 'it''s')", "(\"use_case\" IN ('a', 'it''s'))", "use_case"),
        ("retry_index NOT IN (1, -2)", '(NOT ("retry_index" IN (1, (- 2))))', "retry_index"),
        ("top_p BETWEEN 0 AND 1e0", '("top_p" BETWEEN 0 AND 1e0)', "top_p"),
        ("use_case NOT LIKE 'x%'", "(\"use_case\" NOT LIKE 'x%')", "use_case"),
        ("use_case = '; DROP TABLE x; --'", "(\"use_case\" = '; DROP TABLE x; --')", "use_case"),
        ("a_flag = b_flag", '("a_flag" = "b_flag")', "a_flag b_flag"),
        ("\"use_case\" <> ''", "(\"use_case\" <> '')", "use_case"),
        (
            "prompt_tokens + 2 * 3 - 1 > 0",
            '((("prompt_tokens" + (2 * 3)) - 1) > 0)',
            "prompt_tokens",
        ),
        ("(prompt_tokens + 2) * 3 > 0", '((("prompt_tokens" + 2) * 3) > 0)', "prompt_tokens"),
        (
            "is_failure AND a_flag OR NOT b_flag",
            '(("is_failure" AND "a_flag") OR (NOT "b_flag"))',
            "a_flag b_flag is_failure",
        ),
        (
            "CASE WHEN is_failure THEN failure_type <> '' ELSE true END",
            '(CASE WHEN "is_failure" THEN ("failure_type" <> \'\') ELSE true END)',
            "failure_type is_failure",
        ),
        (
            "CAST(prompt_version AS bigint) > prompt_version::double",
            '(TRY_CAST("prompt_version" AS BIGINT) > TRY_CAST("prompt_version" AS DOUBLE))',
            "prompt_version",
        ),
        (
            "timestamp_utc >= timestamp '2020-01-01'",
            "(\"timestamp_utc\" >= CAST('2020-01-01' AS TIMESTAMP))",
            "timestamp_utc",
        ),
        (
            "round(cost_usd, 2) = greatest(cost_usd, 0, 1)",
            '(round("cost_usd", 2) = greatest("cost_usd", 0, 1))',
            "cost_usd",
        ),
    ],
)
def test_an_expression_is_written_anew_with_every_name_quoted(
    expression: str, sql: str, columns: str
) -> None:
    found = condition(expression, TABLE)
    assert found.sql == sql
    assert found.columns == tuple(columns.split())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_list_can_be_called(name: str) -> None:
    more = {
        "nullif": ", use_case",
        "least": ", scenario",
        "greatest": ", scenario",
        "contains": ", 'a'",
        "starts_with": ", 'a'",
    }.get(name, "")
    assert f'{name}("use_case"' in condition(f"{name}(use_case{more}) = 'a'", TABLE).sql


def test_a_column_may_be_called_like_a_word_of_sql() -> None:
    own = contracts.Column(type="string", role="context", known_at="request")
    names = ("date", "select", "timestamp", "order", "group", "Ünïcode", "two words")
    table = TABLE.model_copy(update={"columns": {**TABLE.columns, **dict.fromkeys(names, own)}})
    for name in names:
        written = f'"{name}"' if " " in name else name
        assert condition(f"{written} <> ''", table).columns == (name,)


def test_the_words_of_sql_may_be_written_in_any_case() -> None:
    assert condition("is_failure Is nULL", TABLE) == condition("is_failure IS NULL", TABLE)


# (expression, what is found)
HOSTILE = [
    ("read_csv('/etc/passwd')", "read_csv(…)"),
    ("use_case = read_text('/etc/passwd')", "read_text(…)"),
    ("getenv('HOME') = use_case", "getenv(…)"),
    ("pg_sleep(10) is null", "pg_sleep(…)"),
    ("random() < top_p", "random(…)"),
    ("(SELECT 1)", "'SELECT'"),
    ("prompt_tokens IN (SELECT 1)", "'SELECT'"),
    ("EXISTS(FROM x)", "EXISTS(…)"),
    ("1); DROP TABLE x; --", "comment"),
    ("is_failure); DROP TABLE x", "';' (a rule is one condition)"),
    ("is_failure;", "';'"),
    ("is_failure -- and more", "comment"),
    ("is_failure /* and more */", "comment"),
    ("is_failure /*+ hint */", "comment"),
    ("{# is_failure #}", "empty"),
    ("-- only", "empty"),
    ("count(*) > 1", "count(…)"),
    ("sum(prompt_tokens) OVER () > 1", "sum(…)"),
    ("lower(*) = use_case", "found *"),
    ("*", "names no column"),
    ("t.prompt_tokens > 1", "'.' (a name stands without its table"),
    ("main.x.prompt_tokens > 1", "'.'"),
    ("prompt_tokens > $1", "'$'"),
    ("prompt_tokens > ?", "'?'"),
    ("prompt_tokens > :limit", "':'"),
    ("prompt_tokens > @limit", "'@'"),
    ("is_failure UNION SELECT true", "'UNION'"),
    ("x -> x > prompt_tokens", "'->'"),
    ("[prompt_tokens] = [1]", "'['"),
    ("{'a': prompt_tokens} = 1", "'{'"),
    ("use_case || 'a' = 'b'", "'||' (texts are not joined)"),
    ("use_case ~ '(a+)+b'", "'~'"),
    ("prompt_tokens ^ 9 > 1", "'^'"),
    ("use_case ILIKE 'x'", "'ILIKE'"),
    ("use_case LIKE 'a' ESCAPE 'b'", "'ESCAPE'"),
    ("use_case COLLATE nocase = 'x'", "'COLLATE'"),
    ("CAST(use_case AS json) IS NULL", "'json'"),
    ("CAST(use_case AS varchar(10)) = 'a'", "'varchar (…)'"),
    ("use_case::blob IS NULL", "'blob'"),
    ("INTERVAL '1' day > timestamp_utc", "'INTERVAL'"),
    ("e'\\x41' = use_case", "'A'"),
    ("$$a$$ = use_case", "'a'"),
    ("use_case = 'a' 'b'", "two texts in a row"),
    ("use_case > ('a', 'b')", "a list of values outside of IN"),
    ("use_case IN (scenario)", "column in a list"),
    ("use_case NOT IN ('a', NULL)", "NULL in a list"),
    ("use_case IN ()", "IN without values"),
    ("length(DISTINCT use_case) > 1", "DISTINCT within a function"),
    ("ceil(cost_usd, 2) > 1", "ceil with decimals"),
    ("abs(cost_usd, 2) > 1", "cannot be read as one condition"),
    ("is_failure IS prompt_tokens", "IS with something else"),
    ("columns('.*') IS NULL", "columns(…)"),
    ("#1 > 0", "'#'"),
    ("is_failure AS x", "'x'"),
    ("prompt_tokens, is_failure", "cannot be read as one condition"),
    ("prompt_tokens prompt_tokens", "cannot be read as one condition"),
    ("prompt_tokens >", "cannot be read as one condition"),
    ("use_case = 'open", "is a quote left open?"),
    ("prompt_tokens < 1e999", "the number 1e999"),
    ("1 = 1", "names no column"),
    ("", "empty"),
    (" \n\t", "empty"),
    ("NULL", "names no column"),
    ("Use_Case = 'a'", "did you mean 'use_case'?"),
    ("usecase = 'a'", "did you mean 'use_case'?"),
    ("gpu_type = 'a'", "declare it under columns"),
    ('"*_flag"', "'*_flag' is no column"),
    ("source_row > 1", "'source_row' is no column"),
    ("prompt_tokеns > 1", "did you mean 'prompt_tokens'?"),  # a Cyrillic letter
    ("ｐrompt_tokens > 1", "is no column of the table"),  # a full-width letter
    ("a_flag \u200b> 1", "U+200B"),
    ("use_case = '\u202e'", "U+202E"),
    ("use_case = '\x00'", "U+0000"),
    ("use_case = '\x1b[31m'", "U+001B"),
    ("use_case = '\ud800'", "U+D800"),
    ("prompt_to\u00adkens > 1", "U+00AD"),
    ("a_flag li\u212ae 'x'", "li\u212ae"),  # the sign for kelvin, which is a k in lower case
]


@pytest.mark.parametrize(("expression", "found"), HOSTILE)
def test_all_that_is_not_on_the_list_is_refused(expression: str, found: str) -> None:
    problems = problems_of(expression)
    assert any(found in problem for problem in problems), problems


def test_what_a_rule_may_hold_is_said_once_and_everything_found_is_said() -> None:
    problems = problems_of("t.x > $1; read_csv('a')")
    assert sum(ALLOWED in problem for problem in problems) == 1
    for found in ("'t'", "'.'", "'$'", "';'", "read_csv(…)"):
        assert any(found in problem for problem in problems), (found, problems)


# ── size ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "expression", "problem"),
    [
        ("too long", "x" * 2001, "has 2,001 characters; expected at most 2,000"),
        ("ten thousand brackets", "(" * 10_000 + "is_failure" + ")" * 10_000, "has 20,010 char"),
        (
            "brackets",
            "(" * 900 + "is_failure" + ")" * 900,
            "has brackets 900 deep; expected at most",
        ),
        ("brackets left open", "(" * 900 + "is_failure", "has brackets 900 deep"),
        ("calls", "abs(" * 17 + "cost_usd" + ")" * 17 + " > 1", "has brackets 17 deep"),
        ("NOT", "NOT " * 480 + "is_failure", "is nested too deeply"),
        ("signs", "- " * 900 + "prompt_tokens > 1", "is nested too deeply"),
        ("CASE", "CASE WHEN " * 190 + "a_flag", "cannot be read|is nested too deeply"),
    ],
)
def test_what_is_too_long_or_too_deep_is_refused_soon(
    name: str, expression: str, problem: str
) -> None:
    start = time.monotonic()
    (found,) = problems_of(expression)
    assert re.match(problem, found), found
    assert time.monotonic() - start < 5  # it takes milliseconds; unguarded, some take hours


def test_what_is_as_long_and_as_deep_as_may_be_is_read() -> None:
    deep = "(" * MAX_NESTING + "is_failure" + ")" * MAX_NESTING
    assert condition(deep, TABLE).sql == '"is_failure"'
    long = " AND ".join(["top_p > 0"] * 142)
    assert MAX_EXPRESSION - 20 < len(long) <= MAX_EXPRESSION
    assert condition(long, TABLE).sql.count("AND") == 141


def test_any_row_of_allowed_words_is_read_or_refused_and_nothing_else() -> None:
    words = re.split(
        " ",
        "( ) , = < - + * / // % :: and or not in between like is null true case when then else end as "
        "distinct from cast( abs( coalesce( trim( a_flag prompt_tokens 'x' 1 bigint varchar",
    )
    draw = random.Random(7)
    n_read = 0
    for _ in range(1500):
        expression = " ".join(draw.choice(words) for _ in range(draw.randint(1, 12)))
        try:
            sql = condition(expression, TABLE).sql
        except NoCondition:
            continue
        n_read += 1
        bare = re.sub("'x'|\"(a_flag|prompt_tokens)\"", "", sql)
        assert not set(bare) & set("'\";"), expression
    assert n_read > 5


def test_the_parser_is_loaded_only_for_a_rule() -> None:
    code = "import analysis.own_rules, sys; print('sqlglot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
