"""Routing and triage: what is fitted on bounded samples, and scored."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from benchmarks.scale_peers.floor_read import DAY_US, candidate_days

CONTEXT = (
    "use_case", "scenario", "account_tier", "channel", "region", "country_code", "segment",
    "instruction_template",
)  # fmt: skip
BEFORE = ("prompt_tokens", "max_tokens", "temperature", "top_p", "retry_index")  # a response
CATEGORIES = (*CONTEXT, "model_provider", "model_name")
NUMBERS = (
    *BEFORE, "completion_tokens", "cached_prompt_tokens", "reasoning_tokens", "total_tokens",
    "tool_calls_count", "latency_ms", "time_to_first_token_ms", "tokens_per_second", "cost_usd",
)  # fmt: skip
MAX_REQUESTS, MAX_FIT, MAX_CALIBRATE = 200_000, 120_000, 60_000
FAILURE_USD, BREACH_USD = 40.0, 5.0
FOLDS, RIDGE = 5, 3.0
# Candidate policy → (use case, what it is sent to).
POLICIES = {"support": "aurora-small", "summarisation": "cirrus-flash"}
BLOCK = 4_096
DIGITS = 1_000_000  # risks are rounded, and counted by their value

Frame = dict[str, np.ndarray]


# ── routing ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Routing:
    """n_requests: of the candidate window. savings: policy → (USD a request, its variance over users)."""

    n_requests: int
    savings: dict[str, tuple[float, float]]


def routing(con: duckdb.DuckDBPyConnection) -> Routing:
    """Logical requests, cross-fitted outcome models, and doubly robust savings."""
    # Only sessions with a retry have requests of several rows.
    con.execute(
        "CREATE TEMP TABLE requests AS SELECT session, number, min_by(rowid, ts) AS row, "
        "sum(cost) AS cost, max_by(failure, ts) AS failure, max_by(breach, ts) AS breach, "
        "min_by(win, ts) AS win, count(failure) AS n FROM (SELECT rowid, session, ts * 8 + retry_index "
        "AS ts, cost, failure, breach, win, count(*) FILTER (retry_index = 0) OVER (PARTITION BY session "
        "ORDER BY ts, retry_index ROWS UNBOUNDED PRECEDING) AS number FROM fact WHERE session IN "
        "(SELECT session FROM fact WHERE retry_index > 0)) GROUP BY session, number HAVING count(*) > 1"
    )
    n = con.execute("SELECT count(*) FROM fact WHERE win = 1 AND retry_index = 0").fetchall()[0][0]
    share = min(1.0, 0.99 * MAX_REQUESTS / max(n, 1))
    columns = ", ".join(
        f"f.{c}" for c in (*CONTEXT, *BEFORE, "model_name", "routing_propensity", "usr")
    )
    frame = con.execute(
        f"SELECT {columns}, coalesce(r.cost, f.cost) / 1e9 AS cost, "
        "CASE WHEN r.row IS NULL THEN f.failure ELSE r.failure END::INTEGER AS failed, "
        "CASE WHEN r.row IS NULL THEN f.breach ELSE r.breach END::INTEGER AS broke "
        "FROM (SELECT *, rowid FROM fact WHERE win = 1 AND retry_index = 0 "
        f"AND hash(usr) % {DIGITS} < {share * DIGITS:.0f}) f LEFT JOIN requests r ON r.row = f.rowid "
        "WHERE CASE WHEN r.row IS NULL THEN f.failure ELSE r.failure END IS NOT NULL"
    ).df()
    con.execute("DROP TABLE requests")
    held = _held(frame)
    cost = held["cost"]
    y = np.column_stack(
        [cost + FAILURE_USD * held["failed"] + BREACH_USD * held["broke"], held["failed"], cost]
    )
    x = Encoder(held, CONTEXT, BEFORE).design(held)
    actions, action = list(frame["model_name"].cat.categories), held["model_name"]
    fold = held["usr"] % FOLDS
    fitted = _by_action(x, y, action, len(actions), fold)
    return Routing(
        int(n), {u: _saving(frame, held, x, y, actions, fold, fitted, u, to) for u, to in POLICIES.items()}
    )  # fmt: skip


def _by_action(
    x: np.ndarray, y: np.ndarray, action: np.ndarray, n: int, fold: np.ndarray
) -> list[np.ndarray]:
    """Of each fold, (actions, width, 3): ridge regressions of the outcomes on the other folds' rows."""
    width, k = x.shape[1], y.shape[1]
    gram, cross = np.zeros((FOLDS, n, width, width)), np.zeros((FOLDS, n, width, k))
    for f in range(FOLDS):
        for a in range(n):
            rows = np.flatnonzero((fold == f) & (action == a))
            own = x[rows]
            gram[f, a], cross[f, a] = own.T @ own, own.T @ y[rows]
    penalty = RIDGE * np.eye(width)
    return [
        np.linalg.solve(gram.sum(axis=0) - gram[f] + penalty, cross.sum(axis=0) - cross[f])
        for f in range(FOLDS)
    ]


def _saving(
    frame: object, held: Frame, x: np.ndarray, y: np.ndarray, actions: list[str], fold: np.ndarray,
    fitted: list[np.ndarray], use_case: str, to: str,
) -> tuple[float, float]:  # fmt: skip
    """Of a policy that sends a use case to one model: mean and variance over users."""
    here = np.asarray(frame["use_case"] == use_case)  # type: ignore[index]
    target = actions.index(to)
    gain = np.zeros(len(y))
    expected, logged = np.zeros((2, len(y)))
    for k, model in enumerate(fitted):
        rows = here & (fold == k)
        expected[rows] = x[rows] @ model[target][:, 0]
        logged[rows] = np.einsum("ij,ij->i", x[rows], model[held["model_name"][rows], :, 0])
    weight = np.where(held["model_name"] == target, 1.0 / held["routing_propensity"], 0.0)
    gain[here] = (y[:, 0] - expected - weight * (y[:, 0] - logged))[here]
    by_user = np.bincount(np.unique(held["usr"], return_inverse=True)[1], gain - gain.mean())
    return float(gain.mean()), float((by_user**2).sum() / len(y) ** 2)


# ── triage ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Triage:
    """rows: of the history's three parts. n_scored: rows with a risk. risks: their distinct values,
    2 · risk in millionths + 1 where the request failed, and counts: the rows of each."""

    rows: tuple[int, ...]
    n_scored: int
    risks: np.ndarray
    counts: np.ndarray


def triage(con: duckdb.DuckDBPyConnection) -> Triage:
    """A calibrated risk of failure, fitted on the past, for every row to be judged by it."""
    first = candidate_days(con)[0]
    start = first * DAY_US
    con.execute(
        "CREATE TEMP TABLE late AS SELECT DISTINCT session FROM fact WHERE "
        f"day < {first} AND ts >= {start}"
    )
    history = f"ts < {start} AND day < {first} AND session NOT IN (SELECT session FROM late)"
    days = con.execute(
        f"SELECT day, count(*) FROM fact WHERE {history} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    n = np.array([k for _, k in days])
    middle = (np.cumsum(n) - n / 2) / n.sum()
    part = (middle >= 0.5).astype(int) + (middle >= 0.7)
    spans = [(days[int(np.flatnonzero(part == p)[0])][0], days[int(np.flatnonzero(part == p)[-1])][0])
             for p in range(3)]  # fmt: skip
    rows = tuple(int(n[part == p].sum()) for p in range(3))
    read = ", ".join((*CATEGORIES, *NUMBERS, "ts", "failure::INTEGER AS failed"))

    def sample(p: int, most: int) -> Frame:
        share = min(1.0, 0.99 * most / rows[p])
        return _held(
            con.execute(
                f"SELECT {read} FROM fact WHERE {history} AND day BETWEEN {spans[p][0]} AND {spans[p][1]} "
                f"AND failure IS NOT NULL AND label < {start} "
                f"AND hash(usr) % {DIGITS} < {share * DIGITS:.0f}"
            ).df()
        )

    fit = sample(0, MAX_FIT)
    encoder = Encoder(fit, CATEGORIES, NUMBERS, clock=True)
    beta = _logistic(encoder.design(fit), fit["failed"], RIDGE)
    later = sample(1, MAX_CALIBRATE)
    odds = encoder.design(later) @ beta
    sigmoid = _logistic(np.column_stack([np.ones(len(odds)), odds]), later["failed"], 0.0)
    found = []
    for where in (f"{history} AND day BETWEEN {spans[2][0]} AND {spans[2][1]}", "win = 1"):
        reader = con.execute(
            f"SELECT {read.replace('failure::', 'coalesce(failure, false)::')} FROM fact WHERE {where}"
        )
        while len(frame := reader.fetch_df_chunk(60)):
            held = _held(frame)
            odds = sigmoid[0] + sigmoid[1] * encoder.log_odds(held, beta)
            risk = np.rint(DIGITS / (1 + np.exp(-odds))).astype(np.int64)
            found.append(2 * risk + held["failed"])
    con.execute("DROP TABLE late")
    scored = np.concatenate(found)
    return Triage(rows, len(scored), *np.unique(scored, return_counts=True))


def _logistic(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Newton's method; the first column is the intercept and free."""
    beta = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 0.0
    for _ in range(25):
        gradient, hessian = -penalty * beta, np.diag(penalty + 1e-9)
        for at in range(0, len(y), BLOCK):  # what fits into the processor's cache
            block = x[at : at + BLOCK]
            p = 1 / (1 + np.exp(-(block @ beta)))
            gradient += block.T @ (y[at : at + BLOCK] - p)
            hessian += (block * (p * (1 - p))[:, None]).T @ block
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-6:
            break
    return beta


# ── columns of a model ───────────────────────────────────────────────────────────────────


def _held(frame: object) -> Frame:
    """Codes of texts, and numbers, as arrays."""
    out = {}
    for name in frame.columns:  # type: ignore[attr-defined]
        column = frame[name]  # type: ignore[index]
        coded = column.dtype.name == "category"
        out[name] = (column.cat.codes if coded else column).to_numpy()
    return out


class Encoder:
    """An intercept, an indicator of each frequent value, log1p of numbers, standardised, and the clock."""

    def __init__(
        self,
        frame: Frame,
        categories: tuple[str, ...],
        numbers: tuple[str, ...],
        clock: bool = False,
    ) -> None:
        self.levels = {c: np.flatnonzero(np.bincount(frame[c]) >= 30) for c in categories}
        logs = {c: np.log1p(frame[c]) for c in numbers}
        self.scales = {c: (v.mean(), v.std()) for c, v in logs.items() if v.std() > 1e-9}
        self.clock = clock

    def design(self, frame: Frame) -> np.ndarray:
        """(n, width)."""
        columns = [np.ones(len(next(iter(frame.values()))))]
        for c, levels in self.levels.items():
            columns += [frame[c] == level for level in levels]
        columns += [self._scaled(frame, c) for c in self.scales]
        if self.clock:
            columns += list(_clock(frame["ts"]))
        return np.column_stack(columns).astype(float)

    def log_odds(self, frame: Frame, beta: np.ndarray) -> np.ndarray:
        """The same as `design(frame) @ beta`, without the design: a code looks up its weight."""
        total, at = np.full(len(next(iter(frame.values()))), beta[0]), 1
        for c, levels in self.levels.items():
            table = np.zeros(256)
            table[levels] = beta[at : at + len(levels)]
            total += table[frame[c]]
            at += len(levels)
        for c in self.scales:
            total += beta[at] * self._scaled(frame, c)
            at += 1
        if self.clock:
            for column, weight in zip(_clock(frame["ts"]), beta[at:], strict=True):
                total += weight * column
        return total

    def _scaled(self, frame: Frame, column: str) -> np.ndarray:
        mean, std = self.scales[column]
        return np.clip((np.log1p(frame[column]) - mean) / std, -5, 5)


def _clock(ts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hour of the day as a circle, and the weekend."""
    minute = ts // 60_000_000
    angle = (minute % 1440) * (2 * np.pi / 1440)
    return np.sin(angle), np.cos(angle), (minute // 1440 + 3) % 7 >= 5
