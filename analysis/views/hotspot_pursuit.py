"""Which slices explain what is worse: one after another, each given those that were found before it.

In a release that breaks in several places every place is in the rest that the others are held against,
and every slice that shares rows with a broken one looks broken. So slices are taken up one by one
(forward selection; as in the matching pursuit of Mallat & Zhang 1993). Which of the found slices a row
lies in is its stratum, and a slice is tested against the rest of its rows' own strata: one inside a
found slice against the rest of that, one around it by what else it holds, and any other against rows that are in
none. Where nothing is found this is the test of the table. A level is worse than all of the rest at any rate.

Of the descriptions that fit, one is taken: that with the highest posterior probability where every depth
is as likely as any other, and each slice of a depth: the largest −log p − log(slices of its depth). Then
each is chosen anew given all others, and has to stand. A regression is a level too: those found are
taken up first among the levels, so that one cause has one description.

The k-th is taken while p ≤ 0.6·k·fdr/m, with m the tests of the whole family (Benjamini & Hochberg's line as
a step-down; of regressions k counts only themselves, for some slices always differ in level).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.stratified import pooled
from analysis.telemetry.slices import CellTable, SliceTable
from analysis.views.hotspot_family import Family
from analysis.views.hotspot_tests import Kind, Side, Sides, kind_p, log_variance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

MOST = 60
"""Findings of one metric and kind: more are no list that anybody reads."""
DESIGNED = 0.6
"""The share of fdr that is used: far out, counts of clusters have heavier tails than any test of them knows."""
_LOOK_AHEAD = 3
_TRIED = 24
_ALIKE = 0.2
_ROWS = 4
_EXACT_TO = 600.0  # p below exp(−600) is 0 in floats: there the normal approximation ranks


@dataclass(frozen=True)
class Finding:
    """A member of the family that was found; given all others: p, what it is after correction, and the
    ratio to what it was held against (∞ where that has nothing)."""

    member: int
    p: float
    q: float
    ratio: float


def pursue(family: Family, *, fdr: float, min_ratio: float, min_support: int) -> list[Finding]:
    """The findings of all metrics and kinds."""
    rolls = _Rolls(family.table, family.cells)

    def searches(kind: Kind) -> list[_Search]:
        metrics = range(len(family.pooled))
        return [_Search(family, rolls, m, kind, min_ratio, min_support) for m in metrics]

    regressions, levels = searches("regression"), searches("level")
    # Regressions have to stand without the levels, of which some are always found; levels among all.
    first = _advance(regressions, len(family.members), 0, fdr)
    for search, regression in zip(levels, regressions, strict=True):
        search.begin_with(regression)
    return [*first, *_advance(levels, len(family.members), len(first), fdr)]


def _advance(searches: Sequence[_Search], m: int, before: int, fdr: float) -> list[Finding]:
    """Takes slices up while they lie below the line, refines their descriptions, and drops those that
    then do not stand. m: tests; before: findings of other searches."""

    def line(k: int) -> float:
        return DESIGNED * fdr * (before + k) / max(m, 1)

    taken: list[tuple[_Search, int]] = []
    good = 0
    while True:
        offers = [(s, offer) for s in searches if (offer := s.offer()) is not None]
        if not offers:
            break
        search, (member, p) = min(offers, key=lambda o: (o[1][1], o[0].metric))
        if p > line(len(taken) + 1 + _LOOK_AHEAD):
            break
        search.take(member, p)
        taken.append((search, member))
        if p <= line(len(taken)):
            good = len(taken)
    for search, member in reversed(taken[good:]):
        search.give_back(member)
    for search in searches:
        search.refine()
    while True:
        ranked = sorted((p, s.metric, member) for s in searches for member, p in s.found)
        if not ranked or ranked[-1][0] <= line(len(ranked)):
            break
        # The least of them goes, and the others are judged without it.
        least = ranked[-1]
        next(s for s in searches if s.metric == least[1]).give_back(least[2])
        for search in searches:
            search.judge()
    out: list[Finding] = []
    q = 1.0
    for place, (p, metric, member) in reversed(list(enumerate(ranked, 1))):
        q = min(q, p * m / (before + place) / DESIGNED)
        ratio = next(s for s in searches if s.metric == metric).ratio(member)
        out.append(Finding(member, p, q, ratio))
    return out[::-1]


class _Rolls:
    """Sums of cells by slice, and which slices lie inside which.

    penalty: (K,), the logarithm of how many slices are as deep.
    """

    def __init__(self, table: SliceTable, cells: CellTable) -> None:
        self.table, self.cells = table, cells
        depth = (table.codes >= 0).sum(axis=1)
        self.penalty = np.log(np.maximum(np.bincount(depth), 1))[depth]
        fixed, group = np.unique(table.codes >= 0, axis=0, return_inverse=True)
        # The slice of each group that a cell lies in; where it has too little support, none: K.
        self._slices = np.full((len(cells.codes), len(fixed)), len(table.codes), dtype=np.int32)
        for place, which in enumerate(fixed):
            slices = np.flatnonzero(group.ravel() == place)
            keys = table.keys(table.codes[slices], which)
            order = np.argsort(keys)
            keys, own = keys[order], table.keys(cells.codes, which)
            at = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
            inside = keys[at] == own
            self._slices[inside, place] = slices[order][at[inside]]

    def sums(self, places: Ints, values: Floats) -> Floats:
        """(K, j): for each slice the sum of values (c, j) over these cells that lie in it."""
        size, groups = len(self.table.codes), self._slices.shape[1]
        slices = self._slices[places].ravel()
        out = np.zeros((size, values.shape[1]))
        for j in range(values.shape[1]):
            weights = np.repeat(values[:, j], groups)
            out[:, j] = np.bincount(slices, weights, size + 1)[:size]
        return out

    def within(self, above: int) -> npt.NDArray[np.bool_]:
        """(K,): slices that lie inside `above`, itself left out."""
        up = self.table.codes[above]
        inside: npt.NDArray[np.bool_] = ((up < 0) | (self.table.codes == up)).all(axis=1)
        inside[above] = False
        return inside

    def cells_of(self, index: int) -> Ints:
        """Places of a slice's cells."""
        return np.flatnonzero(self.cells.mask(self.table.codes[index]))


@dataclass
class _Held:
    """A slice that others are tested given. mark: in the strata of its rows. inside: (K,) what lies within
    it, cells: its cells. member: of the family, where it is a finding. fixed: another search found it,
    and it stays."""

    slice: int
    mark: np.int64
    inside: npt.NDArray[np.bool_]
    cells: Ints
    member: int | None
    p: float
    fixed: bool = False


class _Search:
    """The findings of one metric and kind.

    Counts are rows of (y, n of the candidate window, y, n of the baseline, the candidate's rows).
    """

    def __init__(
        self,
        family: Family,
        rolls: _Rolls,
        metric: int,
        kind: Kind,
        min_ratio: float,
        min_support: int,
    ) -> None:
        self.metric, self.kind = metric, kind
        self._family, self._rolls = family, rolls
        self._min_ratio, self._min_support = min_ratio, min_support
        self._pooled = family.pooled[metric]
        # What is better than the rest is not worse, whatever else is found.
        own = family.of(metric, kind)
        self._members = own[family.ratio[own] > 1]
        self._slices = family.slice[self._members]
        cells, table = family.cells, family.table
        y, n = cells.y[:, metric], cells.n[:, metric]
        self._cells = np.column_stack([y[:, 1], n[:, 1], y[:, 0], n[:, 0], cells.rows[:, 1]])
        y, n = table.sums["y"][:, metric], table.sums["n"][:, metric]
        self._whole = np.column_stack([y[:, 1], n[:, 1], y[:, 0], n[:, 0], table.rows[:, 1]])
        self._clean = self._whole.copy()
        self._outside = self._cells.sum(axis=0)
        self._cover = np.zeros(len(self._cells), dtype=np.int32)
        # The stratum of a cell: the marks of all slices that hold it, each taken once (exclusive or).
        self._strata = np.zeros(len(self._cells), dtype=np.int64)
        self._marks = np.random.default_rng(0)
        self._totals: tuple[npt.NDArray[np.int64], Floats] | None = None
        self._held: list[_Held] = []
        self._offer: tuple[int, float] | None = None
        self._stale = True

    @property
    def found(self) -> list[tuple[int, float]]:
        """The members found so far, and their p-values."""
        return [(h.member, h.p) for h in self._held if h.member is not None]

    def ratio(self, member: int) -> float:
        """A finding's value by what it is held against, given all others."""
        which = self._family.slice[[member]]
        own, rest = self._question(int(which[0]))
        return float(self._ratio(self._sides(own[None], rest[None], which))[0])

    def begin_with(self, other: _Search) -> None:
        """Holds the slices that another search found: they are looked at first, and others given them."""
        for member, _ in other.found:
            self._hold(int(self._family.slice[member]), None, 1.0, fixed=True)

    def offer(self) -> tuple[int, float] | None:
        """The member that is next, and its p-value given the others; None where there is none."""
        if self._stale:
            self._offer, self._stale = self._next(), False
        return self._offer

    def take(self, member: int, p: float) -> None:
        """Makes a member a finding."""
        index = int(self._family.slice[member])
        known = next((h for h in self._held if h.slice == index), None)
        if known is None:
            self._hold(index, member, p)
        else:
            known.member, known.p = member, p
        self._stale = True

    def give_back(self, member: int) -> None:
        """Makes it none again."""
        held = next(h for h in self._held if h.member == member)
        if held.fixed:
            held.member = None
        else:
            self._release(held)
        self._stale = True

    def refine(self) -> None:
        """Chooses each description anew, given all others, the strongest first."""
        for held in sorted(self._held, key=lambda h: (h.p, h.slice)):
            if held.member is None or held.fixed:
                continue
            as_it_was = self._clean, self._outside
            self._release(held)
            better = self._best(self._relatives(held))
            if better is None or int(self._family.slice[better[0]]) == held.slice:
                self._put_back(held, *as_it_was)
            else:
                self._hold(int(self._family.slice[better[0]]), *better)
        self.judge()

    def judge(self) -> None:
        """The p-value of each finding given all others."""
        own = [(h, h.member) for h in self._held if h.member is not None]
        p = self._exact([member for _, member in own])
        for (held, _), value in zip(own, p.tolist(), strict=True):
            held.p = value
        self._stale = True

    # ── what is held ─────────────────────────────────────────────────────────────────────

    def _hold(self, index: int, member: int | None, p: float, fixed: bool = False) -> None:
        within, cells = self._rolls.within(index), self._rolls.cells_of(index)
        mark = np.int64(self._marks.integers(1, 1 << 62))
        held = _Held(index, mark, within, cells, member, p, fixed)
        self._strata[cells] ^= mark
        self._totals = None
        new = held.cells[self._cover[held.cells] == 0]
        self._cover[held.cells] += 1
        self._clean = self._clean - self._rolls.sums(new, self._cells[new])
        self._outside = self._outside - self._cells[new].sum(axis=0)
        self._held.append(held)

    def _put_back(self, held: _Held, clean: Floats, outside: Floats) -> None:
        """Undoes a release."""
        self._strata[held.cells] ^= held.mark
        self._totals = None
        self._cover[held.cells] += 1
        self._clean, self._outside = clean, outside
        self._held.append(held)

    def _release(self, held: _Held) -> None:
        self._held = [h for h in self._held if h is not held]
        self._strata[held.cells] ^= held.mark
        self._totals = None
        self._cover[held.cells] -= 1
        free = held.cells[self._cover[held.cells] == 0]
        self._clean = self._clean + self._rolls.sums(free, self._cells[free])
        self._outside = self._outside + self._cells[free].sum(axis=0)

    # ── choosing ─────────────────────────────────────────────────────────────────────────

    def _next(self) -> tuple[int, float] | None:
        if len(self.found) >= MOST:
            return None
        held = [h.slice for h in self._held]
        silent = [h.slice for h in self._held if h.member is None]
        best = self._best(self._members[~np.isin(self._slices, held)])
        again = self._members[np.isin(self._slices, silent)].tolist()
        # What regressed is told as a level in the same words.
        for member, p in zip(again, self._exact(again).tolist(), strict=True):
            if best is None or p < best[1]:
                best = member, p
        return best

    def _relatives(self, held: _Held) -> Ints:
        """Members that are no findings, and share a fifth of the rows of both with a slice."""
        inside = self._rolls.sums(held.cells, self._cells[held.cells][:, [_ROWS]])[:, 0]
        rows = self._whole[:, _ROWS]
        alike = inside >= _ALIKE * (rows + rows[held.slice] - inside)
        taken = [h.slice for h in self._held]
        alike[taken] = False
        return self._members[alike[self._slices]]

    def _best(self, members: Ints) -> tuple[int, float] | None:
        """Of these members the most probable description of what is worse, and its p-value."""
        if not len(members):
            return None
        z = self._z(members)
        worth = np.flatnonzero(z > 2.0)
        if not len(worth):
            return None
        penalty = self._rolls.penalty[self._family.slice[members]]
        rough = z**2 / 2 - penalty
        some = worth[np.argsort(-rough[worth], kind="stable")[:_TRIED]]
        p = self._exact(members[some].tolist())
        with np.errstate(divide="ignore"):
            evidence = np.where(z[some] ** 2 / 2 > _EXACT_TO, z[some] ** 2 / 2, -np.log(p))
        best = int(np.argmax(np.round(evidence - penalty[some], 9)))
        return int(members[some[best]]), float(p[best])

    def _z(self, members: Ints) -> Floats:
        """About how many standard errors each member is worse than what it is held against."""
        which = self._family.slice[members]
        nested = np.zeros(len(which), dtype=bool)
        worst = np.full(len(which), np.inf)
        for held in self._held:
            inside = held.inside[which]
            nested |= inside
            at = np.flatnonzero(inside)
            own = self._whole[which[at]]
            z = self._approximate(own, self._whole[held.slice] - own, which[at])
            worst[at] = np.minimum(worst[at], z)
        at = np.flatnonzero(~nested)
        own = self._clean[which[at]]
        worst[at] = self._approximate(own, self._outside - own, which[at])
        return worst

    def _approximate(self, own: Floats, rest: Floats, which: Ints) -> Floats:
        """z by the delta method on the log scale; −∞ where a ratio is too small or rows too few."""
        with np.errstate(invalid="ignore", divide="ignore"):
            held = self._sides(own, rest, which)
            sides = [held.own1, held.own0, held.rest1, held.rest0]
            log = [np.log(np.maximum(s.y, 0.5) / s.n) for s in sides]
            variance = [log_variance(self._pooled, s) for s in sides]
            ratio = log[0] - log[2]
            z = ratio / np.sqrt(variance[0] + variance[2])
            if self.kind == "regression":
                ratio = ratio - log[1] + log[3]
                z = np.minimum(
                    ratio / np.sqrt(variance[0] + variance[1] + variance[2] + variance[3]),
                    (log[0] - log[1]) / np.sqrt(variance[0] + variance[1]),
                )
        fits = (ratio >= math.log(self._min_ratio)) & (own[:, _ROWS] >= self._min_support)
        return np.where(fits & np.isfinite(z), z, -np.inf)

    # ── testing ──────────────────────────────────────────────────────────────────────────

    def _exact(self, members: Sequence[int]) -> Floats:
        """p-values of members given what else is held; 1 where a ratio is too small, or rows are too few."""
        if not members:
            return np.zeros(0)
        which = self._family.slice[list(members)]
        asked = [self._question(int(index)) for index in which]
        own, rest = np.array([a[0] for a in asked]), np.array([a[1] for a in asked])
        sides = self._sides(own, rest, which)
        low = ~(self._ratio(sides) >= self._min_ratio) | (own[:, _ROWS] < self._min_support)
        values = kind_p(self._pooled, self.kind, sides)
        return np.where(np.isnan(values) | low, 1.0, values)

    def _ratio(self, sides: Sides) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: Floats = sides.own1.mean / sides.reference(self.kind)
        return ratio

    def _question(self, index: int) -> tuple[Floats, Floats]:
        """A slice's counts, and those that it is held against: what all strata are worth.

        It may itself be held.
        """
        strata, totals = self._by_stratum()
        cells = self._rolls.cells_of(index)
        itself = next((h for h in self._held if h.slice == index), None)
        at = self._strata[cells] if itself is None else self._strata[cells] ^ itself.mark
        place = np.minimum(np.searchsorted(strata, at), len(strata) - 1)
        known = strata[place] == at
        place, cells = place[known], cells[known]
        own = _added(place, self._cells[cells], len(strata))
        rest = totals - own if itself is None else totals
        counts = np.zeros(5), np.zeros(5)
        for win in (1, 0):
            y, n = 2 - 2 * win, 3 - 2 * win
            worth = pooled(
                own[:, y], own[:, n], rest[:, y], rest[:, n], counts=self._pooled.is_rate
            )
            counts[0][[y, n]] = worth.y, worth.n
            counts[1][[y, n]] = worth.rest_y, worth.rest_n
        counts[0][_ROWS] = own[rest[:, _ROWS] > 0, _ROWS].sum()
        return counts

    def _by_stratum(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """The strata, ascending, and what each holds."""
        if self._totals is None:
            strata, place = np.unique(self._strata, return_inverse=True)
            self._totals = strata, _added(place.ravel(), self._cells, len(strata))
        return self._totals

    def _sides(self, own: Floats, rest: Floats, which: Ints) -> Sides:
        """Counts as sides of a test; clusters and costs vary as in the slice, and in its rest."""
        known = self._family.sides[self.metric].at(which)

        def side(counts: Floats, win: int, like: Side) -> Side:
            return Side(counts[:, 2 - 2 * win], counts[:, 3 - 2 * win], like.deff, like.cv2)

        return Sides(
            side(own, 1, known.own1),
            side(own, 0, known.own0),
            side(rest, 1, known.rest1),
            side(rest, 0, known.rest0),
        )


def _added(place: Ints, values: Floats, size: int) -> Floats:
    """(size, j): sums of values (c, j) by place."""
    return np.column_stack([np.bincount(place, values[:, j], size) for j in range(values.shape[1])])
