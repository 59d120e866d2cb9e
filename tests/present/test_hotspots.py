"""The hotspots page: every metric in its own unit, whatever telemetry and policy call it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from analysis.present import hotspots
from analysis.present.escape import Html
from analysis.review import Review

FOUND = {
    "slice": {"channel": "api"}, "kind": "regression", "status": "new", "ratio": 2.0,
    "q_value": 0.001, "support": 500, "n_clusters": 400, "excess_usd": None, "shrunk_ratio": 1.9,
    "ratio_given": 2.9,
    "detail": None,
}  # fmt: skip
RATE = {"unit": "rate", "value": 0.1, "reference": 0.05, "effect": 0.05, "low": 0.03, "high": 0.07,
        "excess": 25.0}  # fmt: skip
SCORE = {"unit": "score", "value": 0.61, "reference": 0.805, "effect": -0.195, "low": -0.25,
         "high": -0.12, "excess": 97.5}  # fmt: skip


def drawn(sample: Review, *found: dict[str, Any]) -> tuple[Html, ...]:
    section = sample.body["views"]["hotspots"] | {"found": list(found), "listed": []}
    body = {**sample.body, "views": {**sample.body["views"], "hotspots": section}}
    return hotspots.parts(replace(sample, body=body)).evidence


def text(blocks: tuple[Html, ...]) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", " ".join(blocks))))


def alts(blocks: tuple[Html, ...]) -> list[str]:
    return [unescape(m) for block in blocks for m in re.findall(r'alt="([^"]*)"', block)]


@pytest.mark.parametrize(
    ("metric", "figures", "title", "cells"),
    [
        ("response_quality_score", SCORE, "Quality score, mean",
         ["Quality score vs before", "0.61, 2.00×", "reference 0.81", "shrunk 1.90×",
          "2.90× given the others", "−0.20", "−0.25 to −0.12",
          "98 points"]),
        ("user_feedback_score", SCORE, "Feedback score, mean", ["Feedback score vs before"]),
        ("latency_p95", RATE, "Share as slow as the p95, %",
         ["Slow as the p95 vs before", "10.00 %, 2.00×", "+5.00 pp"]),
        ("pii_flag", RATE, "Rate of pii_flag, %", ["pii_flag vs before", "10.00 %", "25"]),
        ("<b>$x^_$ flag", RATE, "Rate of <b>$x^_$ flag, %", ["<b>$x^_$ flag vs before"]),
        ("cost", RATE | {"unit": "usd"}, "Cost, USD per interaction",
         ["Cost vs before", "0.1000 USD", "25 USD"]),
    ],
)  # fmt: skip
def test_a_metric_is_shown_in_its_unit(
    sample: Review, metric: str, figures: dict[str, Any], title: str, cells: list[str]
) -> None:
    blocks = drawn(sample, FOUND | figures | {"metric": metric})
    (alt,) = alts(blocks)
    assert alt.startswith(f"{title}: ")
    shown = text(blocks)
    for cell in cells:
        assert cell in shown


def test_figures_are_as_many_as_anybody_reads(sample: Review) -> None:
    found = [FOUND | RATE | {"metric": f"flag_{k}"} for k in range(12)]
    blocks = drawn(sample, *found)
    assert len(alts(blocks)) == hotspots.MAX_FIGURES
    assert "flag_11 vs before" in text(blocks)
