"""The floor of the scale benchmark adds up what a review adds up, and so does the work it claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis import contract as contracts
from analysis import policy as policies
from analysis.policy import Policy
from analysis.stats.sketch import quantile
from analysis.telemetry import Metric, Telemetry, open_telemetry
from analysis.telemetry.bin_cuts import MIN_CATEGORY_ROWS, MIN_CATEGORY_SHARE
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.events import timelines
from analysis.telemetry.history import split
from analysis.telemetry.requests import logical_requests
from analysis.telemetry.slices import slices
from analysis.views import health
from analysis.views.drift_features import binned_features, drift_columns
from analysis.views.triage_data import PART_SHARES
from benchmarks.scale_peers import floor, floor_drift, floor_read, floor_windows, notebook
from benchmarks.scale_peers.floor import Part
from benchmarks.scale_peers.floor_slices import NF, B, C, F, N
from benchmarks.validation_peers.rules import INTERACTIONS, SESSIONS, USERS

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
METRICS = [Metric.rate("failure", "failure"), Metric.rate("breach", "breach"),
           Metric.mean("cost", "cost_nano", 10**9)]  # fmt: skip
COLUMNS = {"failure": (NF, F), "breach": (N, B), "cost": (N, C)}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policies.load(ROOT / "report" / "policy.yml").policy


@pytest.fixture(scope="module")
def telemetry(policy: Policy) -> Iterator[Telemetry]:
    """The sample, as a review reads it."""
    opened = open_telemetry(SAMPLE, contracts.load(), policy)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def found() -> Mapping[str, Part]:
    """What the floor makes of the same files."""
    return floor.reductions(SAMPLE)


def test_the_floor_knows_the_columns_that_the_policy_names(policy: Policy) -> None:
    assert policy.dimensions == floor_read.DIMENSIONS
    assert policy.windows.candidate.days == floor_read.CANDIDATE_DAYS
    assert policy.windows.baseline.days == floor_read.BASELINE_DAYS
    assert policy.latency_slo.rule.above == floor_read.LATENCY_MS


def test_each_part_is_timed(found: Mapping[str, Part]) -> None:
    assert tuple(found) == floor.PARTS
    assert all(part.wall > 0 for part in found.values())
    assert found["validate"].found == {}


def test_health_has_the_moments_of_every_figure(
    telemetry: Telemetry, found: Mapping[str, Part]
) -> None:
    result = found["health"].found
    metrics = [*METRICS, *(m for m, _ in health.more_metrics(telemetry))]
    renamed = {"retry_rate": "retry"}
    moments = telemetry.moments(metrics)
    assert {renamed.get(m.name, m.name) for m in metrics} == set(floor_windows.METRICS)
    for name, theirs in moments.items():
        own = renamed.get(name, name)
        # The floor adds numbers as they are, and money in nano-USD.
        scale = np.array([1, 1 if name == "cost" else theirs.metric.scale])
        n, y = scale
        for win, w in ((1, theirs.candidate), (0, theirs.baseline)):
            expected = np.array([w.n, w.y, w.nn, w.yy, w.ny], dtype=float)
            expected /= [n, y, n * n, y * y, n * y]
            assert np.asarray(result.sums[own][win], dtype=float) == pytest.approx(
                expected, rel=1e-5
            )
        cross = np.array(
            [theirs.cross.n1n0, theirs.cross.y1y0, theirs.cross.n1y0, theirs.cross.y1n0]
        )
        assert np.asarray(result.cross[own], dtype=float) == pytest.approx(
            cross.astype(float) / [n * n, y * y, n * y, y * n], rel=1e-5
        )


def test_quantiles_are_those_of_the_sketch(telemetry: Telemetry, found: Mapping[str, Part]) -> None:
    counts = telemetry.latency_histograms()
    for win, values in found["health"].found.quantiles.items():
        expected = [quantile(counts[win], q) / 1e3 for q in floor_windows.QUANTILES]
        assert values == pytest.approx(expected, rel=0.02)


def test_budgets_have_every_five_minutes(telemetry: Telemetry, found: Mapping[str, Part]) -> None:
    buckets = {int(b): rest for b, *rest in found["budgets"].found.buckets}
    span = telemetry.windows.candidate
    first = int(span.start.timestamp()) // 300
    for bad, (n, y) in (("failure", (0, 1)), ("breach", (2, 3))):
        (line,) = timelines(telemetry, [bad], span.start, span.end, own_rows=False)
        events, failures = line.n, line.y
        own = [buckets.get(first + i, (0, 0, 0, 0)) for i in range(len(events))]
        assert [b[n] for b in own] == events.tolist()
        assert [b[y] for b in own] == failures.tolist()


def test_slices_are_the_same_with_the_same_moments(
    telemetry: Telemetry, found: Mapping[str, Part], policy: Policy
) -> None:
    own = found["slices"].found
    with slices(
        telemetry, policy.dimensions, METRICS,
        max_depth=policy.hotspots.max_depth, min_support=policy.hotspots.min_support,
    ) as reduced:  # fmt: skip
        table = reduced.table
    labels = [
        {
            d: own.values[i][code]
            for i, d in enumerate(floor_read.DIMENSIONS)
            if (code := row[i]) >= 0
        }
        for row in own.codes
    ]
    place = {tuple(sorted(label.items())): i for i, label in enumerate(labels)}
    order = [place[tuple(sorted(table.label(k).items()))] for k in range(len(table.codes))]
    assert sorted(order) == list(range(len(labels)))
    for m, metric in enumerate(METRICS):
        n, y = COLUMNS[metric.name]
        expected = {"n": own.sums[n], "y": own.sums[y]}
        expected |= {a + b: own.moments[f"{x}_{z}"] for a, x in (("n", n), ("y", y))
                     for b, z in (("n", n), ("y", y))}  # fmt: skip
        for name, theirs in table.sums.items():
            assert expected[name][order] == pytest.approx(theirs[:, m], rel=1e-9)
        pairs = {"n1n0": (n, n), "y1y0": (y, y), "n1y0": (y, n), "y1n0": (n, y)}
        for name, (zero, one) in pairs.items():
            crossed = own.cross[f"{zero}_{one}"][order]
            assert crossed == pytest.approx(table.cross[name][:, m], rel=1e-9)


def test_drift_counts_every_column_and_its_moments(
    telemetry: Telemetry, found: Mapping[str, Part], policy: Policy
) -> None:
    own = found["drift"].found
    names, _ = drift_columns(telemetry, policy)
    assert {"is_failure" if c == "failure" else c for c in own} == set(names)
    for name, column in binned_features(telemetry, names).items():
        mine = own["failure" if name == "is_failure" else name]
        rows = totals(mine)
        shown = pooled(rows) if not mine.edges else list(rows.values())
        theirs = column.clusters.counts.T.astype(int).tolist()
        assert sorted(shown) == sorted(map(tuple, theirs)), name
        if len(shown) == len(rows):
            assert np.sort(np.diag(mine.second)) == pytest.approx(diagonal(column)), name
        assert mine.second.sum() == pytest.approx(column.clusters.second.sum()), name


def totals(column: floor_drift.Binned) -> dict[object, tuple[int, int]]:
    """Bin → rows of (baseline, candidate)."""
    out: dict[object, list[int]] = {}
    for win, _, label, n in column.counts:
        out.setdefault(label, [0, 0])[win] += n
    return {label: (n[0], n[1]) for label, n in out.items()}


def pooled(rows: Mapping[object, tuple[int, int]]) -> list[tuple[int, int]]:
    """Rows by value, those of values that are rare in the baseline as one: the floor keeps them."""
    known = {v: n for v, n in rows.items() if v is not None}
    least = max(MIN_CATEGORY_ROWS, MIN_CATEGORY_SHARE * sum(n for n, _ in known.values()))
    rare = [n for n in known.values() if n[0] < least]
    kept = [n for v, n in rows.items() if v is None or n[0] >= least]
    return [*kept, (sum(n for n, _ in rare), sum(n for _, n in rare))] if rare else kept


def diagonal(column: BinnedColumn) -> np.ndarray:
    """The squares of both windows' bins, ascending."""
    return np.sort(np.diag(column.clusters.second).astype(float))


def test_routing_and_triage_read_the_same_rows(
    telemetry: Telemetry, found: Mapping[str, Part]
) -> None:
    assert found["routing"].found.n_requests == logical_requests(telemetry, []).n_requests
    parts = split(telemetry.engine, telemetry.windows, PART_SHARES)
    triage = found["triage"].found
    assert triage.rows == parts.n_rows
    assert triage.n_scored == parts.n_rows[2] + telemetry.candidate.n_interactions
    assert triage.counts.sum() == triage.n_scored


def test_the_notebook_answers_the_same_questions(found: Mapping[str, Part]) -> None:
    tables = [notebook.read(SAMPLE, table) for table in (INTERACTIONS, SESSIONS, USERS)]
    assert notebook.validate(*tables) == 0
    rows = notebook.placed(*tables[:2])
    assert notebook.slices(rows) == len(found["slices"].found.codes)
    assert len(notebook.drift(rows)) == len(found["drift"].found)
    sums = found["health"].found.sums["cost"]
    mean = notebook.health(rows)[0]["cost_usd"]
    assert mean["candidate"] == pytest.approx(float(sums[1][1]) / float(sums[1][0]) / 1e9)
