"""Builds `fact`, the one view from which every reduction is made, over the encoded interactions.

One row an interaction, rows from `as_of` on left out:

    interaction_id                        VARCHAR
    ts_us                                 BIGINT, µs since 1970-01-01 UTC
    day                                   BIGINT, days since 1970-01-01: of the session's start in date
                                          windows, of the row itself in release windows
    session, usr, cluster                 codes, meaningless but for grouping; `session_ids`, `user_ids`
                                          and `cluster_ids` say whose (columns `code`, `id`)
    win                                   1 candidate, 0 baseline, NULL neither (or excluded)
    weight                                INTEGER, balances weekdays (1 but in odd baselines)
    cost_nano                             BIGINT, nano-USD           (NULL where cost_usd is absent)
    latency_us                            BIGINT, µs                 (NULL where latency_ms is absent)
    failure, breach                       BOOLEAN; breach = the SLO named `latency`
    first_attempt                         BOOLEAN, retry_index = 0 or unknown
    … every declared column of the interactions table under its own name but for the ids, and what
    else the policy names; `use_case` stands in for `domain`. Other columns are carried by the table
    alone: a name that nobody expects cannot meet one of a query's own. The names above are kept.

`fact` is a view of `fact_known`, so that another reading can stand in its place (`telemetry.unknown`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from analysis.contract import Contract
from analysis.policy import Model, Policy, utc
from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import bad_when, identifier, literal
from analysis.telemetry.windows import (
    EPOCH,
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
    "traced",
    "ts_day",
    "started_us",
    "started_day",
    "label_us",
    # What `telemetry.past` adds.
    "past_session_interactions",
    "past_session_retries",
    "past_session_gap_us",
    "past_session_labelled",
    "past_session_failures",
    "past_user_labelled",
    "past_user_failures",
)
APART = ("session_id", "user_id", "trace_id", "timestamp_utc")
"""Columns that `fact` leaves out unless the policy names them: codes stand for the first two, of the
third `traced` says whether it is there, and `ts_us` is the time."""


@dataclass(frozen=True)
class WindowCounts:
    """How much a window holds."""

    n_interactions: int
    n_sessions: int
    n_users: int


@dataclass(frozen=True)
class Fact:
    """What was built: the windows, the cluster, what each window holds (candidate under 1, baseline
    under 0), the types of `fact` by DuckDB's names, and those of its columns that are interactions
    columns."""

    windows: ResolvedWindows
    cluster: Literal["user", "session"]
    counts: Mapping[int, WindowCounts]
    types: Mapping[str, str]
    columns: tuple[str, ...]


def build(
    engine: Engine,
    columns: Sequence[str],
    contract: Contract,
    policy: Policy,
    as_of: datetime | None,
) -> Fact:
    """Creates `fact` over `encoded`. Raises WindowError for impossible windows.

    columns: those of the interactions table, in its order.
    """
    as_of = utc(as_of) if as_of is not None else None
    held = engine.types("encoded")
    windows = resolve(policy.windows, _range(engine, "release_id" in held, as_of), as_of)
    engine.view(
        "fact_placed",
        _placed(contract, policy, windows, usable(columns, contract, policy), held, as_of),
    )
    windows = dataclasses.replace(windows, comparison=_comparison(engine, windows))
    within = _held(engine)
    cluster = _cluster(within, policy)
    unit = "usr" if cluster == "user" else "session"
    engine.view("fact_known", f"SELECT *, {unit} AS cluster FROM fact_placed")
    engine.view(
        "cluster_ids", f"SELECT * FROM {'user_ids' if cluster == 'user' else 'session_ids'}"
    )
    restore(engine)
    types = engine.types("fact")
    wanted = (*usable(columns, contract, policy), "use_case")
    names = tuple(c for c in dict.fromkeys(wanted) if c in types or c in APART)
    return Fact(windows, cluster, within.windows, types, names)


def restore(engine: Engine) -> None:
    """Makes `fact` what is known, whatever stood in its place."""
    engine.view("fact", "SELECT * FROM fact_known")


def usable(columns: Sequence[str], contract: Contract, policy: Policy) -> tuple[str, ...]:
    """The declared columns, and those that stand anywhere in the policy."""
    named = texts(policy)
    return tuple(
        c
        for c in columns
        if c.lower() not in DERIVED and (contract.column(c) is not None or c in named)
    )


def carried(columns: Sequence[str], contract: Contract, policy: Policy) -> tuple[str, ...]:
    """Those of the usable columns that `fact` carries as they are."""
    apart = frozenset(APART) - texts(policy)
    return tuple(c for c in usable(columns, contract, policy) if c not in apart)


def texts(value: object) -> frozenset[str]:
    """Every text that a policy gives, its own keys included; the names of settings are none."""
    if isinstance(value, str):
        return frozenset([value])
    if isinstance(value, Model):
        return texts([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, Mapping):
        return texts([*value.keys(), *value.values()])
    if isinstance(value, Sequence):
        return frozenset().union(*map(texts, value)) if value else frozenset()
    return frozenset()


def _range(engine: Engine, released: bool, as_of: datetime | None) -> DataRange:
    """What the windows are resolved against, sessions and rows before `as_of` alone."""
    before = "" if as_of is None else f" WHERE started_us < {micros(as_of)}"
    spans = "SELECT min(started_us), max(started_us) FROM encoded"
    row = engine.row(spans + before)
    if row[0] is None:
        row = engine.row(spans)
    releases: dict[str, tuple[datetime, datetime]] = {}
    if released:
        known = "" if as_of is None else f" AND ts_us < {micros(as_of)}"
        releases = {
            str(r): (moment(a), moment(b))
            for r, a, b in engine.rows(
                "SELECT release_id, min(ts_us), max(ts_us) FROM encoded "
                f"WHERE release_id IS NOT NULL{known} GROUP BY release_id"
            )
        }
    return DataRange(moment(row[0]), moment(row[1]), releases)


def _placed(
    contract: Contract,
    policy: Policy,
    windows: ResolvedWindows,
    columns: Sequence[str],
    held: Mapping[str, str],
    as_of: datetime | None,
) -> str:
    """The rows in their windows, but for the cluster, which the windows settle."""
    late = None
    if as_of is not None and "label_us" in held:
        late = f"coalesce(label_us > {micros(as_of)}, false)"
    carried = []
    for name in columns:
        if name not in held:
            continue
        column = contract.column(name)
        text = identifier(name)
        if late is not None and column is not None and column.role == "outcome":
            text = f"CASE WHEN {late} THEN NULL ELSE {text} END"
        carried.append(f"{text} AS {identifier(name)}")
    if "use_case" not in columns and "domain" in columns:
        carried.append("domain AS use_case")
    first = "(coalesce(retry_index, 0) = 0)" if "retry_index" in columns else "true"
    failure = "is_failure" if late is None else f"CASE WHEN {late} THEN NULL ELSE is_failure END"
    breach = "CAST(NULL AS BOOLEAN)"
    slo = policy.latency_slo
    if slo is not None and slo.rule.column in columns:
        breach = bad_when(slo.rule, held[slo.rule.column])
    # Half a unit is added and the floor taken: every engine does that alike, and rounds in its own way.
    cost = "CAST(floor(cost_usd * 1e9 + 0.5) AS BIGINT)" if "cost_usd" in columns else _NOTHING
    latency = (
        "CAST(floor(latency_ms * 1e3 + 0.5) AS BIGINT)" if "latency_ms" in columns else _NOTHING
    )
    day = "ts_day" if windows.by_release else "started_day"
    traced = "traced, " if "traced" in held else ""
    where = "" if as_of is None else f" WHERE ts_us < {micros(as_of)}"
    return (
        f"SELECT placed.*, {weight_of(windows)} AS weight FROM (SELECT {', '.join(carried)}, ts_us, "
        f"{day} AS day, session, usr, {traced}{cost} AS cost_nano, {latency} AS latency_us, "
        f"{window_of(windows)} AS win, "
        f"{failure} AS failure, {breach} AS breach, {first} AS first_attempt FROM encoded{where}) placed"
    )


_NOTHING = "CAST(NULL AS BIGINT)"


def weight_of(windows: ResolvedWindows) -> str:
    """The weight of a row by `win` and `day` as SQL: it balances weekdays in the baseline."""
    if len(set(windows.weekday_weights)) == 1:
        return "1"
    weights = " ".join(
        f"WHEN {i} THEN {weight}" for i, weight in enumerate(windows.weekday_weights)
    )
    return f"CASE WHEN win = 0 THEN CASE (day + 3) % 7 {weights} END ELSE 1 END"


def window_of(windows: ResolvedWindows) -> str:
    """The window of a row as SQL: 1, 0 or null."""

    def member(span: Span) -> str:
        start, end = micros(span.start), micros(span.end)
        if span.release_id is not None:
            return f"release_id = {literal(span.release_id)} AND ts_us >= {start} AND ts_us < {end}"
        return f"started_us >= {start} AND started_us < {end}"

    cases = [
        f"WHEN ts_us >= {micros(out.start)} AND ts_us < {micros(out.end)} THEN NULL"
        for out in windows.exclude
    ]
    cases.append(f"WHEN {member(windows.candidate)} THEN 1")
    if windows.baseline is not None:
        cases.append(f"WHEN {member(windows.baseline)} THEN 0")
    return f"CASE {' '.join(cases)} END"


def _comparison(engine: Engine, windows: ResolvedWindows) -> Literal["concurrent", "before_after"]:
    """Concurrent: both windows are releases, and share at least 80 % of the hours of either."""
    if windows.baseline is None or not (windows.by_release and windows.baseline.release_id):
        return "before_after"
    both, either = engine.row(
        """
        SELECT count(*) FILTER (WHERE windows = 2), count(*)
        FROM (SELECT ts_hour, count(DISTINCT win) AS windows
              FROM (SELECT win, CAST(floor(ts_us / 3600000000) AS BIGINT) AS ts_hour FROM fact_placed
                    WHERE win IS NOT NULL) hours
              GROUP BY ts_hour) shared
        """
    )
    return "concurrent" if either and both >= 0.8 * either else "before_after"


@dataclass(frozen=True)
class _Held:
    """What each window holds, and the sessions and users of both together."""

    windows: Mapping[int, WindowCounts]
    n_sessions: int
    n_users: int


def _held(engine: Engine) -> _Held:
    engine.create(
        "visits",
        "SELECT session, usr, sum(win) AS n1, sum(1 - win) AS n0 FROM fact_placed "
        "WHERE win IS NOT NULL GROUP BY session, usr",
    )
    rows = engine.row("SELECT coalesce(sum(n0), 0), coalesce(sum(n1), 0) FROM visits")
    sessions, users = (
        engine.row(
            "SELECT count(*), coalesce(sum(CASE WHEN n0 > 0 THEN 1 ELSE 0 END), 0), "
            "coalesce(sum(CASE WHEN n1 > 0 THEN 1 ELSE 0 END), 0) FROM "
            f"(SELECT {unit}, sum(n0) AS n0, sum(n1) AS n1 FROM visits WHERE {unit} IS NOT NULL "
            f"GROUP BY {unit}) units"
        )
        for unit in ("session", "usr")
    )
    engine.drop("visits")
    windows = {
        win: WindowCounts(int(rows[win]), int(sessions[1 + win]), int(users[1 + win]))
        for win in (1, 0)
    }
    return _Held(windows, int(sessions[0]), int(users[0]))


def _cluster(held: _Held, policy: Policy) -> Literal["user", "session"]:
    if policy.cluster != "auto":
        return policy.cluster
    return "user" if held.n_users and held.n_sessions > held.n_users else "session"


def micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; a time without a zone is taken as UTC."""
    return (utc(moment) - EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """The time of so many microseconds since 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=int(us))


__all__ = ["APART", "DERIVED", "Fact", "WindowCounts", "build", "carried", "day_number", "micros", "midnight",
           "moment", "restore", "texts", "usable", "weight_of", "window_of"]  # fmt: skip
