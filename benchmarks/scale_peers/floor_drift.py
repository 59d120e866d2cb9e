"""Drift: every column's rows by bin, window and day, and the bins' second moments over users.

Deciles of the baseline are the bins of a number with many values, values those of all else. Deciles
and moments come from a bounded number of rows and users; counts are of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
from scipy import sparse

from benchmarks.scale_peers.floor_read import FLAGS, TEXTS

CATEGORIES = (
    *TEXTS, *(f for f in FLAGS if f != "user_reported_issue"), "failure", "retry_index", "max_tokens",
    "temperature", "top_p",
)  # fmt: skip
NUMBERS = (
    "prompt_tokens", "completion_tokens", "cached_prompt_tokens", "reasoning_tokens", "total_tokens",
    "tool_calls_count", "latency_ms", "time_to_first_token_ms", "tokens_per_second", "cost_usd",
    "response_quality_score",
)  # fmt: skip
# Outcomes count where they are known.
OUTCOMES = frozenset(
    {"failure", "failure_type", "final_resolution_state", "repair_strategy", "response_quality_score",
     "safety_flag", "hallucination_flag", "tool_error_flag", "pii_flag"}
)  # fmt: skip
MAX_USERS, N_LARGEST, MAX_ROWS = 20_000, 1_000, 200_000
FEW = 10  # values, up to which a number is a category each


@dataclass(frozen=True)
class Binned:
    """edges: of a number. counts: (win, day, bin or value, rows). second: (2B, 2B) moments over the
    chosen users, baseline first; labels: the B bins in its order."""

    edges: tuple[float, ...]
    counts: list[tuple[int, int, object, int]]
    second: np.ndarray
    labels: list[object]


def drift(con: duckdb.DuckDBPyConnection) -> dict[str, Binned]:
    """Every column, by name."""
    edges = _edges(con)
    bins = {c: _bin(c, edges.get(c, ())) for c in (*CATEGORIES, *NUMBERS)}
    # A statement each: one type of bin, small enough to be grouped without hashing.
    found = {
        c: con.execute(
            f"SELECT win, day, {bin}, count(*) FROM fact WHERE win IS NOT NULL{_known(c)} GROUP BY ALL"
        ).fetchall()
        for c, bin in bins.items()
    }
    moments = _moments(con, bins)
    return {c: Binned(edges.get(c, ()), found[c], *moments[c]) for c in bins}


def _known(column: str) -> str:
    return " AND failure IS NOT NULL" if column in OUTCOMES else ""


def _bin(column: str, edges: tuple[float, ...]) -> str:
    if not edges:
        return f"({column})::UTINYINT" if column in (*FLAGS, "failure") else column
    cases = " ".join(f"WHEN {column} <= {edge!r} THEN {i}" for i, edge in enumerate(edges))
    return f"CASE WHEN {column} IS NULL THEN 255 {cases} ELSE {len(edges)} END::UTINYINT"


def _edges(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[float, ...]]:
    """Distinct deciles of a part of the baseline."""
    n = con.execute("SELECT count(*) FROM fact WHERE win = 0").fetchall()[0][0]
    step = max(1, -(-n // MAX_ROWS))
    frame = con.execute(
        f"SELECT failure IS NOT NULL AS known, {', '.join(NUMBERS)} FROM fact "
        f"WHERE win = 0 AND rowid % {step} = 0"
    ).fetchnumpy()
    out = {}
    for column in NUMBERS:
        values = np.ma.filled(frame[column].astype(float), np.nan)
        if column in OUTCOMES:
            values = values[frame["known"]]
        values = np.sort(values[~np.isnan(values)])
        if (np.diff(values) > 0).sum() >= FEW:
            ranks = -(-len(values) * np.arange(1, 10) // 10)
            out[column] = tuple(float(v) for v in np.unique(values[ranks - 1]))
    return out


def _moments(
    con: duckdb.DuckDBPyConnection, bins: dict[str, str]
) -> dict[str, tuple[np.ndarray, list[object]]]:
    """Σ k kᵀ over the largest users (certain) and over a sample of the others, scaled up to them."""
    con.execute(
        "CREATE TEMP TABLE users AS SELECT usr, count(*) AS n, row_number() OVER (ORDER BY "
        "count(*) DESC, hash(usr)) AS place FROM fact WHERE win IS NOT NULL GROUP BY usr"
    )
    n_users = con.execute("SELECT count(*) FROM users").fetchall()[0][0]
    everyone = n_users <= MAX_USERS
    largest = n_users if everyone else N_LARGEST
    n_drawn = 0 if everyone else MAX_USERS - N_LARGEST
    con.execute(
        f"CREATE TEMP TABLE chosen AS SELECT usr, false AS drawn FROM users WHERE place <= {largest} "
        f"UNION ALL (SELECT usr, true FROM users WHERE place > {largest} "
        f"ORDER BY hash(usr) LIMIT {n_drawn})"
    )
    columns = ", ".join(f"{bin} AS b{i}" for i, bin in enumerate(bins.values()))
    frame = con.execute(
        f"SELECT usr, drawn, win, failure IS NOT NULL AS known, {columns} "
        "FROM fact JOIN chosen USING (usr) WHERE win IS NOT NULL"
    ).df()
    con.execute("DROP TABLE users")
    con.execute("DROP TABLE chosen")
    drawn, win = frame["drawn"].to_numpy(), frame["win"].to_numpy()
    user = np.unique(frame["usr"].to_numpy(), return_inverse=True)[1]
    every, known = np.arange(len(frame)), np.flatnonzero(frame["known"])
    scale = (n_users - largest) / n_drawn if n_drawn else 0.0
    out = {}
    for i, column in enumerate(bins):
        rows = known if column in OUTCOMES else every
        codes, labels = frame[f"b{i}"].take(rows).factorize(use_na_sentinel=False)
        cell, size = win[rows] * len(labels) + codes, 2 * len(labels)
        second = np.zeros((size, size))
        for which, factor in ((~drawn[rows], 1.0), (drawn[rows], scale)):
            cells = sparse.csr_array(
                (np.ones(which.sum()), (user[rows][which], cell[which])), (user.max() + 1, size)
            )
            second += factor * (cells.T @ cells).toarray()
        out[column] = (second, list(labels))
    return out
