"""Whole reviews of the same tables on the embedded engine and on PostgreSQL: the same evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis import review as reviews
from tests.telemetry.engines import odd
from tests.telemetry.engines.servers import Places, Postgres, of_csv

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = 'Tables of "ours"'


def evidence(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return body["evidence_digest"], body["decision"]


def test_the_server_does_not_sort_by_bytes(postgres: Postgres) -> None:
    # Otherwise the tests of this module could not see an order that follows the collation.
    if not postgres.icu:
        pytest.skip("this PostgreSQL was built without ICU: its databases sort by bytes")
    assert postgres.run("SELECT 'a' < 'B', 'a b' < 'ab'") == [(True, True)]


def test_the_sample_has_the_same_evidence_in_every_form(postgres: Postgres, tmp_path: Path) -> None:
    places = Places(of_csv(ROOT / "data" / "sample"), tmp_path / "places")
    policy = ROOT / "report" / "policy.yml"
    found = {
        form: reviews.compute(reviews.request(data=data, policy=policy)).body
        for form, data in (
            ("committed", str(ROOT / "data" / "sample")),
            ("duckdb", places.duckdb(SCHEMA)),
            ("postgres", places.postgres(postgres, SCHEMA)),
        )
    }
    assert len({body["evidence_digest"] for body in found.values()}) == 1
    assert len({body["decision"]["outcome"] for body in found.values()}) == 1
    inputs = found["postgres"]["inputs"]
    assert [(one["file"], one["format"], one["bytes"]) for one in inputs] == [
        (f"{SCHEMA}.{one['table']}", "postgres", None) for one in inputs
    ]
    assert [one["rows"] for one in inputs] == [one["rows"] for one in found["committed"]["inputs"]]


@pytest.mark.parametrize("world", odd.WORLDS, ids=str)
def test_an_odd_world_has_the_same_evidence_in_every_form(
    postgres: Postgres, tmp_path: Path, world: odd.Odd
) -> None:
    places = Places(world.tables(tmp_path), tmp_path / "places")
    forms = (places.parquet(), places.duckdb(), places.postgres(postgres, alone=world is odd.FIRST))
    first, *others = [evidence(world.review(data, tmp_path)) for data in forms]
    assert others == [first, first]
