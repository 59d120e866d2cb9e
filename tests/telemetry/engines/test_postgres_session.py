"""What a review leaves in PostgreSQL, what it needs there, and what others may do meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, TABLES
from analysis.errors import UsageError
from analysis.telemetry.address import address
from analysis.telemetry.warehouse import open_warehouse
from tests.telemetry.engines.odd import FIRST
from tests.telemetry.engines.servers import OWNER, Places, Postgres
from tests.telemetry.worlds import CONTRACT, tiny

CATALOG = """
    SELECT n.nspname, c.relname, c.relkind, c.reltuples >= 0, c.relfilenode
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND n.nspname NOT LIKE 'pg_toast_temp%'
    ORDER BY 1, 2
"""


@pytest.fixture
def world(tmp_path: Path) -> Places:
    return Places(FIRST.tables(tmp_path), tmp_path / "places")


def database(places: Places, server: Postgres) -> str:
    """The tables in `public` of a new database, whose name it returns."""
    name = server.database()
    server.load(places.tables, name)
    return name


def sums(server: Postgres, name: str) -> list[Any]:
    return [
        server.run(f'SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM "{t}" t', name)
        for t in TABLES
    ]  # fmt: skip


def test_nothing_is_written_to_the_telemetry_and_nothing_stays(
    postgres: Postgres, world: Places, tmp_path: Path
) -> None:
    name = database(world, postgres)
    before = (postgres.run(CATALOG, name), sums(postgres, name))
    FIRST.review(postgres.address(name), tmp_path)
    assert (postgres.run(CATALOG, name), sums(postgres, name)) == before


def test_a_writer_that_commits_during_a_review_changes_nothing(
    postgres: Postgres, world: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database(world, postgres)
    quiet = FIRST.review(postgres.address(name), tmp_path)
    commits: list[str] = []
    real = reviews.VIEWS["health"]

    def health(telemetry: Any, policy: Any) -> Any:
        for sql in (
            f'DELETE FROM "{INTERACTIONS}" WHERE is_failure',
            f'UPDATE "{INTERACTIONS}" SET latency_ms = latency_ms * 10',
            f'ALTER TABLE "{TABLES[2]}" RENAME TO elsewhere',
        ):
            try:
                with psycopg.connect(
                    postgres.conninfo(name), autocommit=True, options="-c lock_timeout=500"
                ) as con:
                    con.execute(sql)
                commits.append(sql.split()[0])
            except psycopg.errors.LockNotAvailable:
                pass  # what changes a table's shape waits for the review
        return real(telemetry, policy)

    monkeypatch.setattr(reviews, "VIEWS", {**reviews.VIEWS, "health": health})
    busy = FIRST.review(postgres.address(name), tmp_path)
    assert commits == ["DELETE", "UPDATE"]
    assert busy["evidence_digest"] == quiet["evidence_digest"]
    assert busy["inputs"] == quiet["inputs"]
    monkeypatch.undo()
    assert FIRST.review(postgres.address(name), tmp_path)["inputs"] != quiet["inputs"]


def test_a_writer_between_two_tables_is_not_seen_in_the_second(
    postgres: Postgres, world: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.telemetry.engines.postgres import Postgres as Engine

    name = database(world, postgres)
    real = Engine.create

    def create(self: Engine, table: str, *given: Any) -> None:
        real(self, table, *given)
        if table == f"cells_{INTERACTIONS}":
            postgres.run(f'DELETE FROM "{TABLES[1]}"', name)

    monkeypatch.setattr(Engine, "create", create)
    source = open_warehouse(address(postgres.address(name)), CONTRACT)
    source.close()
    assert source.rows(TABLES[1]) == len(world.tables[TABLES[1]])
    assert source.violations == ()


# ── roles ────────────────────────────────────────────────────────────────────────────────


def role(server: Postgres, name: str, *, reads: bool = True, temporary: bool = True) -> str:
    """A role without any right to write."""
    made = f"{name}_{'r' if reads else ''}{'t' if temporary else ''}"
    server.run(f"CREATE ROLE {made} LOGIN")
    server.run(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    server.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    server.run(f"GRANT CONNECT{', TEMPORARY' if temporary else ''} ON DATABASE {name} TO {made}")
    if reads:
        server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {made}", name)
    return made


def test_a_role_that_may_only_read_is_enough(
    postgres: Postgres, world: Places, tmp_path: Path
) -> None:
    name = database(world, postgres)
    reader = role(postgres, name)
    body = FIRST.review(postgres.address(name, role=reader), tmp_path)
    assert body["evidence_digest"] == FIRST.review(world.parquet(), tmp_path)["evidence_digest"]


@pytest.mark.parametrize(("reads", "temporary"), [(True, False), (False, True)])
def test_a_role_that_may_not_is_told_what_it_needs(
    postgres: Postgres, world: Places, reads: bool, temporary: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = database(world, postgres)
    poor = role(postgres, name, reads=reads, temporary=temporary)
    assert main(["validate", "--data", postgres.address(name, role=poor)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "TEMPORARY" in told.err
    assert "permission denied" in told.err
    assert poor not in told.err


def test_a_server_that_goes_away_is_an_error_and_no_traceback(
    postgres: Postgres, world: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from analysis.telemetry import warehouse

    name = database(world, postgres)
    real = warehouse._Opened.input

    def cut(self: Any, *given: Any) -> Any:
        postgres.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
            "AND pid <> pg_backend_pid()"
        )
        return real(self, *given)

    monkeypatch.setattr(warehouse._Opened, "input", cut)
    out = tmp_path / "out"
    assert main(["review", "--data", postgres.address(name), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "PostgreSQL stopped" in told.err
    assert OWNER not in told.err
    assert not out.exists()


# ── digests of inputs ────────────────────────────────────────────────────────────────────


def digests(server: Postgres, tables: dict[str, pa.Table], folder: Path) -> dict[str, str]:
    source = open_warehouse(address(Places(tables, folder).postgres(server)), CONTRACT)
    source.close()
    return {one.table: one.sha256 for one in source.inputs}


def test_the_digest_of_a_table_covers_every_cell_and_no_order(
    postgres: Postgres, tmp_path: Path
) -> None:
    made = tiny(tmp_path)
    made.add(INTERACTIONS, "region", ["1:a", "", None, "-", "a", "1", "é", "e\u0301"])
    tables = {table: made.arrow(table) for table in TABLES}
    whole = digests(postgres, tables, tmp_path)
    backwards = {
        t: table.take(pa.array(range(len(table) - 1, -1, -1))) for t, table in tables.items()
    }
    assert digests(postgres, backwards, tmp_path) == whole
    seen = {json.dumps(whole)}
    rows = tables[INTERACTIONS]
    for place, column in enumerate(rows.column_names):
        values = rows[column].to_pylist()
        for changed in (values[1:] + values[:1], [None, *values[1:]]):
            if changed == values:
                continue
            new = rows.set_column(place, column, pa.array(changed, rows.schema.field(place).type))
            found = digests(postgres, {**tables, INTERACTIONS: new}, tmp_path)
            assert found[TABLES[1]] == whole[TABLES[1]]
            seen.add(json.dumps(found))
            assert found[INTERACTIONS] != whole[INTERACTIONS], (column, changed)
    twice = pa.concat_tables([rows, rows.slice(0, 1)])
    assert digests(postgres, {**tables, INTERACTIONS: twice}, tmp_path) != whole
    swapped = rows.rename_columns([{"region": "segment"}.get(c, c) for c in rows.column_names])
    assert digests(postgres, {**tables, INTERACTIONS: swapped}, tmp_path) != whole
    tick = pc.add(rows["latency_ms"], 1e-12)
    place = rows.column_names.index("latency_ms")
    near = rows.set_column(place, "latency_ms", tick)
    assert digests(postgres, {**tables, INTERACTIONS: near}, tmp_path) != whole


def test_a_schema_that_is_not_there_has_no_tables(postgres: Postgres, world: Places) -> None:
    name = database(world, postgres)
    source = open_warehouse(address(postgres.address(name, "nowhere")), CONTRACT)
    source.close()
    assert [(v.rule, v.table) for v in source.violations] == [("files", t) for t in TABLES]
    with pytest.raises(UsageError, match="does not exist"):
        open_warehouse(address(postgres.address("no_such_database")), CONTRACT)
