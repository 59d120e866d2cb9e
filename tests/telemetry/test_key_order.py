"""Ids sorted by their bytes equal Python's own order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.telemetry.key_order import Ids, key_order, own_texts

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NEAR = st.text("ab\0é", max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS | NEAR, unique=True, max_size=40))
def test_the_order_is_that_of_python(texts: list[str]) -> None:
    order = key_order(pa.array(texts, type=pa.large_string()))
    assert [texts[k] for k in order] == sorted(texts)


@pytest.mark.parametrize("prefix", ["", "tenant-0000-", "0123456789abcdef" * 4])
def test_long_common_beginnings_do_not_matter(prefix: str) -> None:
    texts = [f"{prefix}{k}" for k in np.random.default_rng(1).permutation(3_000)]
    order = key_order(pa.array(texts, type=pa.large_string()))
    assert [texts[k] for k in order] == sorted(texts)


@settings(max_examples=50, deadline=None)
@given(st.lists(NEAR, unique=True, min_size=1, max_size=30), st.integers(1, 29))
def test_ids_come_in_batches_of_any_kind(texts: list[str], cut: int) -> None:
    parts = [pd.Series(p, dtype="str") for p in (texts[:cut], texts[cut:])]
    parts[0] = parts[0].astype("category")
    ids = Ids.of([own_texts(part) for part in parts])
    assert ids.at(np.arange(len(texts))) == sorted(texts)


def test_no_ids_have_no_order() -> None:
    assert len(Ids.of([]).order) == 0


def test_a_piece_of_an_array_is_sorted_by_itself() -> None:
    whole = pa.array(["z", "y", "b", "c", "a", "x"], type=pa.large_string())
    assert key_order(whole[2:5]).tolist() == [2, 0, 1]
