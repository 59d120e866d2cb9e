"""The figure, sentences and table of the daily series that changed."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.present.drift_time import MAX_PANELS, changes

START = pd.Timestamp("2026-09-21T00:00:00Z")


def change(**more: Any) -> dict[str, Any]:
    return {
        "name": "failure_rate", "kind": "failure_rate", "unit": "share", "tracked": None,
        "since_utc": "2026-11-02T00:00:00Z", "low_utc": "2026-11-01T00:00:00Z",
        "high_utc": "2026-11-03T00:00:00Z", "complete_utc": "2026-11-02T00:00:00Z",
        "before": 0.032, "after": 0.077, "shape": "step", "relation": "at_release", "p_value": 1e-5,
        "q_value": 0.0004, "others": [], "spikes_utc": [], "correlation": 0.1, "n_days": 56,
        "support": 20_000, **more,
    }  # fmt: skip


def body(*found: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    def window(first: int, last: int) -> dict[str, Any]:
        ends = [(START + pd.Timedelta(days=d)).isoformat() for d in (first, last)]
        return {"start_utc": ends[0], "end_utc": ends[1], "release_id": None,
                "n_interactions": 10, "n_sessions": 5, "n_users": 2}  # fmt: skip

    section = {"changes": list(found), "changes_tested": 9, "changes_reason": reason}
    windows = {"comparison": "before_after", "baseline": window(0, 42), "candidate": window(42, 56)}
    return {"views": {"drift": section}, "windows": {**windows, "exclude": []}}


def days(n_series: int) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "rank": rank, "feature": "x", "kind": "share",
                "day": [START + pd.Timedelta(days=d) for d in range(56)],
                "value": np.linspace(0.03, 0.08, 56), "level": np.where(np.arange(56) < 42, 0.03, np.nan),
                "spike": np.arange(56) == 50,
            }
        )
        for rank in range(n_series)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def drawn(*found: dict[str, Any]) -> str:
    return html.unescape("".join(changes(body(*found), days(len(found)))))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "Failure rate rises on 2026-11-02 from 3.2 % to 7.7 % (95 %: 2026-11-01 to 2026-11-03). It began "
             "with the release: the candidate's start is among these days."),
        ({"relation": "before_release"}, "It began before the release, which is then not its cause."),
        ({"relation": "within_candidate"}, "It began after the candidate did"),
        ({"low_utc": "2026-10-01T00:00:00Z"}, "is one of many days on which it may have begun: days do not tell."),
        ({"shape": "gradual", "complete_utc": "2026-11-15T00:00:00Z"},
         "rises gradually since about 2026-11-02, to 2026-11-15, from 3.2 % to 7.7 %"),
        ({"kind": "cost_usd_per_interaction", "unit": "usd_per_interaction", "before": 0.1077, "after": 0.1287},
         "from 0.1077 USD to 0.1287 USD (95 %"),
        ({"shape": "unclear", "after": 0.01}, "falls about 2026-11-02, at once or gradually, from 3.2 % to 1.0 %"),
        ({"low_utc": "2026-11-02T00:00:00Z", "high_utc": "2026-11-02T00:00:00Z"}, "(95 %: to the day)"),
        ({"spikes_utc": ["2026-10-05T00:00:00Z"]}, "Set aside, for they stand alone: 2026-10-05."),
        ({"others": [change(since_utc="2026-10-01T00:00:00Z", before=0.01, after=0.032)]},
         "Before that: it rises on 2026-10-01 from 1.0 % to 3.2 %"),
        ({"others": [change(), change()]},
         "(95 %: 2026-11-01 to 2026-11-03); it rises on 2026-11-02 from 3.2 % to 7.7 % "
         "(95 %: 2026-11-01 to 2026-11-03)."),
    ],
)  # fmt: skip
def test_each_change_is_a_sentence(more: dict[str, Any], sentence: str) -> None:
    assert sentence in drawn(change(**more))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"name": "channel", "kind": "share", "tracked": "web"}, "channel, share “web”"),
        ({"name": "cost", "kind": "share", "tracked": "> 0.25"}, "cost, share > 0.25"),
        ({"name": "latency_ms", "kind": "missing_rate"}, "latency_ms, share missing"),
        ({"name": "volume", "kind": "volume", "unit": "interactions_per_day", "before": 1200.0,
          "after": 900.0}, "Interactions a day falls on 2026-11-02 from 1,200 to 900"),
    ],
)  # fmt: skip
def test_each_series_has_a_name(more: dict[str, Any], name: str) -> None:
    assert name in drawn(change(**more))


def test_the_figure_tells_its_numbers_and_how_many_are_left_out() -> None:
    page = drawn(*[change(name=f"c{i}", kind="share", tracked="v") for i in range(MAX_PANELS + 2)])
    (alt,) = re.findall('alt="([^"]*)"', page)
    assert (
        alt.count("from 3.2 % to 7.7 % since 2026-11-02 (2026-11-01 to 2026-11-03)") == MAX_PANELS
    )
    assert f"The first {MAX_PANELS} of {MAX_PANELS + 2}." in page


@pytest.mark.parametrize(
    ("low", "told"),
    [("2026-11-01T00:00:00Z", "its start is among the days"), ("2026-10-01T00:00:00Z", "days do not tell")],
)  # fmt: skip
def test_the_table_says_no_more_of_the_release_than_the_sentence(low: str, told: str) -> None:
    _, table = drawn(change(low_utc=low)).split("<table", 1)
    assert told in table


def test_the_page_stays_small_whatever_the_days_are() -> None:
    found = [change(name=f"c{i}", kind="share", tracked="v") for i in range(12)]
    assert len(drawn(*found)) < 450_000


def test_names_out_of_the_telemetry_are_inert() -> None:
    hostile = change(name="<script>x</script>", kind="share", tracked="`a` {0} <b>")
    page = "".join(changes(body(hostile), days(1)))
    assert "<script>" not in page
    assert "<b>" not in page
    assert "`" not in page


def test_where_nothing_changed_or_was_asked_a_sentence_says_so() -> None:
    nothing = "".join(changes(body(), days(1).head(0)))
    assert "No daily series changes its level beyond chance (9 looked at)." in nothing
    few = "".join(changes(body(reason="the windows hold 14 whole days"), days(1).head(0)))
    assert "the windows hold 14 whole days" in few
