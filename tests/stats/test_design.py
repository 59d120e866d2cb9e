"""A design of codes gives what its matrix gives."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.design import Coded, Design


def drawn(n: int = 300, seed: int = 1) -> Design:
    """Indicators with one level left out, numbers, steps, an indicator, and a number again."""
    rng = np.random.default_rng(seed)
    return Design.joined(
        [
            Coded.of(rng.integers(0, 4, n), np.eye(4)[:, :3]),
            rng.normal(size=(n, 2)),
            Coded.of(rng.integers(0, 3, n), np.tri(3, 2, -1)),
            Coded.of(rng.integers(0, 2, n), np.array([[0.0], [1.0]])),
            rng.normal(size=(n, 1)),
        ],
        n,
    )


def test_columns_keep_the_order_of_the_parts() -> None:
    rng = np.random.default_rng(2)
    codes, numbers = rng.integers(0, 3, 50), rng.normal(size=(50, 2))
    design = Design.joined([numbers[:, :1], Coded.of(codes, np.eye(3)), numbers[:, 1:]], 50)
    expected = np.column_stack([numbers[:, 0], np.eye(3)[codes], numbers[:, 1]])
    np.testing.assert_array_equal(design.matrix(), expected)
    np.testing.assert_array_equal(np.column_stack(list(design.columns())), expected)
    for some in (np.array([4, 1, 0]), np.array([3]), np.arange(5) != 2, np.zeros(5, dtype=bool)):
        np.testing.assert_array_equal(design.matrix(some), expected[:, some])


def test_further_columns_come_last() -> None:
    design, rng = drawn(), np.random.default_rng(3)
    numbers, codes = rng.normal(size=(300, 2)), rng.integers(0, 2, 300)
    more = design.with_more(numbers).with_more(Coded.of(codes, np.eye(2)))
    np.testing.assert_array_equal(
        more.matrix(), np.column_stack([design.matrix(), numbers, np.eye(2)[codes]])
    )
    np.testing.assert_array_equal(more.rows(slice(None, None, 7)).matrix(), more.matrix()[::7])


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("n", [300, 20_000, 0])
def test_moments_by_group_are_those_of_the_matrix(coded: bool, n: int) -> None:
    design, rng = drawn(n), np.random.default_rng(4)
    x, y, group = design.matrix(), rng.normal(size=(n, 2)), rng.integers(0, 3, n)
    gram, cross = (design if coded else Design.of(x)).moments(y, group, 4)
    for g in range(4):  # the last has no rows
        z = np.column_stack([np.ones(n), x])[group == g]
        np.testing.assert_allclose(gram[g], z.T @ z, atol=1e-10)
        np.testing.assert_allclose(cross[g], z.T @ y[group == g], atol=1e-10)


def test_counts_are_exact() -> None:
    codes = np.random.default_rng(5).integers(0, 3, 10_000)
    design = Design.joined([Coded.of(codes, np.eye(3)), Coded.of(codes % 2, np.eye(2))], 10_000)
    ((gram,), _) = design.moments(np.zeros((10_000, 0)))
    np.testing.assert_array_equal(np.diag(gram)[1:4], np.bincount(codes))
    assert gram[1, 5] == gram[2, 4] == 0


def test_products_of_two_columns_are_those_of_the_matrix() -> None:
    design = drawn()
    x, residuals = design.matrix(), np.random.default_rng(6).normal(size=(300, 3))
    for once, twice, r in zip(*design.products(residuals), residuals.T, strict=True):
        np.testing.assert_allclose(once, (x * r[:, None]).T @ x, atol=1e-10)
        np.testing.assert_allclose(twice, (x**2 * r[:, None] ** 2).T @ x**2, atol=1e-10)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_predictions_are_those_of_the_matrix(n_groups: int) -> None:
    design, rng = drawn(), np.random.default_rng(7)
    beta, group = rng.normal(size=(n_groups, 9 + 1, 2)), rng.integers(0, n_groups, 300)
    z = np.column_stack([np.ones(300), design.matrix()])
    expected = np.einsum("ij,ijk->ik", z, beta[group])
    np.testing.assert_allclose(design.times(beta, group), expected, atol=1e-10)
    if n_groups == 1:
        np.testing.assert_allclose(design.times(beta[0]), expected, atol=1e-10)
