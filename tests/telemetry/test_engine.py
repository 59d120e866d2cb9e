"""The embedded engine's own tables, beside files that others attach and let go."""

from __future__ import annotations

from pathlib import Path

import duckdb

from analysis.telemetry.engine import DuckDB


def test_what_is_dropped_is_the_sessions_own_whatever_it_is() -> None:
    engine = DuckDB(duckdb.connect())
    engine.create("held", "SELECT 1 AS x")
    engine.view("shown", "SELECT * FROM held")
    engine.con.execute("CREATE TEMP TABLE passing AS SELECT 1 AS x")
    beside = engine.beside()
    beside.drop("held", "shown")
    beside.create("held", "SELECT 2 AS x")
    assert (beside.rows("SELECT x FROM held"), engine.rows("SELECT x FROM shown")) == (
        [(2,)],
        [(1,)],
    )
    beside.drop("held")
    assert beside.rows("SELECT x FROM held") == [(1,)]
    engine.drop("held", "shown", "passing", "never there")
    assert engine.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]
    assert engine.rows("SELECT count(*) FROM duckdb_views() WHERE NOT internal") == [(0,)]


def test_a_drop_holds_no_file_that_another_thread_is_finishing(tmp_path: Path) -> None:
    """A full disk fails whoever lets go of a file last: the one who writes it, then."""
    engine, path = DuckDB(duckdb.connect()), tmp_path / "others.duckdb"
    engine.con.execute(f"ATTACH '{path}' AS others")
    engine.con.execute("CREATE TABLE others.rows AS SELECT 1 AS x")
    beside = engine.con.cursor()
    beside.execute("BEGIN")
    DuckDB(beside).drop("nothing")
    engine.con.execute("DETACH others")
    assert duckdb.connect(str(path)).execute("SELECT x FROM rows").fetchall() == [(1,)]
