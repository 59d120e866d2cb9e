"""The common way in scikit-learn: boosted trees, calibrated, with a threshold tuned to cost on the history.

    python -m benchmarks.triage_peers.with_sklearn DIR POLICY

`HistGradientBoostingClassifier` in `CalibratedClassifierCV` (isotonic, five folds) in
`TunedThresholdClassifierCV` (five folds), scored by review_cost and missed_cost, on all rows before the candidate
window. It knows no capacity, no day and no cluster; a day's reviews are taken in order of arrival. Prints JSON
as `with_project`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import TunedThresholdClassifierCV

CATEGORIES = ("use_case", "account_tier", "channel", "region", "segment", "model_name")
NUMBERS = ("prompt_tokens", "completion_tokens", "latency_ms", "retry_index", "cost_usd")
P90 = 0.9


def read(folder: Path) -> pd.DataFrame:
    """The interactions."""
    parquet = folder / "llm_system_interactions.parquet"
    if parquet.exists():
        rows = pd.read_parquet(parquet)
    else:
        rows = pd.read_csv(folder / "llm_system_interactions.csv")
    rows["timestamp_utc"] = pd.to_datetime(rows["timestamp_utc"], utc=True)
    return rows[rows["is_failure"].notna()].sort_values("interaction_id").reset_index(drop=True)


def main() -> None:
    """Reads, tunes, scores, prints."""
    rules = yaml.safe_load(Path(sys.argv[2]).read_text())
    triage, window = rules["triage"], rules["windows"]["candidate"]
    rows = read(Path(sys.argv[1]))
    wall, cpu = time.perf_counter(), time.process_time()
    values = pd.concat(
        [rows[list(CATEGORIES)].astype("category"), rows[list(NUMBERS)].astype(float)], axis=1
    )
    y = rows["is_failure"].astype(bool).to_numpy()
    start, end = pd.Timestamp(window["start"]), pd.Timestamp(window["end"])
    old = (rows["timestamp_utc"] < start).to_numpy()
    new = ((rows["timestamp_utc"] >= start) & (rows["timestamp_utc"] < end)).to_numpy()

    def saved(true: np.ndarray, told: np.ndarray) -> float:
        missed = triage["missed_cost_usd"] * (true & ~told.astype(bool)).sum()
        return -float(triage["review_cost_usd"] * told.sum() + missed)

    trees = HistGradientBoostingClassifier(
        categorical_features="from_dtype", early_stopping=False, random_state=0
    )
    tuned = TunedThresholdClassifierCV(
        CalibratedClassifierCV(trees, method="isotonic", cv=5),
        scoring=make_scorer(saved), cv=5, random_state=0,
    )  # fmt: skip
    tuned.fit(values[old], y[old])
    risk = tuned.predict_proba(values[new])[:, 1]
    history = tuned.predict(values[old]).astype(bool)
    wanted = tuned.predict(values[new]).astype(bool)
    seconds = (time.perf_counter() - wall, time.process_time() - cpu)
    day_old = rows["timestamp_utc"][old].dt.floor("D")
    frame = rows[new].assign(wanted=wanted, day=rows["timestamp_utc"][new].dt.floor("D"))
    queue = frame[frame["wanted"]].sort_values(["day", "timestamp_utc", "interaction_id"])
    reached = queue[queue.groupby("day").cumcount() < triage["capacity_per_day"]]
    bins = np.array_split(np.argsort(risk, kind="stable"), 10)
    fresh = y[new]
    print(
        json.dumps(
            {
                "reviewed": reached["interaction_id"].tolist(),
                "asked": frame.groupby("day")["wanted"].sum().tolist(),
                "promised_p90": float(
                    pd.Series(history).groupby(day_old.to_numpy()).sum().quantile(P90)
                ),
                "mode": "selective" if wanted.any() else "review_none",
                "calibration_error": float(
                    np.mean([abs(risk[b].mean() - fresh[b].mean()) for b in bins])
                ),
                "roc_auc": float(roc_auc_score(fresh, risk)),
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
