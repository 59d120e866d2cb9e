"""The classic notebook: the same questions in pandas, over all rows in memory, no clusters.

    python -m benchmarks.scale_peers.notebook DIR

Whole tables are read and merged, each combination of dimensions is grouped by itself, each column is
counted or cut by itself, one logistic regression is fitted to the past. Rates have no intervals, and
nothing is corrected for what lies together in a user. Prints how much there was as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.validation_peers.floor import file_of
from benchmarks.validation_peers.rules import INTERACTIONS, RANGES, SESSIONS, TYPES, USERS

DIMENSIONS = [
    "use_case", "scenario", "model_provider", "model_name", "account_tier", "channel", "region",
    "segment",
]  # fmt: skip
NOT_DRIFTING = {"release_id", "routing_propensity", "user_feedback_score", "user_feedback_label",
                "user_reported_issue"}  # fmt: skip
FEATURES = ["prompt_tokens", "completion_tokens", "total_tokens", "tool_calls_count", "latency_ms",
            "cost_usd", "retry_index"]  # fmt: skip
WEEKS = 2  # of the candidate; the baseline has three times as many


def read(data: Path, table: str) -> pd.DataFrame:
    """One table, times as times."""
    path = file_of(data, table)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, parse_dates=[c for c, t in TYPES[table].items() if t == "timestamp"])


def validate(rows: pd.DataFrame, sessions: pd.DataFrame, users: pd.DataFrame) -> int:
    """Keys, ranges, sums and rollups: how many rows are wrong."""
    wrong = int(rows["interaction_id"].duplicated().sum())
    for column, (low, high) in RANGES[INTERACTIONS].items():
        wrong += int(((rows[column] < low) | (rows[column] > (high or np.inf))).sum())
    tokens = rows["prompt_tokens"] + rows["completion_tokens"]
    wrong += int((rows["total_tokens"] != tokens).sum())
    both = rows.merge(sessions, on="session_id", how="left", suffixes=("", "_session"))
    wrong += int((both["user_id"] != both["user_id_session"]).sum())
    late = both["timestamp_utc"] > both["end_timestamp_utc"]
    wrong += int((late | (both["timestamp_utc"] < both["start_timestamp_utc"])).sum())
    for key, summary, prefix in (("session_id", sessions, "session"), ("user_id", users, "user")):
        sums = rows.groupby(key).agg(n=("cost_usd", "size"), cost=("cost_usd", "sum"))
        joined = summary.merge(sums, left_on=key, right_index=True, how="outer")
        wrong += int((joined[f"{prefix}_total_requests"] != joined["n"]).sum())
        off = (joined[f"{prefix}_total_cost_usd"] - joined["cost"]).abs()
        wrong += int((off > 1e-6 * joined["n"] + 1e-6).sum())
    return wrong


def placed(rows: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    """Both windows' rows, by the start of the session, and what is counted."""
    rows = rows.merge(sessions[["session_id", "start_timestamp_utc"]], on="session_id")
    start = rows["start_timestamp_utc"]
    last = start.max().normalize() + pd.Timedelta(days=1)
    first = last - pd.Timedelta(weeks=WEEKS)
    rows["win"] = np.where(start >= first, "candidate", "baseline")
    rows = rows[start >= first - pd.Timedelta(weeks=3 * WEEKS)].copy()
    rows["day"] = rows["start_timestamp_utc"].dt.normalize()
    rows["breach"] = rows["latency_ms"] > 2200
    rows["failed"] = rows["is_failure"].astype(float)
    return rows


def health(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Rates and costs by window and day, quantiles, missing values, and five-minute buckets."""
    means = {"failed": "mean", "breach": "mean", "cost_usd": "mean"}
    return [
        rows.groupby("win").agg(means),
        rows.groupby(["win", "day"]).agg(means | {"latency_ms": "median"}),
        rows.groupby("win")["latency_ms"].quantile([0.5, 0.95, 0.99]).unstack(),
        rows.isna().groupby(rows["win"]).mean(),
        rows.set_index("timestamp_utc").resample("5min").agg({"failed": ["count", "sum"], "breach": "sum"}),
        rows.groupby(["win", "model_provider", "model_name"])[["cost_usd", "total_tokens"]].sum(),
    ]  # fmt: skip


def slices(rows: pd.DataFrame) -> int:
    """Every combination of up to three dimensions; the slices with support."""
    found = 0
    for depth in (1, 2, 3):
        for chosen in itertools.combinations(DIMENSIONS, depth):
            grouped = rows.groupby([*chosen, "win"]).agg(
                n=("failed", "size"), failed=("failed", "mean"), breach=("breach", "mean"),
                cost=("cost_usd", "mean"),
            ).unstack()  # fmt: skip
            found += int((grouped["n"] >= 60).any(axis=1).sum())
    return found


def drift(rows: pd.DataFrame) -> dict[str, float]:
    """The stability index of each column: deciles of the baseline, or its values."""
    out = {}
    for column, kind in TYPES[INTERACTIONS].items():
        if kind == "timestamp" or column.endswith("_id") or column in NOT_DRIFTING:
            continue
        values = rows[column]
        if kind in ("integer", "number") and values.nunique() > 10:
            old = values[rows["win"] == "baseline"]
            edges = np.unique(old.quantile(np.arange(1, 10) / 10))
            values = pd.cut(values, [-np.inf, *edges, np.inf])
        shares = [
            values[rows["win"] == win].value_counts(normalize=True, dropna=False)
            for win in ("baseline", "candidate")
        ]
        old, new = shares[0].align(shares[1], fill_value=0)
        old, new = old + 1e-6, new + 1e-6
        out[column] = float(((new - old) * np.log(new / old)).sum())
    return out


def routing(rows: pd.DataFrame) -> dict[str, float]:
    """The unit cost of each candidate by inverse propensity, over attempts."""
    rows = rows[rows["win"] == "candidate"]
    unit = rows["cost_usd"] + 40 * rows["failed"].fillna(0) + 5 * rows["breach"]
    out = {}
    for use_case, model in (("support", "aurora-small"), ("summarisation", "cirrus-flash")):
        moved = rows["use_case"] == use_case
        match = (rows["model_name"] == model) / rows["routing_propensity"]
        out[use_case] = float((unit * np.where(moved, match, 1.0)).mean())
    return out


def triage(rows: pd.DataFrame) -> pd.Series:
    """Scores of the candidate by a logistic regression on the past; reviews a day above a half."""
    known = rows["is_failure"].notna()
    x = pd.concat([np.log1p(rows[FEATURES]), pd.get_dummies(rows[DIMENSIONS])], axis=1)
    old = rows["win"] == "baseline"
    scaler = StandardScaler().fit(x[old])
    model = LogisticRegression(max_iter=200)
    model.fit(scaler.transform(x[old & known]), rows.loc[old & known, "failed"] > 0)
    risk = model.predict_proba(scaler.transform(x[~old]))[:, 1]
    return pd.Series(risk > 0.5).groupby(rows.loc[~old, "day"].to_numpy()).sum()


def main() -> None:
    """Prints how much there was."""
    data = Path(sys.argv[1])
    rows, sessions, users = (read(data, table) for table in (INTERACTIONS, SESSIONS, USERS))
    wrong = validate(rows, sessions, users)
    rows = placed(rows, sessions)
    health(rows)
    told = {
        "wrong": wrong,
        "rows": len(rows),
        "slices": slices(rows),
        "drift columns": len(drift(rows)),
        "policies": len(routing(rows)),
        "days": len(triage(rows)),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
