"""The drift page's part on time: slow drift in sentences, weeks in a figure, references in a table."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pandas as pd

from analysis.present import drift_weeks
from analysis.present.escape import Html
from analysis.review import Review

SLOW = {
    "feature": "channel", "severity": "medium", "psi": 0.1234, "step_psi": 0.0041,
    "largest_step_psi": 0.009, "n_weeks": 8, "start_utc": "2026-09-21T00:00:00Z",
    "end_utc": "2026-11-16T00:00:00Z", "p_value": 1e-6, "q_value": 2e-5,
}  # fmt: skip
WEEK = {
    "name": "last week", "kind": "week", "start_utc": "2026-10-26T00:00:00Z",
    "end_utc": "2026-11-02T00:00:00Z", "n_interactions": 2505, "n_tested": 20, "n_drifted": 5,
    "drifted": [{"feature": f"column {k}", "severity": "low", "psi": 0.05, "q_value": 0.01}
                for k in range(5)],
    "reason": None,
}  # fmt: skip


def section(**changes: Any) -> dict[str, Any]:
    features = [{"feature": "channel", "severity": "low"}]
    return {"features": features, "slow": [], "references": [], **changes}


def weeks(n_features: int = 2, n_weeks: int = 6) -> pd.DataFrame:
    """PSI that falls from week to week; the first feature is called by a hostile name."""
    names = ["<b>$x$</b>", *(f"column {k}" for k in range(1, n_features))]
    return pd.DataFrame(
        [
            [rank, name, f"2026-{9 + week // 4:02d}-{1 + 7 * (week % 4):02d}T00:00:00Z",
             0.3 / (rank + week) - 0.02, "low"]
            for rank, name in enumerate(names, start=1)
            for week in range(n_weeks)
        ],
        columns=["rank", "feature", "week", "psi", "severity"],
    )  # fmt: skip


def text(blocks: tuple[Html, ...]) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", " ".join(blocks))))


def test_slow_drift_says_a_step_and_the_whole_and_what_the_checks_go_by(sample: Review) -> None:
    shown = text(drift_weeks.blocks(sample.body, section(slow=[SLOW]), weeks().head(0)))
    assert "1 column moved slowly" in shown
    assert "“channel”: 0.004 a week, 0.123 in 8 weeks (medium; largest step 0.009;" in shown
    assert "Against the baseline alone its severity is low, and the checks go by that." in shown


def test_where_the_baseline_shows_it_too_nothing_is_added(sample: Review) -> None:
    held = section(slow=[SLOW], features=[{"feature": "channel", "severity": "medium"}])
    assert "the checks go by" not in text(drift_weeks.blocks(sample.body, held, weeks().head(0)))


def test_the_figure_says_its_numbers_and_no_name_is_markup(sample: Review) -> None:
    [drawn, _] = drift_weeks.blocks(sample.body, section(), weeks())
    [alt] = re.findall(r'alt="([^"]*)"', drawn)
    assert "<b>$x$</b> 0.280 to 0.030; column 1 0.130 to 0.023" in unescape(alt)
    assert "<b>" not in drawn


def test_one_week_and_six_columns_are_drawn(sample: Review) -> None:
    for frame in (weeks(1, 1), weeks(6, 12)):
        [drawn, _] = drift_weeks.blocks(sample.body, section(), frame)
        assert "data:image/svg+xml" in drawn
        assert len(drawn) < 200_000


def test_references_that_the_policy_names_stand_before_the_weeks(sample: Review) -> None:
    named = {**WEEK, "name": "<i>release A</i>", "kind": "recorded"}
    empty = {**WEEK, "name": "r9", "kind": "release", "start_utc": None, "end_utc": None,
             "n_interactions": 0, "n_drifted": 0, "drifted": [], "reason": "it holds no interactions"}  # fmt: skip
    steady = {**WEEK, "name": "2 weeks before", "n_drifted": 0, "drifted": []}
    [table] = drift_weeks.blocks(
        sample.body, section(references=[WEEK, steady, named, empty]), weeks().head(0)
    )
    shown = text((table,))
    assert shown.index("release A") < shown.index("r9") < shown.index("last week")
    assert "recorded release" in shown
    assert "column 0 0.050, column 1 0.050, column 2 0.050 and 2 more" in shown
    assert "not compared: it holds no interactions" in shown
    assert "5 of 20" in shown
    assert "0 of 20 none" in shown
    assert "<i>" not in table


def test_many_references_are_cut_and_the_file_has_all(sample: Review) -> None:
    many = [{**WEEK, "name": f"{k} weeks before"} for k in range(140)]
    [table] = drift_weeks.blocks(sample.body, section(references=many), weeks().head(0))
    assert "First 100 of 140; all in" in text((table,))


def test_without_any_reference_it_is_said(sample: Review) -> None:
    shown = text(drift_weeks.blocks(sample.body, section(), weeks().head(0)))
    assert "Nothing earlier is there to compare with" in shown
