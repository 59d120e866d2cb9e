"""The rows whose outcome nobody knows, taken as all good or all bad: worst cases, not estimates.

Unknown are null outcomes, latencies and costs of rows that are there, rows that were set aside for
breaking the contract, and interactions that totals count and the telemetry lacks. The bounds that
follow hold whatever these are (Manski 1989; Horowitz & Manski 2000); `telemetry.absent` says what
nothing tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from analysis.stats.sketch import N_BINS
from analysis.telemetry.absent import find_absent
from analysis.telemetry.telemetry import MissingRate, Telemetry

BadIn = Literal["candidate", "baseline", "all", "none"]
_BEYOND_US = 10**12
_BAD: Mapping[BadIn, str] = {
    "candidate": "coalesce(win = 1, false)",
    "baseline": "coalesce(win = 0, false)",
    "all": "true",
    "none": "false",
}


@dataclass(frozen=True)
class Unknown:
    """Rows of one window without a known outcome, latency or cost.

    missing: column → rows that are there, and have no value of it, or none that its SLO can judge.
    set_aside: rows that broke the contract. lost: interactions that totals count, and that are not
    there. A row that may have been in either window counts in both.
    """

    missing: Mapping[str, int]
    set_aside: int
    lost: int


@dataclass(frozen=True)
class Unknowns:
    """Both windows; n_interactions: those that lack anything, and all that are not there, each once.
    n_absent: the latter alone."""

    baseline: Unknown
    candidate: Unknown
    n_interactions: int
    n_absent: int


def count_unknown(telemetry: Telemetry) -> Unknowns:
    """The unknown rows of each window. Makes `absent` (see `telemetry.absent`)."""
    find_absent(telemetry)
    con = telemetry.con
    columns = _judged(telemetry)
    lacking = " OR ".join(f"({unknown})" for unknown in columns.values())
    counts = ", ".join(f"count(*) FILTER ({unknown})" for unknown in columns.values())
    rows = con.execute(
        f"SELECT win, count(*) FILTER ({lacking}), {counts} FROM fact WHERE win IS NOT NULL GROUP BY win"
    ).fetchall()
    there = {int(row[0]): [int(n) for n in row[1:]] for row in rows}
    gone = con.execute(
        "SELECT win, coalesce(sum(n) FILTER (NOT lost), 0), coalesce(sum(n) FILTER (lost), 0) "
        "FROM absent_counts WHERE win IS NOT NULL GROUP BY win"
    ).fetchall()
    absent = {int(win): (int(aside), int(lost)) for win, aside, lost in gone}
    n_absent = con.execute(
        "SELECT coalesce(sum(n), 0) FROM (SELECT lost, unit, any_value(n) AS n FROM absent_counts "
        "WHERE win IS NOT NULL GROUP BY lost, unit)"
    ).fetchall()[0][0]

    def window(win: int) -> Unknown:
        known = there.get(win, [0] * (1 + len(columns)))[1:]
        return Unknown(dict(zip(columns, known, strict=True)), *absent.get(win, (0, 0)))

    n_lacking = sum(counted[0] for counted in there.values())
    return Unknowns(window(0), window(1), n_lacking + int(n_absent), int(n_absent))


def _judged(telemetry: Telemetry) -> dict[str, str]:
    """Column that a headline figure or an SLO rests on → when a row of `fact` lacks it."""
    columns = {"is_failure": ["failure IS NULL"]}
    for slo in telemetry.policy.slos:
        if telemetry.has(slo.rule.column):
            held = columns.setdefault(slo.rule.column, [])
            held.append(f"({telemetry.bad(slo.rule)}) IS NULL")
    if telemetry.has("latency_ms"):
        columns.setdefault("latency_ms", []).append("latency_us IS NULL")
    if telemetry.has("cost_usd"):
        columns.setdefault("cost_usd", []).append("cost_nano IS NULL")
    return {column: " OR ".join(dict.fromkeys(lacks)) for column, lacks in columns.items()}


@contextmanager
def taken_as(telemetry: Telemetry, bad_in: BadIn) -> Iterator[Telemetry]:
    """The telemetry with every unknown row in it, and known: bad where `bad_in` says, else good.

    Bad is a failure, a breach of every SLO, a latency beyond every other, and the largest cost that
    the policy's `routing.bounds` allow or that is seen; good the opposite. A row that is not there
    may be no row at all (a duplicate): it costs nothing where good. Needs what `count_unknown` makes.
    No column is missing any more, however much was.
    """
    con, bad = telemetry.con, _BAD[bad_in]
    low, high = _cost_bounds(telemetry)
    slo = telemetry.policy.latency_slo
    worst = {"failure": ("true", "false")}
    if telemetry.has("cost_usd"):
        worst["cost_nano"] = (f"{high}::BIGINT", f"{low}::BIGINT")
    if telemetry.has("latency_ms"):
        worst["latency_us"] = (f"{_BEYOND_US}::BIGINT", "0::BIGINT")
        worst["latency_bin"] = (f"{N_BINS - 1}::SMALLINT", "0::SMALLINT")
    if slo is not None and telemetry.has(slo.rule.column):
        worst["breach"] = ("true", "false")
    filled = {name: f"CASE WHEN {bad} THEN {b} ELSE {g} END" for name, (b, g) in worst.items()}
    there = ", ".join(f"coalesce({n}, {v}) AS {n}" for n, v in filled.items())
    if "cost_nano" in filled:
        filled["cost_nano"] = f"CASE WHEN {bad} THEN {high} ELSE least({low}, 0) END::BIGINT"
    gone = ", ".join(f"{v} AS {n}" for n, v in filled.items())
    known = {"is_failure", "latency_ms", "cost_usd"}
    known |= {objective.rule.column for objective in telemetry.policy.slos}
    none = MissingRate(0.0, 0.0)
    con.execute("ALTER TABLE fact RENAME TO fact_known")
    try:
        con.execute(
            f"CREATE TEMP VIEW fact AS SELECT * REPLACE ({there}) FROM fact_known "
            f"UNION ALL BY NAME SELECT * REPLACE ({gone}) FROM absent"
        )
        yield dataclasses.replace(
            telemetry,
            taken_as=bad,
            missing={c: none if c in known else r for c, r in telemetry.missing.items()},
        )
    finally:
        con.execute("DROP VIEW IF EXISTS fact")
        con.execute("ALTER TABLE fact_known RENAME TO fact")


def _cost_bounds(telemetry: Telemetry) -> tuple[int, int]:
    """Nano-USD that an interaction costs at least and at most: the policy's, or what is seen."""
    low, high = telemetry.policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    seen = telemetry.con.execute("SELECT min(cost_nano), max(cost_nano) FROM fact").fetchall()[0]
    lows, highs = [round(max(low, 0.0) * 1e9)], [round(max(high, 0.0) * 1e9)]
    if seen[0] is not None:
        lows, highs = [*lows, int(seen[0])], [*highs, int(seen[1])]
    return min(lows), max(highs)


__all__ = ["BadIn", "Unknown", "Unknowns", "count_unknown", "taken_as"]
