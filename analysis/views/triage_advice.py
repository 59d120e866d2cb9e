"""What would make reviewing pay more: capacity, costs, features, labels; each with its figure.

Everything is computed on the part of the history that chose, so that the window stays what reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.stats.calibration import roc_auc
from analysis.stats.intervals import t_quantile
from analysis.views.triage_policy import Costs, Mode, Queue, limits, policy_of, reviewed_by, saving

MANY = 2.0
"""The capacity is tried at so many times what it is."""
MOST_NAMED = 4
MOST_DAYS = 3650
WITHOUT_MODEL = {
    "review_none": "reviewing nothing",
    "review_all": "reviewing all that arrives",
    "random_at_capacity": "random review up to capacity",
    "rule": "the policy's rule",
}
"""The policies without a model, as sentences name them."""


@dataclass(frozen=True)
class Lever:
    """One thing to change. saving_usd_per_day: with its 95 % interval, null where it is not computed. Of
    capacity, what it would save beyond the mode chosen; of labels, what the model saved against the policy
    without a model that it beat least surely."""

    kind: Literal["capacity", "costs", "features", "labels"]
    saving_usd_per_day: float | None
    low: float | None
    high: float | None
    sentence: str


@dataclass(frozen=True)
class Contest:
    """What was held against the policies without a model: the threshold, and the one of them against
    which the lower bound of its saving was least."""

    threshold: float
    against: str


def levers(
    queue: Queue, costs: Costs, mode: Mode, threshold: float, tested: Contest | None,
    later: Sequence[str], decide_at: str,
) -> tuple[Lever, ...]:  # fmt: skip
    """The levers, in a fixed order: capacity, costs, features, labels.

    queue: the part that chose. mode, threshold: what was chosen. tested: None where no threshold fits.
    later: columns that deciding at response would add.
    """
    told = [_capacity(queue, costs, mode, threshold), _costs(queue, costs)]
    if mode != "selective":
        told += [_features(queue, later, decide_at), _labels(queue, costs, tested)]
    return tuple(lever for lever in told if lever is not None)


def _capacity(queue: Queue, costs: Costs, mode: Mode, threshold: float) -> Lever | None:
    """More reviews a day of what pays, riskiest first."""
    pays = queue.risk >= costs.break_even
    days = float(queue.coverage.sum())
    if days <= 0 or pays.sum() <= costs.capacity_per_day * days:
        return None
    more = replace(
        costs,
        capacity_per_day=MANY * costs.capacity_per_day,
        guard_p90=MANY * costs.guard_p90,
    )
    now = reviewed_by(queue, costs, policy_of(mode), threshold)
    then = reviewed_by(queue, more, "selected", costs.break_even)
    figures = _per_day(saving(queue, costs, now, then), days)
    return Lever(
        "capacity",
        *figures,
        f"With room for {more.capacity_per_day:g} reviews a day in the place of "
        f"{costs.capacity_per_day:g}, the riskiest first, {_told(*figures)} "
        f"(95 % interval of the saving {_usd(figures[1])} to {_usd(figures[2])}).",
    )


def _costs(queue: Queue, costs: Costs) -> Lever | None:
    """At which costs the riskiest reviews within capacity pay."""
    reached = reviewed_by(queue, costs, "top_by_capacity", None) > 0
    rows = reached & queue.known
    found, n = int(queue.bad[rows].sum()), int(rows.sum())
    if not n:
        return None
    told = (
        f"Of the {n:,} riskiest interactions that the capacity had room for, {found:,} were bad "
        f"({100 * found / n:.3g} %); a review pays from {100 * costs.break_even:.3g} % on "
        f"({costs.review_usd:g} of {costs.missed_usd:g} USD)"
    )
    if not found:
        return Lever("costs", None, None, None, f"{told}: at no cost would these have paid.")
    rate = found / n
    if rate <= costs.break_even:
        told += (
            f". They would pay if a review cost less than {_usd(rate * costs.missed_usd)} USD, or a "
            f"miss more than {_usd(costs.review_usd / rate)} USD"
        )
    else:
        told += (
            f". They pay as long as a review costs less than {_usd(rate * costs.missed_usd)} USD, or a "
            f"miss more than {_usd(costs.review_usd / rate)} USD"
        )
    return Lever("costs", None, None, None, f"{told}.")


def _features(queue: Queue, later: Sequence[str], decide_at: str) -> Lever | None:
    """How well what is known ranks, and what would be known if one decided later."""
    rows = queue.known
    area = roc_auc(queue.bad[rows], queue.risk[rows], queue.cluster[rows])
    if math.isnan(area.value):
        return None
    spread = (
        ""
        if math.isnan(area.low) or math.isnan(area.high)
        else f" (95 % interval {area.low:.2f} to {area.high:.2f})"
    )
    told = (
        f"What is known at {decide_at} ranks bad interactions with an area under the ROC curve of "
        f"{area.value:.2f}{spread}, where 0.5 is chance"
    )
    if later:
        named = ", ".join(later[:MOST_NAMED]) + (" and others" if len(later) > MOST_NAMED else "")
        told += f". Deciding at response would add {named}"
    else:
        told += ". Columns that tell them apart earlier would help more than more rows"
    return Lever("features", None, None, None, f"{told}.")


def _labels(queue: Queue, costs: Costs, tested: Contest | None) -> Lever | None:
    """How many days of labels would make a saving sure that is there, and not yet sure."""
    if tested is None:
        return None
    now = reviewed_by(queue, costs, tested.against, None)
    then = reviewed_by(queue, costs, "selected", tested.threshold)
    saved = saving(queue, costs, now, then)
    value, error, df = saved
    if value <= 0 or error <= 0:
        return None
    days = float(queue.coverage.sum())
    needed = days * (t_quantile(0.95, df) * error / value) ** 2
    if not np.isfinite(needed) or needed > MOST_DAYS:
        return None
    return Lever(
        "labels",
        *_per_day(saved, days),
        f"The model saved {_usd(value / days)} USD a day against {WITHOUT_MODEL[tested.against]}, "
        f"which is not sure: with {max(math.ceil(needed), math.ceil(days) + 1):,} days to choose on in "
        f"the place of {days:.0f} it would be, if it stays as it is.",
    )


def _per_day(saved: tuple[float, float, float], days: float) -> tuple[float, float, float]:
    """(value, low, high) of a saving, a day."""
    value, low, high = (round(v / days, 6) for v in (saved[0], *limits(saved)))
    return value, low, high


def _told(saved: float, low: float, high: float) -> str:
    """A saving a day as far as its interval bears it."""
    if low > 0:
        return f"{_usd(saved)} USD a day more would have been saved"
    if high < 0:
        return f"the further reviews would have cost {_usd(-saved)} USD a day more than they saved"
    return f"it is not sure that more would have been saved: {_usd(saved)} USD a day"


def _usd(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
