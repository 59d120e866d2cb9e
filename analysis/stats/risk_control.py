"""The highest threshold that surely lets at most a share α of failures go unreviewed: Learn-then-Test.

Angelopoulos, Bates, Candès, Jordan & Lei (2021). The loss of a failure is 1 where its risk is below the
threshold. Each threshold t has H(t): P(risk < t | failure) > α, with the exact binomial p-value
P(X ≤ k | n, α) of the k failures below t among n (at effective counts where failures come in
clusters; Korn & Graubard 1998). Thresholds are tested from the safest upward, and the first that is
not rejected ends the test (fixed-sequence testing, section 4.2): no price for how many are tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_CUTS = 19


@dataclass(frozen=True)
class Controlled:
    """threshold: rows at or above it are reviewed; None where no threshold is sure.

    n_failures: those it was learned from. n_missed: of these, below the threshold. p_value: of the
    threshold, or of reviewing everything where there is none. design_effect: n_failures over the
    number of independent ones. n_needed: failures from which a threshold can be sure at all.
    """

    threshold: float | None
    n_failures: int
    n_missed: int
    p_value: float
    design_effect: float
    n_needed: int


def control(risk: Floats, cluster: Ints, day: Ints, alpha: float, confidence: float) -> Controlled:
    """Of the (n,) known failures: risks, codes of clusters and of days from 0.

    With this confidence the share of failures to come that lie below the threshold is at most
    alpha, as long as they come from the same population with the same risks.
    """
    n = len(risk)
    effect = max(design_effect(risk, cluster), design_effect(risk, day))
    needed = math.ceil(effect * math.log1p(-confidence) / math.log1p(-alpha) - 1e-9)
    if not n:
        return Controlled(None, 0, 0, 1.0, 1.0, needed)
    ordered = np.sort(risk)
    missed = np.arange(n)
    p_value = p_values(missed, n, alpha, effect)
    sure = int((p_value <= 1.0 - confidence + 1e-12).sum())  # p-values rise with the threshold
    if not sure:
        return Controlled(None, n, 0, float(p_value[0]), effect, needed)
    threshold = float(ordered[sure - 1])
    below = int(np.searchsorted(ordered, threshold, side="left"))
    return Controlled(threshold, n, below, float(p_value[below]), effect, needed)


def p_values(missed: Ints, n: int, alpha: float, effect: float = 1.0) -> Floats:
    """P(X ≤ k) of a binomial of n/effect trials of probability alpha, at k = missed/effect.

    Real counts by the incomplete beta function.
    """
    k, size = missed / effect, n / effect
    tail = special.betainc(np.maximum(size - k, 1e-300), k + 1.0, 1.0 - alpha)
    return np.asarray(np.where(k >= size, 1.0, tail))


def design_effect(risk: Floats, group: Ints) -> float:
    """1 + (Σ n_c²/n − 1) ρ of the indicators 1{risk < t}, at least 1 (Kish 1965).

    ρ is pooled over `N_CUTS` quantiles t of the risks, by moments: one threshold with few misses
    says little of its own. group: (n,) codes.
    """
    n = len(risk)
    size = np.bincount(group) if n else np.zeros(0)
    squares = float((size.astype(float) ** 2).sum())
    groups = int((size > 0).sum())
    if groups < 2 or squares <= n:
        return max(1.0, squares / n) if n and groups == 1 and n > 1 else 1.0
    place = np.empty(n, dtype=np.int64)
    place[np.argsort(risk, kind="stable")] = np.arange(n)
    below = between = 0.0
    for cut in range(1, N_CUTS + 1):
        edge = n * cut // (N_CUTS + 1)
        share = edge / n
        score = (place < edge) - share
        total = np.bincount(group, weights=score)
        between += groups / (groups - 1.0) * float((total**2).sum())
        below += n * share * (1.0 - share)
    return max(1.0, between / below) if below > 0 else 1.0
