"""Reviews to draw: the sample's small sibling in its own right, and stripped to what is required."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis import review as reviews
from analysis.review import Review
from analysis.sample import generate, write
from analysis.sample.hostile import ANSI, FORMULA, RIGHT_TO_LEFT, SCRIPT_SCENARIO, SHORTCODE
from analysis.views.triage import POLICIES
from analysis.views.triage_quality import Quality

POLICY = Path(__file__).resolve().parents[2] / "report" / "policy.yml"
REQUIRED = ["interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure"]
HOSTILE = (
    SCRIPT_SCENARIO,
    SHORTCODE,
    FORMULA,
    ANSI,
    RIGHT_TO_LEFT,
    "$x$ and \\alpha",
    "`a` ``` {0} {name}",
    '" onload="alert(1)',
    "</div></td><img src=x>",
)
# Strings of the artifact that code compares, and that no telemetry or policy writes.
STRUCTURE = frozenset(
    ("schema", "outcome", "severity", "view", "comparison", "unit", "metric", "kind", "status")
    + ("recommendation", "estimator", "effect_unit", "operating_mode", "propensity", "cluster")
    + (
        "start_utc",
        "end_utc",
        "start",
        "end",
        "as_of",
        "value",
        "low",
        "high",
        "driver",
        "statistic",
    )
    + ("since_utc", "low_utc", "high_utc", "complete_utc", "spikes_utc", "shape", "relation")
    + ("calibration", "finding", "measure", "weekday", "decide_at")
    + ("role", "digest", "evidence_digest", "sha256", "commit", "version", "python", "format")
)
NAMES = frozenset({*POLICIES, "rule", *(field.name for field in fields(Quality))})
OURS = ("contract.", "health.", "hotspots.", "drift.", "triage.")
SERIES = ("slice", "slo", "candidate", "feature", "label")


def settings() -> dict[str, Any]:
    return dict(yaml.safe_load(POLICY.read_text()))


Compute = Callable[..., Review]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(generate("tiny", 1_500, 1), tmp_path_factory.mktemp("tiny") / "data", "csv")


@pytest.fixture(scope="session")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Compute:
    """A review of `data` under the sample's policy with the given sections replaced."""

    def run(data: Path, **changes: Any) -> Review:
        policy = tmp_path_factory.mktemp("policy") / "policy.yml"
        policy.write_text(yaml.safe_dump({**settings(), **changes}))
        return reviews.compute(reviews.request(data=str(data), policy=policy))

    return run


@pytest.fixture(scope="session")
def sample(compute: Compute) -> Review:
    """The committed sample: every figure and table has something to show."""
    return compute(POLICY.parents[1] / "data" / "sample")


@pytest.fixture(scope="session")
def stripped(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same telemetry with nothing but the required columns."""
    folder = tmp_path_factory.mktemp("stripped")
    for path in tiny.glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "interaction_id" in frame:
            frame = frame[REQUIRED]
        else:
            frame = frame[["session_id" if "session_id" in frame else "user_id"]]
        frame.to_csv(folder / path.name, index=False)
    return folder


def hostile(text: str) -> str:
    """The same text with one of the hostile values in front: the same one every time."""
    return f"{HOSTILE[len(text) % len(HOSTILE)]} {text}"


def poisoned(review: Review) -> Review:
    """`review` with hostile text in every place that telemetry or policy can write to."""
    results = {
        name: replace(
            result,
            series={k: _frame(frame) for k, frame in result.series.items()},
            notes=tuple(map(hostile, result.notes)),
        )
        for name, result in review.results.items()
    }
    return replace(review, body=_body(review.body), results=results)


def _body(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        keyed = key in ("slice", "when", "use") or (key == "missing" and "max_rate" not in value)
        return {
            (hostile(k) if keyed else k): _body(v, "" if keyed else k) for k, v in value.items()
        }
    if isinstance(value, list):
        return [_body(item, key) for item in value]
    if not isinstance(value, str) or key in STRUCTURE or value in NAMES:
        return value
    # A policy names objectives, candidates and releases; all other checks are ours.
    ours = key in ("id", "blocking", "holding", "check") and value.startswith(OURS)
    return value if ours else hostile(value)


def _frame(frame: pd.DataFrame) -> pd.DataFrame:
    named = [c for c in SERIES if c in frame and not pd.api.types.is_numeric_dtype(frame[c])]
    return frame.assign(**{c: frame[c].map(hostile, na_action="ignore") for c in named})
