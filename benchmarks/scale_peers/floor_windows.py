"""Health and budgets: sums by cluster, by day, by five minutes, and what spend is made of."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from benchmarks.scale_peers.floor_read import DAY_US, FLAGS, TEXTS, candidate_days

QUANTILES = (0.5, 0.95, 0.99)
BUCKET_US = 300_000_000
PERIOD_DAYS = 30
BIN = 1.02  # of latencies: the ratio of the ends of a bin
# Metric → (n, y): counted rows, and their sum.
METRICS = {
    "failure": ("count(failure)", "count(*) FILTER (failure)"),
    "breach": ("count(*)", "count(*) FILTER (breach)"),
    "cost": ("count(*)", "sum(cost)::DOUBLE"),
    **{flag: (f"count({flag})", f"count(*) FILTER ({flag})") for flag in FLAGS},
    "retry": ("count(*)", "count(*) FILTER (retry_index > 0)"),
    **{
        c: (f"count({c})", f"coalesce(sum({c}), 0)::DOUBLE")
        for c in (
            "prompt_tokens", "completion_tokens", "cached_prompt_tokens", "reasoning_tokens",
            "total_tokens", "tool_calls_count", "time_to_first_token_ms", "tokens_per_second",
            "response_quality_score", "user_feedback_score",
        )
    },
}  # fmt: skip
NAMES = ("n", "y", "nn", "yy", "ny")
CROSS = ("n1n0", "y1y0", "n1y0", "y1n0")


@dataclass(frozen=True)
class Health:
    """sums[metric][win]: `NAMES` over clusters; cross[metric]: `CROSS`. days: (win, day, n, y, …) of
    all metrics. quantiles[win]: latencies in ms. tails: sums[…] of the rows beyond each quantile."""

    sums: dict[str, dict[int, tuple[float, ...]]]
    cross: dict[str, tuple[float, ...]]
    days: list[tuple[float, ...]]
    quantiles: dict[int, tuple[float, ...]]
    tails: dict[int, tuple[float, ...]]
    missing: list[tuple[int, ...]]


def health(con: duckdb.DuckDBPyConnection) -> Health:
    """Every figure's moments over clusters and sums by day, and the quantiles of the latency."""
    sums, cross = _clustered(con, METRICS)
    totals = ", ".join(f"{n}, {y}" for n, y in METRICS.values())
    days = con.execute(
        f"SELECT win, day, {totals} FROM fact WHERE win IS NOT NULL GROUP BY ALL"
    ).fetchall()
    quantiles = _quantiles(con)
    return Health(sums, cross, days, quantiles, _tails(con, quantiles), _missing(con))


def _clustered(
    con: duckdb.DuckDBPyConnection, metrics: dict[str, tuple[str, str]]
) -> tuple[dict[str, dict[int, tuple[float, ...]]], dict[str, tuple[float, ...]]]:
    """One scan by user and window; squares and products of the result."""
    totals = ", ".join(f"{n} AS n{i}, {y} AS y{i}" for i, (n, y) in enumerate(metrics.values()))
    con.execute(
        f"CREATE TEMP TABLE by_user AS SELECT usr, win, {totals} FROM fact "
        "WHERE win IS NOT NULL GROUP BY usr, win"
    )
    squares = ", ".join(
        f"sum(n{i}), sum(y{i}), sum(n{i} * n{i}), sum(y{i}::DOUBLE * y{i}), sum(n{i} * y{i})"
        for i in range(len(metrics))
    )
    of_window = {
        win: row
        for win, *row in con.execute(f"SELECT win, {squares} FROM by_user GROUP BY win").fetchall()
    }
    products = ", ".join(
        f"sum(a.n{i} * b.n{i}), sum(a.y{i}::DOUBLE * b.y{i}), sum(a.n{i} * b.y{i}), sum(a.y{i} * b.n{i})"
        for i in range(len(metrics))
    )
    both = con.execute(
        f"SELECT {products} FROM (FROM by_user WHERE win = 1) a "
        "JOIN (FROM by_user WHERE win = 0) b USING (usr)"
    ).fetchall()[0]
    con.execute("DROP TABLE by_user")
    sums = {
        name: {win: tuple(row[5 * i : 5 * i + 5]) for win, row in of_window.items()}
        for i, name in enumerate(metrics)
    }
    return sums, {name: tuple(both[4 * i : 4 * i + 4]) for i, name in enumerate(metrics)}


def _quantiles(con: duckdb.DuckDBPyConnection) -> dict[int, tuple[float, ...]]:
    """From counts in logarithmic bins, within 1 %."""
    rows = con.execute(
        f"SELECT win, floor(ln(latency_ms * 1e3) / ln({BIN}))::INTEGER AS bin, count(*) FROM fact "
        "WHERE win IS NOT NULL GROUP BY ALL ORDER BY 1, 2"
    ).fetchall()
    found = {}
    for win in (0, 1):
        bins, counts = np.array([r[1:] for r in rows if r[0] == win]).T
        reached = np.cumsum(counts)
        at = [int(np.searchsorted(reached, q * reached[-1])) for q in QUANTILES]
        found[win] = tuple(BIN ** (bins[i] + 0.5) / 1e3 for i in at)
    return found


def _tails(
    con: duckdb.DuckDBPyConnection, quantiles: dict[int, tuple[float, ...]]
) -> dict[int, tuple[float, ...]]:
    """Rows beyond each quantile by cluster, for its interval."""
    out = {}
    for win, limits in quantiles.items():
        beyond = ", ".join(
            f"count(*) FILTER (latency_ms >= {x!r}) AS y{i}"
            for i, x in enumerate(map(float, limits))
        )
        squares = ", ".join(
            f"sum(y{i}), sum(y{i} * y{i}), sum(n * y{i})" for i in range(len(limits))
        )
        out[win] = con.execute(
            f"SELECT sum(n), sum(n * n), {squares} FROM "
            f"(SELECT count(*) AS n, {beyond} FROM fact WHERE win = {win} GROUP BY usr)"
        ).fetchall()[0]
    return out


def _missing(con: duckdb.DuckDBPyConnection) -> list[tuple[int, ...]]:
    there = ", ".join(f"count({c})" for c in (*TEXTS, "failure", "user_feedback_score"))
    return con.execute(
        f"SELECT win, count(*), {there} FROM fact WHERE win IS NOT NULL GROUP BY win"
    ).fetchall()


@dataclass(frozen=True)
class Budgets:
    """buckets: (bucket, failures known, failures, rows, breaches) of five minutes. clustered: moments
    over the period of both objectives. spend: (win, provider, model, rows, first attempts, tokens,
    cost). spend_days: (day, cost). spend_clusters: rows, cost and its square over users."""

    buckets: list[tuple[int, ...]]
    clustered: tuple[float, ...]
    spend: list[tuple[object, ...]]
    spend_days: list[tuple[int, int]]
    spend_clusters: tuple[float, ...]


def budgets(con: duckdb.DuckDBPyConnection) -> Budgets:
    """Both objectives over their period, and the spend."""
    last = candidate_days(con)[1]
    period = f"ts >= {(last - PERIOD_DAYS) * DAY_US} AND ts < {last * DAY_US}"
    counted = "count(failure), count(*) FILTER (failure), count(*), count(*) FILTER (breach)"
    return Budgets(
        con.execute(f"SELECT ts // {BUCKET_US}, {counted} FROM fact WHERE {period} GROUP BY 1").fetchall(),
        con.execute(
            "SELECT sum(n), sum(y), sum(n * n), sum(m), sum(z), sum(m * m) FROM (SELECT "
            "count(failure) AS n, count(*) FILTER (failure) AS y, count(*) AS m, count(*) FILTER (breach) AS z "
            f"FROM fact WHERE {period} GROUP BY usr)"
        ).fetchall()[0],
        con.execute(
            "SELECT win, model_provider, model_name, count(*), count(*) FILTER (retry_index = 0), "
            "sum(total_tokens), sum(cost) FROM fact WHERE win IS NOT NULL GROUP BY 1, 2, 3"
        ).fetchall(),
        con.execute("SELECT day, sum(cost) FROM fact WHERE win = 1 GROUP BY 1").fetchall(),
        con.execute(
            "SELECT sum(n), sum(c), sum(c * c) FROM (SELECT count(*) AS n, sum(cost)::DOUBLE AS c "
            "FROM fact WHERE win = 1 GROUP BY usr)"
        ).fetchall()[0],
    )  # fmt: skip
