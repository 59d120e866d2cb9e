"""What the drift did is the same on every engine, to the last digit that the artifact shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from analysis import contract
from analysis.artifact import rounded_tree
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.telemetry.address import address
from analysis.views.drift_consequence import consequence
from tests.telemetry.engines.servers import Places, Postgres, of_csv
from tests.views.test_drift import written
from tests.views.test_drift_consequence import drifted


def told(data: Any) -> Any:
    policy = Policy()
    telemetry = open_telemetry(data, contract.load(), policy)
    try:
        return rounded_tree(dataclasses.asdict(consequence(telemetry, policy, None)))
    finally:
        telemetry.close()


def place(tmp_path: Path) -> Places:
    rows = drifted(1200)
    rows.loc[rows.index % 11 == 0, "channel"] = None
    return Places(of_csv(written(rows, tmp_path / "csv"), "csv"), tmp_path / "places")


def test_postgres_tells_the_same(postgres: Postgres, tmp_path: Path) -> None:
    places = place(tmp_path)
    here = told(tmp_path / "csv")
    assert here["metrics"][0]["within"]["low"] is not None
    assert told(address(places.postgres(postgres))) == here
