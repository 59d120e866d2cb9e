"""A new value beside the last few of the same kind, which may differ more than their own noise says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.intervals import t_quantile, t_tail


@dataclass(frozen=True)
class Recent:
    """How far a value lies above the mean of earlier ones. se, df: of Student's t."""

    delta: float
    se: float
    df: int

    @property
    def p_greater(self) -> float:
        """One-sided p-value of no difference."""
        if self.se == 0:
            return 0.0 if self.delta > 0 else 1.0
        return t_tail(self.delta / self.se, self.df)

    def upper(self, level: float) -> float:
        """The upper bound at a one-sided confidence."""
        return self.delta + t_quantile(level, self.df) * self.se

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.delta - t_quantile(0.975, self.df) * self.se

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.upper(0.975)


def against_recent(
    value: float, variance: float, earlier: Sequence[float], variances: Sequence[float]
) -> Recent:
    """A value against the mean of k ≥ 2 earlier ones. variance, variances: of their own sampling.

    Weeks differ by more than chance, and the new one may as much: were it one of them, its distance
    from their mean would have the variance S²(1 + 1/k), S² theirs, with k − 1 degrees of freedom (the
    prediction interval; Hahn & Meeker 1991, section 4.6). Where S² happens to be small, the variance of
    sampling, v + Σ vᵢ/k², is the least that it can be. Raises ValueError for k < 2.
    """
    k = len(earlier)
    if k < 2:
        raise ValueError("two earlier values are the least that have a spread")
    mean = sum(earlier) / k
    spread = sum((w - mean) ** 2 for w in earlier) / (k - 1)
    least = variance + sum(variances) / k**2
    return Recent(value - mean, math.sqrt(max(spread * (1 + 1 / k), least)), k - 1)
