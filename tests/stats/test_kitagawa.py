from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.decomposition import CellSums, decompose
from tests.stats.kitagawa import GONE, NEW, OTHER, Cell, decompose_rate_change, pool_small_cells


def cell(n0: int, y0: int, n1: int, y1: int) -> Cell:
    return Cell((n0, n1), (y0, y1))


def parts(cells: dict[tuple[str, str], Cell]) -> tuple[float, float, float, float]:
    """By the plain decomposition, with which the linearised one agrees."""
    found = decompose_rate_change(cells)
    assert found is not None
    plain = found.total, found.mix_context, found.mix_action, found.within
    used = pool_small_cells(cells)
    context = np.unique([repr(of) for of, _ in used], return_inverse=True)[1]
    n, y = (np.array([getattr(c, which) for c in used.values()], float).T for which in "ny")
    own = decompose(CellSums(n, y, context))
    linearised = [
        getattr(own, name).value for name in ("total", "mix_context", "mix_action", "within")
    ]
    assert linearised == pytest.approx(plain, abs=1e-14)
    return plain


def test_two_groups_are_standardised_as_kitagawa_does_by_hand() -> None:
    """Shares 0.6/0.4 → 0.3/0.7, rates 0.10/0.30 → 0.20/0.30: 0.18 → 0.27."""
    cells = {("x", "a"): cell(600, 60, 300, 60), ("y", "a"): cell(400, 120, 700, 210)}
    total, context, action, within = parts(cells)
    assert total == pytest.approx(0.09)
    assert context == pytest.approx(-0.3 * 0.15 + 0.3 * 0.30)
    assert action == pytest.approx(0)
    assert within == pytest.approx(0.45 * 0.10)


CASES = [
    ("only traffic moves", {("x", "a"): (800, 80, 200, 20), ("y", "a"): (200, 60, 800, 240)},
     (0.12, 0.12, 0, 0)),
    ("only routing moves", {("x", "a"): (800, 80, 200, 20), ("x", "b"): (200, 60, 800, 240)},
     (0.12, 0, 0.12, 0)),
    ("only the system moves", {("x", "a"): (500, 50, 500, 100), ("y", "b"): (500, 50, 500, 100)},
     (0.10, 0, 0, 0.10)),
    ("a new model takes all traffic", {("x", "a"): (1000, 30, 0, 0), ("x", "b"): (0, 0, 1000, 60)},
     (0.03, 0, 0.03, 0)),
    ("a new use case arrives", {("x", "a"): (1000, 30, 500, 15), ("y", "a"): (0, 0, 500, 50)},
     (0.035, 0.035, 0, 0)),
    ("nothing fails", {("x", "a"): (100, 0, 100, 0)}, (0, 0, 0, 0)),
    ("everything fails from now on", {("x", "a"): (100, 0, 100, 100)}, (1, 0, 0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "cells", "expected"), CASES, ids=[c[0] for c in CASES])
def test_each_cause_gets_its_own_effect(
    case: str, cells: dict[tuple[str, str], tuple[int, int, int, int]], expected: tuple[float, ...]
) -> None:
    found = parts({key: cell(*values) for key, values in cells.items()})
    assert found == pytest.approx(expected, abs=1e-12)


def test_small_actions_are_pooled_in_their_context_and_lose_no_row() -> None:
    cells = {
        ("x", "a"): cell(900, 9, 900, 9),
        ("x", "b"): cell(19, 5, 900, 90),
        ("x", "c"): cell(900, 9, 3, 1),
        ("x", "d"): cell(0, 0, 10, 2),
        ("x", "e"): cell(0, 0, 5, 2),
        ("x", "f"): cell(7, 1, 0, 0),
        ("x", "g"): cell(0, 0, 20, 2),
    }
    pooled = pool_small_cells(cells)
    assert set(pooled) == {
        ("x", "a"), ("x", "g"), ("x", OTHER), ("x", NEW), ("x", GONE)
    }  # fmt: skip
    assert pooled["x", OTHER] == Cell((919, 903), (14, 91), (919, 903))
    assert pooled["x", NEW].n == (0, 15)
    assert pooled["x", GONE].n == (7, 0)


def test_small_contexts_are_one() -> None:
    cells = {
        ("x", "a"): cell(40, 4, 900, 9),
        ("x", "b"): cell(9, 4, 900, 9),
        ("y", "a"): cell(49, 5, 0, 0),
        ("z", "a"): cell(50, 5, 0, 0),
    }
    pooled = pool_small_cells(cells)
    assert set(pooled) == {("z", "a"), (OTHER, OTHER)}
    assert pooled[OTHER, OTHER].n == (98, 1800)


def test_routing_to_few_rows_is_no_change_of_traffic() -> None:
    """Sixty contexts of 100 rows, in each of which half of what the worse model had goes to the better one."""
    cells = {}
    for x in range(60):
        cells[x, "worse"] = cell(80, 16, 40, 8)
        cells[x, "better"] = cell(20, 1, 60, 3)
    found = decompose_rate_change(cells)
    assert found is not None
    assert found.mix_action == pytest.approx(found.total) == pytest.approx(-0.06)
    assert found.mix_context == pytest.approx(0.0, abs=1e-12)


def test_support_decides_and_not_weighted_rows() -> None:
    heavy = Cell((500, 60), (5, 1), rows=(49, 60))
    assert set(pool_small_cells({("x", "a"): heavy})) == {(OTHER, OTHER)}


@pytest.mark.parametrize(
    "cells", [{}, {("x", "a"): cell(0, 0, 9, 1)}, {("x", "a"): cell(9, 1, 0, 0)}]
)
def test_an_empty_window_has_no_decomposition(cells: dict[tuple[str, str], Cell]) -> None:
    assert decompose_rate_change(cells) is None


counts = st.integers(0, 400)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("abc")),
        st.tuples(counts, counts, counts, counts),
        min_size=1,
    )
)
def test_the_effects_add_up_to_the_change_for_any_table(
    table: dict[tuple[str, str], tuple[int, int, int, int]],
) -> None:
    cells = {k: cell(n0, min(n0, y0), n1, min(n1, y1)) for k, (n0, y0, n1, y1) in table.items()}
    found = decompose_rate_change(cells)
    if found is None:
        assert 0 in (sum(c.n[w] for c in cells.values()) for w in (0, 1))
        return
    effects = found.mix_context + found.mix_action + found.within
    assert effects == pytest.approx(found.total, abs=1e-13)
    assert found.mix == found.mix_context + found.mix_action
    swapped = {k: Cell(c.n[::-1], c.y[::-1]) for k, c in cells.items()}
    back = decompose_rate_change(swapped)
    assert back is not None
    assert back.within == pytest.approx(-found.within, abs=1e-13)
    assert back.mix_context == pytest.approx(-found.mix_context, abs=1e-13)
