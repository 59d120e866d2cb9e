from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from analysis.stats.lmdi import DRIVERS, Cell, Part, decompose, log_mean


def full(attempts: int, first_attempts: int, tokens: int, cost: int) -> Cell:
    """A cell of which every attempt's cost and tokens are known."""
    return Cell(attempts, first_attempts, attempts, cost, attempts, tokens)


def cells(seed: int, names: str = "abc", lift: float = 1.0) -> dict[str, Cell]:
    rng = np.random.default_rng(seed)
    out = {}
    for name in names:
        attempts = int(rng.integers(100, 2000) * lift)
        tokens = int(attempts * rng.integers(200, 3000))
        price = int(rng.integers(500, 9000))
        known = attempts - int(rng.integers(0, attempts // 5))
        tokened = known - int(rng.integers(0, known // 5))
        first = attempts - int(rng.integers(0, 90))
        out[name] = Cell(attempts, first, known, tokens * price, tokened, tokens)
    return out


def by_driver(parts: tuple[Part, ...]) -> dict[str, int]:
    return {d: sum(p.amount for p in parts if p.driver == d) for d in DRIVERS}


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (3.0, 3.0), (1e-6, 1e6), (5.0, 5.0 + 1e-9)])
def test_the_log_mean_is_the_mean_of_the_geometric_path(a: float, b: float) -> None:
    # L(a, b) = ∫₀¹ a^(1−t) b^t dt, between the geometric and the arithmetic mean.
    expected = quad(lambda t: a ** (1 - t) * b**t, 0, 1)[0]
    assert log_mean(a, b) == pytest.approx(expected, rel=1e-7)
    assert log_mean(a, b) == pytest.approx(log_mean(b, a), rel=1e-12)
    assert math.sqrt(a * b) * (1 - 1e-12) <= log_mean(a, b) <= (a + b) / 2 * (1 + 1e-12)


def test_the_parts_are_those_of_ang() -> None:
    new, old, d1, d0 = cells(1, lift=1.3), cells(2), 14, 42
    change, parts = decompose(new, old, d1, d0)
    total = {
        w: [sum(getattr(c, f) for c in side.values()) for f in ("attempts", "first_attempts")]
        for w, side in ((1, new), (0, old))
    }
    factors = {
        "volume": lambda c, w, d: total[w][1] / d,
        "retries": lambda c, w, d: total[w][0] / total[w][1],
        "mix": lambda c, w, d: c.attempts / total[w][0],
        "tokens": lambda c, w, d: c.tokens / c.tokened,
        "price": lambda c, w, d: (c.cost / c.known) / (c.tokens / c.tokened),
        "unseen": lambda c, w, d: c.known / c.attempts,
    }
    for name in "abc":
        c1, c0 = new[name].cost * d0, old[name].cost * d1
        weight = (c1 - c0) / math.log(c1 / c0)
        for driver, of in factors.items():
            expected = weight * math.log(of(new[name], 1, d1) / of(old[name], 0, d0))
            found = next(p.amount for p in parts if (p.name, p.driver) == (name, driver))
            # Each is an integer, and one of them takes the remainder of all.
            assert found == pytest.approx(expected, rel=1e-12, abs=16)
    assert change == sum(c.cost for c in new.values()) * d0 - sum(c.cost for c in old.values()) * d1


COUNTS = st.integers(min_value=0, max_value=10**6)
MODEL = st.builds(
    Cell, COUNTS, COUNTS, COUNTS, st.integers(0, 10**17), COUNTS, st.integers(0, 10**12)
)
WINDOW = st.dictionaries(st.sampled_from("abcdef"), MODEL, max_size=6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(WINDOW, WINDOW, st.integers(1, 400 * 86_400), st.integers(1, 400 * 86_400), st.booleans())
def test_the_parts_sum_to_the_change_exactly(
    new: dict[str, Cell], old: dict[str, Cell], d1: int, d0: int, tokens_known: bool
) -> None:
    change, parts = decompose(new, old, d1, d0, tokens_known=tokens_known)
    assert all(isinstance(p.amount, int) for p in parts)
    assert sum(p.amount for p in parts) == change
    assert change == sum(c.cost for c in new.values()) * d0 - sum(c.cost for c in old.values()) * d1
    assert {p.driver for p in parts} <= set(DRIVERS)
    backwards, mirrored = decompose(old, new, d0, d1, tokens_known=tokens_known)
    assert backwards == -change
    assert sum(p.amount for p in mirrored) == -change
    shuffled = decompose(dict(reversed(new.items())), dict(reversed(old.items())), d1, d0,
                         tokens_known=tokens_known)  # fmt: skip
    assert shuffled == (change, parts)


BASE = {"a": full(1000, 900, 500_000, 10**12), "b": full(3000, 2900, 900_000, 10**12)}


def scaled(attempts: int = 1, tokens: int = 1, cost: int = 1, retries: int = 1) -> dict[str, Cell]:
    return {
        n: full(
            c.attempts * attempts * retries,
            c.first_attempts * attempts,
            c.tokens * attempts * retries * tokens,
            c.cost * attempts * retries * tokens * cost,
        )
        for n, c in BASE.items()
    }


@pytest.mark.parametrize(
    ("why", "new", "driver"),
    [
        ("twice the traffic", scaled(attempts=2), "volume"),
        ("twice the attempts a request", scaled(retries=2), "retries"),
        ("three times the tokens", scaled(tokens=3), "tokens"),
        ("twice the price", scaled(cost=2), "price"),
        ("a cell moves", {"a": full(3000, 2700, 1_500_000, 3 * 10**12),
                          "b": full(1000, 1100, 300_000, 10**12 // 3)}, "mix"),
    ],
)  # fmt: skip
def test_one_cause_takes_the_whole_change(why: str, new: dict[str, Cell], driver: str) -> None:
    change, parts = decompose(new, BASE, 7, 7)
    effects = by_driver(parts)
    assert abs(change) > 10**11
    assert effects[driver] == pytest.approx(change, rel=1e-9)
    assert all(abs(v) <= abs(change) * 1e-9 + 20 for d, v in effects.items() if d != driver)


KNOWN = full(50, 50, 1000, 7_000_001)


@pytest.mark.parametrize(
    ("why", "new", "old", "driver"),
    [
        ("a new model", KNOWN, Cell(), "mix"),
        ("a model that is gone", Cell(), KNOWN, "mix"),
        ("a new one whose cost nobody knows", Cell(50, 50), Cell(), "mix"),
        ("a cost that was not known before", KNOWN, Cell(50, 50), "unseen"),
        ("a cost that is not known any more", Cell(40, 40), KNOWN, "unseen"),
        ("a model that was free", KNOWN, full(50, 50, 1000, 0), "price"),
        ("a model that is free now", full(50, 50, 1000, 0), KNOWN, "price"),
        ("a kind of token that was not used", KNOWN, full(50, 50, 0, 0), "tokens"),
    ],
)  # fmt: skip
def test_a_cell_that_is_zero_in_one_window_goes_to_the_driver_that_is(
    why: str, new: Cell, old: Cell, driver: str
) -> None:
    """Ang & Liu (2007): the limit of the index as that factor goes to zero."""
    change, parts = decompose({**BASE, "c": new}, {**BASE, "c": old}, 7, 14)
    own = [p for p in parts if p.name == "c"]
    assert [(p.driver, p.amount) for p in own] == [(driver, new.cost * 14 - old.cost * 7)]
    assert sum(p.amount for p in parts) == change


@pytest.mark.parametrize(("factor", "driver"), [("known", "unseen"), ("cost", "price")])
def test_that_driver_is_the_limit_of_a_vanishing_factor(factor: str, driver: str) -> None:
    """Its share of the change tends to one, slowly: the others fall as 1 / ln(scale)."""
    big = Cell(*(10**12 * n for n in (50, 45, 40, 9_000, 40, 900)))
    shares = []
    for scale in (10**3, 10**9):
        small = {"known": Cell(big.attempts * 2, big.first_attempts * 2, big.known // scale,
                               big.cost // scale, big.tokened // scale, big.tokens // scale),
                 "cost": Cell(big.attempts * 2, big.first_attempts * 2, big.known * 2,
                              big.cost // scale, big.tokened * 2, big.tokens * 2)}[factor]  # fmt: skip
        change, parts = decompose({"c": small}, {"c": big}, 7, 7)
        shares.append(by_driver(parts)[driver] / change)
    assert abs(shares[1] - 1) < 0.05 < 0.08 < abs(shares[0] - 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 100), min_size=3, max_size=3))
def test_costs_that_go_missing_evenly_move_unseen_alone(seed: int, left: list[int]) -> None:
    """The same traffic twice, of which a part of each model's costs is not known the second time."""
    old = {
        n: Cell(c.attempts * 100, c.first_attempts * 100, c.known * 100, c.cost * 100,
                c.tokened * 100, c.tokens * 100)
        for n, c in cells(seed).items()
    }  # fmt: skip
    new = {
        n: Cell(c.attempts, c.first_attempts, c.known // 100 * k, c.cost // 100 * k,
                c.tokened // 100 * k, c.tokens // 100 * k)
        for (n, c), k in zip(old.items(), left, strict=True)
    }  # fmt: skip
    change, parts = decompose(new, old, 7, 7)
    effects = by_driver(parts)
    assert change <= 0
    # Logarithms of equal ratios cancel to the last bits of the cells.
    untold = 1e-12 * sum(c.cost for c in old.values()) * 7 + 20
    assert abs(effects["unseen"] - change) <= untold
    assert all(abs(v) <= untold for d, v in effects.items() if d != "unseen")


def test_without_tokens_the_unit_cost_stands_under_price() -> None:
    new, old = cells(3), cells(4)
    _, told = decompose(new, old, 7, 7)
    _, plain = decompose(new, old, 7, 7, tokens_known=False)
    assert by_driver(plain)["tokens"] == 0
    both = by_driver(told)["tokens"] + by_driver(told)["price"]
    assert by_driver(plain)["price"] == pytest.approx(both, abs=40)
    assert by_driver(plain)["volume"] == pytest.approx(by_driver(told)["volume"], abs=20)


def test_the_remainder_goes_to_the_largest_part_and_ties_to_the_first_name() -> None:
    # Two equal cells, each change 0.5 of a unit in every factor: only one may take the remainder.
    old = {"a": full(10, 10, 10, 1000), "b": full(10, 10, 10, 1000)}
    new = {"a": full(11, 11, 11, 1101), "b": full(11, 11, 11, 1101)}
    change, parts = decompose(new, old, 1, 1)
    amounts = {(p.name, p.driver): p.amount for p in parts}
    assert sum(amounts.values()) == change == 202
    differing = [d for d in DRIVERS if amounts["a", d] != amounts["b", d]]
    assert differing in ([], ["volume"])


def test_nothing_changes_nothing() -> None:
    change, parts = decompose(BASE, BASE, 7, 7)
    assert change == 0
    assert {p.amount for p in parts} == {0}
    assert decompose({}, {}, 7, 7) == (0, ())
