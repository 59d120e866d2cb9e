"""Logical requests: a first attempt and the retries that follow it (STATISTICS section 7).

A row with `retry_index` 0 (or unknown) begins a request; the rows with a higher `retry_index` that
follow it in its session, by time, belong to it. Retries at the head of a session, whose first
attempt is not in the data, form one request of their own, which begins with the first of them: its
costs are those that are known. Without the column `retry_index` each row is a request.

Costs are summed over the attempts, and unknown where one of them is. Failure and latency breach are
those of the last attempt. Context, action, propensity, cluster and window are those of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.rows import MAX_SAMPLE_ROWS, Draw, fetch
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry

_OWN = ("interaction_id", "cluster_id", "attempts", "cost_nano", "failure", "breach")


@dataclass(frozen=True)
class Requests:
    """The logical requests of one window.

    rows: `interaction_id` of the first attempt (its order), `cluster_id`, `attempts`, `cost_nano`
    (float, nan where unknown), `failure` and `breach` (1, 0 or nan), and the columns asked for; a
    sample as `telemetry.rows` draws it, at most `MAX_SAMPLE_ROWS`. n_requests, n_interactions: all of
    the window; n_headless: requests whose first attempt is not in the data.
    """

    rows: pd.DataFrame
    n_requests: int
    n_interactions: int
    n_headless: int

    @property
    def sampled(self) -> bool:
        """Whether `rows` are fewer than the window holds."""
        return len(self.rows) < self.n_requests


def logical_requests(
    telemetry: Telemetry,
    columns: Sequence[str],
    *,
    win: int = 1,
    max_rows: int = MAX_SAMPLE_ROWS,
    seed: str = "routing",
) -> Requests:
    """The requests of window `win`, whole clusters as `telemetry.rows` draws them.

    Most requests are one row. Those that are not, and those whose first attempt is not in the data,
    are put together in a table of their own; all others are counted and read where they lie.

    Logical request: a first attempt with the retries that follow it in its session, in the candidate window.
    Costs are summed, the last outcome counts.
    """
    engine = telemetry.engine
    _put_together(engine, win, "f.retry_index" if telemetry.has("retry_index") else "0")
    try:
        first = "win = $win AND first_attempt"
        plain = engine.row(f"SELECT count(*) FROM fact WHERE {first}", {"win": win})[0]
        retried, headless = engine.row(
            "SELECT coalesce(sum(attempts), 0) - count(*) FILTER (WHERE NOT headless), "
            "count(*) FILTER (WHERE headless) FROM retried_requests"
        )
        heads = "SELECT interaction_id FROM retried_requests WHERE headless"
        begins = f"{first} OR interaction_id IN ({heads})" if int(headless) else first
        units = f"SELECT cluster, session FROM fact WHERE {begins}"
        wanted = [c for c in dict.fromkeys(columns) if c not in _OWN]
        selected = "".join(f", f.{identifier(c)}" for c in wanted)
        matching = f"(SELECT * FROM fact WHERE {begins})"
        with Draw(engine, units, {"win": win}, min(max_rows, MAX_SAMPLE_ROWS), seed) as draw:
            parts = [
                f"""
                SELECT f.interaction_id, c.id AS cluster_id,
                       CAST(coalesce(r.attempts, 1) AS BIGINT) AS attempts,
                       {_either("cost_nano")}, {_either("failure")}, {_either("breach")} {selected}
                FROM {source}
                LEFT JOIN retried_requests AS r ON r.interaction_id = f.interaction_id
                LEFT JOIN cluster_ids AS c ON c.code = f.cluster
                """
                for source in draw.sources(matching, "f")
            ]
            rows = fetch(
                engine, f"{' UNION ALL '.join(parts)} ORDER BY interaction_id", {"win": win}
            )
    finally:
        engine.drop("retried_sessions", "retried_requests")
    n_plain, n_retried, n_headless = int(plain), int(retried), int(headless)
    return Requests(rows, n_plain + n_headless, n_plain + n_retried, n_headless)


def _either(column: str) -> str:
    """A figure of the whole request where it has several rows, else of its row, as a float."""
    whole, own = f"r.{column}", f"f.{column}"
    if column != "cost_nano":
        whole, own = (f"CASE WHEN {c} THEN 1 WHEN NOT {c} THEN 0 END" for c in (whole, own))
    return (
        f"CASE WHEN r.interaction_id IS NULL THEN CAST({own} AS DOUBLE) "
        f"ELSE CAST({whole} AS DOUBLE) END AS {column}"
    )


def _put_together(engine: Engine, win: int, retry: str) -> None:
    """`retried_requests`: the requests of `win` that are not one first attempt alone.

    retry: the number of an attempt as SQL. Only sessions with a retry are sorted.
    """
    engine.create(
        "retried_sessions",
        "SELECT DISTINCT session FROM fact WHERE NOT first_attempt "
        "AND session IN (SELECT session FROM fact WHERE win = $win)",
        {"win": win},
    )
    # No key is null; to say where nulls would go is what BigQuery asks for.
    keys = ("f.ts_us", f"coalesce({retry}, 0)", "f.interaction_id")
    order = f"PARTITION BY f.session ORDER BY {', '.join(f'{k} NULLS FIRST' for k in keys)}"
    engine.create(
        "retried_requests",
        f"""
        WITH attempts AS (
            SELECT f.interaction_id, f.session, f.win, f.cost_nano, f.failure, f.breach,
                   f.first_attempt, row_number() OVER ({order}) AS place,
                   CAST(sum(CASE WHEN f.first_attempt THEN 1 ELSE 0 END) OVER (
                       {order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                   ) AS BIGINT) AS number
            FROM fact AS f JOIN retried_sessions AS s ON f.session = s.session
        ), whole AS (
            SELECT session, min(place) AS first_place, max(place) AS last_place,
                   count(*) AS attempts,
                   CASE WHEN count(cost_nano) = count(*) THEN sum(cost_nano) END AS cost_nano
            FROM attempts GROUP BY session, number
        )
        SELECT a.interaction_id, w.attempts, w.cost_nano, z.failure, z.breach,
               NOT a.first_attempt AS headless
        FROM whole AS w
        JOIN attempts AS a ON a.session = w.session AND a.place = w.first_place
        JOIN attempts AS z ON z.session = w.session AND z.place = w.last_place
        WHERE a.win = $win AND (w.attempts > 1 OR NOT a.first_attempt)
        """,
        {"win": win},
    )


def logged_choices(
    telemetry: Telemetry, context: Sequence[str], action: Sequence[str], *, win: int = 1
) -> pd.DataFrame:
    """How often each action was logged in each cell of the context, over all first attempts.

    Columns: `context` and `action` as text (None where null), `n`, and `propensity`, the mean logged
    propensity (nan without the column). Rows in the order of these texts.
    """
    names = [*context, *action]
    keys = [f"CAST({identifier(c)} AS VARCHAR) AS {identifier(c)}" for c in names]
    total, known = "CAST(NULL AS DOUBLE)", "0"
    if telemetry.has("routing_propensity"):
        total = "sum(CAST(floor(routing_propensity * 1e9 + 0.5) AS BIGINT))"
        known = "count(routing_propensity)"
    places = ", ".join(str(k + 1) for k in range(len(names)))
    found = telemetry.engine.rows(
        f"""
        SELECT {", ".join([*keys, "count(*)", total, known])}
        FROM fact WHERE win = $win AND first_attempt
        {f"GROUP BY {places}" if names else ""}
        """,
        {"win": win},
    )
    found.sort(key=lambda row: [(v is None, v or "") for v in row[: len(names)]])
    frame = pd.DataFrame({c: [row[k] for row in found] for k, c in enumerate(names)})
    frame["n"] = [int(row[-3]) for row in found]
    frame["propensity"] = [
        int(row[-2]) / (1e9 * int(row[-1])) if row[-1] else None for row in found
    ]
    return frame.astype({"propensity": float})
