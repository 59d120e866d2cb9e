"""Why a rate or a mean changed, with what each row adds to each part (STATISTICS section 8).

The parts have midpoint weights (Kitagawa 1955). With cell shares P_w(x, a) = s_w(x) q_w(a|x), rates r_w, and
bars for midpoints of the windows: within = Σ P̄ Δr, mix_context = Σ_x Δs Σ_a q̄ r̄, mix_action = Σ_x s̄ Σ_a Δq r̄.
A cell that one window lacks takes the other's rate (no effect within), a context that one window lacks
takes the other's routing (no effect of the action). They come linearised (`stats.influence`), so that each
has an interval; the derivatives follow by the chain rule from those of shares, routing and rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.influence import Floats, Linearised

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CellSums:
    """Rows and outcomes of K cells, (2, K) each, baseline first; context: (K,) codes from 0."""

    n: Floats
    y: Floats
    context: Ints

    @property
    def known(self) -> bool:
        """Whether both windows have a row."""
        return bool((self.n.sum(axis=1) > 0).all())


@dataclass(frozen=True)
class Decomposition:
    """total = mix_context + mix_action + within; `mix` is the first two."""

    total: Linearised
    mix_context: Linearised
    mix_action: Linearised
    within: Linearised

    @property
    def mix(self) -> Linearised:
        return self.mix_context + self.mix_action


@dataclass(frozen=True)
class Effects:
    """What each group adds to a change: through its share, and through its own rate; (G,) each.

    share, rate: (2, G); a rate is nan where the window lacks the group.
    """

    mix: Floats
    within: Floats
    share: Floats
    rate: Floats


@dataclass(frozen=True)
class Reweighted:
    """The baseline's own rates in the candidate's traffic.

    known: Σ of candidate shares × baseline rates over the groups that the baseline has. unknown: the
    share of the candidate's rows in groups that it lacks. value: known/(1 − unknown), the rate over
    what is known; None where nothing is.
    """

    known: Linearised
    unknown: Linearised
    value: Linearised | None

    def at(self, rate: float) -> Linearised:
        """The rate in all of the candidate's traffic, if it is `rate` wherever the baseline lacks one."""
        return self.known + self.unknown.times(rate)


def decompose(cells: CellSums) -> Decomposition:
    """The change of Σ y/Σ n between the windows, exactly. Needs rows in both windows.

    Mix and within (pp or USD): a change of a rate or cost split exactly into what the new mix of traffic and
    routing did (mix) and what changed at an equal mix (within). Source: Kitagawa 1955.
    """
    n, y, of = cells.n, cells.y, cells.context
    size = _by_group(n, of)
    total = n.sum(axis=1, keepdims=True)
    share, routed, rate = size / total, _ratio(n, size[:, of]), _ratio(y, n)
    s, q, r = share[:, of], routed, rate
    middle = r.mean(axis=0)
    kept = q.mean(axis=0)
    by_context = _by_group(kept * middle, of)
    by_action = _by_group((q[1] - q[0]) * middle, of)
    weight = (n / total).mean(axis=0)
    sign = np.array([[-1.0], [1.0]])
    nothing = np.zeros_like(n)
    s_change, s_middle = s[1] - s[0], s.mean(axis=0)
    q_change, r_change = q[1] - q[0], r[1] - r[0]
    parts = _Chain(n, of, total, size, share, q, r)
    return Decomposition(
        total=_rate(n, y, 1) - _rate(n, y, 0),
        mix_context=Linearised(
            float(((share[1] - share[0]) * by_context).sum()),
            *parts.linear(
                sign * by_context,
                _both(s_change * middle / 2),
                _both(s_change * kept / 2),
                nothing,
            ),
        ),
        mix_action=Linearised(
            float((share.mean(axis=0) * by_action).sum()),
            *parts.linear(
                _both(by_action / 2), sign * s_middle * middle, _both(s_middle * q_change / 2), nothing
            ),
        ),
        within=Linearised(
            float((weight * r_change).sum()),
            *parts.linear(np.zeros_like(share), nothing, sign * weight, _both(r_change / 2)),
        ),
    )  # fmt: skip


def effects(cells: CellSums) -> Effects:
    """What each context adds: Δshare × (its mean rate − the mean of all), and mean share × Δrate.

    Shares sum to 1 in both windows, so what is subtracted changes no sum: Σ mix and Σ within are those
    of `decompose` with one action. A context that grew and is better than all others helps.
    """
    n, y = _by_group(cells.n, cells.context), _by_group(cells.y, cells.context)
    share = n / n.sum(axis=1, keepdims=True)
    rate = _ratio(y, n)
    overall = float((y.sum(axis=1) / n.sum(axis=1)).mean())
    return Effects(
        mix=(share[1] - share[0]) * (rate.mean(axis=0) - overall),
        within=share.mean(axis=0) * (rate[1] - rate[0]),
        share=share,
        rate=np.where(n > 0, rate, np.nan),
    )


def reweighted(cells: CellSums, group: Ints) -> Reweighted:
    """The baseline's rates by `group`, weighted by the candidate's shares (direct standardisation;
    DiNardo, Fortin & Lemieux 1996). group: (K,) codes from 0: contexts, or the cells themselves.
    """
    n, y = cells.n, cells.y
    size, bad = _by_group(n, group), _by_group(y, group)
    seen = size[0] > 0
    rate = np.divide(bad[0], size[0], out=np.zeros(len(seen)), where=seen)
    share = size[1] / size[1].sum()
    weight = np.divide(np.where(seen, share, 0.0), size[0], out=np.zeros(len(seen)), where=seen)
    value = float((share * rate).sum())
    known = Linearised(
        value,
        np.stack([-(weight * rate)[group], (rate[group] - value) / size[1].sum()]),
        np.stack([weight[group], np.zeros(len(group))]),
    )
    lost = float(share[~seen].sum())
    unknown = Linearised(
        lost,
        np.stack([np.zeros(len(group)), ((~seen)[group] - lost) / size[1].sum()]),
        np.zeros_like(n),
    )
    one = Linearised(1.0, np.zeros_like(n), np.zeros_like(n))
    over = known if lost <= 0 else known.over(one - unknown) if lost < 1 else None
    return Reweighted(known, unknown, over)


def window_rate(cells: CellSums, win: int) -> Linearised:
    """Σ y/Σ n of one window."""
    return _rate(cells.n, cells.y, win)


def _rate(n: Floats, y: Floats, win: int) -> Linearised:
    total = n[win].sum()
    value = float(y[win].sum() / total)
    on_n, on_y = np.zeros_like(n), np.zeros_like(n)
    on_n[win], on_y[win] = -value / total, 1.0 / total
    return Linearised(value, on_n, on_y)


@dataclass(frozen=True)
class _Chain:
    """Derivatives by n and y from those by context shares s, routing q, rates r and cell shares P."""

    n: Floats
    of: Ints
    total: Floats
    size: Floats
    share: Floats
    routed: Floats
    rate: Floats

    def linear(
        self, by_s: Floats, by_q: Floats, by_r: Floats, by_p: Floats
    ) -> tuple[Floats, Floats]:
        """by_s: (2, contexts); the others (2, K). Returns (on_n, on_y), (2, K) each."""
        n, of = self.n, self.of
        by_q = _redirected(by_q, self.size[:, of] > 0)
        by_r = _redirected(by_r, n > 0)
        on_y = np.divide(by_r, n, out=np.zeros_like(n), where=n > 0)
        on_n = -on_y * self.rate
        inside = _by_group(by_q * self.routed, of)[:, of]
        on_n = on_n + np.divide(
            by_q - inside, self.size[:, of], out=np.zeros_like(n), where=self.size[:, of] > 0
        )
        on_n = on_n + (by_s[:, of] - (by_s * self.share).sum(axis=1, keepdims=True)) / self.total
        p = n / self.total
        return on_n + (by_p - (by_p * p).sum(axis=1, keepdims=True)) / self.total, on_y


def _redirected(by: Floats, has: npt.NDArray[np.bool_]) -> Floats:
    """A ratio that one window lacks is the other's, and so is what hangs on it."""
    lent = np.where(has, 0.0, by)
    return np.where(has, by, 0.0) + np.where(has, lent[::-1], 0.0)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part/whole in both windows; a window without `whole` takes the other's ratio."""
    own = np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)
    return np.where(whole > 0, own, np.where(whole[::-1] > 0, own[::-1], 0.0))


def _both(values: Floats) -> Floats:
    return np.stack([values, values])


def _by_group(values: Floats, of: Ints) -> Floats:
    """Sums by group, (…, groups)."""
    size = int(of.max(initial=-1)) + 1
    if values.ndim > 1:
        return np.stack([_by_group(row, of) for row in values])
    return np.asarray(np.bincount(of, weights=values, minlength=size), dtype=np.float64)
