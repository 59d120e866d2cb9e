"""The checks of triage: whether the queue copes, and whether the mode kept its promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.check import Check, Comparison, Outcome, Severity, rounded
from analysis.views.triage_advice import WITHOUT_MODEL
from analysis.views.triage_choice import Choice
from analysis.views.triage_policy import (
    Costs,
    Forecast,
    Mode,
    Queue,
    limits,
    reviewed_by,
    row_costs,
    saving,
)

_WORK = {
    "selective": "selective review",
    "review_all": "review of everything",
    "review_none": "no review",
}


def queue_check(
    support: int, ahead: Forecast, mode: Mode, costs: Costs, unusable: str | None
) -> Check:
    """`triage.queue`: the predicted 90th percentile against the guard.

    triage.queue: the predicted 90th percentile of reviews due a day. It passes where the whole interval is at
    most the policy's guard, and fails where none of it is.
    """
    guard, reason = costs.guard_p90, unusable
    story = (
        f"On one day in ten at least {ahead.p90:.0f} reviews are due in {_WORK[mode]}"
        if ahead.low is None or ahead.high is None
        else f"On one day in ten at least {ahead.p90:.0f} reviews are due in {_WORK[mode]} "
        f"(95 % interval {ahead.low:.0f} to {ahead.high:.0f}), against a guard of {guard:g}"
    )
    result: Outcome = "inconclusive"
    action = "Wait for more days, or raise the capacity and the guard."
    if reason is not None:
        sentence = f"The review queue is not judged: {reason}."
    elif mode == "review_none":
        result, action = "pass", "Nothing to do."
        sentence = "Nothing is queued for review: the mode chosen is to review nothing."
    elif ahead.low is None or ahead.high is None:
        reason = "the window has fewer than three days"
        sentence = f"{story}: {reason}."
    elif rounded(ahead.low) > guard:
        result, sentence = "fail", f"{story}: the queue will overflow."
        action = "Raise the capacity or the threshold before the release takes more traffic."
    elif rounded(ahead.high) <= guard:
        result, sentence, action = "pass", f"{story}: the queue copes.", "Nothing to do."
    else:
        reason = "the interval holds the guard"
        sentence = f"{story}: whether it copes is not decided."
    return check(
        "triage.queue", result, "hold", ahead.p90, ahead.low, ahead.high, guard, "at_most",
        "reviews a day", support, reason, sentence, action,
    )  # fmt: skip


def mode_check(
    window: Queue,
    choice: Choice,
    reviewed: npt.NDArray[np.float64],
    costs: Costs,
    unusable: str | None,
    implausible: tuple[str, ...],
) -> Check:
    """`triage.mode`: the saving in the window against the cheapest rival there.

    triage.mode: what the chosen way of reviewing saved in the window against the cheapest one without a
    model.
    """
    support = int(window.known.sum())
    value = low = high = None
    reason = unusable
    result: Outcome = "pass"
    action = "Nothing to do."
    if reason is not None:
        result, sentence = "inconclusive", f"The mode of triage is not judged: {reason}."
        action = "Provide the missing labels."
    elif choice.mode != "selective":
        which = "all that arrives" if choice.mode == "review_all" else "nothing"
        why = (
            "no threshold of the model fits capacity and guard"
            if choice.tested is None
            else "the model was not surely cheaper than working without it"
        )
        sentence = f"Review {which}: before the window, {why}."
    else:
        others = {r.name: reviewed_by(window, costs, r.name, None) for r in choice.rivals}
        best = min(others, key=lambda n: (float(row_costs(window, costs, others[n]).sum()), n))
        saved = saving(window, costs, others[best], reviewed)
        value, (low, high) = saved[0], limits(saved)
        story = (
            f"Reviewing at a risk of {100 * choice.threshold:.2f} % or more saved {value:,.0f} USD in "
            f"the window (95 % interval {low:,.0f} to {high:,.0f}) against {WITHOUT_MODEL[best]}"
        )
        if implausible:
            result = "inconclusive"
            reason = f"{implausible[0]} tells failures too well to be known in time"
            sentence = f"{story}, but {reason}."
            action = "Correct the column's role or known_at in a contract of your own."
        elif rounded(low) > 0:
            sentence, action = f"{story}.", "Review the queue in triage_actions.csv."
        elif rounded(high) < 0:
            result, sentence = "fail", f"{story}: it cost more than it saved."
            action = "Stop selective review, and fit again once the new labels are in."
        else:
            result, reason = "inconclusive", "the interval of the saving holds 0"
            sentence, action = f"{story}: not decided.", "Watch the saving in the next window."
    return check(
        "triage.mode", result, "note", value, low, high, 0.0, "at_least", "USD", support, reason,
        sentence, action,
    )  # fmt: skip


def undecided(support: int, costs: Costs, reason: str) -> tuple[Check, Check]:
    """Both checks where there is no model."""
    action = "Provide labelled telemetry from before the candidate window."
    return (
        check(
            "triage.queue", "inconclusive", "hold", None, None, None, costs.guard_p90, "at_most",
            "reviews a day", support, reason, f"The review queue is not predicted: {reason}.", action,
        ),
        check(
            "triage.mode", "inconclusive", "note", None, None, None, 0.0, "at_least", "USD", support,
            reason, f"No mode of triage is chosen: {reason}.", action,
        ),
    )  # fmt: skip


def check(
    id: str,
    result: Outcome,
    severity: Severity,
    value: float | None,
    low: float | None,
    high: float | None,
    limit: float,
    comparison: Comparison,
    unit: str,
    support: int,
    reason: str | None,
    sentence: str,
    action: str,
) -> Check:
    """A check of this view."""
    return Check(
        id=id,
        view="triage",
        outcome=result,
        severity=severity,
        value=value,
        low=low,
        high=high,
        limit=limit,
        comparison=comparison,
        unit=unit,
        support=support,
        p_value=None,
        p_adjusted=None,
        reason=reason if result == "inconclusive" else None,
        sentence=sentence,
        action=action,
    )
