"""Every statement of a review compiles to each dialect, those of engines that cannot run here too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlglot
from sqlglot import exp

from analysis import review as reviews
from analysis.telemetry.dialect import DIALECTS, transpile
from analysis.telemetry.engine import DuckDB
from tests.telemetry.engines import odd
from tests.telemetry.engines.servers import Places, Postgres

ROOT = Path(__file__).resolve().parents[3]
Statements = dict[str, tuple[str, Mapping[str, object]]]

OURS = {"epoch_us", "hash", "binary_text", "utc_of"}
"""Names that `telemetry.dialect` gives a meaning in each dialect."""
ALLOWED = {
    "abs", "and", "anonymous", "approx_distinct", "bitwise_or_agg", "case", "cast", "coalesce", "concat",
    "count", "floor", "greatest", "if", "lag", "least", "length", "logical_and", "logical_or", "lower",
    "max", "md5", "min", "nullif", "or", "regexp_full_match", "row_number", "str_position", "substring",
    "sum", "timestamp_trunc", "trim", "try_cast",
}  # fmt: skip
"""What was found to mean the same on every engine that runs here."""
FORBIDDEN = (
    exp.Array, exp.Unnest, exp.Lateral, exp.Insert, exp.Update, exp.Alter, exp.Create, exp.Quantile,
    exp.PercentileCont, exp.AnyValue, exp.Bracket, exp.Pivot, exp.Lambda,
)  # fmt: skip


def shape(sql: str) -> str:
    """A statement without its numbers: what differs in these alone compiles alike."""
    return re.sub(r"\d+", "0", sql)


def recorded(monkeypatch: pytest.MonkeyPatch) -> Statements:
    """Collects what the embedded engine is asked, as it is written."""
    statements: Statements = {}

    def spy(name: str, at: int) -> None:
        real = getattr(DuckDB, name)

        def run(self: DuckDB, *given: Any, **more: Any) -> Any:
            parameters = given[at + 1] if len(given) > at + 1 else more.get("parameters")
            statements.setdefault(shape(given[at]), (given[at], parameters or {}))
            return real(self, *given, **more)

        monkeypatch.setattr(DuckDB, name, run)

    for name, at in (("rows", 0), ("frame", 0), ("stream", 0), ("create", 1), ("view", 1)):
        spy(name, at)
    return statements


def check(statements: Statements) -> None:
    """Each is house SQL, and compiles to every dialect."""
    problems: dict[str, str] = {}
    for sql, parameters in statements.values():
        for node in sqlglot.parse_one(sql, read="duckdb").walk():
            if isinstance(node, exp.Anonymous):
                named = "" if str(node.this).lower() in OURS else str(node.this)
            elif isinstance(node, exp.Func):
                named = "" if node.sql_name().lower() in ALLOWED else node.sql_name()
            else:
                named = type(node).__name__ if isinstance(node, FORBIDDEN) else ""
            if named:
                problems.setdefault(f"{named} is no house SQL", sql)
        for dialect in DIALECTS:
            try:
                compiled = transpile(sql, dialect, parameters)
                sqlglot.parse_one(compiled, read=dialect)
            except sqlglot.errors.SqlglotError as error:
                problems.setdefault(f"{dialect}: {str(error)[:100]}", sql)
                continue
            if "$" in sql and any(f"${name}" in compiled for name in parameters):
                problems.setdefault(f"{dialect}: a parameter stays", sql)
    assert problems == {}


@pytest.mark.parametrize("world", odd.WORLDS, ids=str)
def test_every_statement_of_a_review_compiles(
    world: odd.Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(world.tables(tmp_path), tmp_path / "places")
    statements = recorded(monkeypatch)
    world.review(places.parquet(), tmp_path)
    # A first release compares nothing.
    assert len(statements) > (80 if world is odd.FIRST else 100)
    check(statements)


def test_every_statement_that_a_warehouse_gets_compiles(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening, digesting and encoding where the tables lie are statements of their own."""
    from analysis.telemetry.engines.postgres import Postgres as Engine

    real = Engine._own
    statements: Statements = {}

    def own(self: Engine, sql: str, parameters: Mapping[str, object] | None = None) -> str:
        statements.setdefault(shape(sql), (sql, parameters or {}))
        return real(self, sql, parameters)

    monkeypatch.setattr(Engine, "_own", own)
    places = Places(odd.FIRST.tables(tmp_path), tmp_path / "places")
    odd.FIRST.review(places.postgres(postgres), tmp_path)
    opening = {
        s: given for s, given in statements.items() if re.search("binary_text|hash|cells_", s)
    }
    assert len(opening) > 10
    check(opening)


@pytest.mark.simulate
def test_every_statement_of_the_sample_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    statements = recorded(monkeypatch)
    data, policy = str(ROOT / "data" / "sample"), ROOT / "report" / "policy.yml"
    reviews.compute(reviews.request(data=data, policy=policy))
    check(statements)


# ── single expressions ───────────────────────────────────────────────────────────────────

TEXTS = (
    "1", "-1.5", "+.5", "1.", "1e5", "1E-3", " 7 ", "inf", "-Infinity", "nan", "", "x", "1e", "1d", "1f",
    "0x10", "--1", "true", "T", "yes", "Y", "no", "f", "0", "on", "½", "١",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["DOUBLE", "BOOLEAN"])
def test_a_text_is_read_as_a_number_or_a_flag_alike(
    kind: str, postgres: Postgres, tmp_path: Path
) -> None:
    import duckdb

    from analysis.telemetry.address import address
    from analysis.telemetry.warehouse import connect

    frame = pd.DataFrame({"k": range(len(TEXTS)), "t": list(TEXTS)})
    found = []
    for engine in (DuckDB(duckdb.connect()), connect(address(postgres.address("postgres")))):
        engine.put("given", frame)
        read = f"SELECT k, TRY_CAST(t AS {kind}) FROM given ORDER BY k"
        found.append([str(value) for _, value in engine.rows(read)])
        engine.close()
    assert found[0] == found[1]


def test_hostile_texts_stay_texts_in_every_dialect() -> None:
    for text in odd.HOSTILE:
        for dialect in DIALECTS:
            compiled = transpile("SELECT x FROM t WHERE y = $v", dialect, {"v": text})
            (literal,) = sqlglot.parse_one(compiled, read=dialect).find_all(exp.Literal)
            assert literal.this == text, (dialect, compiled)


def test_numbers_keep_every_bit_in_every_dialect() -> None:
    for number in (0.1, 1e-320, 1.7976931348623157e308, 2**62, -(2**62), np.float64(1 / 3)):
        for dialect in DIALECTS:
            compiled = transpile("SELECT x FROM t WHERE y > $v", dialect, {"v": number})
            text = compiled.rpartition("> ")[2].strip("()").replace(" ", "")
            assert float(text) == float(number), (dialect, compiled)
