from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from analysis.stats.calibration import roc_auc
from analysis.stats.clustered_auc import clustered_auc, placements


def rows(seed: int, n: int = 240, clusters: int = 60) -> tuple[np.ndarray, ...]:
    """(score with ties, late, weight, cluster, day); clusters may be in both windows."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, clusters, n)
    late = rng.random(n) < 0.4
    score = np.round(rng.normal(size=clusters)[cluster] + rng.normal(size=n) + 0.4 * late, 1)
    day = rng.integers(0, 6, n) + 10 * late
    return score, late, rng.integers(1, 4, n).astype(float), cluster, day


def pairwise(score: np.ndarray, late: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC over all pairs, and each row's influence from its own pairs: O(n²), by definition."""
    old, new = np.flatnonzero(~late), np.flatnonzero(late)
    wins = (score[new][:, None] > score[old]) + 0.5 * (score[new][:, None] == score[old])
    pair = weight[new][:, None] * weight[old]
    auc = float((wins * pair).sum() / pair.sum())
    influence = np.zeros(len(score))
    influence[new] = ((wins - auc) * pair).sum(axis=1) / pair.sum()
    influence[old] = ((wins - auc) * pair).sum(axis=0) / pair.sum()
    return auc, influence


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_scikit_learn(seed: int) -> None:
    score, late, weight, *_ = rows(seed)
    assert placements(score, late, weight)[0] == pytest.approx(
        roc_auc_score(late, score, sample_weight=weight), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_both_variances_are_those_of_all_pairs(seed: int) -> None:
    score, late, weight, cluster, day = rows(seed)
    auc, influence = pairwise(score, late, weight)
    found = clustered_auc(score, late, weight, cluster, day)
    assert found is not None
    assert found.value == pytest.approx(auc, abs=1e-12)
    totals = [influence[cluster == c].sum() for c in np.unique(cluster)]
    assert found.by_cluster == pytest.approx(
        len(totals) / (len(totals) - 1) * sum(t * t for t in totals), rel=1e-9
    )
    sides = []
    for side in (False, True):
        own = [influence[(day == d) & (late == side)].sum() for d in np.unique(day[late == side])]
        sides.append((len(own) / (len(own) - 1) * sum(t * t for t in own), len(own) - 1))
    (v0, f0), (v1, f1) = sides
    assert found.by_day == pytest.approx(v0 + v1, rel=1e-9)
    assert found.df == pytest.approx((v0 + v1) ** 2 / (v0**2 / f0 + v1**2 / f1), rel=1e-9)
    assert found.variance == max(found.by_cluster, found.by_day)


def test_rows_that_are_their_own_clusters_give_delong() -> None:
    """DeLong's S10/m + S01/n, but for its factors n/(n − 1) by window instead of over all."""
    score, late, _, _, _ = rows(1)
    n = len(score)
    found = clustered_auc(score, late, np.ones(n), np.arange(n))
    assert found is not None
    wins = (score[late][:, None] > score[~late]) + 0.5 * (score[late][:, None] == score[~late])
    delong = (
        wins.mean(axis=1).var(ddof=1) / late.sum() + wins.mean(axis=0).var(ddof=1) / (~late).sum()
    )
    assert found.variance == pytest.approx(delong, rel=0.02)
    assert found.variance == pytest.approx(
        n / (n - 1) * (
            wins.mean(axis=1).var() / late.sum() + wins.mean(axis=0).var() / (~late).sum()
        ),
        rel=1e-9,
    )  # fmt: skip


def test_obuchowski_over_clusters_in_both_windows() -> None:
    """Obuchowski (1997), eq. 3: S10/m + S01/n + 2 S11/(mn), from cluster sums of placements."""
    score, late, _, cluster, _ = rows(2, n=600, clusters=150)
    found = clustered_auc(score, late, np.ones(len(score)), cluster)
    assert found is not None
    auc, m, n = found.value, int(late.sum()), int((~late).sum())
    wins = (score[late][:, None] > score[~late]) + 0.5 * (score[late][:, None] == score[~late])
    groups = np.unique(cluster)
    v10 = np.array([(wins.mean(axis=1)[cluster[late] == g] - auc).sum() for g in groups])
    v01 = np.array([(wins.mean(axis=0)[cluster[~late] == g] - auc).sum() for g in groups])
    i10, i01, every = (len(np.unique(c)) for c in (cluster[late], cluster[~late], cluster))
    variance = (
        i10 / ((i10 - 1) * m) * (v10**2).sum() / m
        + i01 / ((i01 - 1) * n) * (v01**2).sum() / n
        + 2 * every / ((every - 1) * m * n) * (v10 * v01).sum()
    )
    assert found.variance == pytest.approx(variance, rel=0.02)


def test_the_unweighted_value_is_that_of_the_triage_view() -> None:
    score, late, _, cluster, _ = rows(3)
    found = clustered_auc(score, late, np.ones(len(score)), cluster)
    assert found is not None
    assert found.value == pytest.approx(roc_auc(late, score, cluster).value, abs=1e-12)


def test_a_whole_weight_is_so_many_rows_of_one_cluster() -> None:
    score, late, weight, cluster, day = rows(4)
    n = weight.astype(int)
    repeated = [np.repeat(x, n) for x in (score, late, cluster, day)]
    ones = np.ones(n.sum())
    one = clustered_auc(score, late, weight, cluster, day)
    many = clustered_auc(repeated[0], repeated[1], ones, repeated[2], repeated[3])
    assert one is not None
    assert many is not None
    assert (one.value, one.by_cluster, one.by_day) == pytest.approx(
        (many.value, many.by_cluster, many.by_day), rel=1e-9
    )


def test_p_value_and_interval_are_those_of_t() -> None:
    score, late, weight, cluster, day = rows(0)
    found = clustered_auc(score, late, weight, cluster, day)
    assert found is not None
    t = (found.value - 0.5) / math.sqrt(found.variance)
    assert found.p_greater == pytest.approx(stats.t.sf(t, found.df), rel=1e-6)
    low, high = found.interval()
    half = stats.t.ppf(0.975, found.df) * math.sqrt(found.variance)
    assert (low, high) == pytest.approx((found.value - half, found.value + half), rel=1e-6)


def test_scores_that_are_all_alike_say_nothing_and_separated_ones_everything() -> None:
    late = np.array([False] * 4 + [True] * 4)
    cluster = np.arange(8)
    flat = clustered_auc(np.zeros(8), late, np.ones(8), cluster)
    apart = clustered_auc(late * 1.0, late, np.ones(8), cluster)
    assert flat is not None
    assert apart is not None
    assert (flat.value, flat.p_greater) == (0.5, 1.0)
    assert (apart.value, apart.p_greater) == (1.0, 0.0)


@pytest.mark.parametrize("missing", ["window", "cluster", "day"])
def test_without_a_second_window_cluster_or_day_nothing_is_known(missing: str) -> None:
    score, late, weight, cluster, day = rows(0)
    if missing == "window":
        late = np.ones_like(late)
    if missing == "cluster":
        cluster = np.where(late, 0, cluster)
    if missing == "day":
        day = np.where(late, 30, day)
    assert clustered_auc(score, late, weight, cluster, day) is None


def test_intervals_cover_the_truth_where_clusters_and_days_vary() -> None:
    """500 worlds; the binomial's own error is 1.0 point. Scores shift by cluster and by day."""
    rng = np.random.default_rng(8)
    truth = stats.norm.cdf(0.4 / math.sqrt(2 * (1 + 0.5 + 0.1)))
    covered = 0
    for _ in range(500):
        cluster = np.repeat(np.arange(300), 2)
        day = np.repeat(rng.integers(0, 28, 300), 2)
        late = day >= 14
        score = (
            rng.normal(size=600)
            + math.sqrt(0.5) * rng.normal(size=300)[cluster]
            + math.sqrt(0.1) * rng.normal(size=28)[day]
            + 0.4 * late
        )
        found = clustered_auc(score, late, np.ones(600), cluster, day)
        assert found is not None
        low, high = found.interval()
        covered += low <= truth <= high
    assert 0.93 <= covered / 500 <= 0.99
