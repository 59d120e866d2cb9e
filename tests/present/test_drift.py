"""The drift page: sentences first, small multiples, and a size that the data do not decide."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.present import drift
from analysis.present.drift_distributions import MAX_PANELS, distributions
from analysis.review import Review


def feature(name: str, severity: str, counted: bool = True) -> dict[str, Any]:
    return {
        "feature": name, "role": "context", "statistic": "rao_scott_chi2", "effect": 0.3,
        "effect_unit": "total_variation", "psi": 0.4, "p_value": 1e-9, "q_value": 1e-8,
        "severity": severity, "kind": "categorical", "counted": counted, "n_bins": 3,
        "new_share": 0.0, "vanished_share": 0.0, "missing_baseline": 0.0, "missing_candidate": 0.0,
        "support": 5000, "reason": None, "sentence": f"“{name}”: “a” rose from 1.0 % to 31.0 %.",
    }  # fmt: skip


def body(review: Review, features: list[dict[str, Any]]) -> dict[str, Any]:
    views = {
        **review.body["views"],
        "drift": {**review.body["views"]["drift"], "features": features},
    }
    return {**review.body, "views": views}


def shares(names: list[str], bins: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for rank, name in enumerate(names, start=1):
        old, new = rng.dirichlet(np.ones(bins)), rng.dirichlet(np.ones(bins))
        rows += [[rank, name, "high", "categorical", b, f"value {b}", old[b], new[b]]
                 for b in range(bins)]  # fmt: skip
    columns = ["rank", "feature", "severity", "kind", "bin", "label", "baseline", "candidate"]
    return pd.DataFrame(rows, columns=columns)


def read(blocks: tuple[str, ...]) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", "".join(blocks)))


def page(review: Review, features: list[dict[str, Any]], series: pd.DataFrame) -> tuple[str, ...]:
    result = review.results["drift"]
    held = replace(result, series={**result.series, "drift_distributions": series})
    changed = Review(body(review, features), {**review.results, "drift": held}, ())
    parts = drift.parts(changed)
    return (*parts.answer, *parts.evidence, *parts.actions)


def test_each_column_that_drifted_has_its_sentence_the_most_severe_first(sample: Review) -> None:
    features = [feature("first", "high"), feature("prompt_version", "medium", counted=False),
                feature("still", "none")]  # fmt: skip
    told = read(page(sample, features, shares([])))
    first = told.index("“first”: “a” rose from 1.0 % to 31.0 % (high).")
    assert first < told.index(
        "“prompt_version”: “a” rose from 1.0 % to 31.0 % (medium, listed only)."
    )
    assert "“still”: “a”" not in told


def test_panels_are_of_counted_columns_that_drifted_and_their_numbers_are_in_words(
    sample: Review,
) -> None:
    names = [f"column {i}" for i in range(9)] + ["model_name"]
    features = [feature(n, "high", counted=n != "model_name") for n in names]
    (drawn,) = distributions(body(sample, features), shares(names, bins=20))
    assert drawn.count("<img") == 1
    told = html.unescape(drawn)
    assert "column 0: value " in told
    assert f"column {MAX_PANELS}: " not in told
    assert "model_name: " not in told
    assert "3 more drifted" in told


def test_without_drift_there_is_no_panel(sample: Review) -> None:
    assert distributions(body(sample, []), shares([])) == ()


def test_a_page_stays_under_a_megabyte_whatever_the_data(sample: Review) -> None:
    long = ["x" * 5000 + str(i) for i in range(400)]
    features = [{**feature(n, "high"), "sentence": f"“{n}” " + "y" * 3000} for n in long]
    parts = page(sample, features, shares(long, bins=50))
    assert sum(len(part.encode()) for part in parts) < 1_000_000


def test_an_alt_text_tells_whole_panels_and_how_many_more_there_are(sample: Review) -> None:
    names = [f"column {i} with a long name that no page has room for" for i in range(6)]
    series = shares(names, bins=20)
    series["label"] += " with a name that is long as well"
    (drawn,) = distributions(body(sample, [feature(n, "high") for n in names]), series)
    (alt,) = re.findall(r'alt="([^"]*)"', html.unescape(drawn))
    assert re.search(r"; and \d more columns\.$", alt)
    # Eight bins a panel, and none of them cut in its numbers.
    assert alt.count("→") == len(re.findall(r"[\d.]+ % → [\d.]+ %", alt))
    assert alt.count("→") % 8 == 0
