from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.views.encoding import CategoryFeature, ClockFeature, NumberFeature


def number(values: pd.Series) -> NumberFeature:
    learned = NumberFeature.learn("x", values)
    assert learned is not None
    return learned


def category(values: pd.Series) -> CategoryFeature:
    learned = CategoryFeature.learn("x", values)
    assert learned is not None
    return learned


def test_a_number_is_standardised_on_the_log_scale() -> None:
    values = pd.Series(np.exp(np.random.default_rng(1).normal(3, 1, 5_000)))
    design = number(values).design(values)
    assert design.shape == (5_000, 1)
    assert design.mean() == pytest.approx(0, abs=0.01)
    assert design.std() == pytest.approx(1, abs=0.01)


def test_what_the_fit_never_saw_is_clipped() -> None:
    learned = number(pd.Series(np.arange(100.0)))
    assert learned.design(pd.Series([1e300, -1e300])).ravel().tolist() == [5.0, -5.0]


@pytest.mark.parametrize("missing", [[None] * 40, [float("inf")] * 40])
def test_missing_numbers_count_as_the_mean_and_are_flagged(missing: list[float | None]) -> None:
    values = pd.Series([*range(100), *missing], dtype=object)
    learned = number(values)
    assert learned.width == 2
    design = learned.design(values)
    assert design[100:].tolist() == [[0.0, 1.0]] * 40
    assert design[:100, 1].sum() == 0


@pytest.mark.parametrize("values", [[3.0] * 50, [None] * 50, []])
def test_a_number_that_never_varies_is_no_feature(values: list[float | None]) -> None:
    assert NumberFeature.learn("x", pd.Series(values, dtype=float)) is None


def test_rare_new_and_missing_levels_are_one_level() -> None:
    values = pd.Series(["a"] * 60 + ["b"] * 40 + ["rare"] * 3 + [None])
    learned = category(values)
    assert learned.levels == ("a", "b")
    design = learned.design(pd.Series(["a", "b", "rare", "never seen", None]))
    assert design.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]


def test_booleans_are_the_same_levels_from_any_file() -> None:
    real = category(pd.Series([True] * 40 + [False] * 40))
    text = category(pd.Series(["true"] * 40 + ["false"] * 40))
    assert real.levels == text.levels == ("false", "true")


def test_the_clock_is_a_circle_in_utc() -> None:
    at = pd.Series(pd.to_datetime(["2026-11-16 00:00", "2026-11-16 06:00", "2026-11-21 12:00"]))
    np.testing.assert_allclose(
        ClockFeature().design(at), [[0, 1, 0], [1, 0, 0], [0, -1, 1]], atol=1e-12
    )


@pytest.mark.parametrize("kind", ["number", "category", "clock"])
def test_an_effect_is_the_design_times_the_weights(kind: str) -> None:
    rng = np.random.default_rng(2)
    if kind == "number":
        values = pd.Series([*rng.normal(size=200), *[None] * 40], dtype=object)
        feature: NumberFeature | CategoryFeature | ClockFeature = number(values)
    elif kind == "category":
        values = pd.Series(rng.choice(["a", "b", "c"], 300))
        feature = category(values)
    else:
        values = pd.Series(pd.Timestamp("2026-11-16") + pd.to_timedelta(rng.random(200) * 9, "D"))
        feature = ClockFeature()
    weights = rng.normal(size=feature.width)
    np.testing.assert_allclose(
        feature.effect(values, weights), feature.design(values) @ weights, atol=1e-12
    )


@pytest.mark.parametrize("missing", [False, True])
def test_dictionary_coded_texts_are_the_same_feature(missing: bool) -> None:
    values = pd.Series(
        np.random.default_rng(3).choice(["a", "b", "c", "rare"], 500, p=[0.5, 0.3, 0.19, 0.01])
    )
    values = values.where(np.arange(500) % 7 > 0) if missing else values
    coded = values.astype("category")
    assert category(coded) == category(values)
    np.testing.assert_array_equal(category(values).design(coded), category(values).design(values))


def test_the_clock_reads_microseconds_and_timestamps_alike() -> None:
    rng = np.random.default_rng(4)
    at = pd.Series(pd.to_datetime(rng.integers(-(10**15), 2 * 10**15, 300), unit="us"))
    micros = at.astype("datetime64[us]").astype(np.int64)
    hour = (at.dt.hour + at.dt.minute / 60.0) / 24.0 * 2.0 * np.pi
    want = np.column_stack([np.sin(hour), np.cos(hour), at.dt.day_of_week >= 5])
    np.testing.assert_allclose(ClockFeature().design(micros), want, atol=1e-12)
    np.testing.assert_array_equal(ClockFeature().design(at), ClockFeature().design(micros))


@pytest.mark.parametrize("words", [["a", "b", "c"], ["3", "12", "1"], ["true", "false", "x"]])
def test_levels_of_codes_are_those_of_texts(words: list[str]) -> None:
    drawn = np.random.default_rng(2).choice([0, 1, 2, 3], 400, p=[0.5, 0.3, 0.15, 0.05])
    texts = pd.Series(np.array([*words, None], dtype=object)[drawn])
    of_codes = texts.astype(pd.CategoricalDtype(["unused", *words]))
    for rows in (400, 100):  # of a hundred one word is too rare to be a level
        levels = category(texts[:rows]).levels
        assert len(levels) == (3 if rows == 400 else 2)
        assert category(of_codes[:rows]).levels == levels
