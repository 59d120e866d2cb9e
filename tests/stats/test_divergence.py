from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from analysis.stats.clusters import CrossMoments, WindowMoments, compare_rates
from analysis.stats.divergence import (
    BinMoments,
    Holders,
    absent_category_p,
    compare_distributions,
    difference_covariance,
    expanded,
    occupied,
    psi,
    split_off,
    total_variation,
    vanished_category_p,
    window_covariances,
)
from analysis.stats.multiple import benjamini_hochberg


def moments_of(bins: np.ndarray, win: np.ndarray, unit: np.ndarray, size: int) -> BinMoments:
    """BinMoments by brute force over rows."""
    _, codes = np.unique(unit, return_inverse=True)
    cells = np.zeros((codes.max() + 1, 2 * size))
    np.add.at(cells, (codes, win * size + bins), 1)
    old, new = cells[:, :size].sum(1) > 0, cells[:, size:].sum(1) > 0
    return occupied(
        BinMoments(
            cells.sum(0).reshape(2, size),
            cells.T @ cells,
            (int(old.sum()), int(new.sum()), int((old | new).sum())),
        )
    )


def traffic(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Day (0 to 55), session and user of about n rows; heavy users, 2.7 rows a session."""
    n_sessions, n_users = int(n / 2.7), max(30, n // 10)
    weight = rng.gamma(1.5, 1, n_users)
    rows = np.repeat(np.arange(n_sessions), 1 + rng.poisson(1.7, n_sessions))
    day = rng.integers(0, 56, n_sessions)
    user = rng.choice(n_users, n_sessions, p=weight / weight.sum())
    return day[rows], rows, user[rows]


def latent(
    rng: np.random.Generator,
    groups: tuple[np.ndarray, np.ndarray, np.ndarray],
    by_user: float,
    by_session: float,
    by_day: float,
) -> np.ndarray:
    """Normal values with planted user, session and day effects (standard deviations)."""
    day, session, user = groups
    own = np.sqrt(1 - by_user**2 - by_session**2)
    z = own * rng.normal(size=len(day))
    for effect, unit in ((by_user, user), (by_session, session), (by_day, day)):
        z = z + effect * rng.normal(size=unit.max() + 1)[unit]
    return z


class TestPsi:
    def test_psi_is_the_sum_over_bins_of_jeffreys_shares(self) -> None:
        counts = np.array([[10.0, 0.0], [4.0, 6.0]])
        old, new = np.array([10.5, 0.5]) / 11, np.array([4.5, 6.5]) / 11
        expected = sum((b - a) * np.log(b / a) for a, b in zip(old, new, strict=True))
        assert psi(counts) == pytest.approx(expected, rel=1e-14)

    @given(
        st.lists(st.integers(0, 10**9), min_size=2, max_size=12),
        st.lists(st.integers(0, 10**9), min_size=12, max_size=12),
    )
    def test_psi_is_symmetric_and_never_negative(self, a: list[int], b: list[int]) -> None:
        counts = np.array([a, b[: len(a)]], float)
        assert psi(counts) >= 0
        assert psi(counts) == pytest.approx(psi(counts[::-1]), rel=1e-9, abs=1e-12)

    def test_the_corrected_psi_is_zero_on_average_without_drift(self) -> None:
        """Uncorrected, 10 bins, sessions of one value and 3 rows each shift it by about 0.019."""
        rng = np.random.default_rng(11)
        plain, corrected = [], []
        for _ in range(200):
            session = np.repeat(np.arange(2500), 3)
            bins = rng.integers(0, 10, 2500)[session]
            win = (session % 4 == 0).astype(int)
            m = moments_of(bins, win, session, 10)
            test = compare_distributions(m)
            assert test is not None
            plain.append(psi(m.counts))
            corrected.append(psi(m.counts) - test.expected)
        standard_error = np.std(corrected) / np.sqrt(200)
        assert np.mean(plain) > 0.015
        assert abs(np.mean(corrected)) < 3 * standard_error


class TestDistances:
    def test_total_variation_is_the_share_that_moved(self) -> None:
        assert total_variation(np.array([0.5, 0.5, 0]), np.array([0.2, 0.5, 0.3])) == pytest.approx(
            0.3
        )


class TestSplitOff:
    def test_its_moments_are_those_of_the_two_bins(self) -> None:
        counts = np.random.default_rng(3).poisson(2.0, (50, 2, 4))
        whole, halves = (
            BinMoments(c.sum(axis=0), np.einsum("ci,cj->ij", f, f), (50, 50, 50))
            for c in (counts, np.stack([counts.sum(axis=2) - counts[:, :, 2], counts[:, :, 2]], 2))
            for f in (c.reshape(50, -1).astype(float),)
        )
        found = split_off(whole, 2)
        assert found.counts.tolist() == halves.counts.tolist()
        assert found.second.tolist() == halves.second.tolist()


class TestCovariance:
    def test_it_agrees_with_the_cluster_robust_covariance_of_statsmodels(self) -> None:
        rng = np.random.default_rng(3)
        n = 1200
        unit, win, bins = rng.integers(0, 90, n), rng.integers(0, 2, n), rng.integers(0, 4, n)
        m = moments_of(bins, win, unit, 4)
        design = sm.add_constant(win.astype(float))
        for index in range(4):
            fit = sm.OLS((bins == index).astype(float), design).fit(
                cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False}
            )
            expected = fit.cov_params()[1, 1] * 90 / 89
            assert difference_covariance(m)[index, index] == pytest.approx(expected, rel=1e-9)

    def test_rows_and_columns_sum_to_zero(self) -> None:
        rng = np.random.default_rng(4)
        m = moments_of(
            rng.integers(0, 5, 500), rng.integers(0, 2, 500), rng.integers(0, 60, 500), 5
        )
        assert np.abs(difference_covariance(m).sum(axis=0)).max() < 1e-15

    def test_a_window_of_one_day_borrows_the_variance_of_the_other(self) -> None:
        rng = np.random.default_rng(5)
        day = np.repeat(np.arange(8), 100)
        m = moments_of(rng.integers(0, 3, 800), (day == 7).astype(int), day, 3)
        old, new = window_covariances(m)
        assert new == pytest.approx(old * 7)

    def test_two_bins_are_the_comparison_of_two_rates(self) -> None:
        rng = np.random.default_rng(6)
        n = 4000
        unit, bad = rng.integers(0, 400, n), (rng.random(n) < 0.1).astype(int)
        win = rng.integers(0, 2, n)
        cells = np.zeros((400, 4))
        np.add.at(cells, (unit, 2 * win + bad), 1)
        n0, n1 = cells[:, :2].sum(1), cells[:, 2:].sum(1)
        y0, y1 = cells[:, 1], cells[:, 3]

        def window(n: np.ndarray, y: np.ndarray) -> WindowMoments:
            values = (n.sum(), y.sum(), n @ n, y @ y, n @ y, (n > 0).sum(), n.max(), (y > 0).sum())
            return WindowMoments(*(int(v) for v in values))

        cross = CrossMoments(int(n1 @ n0), int(y1 @ y0), int(n1 @ y0), int(y1 @ n0), 400)
        rates = compare_rates(window(n1, y1), window(n0, y0), cross)
        m = moments_of(bad, win, unit, 2)
        test = compare_distributions(m)
        assert test is not None
        assert difference_covariance(m)[1, 1] == pytest.approx(rates.variance, rel=1e-9)
        assert test.f == pytest.approx(rates.delta**2 / rates.variance, rel=1e-9)


class TestCompareDistributions:
    @pytest.mark.parametrize(
        ("case", "counts", "units"),
        [
            ("one bin", [[5], [5]], (5, 5, 10)),
            ("no candidate", [[5, 5], [0, 0]], (10, 0, 10)),
            ("one cluster in all", [[5, 5], [5, 5]], (1, 1, 1)),
        ],
    )
    def test_what_cannot_be_compared_is_none(
        self, case: str, counts: list[list[int]], units: tuple[int, int, int]
    ) -> None:
        k = np.array(counts, float)
        assert compare_distributions(BinMoments(k, np.outer(k.ravel(), k.ravel()), units)) is None

    def test_a_complete_switch_is_found_with_many_clusters_and_not_with_four(self) -> None:
        for n_clusters, found in ((400, True), (4, False)):
            unit = np.repeat(np.arange(n_clusters), 10)
            win = (unit % 2).astype(int)
            test = compare_distributions(moments_of(win, win, unit, 2))
            assert test is not None
            assert (test.p_value < 0.01) is found

    def test_identical_windows_have_p_one(self) -> None:
        unit = np.arange(400)
        test = compare_distributions(moments_of((unit // 2) % 4, unit % 2, unit, 4))
        assert test is not None
        assert test.p_value == 1.0

    def test_at_most_five_percent_of_windows_without_drift_flag_any_of_fifteen_features(
        self,
    ) -> None:
        """R = 200 before/after windows of 4,000 rows with user, session and day effects.

        Observed ≤ 0.05 + 1.645 √(0.05 · 0.95 / 200) = 0.0754. Rows taken as independent and days
        ignored flag most of these windows.
        """
        rng = np.random.default_rng(20)
        flagged, naive = 0, 0
        effects = [(0, 0.3, 0), (0.5, 0.3, 0), (0.3, 0.5, 0.1), (0, 0.2, 0.15), (0.6, 0.6, 0.05)]
        for _ in range(200):
            groups = traffic(rng, 4000)
            day, _, user = groups
            win = (day >= 42).astype(int)
            p, plain, index = [], [], []
            for j in range(15):
                z = latent(rng, groups, *effects[j % 5])
                size = (10, 10, 2, 3, 5)[j // 3]
                cuts = np.quantile(z[win == 0], np.linspace(0, 1, size + 1)[1:-1])
                bins = np.searchsorted(cuts, z)
                m = moments_of(bins, win, user, size)
                test = compare_distributions(m, moments_of(bins, win, day, size))
                assert test is not None
                p.append(test.p_value)
                index.append(psi(m.counts) - test.expected)
                if j % 5 == 4:
                    rows = compare_distributions(moments_of(bins, win, np.arange(len(bins)), size))
                    assert rows is not None
                    plain.append(rows.p_value)
            q = benjamini_hochberg(p)
            flagged += bool(((q <= 0.05) & (np.array(index) >= 0.02)).any())
            naive += bool((benjamini_hochberg(plain) <= 0.05).any())
        assert flagged / 200 <= 0.0754
        assert naive / 200 > 0.25

    @pytest.mark.parametrize(("planted", "edge"), [(0.15, 0.10), (0.35, 0.25)])
    def test_drift_of_1_4_times_an_edge_is_beyond_it_nine_times_in_ten(
        self, planted: float, edge: float
    ) -> None:
        """R = 100 windows of 20,000 rows, a quarter candidate: observed ≥ 0.90 − 0.049."""
        rng = np.random.default_rng(21)
        p = np.array([0.5, 0.3, 0.2])

        def tilted(t: float) -> np.ndarray:
            q = p * np.exp(t * np.array([-1, 0, 1]))
            return np.asarray(q / q.sum())

        def surplus(t: float) -> float:
            q = tilted(t)
            return float(np.sum((q - p) * np.log(q / p))) - planted

        q = tilted(brentq(surplus, 0, 5))
        hits = 0
        for _ in range(100):
            groups = traffic(rng, 20_000)
            day, _, user = groups
            win = (day >= 42).astype(int)
            level = norm.cdf(latent(rng, groups, 0.3, 0.4, 0.05))
            old = np.searchsorted(np.cumsum(p)[:-1], level)
            bins = np.where(win == 1, np.searchsorted(np.cumsum(q)[:-1], level), old)
            m = moments_of(bins, win, user, 3)
            test = compare_distributions(m, moments_of(bins, win, day, 3))
            assert test is not None
            hits += test.p_value < 0.05 / 30 and psi(m.counts) - test.expected >= edge
        assert hits / 100 >= 0.90 - 1.645 * np.sqrt(0.9 * 0.1 / 100)


def heavy_tailed(
    rng: np.random.Generator, size: int, tail: float, giant: float, rare: float
) -> np.ndarray:
    """(6000, 2·size) bin counts of clusters of Pareto sizes in two windows that do not differ.

    giant: share of all rows that the first cluster holds. rare: share of the first bin. A cluster
    has a bin of its own, in which three rows of ten lie.
    """
    n_rows = np.ceil(rng.pareto(tail, 6000)).clip(1, 10**6).astype(int)
    n_rows[0] = max(1, int(giant / (1 - giant) * n_rows[1:].sum()))
    unit = np.repeat(np.arange(6000), n_rows)
    shares = np.r_[rare, np.full(size - 1, (1 - rare) / (size - 1))]
    own = rng.choice(size, 6000, p=shares)[unit]
    mixed = rng.choice(size, len(unit), p=shares)
    bins = np.where(rng.random(len(unit)) < 0.3, own, mixed)
    cells = np.zeros((6000, 2 * size), np.int64)
    np.add.at(cells, (unit, (rng.random(len(unit)) < 0.25) * size + bins), 1)
    return cells


def part_of(cells: np.ndarray, rng: np.random.Generator, n_certain: int, n_all: int) -> BinMoments:
    """Moments from the largest clusters, those that hold a thin bin, and a sample of the others."""
    size = cells.shape[1] // 2
    order = np.argsort(-cells.sum(axis=1), kind="stable")
    certain, rest = order[:n_certain], order[n_certain:]
    drawn = rng.choice(rest, n_all - n_certain, replace=False)
    held = (cells[:, :size] + cells[:, size:]) > 0
    thin = held[drawn].sum(axis=0) < 200
    holds = held[:, thin].any(axis=1)
    certain = np.union1d(certain, np.flatnonzero(holds))
    drawn, rest = drawn[~holds[drawn]], rest[~holds[rest]]
    second = [cells[units].T @ cells[units] for units in (certain, drawn)]
    old, new = cells[:, :size].any(axis=1), cells[:, size:].any(axis=1)
    return occupied(
        BinMoments(
            cells.sum(axis=0).reshape(2, size).astype(float),
            expanded(second[0], second[1], len(rest), len(drawn)),
            (int(old.sum()), int(new.sum()), int((old | new).sum())),
        )
    )


HEAVY_TAILED = [
    # size, tail, giant, rare; without a second moment of sizes at tails below 2
    (10, 1.2, 0.10, 0.10),
    (2, 1.2, 0.10, 0.50),
    (5, 1.0, 0.15, 0.20),
    (2, 1.5, 0.00, 0.50),
    (3, 1.5, 0.10, 0.001),
    (2, 1.5, 0.10, 0.002),
]


class TestMomentsOfAPartOfTheClusters:
    def test_without_a_drawn_cluster_they_are_exact(self) -> None:
        certain = np.array([[2**70, 3], [3, 5]], object)
        nothing = np.zeros((2, 2), object)
        assert expanded(certain, nothing, 0, 0).tolist() == [[2.0**70, 3.0], [3.0, 5.0]]

    def test_a_drawn_cluster_stands_for_as_many_as_were_left(self) -> None:
        one, two = np.array([[1]], object), np.array([[2]], object)
        assert expanded(one, two, 30, 20).tolist() == [[4.0]]

    def rates(
        self, world: tuple[int, float, float, float], n_worlds: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """p-values, and trace V of 2,000 of 6,000 clusters by that of all of them."""
        rng = np.random.default_rng(seed)
        p, ratios = [], []
        for _ in range(n_worlds):
            cells = heavy_tailed(rng, *world)
            test = compare_distributions(part_of(cells, rng, 100, 2000))
            whole = compare_distributions(part_of(cells, rng, len(cells), len(cells)))
            assert test is not None
            assert whole is not None
            p.append(test.p_value)
            ratios.append(test.expected / whole.expected)
        return np.array(p), np.array(ratios)

    @pytest.mark.parametrize("world", HEAVY_TAILED)
    def test_windows_that_do_not_differ_are_flagged_at_the_nominal_rate(
        self, world: tuple[int, float, float, float]
    ) -> None:
        """R = 100: observed ≤ 0.05 + 1.645 √(0.05 · 0.95 / 100) = 0.086; V within 3 % or so.

        A review draws nine and a half times as many clusters (19,000), so V is three times closer.
        """
        p, ratios = self.rates(world, 100, 31)
        assert np.mean(p <= 0.05) <= 0.086
        assert abs(ratios.mean() - 1) < 0.01
        assert ratios.std() < 0.03

    @pytest.mark.simulate
    @pytest.mark.parametrize("world", HEAVY_TAILED)
    def test_rates_at_the_levels_that_the_gate_reads(
        self, world: tuple[int, float, float, float]
    ) -> None:
        """R = 2,000: at 5 % ≤ 0.058, at 1 % ≤ 0.0137."""
        p, ratios = self.rates(world, 2000, 32)
        for level in (0.05, 0.01):
            bound = level + 1.645 * np.sqrt(level * (1 - level) / 2000)
            assert np.mean(p <= level) <= bound
        assert abs(ratios.mean() - 1) < 0.005
        assert ratios.std() < 0.03


class TestAbsentCategories:
    def test_without_absent_categories_there_is_no_test(self) -> None:
        assert absent_category_p([Holders(5, 5, False, 3)], 0.25, 0.25) is None

    def test_one_absent_category_has_the_chance_that_all_its_clusters_are_candidate(self) -> None:
        assert absent_category_p([Holders(3, 3, True, 1)], 0.25) == pytest.approx(0.25**3)

    def test_days_make_a_category_of_one_day_worthless(self) -> None:
        assert absent_category_p([Holders(500, 1, True, 1)], 0.25, 0.25) == pytest.approx(0.25)

    def test_a_long_tail_of_rare_categories_raises_no_alarm(self) -> None:
        """R = 400: a Zipf vocabulary of 3,000 words; observed ≤ 0.05 + 0.018."""
        rng = np.random.default_rng(9)
        share = 1 / np.arange(1, 3001)
        hits = 0
        for _ in range(400):
            word = rng.choice(3000, 2000, p=share / share.sum())
            win = rng.random(2000) < 0.25
            old = np.bincount(word[~win], minlength=3000)
            new = np.bincount(word[win], minlength=3000)
            holders = [
                Holders(int(o + n), 1, bool(o == 0), 1)
                for o, n in zip(old, new, strict=True)
                if o + n
            ]
            p = absent_category_p(holders, 0.25)
            hits += p is not None and p <= 0.05
        assert hits / 400 <= 0.05 + 1.645 * np.sqrt(0.05 * 0.95 / 400)

    def test_a_vanished_category_has_the_chance_that_all_its_clusters_are_baseline(self) -> None:
        holders = [Holders(20, 9, False, 1, gone=True), Holders(900, 56, False, 1)]
        assert vanished_category_p(holders, 0.75) == pytest.approx(0.75**20)
        assert vanished_category_p(holders, 0.75, 0.75) == pytest.approx(0.75**9, rel=1e-5)
        assert absent_category_p(holders, 0.25) is None

    def test_a_popular_new_word_is_found_in_a_long_tail(self) -> None:
        holders = [Holders(1, 1, True, 400), Holders(1, 1, False, 1200), Holders(30, 12, True, 1)]
        p = absent_category_p(holders, 0.25, 0.25)
        assert p is not None
        assert p < 1e-6
