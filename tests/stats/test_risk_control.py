"""Learn-then-Test keeps its promise, and equals MAPIE's where every failure stands alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.risk_control import control, design_effect, p_values

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]


def failures(rng: np.random.Generator, clusters: int, size: float, user: float, day: float) -> Draw:
    """(risks, clusters, days) of the failures among calibrated risks of 9 days; user, day: deviations
    of the effects, on the logit scale, that a cluster's and a day's risks share."""
    cluster = np.repeat(np.arange(clusters), rng.geometric(1 / size, clusters))
    on = rng.integers(0, 9, clusters)[cluster]
    z = -3 + rng.standard_normal(len(cluster)) + user * rng.standard_normal(clusters)[cluster]
    risk = 1 / (1 + np.exp(-z - day * rng.standard_normal(9)[on]))
    bad = rng.random(len(risk)) < risk
    return np.round(risk[bad], 6), cluster[bad], on[bad]


@pytest.mark.parametrize(
    ("seed", "n", "alpha", "confidence", "threshold", "valid", "theirs"),
    [
        (1, 400, 0.10, 0.95, 0.066, 20,
         (1.0730891267323961e-16, 8.724119295321957e-11, 1.5766056250958655e-08, 3.090916935421041e-06)),
        (3, 150, 0.20, 0.90, 0.111, 20,
         (1.0329998912347607e-13, 6.938763647407379e-10, 1.0480305187376938e-06, 5.174513933747307e-05)),
        (4, 60, 0.10, 0.95, 0.063, 3,
         (0.0008595044557171395, 0.18761065708301106, 0.6458624727545192, 0.9855311131363663)),
        (5, 1200, 0.02, 0.80, 0.034, 13,
         (5.886154109850359e-10, 1.1168081734791404e-06, 0.0001073850270972686, 0.011992283461048199)),
    ],
)  # fmt: skip
def test_it_equals_mapie_where_each_failure_stands_alone(
    seed: int,
    n: int,
    alpha: float,
    confidence: float,
    threshold: float,
    valid: int,
    theirs: tuple[float, ...],
) -> None:
    """MAPIE 1.6.0: BinaryClassificationController(recall, 1 − alpha, fwer_method="fixed_sequence") over
    the failures' distinct risks; its p-values 1, 4, 7 and 10, and its valid thresholds."""
    rng = np.random.default_rng(seed)
    every = np.round(rng.beta(1, 6, n * 6), 3)
    risk = every[rng.random(len(every)) < every]
    alone = np.arange(len(risk))
    found = control(risk, alone, alone, alpha, confidence)
    assert found.threshold == threshold
    assert found.design_effect == 1.0
    grid = np.unique(risk)
    assert (grid <= threshold).sum() == valid
    missed = (risk[:, None] < grid[[0, 3, 6, 9]]).sum(axis=0)
    # MAPIE rounds n (1 − recall) up, which in floats may be a hair above the count of the missed.
    counted = np.ceil(len(risk) * (1 - (len(risk) - missed) / len(risk))).astype(int)
    assert p_values(counted, len(risk), alpha) == pytest.approx(theirs, rel=1e-9)
    assert np.isin(counted - missed, (0, 1)).all()


def test_p_values_are_the_binomials() -> None:
    k = np.arange(40)
    assert p_values(k, 40, 0.13) == pytest.approx(stats.binom.cdf(k, 40, 0.13))
    assert p_values(np.array([40]), 40, 0.13).tolist() == [1.0]


def test_too_few_failures_say_how_many_it_takes() -> None:
    # Even with none missed, 0.9ⁿ ≤ 0.05 needs 29.
    risk = np.linspace(0.1, 0.9, 28)
    alone = np.arange(28)
    found = control(risk, alone, alone, 0.1, 0.95)
    assert (found.threshold, found.n_needed, found.n_missed) == (None, 29, 0)
    assert found.p_value == pytest.approx(0.9**28)
    more = np.append(risk, 0.5)
    found = control(more, np.arange(29), np.arange(29), 0.1, 0.95)
    assert found.threshold == 0.1
    none = control(np.zeros(0), np.zeros(0, int), np.zeros(0, int), 0.1, 0.95)
    assert (none.threshold, none.n_failures, none.n_needed) == (None, 0, 29)


def test_ties_at_the_threshold_are_reviewed() -> None:
    risk = np.array([0.1] * 3 + [0.2] * 60 + [0.7] * 40)
    found = control(risk, np.arange(103), np.arange(103), 0.1, 0.95)
    assert (found.threshold, found.n_missed) == (0.2, 3)


def test_copies_of_a_failure_count_once() -> None:
    rng = np.random.default_rng(2)
    risk = rng.random(300)
    copied, owner = np.repeat(risk, 4), np.repeat(np.arange(300), 4)
    assert design_effect(copied, owner) == pytest.approx(4.0, rel=0.01)
    one = control(risk, np.arange(300), np.arange(300), 0.1, 0.95)
    four = control(copied, owner, np.arange(1200), 0.1, 0.95)
    assert four.threshold is not None
    assert one.threshold is not None
    assert abs((risk < four.threshold).sum() - (risk < one.threshold).sum()) <= 1
    assert design_effect(rng.random(2000), np.repeat(np.arange(500), 4)) < 1.2


def test_one_cluster_or_one_day_is_one_failure() -> None:
    risk = np.linspace(0.1, 0.9, 200)
    found = control(risk, np.zeros(200, dtype=np.int64), np.arange(200), 0.1, 0.95)
    assert (found.threshold, found.design_effect) == (None, 200.0)


WORLDS = [
    ("rows alone", 2500, 1, 0.0, 0.0, 0.10, 0.95),
    ("users with their own risks", 900, 3, 1.0, 0.0, 0.05, 0.90),
    ("large clusters", 150, 6, 1.5, 0.0, 0.10, 0.95),
    ("days with their own risks", 2500, 1, 0.0, 0.4, 0.10, 0.90),
]


@pytest.mark.parametrize(("why", "clusters", "size", "user", "day", "alpha", "confidence"), WORLDS)
def test_the_promise_is_kept(
    why: str, clusters: int, size: int, user: float, day: float, alpha: float, confidence: float
) -> None:
    kept(clusters, size, user, day, alpha, confidence, replicates=200)


@pytest.mark.simulate
@pytest.mark.parametrize("alpha", [0.02, 0.2])
@pytest.mark.parametrize(
    ("why", "clusters", "size", "user", "day", "confidence"),
    [(*w[:5], w[6]) for w in WORLDS] + [("few failures", 700, 1, 0.0, 0.0, 0.8)],
)
def test_the_promise_is_kept_in_many_worlds(
    why: str, clusters: int, size: int, user: float, day: float, confidence: float, alpha: float
) -> None:
    kept(clusters, size, user, day, alpha, confidence, replicates=2000)


def kept(
    clusters: int,
    size: int,
    user: float,
    day: float,
    alpha: float,
    confidence: float,
    replicates: int,
) -> None:
    """P(true miss share > alpha) ≤ 1 − confidence; and where it can be promised, it is used."""
    rng, broken, shares = np.random.default_rng(8), 0, []
    worlds = [failures(rng, clusters * 8, size, user, day)[0] for _ in range(60)]
    population = np.sort(np.concatenate(worlds))
    needed = []
    for _ in range(replicates):
        found = control(*failures(rng, clusters, size, user, day), alpha, confidence)
        needed.append(found.n_failures / found.n_needed)
        if found.threshold is not None:
            shares.append(np.searchsorted(population, found.threshold) / len(population))
            broken += shares[-1] > alpha
    promised = 1 - confidence
    assert broken / replicates <= promised + 1.645 * math.sqrt(promised * confidence / replicates)
    if np.median(needed) > 2:
        assert len(shares) > 0.6 * replicates
        assert np.mean(shares) > 0.2 * alpha
