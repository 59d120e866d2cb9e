"""Whole reviews of the same tables on the embedded engine and in a real local Spark session."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.telemetry.address import address
from analysis.telemetry.validate import validate
from analysis.telemetry.warehouse import open_data
from tests.telemetry.engines import odd
from tests.telemetry.engines.servers import Places, of_csv
from tests.telemetry.worlds import CONTRACT, tiny

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One session for the module, which every engine finds running."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: requirements-dev.txt has it")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: Spark needs 17 or newer")
    from analysis.telemetry.engines.spark import session

    # Sockets and processes of Py4J are closed when the interpreter ends, which Python warns of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = session("local", threads=2, memory="2GB", warehouse=tmp_path_factory.mktemp("spark"))
        yield made
        made.stop()


def test_a_text_stays_that_text() -> None:
    from analysis.telemetry.engines.spark import Spark

    texts = (*odd.HOSTILE, "${env:PATH}", "${spark:spark.master}", "\\u0041", "\\n", "a\\", "\\%")
    engine = Spark("local", "spark:local")
    parameters = {f"v{k}": text for k, text in enumerate(texts)}
    listed = ", ".join(f"${name} AS {name}" for name in parameters)
    assert engine.row(f"SELECT {listed}", parameters) == texts
    engine.put("given", pd.DataFrame({"k": range(len(texts)), "t": list(texts)}))
    assert [t for _, t in engine.rows("SELECT k, t FROM given ORDER BY k")] == list(texts)
    ordered = [t for (t,) in engine.rows("SELECT t FROM given ORDER BY t")]
    assert ordered == sorted(texts, key=str.encode)
    engine.close()


def test_an_odd_world_has_the_same_evidence(tmp_path: Path) -> None:
    # Each statement costs Spark half a second, whatever it reads.
    world = dataclasses.replace(odd.HOSTILE_WORLD, n=600)
    places = Places(world.tables(tmp_path), tmp_path / "places")
    files = world.review(places.parquet(), tmp_path)
    there = world.review(places.spark(), tmp_path)
    assert there["evidence_digest"] == files["evidence_digest"]
    assert there["decision"] == files["decision"]
    assert [(one["format"], one["rows"]) for one in there["inputs"]] == [
        ("spark", one["rows"]) for one in files["inputs"]
    ]


@pytest.mark.simulate
def test_the_sample_has_the_same_evidence(tmp_path: Path) -> None:
    places = Places(of_csv(ROOT / "data" / "sample"), tmp_path / "places")
    policy = ROOT / "report" / "policy.yml"
    found = [
        reviews.compute(reviews.request(data=data, policy=policy)).body
        for data in (str(ROOT / "data" / "sample"), places.spark())
    ]
    assert found[0]["evidence_digest"] == found[1]["evidence_digest"]
    assert found[0]["decision"] == found[1]["decision"]


@pytest.mark.simulate
@pytest.mark.parametrize("world", [odd.RELEASES, odd.FIRST], ids=str)
def test_other_odd_worlds_have_the_same_evidence(tmp_path: Path, world: odd.Odd) -> None:
    places = Places(world.tables(tmp_path), tmp_path / "places")
    files, there = (world.review(data, tmp_path) for data in (places.parquet(), places.spark()))
    assert there["evidence_digest"] == files["evidence_digest"]
    assert there["decision"] == files["decision"]


def broken(data: Path | str) -> list[tuple[object, ...]]:
    source = open_data(data if isinstance(data, Path) else address(data), CONTRACT)
    try:
        report = validate(source, CONTRACT)
    finally:
        source.close()
    return sorted(
        (v.rule, v.table, v.column or "", v.severity, v.n_rows, v.share, v.cause is None)
        for v in (*report.violations, *report.below)
    )


def test_broken_tables_in_a_schema_break_the_same_rules(
    spark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = tiny(tmp_path)
    for column, row, value in (
        ("session_id", 3, "nobody"),
        ("interaction_id", 3, "i00002"),
        ("cost_usd", 5, "-1"),
        ("latency_ms", 6, "nan"),
        ("use_case", 7, "back\\slash' \"{{"),
    ):
        world.set(INTERACTIONS, column, row, value)
    world.set(USERS, "user_total_requests", 1, "99")
    tables = {table: world.arrow(table) for table in TABLES}
    tables[INTERACTIONS] = tables[INTERACTIONS].rename_columns(
        ["Retry_Index" if c == "retry_index" else c for c in tables[INTERACTIONS].column_names]
    )
    places = Places(tables, tmp_path / "places")
    files = broken(Path(places.parquet()))
    spark.sql("CREATE SCHEMA IF NOT EXISTS logs")  # type: ignore[attr-defined]
    for name in TABLES:
        found = spark.read.parquet(f"{places.parquet()}/{name}.parquet")  # type: ignore[attr-defined]
        found.write.mode("overwrite").saveAsTable(f"logs.{name}")
    assert len(files) >= 5
    assert broken("spark:local?schema=logs") == files
    out = tmp_path / "out"
    assert main(["review", "--data", "spark:local?schema=logs", "--out", str(out)]) == 1
    assert "foreign_key" in capsys.readouterr().err
    assert not out.exists()
    assert [(v[0], v[1]) for v in broken("spark:local?schema=nowhere")] == [
        ("files", table) for table in sorted(TABLES)
    ]


def test_nothing_of_a_review_stays_in_the_session(spark: object, tmp_path: Path) -> None:
    world = tiny(tmp_path)
    places = Places({table: world.arrow(table) for table in TABLES}, tmp_path / "places")
    spark.createDataFrame([(1,)], "n int").createOrReplaceTempView("mine")  # type: ignore[attr-defined]
    assert broken(places.spark()) == broken(Path(places.parquet()))
    left = [t.name for t in spark.catalog.listTables()]  # type: ignore[attr-defined]
    assert left == ["mine"]


def test_a_folder_of_parts_is_a_table_and_the_order_of_rows_is_none(tmp_path: Path) -> None:
    world = tiny(tmp_path)
    tables = {table: world.arrow(table) for table in TABLES}
    places = Places(tables, tmp_path / "places")
    parts = tmp_path / "parts"
    for name, table in tables.items():
        (parts / name).mkdir(parents=True)
        backwards = table.take(pa.array(range(len(table) - 1, -1, -1)))
        pq.write_table(backwards.slice(0, 2), parts / name / "part-0.parquet")
        pq.write_table(backwards.slice(2), parts / name / "part-1.parquet")

    def digests(data: str) -> list[tuple[str, str]]:
        source = open_data(address(data), CONTRACT)
        source.close()
        return [(one.table, one.sha256) for one in source.inputs]

    whole = digests(places.spark())
    assert digests(f"spark:local?path={parts}") == whole
    assert {t for t, _ in whole} == {INTERACTIONS, SESSIONS, USERS}
