"""Builds `fact`, the one table from which every reduction is made.

One row an interaction, rows from `as_of` on left out:

    interaction_id, session_id, user_id   VARCHAR
    ts, ts_us                             TIMESTAMP, naive UTC; the same as BIGINT µs since 1970
    day                                   INTEGER, days since 1970-01-01: of the session's start in date
                                          windows, of the row itself in release windows
    session, usr, cluster                 BIGINT codes, meaningless but for grouping
    win                                   1 candidate, 0 baseline, NULL neither (or excluded)
    weight                                INTEGER, balances weekdays (1 but in odd baselines)
    cost_nano                             BIGINT, nano-USD           (NULL where cost_usd is absent)
    latency_us, latency_bin               BIGINT µs, SMALLINT bin    (NULL where latency_ms is absent)
    failure, breach                       BOOLEAN; breach = the SLO named `latency`
    first_attempt                         BOOLEAN, retry_index = 0 or unknown
    … every declared column of the interactions table under its own name, and what else the policy
    names; `use_case` stands in for `domain`. Other columns are carried by the table alone: a name
    that nobody expects cannot meet one of a query's own. The names above are kept for this table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd

from analysis.contract import INTERACTIONS, SESSIONS, Contract
from analysis.policy import Model, Policy, utc
from analysis.stats.sketch import EDGES_US
from analysis.telemetry.source import Source
from analysis.telemetry.sql import bad_when, identifier
from analysis.telemetry.windows import (
    DataRange,
    ResolvedWindows,
    Span,
    day_number,
    midnight,
    resolve,
)

DERIVED = (
    "ts",
    "ts_us",
    "day",
    "session",
    "usr",
    "cluster",
    "win",
    "weight",
    "cost_nano",
    "latency_us",
    "latency_bin",
    "failure",
    "breach",
    "first_attempt",
)


@dataclass(frozen=True)
class Fact:
    """What was built: the windows, the cluster, the DuckDB types of `fact`, and those of its columns
    that are interactions columns."""

    windows: ResolvedWindows
    cluster: Literal["user", "session"]
    types: Mapping[str, str]
    columns: tuple[str, ...]


def build(source: Source, contract: Contract, policy: Policy, as_of: datetime | None) -> Fact:
    """Creates `fact` in the source's connection. Raises WindowError for impossible windows."""
    con = source.con
    as_of = utc(as_of) if as_of is not None else None
    columns = _usable(source.columns[INTERACTIONS], contract, policy)
    types = _types(con, INTERACTIONS)
    _sessions(source, as_of)
    windows = resolve(policy.windows, _range(con, columns, as_of), as_of)
    _rows(con, contract, policy, windows, columns, types, as_of)
    windows = dataclasses.replace(windows, comparison=_comparison(con, windows))
    cluster = _cluster(con, policy)
    con.execute("ALTER TABLE fact ADD COLUMN cluster BIGINT DEFAULT NULL")
    con.execute(f"UPDATE fact SET cluster = {'usr' if cluster == 'user' else 'session'}")
    types = _types(con, "fact")
    names = tuple(c for c in dict.fromkeys([*columns, "use_case"]) if c in types)
    return Fact(windows, cluster, types, names)


def _usable(columns: Sequence[str], contract: Contract, policy: Policy) -> tuple[str, ...]:
    """The declared columns, and those that stand anywhere in the policy."""
    named = _texts(policy)
    return tuple(
        c
        for c in columns
        if c.lower() not in DERIVED and (contract.column(c) is not None or c in named)
    )


def _texts(value: object) -> frozenset[str]:
    """Every text that a policy gives, its own keys included; the names of settings are none."""
    if isinstance(value, str):
        return frozenset([value])
    if isinstance(value, Model):
        return _texts([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, Mapping):
        return _texts([*value.keys(), *value.values()])
    if isinstance(value, Sequence):
        return frozenset().union(*map(_texts, value)) if value else frozenset()
    return frozenset()


def _types(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    rows = con.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ? "
        "ORDER BY ordinal_position",
        [table],
    ).fetchall()
    return {name: str(kind) for name, kind in rows}


def _sessions(source: Source, as_of: datetime | None) -> None:
    """`session_starts`: the declared start, else the session's first interaction."""
    declared = "start_timestamp_utc" in source.columns[SESSIONS]
    start = "s.start_timestamp_utc" if declared else "CAST(NULL AS TIMESTAMP)"
    source.con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE session_starts AS
        SELECT i.session_id, any_value(s.source_row) AS session,
               coalesce(any_value({start}), min(i.timestamp_utc)) AS started
        FROM {INTERACTIONS} i LEFT JOIN {SESSIONS} s USING (session_id)
        GROUP BY i.session_id
        """
    )


def _range(
    con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], as_of: datetime | None
) -> DataRange:
    limit = _naive(as_of) if as_of is not None else datetime(9999, 1, 1)
    row = con.execute(
        "SELECT min(started), max(started) FROM session_starts WHERE started < ?", [limit]
    ).fetchall()[0]
    releases: dict[str, tuple[datetime, datetime]] = {}
    if row[0] is None:
        row = con.execute("SELECT min(started), max(started) FROM session_starts").fetchall()[0]
    if "release_id" in columns:
        found = con.execute(
            f"SELECT release_id, min(timestamp_utc), max(timestamp_utc) FROM {INTERACTIONS} "
            "WHERE release_id IS NOT NULL AND timestamp_utc < ? GROUP BY release_id",
            [limit],
        ).fetchall()
        releases = {r: (_aware(a), _aware(b)) for r, a, b in found}
    return DataRange(_aware(row[0]), _aware(row[1]), releases)


def _rows(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    policy: Policy,
    windows: ResolvedWindows,
    columns: tuple[str, ...],
    types: Mapping[str, str],
    as_of: datetime | None,
) -> None:
    limit = _naive(as_of) if as_of is not None else datetime(9999, 1, 1)
    have = set(columns)
    late = "false"
    if as_of is not None and "label_available_utc" in have:
        late = "coalesce(i.label_available_utc > $as_of, false)"
    carried = []
    for name in columns:
        column = contract.column(name)
        text = f"i.{identifier(name)}"
        if late != "false" and column is not None and column.role == "outcome":
            text = f"CASE WHEN {late} THEN NULL ELSE {text} END"
        carried.append(f"{text} AS {identifier(name)}")
    if "use_case" not in have and "domain" in have:
        carried.append("i.domain AS use_case")
    cost = (
        "CAST(round(i.cost_usd * 1e9) AS BIGINT)" if "cost_usd" in have else "CAST(NULL AS BIGINT)"
    )
    latency = (
        "CAST(round(i.latency_ms * 1e3) AS BIGINT)"
        if "latency_ms" in have
        else "CAST(NULL AS BIGINT)"
    )
    first = "(coalesce(i.retry_index, 0) = 0)" if "retry_index" in have else "true"
    failure = f"CASE WHEN {late} THEN NULL ELSE i.is_failure END"
    breach = "CAST(NULL AS BOOLEAN)"
    slo = policy.latency_slo
    if slo is not None and slo.rule.column in have:
        breach = bad_when(slo.rule, types[slo.rule.column])
        breach = breach.replace(identifier(slo.rule.column), f"i.{identifier(slo.rule.column)}")
    window, parameters = _window(windows)
    day = "i.timestamp_utc" if windows.by_release else "s.started"
    edges = pd.DataFrame(
        {
            "edge": np.asarray(EDGES_US, dtype=np.int64),
            "bin": np.arange(1, len(EDGES_US) + 1, dtype=np.int16),
        }
    )
    con.register("sketch_edges", edges)
    con.execute(
        f"""
        CREATE OR REPLACE TABLE fact AS
        WITH rows AS (
            SELECT {", ".join(carried)},
                   i.timestamp_utc AS ts, epoch_us(i.timestamp_utc) AS ts_us,
                   CAST(floor(epoch({day}) / 86400) AS INTEGER) AS day,
                   s.session, u.source_row AS usr,
                   CAST({window} AS TINYINT) AS win,
                   {cost} AS cost_nano, {latency} AS latency_us,
                   {failure} AS failure, {breach} AS breach, {first} AS first_attempt
            FROM {INTERACTIONS} i
            JOIN session_starts s USING (session_id)
            LEFT JOIN llm_system_users_summary u ON u.user_id = i.user_id
            WHERE i.timestamp_utc < $limit
        )
        SELECT rows.*,
               {weight_of(windows)} AS weight,
               CAST(CASE WHEN latency_us IS NULL THEN NULL ELSE coalesce(e.bin, 0) END AS SMALLINT)
                   AS latency_bin
        FROM rows ASOF LEFT JOIN sketch_edges e ON rows.latency_us >= e.edge
        """,
        {"limit": limit, **parameters, **({"as_of": limit} if late != "false" else {})},
    )
    con.unregister("sketch_edges")


def weight_of(windows: ResolvedWindows) -> str:
    """The weight of a row by `win` and `day` as SQL: it balances weekdays in the baseline."""
    weights = " ".join(
        f"WHEN {i} THEN {weight}" for i, weight in enumerate(windows.weekday_weights)
    )
    return f"CAST(CASE WHEN win = 0 THEN CASE (day + 3) % 7 {weights} END ELSE 1 END AS INTEGER)"


def _window(windows: ResolvedWindows) -> tuple[str, dict[str, Any]]:
    """The window of a row as SQL (1, 0 or null), with its parameters."""
    ts, started = "i.timestamp_utc", "s.started"
    parameters: dict[str, Any] = {}

    def member(span: Span, name: str) -> str:
        parameters[f"{name}_start"] = _naive(span.start)
        parameters[f"{name}_end"] = _naive(span.end)
        if span.release_id is not None:
            parameters[f"{name}_release"] = span.release_id
            inside = f"{ts} >= ${name}_start AND {ts} < ${name}_end"
            return f"(i.release_id = ${name}_release AND {inside})"
        return f"({started} >= ${name}_start AND {started} < ${name}_end)"

    cases = []
    for index, exclusion in enumerate(windows.exclude):
        parameters[f"out_{index}_start"] = _naive(utc(exclusion.start))
        parameters[f"out_{index}_end"] = _naive(utc(exclusion.end))
        cases.append(f"WHEN {ts} >= $out_{index}_start AND {ts} < $out_{index}_end THEN NULL")
    cases.append(f"WHEN {member(windows.candidate, 'candidate')} THEN 1")
    if windows.baseline is not None:
        cases.append(f"WHEN {member(windows.baseline, 'baseline')} THEN 0")
    return f"CASE {' '.join(cases)} END", parameters


def _comparison(
    con: duckdb.DuckDBPyConnection, windows: ResolvedWindows
) -> Literal["concurrent", "before_after"]:
    """Concurrent: both windows are releases, and share at least 80 % of the hours of either."""
    if windows.baseline is None or not (windows.by_release and windows.baseline.release_id):
        return "before_after"
    row = con.execute(
        """
        SELECT count(*) FILTER (c AND b), count(*)
        FROM (SELECT bool_or(win = 1) AS c, bool_or(win = 0) AS b FROM fact WHERE win IS NOT NULL
              GROUP BY date_trunc('hour', ts))
        """
    ).fetchall()[0]
    both, either = row
    return "concurrent" if either and both >= 0.8 * either else "before_after"


def _cluster(con: duckdb.DuckDBPyConnection, policy: Policy) -> Literal["user", "session"]:
    if policy.cluster != "auto":
        return policy.cluster
    row = con.execute(
        "SELECT count(DISTINCT session), count(DISTINCT usr) FROM fact WHERE win IS NOT NULL"
    ).fetchall()[0]
    n_sessions, n_users = row
    return "user" if n_users and n_sessions > n_users else "session"


def _naive(moment: datetime) -> datetime:
    return utc(moment).replace(tzinfo=None)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


__all__ = ["DERIVED", "Fact", "build", "day_number", "midnight"]
