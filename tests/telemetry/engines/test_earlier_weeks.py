"""Weeks outside of the windows, releases and recorded releases: the same on both engines."""

from __future__ import annotations

from pathlib import Path

import yaml

from analysis import review as reviews
from tests.telemetry.engines.servers import Places, Postgres, of_csv
from tests.views.world import at, traffic, written

WINDOWS = {
    "baseline": {"start": at(35), "end": at(42)},
    "candidate": {"start": at(42), "end": at(56)},
    "exclude": [{"start": at(10), "end": at(11), "reason": "an incident"}],
}
REFERENCES = [
    {"name": "first", "release_id": "r1"},
    {"name": "second", "release_id": "r2"},
    {"name": "days", "start": at(3), "end": at(12)},
]


def test_references_are_the_same_in_every_form(postgres: Postgres, tmp_path: Path) -> None:
    rows = traffic(1200)
    rows["release_id"] = ["r1" if k < 400 else "r2" for k in range(len(rows))]
    tables = written(rows, tmp_path / "csv")
    project = tmp_path / "project"
    (project / "report").mkdir(parents=True)
    held = {"release": {"id": "r2"}, "windows": WINDOWS, "drift": {"references": REFERENCES}}
    policy = project / "report" / "policy.yml"
    policy.write_text(yaml.safe_dump(held))
    first = reviews.compute(reviews.request(data=str(tables), project=project))
    reviews.save(first, project / "data" / "releases" / "r2")
    held["drift"] = {"references": [*REFERENCES, {"name": "kept", "recorded": "data/releases/r2"}]}
    policy.write_text(yaml.safe_dump(held))
    places = Places(of_csv(tables, "csv"), tmp_path / "places")
    found = [
        reviews.compute(reviews.request(data=data, project=project))
        for data in (str(tables), places.parquet(), places.postgres(postgres))
    ]
    sections = [review.body["views"]["drift"] for review in found]
    assert sections[0]["references"] == sections[1]["references"] == sections[2]["references"]
    assert len({review.body["evidence_digest"] for review in found}) == 1
    kept = [r for r in sections[0]["references"] if r["kind"] == "recorded"]
    assert [(r["n_drifted"], r["reason"]) for r in kept] == [(0, None)]
    assert sum(r["kind"] == "week" for r in sections[0]["references"]) == 6
