"""What outcome models and propensities see of a request."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.stats.design import Design
from analysis.views.routing_features import BLOCKS, MAX_OF_A_PAIR, Features, _course, with_products
from tests.views.routing_worlds import World, logged, policy

NAMES = ("a", "b", "c", "d")


def drawn(n: int = 8_000, seed: int = 1) -> Features:
    return Features(Design.of(np.random.default_rng(seed).normal(size=(n, 4))), NAMES)


def test_where_choices_hang_on_two_features_together_their_product_enters() -> None:
    features, rng = drawn(), np.random.default_rng(2)
    x = features.design.matrix()
    action = (rng.random(len(x)) < 1 / (1 + np.exp(-x[:, 0] * x[:, 2]))).astype(np.int64)
    found = with_products(features, action, rng.normal(size=(len(x), 1)))
    assert found.names == (*NAMES, "a with c")
    np.testing.assert_array_equal(found.design.column(4), x[:, 0] * x[:, 2])


def test_where_outcomes_do_too() -> None:
    features, rng = drawn(), np.random.default_rng(3)
    x = features.design.matrix()
    y = x[:, 1] * x[:, 3] + rng.normal(size=len(x))
    found = with_products(features, rng.integers(0, 2, len(x)), y[:, None])
    assert found.names == (*NAMES, "b with d")


def test_by_chance_hardly_any_enters() -> None:
    more = 0
    for seed in range(60):
        features, rng = drawn(2_000, seed), np.random.default_rng(100 + seed)
        x = features.design.matrix()
        action = (rng.random(len(x)) < 1 / (1 + np.exp(-x[:, 0]))).astype(np.int64)
        more += (
            len(with_products(features, action, x[:, :1] + rng.normal(size=(2_000, 1))).names) - 4
        )
    assert more <= 1


def test_a_pair_of_columns_gives_few() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(8_000, 12))
    names = tuple("aaaaaabbbbbb")
    y = (x[:, :6].sum(axis=1) * x[:, 6:].sum(axis=1))[:, None]
    found = with_products(Features(Design.of(x), names), rng.integers(0, 2, 8_000), y)
    assert len(found.names) == 12 + MAX_OF_A_PAIR


def test_short_logs_have_none() -> None:
    features = drawn(30)
    assert with_products(features, np.zeros(30, dtype=np.int64), np.zeros((30, 1))) is features


def test_the_course_is_told_in_blocks() -> None:
    found = Design.joined(_course(pd.Series(np.arange(2_800) * 1_000_000)), 2_800).matrix()
    assert found.shape == (2_800, 1 + BLOCKS)
    np.testing.assert_array_equal(found[:, 1:].sum(axis=0), 100)
    assert (found[0, 0], found[-1, 0]) == (0.0, 1.0)


def test_a_log_names_each_feature() -> None:
    of = policy({0: 1})
    log = logged(
        World.drawn(np.random.default_rng(1)), np.random.default_rng(1), 3_000, of, known=True
    )
    assert len(log.features.names) == log.features.design.width
    assert {"use_case", "prompt_tokens", "the time", "the cell of routing.context"} <= set(
        log.features.names
    )
