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

from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import MAX_SAMPLE_ROWS, Telemetry

_OWN = ("interaction_id", "cluster_id", "attempts", "cost_nano", "failure", "breach")


@dataclass(frozen=True)
class Requests:
    """The logical requests of one window.

    rows: `interaction_id` of the first attempt (its order), `cluster_id`, `attempts`, `cost_nano`
    (float, nan where unknown), `failure` and `breach` (1, 0 or nan), and the columns asked for. Whole
    clusters, at most `MAX_SAMPLE_ROWS`. n_requests, n_interactions: all of the window; n_headless: requests whose
    first attempt is not in the data.
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
    """The requests of window `win`: whole clusters in the order of md5(seed ‖ id) while they fit."""
    _build(telemetry, win)
    try:
        counted = telemetry.con.execute(
            "SELECT count(*), coalesce(sum(attempts), 0), count(*) FILTER (headless) FROM requests"
        ).fetchone()
        assert counted is not None
        wanted = [c for c in dict.fromkeys(columns) if c not in _OWN]
        selected = "".join(f", f.{identifier(c)}" for c in wanted)
        rows = telemetry.con.execute(
            f"""
            WITH sizes AS (
                SELECT cluster_id AS chosen, count(*) AS n, md5($seed || cluster_id) AS draw
                FROM requests GROUP BY cluster_id
            ), running AS (
                SELECT chosen, sum(n) OVER (ORDER BY draw, chosen) AS reach FROM sizes
            )
            SELECT r.interaction_id, r.cluster_id, CAST(r.attempts AS BIGINT) AS attempts,
                   CAST(r.cost_nano AS DOUBLE) AS cost_nano, CAST(r.failure AS DOUBLE) AS failure,
                   CAST(r.breach AS DOUBLE) AS breach {selected}
            FROM requests r JOIN running ON r.cluster_id = running.chosen
            JOIN fact f ON f.interaction_id = r.interaction_id
            WHERE running.reach <= $limit ORDER BY r.interaction_id
            """,
            {"seed": seed, "limit": min(max_rows, MAX_SAMPLE_ROWS)},
        ).df()
    finally:
        telemetry.con.execute("DROP TABLE IF EXISTS requests")
    return Requests(rows, *(int(v) for v in counted))


def _build(telemetry: Telemetry, win: int) -> None:
    """The table `requests`, one row a request whose first attempt lies in `win`."""
    key = "user_id" if telemetry.cluster == "user" else "session_id"
    retry = "coalesce(retry_index, 0)" if telemetry.has("retry_index") else "0"
    number = "sum(CASE WHEN first_attempt THEN 1 ELSE 0 END) OVER whole"
    if not telemetry.has("retry_index"):
        number = "row_number() OVER whole"
    telemetry.con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE requests AS
        WITH attempts AS (
            SELECT interaction_id, {key} AS cluster_id, session, win, cost_nano, failure, breach,
                   first_attempt, CAST({number} AS BIGINT) AS number,
                   row_number() OVER whole AS place
            FROM fact SEMI JOIN (SELECT DISTINCT session FROM fact WHERE win = $win) AS touched
                USING (session)
            WINDOW whole AS (PARTITION BY session ORDER BY ts, {retry}, interaction_id
                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        ), whole_requests AS (
            SELECT session, min(place) AS first_place, max(place) AS last_place, count(*) AS attempts,
                   CASE WHEN count(cost_nano) = count(*) THEN sum(cost_nano) END AS cost_nano
            FROM attempts GROUP BY session, number
        )
        SELECT a.interaction_id, a.cluster_id, w.attempts, w.cost_nano, z.failure, z.breach,
               NOT a.first_attempt AS headless
        FROM whole_requests w
        JOIN attempts a ON a.session = w.session AND a.place = w.first_place
        JOIN attempts z ON z.session = w.session AND z.place = w.last_place
        WHERE a.win = $win
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
    keys = [f"CAST({identifier(c)} AS VARCHAR) AS {identifier(c)}" for c in (*context, *action)]
    mean = "NULL"
    if telemetry.has("routing_propensity"):
        scaled = "CAST(round(routing_propensity * 1e9) AS BIGINT)"
        mean = f"sum({scaled}) / (1e9 * count(routing_propensity))"
    order = ", ".join(identifier(c) for c in (*context, *action))
    return telemetry.con.execute(
        f"""
        SELECT {", ".join([*keys, "count(*) AS n", f"CAST({mean} AS DOUBLE) AS propensity"])}
        FROM fact WHERE win = $win AND first_attempt
        GROUP BY ALL {f"ORDER BY {order}" if order else ""}
        """,
        {"win": win},
    ).df()
