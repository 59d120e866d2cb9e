"""Arrivals by day and hour are the same on PostgreSQL as in files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.telemetry.address import address
from analysis.telemetry.arrivals import arrivals
from tests.telemetry.engines.servers import Places, Postgres, of_csv
from tests.telemetry.worlds import CONTRACT
from tests.views.world import at, traffic, written


def test_arrivals_are_the_same_in_every_form(postgres: Postgres, tmp_path: Path) -> None:
    tables = written(traffic(900), tmp_path / "csv")
    windows = {
        "baseline": {"start": at(0), "end": at(42)},
        "candidate": {"start": at(42), "end": at(56)},
        "exclude": [{"start": at(10), "end": at(11), "reason": "an incident"}],
    }
    policy = Policy.model_validate({"windows": windows})
    places = Places(of_csv(tables, "csv"), tmp_path / "places")
    found = []
    for data in (tables, Path(places.parquet()), address(places.postgres(postgres))):
        telemetry = open_telemetry(data, CONTRACT, policy)
        before = pd.Timestamp(at(42)).to_pydatetime()
        seen = arrivals(telemetry.engine, telemetry.windows, before)
        found.append((seen.days.tolist(), seen.by_hour.tolist()))
        telemetry.close()
    assert found[0] == found[1] == found[2]
    assert sum(map(sum, found[0][1])) > 400
    assert len(found[0][0]) in (40, 41)  # without the day of the incident, and perhaps the first
