"""Combinations of texts as codes equal plain tuples, sorted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.views.routing_log import combinations, words_of


@pytest.mark.parametrize("n", [0, 1, 200])
@pytest.mark.parametrize("columns", [[], ["a"], ["a", "b"], ["b", "c", "a"]])
def test_codes_mean_what_the_rows_hold(columns: list[str], n: int) -> None:
    rng = np.random.default_rng(n)
    frame = pd.DataFrame(
        {
            "a": pd.Series(rng.choice(["x", "y", "", "ä"], n)).where(rng.random(n) < 0.8),
            "b": rng.integers(0, 12, n),
            "c": pd.Series(rng.choice([True, False, None], n), dtype=object),
        }
    )

    def text(value: object) -> str | None:
        if value is None or value != value:
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)

    rows = [
        tuple(text(v) for v in row) for row in frame[columns].astype(object).to_numpy().tolist()
    ]
    codes, found = combinations(frame, columns)
    assert [found[code] for code in codes] == rows
    assert list(found) == sorted(set(rows), key=lambda a: [(v is not None, v or "") for v in a])


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([True, False, None, True], dtype=object),
        pd.Series(["true", "false", None, "true"], dtype="str"),
        pd.Series(["true", "false", None, "true"], dtype="category"),
    ],
)
def test_true_and_false_are_the_words_that_sql_writes(values: pd.Series) -> None:
    codes, words = words_of(values)
    assert [words[k] if k >= 0 else None for k in codes] == ["true", "false", None, "true"]
