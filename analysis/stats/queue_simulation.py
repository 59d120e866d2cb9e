"""A queue worked by a team at a steady rate: who waits how long, and what is left each evening.

Nothing is dropped. Reviews come at evenly spaced moments of the team's hours, each takes the item
that has waited longest, and a moment at which nobody waits passes unused. Item k (in order of
arrival, of which moment aₖ is the first not before it) is taken at

    sₖ = max(sₖ₋₁ + 1, aₖ) = k + max_{i ≤ k} (aᵢ − i),

Lindley's (1952) recursion, solved by a running maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
WHOLE_DAY = (0, 24)


@dataclass(frozen=True)
class QueueDays:
    """The queue by day, every array (D,).

    arrivals: items that came. reviewed: items taken up. backlog: items left at the end of the day.
    wait_p50, wait_p90: hours that those taken up on the day had waited; nan where there were none.
    """

    arrivals: Ints
    reviewed: Ints
    backlog: Ints
    wait_p50: Floats
    wait_p90: Floats


def simulate(
    arrival_us: Ints,
    days: Ints,
    capacity_per_day: float,
    hours: tuple[int, int] = WHOLE_DAY,
) -> QueueDays:
    """The queue on `days`, empty at first.

    arrival_us: (n,) µs since 1970, in any order; those before the first day are there when it
    begins. days: (D,) consecutive day numbers since 1970. capacity_per_day: reviews that the team
    does in its hours; fractions carry over. hours: (start, end) in UTC; an end at or before the
    start is that of the next day.
    """
    begin, n_days = int(days[0]) * DAY_US, len(days)
    came = np.sort(arrival_us) - begin
    shift = _Shift.of(hours, capacity_per_day)
    taken = shift.moment(_slots(came, shift))
    day_came = np.clip(came // DAY_US, 0, n_days)
    day_taken = np.minimum(taken // DAY_US, n_days)  # D: not within these days
    arrivals = np.bincount(day_came, minlength=n_days + 1)[:n_days]
    reviewed = np.bincount(day_taken, minlength=n_days + 1)[:n_days]
    wait = np.maximum(taken - np.maximum(came, 0), 0) / HOUR_US
    order = np.lexsort((wait, day_taken))
    ends = np.cumsum(reviewed)
    return QueueDays(
        arrivals=arrivals,
        reviewed=reviewed,
        backlog=np.cumsum(arrivals) - ends,
        wait_p50=_quantile(wait[order], ends, reviewed, 0.5),
        wait_p90=_quantile(wait[order], ends, reviewed, 0.9),
    )


@dataclass(frozen=True)
class _Shift:
    """The moments at which a review begins: slot j is the middle of the j-th equal share of the
    working time. start, length: of a day's hours, in µs."""

    start: int
    length: int
    per_day: float

    @classmethod
    def of(cls, hours: tuple[int, int], per_day: float) -> _Shift:
        start, end = hours
        length = end - start if end > start else end - start + 24
        return cls(start * HOUR_US, length * HOUR_US, per_day)

    def moment(self, slot: Ints) -> Ints:
        """(n,): µs since the first midnight at which these slots begin."""
        worked = np.floor((slot + 0.5) / self.per_day * self.length).astype(np.int64)
        day, rest = np.divmod(worked, self.length)
        return np.asarray(day * DAY_US + self.start + rest)

    def first(self, moment: Ints) -> Ints:
        """(n,): the first slot that begins at or after each moment."""
        day, rest = np.divmod(moment - self.start, DAY_US)
        worked = day * self.length + np.minimum(rest, self.length)
        slot = np.maximum(
            np.floor(worked / self.length * self.per_day - 0.5).astype(np.int64) - 1, 0
        )
        for _ in range(4):  # floats may err by one, and by two where slots round to whole µs
            slot += self.moment(slot) < moment
        return np.asarray(slot)


def _slots(came: Ints, shift: _Shift) -> Ints:
    """(n,): the slot that takes each item, in order of arrival."""
    if not len(came):
        return came
    place = np.arange(len(came))
    return np.asarray(place + np.maximum.accumulate(shift.first(came) - place))


def _quantile(ordered: Floats, ends: Ints, sizes: Ints, level: float) -> Floats:
    """(D,): the inverted-CDF quantile of each day's run of ordered values; nan of none."""
    at = ends - sizes + np.maximum(np.ceil(sizes * level - 1e-9).astype(np.int64) - 1, 0)
    if not len(ordered):
        return np.full(len(ends), np.nan)
    return np.where(sizes > 0, ordered[np.minimum(at, len(ordered) - 1)], np.nan)
