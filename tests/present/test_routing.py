"""The routing page: every candidate beside today, whatever of it is known."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from analysis.present import routing
from analysis.review import Review

ATTACK = '<script>alert(1)</script>{{< env HOME >}}`"'


def interval(
    value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "support": 100}


def candidate(name: str, **changes: Any) -> dict[str, Any]:
    """A candidate that is estimated and adopted."""
    held = {
        "name": name, "estimator": "dr", "unit_cost_usd": interval(1.9, 1.7, 2.2),
        "failure_rate": interval(0.04, 0.03, 0.05), "cost_usd": interval(0.12, 0.11, 0.13),
        "latency_breach_rate": interval(0.034, 0.03, 0.04), "saving_usd": interval(0.25, 0.1, 0.35),
        "saving_usd_per_day": 85.0, "bounds": None, "effective_sample_size": 238.4,
        "matched_failures": 194, "overlap": 1.0, "max_weight": 2.96, "pareto_k": 0.31,
        "balance": {"column": "region", "difference": -0.077},
        "negative_controls": [
            {"outcome": "failures", "effect": 0.0014, "low": -0.01, "high": 0.02, "p_value": 0.84, "n": 851},
            {"outcome": "cost", "effect": 0.02, "low": 0.01, "high": 0.03, "p_value": 0.0004, "n": 851},
        ],
        "gamma_flip": 2.61, "gamma_words": "a hidden difference could undo it",
        "recommendation": "adopt", "reason": "it saves", "needs": None, "exploration": None,
        "rules": [{"when": {"use_case": "support"}, "use": {"model_name": "small", "model_provider": "aurora"},
                   "share": 1.0}],
        "changed_share": 0.278, "frontier": True,
        "slices": [{"slice": "use_case “support”", "requests": 452, "moved_share": 1.0,
                    "saving_usd": interval(1.1, 0.05, 1.7), "failure_change": interval(-0.026, -0.04, -0.001)}],
    }  # fmt: skip
    return {**held, **changes}


def unknown(name: str, **changes: Any) -> dict[str, Any]:
    """A candidate of which nothing is estimated, as a cascade or one that the log never tried."""
    nothing = interval(None)
    held = dict.fromkeys(candidate(name)) | {
        "name": name, "unit_cost_usd": nothing, "failure_rate": nothing, "cost_usd": nothing,
        "latency_breach_rate": nothing, "saving_usd": nothing, "negative_controls": [], "rules": [],
        "slices": [], "recommendation": "insufficient_evidence", "reason": "the log cannot tell",
    }  # fmt: skip
    return {**held, **changes}


def of(review: Review, *candidates: dict[str, Any], **section: Any) -> Review:
    """`review` with these routing candidates, its series made to match."""
    held = review.body["views"]["routing"]
    views = {**review.body["views"], "routing": {**held, "candidates": list(candidates), **section}}
    result = review.results["routing"]
    savings = [
        (c["name"], estimator, *(c["saving_usd"][k] for k in ("value", "low", "high")))
        for c in candidates
        for estimator in ("dr", "snips", "ips", "switch", "dros", "dm", "naive")
        if c["saving_usd"]["value"] is not None
    ]
    series = {
        "routing_savings": pd.DataFrame(
            savings, columns=["candidate", "estimator", "saving", "low", "high"]
        ),
        "routing_frontier": frontier_of(views["routing"]),
    }
    results = {**review.results, "routing": replace(result, series=series)}
    return replace(review, body={**review.body, "views": views}, results=results)


def frontier_of(section: dict[str, Any]) -> pd.DataFrame:
    points = [("", None, section["on_policy"], None)] + [
        (c["name"], c["recommendation"], c, c["frontier"]) for c in section["candidates"]
    ]
    rows = [
        {
            "name": name, "recommendation": told, "frontier": best, "breach": None,
            **{f"{to}{end}": p[of][key]
               for to, of in (("cost", "cost_usd"), ("failure", "failure_rate"))
               for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))},
        }
        for name, told, p, best in points
        if p["cost_usd"]["value"] is not None and p["failure_rate"]["value"] is not None
    ]  # fmt: skip
    columns = ["name", "recommendation", "cost", "cost_low", "cost_high", "failure", "failure_low",
               "failure_high", "breach", "frontier"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def evidence(review: Review) -> str:
    return "".join(routing.parts(review).evidence)


def text(markup: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", markup)))


def rows(markup: str, title: str) -> list[list[str]]:
    """The body of the table of that title, as text."""
    found = re.search(rf'aria-label="{re.escape(title)}">(.*?)</table>', markup, re.S)
    assert found is not None, title
    body = re.findall(r"<tr>\s*(<td.*?)</tr>", found.group(1), re.S)
    return [
        [text(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)]
        for row in body
    ]


VALUES = "Each candidate beside today&#x27;s routing"


def test_each_candidate_stands_under_todays_routing_with_intervals(sample: Review) -> None:
    told = rows(evidence(of(sample, candidate("a"), unknown("b"))), VALUES)
    today, first, second = told[:3]
    now = sample.body["views"]["routing"]["on_policy"]
    assert today[0] == "today's routing"
    assert today[4].startswith(f"{100 * now['failure_rate']['value']:.2f} %")
    assert first[:2] == ["a", "adopt"]
    assert first[2:] == ["1.90 1.70 to 2.20", "0.1200 0.1100 to 0.1300", "4.00 % 3.00 to 5.00 %",
                         "3.40 % 3.00 to 4.00 %", "yes"]  # fmt: skip
    assert second == ["b", "not settled", "–", "–", "–", "–", "–"]


def test_the_saving_stands_beside_other_estimators_and_group_means(sample: Review) -> None:
    told = rows(
        evidence(of(sample, candidate("a"), unknown("b"))), "What each candidate would have saved"
    )
    assert told[0] == ["a", "+0.2500 +0.1000 to +0.3500", "+85.00", *["+0.2500"] * 5]
    assert told[1][1:] == ["–"] * 7


def test_few_candidates_are_drawn_with_every_estimator_and_many_with_the_judged_one(
    sample: Review,
) -> None:
    few = evidence(of(sample, *(candidate(f"c{k}") for k in range(3))))
    many = evidence(of(sample, *(candidate(f"c{k}") for k in range(4))))
    assert "grey squares" in few
    assert "grey squares" not in many


def test_support_is_held_against_what_it_should_be(sample: Review) -> None:
    weak = candidate("w", effective_sample_size=136.0, matched_failures=49, pareto_k=0.71, overlap=0.5,
                     bounds={"low": -1.0, "high": 2.0})  # fmt: skip
    told = rows(evidence(of(sample, candidate("a"), weak)), "What the log holds of each candidate")
    due, strong, poor = told[:3]
    assert due == ["should be", "–", "100 %", "≥ 200", "≥ 50", "–", "≤ 0.7", "–"]
    assert strong == ["a", "27.8 %", "100 %", "238", "194", "3.0", "+0.31", "–"]
    assert poor[2:] == ["50 % bounds only", "136 too few", "49 too few", "3.0", "+0.71 too large",
                        "−1.00 to +2.00"]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "column", "cell"),
    [
        ({}, 1, "−0.08 region"),
        ({"balance": {"column": "tokens", "difference": 0.2}}, 1, "+0.20 , beyond tokens"),
        ({"balance": None}, 1, "–"),
        ({}, 2, "+0.14 pp −1.00 to +2.00 pp; p 0.8400, n = 851"),
        ({}, 3, "+0.0200 , not 0 +0.0100 to +0.0300; p 0.0004, n = 851"),
        ({"negative_controls": []}, 2, "too few requests have one before them"),
        ({}, 4, "2.61: a hidden difference could undo it"),
        ({"gamma_flip": None, "gamma_words": None}, 4, "–"),
    ],
)
def test_what_speaks_against_an_estimate_is_told(
    sample: Review, changes: dict[str, Any], column: int, cell: str
) -> None:
    told = rows(
        evidence(of(sample, candidate("a", **changes))), "What speaks against each estimate"
    )
    assert told[1][column].replace(" , ", ", ") == cell.replace(" , ", ", ")


@pytest.mark.parametrize(
    ("needs", "trial", "cells"),
    [
        ({"requests": 2337, "days": 6.6},
         {"share": 0.41, "days": 56, "requests": 2028, "usd_per_day_low": -17.94, "usd_per_day_high": 87.72},
         ["2,337", "6.6", "41 %", "56", "2,028", "−17.94 to 87.72"]),
        ({"requests": 10, "days": None}, None, ["10", "–", "–", "–", "–", "–"]),
        ({"requests": None, "days": None},
         {"share": None, "days": None, "requests": 5, "usd_per_day_low": None, "usd_per_day_high": None},
         ["not by waiting", "–", "–", "–", "5", "–"]),
        (None, None, ["not by waiting", "–", "–", "–", "–", "–"]),
    ],
)  # fmt: skip
def test_what_would_settle_it_is_waiting_or_a_trial(
    sample: Review, needs: Any, trial: Any, cells: list[str]
) -> None:
    review = of(sample, candidate("done"), unknown("open", needs=needs, exploration=trial))
    told = rows(evidence(review), "What would settle what is not settled")
    assert told[0] == ["open", *cells]
    assert not any(row[0] == "done" for row in told)


def test_gains_stand_first_and_a_harmed_slice_is_named(sample: Review) -> None:
    parts = [
        {"slice": f"s{k}", "requests": 10, "moved_share": 0.5, "saving_usd": interval(5.0 - k, -1.0, 9.0),
         "failure_change": interval(0.0)} for k in range(40)
    ]  # fmt: skip
    kept = candidate("k", recommendation="keep", slices=parts,
                     reason="of the requests of account_tier “free”, failures rise by more than 3 %")  # fmt: skip
    blank = [{**parts[0], "saving_usd": interval(None), "failure_change": interval(None)}]
    page = evidence(of(sample, kept, unknown("never", slices=blank)))
    told = [r for r in rows(page, "Who wins and who loses") if len(r) == 6]
    assert [r[1] for r in told] == [
        *(f"s{k}" for k in range(12)),
        *(f"s{k}" for k in range(28, 40)),
    ]
    assert told[0][2:5] == ["10", "50 %", "+5.00 −1.00 to +9.00"]
    assert "k: Of the requests of account_tier “free”, failures rise" in text(page)


@pytest.mark.parametrize(
    ("candidates", "section"),
    [
        ((), {}),
        ((unknown("a"),), {"propensity": None, "reason": "cost is not known"}),
        ((unknown("c", bounds={"low": -0.3, "high": 2.3}),), {}),
        ((), {"propensity": None, "reason": "cost is not known",
              "on_policy": dict.fromkeys(("unit_cost_usd", "failure_rate", "cost_usd",
                                          "latency_breach_rate"), interval(None))}),
    ],
    ids=["no candidates", "nothing backtested", "a cascade", "nothing known"],
)  # fmt: skip
def test_what_is_not_there_draws_no_figure_and_no_nan(
    sample: Review, candidates: tuple[dict[str, Any], ...], section: dict[str, Any]
) -> None:
    page = evidence(of(sample, *candidates, **section))
    assert "<figure" not in page
    assert page
    assert not re.search(r"\b(?:nan|None|NaT|inf)\b", text(page))


def test_hostile_names_stay_text(sample: Review) -> None:
    hostile = candidate(
        ATTACK, balance={"column": ATTACK, "difference": 0.2},
        rules=[{"when": {ATTACK: [ATTACK]}, "use": {"model_name": ATTACK}, "share": 0.3}],
        slices=[{**candidate("a")["slices"][0], "slice": ATTACK}],
    )  # fmt: skip
    page = evidence(of(sample, hostile))
    assert "<script" not in page
    assert not set("{}`") & set(page)
    assert "{{< env HOME >}}" in text(page)
