"""Statistical disclosure control of counts: what is too small to show, and what would give it away.

Primary suppression: a count below `min_cell` is not shown, zeros included (ACRO's defaults:
`safe_threshold: 10`, `zeros_are_disclosive: True`; Smith et al. 2023, AI-SDC/ACRO). Rounding: every
other count is shown to the nearest 5, and every rate is one of rounded counts (OpenSAFELY's ehrQL, which
shows nothing up to 7 and rounds to 5: ehrql/measures/disclosure_control.py). So no count can be had
exactly as the difference of two that are shown.

Complementary suppression: where counts add up to a total that is known, more of them are hidden until an
attacker who solves the whole system of sums cannot tell a hidden count to within `min_cell` (Cox 1980,
Suppression methodology and statistical disclosure control, JASA 75, 377–385). The attacker is a linear
program for each hidden count, as in the audit of tau-ARGUS (Fischetti and Salazar 2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_CELL = 10
STEP = 5


@dataclass(frozen=True)
class Sum:
    """Counts that add up to a known total. cells: their places."""

    cells: tuple[int, ...]
    total: int


def is_small(count: float, min_cell: int = MIN_CELL) -> bool:
    """Whether a count may not be shown; an expected count of 9.6 is shown as one of 10."""
    return math.floor(count + 0.5) < min_cell


def rounded(count: float, step: int = STEP) -> int:
    """The nearest multiple of `step`, halves away from zero."""
    return int(math.copysign(step * math.floor(abs(count) / step + 0.5), count))


def rounded_rate(rate: float, support: float, step: int = STEP) -> float:
    """A rate as the ratio of rounded counts: its numerator is known to `step`, and no better.

    rate: of `support` interactions; any number, as an interval's end or a change may be.
    """
    below = max(rounded(support, step), step)
    return max(-1.0, min(1.0, rounded(rate * support, step) / below))


def attack(
    shown: Sequence[int | None],
    sums: Sequence[Sum],
    step: int = STEP,
    smallest: int = 0,
) -> list[tuple[float, float]]:
    """What is known of each count, from all that is shown: (low, high) of each.

    shown: counts as rounded to `step`, None where hidden. sums: totals that are known exactly.
    smallest: a count that all are known to reach. Raises ValueError where the numbers contradict each
    other.
    """
    slack = step // 2
    bounds = [
        (float(smallest), None)
        if s is None
        else (float(max(smallest, s - slack)), float(s + slack))
        for s in shown
    ]
    known = [(b[0], math.inf if b[1] is None else b[1]) for b in bounds]
    hidden = [i for i, s in enumerate(shown) if s is None]
    if not sums or not hidden:
        return known
    # Half a second to import, and only needed where something is hidden.
    import numpy as np
    from scipy.optimize import linprog

    matrix = np.zeros((len(sums), len(shown)))
    for row, one in enumerate(sums):
        matrix[row, list(one.cells)] = 1.0
    totals = np.array([one.total for one in sums], dtype=float)
    for place in hidden:
        ends = []
        for sign in (1.0, -1.0):
            goal = np.zeros(len(shown))
            goal[place] = sign
            found = linprog(goal, A_eq=matrix, b_eq=totals, bounds=bounds, method="highs")
            if found.status == 2:
                raise ValueError("the totals contradict the counts")
            ends.append(sign * found.fun if found.status == 0 else math.inf)
        known[place] = (ends[0], ends[1])
    return known


def suppressed(
    counts: Sequence[float],
    sums: Sequence[Sum],
    min_cell: int = MIN_CELL,
    step: int = STEP,
) -> list[bool]:
    """Which counts are hidden: the small ones, and those that would give a small one away.

    counts: true counts, at least 0. sums: what adds up to a known total. The smallest count that stands in
    a sum with one that is not safe is hidden next, so that little is lost. A count stays unsafe only
    where all that hangs together with it is hidden too.
    """
    hide = [is_small(c, min_cell) for c in counts]
    small = [i for i, hidden in enumerate(hide) if hidden]
    while small:
        shown = [None if h else rounded(c, step) for h, c in zip(hide, counts, strict=True)]
        known = attack(shown, sums, step)
        unsafe = {i for i in small if known[i][1] - known[i][0] < min_cell}
        beside = _beside(unsafe, hide, sums)
        if not beside:
            break
        hide[min(beside, key=lambda i: (counts[i], i))] = True
    return hide


def _beside(unsafe: set[int], hide: Sequence[bool], sums: Sequence[Sum]) -> set[int]:
    """Counts that are shown in a sum with an unsafe one; where all there are hidden, in a sum with those."""
    reached = set(unsafe)
    while reached:
        met = {cell for one in sums if reached & set(one.cells) for cell in one.cells}
        beside = {cell for cell in met if not hide[cell]}
        if beside or met <= reached:
            return beside
        reached |= met
    return reached


def of_one_total(counts: Sequence[float], min_cell: int = MIN_CELL, step: int = STEP) -> list[bool]:
    """`suppressed` where all counts are the parts of one total."""
    if not any(is_small(c, min_cell) for c in counts):
        return [False] * len(counts)
    whole = round(sum(counts))
    return suppressed(counts, [Sum(tuple(range(len(counts))), whole)], min_cell, step)


def margins(rows: int, columns: int, counts: Sequence[float]) -> list[Sum]:
    """The totals of a table's rows and columns; counts row by row."""
    lines = [
        *(tuple(range(row * columns, (row + 1) * columns)) for row in range(rows)),
        *(tuple(range(column, rows * columns, columns)) for column in range(columns)),
    ]
    return [Sum(line, round(sum(counts[cell] for cell in line))) for line in lines]


@dataclass(frozen=True)
class Hidden:
    """What is hidden at one place of the artifact, or in one table or figure.

    n_rows: rows that are left out, or emptied. n_values: single values that are null.
    """

    where: str
    n_rows: int
    n_values: int
    reason: str


@dataclass(frozen=True)
class Withheld:
    """A table, a figure or a file of a view that is left out as a whole."""

    view: str
    what: str
    reason: str


@dataclass(frozen=True)
class Masked:
    """How many values of a column go by another name, such as “value 7 of channel”."""

    column: str
    n_values: int


@dataclass(frozen=True)
class Publication:
    """What was done to a share-safe review before anybody saw it.

    rounded_to: what counts are shown to, and of what the counts behind rates are multiples.
    """

    min_cell: int
    rounded_to: int
    hidden: tuple[Hidden, ...] = ()
    left_out: tuple[Withheld, ...] = ()
    masked: tuple[Masked, ...] = ()
