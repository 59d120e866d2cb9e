"""The tests behind the hotspots: levels, regressions, and what is left of a slice given another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from analysis.stats.intervals import design_effect
from analysis.stats.tails import (
    LogTerm,
    interval,
    log_gamma_terms,
    mean_level_test,
    mean_regression_test,
    rate_level_test,
    rate_regression_test,
    rate_terms,
)
from analysis.telemetry.moments import Moments
from analysis.telemetry.slices import CellTable, SliceTable

Kind = Literal["level", "regression"]
CONDITIONAL_SHARE = 0.01


@dataclass(frozen=True)
class Pooled:
    """What is taken from a whole window: ρ for rates, squared variation of a row's share for means."""

    is_rate: bool
    rho: tuple[float, float]
    cv2: tuple[float, float]
    totals_n: tuple[float, float]
    totals_y: tuple[float, float]
    totals_nn: tuple[float, float]
    bad_per_row: float


def pooled(m: Moments, is_rate: bool, rho: tuple[float, float]) -> Pooled:
    """Pooled figures of one metric, (baseline, candidate)."""
    windows = (m.baseline, m.candidate)
    cv2 = []
    for w in windows:
        mean = w.y / w.n if w.n else 0.0
        spread = w.yy - 2 * mean * w.ny + mean * mean * w.nn
        cv2.append(max(float(spread) * w.n / float(w.y) ** 2, 1e-12) if w.y else 1.0)
    # Weights balance weekdays, and make no row more than one.
    y = sum(
        w.y / w.n * rows
        for w, rows in zip(windows, (m.support_baseline, m.support_candidate), strict=True)
        if w.n
    )
    bad = m.baseline.bad_clusters + m.candidate.bad_clusters
    return Pooled(
        is_rate,
        rho,
        (cv2[0], cv2[1]),
        (float(windows[0].n), float(windows[1].n)),
        (float(windows[0].y), float(windows[1].y)),
        (float(windows[0].nn), float(windows[1].nn)),
        min(1.0, bad / y) if y else 1.0,
    )


@dataclass(frozen=True)
class Side:
    """Counts of m sets of rows in one window: numerator, rows, design effect or variation."""

    y: np.ndarray
    n: np.ndarray
    deff: np.ndarray
    cv2: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.y / self.n


def level_p(p: Pooled, own: Side, rest: Side) -> np.ndarray:
    """One-sided p-values of own above rest."""
    if p.is_rate:
        return rate_level_test(own.y, own.n, own.deff, rest.y, rest.n, rest.deff)
    return mean_level_test(own.mean, own.n, own.cv2, rest.mean, rest.n, rest.cv2)


def regression_p(p: Pooled, own1: Side, own0: Side, rest1: Side, rest0: Side) -> np.ndarray:
    """One-sided p-values of a slice that worsened, and by more than the rest.

    The larger of two (an intersection–union test: Berger 1982): against the rest's change, and
    against the slice's own baseline. Where another slice heals, the rest improves; what only stayed
    as it was has not worsened.
    """
    return np.maximum(_against_rest(p, own1, own0, rest1, rest0), level_p(p, own1, own0))


def _against_rest(p: Pooled, own1: Side, own0: Side, rest1: Side, rest0: Side) -> np.ndarray:
    if p.is_rate:
        return rate_regression_test(
            own1.y,
            own1.n,
            own1.deff,
            own0.y,
            own0.n,
            own0.deff,
            rest1.y,
            rest1.n,
            rest1.deff,
            rest0.y,
            rest0.n,
            rest0.deff,
        )
    return mean_regression_test(
        own1.mean,
        own1.n,
        own1.cv2,
        own0.mean,
        own0.n,
        own0.cv2,
        rest1.mean,
        rest1.n,
        rest1.cv2,
        rest0.mean,
        rest0.n,
        rest0.cv2,
    )


def slice_sides(table: SliceTable, p: Pooled, metric: int, win: int) -> tuple[Side, Side]:
    """Each slice and its rest in one window."""
    s = {name: values[:, metric, win] for name, values in table.sums.items()}
    own_deff = _deff(s["n"], s["nn"], p.rho[win])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = s["y"] / s["n"]
        spread = s["yy"] - 2 * mean * s["ny"] + mean**2 * s["nn"]
        own_cv2 = np.nan_to_num(spread * s["n"] / s["y"] ** 2, nan=0.0, posinf=0.0)
    n_rest = p.totals_n[win] - s["n"]
    y_rest = p.totals_y[win] - s["y"]
    whole = design_effect(p.totals_n[win], p.totals_nn[win], p.rho[win])
    shape = s["n"].shape
    own = Side(s["y"], s["n"], own_deff, np.maximum(own_cv2, p.cv2[win]))
    rest = Side(y_rest, n_rest, np.full(shape, whole), np.full(shape, p.cv2[win]))
    return own, rest


def _deff(n: np.ndarray, nn: np.ndarray, rho: float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(n > 0, nn / n, 1.0)
    return np.maximum(1.0, 1.0 + (ratio - 1.0) * rho)


@dataclass(frozen=True)
class Member:
    """One member of the family: a slice, a metric, a kind."""

    slice: int
    metric: int
    kind: Kind


@dataclass
class Folder:
    """Folds a slice under a stronger one that explains it (STATISTICS section 6).

    Members are taken by ascending p. One is kept when, without the rows of the kept slices that it
    overlaps, it still differs from its reference; and, where it lies inside a kept slice, when it
    still differs from the rest of that slice. The order makes the outcome for a smaller set of
    members a part of that for a larger one, which is what focused BH needs to be quick.
    """

    table: SliceTable
    cells: CellTable
    pooled: Sequence[Pooled]
    members: Sequence[Member]
    p: np.ndarray
    level: float
    min_support: int
    _masks: dict[int, np.ndarray] = field(default_factory=dict)

    def keep(self, rejected: np.ndarray) -> np.ndarray:
        """Indices of the members that are left, ascending."""
        order = sorted(rejected.tolist(), key=self._rank)
        kept: list[int] = []
        for index in order:
            member = self.members[index]
            others = [
                self.members[k].slice
                for k in kept
                if self.members[k].metric == member.metric and self.members[k].kind == member.kind
            ]
            if self._stands(member, others):
                kept.append(index)
        return np.array(sorted(kept), dtype=np.intp)

    def settle(self, kept: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        """Puts each finding at the depth where it lives.

        A kept slice gives way to a rejected parent when the rest of the parent is as bad: nearer
        to the slice than to the reference, and not clearly below the slice.
        """
        chosen: list[int] = []
        for index in sorted(kept.tolist(), key=self._rank):
            best = index
            for other in sorted(rejected.tolist(), key=lambda i: (self._depth(i), self._rank(i))):
                if self._is_parent(other, index) and self._equally_bad(other, index):
                    best = other
                    break
            if best not in chosen:
                chosen.append(best)
        final: list[int] = []
        for index in sorted(chosen, key=lambda i: (self._depth(i), self._rank(i))):
            nested = [
                k
                for k in final
                if self.members[k].metric == self.members[index].metric
                and self.members[k].kind == self.members[index].kind
                and self._is_parent(k, index)
                and index not in kept
            ]
            if not nested:
                final.append(index)
        return np.array(sorted(final), dtype=np.intp)

    def _rank(self, index: int) -> tuple[float, int, tuple[tuple[bool, int], ...]]:
        member = self.members[index]
        codes = self.table.codes[member.slice]
        # Among slices of the same rows the first dimension of the policy gives the name.
        return float(self.p[index]), self._depth(index), tuple((c < 0, c) for c in codes.tolist())

    def _depth(self, index: int) -> int:
        return int((self.table.codes[self.members[index].slice] >= 0).sum())

    def _mask(self, index: int) -> np.ndarray:
        if index not in self._masks:
            self._masks[index] = self.cells.mask(self.table.codes[index])
        return self._masks[index]

    def _stands(self, member: Member, kept: Sequence[int]) -> bool:
        own = self._mask(member.slice)
        overlapping = [k for k in kept if bool((own & self._mask(k)).any())]
        if not overlapping:
            return True
        parents = [k for k in overlapping if not bool((own & ~self._mask(k)).any())]
        others = [k for k in overlapping if k not in parents]
        left = own.copy()
        for k in others:
            left &= ~self._mask(k)
        if self.cells.rows[left, 1].sum() < self.min_support:
            return False
        union = left.copy()
        for k in kept:
            union |= self._mask(k)
        references = [self._mask(k) & ~own for k in parents] or [~union]
        return all(self._p(member, left, reference) <= self.level for reference in references)

    def _is_parent(self, parent: int, child: int) -> bool:
        a, b = self.members[parent], self.members[child]
        if a.metric != b.metric or a.kind != b.kind or a.slice == b.slice:
            return False
        up, down = self.table.codes[a.slice], self.table.codes[b.slice]
        return bool(((up < 0) | (up == down)).all())

    def _equally_bad(self, parent: int, child: int) -> bool:
        member = self.members[child]
        inside = self._mask(member.slice)
        remainder = self._mask(self.members[parent].slice) & ~inside
        outside = ~self._mask(self.members[parent].slice)
        if self.cells.rows[remainder, 1].sum() < self.min_support:
            return False
        score = [self._figure(member, where) for where in (inside, remainder, outside)]
        if any(np.isnan(score)) or score[1] - score[2] < 0.5 * (score[0] - score[2]):
            return False
        return self._p(member, inside, remainder) > 0.05

    def _figure(self, member: Member, where: np.ndarray) -> float:
        m = member.metric
        with np.errstate(invalid="ignore", divide="ignore"):
            now = self.cells.y[where, m, 1].sum() / self.cells.n[where, m, 1].sum()
            if member.kind == "level":
                return float(now)
            return float(now / (self.cells.y[where, m, 0].sum() / self.cells.n[where, m, 0].sum()))

    def _p(self, member: Member, own: np.ndarray, reference: np.ndarray) -> float:
        p = self.pooled[member.metric]
        sides = [self._side(member, where, win) for where in (own, reference) for win in (1, 0)]
        own1, own0, rest1, rest0 = sides
        if member.kind == "level":
            value = level_p(p, own1, rest1)
        else:
            value = regression_p(p, own1, own0, rest1, rest0)
        return 1.0 if np.isnan(value[0]) else float(value[0])

    def _side(self, member: Member, where: np.ndarray, win: int) -> Side:
        """Counts of a set of cells; clusters as large as in the member's slice."""
        m, p = member.metric, self.pooled[member.metric]
        n = self.cells.n[where, m, win].sum()
        y = self.cells.y[where, m, win].sum()
        own_n = self.table.sums["n"][member.slice, m, win]
        ratio = self.table.sums["nn"][member.slice, m, win] / own_n if own_n else 1.0
        deff = max(1.0, 1.0 + (ratio - 1.0) * p.rho[win])
        return Side(np.array([y]), np.array([n]), np.array([deff]), np.array([p.cv2[win]]))


# ── intervals ────────────────────────────────────────────────────────────────────────────


def _term(p: Pooled, counts: Side, side: int, sign: int) -> LogTerm:
    if p.is_rate:
        return rate_terms(counts.y, counts.n, counts.deff, side, sign)
    return log_gamma_terms(counts.n / counts.cv2, counts.mean, sign)


def figure_limits(
    p: Pooled, parts: Sequence[tuple[Side, int]], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of a product of rates or means, each to the power ±1, on the original scale."""
    lower = [_term(p, counts, -sign, sign) for counts, sign in parts]
    upper = [_term(p, counts, sign, sign) for counts, sign in parts]
    low, high = interval(lower, upper, confidence)
    return np.exp(low), np.exp(np.minimum(high, 700.0))
