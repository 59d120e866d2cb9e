"""The vocabulary of every verdict: an interval, and a check with three outcomes.

A check *passes*, *fails* or is *inconclusive* (the idea of Kayenta and Argo Rollouts analysis).
Regression checks share one error rate (STATISTICS section 2), so a view cannot close them by
itself: it hands over a `RegressionTest`, and the review judges all of them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive"]
Severity = Literal["block", "hold", "note"]
Comparison = Literal["at_most", "at_least"]
ViewName = Literal["contract", "health", "budget", "hotspots", "routing", "drift", "triage", "gate"]


def finite(value: float | int | None) -> float | int | None:
    """`value`, or None where it is missing, not a number or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)


def rounded(value: float) -> float:
    """`value` at the 12 significant digits that the artifact shows; comparisons use these."""
    return float(f"{value:.12g}") + 0.0 if math.isfinite(value) else value


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; `support` is the number of interactions behind it."""

    value: float | None
    low: float | None
    high: float | None
    support: int

    @classmethod
    def of(
        cls, value: float | None, low: float | None, high: float | None, support: int
    ) -> Interval:
        """An interval whose non-finite parts are None; without a value nothing else is claimed."""
        point = finite(value)
        if point is None:
            return cls.unknown(support)
        return cls(point, finite(low), finite(high), int(support))

    @classmethod
    def unknown(cls, support: int = 0) -> Interval:
        """A figure that cannot be computed."""
        return cls(None, None, None, int(support))


@dataclass(frozen=True)
class Range:
    """A value with the limits of a prediction interval."""

    value: float | str | None
    low: float | str | None
    high: float | str | None


@dataclass(frozen=True)
class Check:
    """One judged statement about the release.

    `value`, `low`, `high` and `limit` share `unit`; `limit` is the *pass* limit. `p_value` is the
    raw one-sided p-value of a regression check, `p_adjusted` the same after Holm.
    """

    id: str
    view: ViewName
    outcome: Outcome
    severity: Severity
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    comparison: Comparison
    unit: str
    support: int
    p_value: float | None
    p_adjusted: float | None
    reason: str | None
    sentence: str
    action: str

    @classmethod
    def of(
        cls,
        check_id: str,
        view: ViewName,
        outcome: Outcome,
        severity: Severity,
        figure: Interval,
        *,
        limit: float | None,
        unit: str,
        reason: str | None,
        sentence: str,
        action: str,
    ) -> Check:
        """A figure held against what it may be at most, by its interval and not by a p-value."""
        return cls(
            check_id, view, outcome, severity, figure.value, figure.low, figure.high, limit,
            "at_most", unit, figure.support, None, None, reason, sentence, action,
        )  # fmt: skip


@dataclass(frozen=True)
class RegressionTest:
    """A regression check before the gate's one error rate has been applied.

    It fails when its p-value is rejected after Holm *and* `material` holds; else it passes when
    `passes` holds; else it is inconclusive. `p_value` None (missing column, below the
    floors) or NaN leaves the family, and the check is inconclusive for `reason`.

    material_at, passes_at: the values from which a change is material, and below which it passes where
    its interval stays as wide as it is. bound: the upper confidence bound that the limit is held
    against. Each None where no number says it.
    """

    id: str
    view: ViewName
    severity: Severity
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    unit: str
    support: int
    p_value: float | None
    material: bool
    passes: bool
    reason: str | None
    subject: str
    sentences: dict[Outcome, str]
    actions: dict[Outcome, str]
    comparison: Comparison = "at_most"
    needs_interactions: int | None = None
    needs_days: float | None = None
    material_at: float | None = None
    passes_at: float | None = None
    bound: float | None = None

    def judged(self, adjusted: float | None, error_rate: float) -> Check:
        """The check with its outcome, given its Holm-adjusted p-value."""
        outcome: Outcome
        if finite(self.p_value) is None:
            outcome = "inconclusive"
        elif adjusted is not None and rounded(adjusted) < error_rate and self.material:
            outcome = "fail"
        elif self.passes:
            outcome = "pass"
        else:
            outcome = "inconclusive"
        return Check(
            id=self.id,
            view=self.view,
            outcome=outcome,
            severity=self.severity,
            value=finite(self.value),
            low=finite(self.low),
            high=finite(self.high),
            limit=finite(self.limit),
            comparison=self.comparison,
            unit=self.unit,
            support=self.support,
            p_value=finite(self.p_value),
            p_adjusted=finite(adjusted),
            reason=self.reason if outcome == "inconclusive" else None,
            sentence=self.sentences[outcome],
            action=self.actions[outcome],
        )
