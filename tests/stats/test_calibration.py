from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import _sigmoid_calibration
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from analysis.stats.calibration import (
    Estimate,
    average_precision,
    brier,
    brier_skill,
    calibration_error,
    platt,
    reliability,
    roc_auc,
)

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], Estimate]


def scored(
    seed: int, n_clusters: int = 400, size: float = 3.0, digits: int = 6, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, p, cluster: calibrated risks (but for `shift` on the logit); clusters share half of it."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), rng.geometric(1 / size, n_clusters))
    shared = rng.normal(0, 0.7, n_clusters)[cluster]
    logit = -2.2 + shared + rng.normal(0, 0.7, len(cluster))
    y = rng.random(len(cluster)) < special.expit(logit)
    return y, np.round(special.expit(logit + shift), digits), cluster


def skill(y: np.ndarray, p: np.ndarray) -> float:
    rate = y.mean()
    return float(1 - brier_score_loss(y, p) / (rate * (1 - rate)))


THEIRS: dict[str, tuple[Metric, Callable[[np.ndarray, np.ndarray], float]]] = {
    "roc_auc": (roc_auc, roc_auc_score),
    "average_precision": (average_precision, average_precision_score),
    "brier": (brier, brier_score_loss),
    "brier_skill": (brier_skill, skill),
}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("digits", [6, 1], ids=["distinct risks", "many ties"])
def test_values_are_those_of_scikit_learn(name: str, digits: int) -> None:
    ours, theirs = THEIRS[name]
    y, p, cluster = scored(1, digits=digits)
    assert ours(y, p, cluster).value == pytest.approx(theirs(y, p), rel=1e-12)


@pytest.mark.parametrize("name", THEIRS)
def test_limits_are_those_of_a_jackknife_over_clusters(name: str) -> None:
    ours, theirs = THEIRS[name]
    y, p, cluster = scored(2, n_clusters=250)
    found = ours(y, p, cluster)
    left_out = np.array([theirs(y[cluster != c], p[cluster != c]) for c in range(250)])
    error = math.sqrt(249 / 250 * ((left_out - left_out.mean()) ** 2).sum())
    if name in ("roc_auc", "average_precision"):
        error /= found.value * (1 - found.value)
        half = (special.logit(found.high) - special.logit(found.low)) / 2
    else:
        half = (found.high - found.low) / 2
    # 1.9695 = t₀.₉₇₅ of 249 degrees of freedom. The two jackknives differ by the second order.
    assert half / 1.9695 == pytest.approx(error, rel=0.08)


def test_the_area_has_delongs_variance_where_rows_are_independent() -> None:
    y, p, _ = scored(3, n_clusters=300)
    above = (p[y][:, None] > p[~y][None, :]) + 0.5 * (p[y][:, None] == p[~y][None, :])
    variance = (
        above.mean(axis=1).var(ddof=1) / y.sum() + above.mean(axis=0).var(ddof=1) / (~y).sum()
    )
    found = roc_auc(y, p, np.arange(len(y)))
    half = (special.logit(found.high) - special.logit(found.low)) / 2
    error = half / special.stdtrit(len(y) - 1, 0.975) * found.value * (1 - found.value)
    assert error == pytest.approx(math.sqrt(variance), rel=0.01)


@pytest.mark.parametrize(
    ("why", "y", "p", "values"),
    [
        ("perfect", [0] * 20 + [1] * 20, [0.0] * 20 + [1.0] * 20, (1.0, 1.0, 0.0, 1.0)),
        ("reversed", [1] * 20 + [0] * 20, [0.0] * 20 + [1.0] * 20, (0.0, None, 1.0, -3.0)),
        ("one risk for all", [0, 1] * 20, [0.5] * 40, (0.5, 0.5, 0.25, 0.0)),
        ("no bad row", [0] * 40, [0.1] * 40, (math.nan, math.nan, 0.01, math.nan)),
        ("only bad rows", [1] * 40, [0.9] * 40, (math.nan, math.nan, 0.01, math.nan)),
        ("no row", [], [], (math.nan, math.nan, math.nan, math.nan)),
    ],
)  # fmt: skip
def test_edges_have_their_values(
    why: str, y: list[int], p: list[float], values: tuple[float | None, ...]
) -> None:
    bad, risk, cluster = np.array(y, dtype=bool), np.array(p, dtype=float), np.arange(len(y))
    for (ours, _), expected in zip(THEIRS.values(), values, strict=True):
        found = ours(bad, risk, cluster)
        if expected is not None:
            assert found.value == pytest.approx(expected, nan_ok=True)
        assert not found.low > found.value
        assert not found.high < found.value


def test_few_clusters_of_a_label_leave_the_limits_open() -> None:
    y, p, cluster = scored(4)
    few = y & (np.cumsum(y) > 9)
    assert math.isnan(roc_auc(y & ~few, p, cluster).low)
    one = np.zeros(len(y), dtype=np.int64)
    for ours, _ in THEIRS.values():
        assert math.isnan(ours(y, p, one).low)


def test_the_order_of_rows_moves_nothing_but_rounding() -> None:
    y, p, cluster = scored(5)
    mixed = np.random.default_rng(5).permutation(len(y))
    for ours in (*(m for m, _ in THEIRS.values()), brier):
        assert ours(y[mixed], p[mixed], cluster[mixed]).high == pytest.approx(
            ours(y, p, cluster).high, rel=1e-9
        )


class TestCalibrationError:
    def test_bins_hold_equal_counts_in_the_order_of_risk(self) -> None:
        y, p, cluster = scored(6)
        bins = reliability(y, p, cluster)
        assert bins.n.sum() == len(y)
        assert bins.n.max() - bins.n.min() <= 1
        order = np.argsort(p, kind="stable")
        for k, rows in enumerate(np.array_split(order, 10)):
            assert bins.n[k] == len(rows)
            assert bins.risk[k] == pytest.approx(p[rows].mean())
            assert bins.rate[k] == pytest.approx(y[rows].mean())

    @pytest.mark.parametrize("gap", [0.0, 0.02, 0.05, 0.15])
    def test_it_is_the_gap_and_not_the_noise(self, gap: float) -> None:
        # Every risk too high by `gap`. The plug-in sum has a bias of ~0.02 at 2000 rows.
        found = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            true = rng.uniform(0.05, 0.6, 2000)
            y = rng.random(2000) < true
            found.append(calibration_error(y, true + gap, np.arange(2000) // 4).value)
        assert np.mean(found) == pytest.approx(gap, abs=0.012)

    def test_its_interval_holds_the_truth(self) -> None:
        # 5 % promised; 300 replicates of a gap that is there, and of none.
        for gap in (0.0, 0.05):
            missed = 0
            for seed in range(300):
                rng = np.random.default_rng(1000 + seed)
                cluster = np.arange(1200) // 4
                true = special.expit(-1.5 + rng.normal(0, 0.8, 300)[cluster])
                y = rng.random(1200) < true
                found = calibration_error(y, true + gap, cluster)
                missed += not found.low <= gap <= found.high
            assert missed / 300 <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 300)

    @pytest.mark.parametrize("n", [0, 1, 5, 9])
    def test_fewer_rows_than_bins_are_no_error(self, n: int) -> None:
        found = calibration_error(np.ones(n, dtype=bool), np.full(n, 0.5), np.arange(n))
        assert math.isnan(found.value) == (n == 0)


def test_intervals_of_clustered_rows_hold_the_truth() -> None:
    # The truth from a million rows; 5 % promised, 400 replicates, clusters of geometric size.
    y, p, cluster = scored(99, n_clusters=350_000)
    truth = {name: ours(y, p, cluster).value for name, (ours, _) in THEIRS.items()}
    missed = dict.fromkeys(truth, 0)
    for seed in range(400):
        y, p, cluster = scored(2000 + seed, n_clusters=300)
        for name, (ours, _) in THEIRS.items():
            found = ours(y, p, cluster)
            missed[name] += not found.low <= truth[name] <= found.high
    bound = 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 400)
    assert {name: m / 400 for name, m in missed.items() if m / 400 > bound} == {}


class TestFits:
    def test_platt_is_scikit_learns_sigmoid(self) -> None:
        rng = np.random.default_rng(8)
        score = rng.normal(0, 2, 1500)
        y = rng.random(1500) < special.expit(-1 + 0.7 * score)
        slope, shift = platt(score, y)
        theirs = _sigmoid_calibration(score, y.astype(int))  # of 1 / (1 + exp(a·score + b))
        assert slope == pytest.approx(-theirs[0], rel=1e-4)
        assert shift == pytest.approx(-theirs[1], rel=1e-4)

    @pytest.mark.parametrize(
        ("why", "score", "y"),
        [
            ("ranked backwards", np.linspace(1, -1, 100), np.arange(100) >= 80),
            ("a constant score", np.zeros(100), np.arange(100) >= 80),
            ("no bad row", np.linspace(-1, 1, 100), np.zeros(100, dtype=bool)),
            ("no row", np.zeros(0), np.zeros(0, dtype=bool)),
        ],
    )
    def test_a_score_that_does_not_rank_gives_every_row_the_rate(
        self, why: str, score: np.ndarray, y: np.ndarray
    ) -> None:
        slope, shift = platt(score, y)
        assert math.isfinite(shift)
        if why != "no bad row":
            assert slope == 0.0
        if len(y):
            risk = special.expit(slope * score + shift).mean()
            assert risk == pytest.approx(y.mean(), abs=0.02)


def test_risks_in_whole_millionths_rank_as_any_others_do() -> None:
    rng = np.random.default_rng(5)
    p = np.concatenate([np.round(rng.beta(1, 9, 3_000), 6), [0.0, 1.0, 0.999999, 0.5, 0.5]])
    y, cluster = rng.random(len(p)) < p, rng.integers(0, 700, len(p))
    other = p * 0.937  # the same ranks, and no whole millionths
    for measure in (roc_auc, average_precision):
        assert measure(y, p, cluster) == measure(y, other, cluster)
    exact, near = reliability(y, p, cluster), reliability(y, other, cluster)
    assert (exact.n == near.n).all()
    assert (exact.rate == near.rate).all()


def test_rows_in_order_of_risk_give_what_any_order_gives() -> None:
    y, p, cluster = scored(11, digits=2)
    order = np.argsort(p, kind="stable")
    turned = order[np.random.default_rng(11).permutation(len(p))]
    for measure in (roc_auc, average_precision, brier, brier_skill):
        ours, any_order = (measure(y[k], p[k], cluster[k]) for k in (order, turned))
        assert (ours.value, ours.low, ours.high) == pytest.approx(
            (any_order.value, any_order.low, any_order.high), rel=1e-12
        )
    bins, same = reliability(y, p, cluster), reliability(y[order], p[order], cluster[order])
    np.testing.assert_allclose(same.rate, bins.rate)
    np.testing.assert_allclose(same.error, bins.error)
    np.testing.assert_allclose(np.sqrt(np.diag(bins.covariance)), bins.error, rtol=0.01)
