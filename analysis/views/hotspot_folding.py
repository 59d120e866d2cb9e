"""Folding: what is left of a slice given a stronger one, and the depth at which a finding lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.telemetry.slices import CellTable, SliceTable
from analysis.views.hotspot_tests import Kind, Pooled, Side, Sides, kind_p

_FIRST_BATCH, _LARGEST_BATCH = 16, 512
_ROWS = 4


@dataclass(frozen=True)
class Member:
    """One member of the family: a slice, a metric, a kind."""

    slice: int
    metric: int
    kind: Kind


@dataclass(frozen=True)
class _Question:
    """Whether the rows of a member that are left differ from each of some references: their counts."""

    member: Member
    own: np.ndarray
    references: tuple[np.ndarray, ...]


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
    _values: dict[int, np.ndarray] = field(default_factory=dict)

    def keep(self, rejected: np.ndarray) -> np.ndarray:
        """Indices of the members that are left, ascending."""
        families: dict[tuple[int, Kind], list[int]] = {}
        for index in sorted(rejected.tolist(), key=self._rank):
            member = self.members[index]
            families.setdefault((member.metric, member.kind), []).append(index)
        return np.array(
            sorted(index for order in families.values() for index in self._kept(order)),
            dtype=np.intp,
        )

    def _kept(self, order: Sequence[int]) -> list[int]:
        """Members of one metric and kind that stand, in their order.

        Between two that stand, all are judged given the same kept slices: so many at once.
        """
        kept: list[int] = []
        masks = np.zeros((len(self.cells.rows), 0), dtype=bool)
        start, size = 0, _FIRST_BATCH
        while start < len(order):
            batch = order[start : start + size]
            slices = [self.members[k].slice for k in kept]
            stands = self._stand([self.members[i] for i in batch], slices, masks)
            first = int(np.argmax(stands)) if stands.any() else len(batch)
            if first < len(batch):
                kept.append(batch[first])
                own = self.cells.mask(self.table.codes[self.members[batch[first]].slice])
                masks = np.column_stack([masks, own])
            start += first + 1 if first < len(batch) else first
            size = _FIRST_BATCH if first < len(batch) else min(2 * size, _LARGEST_BATCH)
        return kept

    def settle(self, kept: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        """Puts each finding at the depth where it lives.

        A kept slice gives way to a rejected parent when the rest of the parent is as bad: nearer
        to the slice than to the reference, and not clearly below the slice.
        """
        chosen: list[int] = []
        by_depth = sorted(rejected.tolist(), key=lambda i: (self._depth(i), self._rank(i)))
        above = self.table.codes[[self.members[i].slice for i in by_depth]]
        for index in sorted(kept.tolist(), key=self._rank):
            best = index
            below = self.table.codes[self.members[index].slice]
            for place in np.flatnonzero(((above < 0) | (above == below)).all(axis=1)):
                other = by_depth[place]
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

    def _stand(
        self, members: Sequence[Member], kept: Sequence[int], masks: np.ndarray
    ) -> np.ndarray:
        """Which members of a metric and kind stand given the kept slices and their masks (C, k)."""
        stands = np.zeros(len(members), dtype=bool)
        open_: dict[int, _Question] = {}
        outside = self._counts(members[0].metric, np.flatnonzero(~masks.any(axis=1)))
        for place, member in enumerate(members):
            question = self._question(member, kept, masks, outside)
            if question is None:
                stands[place] = True
            elif question.own[_ROWS] >= self.min_support:
                open_[place] = question
        number = 0
        while open_:
            # One reference of each at a time: the first that does not differ decides.
            for place in [p for p, q in open_.items() if number == len(q.references)]:
                stands[place] = True
                del open_[place]
            differs = (
                self._p([(q.member, q.own, q.references[number]) for q in open_.values()])
                <= self.level
            )
            open_ = {place: q for (place, q), ok in zip(open_.items(), differs, strict=True) if ok}
            number += 1
        return stands

    def _question(
        self, member: Member, kept: Sequence[int], masks: np.ndarray, outside: np.ndarray
    ) -> _Question | None:
        """What a member has to differ from; None where it overlaps no kept slice.

        outside: counts of what lies in no kept slice.
        """
        own = np.flatnonzero(self.cells.mask(self.table.codes[member.slice]))
        shared = masks[own]
        overlaps, holds_all = shared.any(axis=0), shared.all(axis=0)
        if not overlaps.any():
            return None
        whole = self._slice_counts(member.metric, member.slice)
        counts, others = whole, overlaps & ~holds_all
        if others.any():
            counts = self._counts(member.metric, own[~shared[:, others].any(axis=1)])
        # A parent holds all of the slice; what is left of it without parents lies in none kept.
        parents = [kept[k] for k in np.flatnonzero(holds_all).tolist()]
        references = [self._slice_counts(member.metric, k) - whole for k in parents]
        return _Question(member, counts, tuple(references or [outside - counts]))

    def _is_parent(self, parent: int, child: int) -> bool:
        a, b = self.members[parent], self.members[child]
        if a.metric != b.metric or a.kind != b.kind or a.slice == b.slice:
            return False
        up, down = self.table.codes[a.slice], self.table.codes[b.slice]
        return bool(((up < 0) | (up == down)).all())

    def _equally_bad(self, parent: int, child: int) -> bool:
        member, metric = self.members[child], self.members[child].metric
        inside = self._slice_counts(metric, member.slice)
        above = self._slice_counts(metric, self.members[parent].slice)
        remainder = above - inside
        outside = self._all(metric) - above
        if remainder[_ROWS] < self.min_support:
            return False
        score = [self._figure(member.kind, counts) for counts in (inside, remainder, outside)]
        if any(np.isnan(score)) or score[1] - score[2] < 0.5 * (score[0] - score[2]):
            return False
        return bool(self._p([(member, inside, remainder)])[0] > 0.05)

    def _figure(self, kind: Kind, counts: np.ndarray) -> float:
        y1, n1, y0, n0, _ = counts
        with np.errstate(invalid="ignore", divide="ignore"):
            now = y1 / n1
            return float(now if kind == "level" else now / (y0 / n0))

    def _cell_counts(self, metric: int) -> np.ndarray:
        if metric not in self._values:
            y, n = self.cells.y[:, metric], self.cells.n[:, metric]
            self._values[metric] = np.column_stack(
                [y[:, 1], n[:, 1], y[:, 0], n[:, 0], self.cells.rows[:, 1]]
            )
        return self._values[metric]

    def _counts(self, metric: int, places: np.ndarray) -> np.ndarray:
        """y and n of cells in the candidate window and in the baseline, and the candidate's rows."""
        total: np.ndarray = self._cell_counts(metric)[places].sum(axis=0)
        return total

    def _slice_counts(self, metric: int, index: int) -> np.ndarray:
        """The same of a slice."""
        y, n = self.table.sums["y"][index, metric], self.table.sums["n"][index, metric]
        return np.array([y[1], n[1], y[0], n[0], self.table.rows[index, 1]])

    def _all(self, metric: int) -> np.ndarray:
        total: np.ndarray = self._cell_counts(metric).sum(axis=0)
        return total

    def _p(self, cases: Sequence[tuple[Member, np.ndarray, np.ndarray]]) -> np.ndarray:
        """p-values of counts against references: (member, own, reference), of one family."""
        if not cases:
            return np.zeros(0)
        member = cases[0][0]
        p = self.pooled[member.metric]
        where = np.array([m.slice for m, _, _ in cases])
        own = np.array([inside for _, inside, _ in cases])
        rest = np.array([reference for _, _, reference in cases])
        sides = Sides(
            *(self._side(member.metric, c, where, win) for c in (own, rest) for win in (1, 0))
        )
        values = kind_p(p, member.kind, sides)
        return np.where(np.isnan(values), 1.0, values)

    def _side(self, metric: int, counts: np.ndarray, where: np.ndarray, win: int) -> Side:
        """Counts of sets of cells; clusters as large as in the members' slices."""
        p = self.pooled[metric]
        y, n = counts[:, 2 - 2 * win], counts[:, 3 - 2 * win]
        own_n = self.table.sums["n"][where, metric, win]
        own_nn = self.table.sums["nn"][where, metric, win]
        ratio = np.divide(own_nn, own_n, out=np.ones(len(where)), where=own_n != 0)
        deff = np.maximum(1.0, 1.0 + (ratio - 1.0) * p.rho[win])
        return Side(y, n, deff, np.full(len(where), p.cv2[win]))
