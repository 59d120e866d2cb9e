from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.telemetry.spending import (
    CAUSES,
    CEILING_KNOWN,
    TOKENS_KNOWN,
    Piece,
    spend_pieces,
)
from tests.views.world import DAY, START, dated, opened, policy, traffic

MODEL = ("model_provider", "model_name")


def pieces_of(rows: pd.DataFrame, folder: Path, **windows: object) -> tuple[Piece, ...]:
    rules = policy(missing={"max_rate": 1.0}, **({"windows": windows} if windows else {}))
    with opened(rows, folder, rules) as telemetry:
        moments = tuple((START + d * DAY).to_pydatetime() for d in (10, 50))
        return spend_pieces(telemetry, MODEL, moments)


def holed() -> pd.DataFrame:
    """Traffic with every kind of hole."""
    rng = np.random.default_rng(2)
    rows = traffic(400)
    n = len(rows)
    rows["max_tokens"] = 4096
    rows["cached_prompt_tokens"] = rows["prompt_tokens"] // 3
    rows["failure_type"] = np.where(
        rows["is_failure"], rng.choice(["Timeout", "stream_dropped", "wrong"], n), None
    )
    rows["repair_strategy"] = np.where(rng.random(n) < 0.2, "fallback_answer", None)
    for column in ("cost_usd", "completion_tokens", "total_tokens", "max_tokens", "use_case"):
        rows.loc[rng.random(n) < 0.3, column] = None
    return rows


def cause_of(row: pd.Series) -> str:
    if not pd.isna(row["cost_usd"]):
        return "seen"
    kind = str(row["failure_type"]).lower()
    if "timeout" in kind:
        return "timeout"
    if "stream" in kind:
        return "dropped_stream"
    if row["repair_strategy"] == "fallback_answer":
        return "fallback"
    return "other" if pd.isna(row["completion_tokens"]) else "unknown_price"


def test_the_pieces_are_those_of_a_plain_count(tmp_path: Path) -> None:
    rows = holed()
    found = pieces_of(rows, tmp_path)
    assert {p.cause for p in found} == set(CAUSES)
    rows["cause"] = rows.apply(cause_of, axis=1)
    first = rows.groupby("session_id")["timestamp_utc"].transform("min")
    rows["window"] = (first >= START + 42 * DAY).astype(int)
    rows["era"] = sum((rows["timestamp_utc"] >= START + d * DAY).astype(int) for d in (10, 50))
    whole = rows["completion_tokens"].notna()
    ceiling = ~whole & rows["max_tokens"].notna()
    rows["known"] = np.select([whole, ceiling], [TOKENS_KNOWN, CEILING_KNOWN], 0)
    counted = rows["total_tokens"].fillna(rows["prompt_tokens"] + rows["completion_tokens"])
    sums = pd.DataFrame(
        {
            "n": 1,
            "attempts": 1,
            "first_attempts": (rows["retry_index"] == 0).astype(int),
            "nano_usd": (rows["cost_usd"].fillna(0) * 1e9).round().astype(int),
            "tokened": counted.notna().astype(int),
            "tokens": counted.fillna(0),
            "prompt": rows["prompt_tokens"].where(whole | ceiling, 0),
            "cached": rows["cached_prompt_tokens"].where(whole, 0),
            "completion": rows["completion_tokens"].fillna(0),
            "ceiling": rows["max_tokens"].where(ceiling, 0),
        }
    ).astype(int)
    by = ["window", "model_provider", "model_name", "use_case", "era", "cause", "known"]
    wanted = {
        tuple(None if pd.isna(k) else k for k in key): tuple(map(int, values))
        for key, values in zip(
            *(lambda f: (f.index, f.to_numpy()))(
                sums.groupby([rows[b] for b in by], dropna=False).sum()
            ),
            strict=True,
        )
    }
    names = list(sums.columns)
    got = {
        (p.window, *p.model, p.use_case, p.era, p.cause, p.tokens_known): tuple(
            getattr(p, name) for name in names
        )
        for p in found
    }
    assert len(found) == len(got)
    assert got == wanted


def test_a_canary_counts_all_traffic_of_its_span(tmp_path: Path) -> None:
    rows = holed()
    late = rows["timestamp_utc"] >= START + 42 * DAY
    rows["release_id"] = np.where(late & (rows.index % 4 == 0), "r2", "r1")
    found = pieces_of(rows, tmp_path, candidate={"release_id": "r2"}, baseline={"release_id": "r1"})
    span = rows[rows["release_id"] == "r2"]["timestamp_utc"]
    inside = rows["timestamp_utc"].between(span.min(), span.max())
    assert {p.window for p in found} == {1}
    # The span ends with the release's last row, or with the moment after it.
    assert sum(p.n for p in found) == pytest.approx(inside.sum(), abs=2)


def test_only_cost_is_needed(tmp_path: Path) -> None:
    rows = holed()[
        ["interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure", "cost_usd"]
    ]
    rules = policy(missing={"max_rate": 1.0}, windows=dated(0, 42, 56), dimensions=[])
    with opened(rows, tmp_path, rules) as telemetry:
        found = spend_pieces(telemetry, ())
    assert {(p.cause, p.tokens_known, p.era, p.model, p.use_case) for p in found} == {
        ("seen", 0, 0, (), None),
        ("other", 0, 0, (), None),
    }
    assert sum(p.n for p in found) == len(rows)
