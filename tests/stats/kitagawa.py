"""Why a rate changed, cell by cell and without arrays: what `stats.decomposition` is held against.

Likewise the pooling of small cells in plain Python: what the engine's is held against.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from analysis.telemetry.cell_kinds import MIN_ACTION_ROWS

Context = Hashable
Action = Hashable
OTHER = ("other",)
NEW, GONE = ("other", "new"), ("other", "gone")
"""Actions of what is small in its context: in both windows, in the candidate alone, in the baseline alone."""


@dataclass(frozen=True)
class Cell:
    """Labelled rows `n` and bad rows `y` of one context and action, in each window.

    rows: unweighted labelled rows of each window, which decide whether the cell stands alone;
    None where they equal `n`. Pairs are (baseline, candidate).
    """

    n: tuple[float, float]
    y: tuple[float, float]
    rows: tuple[int, int] | None = None

    def __add__(self, other: Cell) -> Cell:
        a, b = self.support, other.support
        return Cell(
            (self.n[0] + other.n[0], self.n[1] + other.n[1]),
            (self.y[0] + other.y[0], self.y[1] + other.y[1]),
            (a[0] + b[0], a[1] + b[1]),
        )

    @property
    def support(self) -> tuple[int, int]:
        """Unweighted rows of each window."""
        return self.rows if self.rows is not None else (int(self.n[0]), int(self.n[1]))


@dataclass(frozen=True)
class RateChange:
    """total = mix_context + mix_action + within; mix is the first two. All in units of the rate."""

    total: float
    mix: float
    mix_context: float
    mix_action: float
    within: float
    n_cells: int


def pool_small_cells(
    cells: Mapping[tuple[Context, Action], Cell],
    min_rows: int = 50,
    min_action_rows: int = MIN_ACTION_ROWS,
) -> dict[tuple[Context, Action], Cell]:
    """`cells` with small contexts pooled into one, and in the others small actions pooled by context.

    A context is small under `min_rows` in either window, an action of it under `min_action_rows`. So
    no action leaves its context, whose share stays what it is: in one pool for all cells, routing to
    or from small ones would be told as a change of traffic. What one window lacks altogether, and is
    large enough in the other, stays: it is a change of mix, which a pool would hide; small ones of
    that kind pool among themselves. Cells without a row in either window are left out.
    """
    rows: dict[Context, list[int]] = {}
    for (context, _), cell in cells.items():
        held = rows.setdefault(context, [0, 0])
        for w in (0, 1):
            held[w] += cell.support[w]
    kept: dict[tuple[Context, Action], Cell] = {}
    for key in sorted(cells, key=repr):
        cell = cells[key]
        if max(cell.support) <= 0:
            continue
        if not _is_large(rows[key[0]], min_rows):
            key = (OTHER, OTHER)
        elif not _is_large(cell.support, min(min_action_rows, min_rows)):
            action = NEW if not cell.support[0] else GONE if not cell.support[1] else OTHER
            key = (key[0], action)
        kept[key] = kept[key] + cell if key in kept else cell
    return kept


def _is_large(rows: Sequence[int], least: int) -> bool:
    """Enough rows in each window that has any."""
    return max(rows) > 0 and all(n >= least or n == 0 for n in rows)


def decompose_rate_change(
    cells: Mapping[tuple[Context, Action], Cell], min_rows: int = 50
) -> RateChange | None:
    """The change of a rate as a sum of effects with midpoint weights (Kitagawa 1955).

    With cell shares P_w(x, a) = s_w(x) q_w(a|x), rates r_w, and bars for midpoints of the windows:
    within = Σ P̄ Δr, mix_context = Σ_x Δs Σ_a q̄ r̄, mix_action = Σ_x s̄ Σ_a Δq r̄. They add up
    exactly. A cell that one window lacks takes the other's rate (no effect within), a context that
    one window lacks takes the other's routing (no effect of the action).

    Returns None where a window has no labelled row.
    """
    used = pool_small_cells(cells, min_rows)
    total_n = [math.fsum(c.n[w] for c in used.values()) for w in (0, 1)]
    if min(total_n, default=0.0) <= 0:
        return None
    total_y = [math.fsum(c.y[w] for c in used.values()) for w in (0, 1)]
    contexts: dict[Context, list[tuple[Context, Action]]] = {}
    for key in used:
        contexts.setdefault(key[0], []).append(key)
    by_context, by_action, within = [], [], []
    for keys in contexts.values():
        size = [math.fsum(used[k].n[w] for k in keys) for w in (0, 1)]
        share = [size[w] / total_n[w] for w in (0, 1)]
        for key in keys:
            cell = used[key]
            rate = _pair(cell.y, cell.n)
            routed = _pair(cell.n, (size[0], size[1]))
            midpoint = (rate[0] + rate[1]) / 2
            by_context.append((share[1] - share[0]) * (routed[0] + routed[1]) / 2 * midpoint)
            by_action.append((share[0] + share[1]) / 2 * (routed[1] - routed[0]) * midpoint)
            weight = (cell.n[0] / total_n[0] + cell.n[1] / total_n[1]) / 2
            within.append(weight * (rate[1] - rate[0]))
    mix_context, mix_action = math.fsum(by_context), math.fsum(by_action)
    return RateChange(
        total=total_y[1] / total_n[1] - total_y[0] / total_n[0],
        mix=mix_context + mix_action,
        mix_context=mix_context,
        mix_action=mix_action,
        within=math.fsum(within),
        n_cells=len(used),
    )


def _pair(part: tuple[float, float], whole: tuple[float, float]) -> tuple[float, float]:
    """part/whole in both windows; a window without `whole` takes the other's ratio."""
    known = [part[w] / whole[w] if whole[w] > 0 else None for w in (0, 1)]
    first, second = known
    if first is None:
        first = second
    if second is None:
        second = first
    return (first or 0.0, second or 0.0)
