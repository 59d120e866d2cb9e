"""Counts that are hidden stay hidden: known answers, and an attacker who solves the whole system."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.disclosure import (
    MIN_CELL,
    STEP,
    Sum,
    attack,
    is_small,
    margins,
    of_one_total,
    rounded,
    rounded_rate,
    suppressed,
)


def test_a_count_below_the_threshold_is_small_and_zero_is_too() -> None:
    assert [is_small(n) for n in (0, 1, 9, 9.4, 9.6, 10, 300)] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    assert is_small(19, min_cell=20)


@pytest.mark.parametrize(
    ("count", "shown"), [(10, 10), (11, 10), (12, 10), (13, 15), (17, 15), (18, 20), (-13, -15)]
)
def test_a_count_is_shown_to_the_nearest_five(count: int, shown: int) -> None:
    assert rounded(count) == shown


def test_a_rate_is_one_of_rounded_counts() -> None:
    # 23 of 301 is shown as 25 of 300.
    assert rounded_rate(23 / 301, 301) == 25 / 300
    # What is shown is the same for every numerator that rounds to 25.
    assert len({rounded_rate(n / 301, 301) for n in range(23, 28)}) == 1


def test_a_single_small_part_of_a_total_takes_the_smallest_other_with_it() -> None:
    assert of_one_total([400, 60, 3, 80]) == [False, True, True, False]


def test_two_small_parts_whose_sum_is_small_take_another_with_them() -> None:
    # 2 + 3 = 5 would be known from the total: each lies within 0 and 5.
    assert of_one_total([400, 60, 2, 3]) == [False, True, True, True]


def test_nothing_is_hidden_where_nothing_is_small() -> None:
    assert of_one_total([400, 60, 10]) == [False, False, False]
    assert of_one_total([]) == []


def test_all_is_hidden_where_the_total_itself_is_small() -> None:
    assert of_one_total([3, 4]) == [True, True]


def test_in_a_table_with_margins_one_small_cell_hides_a_rectangle() -> None:
    # Cox (1980), without rounding: one cell alone is had from its row, two in a row from their columns.
    counts = [5, 90, 70, 40, 30, 80, 60, 50, 95]
    sums = margins(3, 3, counts)
    hidden = suppressed(counts, sums, step=1)
    assert hidden[0]
    assert any(
        all(hidden[cell] for cell in (0, c, 3 * r, 3 * r + c)) for r in (1, 2) for c in (1, 2)
    )
    shown = [None if h else n for h, n in zip(hidden, counts, strict=True)]
    low, high = attack(shown, sums, step=1)[0]
    assert high - low >= MIN_CELL


def test_what_an_attacker_knows_of_one_hidden_cell() -> None:
    # 100 in all, the others shown as 40 and 50: 38 to 42, and 48 to 52.
    known = attack([40, 50, None], [Sum((0, 1, 2), 100)])
    assert known[2] == (pytest.approx(6), pytest.approx(14))


def test_numbers_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="contradict"):
        attack([40, 50, None], [Sum((0, 1, 2), 50)])


COUNTS = st.lists(st.integers(0, 60), min_size=4, max_size=12)
TABLES = st.tuples(st.integers(2, 4), st.integers(2, 4)).flatmap(
    lambda shape: st.tuples(
        st.just(shape),
        st.lists(st.integers(0, 60), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]),
    )
)


@settings(deadline=None, max_examples=60)
@given(TABLES, st.sampled_from([5, 10, 20]))
def test_no_small_cell_of_a_table_can_be_recovered(
    table: tuple[tuple[int, int], list[int]], k: int
) -> None:
    (rows, columns), counts = table
    sums = margins(rows, columns, counts)
    hidden = suppressed(counts, sums, k)
    shown = [None if h else rounded(c) for h, c in zip(hidden, counts, strict=True)]
    known = attack(shown, sums)
    for place, count in enumerate(counts):
        low, high = known[place]
        # The attacker's range is sound, and for a small count as wide as the threshold.
        assert low - 1e-6 <= count <= high + 1e-6
        if count < k:
            assert hidden[place]
            assert high - low >= k - 1e-6 or all(hidden)


@settings(deadline=None, max_examples=60)
@given(COUNTS)
def test_every_set_of_parts_that_gives_the_same_page_is_possible(counts: list[int]) -> None:
    """The linear program against counting by hand: all wholes that round and add up to what is shown."""
    hidden = of_one_total(counts)
    places = [i for i, h in enumerate(hidden) if h]
    if not places or len(places) > 3:
        return
    shown = [None if h else rounded(c) for h, c in zip(hidden, counts, strict=True)]
    known = attack(shown, [Sum(tuple(range(len(counts))), sum(counts))])
    slack = (STEP // 2) * (len(counts) - len(places))
    rest = sum(counts) - sum(s for s in shown if s is not None)
    possible = [
        p
        for p in itertools.product(range(max(0, rest + slack) + 1), repeat=len(places))
        if rest - slack <= sum(p) <= rest + slack
    ] if rest + slack <= 40 else []  # fmt: skip
    for at, place in enumerate(places):
        if possible:
            assert max(p[at] for p in possible) <= known[place][1] + 1e-6
            assert min(p[at] for p in possible) >= known[place][0] - 1e-6
