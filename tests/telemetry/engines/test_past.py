"""History features are the same on every engine, and nothing of them stays in any."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

from analysis.contract import TABLES
from analysis.telemetry import Telemetry, open_telemetry
from analysis.telemetry.address import address
from analysis.telemetry.history import forget, split
from analysis.telemetry.past import label_of, past_of
from analysis.views.triage_data import truth
from tests.telemetry.engines.servers import Places, Postgres
from tests.telemetry.engines.test_dialects import check, recorded
from tests.telemetry.test_past import DELAY, POLICY, WORDS, expected, features, random_rows, same
from tests.telemetry.worlds import CONTRACT, world_of

LABEL = "escalated"
RULES = POLICY.model_copy(update={"triage": POLICY.triage.model_copy(update={"label": LABEL})})


def places(folder: Path, n: int = 160) -> Places:
    """Telemetry with ties, late labels, and a label of texts."""
    rows = [{**row, LABEL: WORDS[k % len(WORDS)]} for k, row in enumerate(random_rows(11, n))]
    world = world_of(rows, folder / "world")
    return Places({table: world.arrow(table) for table in TABLES}, folder / "places")


def told(telemetry: Telemetry) -> list[pd.DataFrame]:
    """The features by either label, and a drawn sample with them."""
    label = label_of(telemetry, "is_failure")
    parts = split(telemetry.engine, telemetry.windows, (0.5, 0.7))
    with past_of(telemetry, label, DELAY) as made:
        drawn = telemetry.sample(
            ["ts_us", *made.columns], parts.where[0], max_rows=30, source=made.source
        )
    forget(telemetry.engine)
    drawn = drawn.astype(dict.fromkeys(made.columns, float))
    return [features(telemetry, label), features(telemetry, label_of(telemetry, LABEL)), drawn]


def in_files(where: Places) -> list[pd.DataFrame]:
    """The same of the files, which is what the words say."""
    telemetry = open_telemetry(Path(where.parquet()), CONTRACT, RULES)
    found = told(telemetry)
    same(found[0], expected(telemetry))
    telemetry.close()
    assert all(frame["past_user_failures"].max() > 0 for frame in found)
    return found


def test_postgres_computes_the_same_and_keeps_nothing(postgres: Postgres, tmp_path: Path) -> None:
    where = places(tmp_path)
    telemetry = open_telemetry(address(where.postgres(postgres)), CONTRACT, RULES)
    for found, want in zip(told(telemetry), in_files(where), strict=True):
        pd.testing.assert_frame_equal(found, want, check_dtype=False)
    engine = telemetry.engine
    names = "SELECT relname FROM pg_class WHERE relname LIKE '%past%' AND relnamespace >= 16384"
    assert engine.rows(names) == []
    with past_of(telemetry, label_of(telemetry, "is_failure"), DELAY):
        assert len(engine.rows(names)) >= 4
    assert engine.rows(names) == []
    telemetry.close()


def test_spark_computes_the_same_and_keeps_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed: requirements-dev.txt has it")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: Spark needs 17 or newer")
    from analysis.telemetry.engines.spark import session

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = session("local", threads=2, memory="2GB", warehouse=tmp_path / "warehouse")
        where = places(tmp_path, 60)
        telemetry = open_telemetry(address(where.spark()), CONTRACT, RULES)
        # Each statement costs Spark half a second, whatever it reads.
        found = features(telemetry, label_of(telemetry, "is_failure"))
        pd.testing.assert_frame_equal(found, in_files(where)[0], check_dtype=False)
        read = f"SELECT {label_of(telemetry, LABEL).bad} FROM fact ORDER BY interaction_id"
        words = [truth(pd.Series([WORDS[k % len(WORDS)]], dtype=object)) for k in range(60)]
        assert [v for (v,) in telemetry.engine.rows(read)][:60] == [
            bool(true[0]) if known[0] else None for known, true in words
        ]
        assert not [t.name for t in made.catalog.listTables() if "past" in t.name]
        telemetry.close()
        made.stop()


def test_every_statement_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = places(tmp_path)
    telemetry = open_telemetry(Path(where.parquet()), CONTRACT, RULES)
    statements = recorded(monkeypatch)
    told(telemetry)
    telemetry.close()
    assert sum("past" in sql for sql in statements) >= 10
    check(statements)
