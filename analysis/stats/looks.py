"""Error rate for looking more than once: O'Brien–Fleming-like spending (Lan & DeMets 1983)."""

from __future__ import annotations

from scipy import special


def cumulative_alpha(alpha: float, information: float) -> float:
    """α(t) = 2 − 2Φ(z_{α/2}/√t): error spent when a fraction t of the planned looks has passed."""
    if information <= 0:
        return 0.0
    if information >= 1:
        return alpha
    # The upper tail by itself: 2 − 2Φ loses all digits where the first looks spend 1e-13.
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / information**0.5))


def look_alpha(alpha: float, look: int, looks: int) -> float:
    """α_k = α(k/K) − α((k−1)/K): what look k of K may spend; a skipped look is forfeited.

    alpha: the error rate over all looks. look: 1-based; past the last look nothing is left.
    """
    if not 1 <= look <= looks:
        return 0.0
    return cumulative_alpha(alpha, look / looks) - cumulative_alpha(alpha, (look - 1) / looks)
