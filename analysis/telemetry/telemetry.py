"""Telemetry: what a view may ask of the data, and nothing more.

Reductions run in the engine. Rows reach Python only through `sample` (bounded, whole clusters,
deterministic), `examples`, and `batches` (bounded, key-ordered, only to score a fitted model).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import duckdb
import pandas as pd

from analysis.contract import INTERACTIONS, Contract
from analysis.errors import ContractError, UsageError, WindowError
from analysis.policy import Bad, Policy
from analysis.telemetry import fact as fact_table
from analysis.telemetry import quarantine
from analysis.telemetry.engine import DuckDB, Engine
from analysis.telemetry.moments import Metric, Moments, measure
from analysis.telemetry.source import TOO_LITTLE_MEMORY, InputFile, Source, open_source
from analysis.telemetry.sql import bad_when, identifier
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import ContractSection, as_text
from analysis.telemetry.windows import ResolvedWindows, Span, data_range, iso

MAX_SAMPLE_ROWS = 200_000


@dataclass(frozen=True)
class WindowCounts:
    """How much a window holds."""

    n_interactions: int
    n_sessions: int
    n_users: int


@dataclass(frozen=True)
class MissingRate:
    """Share of null values in each window (0 to 1; None where the window is empty)."""

    baseline: float | None
    candidate: float | None


@dataclass(frozen=True)
class Telemetry:
    """Validated telemetry, cut into windows, ready to be reduced.

    con: the engine, with the table `fact` (see `telemetry.fact` for its columns).
    columns: the interactions columns that are there and that the contract declares or the policy
    names. types: DuckDB types of `fact`, derived columns included.
    dimensions: the policy's dimensions that are there. aside: rows of each table that were set aside
    for breaking the contract, None where none did. taken_as: what an unknown outcome is read as, a
    boolean over `fact`; None where it stays unknown.
    """

    con: duckdb.DuckDBPyConnection
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
    _source: Source | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Ends the engine's connection."""
        if self._source is not None:
            self._source.close()

    @property
    def engine(self) -> Engine:
        """The engine, with the table `fact`."""
        return DuckDB(self.con)

    @property
    def source(self) -> Source:
        """What the telemetry was opened from."""
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
        plain = rule == Bad(column="is_failure")
        bad = "failure" if plain else bad_when(rule, self.types[rule.column])
        return bad if self.taken_as is None else f"coalesce({bad}, {self.taken_as})"

    # ── reductions ───────────────────────────────────────────────────────────────────────

    def moments(self, metrics: Sequence[Metric]) -> dict[str, Moments]:
        """Exact cluster and day moments of ratio metrics in both windows."""
        return measure(self.con, metrics)

    def frame(self, sql: str, parameters: Mapping[str, object] | None = None) -> pd.DataFrame:
        """A small reduction over `fact` as a frame. Sums of integers come as float64 above 2⁵³."""
        return self.con.execute(sql, dict(parameters or {})).df()

    # ── rows ─────────────────────────────────────────────────────────────────────────────

    def sample(
        self,
        columns: Sequence[str],
        where: str,
        *,
        max_rows: int = MAX_SAMPLE_ROWS,
        seed: str = "sample",
    ) -> pd.DataFrame:
        """Rows of whole clusters, at most `max_rows`, the same for any order of the input.

        Clusters enter in the order of md5(seed ‖ cluster id) while they fit. The frame has
        `interaction_id`, `cluster_id`, `session_id` and `columns`, sorted by `interaction_id`.
        """
        key = "user_id" if self.cluster == "user" else "session_id"
        wanted = [
            c
            for c in dict.fromkeys(columns)
            if c not in ("interaction_id", "session_id", "cluster_id")
        ]
        selected = ", ".join(
            ["interaction_id", "session_id", f"{key} AS cluster_id", *map(identifier, wanted)]
        )
        limit = min(max_rows, MAX_SAMPLE_ROWS)
        return self.con.execute(
            f"""
            WITH sizes AS (
                SELECT {key} AS chosen, count(*) AS n, md5($seed || {key}) AS draw
                FROM fact WHERE {where} GROUP BY {key}
            ), running AS (
                SELECT chosen, sum(n) OVER (ORDER BY draw, chosen) AS reach FROM sizes
            )
            SELECT {selected} FROM fact JOIN running ON fact.{key} = running.chosen
            WHERE ({where}) AND running.reach <= $limit ORDER BY interaction_id
            """,
            {"seed": seed, "limit": limit},
        ).df()

    def examples(self, where: str, parameters: Mapping[str, object], n: int = 5) -> list[str]:
        """Up to `n` interaction ids, chosen by md5 so that the order of the input does not matter."""
        rows = self.con.execute(
            f"SELECT interaction_id FROM fact WHERE {where} ORDER BY md5(interaction_id), interaction_id "
            f"LIMIT {int(n)}",
            dict(parameters),
        ).fetchall()
        return [r[0] for r in rows]

    def batches(
        self, columns: Sequence[str], where: str, size: int = 100_000
    ) -> Iterator[pd.DataFrame]:
        """All matching rows in key order, `size` at a time: only to score a fitted model."""
        selected = ", ".join(map(identifier, dict.fromkeys(["interaction_id", *columns])))
        last: str | None = None
        while True:
            after = "" if last is None else "AND interaction_id > $last"
            part = self.con.execute(
                f"SELECT {selected} FROM fact WHERE ({where}) {after} ORDER BY interaction_id LIMIT {int(size)}",
                {} if last is None else {"last": last},
            ).df()
            if part.empty:
                return
            yield part
            last = str(part["interaction_id"].iloc[-1])


def open_telemetry(
    data: Path,
    contract: Contract,
    policy: Policy,
    *,
    as_of: datetime | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Telemetry:
    """Reads, validates and windows the telemetry in `data`.

    Raises UsageError (no such path), ContractError (any violation of severity error, all of them
    listed), WindowError (a window without rows).
    """
    source = open_source(data, contract, threads=threads, memory_limit=memory_limit)
    try:
        validation = validate(
            source,
            contract,
            used_columns=policy_columns(policy),
            max_missing=policy.missing.max_rate,
        )
        aside = _set_aside(source, policy, validation) if validation.n_errors else None
        built = fact_table.build(source, contract, policy, as_of)
        source.check_unchanged()
        counts = {win: _counts(source.con, win) for win in (1, 0)}
        _refuse_empty(source, built.windows, counts)
        wanted = tuple(dict.fromkeys(policy.dimensions))
        dimensions = tuple(c for c in wanted if c in built.columns)
        warnings = list(built.windows.warnings)
        warnings += [
            f"the policy names the column {c!r}, a name that the review keeps for itself: left out; "
            "rename the column"
            if c.lower() in fact_table.DERIVED and c in source.columns[INTERACTIONS]
            else f"the policy names the column {c!r}, which the telemetry lacks: left out"
            for c in sorted(policy_columns(policy) - set(built.columns))
        ]
        return Telemetry(
            con=source.con,
            contract=contract,
            policy=policy,
            windows=built.windows,
            cluster=built.cluster,
            columns=built.columns,
            types=built.types,
            dimensions=dimensions,
            missing=_missing(source.con, built.columns),
            candidate=counts[1],
            baseline=counts[0] if built.windows.baseline is not None else None,
            inputs=source.inputs,
            validation=validation,
            aside=aside,
            warnings=tuple(warnings),
            _source=source,
        )
    except duckdb.OutOfMemoryException:
        source.close()
        raise UsageError(TOO_LITTLE_MEMORY) from None
    except BaseException:
        source.close()
        raise


def _set_aside(source: Source, policy: Policy, report: ContractSection) -> Mapping[str, int]:
    """Takes the rows that break the contract away, where the policy lets that be done.

    Raises ContractError where it does not, where a table as a whole is broken, or too much is.
    """
    if not policy.quarantine.allow or not quarantine.can_be_set_aside(report):
        raise ContractError(as_text(report), report.violations)
    aside = quarantine.find_broken(source, report)
    share = aside[INTERACTIONS] / source.rows(INTERACTIONS)
    if share > policy.quarantine.max_share or share == 1:
        raise ContractError(
            f"{as_text(report)}\n{100 * share:.3g} % of the interactions would be set aside; the policy "
            f"accepts {100 * policy.quarantine.max_share:g} % (quarantine.max_share)",
            report.violations,
        )
    quarantine.set_aside(source)
    return aside


def policy_columns(policy: Policy) -> frozenset[str]:
    """Every interactions column that the policy names or its views need by default."""
    names = {
        "is_failure",
        *policy.dimensions,
        *policy.routing.action,
        *policy.routing.context,
        *policy.routing.protect,
        *(slo.rule.column for slo in policy.slos),
        policy.triage.label,
    }
    if "cost" in policy.hotspots.metrics or policy.spend.budget_usd_per_day is not None:
        names.add("cost_usd")
    if isinstance(policy.drift.columns, tuple):
        names |= set(policy.drift.columns)
    slos = {slo.name for slo in policy.slos}
    names |= set(policy.hotspots.metrics) - {"failure", "latency_breach", "cost"} - slos
    names |= {c for k in policy.routing.candidates for r in k.rules or () for c in r.when}
    rule = policy.triage.rule
    if rule is not None:
        names.add(rule.column if isinstance(rule, Bad) else rule)
    return frozenset(names)


def _counts(con: duckdb.DuckDBPyConnection, win: int) -> WindowCounts:
    row = con.execute(
        "SELECT count(*), count(DISTINCT session), count(DISTINCT usr) FROM fact WHERE win = ?",
        [win],
    ).fetchall()[0]
    return WindowCounts(*map(int, row))


def _refuse_empty(
    source: Source, windows: ResolvedWindows, counts: Mapping[int, WindowCounts]
) -> None:
    spans: list[tuple[str, Span, int]] = [("candidate", windows.candidate, 1)]
    if windows.baseline is not None:
        spans.append(("baseline", windows.baseline, 0))
    problems = [
        f"windows.{name}: no interaction lies in [{iso(span.start)}, {iso(span.end)})"
        + (f" of release {span.release_id!r}" if span.release_id else "")
        for name, span, win in spans
        if counts[win].n_interactions == 0
    ]
    if problems:
        row = source.con.execute(
            f"SELECT min(timestamp_utc), max(timestamp_utc) FROM {INTERACTIONS}"
        ).fetchall()[0]
        problems.append(f"the data hold interactions from {iso(row[0])} to {iso(row[1])}")
        raise WindowError(problems, "windows")


def _missing(con: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> dict[str, MissingRate]:
    """Null shares by window. `failure` is read for `is_failure`, so late labels count as missing."""
    if not columns:
        return {}
    parts = ", ".join(
        f"count(*) FILTER ({'failure' if c == 'is_failure' else identifier(c)} IS NULL)"
        for c in columns
    )
    rows = con.execute(
        f"SELECT win, count(*), {parts} FROM fact WHERE win IS NOT NULL GROUP BY win"
    ).fetchall()
    by_win = {int(r[0]): r[1:] for r in rows}
    out = {}
    for index, column in enumerate(columns):
        rate = {
            win: by_win[win][index + 1] / by_win[win][0] if win in by_win else None
            for win in (0, 1)
        }
        out[column] = MissingRate(baseline=rate[0], candidate=rate[1])
    return out


__all__ = [
    "Metric",
    "MissingRate",
    "Moments",
    "Telemetry",
    "WindowCounts",
    "data_range",
    "open_telemetry",
    "policy_columns",
]
