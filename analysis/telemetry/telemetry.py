"""Telemetry: what a view may ask of the data, and nothing more.

Reductions run in the engine. Rows reach Python only through `sample` (bounded, whole clusters,
deterministic), `examples`, `batches` (bounded, key-ordered) and `scan` (bounded, in no order), the last
two only to score a fitted model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import duckdb
import numpy as np
import pandas as pd

from analysis.contract import Contract
from analysis.policy import Bad, Policy
from analysis.telemetry import rows
from analysis.telemetry.engine import DuckDB, Engine
from analysis.telemetry.fact import WindowCounts
from analysis.telemetry.files import InputFile
from analysis.telemetry.latency import histograms
from analysis.telemetry.moments import Metric, Moments, measure
from analysis.telemetry.recorded import RecordedFigures, RecordedRelease
from analysis.telemetry.rows import FACT, MAX_SAMPLE_ROWS
from analysis.telemetry.source import Source
from analysis.telemetry.sql import bad_when
from analysis.telemetry.violations import ContractSection
from analysis.telemetry.windows import ResolvedWindows

Measured = dict[tuple[object, ...], Moments]
"""Moments by what a metric measures."""


@dataclass(frozen=True)
class MissingRate:
    """Share of null values in each window (0 to 1; None where the window is empty)."""

    baseline: float | None
    candidate: float | None


@dataclass(frozen=True)
class Telemetry:
    """Validated telemetry, cut into windows, ready to be reduced.

    engine: with the view `fact` (see `telemetry.fact` for its columns). columns: the interactions
    columns that are there and that the contract declares or the policy names. types: those of `fact`
    by DuckDB's names, derived columns included.
    dimensions: the policy's dimensions that are there. aside: rows of each table that were set aside
    for breaking the contract, None where none did. taken_as: what an unknown outcome is read as, a
    boolean over `fact`; None where it stays unknown. recorded: the recorded releases that the policy
    names, in its order. earlier: those that `gate.baselines` chooses from.
    """

    engine: Engine
    contract: Contract
    policy: Policy
    windows: ResolvedWindows
    cluster: Literal["user", "session"]
    columns: tuple[str, ...]
    types: Mapping[str, str]
    dimensions: tuple[str, ...]
    missing: Mapping[str, MissingRate]
    candidate: WindowCounts
    baseline: WindowCounts | None
    inputs: tuple[InputFile, ...]
    validation: ContractSection
    aside: Mapping[str, int] | None = None
    warnings: tuple[str, ...] = ()
    taken_as: str | None = None
    recorded: tuple[RecordedRelease, ...] = ()
    earlier: tuple[RecordedFigures, ...] = ()
    _source: Source | None = field(default=None, repr=False, compare=False)
    _measured: Measured = field(default_factory=dict, repr=False, compare=False)
    _costs: list[tuple[int, ...]] = field(default_factory=list, repr=False, compare=False)
    _latencies: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def close(self) -> None:
        """Ends the engine's session, and removes what it made."""
        self.engine.close()

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The embedded engine's connection."""
        assert isinstance(self.engine, DuckDB)
        return self.engine.con

    @property
    def source(self) -> Source:
        """What the telemetry was opened from, where it was read and not kept."""
        assert self._source is not None
        return self._source

    # ── what is there ────────────────────────────────────────────────────────────────────

    def has(self, *columns: str) -> bool:
        """Whether all these columns are there."""
        return all(c in self.columns for c in columns)

    def unusable(self, *columns: str) -> str | None:
        """Why a check that needs these columns is inconclusive, or None where it is not."""
        absent = [c for c in columns if c not in self.columns]
        if absent:
            return f"the telemetry has no column {', '.join(absent)}"
        limit = self.policy.missing.max_rate
        for column in columns:
            rates = self.missing.get(column)
            if rates is None:
                continue
            for name, rate in (("baseline", rates.baseline), ("candidate", rates.candidate)):
                if rate is not None and rate > limit:
                    return (
                        f"{column} is missing in {100 * rate:.1f} % of the {name} window; "
                        f"the policy accepts {100 * limit:g} %"
                    )
        return None

    @property
    def by_days(self) -> bool:
        """Whether days count as clusters too (before/after comparisons)."""
        return self.windows.comparison == "before_after"

    @property
    def candidate_days(self) -> float:
        """Length of the candidate window in days, exclusions left out."""
        return self.windows.candidate.days - self.windows.excluded_days(self.windows.candidate)

    @property
    def baseline_days(self) -> float:
        """Length of the baseline window in days, exclusions left out; 0 without one."""
        span = self.windows.baseline
        return 0.0 if span is None else span.days - self.windows.excluded_days(span)

    def bad(self, rule: Bad) -> str:
        """The nullable SQL boolean over `fact` that says when `rule` holds."""
        latency = self.policy.latency_slo
        if rule == Bad(column="is_failure"):
            bad = "failure"
        elif latency is not None and rule == latency.rule:
            bad = "breach"  # the same, by one name: what is measured once is remembered
        else:
            bad = bad_when(rule, self.types[rule.column])
        return bad if self.taken_as is None else f"coalesce({bad}, {self.taken_as})"

    # ── reductions ───────────────────────────────────────────────────────────────────────

    def moments(self, metrics: Sequence[Metric]) -> dict[str, Moments]:
        """Exact cluster and day moments of ratio metrics in both windows.

        What was measured once is remembered, whatever its name: a metric costs one reduction.
        """
        new = [m for m in metrics if m.measures not in self._measured]
        for found in measure(self.engine, new).values():
            self._measured[found.metric.measures] = found
        return {m.name: dataclasses.replace(self._measured[m.measures], metric=m) for m in metrics}

    def latency_histograms(
        self, known: Mapping[int, np.ndarray] | None = None
    ) -> Mapping[int, np.ndarray]:
        """window (0, 1) → latencies by bin, (N_BINS,) integers, weighted by weekday. Made once.

        known: the same, where a finer reduction had them already.
        """
        if not self._latencies:
            self._latencies.update(known or histograms(self.engine, "fact"))
        return self._latencies

    def costs_seen(self) -> tuple[int, ...]:
        """The least and the largest cost in nano-USD; empty where none is known. Asked once."""
        if not self._costs:
            row = self.engine.row("SELECT min(cost_nano), max(cost_nano) FROM fact_known")
            self._costs.append(() if row[0] is None else (int(row[0]), int(row[1])))
        return self._costs[0]

    # ── rows ─────────────────────────────────────────────────────────────────────────────

    def sample(
        self,
        columns: Sequence[str],
        where: str,
        parameters: Mapping[str, object] | None = None,
        *,
        max_rows: int = MAX_SAMPLE_ROWS,
        seed: str = "sample",
        source: rows.Source = FACT,
    ) -> pd.DataFrame:
        """Rows of whole clusters, at most `max_rows`, the same for any order of the input.

        Clusters enter in the order of md5(seed ‖ cluster id) while they fit; of one that is too
        large for that, sessions enter (see `telemetry.rows`). The frame has `interaction_id`,
        `session_id`, `cluster_id` and `columns`, sorted by `interaction_id`. source: what has more
        columns than `fact`; the same clusters are drawn from it.
        """
        return rows.sample(
            self.engine, columns, where, parameters, max_rows=max_rows, seed=seed, source=source
        )

    def examples(self, where: str, parameters: Mapping[str, object], n: int = 5) -> list[str]:
        """Up to `n` interaction ids, chosen by md5 so that the order of the input does not matter."""
        return rows.examples(self.engine, where, parameters, n)

    def batches(
        self,
        columns: Sequence[str],
        where: str,
        parameters: Mapping[str, object] | None = None,
        size: int = 100_000,
        *,
        source: rows.Source = FACT,
    ) -> Iterator[pd.DataFrame]:
        """All matching rows in key order, about `size` at a time: only to score a fitted model."""
        return rows.batches(self.engine, columns, where, parameters, size, source=source)

    def scan(
        self,
        columns: Sequence[str],
        where: str,
        parameters: Mapping[str, object] | None = None,
        *,
        source: rows.Source = FACT,
    ) -> Iterator[pd.DataFrame]:
        """All matching rows, a batch at a time, in no order: only to score a fitted model."""
        return rows.scan(self.engine, columns, where, parameters, source=source)
