"""What the peers read: baseline and candidate as two frames, of the columns that the project tests.

Needs pandas and pyarrow alone, so that it runs in the environment of each peer. Windows are the project's
default: the sessions that start in the last 14 days, and in the 42 days before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

CATEGORIES = (
    "use_case", "scenario", "account_tier", "channel", "region", "country_code", "segment",
    "instruction_template", "prompt_version", "model_provider", "model_name", "failure_type",
    "final_resolution_state", "repair_strategy", "is_failure", "safety_flag", "hallucination_flag",
    "tool_error_flag", "pii_flag",
)  # fmt: skip
NUMBERS = (
    "prompt_tokens", "max_tokens", "temperature", "top_p", "retry_index", "completion_tokens",
    "cached_prompt_tokens", "reasoning_tokens", "total_tokens", "latency_ms", "time_to_first_token_ms",
    "tokens_per_second", "cost_usd", "tool_calls_count", "response_quality_score",
)  # fmt: skip
TIME = "timestamp_utc"
CANDIDATE_DAYS, BASELINE_DAYS = 14, 42

Flagged = Mapping[str, Sequence[str]]
"""Verdict → the columns that drift by it."""
Judge = Callable[[pd.DataFrame, pd.DataFrame], Flagged]


def windows(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Baseline and candidate. Categories are texts, missing ones too; the time comes last."""
    interactions = folder / "llm_system_interactions.parquet"
    there = set(pq.read_schema(interactions).names)
    named = [c for c in (*CATEGORIES, *NUMBERS) if c in there]
    rows = pd.read_parquet(interactions, columns=[*named, "session_id", TIME])
    starts = pd.read_parquet(
        folder / "llm_system_sessions_summary.parquet",
        columns=["session_id", "start_timestamp_utc"],
    ).set_index("session_id")["start_timestamp_utc"]
    start = rows.pop("session_id").map(starts)
    first = start.max().floor("D") + pd.Timedelta(days=1 - CANDIDATE_DAYS)
    for name in named:
        if name in CATEGORIES:
            rows[name] = rows[name].astype(object).where(rows[name].notna(), "missing").astype(str)
    before = first - pd.Timedelta(days=BASELINE_DAYS)
    return (
        rows[(start >= before) & (start < first)].reset_index(drop=True),
        rows[start >= first].reset_index(drop=True),
    )


def categories(rows: pd.DataFrame) -> list[str]:
    """The columns that hold categories."""
    return [c for c in rows.columns if c in CATEGORIES]


def numbers(rows: pd.DataFrame) -> list[str]:
    """The columns that hold numbers."""
    return [c for c in rows.columns if c in NUMBERS]


def told(judge: Judge) -> None:
    """Judges each folder that the command names, and prints what it flagged and how long judging took."""
    out = []
    for folder in sys.argv[1:]:
        baseline, candidate = windows(Path(folder))
        start = time.perf_counter()
        flagged = {
            verdict: list(columns) for verdict, columns in judge(baseline, candidate).items()
        }
        out.append({"flagged": flagged, "seconds": time.perf_counter() - start})
    print(json.dumps(out))
