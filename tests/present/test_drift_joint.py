from __future__ import annotations

import copy
import html
import re
from typing import Any

import pytest

from analysis.present.drift_joint import joint
from analysis.review import Review

FOUND: dict[str, Any] = {
    "auc": 0.654, "low": 0.619, "high": 0.689, "p_value": 1e-6, "reason": None,
    "names": ["channel", "region", "use_case"],
    "n_fitted": 2558, "n_baseline": 1838, "n_candidate": 644,
    "columns": [
        {"name": "region", "importance": 0.149, "alone": 0.539},
        {"name": "use_case", "importance": 0.133, "alone": 0.512},
    ],
    "giveaway": ["region", "use_case"],
    "cells": [
        {"values": ["eu", "<b>code</b>"], "baseline": 0.121, "candidate": 0.219, "expected": 0.118},
        {"values": ["us", "code"], "baseline": 0.120, "candidate": 0.060, "expected": 0.110},
    ],
}  # fmt: skip


def told(review: Review, **changes: Any) -> str:
    return "".join(joint(copy.deepcopy(review.body), {**FOUND, **changes}))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text)))


def test_the_pair_that_gives_it_away_is_a_sentence_with_its_shares(tiny_review: Review) -> None:
    text = words(told(tiny_review))
    assert "an AUC of 0.654 (95 % interval 0.619 to 0.689; 0.5 is chance)" in text
    assert "learnt on 3 columns of 2,558 interactions tells the windows apart, on 2,482" in text
    assert "Interactions of region “eu” with use_case “<b>code</b>” were 12.1 % of the" in text
    assert "and are 21.9 % of the candidate. The columns alone do not explain it." in text


def test_values_are_escaped(tiny_review: Review) -> None:
    assert "<b>code" not in told(tiny_review)


def test_the_figure_has_its_numbers_in_words(tiny_review: Review) -> None:
    alt = re.search(r'alt="([^"]+)"', told(tiny_review))
    assert alt is not None
    assert "us & code 12.0 % → 6.0 % (alone 11.0 %)" in html.unescape(alt.group(1))


def test_what_the_columns_explain_is_not_said_to_be_unexplained(tiny_review: Review) -> None:
    cells = [{"values": ["eu", "code"], "baseline": 0.1, "candidate": 0.2, "expected": 0.16}]
    assert "do not explain it" not in told(tiny_review, cells=cells)


def test_a_column_that_moves_alone_is_shown_without_company(tiny_review: Review) -> None:
    cells = [{"values": ["eu"], "baseline": 0.1, "candidate": 0.2, "expected": 0.1}]
    text = words(told(tiny_review, giveaway=["region"], cells=cells))
    assert "What gives the windows away most is region." in text
    assert "Alone:" not in text


def test_windows_that_are_not_told_apart_have_no_figure(tiny_review: Review) -> None:
    text = told(tiny_review, columns=[], giveaway=[], cells=[], auc=0.501, low=0.47, high=0.53)
    assert "<img" not in text
    assert "0.501" in text


@pytest.mark.parametrize("reason", ["there is no baseline", "a column <i>x</i> is missing"])
def test_what_is_not_known_is_said(tiny_review: Review, reason: str) -> None:
    text = told(tiny_review, auc=None, reason=reason)
    assert html.escape(reason) in text
