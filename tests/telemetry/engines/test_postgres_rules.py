"""The same tables break the same rules in files and in PostgreSQL, by as many rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis import contract as contracts
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS, Contract
from analysis.telemetry.address import address
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import ContractSection
from analysis.telemetry.warehouse import open_data
from tests.telemetry.engines.servers import Places, Postgres, of_frames
from tests.telemetry.services import around
from tests.telemetry.test_suspicions import CASES as SUSPICIONS
from tests.telemetry.test_suspicions import Case as Suspicion
from tests.telemetry.test_suspicions import planted
from tests.telemetry.test_validate import CASES, Case
from tests.telemetry.worlds import CONTRACT, World, tiny

Tables = dict[str, pa.Table]


def validated(data: Path | str, contract: Contract = CONTRACT) -> ContractSection:
    source = open_data(data if isinstance(data, Path) else address(data), contract)
    try:
        return validate(source, contract)
    finally:
        source.close()


def broken(report: ContractSection) -> list[tuple[Any, ...]]:
    """What must not depend on the engine: hints name files, rows count in its own order."""
    return sorted(
        (v.rule, v.table, v.column or "", v.severity, v.n_rows, v.share, v.cause is None)
        for v in (*report.violations, *report.below)
    )


def in_both(tables: Tables, server: Postgres, folder: Path) -> list[list[tuple[Any, ...]]]:
    places = Places(tables, folder / "places")
    return [
        broken(validated(Path(places.parquet()))),
        broken(validated(places.postgres(server))),
    ]


def typed(case: Case, folder: Path) -> Tables | None:
    """The tables of a case; None where a typed column cannot hold what is broken."""
    world = tiny(folder)
    case.broken(world)
    try:
        return {table: world.arrow(table) for table in TABLES}
    except (ValueError, TypeError):
        return None


def test_every_broken_cell_breaks_the_same_rule(postgres: Postgres, tmp_path: Path) -> None:
    rules: set[str] = set()
    for number, case in enumerate(CASES):
        tables = typed(case, tmp_path / f"world-{number}")
        if tables is None:
            continue
        files, server = in_both(tables, postgres, tmp_path / str(number))
        assert server == files, case
        rules |= {rule for rule, *_ in server}
    assert rules >= {c.rule for c in CASES} - {"timestamp_utc"}


@pytest.mark.parametrize("case", SUSPICIONS[::2], ids=str)
def test_what_is_suspicious_is_counted_alike(
    postgres: Postgres, tmp_path: Path, case: Suspicion
) -> None:
    _, rows = planted(case, case.shapes[0])
    files, server = in_both(of_frames(around(rows, tmp_path).tables), postgres, tmp_path)
    assert server == files
    assert case.rule in {rule for rule, *_ in server}


# ── tables that are broken as a whole ────────────────────────────────────────────────────


def replaced(table: str, column: str, values: pa.Array) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        place = tables[table].column_names.index(column)
        tables[table] = tables[table].set_column(place, column, values)

    return change


def renamed(table: str, column: str, name: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        names = [name if c == column else c for c in tables[table].column_names]
        tables[table] = tables[table].rename_columns(names)

    return change


def gone(table: str) -> Callable[[Tables], None]:
    return lambda tables: tables.pop(table) and None


def emptied(table: str) -> Callable[[Tables], None]:
    return lambda tables: tables.update({table: tables[table].slice(0, 0)})


EIGHT = [float(k) for k in range(8)]
WHOLE = {
    "a table is missing": gone(SESSIONS),
    "all but one are missing": lambda tables: [tables.pop(t) for t in (SESSIONS, USERS)],
    "a table is empty": emptied(USERS),
    "the interactions are empty": emptied(INTERACTIONS),
    "a required column is missing": lambda tables: tables.update(
        {INTERACTIONS: tables[INTERACTIONS].drop_columns(["is_failure"])}
    ),
    "a key column is missing": lambda tables: tables.update(
        {SESSIONS: tables[SESSIONS].drop_columns(["session_id"])}
    ),
    "a column in another case": renamed(INTERACTIONS, "latency_ms", "Latency_MS"),
    "a required column in another case": renamed(INTERACTIONS, "is_failure", "IS_FAILURE"),
    "not a number, and beyond all": replaced(
        INTERACTIONS,
        "latency_ms",
        pa.array([1.0, float("nan"), float("inf"), -float("inf"), None, 2.0, 3.0, 4.0]),
    ),
    "halves of a token": replaced(
        INTERACTIONS, "prompt_tokens", pa.array([10.0, 20.5, 30.0, 40.0, 50.0, 60.0, 70.0, 1e19])
    ),
    "flags beyond 0 and 1": replaced(
        INTERACTIONS, "is_failure", pa.array([0, 1, 0, 0, None, 1, 0, 2])
    ),
    "keys of numbers": replaced(INTERACTIONS, "interaction_id", pa.array(range(8))),
    "dates for times": replaced(
        INTERACTIONS, "timestamp_utc", pa.array([20_000] * 8, pa.int32()).cast(pa.date32())
    ),
    "a retry in 32 bits": replaced(
        INTERACTIONS, "retry_index", pa.array([0, 0, 1, 0, 0, 0, 0, -1], pa.int32())
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_broken_table_breaks_the_same_rules(
    postgres: Postgres, tmp_path: Path, name: str
) -> None:
    world = tiny(tmp_path)
    tables = {table: world.arrow(table) for table in TABLES}
    WHOLE[name](tables)
    files, server = in_both(tables, postgres, tmp_path)
    if name == "flags beyond 0 and 1":
        # A cell of a flag is looked at in files; of a column of integers 0 and 1 alone are flags.
        files = [f for f in files if f[0] != "types"]
        server = [f for f in server if f[0] != "types"]
    assert server == files


def test_text_for_a_number_is_a_violation_of_the_column(postgres: Postgres, tmp_path: Path) -> None:
    world = tiny(tmp_path)
    tables = {table: world.arrow(table) for table in TABLES}
    replaced(INTERACTIONS, "latency_ms", pa.array([str(x) for x in EIGHT]))(tables)
    replaced(SESSIONS, "start_timestamp_utc", pa.array(["soon"] * 4))(tables)
    report = validated(Places(tables, tmp_path / "places").postgres(postgres))
    found = {(v.rule, v.table, v.column): v.hint for v in report.violations if v.rule == "types"}
    assert set(found) == {
        ("types", INTERACTIONS, "latency_ms"),
        ("types", SESSIONS, "start_timestamp_utc"),
    }
    assert "cast it in a view" in found["types", INTERACTIONS, "latency_ms"]


def test_a_column_that_the_contract_calls_otherwise_is_found(
    postgres: Postgres, tmp_path: Path
) -> None:
    own = tmp_path / "own.yml"
    own.write_text(
        "tables:\n  llm_system_interactions:\n    names:\n      latency_ms: 'Wait, in ms'\n"
        "      use_case: 'Art \"des\" Falls'\n"
    )
    contract = contracts.load(own)
    world = tiny(tmp_path)
    tables = {table: world.arrow(table) for table in TABLES}
    renamed(INTERACTIONS, "latency_ms", "Wait, in ms")(tables)
    renamed(INTERACTIONS, "use_case", 'Art "des" Falls')(tables)
    places = Places(tables, tmp_path / "places")
    files = validated(Path(places.parquet()), contract)
    server = validated(places.postgres(postgres), contract)
    assert broken(server) == broken(files) == []


# ── commands ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def invalid(postgres: Postgres, tmp_path: Path) -> str:
    """The address of tables with an orphan, a key twice and a negative cost."""
    world = tiny(tmp_path / "world")
    for column, value in (
        ("session_id", "nobody"),
        ("interaction_id", "i00002"),
        ("cost_usd", "-1"),
    ):
        world.set(INTERACTIONS, column, 3, value)
    tables = {table: world.arrow(table) for table in TABLES}
    return Places(tables, tmp_path / "places").postgres(postgres)


def test_a_review_of_a_broken_table_ends_with_1_and_writes_nothing(
    invalid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["review", "--data", invalid, "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "foreign_key" in told.err
    assert "key_unique" in told.err
    assert not out.exists()


def test_validate_takes_an_address(
    invalid: str, world: World, postgres: Postgres, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["validate", "--data", invalid]) == 1
    assert "key_unique" in capsys.readouterr().out
    places = Places({t: world.arrow(t) for t in TABLES}, tmp_path / "valid")
    for data in (places.postgres(postgres), places.duckdb()):
        assert main(["validate", "--data", data]) == 0
        assert "error" not in capsys.readouterr().out.partition("0 errors")[2]


@pytest.mark.parametrize(
    "argv",
    [
        ["schema", "policy", "--propose"],
        ["schema", "contract", "--propose"],
        ["validate", "--quarantine", "{}/rows"],
        ["review", "--quarantine", "{}/rows", "--out", "{}/out"],
    ],
    ids=" ".join,
)
def test_what_is_for_files_alone_says_so(
    invalid: str, argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(a.format(tmp_path) for a in argv), "--data", invalid]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "files" in told.err
    assert not (tmp_path / "rows").exists()


def test_rows_count_in_the_order_of_the_key_by_bytes(postgres: Postgres, tmp_path: Path) -> None:
    world = tiny(tmp_path)
    names = ["b", "B", "a b", "ab", "ä", "a", "_", "😀"]
    world.add(INTERACTIONS, "interaction_id", names)
    world.add(INTERACTIONS, "latency_ms", [None if k else "-5" for k in range(8)])
    tables = {table: world.arrow(table) for table in TABLES}
    report = validated(Places(tables, tmp_path / "places").postgres(postgres))
    (found,) = [v for v in report.violations if v.rule == "ranges"]
    row = sorted(names, key=str.encode).index("b") + 1
    assert found.first_rows == (row,)
    assert np.isclose(found.share, 1 / 8)


def test_lost_interactions_are_bounded_in_files_alone(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yml"
    own.write_text("severities: {rollup: warning}\n")
    world = tiny(tmp_path).set(USERS, "user_total_requests", 1, "99")
    tables = {table: world.arrow(table) for table in TABLES}
    data = Places(tables, tmp_path / "places").postgres(postgres)
    assert main(["review", "--data", data, "--contract", str(own)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "rollup" in told.err
    assert "files alone" in told.err
