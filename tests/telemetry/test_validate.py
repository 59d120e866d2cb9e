"""Every rule of the contract: what breaks it, and how the violation is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, RULES, SESSIONS, USERS
from analysis.telemetry.violations import Violation
from tests.telemetry.worlds import CONTRACT, World, tiny, validated, world_of

Break = Callable[[World], object]
SUSPICIONS = {  # test_suspicions and test_copies
    "near_duplicates", "clock", "missing_days", "constant", "missing_jump", "cardinality"
}  # fmt: skip
KINDS = ("csv", "csv.gz", "parquet", "parts")


@pytest.mark.parametrize("kind", KINDS)
def test_valid_telemetry_has_no_violation(world: World, kind: str) -> None:
    report = world.validated(kind)
    assert (report.n_rules, report.n_errors, report.n_warnings) == (len(RULES), 0, 0)
    assert report.violations == ()


@dataclass(frozen=True)
class Case:
    """What is broken, and the one violation that follows."""

    name: str
    broken: Break
    rule: str
    table: str
    column: str | None
    first_rows: tuple[int, ...]
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}"


def cell(table: str, column: str, row: int, value: str | None) -> Break:
    """One cell set to a value."""
    return lambda world: world.set(table, column, row, value)


def both(*breaks: Break) -> Break:
    """Several changes."""
    return lambda world: [b(world) for b in breaks]


def without(table: str, *columns: str) -> Break:
    """A table without some columns."""
    return lambda world: world.drop(table, *columns)


def extra(table: str, row: int, **cells: str | None) -> Break:
    """A copy of a row, with other cells."""
    return lambda world: world.append(table, row, **cells)


NO_USER_ROLLUPS = without(
    USERS,
    "user_total_cost_usd",
    "user_total_tokens",
    "user_total_requests",
    "user_total_failures",
)
NO_ROLLUPS = both(
    NO_USER_ROLLUPS,
    without(
        SESSIONS,
        "session_total_cost_usd",
        "session_total_tokens",
        "session_total_requests",
        "session_total_failures",
    ),
)
ROWS = INTERACTIONS
AT = "2026-09-07T01:00:00"

CASES = [
    Case("a boolean that is none", cell(ROWS, "is_failure", 5, "yes"), "types", ROWS, "is_failure", (5,)),
    Case("a fraction of a token", cell(ROWS, "retry_index", 3, "1.5"), "types", ROWS, "retry_index", (3,)),
    Case("a thousands separator", cell(ROWS, "latency_ms", 3, "1,000"), "types", ROWS, "latency_ms", (3,)),
    Case("no number", cell(ROWS, "latency_ms", 3, "NaN"), "types", ROWS, "latency_ms", (3,)),
    Case("infinity", cell(ROWS, "latency_ms", 3, "inf"), "types", ROWS, "latency_ms", (3,)),
    Case("a flag", cell(ROWS, "refusal_flag", 8, "maybe"), "types", ROWS, "refusal_flag", (8,)),
    Case("a time", cell(ROWS, "timestamp_utc", 2, "soon"), "types", ROWS, "timestamp_utc", (2,)),
    Case("no time", cell(ROWS, "timestamp_utc", 2, None), "types", ROWS, "timestamp_utc", (2,)),
    Case("a blank time", cell(ROWS, "timestamp_utc", 2, "  "), "types", ROWS, "timestamp_utc", (2,)),
    Case(
        "a session's time",
        cell(SESSIONS, "start_timestamp_utc", 2, "2026-02-30"),
        "types",
        SESSIONS,
        "start_timestamp_utc",
        (2,),
    ),
    Case(
        "a user's total", cell(USERS, "user_total_requests", 3, "two"), "types", USERS,
        "user_total_requests", (3,),
    ),
    Case("negative", cell(ROWS, "latency_ms", 4, "-0.5"), "ranges", ROWS, "latency_ms", (4,)),
    Case("too large to add up", cell(ROWS, "latency_ms", 4, "1e13"), "ranges", ROWS, "latency_ms", (4,)),
    Case("above its largest", cell(ROWS, "top_p", 1, "1.01"), "ranges", ROWS, "top_p", (1,)),
    Case(
        "not above its open end", cell(ROWS, "routing_propensity", 1, "0"), "ranges", ROWS,
        "routing_propensity", (1,),
    ),
    Case(
        "a huge score", cell(ROWS, "response_quality_score", 1, "-1e13"), "ranges", ROWS,
        "response_quality_score", (1,),
    ),
    Case("a key twice", cell(ROWS, "interaction_id", 7, "i00002"), "key_unique", ROWS, "interaction_id",
         (2, 7)),
    Case("a session twice", extra(SESSIONS, 2), "key_unique", SESSIONS, "session_id", (2, 5)),
    Case("a user twice", extra(USERS, 3), "key_unique", USERS, "user_id", (3, 4)),
    Case("no key", cell(ROWS, "interaction_id", 7, None), "key_null", ROWS, "interaction_id", (7,)),
    Case("a blank key", cell(ROWS, "interaction_id", 7, "  "), "key_null", ROWS, "interaction_id", (7,)),
    Case(
        "a session's user is empty", cell(SESSIONS, "user_id", 4, None), "key_null", SESSIONS, "user_id", (4,)
    ),
    Case(
        "no such session",
        both(NO_ROLLUPS, cell(ROWS, "session_id", 8, "s9")),
        "foreign_key",
        ROWS,
        "session_id",
        (8,),
    ),
    Case(
        "no such user",
        both(NO_ROLLUPS, without(SESSIONS, "user_id"), extra(ROWS, 8, interaction_id="i9", user_id="u9",
             session_id="s5"), extra(SESSIONS, 4, session_id="s5")),
        "foreign_key",
        ROWS,
        "user_id",
        (9,),
    ),
    Case(
        "a session without interactions",
        extra(SESSIONS, 4, session_id="s9"),
        "foreign_key",
        SESSIONS,
        "session_id",
        (5,),
    ),
    Case("a user without interactions", extra(USERS, 3, user_id="u9"), "foreign_key", USERS, "user_id", (4,)),
    Case(
        "another user than the session's",
        both(NO_USER_ROLLUPS, cell(ROWS, "user_id", 3, "u2")),
        "user_matches_session",
        ROWS,
        "user_id",
        (3,),
    ),
    Case(
        "two users in one session",
        both(NO_USER_ROLLUPS, without(SESSIONS, "user_id"), cell(ROWS, "user_id", 3, "u2")),
        "user_matches_session",
        ROWS,
        "user_id",
        (1, 2, 3),
    ),
    Case(
        "a total that is not the sum",
        both(NO_ROLLUPS, cell(ROWS, "total_tokens", 6, "64")),
        "token_sum",
        ROWS,
        "total_tokens",
        (6,),
    ),
    Case(
        "more cached than prompt tokens",
        cell(ROWS, "cached_prompt_tokens", 2, "21"),
        "token_sum",
        ROWS,
        "cached_prompt_tokens",
        (2,),
    ),
    Case(
        "more reasoning than completion tokens",
        cell(ROWS, "reasoning_tokens", 2, "6"),
        "token_sum",
        ROWS,
        "reasoning_tokens",
        (2,),
    ),
    Case("requests", cell(SESSIONS, "session_total_requests", 1, "4"), "rollup", SESSIONS,
         "session_total_requests", (1,)),
    Case("failures", cell(SESSIONS, "session_total_failures", 1, "2"), "rollup", SESSIONS,
         "session_total_failures", (1,)),
    Case("tokens", cell(USERS, "user_total_tokens", 2, "0"), "rollup", USERS, "user_total_tokens", (2,)),
    Case("money", cell(USERS, "user_total_cost_usd", 3, "0.015003"), "rollup", USERS,
         "user_total_cost_usd", (3,)),
    Case("another name", lambda w: w.add(USERS, "failed_requests", ["1", "1", "1"]), "rollup", USERS,
         "failed_requests", (3,)),
    Case("an offset", cell(ROWS, "timestamp_utc", 1, f"{AT}+02:00"), "timestamp_utc", ROWS,
         "timestamp_utc", (1,)),
    Case("an offset of a label", cell(ROWS, "label_available_utc", 4, f"{AT}-05:00"),
         "timestamp_utc", ROWS, "label_available_utc", (4,)),
    Case("a zone by name", cell(SESSIONS, "end_timestamp_utc", 1, f"{AT} CET"), "timestamp_utc", SESSIONS,
         "end_timestamp_utc", (1,)),
    Case("before the session", cell(ROWS, "timestamp_utc", 1, "2026-09-07T00:59:59Z"),
         "timestamp_in_session", ROWS, "timestamp_utc", (1,)),
    Case("after the session", cell(ROWS, "timestamp_utc", 3, "2026-09-07T02:00:01Z"),
         "timestamp_in_session", ROWS, "timestamp_utc", (3,)),
    Case(
        "ends before it starts",
        both(
            cell(SESSIONS, "start_timestamp_utc", 2, "2026-09-08T06:00:00Z"),
            cell(SESSIONS, "end_timestamp_utc", 2, "2026-09-08T05:59:59Z"),
            cell(ROWS, "timestamp_utc", 4, "2026-09-08T06:00:00Z"),
        ),
        "session_order",
        SESSIONS,
        "end_timestamp_utc",
        (2,),
    ),
    Case(
        "the same row under a new id",
        both(NO_ROLLUPS, extra(ROWS, 2, interaction_id="i9"), extra(ROWS, 2, interaction_id="i10")),
        "duplicate_rows",
        ROWS,
        None,
        (9, 10),
        "warning",
    ),
    Case(
        "the same row under a new id and trace",
        both(
            NO_ROLLUPS,
            lambda w: w.add(ROWS, "trace_id", [f"t{k}" for k in range(8)]),
            extra(ROWS, 4, interaction_id="i9", trace_id="t9"),
        ),
        "duplicate_rows",
        ROWS,
        None,
        (9,),
        "warning",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_broken_cell_gives_exactly_its_violation(world: World, case: Case) -> None:
    case.broken(world)
    wanted = len(world.tables[case.table])
    found = [v for v in world.violations() if not follows(v, case)]
    assert len(found) == 1, found
    (violation,) = found
    assert (violation.rule, violation.table, violation.column) == (
        case.rule,
        case.table,
        case.column,
    )
    assert violation.severity == case.severity
    assert violation.first_rows == case.first_rows
    assert violation.n_rows == len(case.first_rows)
    assert violation.share == len(case.first_rows) / wanted
    assert violation.hint


def follows(violation: Violation, case: Case) -> bool:
    """What breaks along with a case: times that end before they start hold no interaction."""
    return case.rule == "session_order" and violation.rule == "timestamp_in_session"


def test_every_rule_has_a_case() -> None:
    elsewhere = {"files", "columns", "missing_rate", *SUSPICIONS}
    assert {c.rule for c in CASES} | elsewhere == set(RULES)


class TestWhatIsNoViolation:
    @pytest.mark.parametrize(
        ("name", "fine"),
        [
            ("a label that is not known yet", cell(ROWS, "is_failure", 1, None)),
            ("no latency", cell(ROWS, "latency_ms", 1, None)),
            ("negative zero", cell(ROWS, "latency_ms", 1, "-0.0")),
            ("an integer as a float", cell(ROWS, "retry_index", 3, "1.0")),
            ("a retry that is not known", cell(ROWS, "retry_index", 3, None)),
            ("a session's times are unknown", cell(SESSIONS, "start_timestamp_utc", 1, None)),
            ("a total is unknown", cell(SESSIONS, "session_total_cost_usd", 1, None)),
            ("a column that nobody declared", cell(ROWS, "mood", 1, "{{< env HOME >}}")),
            ("+00:00", cell(ROWS, "timestamp_utc", 1, f"{AT}+00:00")),
            ("no offset anywhere", lambda world: world.add(
                ROWS, "timestamp_utc", [t[:-1] for t in world.tables[ROWS]["timestamp_utc"]])),
            ("a fraction of a second that the session lacks",
             cell(ROWS, "timestamp_utc", 3, "2026-09-07T02:00:00.999Z")),
            ("a total of the unknown failures too", cell(SESSIONS, "session_total_failures", 3, "2")),
            ("rows that differ in one cell", both(
                NO_ROLLUPS, extra(ROWS, 2, interaction_id="i9", use_case="support"))),
        ],
    )  # fmt: skip
    def test_it_is_valid(self, world: World, name: str, fine: Break) -> None:
        fine(world)
        assert world.violations() == ()

    def test_a_fraction_beyond_a_session_that_has_fractions_is_outside(self, world: World) -> None:
        world.set(SESSIONS, "start_timestamp_utc", 4, "2026-09-09T01:59:59.500Z")
        world.set(ROWS, "timestamp_utc", 3, "2026-09-07T02:00:00.999Z")
        assert [v.rule for v in world.violations()] == ["timestamp_in_session"]


class TestRollups:
    @pytest.mark.parametrize(
        ("n", "micros", "valid"),
        [(1, 1, True), (1, 2, False), (2, 1, True), (2, 2, False), (3, 2, True), (3, 3, False)]
        + [
            (9, 5, True),
            (9, 6, False),
            (1, -1, True),
            (1, -2, False),
            (9, -5, True),
            (9, -6, False),
        ],
    )
    def test_money_agrees_within_half_a_micro_usd_a_row_and_half_a_micro_usd(
        self, tmp_path: Path, n: int, micros: int, valid: bool
    ) -> None:
        rows = [{"session": "s", "user": "u", "cost_usd": "0.010000"} for _ in range(n)]
        world = world_of(rows, tmp_path / "data")
        world.set(SESSIONS, "session_total_cost_usd", 1, f"{(10_000 * n + micros) / 1e6:.6f}")
        assert (world.violations() == ()) == valid

    def test_costs_finer_than_a_micro_usd_add_up(self, tmp_path: Path) -> None:
        rows = [{"session": "s", "user": "u", "cost_usd": "0.0000004"} for _ in range(1000)]
        world = world_of(rows, tmp_path / "data")
        for total, valid in (("0.000400", True), ("0.000900", True), ("0.000901", False)):
            world.set(USERS, "user_total_cost_usd", 1, total)
            assert (not [v for v in world.violations() if v.rule == "rollup"]) == valid, total

    @pytest.mark.parametrize(
        ("column", "known", "below", "above"),
        [
            ("session_total_cost_usd", "0.011000", "0.004000", "0.090000"),
            ("session_total_tokens", "120", "10", "900"),
        ],
    )
    def test_a_total_over_unknown_parts_can_only_be_a_lower_bound(
        self, world: World, column: str, known: str, below: str, above: str
    ) -> None:
        world.set(ROWS, "cost_usd", 5, None).set(ROWS, "total_tokens", 5, None)
        for total, valid in ((known, True), (below, False), (above, True)):
            world.set(SESSIONS, column, 3, total)
            assert (world.violations() == ()) == valid, total

    @settings(max_examples=15, deadline=None)
    @given(data=st.data())
    def test_rollups_of_any_telemetry_agree_with_its_rows(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        row = st.fixed_dictionaries(
            {
                "session": st.sampled_from(["s1", "s2", "s3"]),
                "is_failure": st.sampled_from([True, False, None]),
                "cost_usd": st.sampled_from([None, "0.000001", "1.5", "0.1", "999999.999999"]),
                "prompt_tokens": st.one_of(st.none(), st.integers(0, 10**9)),
            }
        )
        rows = [
            {**r, "user": f"u{r['session']}"}
            for r in data.draw(st.lists(row, min_size=1, max_size=9))
        ]
        world = world_of(rows, tmp_path_factory.mktemp("world") / "data")
        assert [v for v in world.violations() if v.rule != "duplicate_rows"] == []


class TestEverythingAtOnce:
    def test_all_broken_rules_are_reported_errors_first(self, world: World) -> None:
        for case in CASES[:4]:
            case.broken(world)
        world.set(ROWS, "interaction_id", 7, "i00002").set(
            SESSIONS, "session_total_requests", 1, "4"
        )
        report = world.validated()
        assert [(v.rule, v.cause) for v in report.violations] == [
            ("types", None), ("types", 1), ("types", 1), ("rollup", 1), ("key_unique", None)
        ]  # fmt: skip
        assert report.n_errors == 5

    def test_many_violations_are_counted_and_five_rows_are_named(self, tmp_path: Path) -> None:
        n = 2000
        rows = [{"session": f"s{k}", "user": "u", "latency_ms": "x"} for k in range(n)]
        world = world_of(rows, tmp_path / "data")
        world.add(ROWS, "cost_usd", ["-1"] * n).add(ROWS, "interaction_id", ["same"] * n)
        found = {v.rule: v for v in world.violations()}
        for rule in ("types", "ranges", "key_unique"):
            assert (found[rule].n_rows, found[rule].share) == (n, 1.0)
            assert found[rule].first_rows == (1, 2, 3, 4, 5)

    def test_a_missing_column_hides_no_other_violation(self, world: World) -> None:
        world.drop(ROWS, "is_failure").set(ROWS, "latency_ms", 4, "-1").set(
            ROWS, "interaction_id", 2, "i00001"
        )
        world.append(USERS, 1, user_id="u9")
        assert [(v.rule, v.table, v.column) for v in world.violations()] == [
            ("columns", ROWS, "is_failure"),
            ("ranges", ROWS, "latency_ms"),
            ("key_unique", ROWS, "interaction_id"),
            ("foreign_key", USERS, "user_id"),
        ]

    def test_a_missing_table_hides_no_other_violation(self, world: World) -> None:
        world.set(USERS, "user_total_requests", 1, "9").set(ROWS, "latency_ms", 4, "-1")
        (world.write() / f"{SESSIONS}.csv").unlink()
        assert [(v.rule, v.table) for v in validated(world.folder).violations] == [
            ("files", SESSIONS),
            ("ranges", ROWS),
            ("rollup", USERS),
        ]

    @pytest.mark.parametrize(
        ("table", "column"),
        [
            (ROWS, c)
            for c in ("interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure")
        ]
        + [(SESSIONS, "session_id"), (USERS, "user_id")],
    )
    def test_a_required_column_that_is_missing_is_named(
        self, world: World, table: str, column: str
    ) -> None:
        world.drop(table, column)
        violation = world.violations()[0]
        assert (violation.rule, violation.table, violation.column) == ("columns", table, column)
        assert violation.hint == f"the required column {column} is missing"

    def test_a_column_in_another_case_is_named_with_its_spelling(self, world: World) -> None:
        world.tables[ROWS] = world.tables[ROWS].rename(columns={"use_case": "Use_Case"})
        (violation,) = world.violations()
        assert (violation.rule, violation.column) == ("columns", "use_case")
        assert "'Use_Case'" in violation.hint

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_huge_numbers_are_violations_and_no_crash(self, world: World, kind: str) -> None:
        largest = "9223372036854775807"
        for column in ("prompt_tokens", "completion_tokens", "total_tokens"):
            world.set(ROWS, column, 1, largest)
        world.set(ROWS, "cost_usd", 1, "1e308").set(ROWS, "cost_usd", 2, "1e308")
        world.set(SESSIONS, "session_total_tokens", 1, largest).set(
            USERS, "user_total_cost_usd", 1, "1e308"
        )
        rules = {v.rule for v in world.violations(kind)}
        assert rules == {"ranges", "token_sum", "rollup"}


class TestMissingRate:
    def test_a_used_column_with_too_many_nulls_is_a_warning(self, world: World) -> None:
        world.set(ROWS, "latency_ms", 3, None)
        used = frozenset({"latency_ms", "cost_usd", "absent"})
        (violation,) = world.violations(used_columns=used, max_missing=0.05)
        assert (violation.rule, violation.column) == ("missing_rate", "latency_ms")
        assert (violation.severity, violation.n_rows) == ("warning", 1)
        assert (violation.share, violation.first_rows) == (1 / 8, (3,))

    @pytest.mark.parametrize(("limit", "n"), [(0.125, 0), (0.124, 1), (0.0, 1), (1.0, 0)])
    def test_the_limit_itself_is_accepted(self, world: World, limit: float, n: int) -> None:
        world.set(ROWS, "latency_ms", 3, None)
        used = frozenset({"latency_ms"})
        assert len(world.violations(used_columns=used, max_missing=limit)) == n

    def test_a_column_that_the_policy_does_not_use_may_be_empty(self, world: World) -> None:
        world.add(ROWS, "region", [None] * 8)
        assert world.violations(used_columns=frozenset({"latency_ms"})) == ()


def test_hostile_values_are_values(world: World) -> None:
    hostile = ["'); DROP TABLE fact;--", "<script>alert(1)</script>", "{{< env HOME >}}"]
    hostile += ["=1+1", "\x1b[31m", "\u202e", '"', "a\nb"]
    world.add(ROWS, "use_case", hostile)
    for column in ("interaction_id", "session_id", "user_id"):
        names = {
            v: f"{hostile[k % 8]}{k}" for k, v in enumerate(world.tables[ROWS][column].unique())
        }
        for table in (ROWS, SESSIONS, USERS):
            if column in world.tables[table]:
                world.add(table, column, world.tables[table][column].map(names))
    assert world.violations() == ()
    world.set(ROWS, "latency_ms", 1, "-1")
    assert [v.rule for v in world.violations()] == ["ranges"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_violation_is_the_same_in_every_format(tmp_path: Path, kind: str) -> None:
    world = tiny(tmp_path / "data")
    world.set(ROWS, "cost_usd", 3, "-1").append(SESSIONS, 4, session_id="s9")
    world.set(ROWS, "cached_prompt_tokens", 2, "21")
    found = [(v.rule, v.table, v.column, v.n_rows, v.first_rows) for v in world.violations(kind)]
    assert found == [
        ("ranges", ROWS, "cost_usd", 1, (3,)),
        ("rollup", SESSIONS, "session_total_cost_usd", 1, (1,)),
        ("rollup", USERS, "user_total_cost_usd", 1, (1,)),
        ("foreign_key", SESSIONS, "session_id", 1, (5,)),
        ("token_sum", ROWS, "cached_prompt_tokens", 1, (2,)),
    ]


def test_shuffled_rows_break_the_same_rules(world: World) -> None:
    world.set(ROWS, "latency_ms", 3, "-1").append(USERS, 3, user_id="u9")
    before = [(v.rule, v.table, v.column, v.n_rows, v.share) for v in world.violations()]
    for name, frame in world.tables.items():
        world.tables[name] = frame.sample(frac=1, random_state=3).reset_index(drop=True)
    after = [(v.rule, v.table, v.column, v.n_rows, v.share) for v in world.violations()]
    assert after == before


def test_a_contract_may_allow_some_values_only(world: World) -> None:
    table = CONTRACT.tables[ROWS]
    rule = table.columns["use_case"].model_copy(update={"allowed": ("coding", "it's")})
    changed = table.model_copy(update={"columns": {**table.columns, "use_case": rule}})
    tables = {**CONTRACT.tables, ROWS: changed}
    own = contracts.Contract(severities=CONTRACT.severities, tables=tables)
    (violation,) = validated(world.write(), own).violations
    assert (violation.rule, violation.first_rows) == ("ranges", (7, 8))


def test_a_contract_may_call_a_rule_a_warning(world: World) -> None:
    world.set(ROWS, "latency_ms", 1, "-1")
    severities = {**CONTRACT.severities, "ranges": "warning"}
    own = contracts.Contract(severities=severities, tables=CONTRACT.tables)
    report = validated(world.write(), own)
    assert (report.n_errors, report.n_warnings) == (0, 1)


def test_the_shares_of_a_large_table_are_of_its_rows(tmp_path: Path) -> None:
    rows = pd.DataFrame(world_of([{"session": "s", "user": "u"}], tmp_path).tables[ROWS])
    many = pd.concat([rows] * 1000, ignore_index=True)
    many["interaction_id"] = [f"i{k}" for k in range(1000)]
    many["latency_ms"] = [str(-k - 1 if k % 4 == 0 else k) for k in range(1000)]
    world = world_of(many, tmp_path / "data")
    (violation,) = [v for v in world.violations() if v.severity == "error"]
    assert (violation.n_rows, violation.share) == (250, 0.25)
    assert violation.first_rows == (1, 5, 9, 13, 17)
