"""What reviewing by risk is worth at each exchange rate: decision curves (Vickers & Elkin 2006).

Who reviews from a risk of t on counts a good row that is reviewed as t/(1 − t) of a bad one that is found. The
net benefit of a policy that reviews the rows R, in bad rows found per row, is

    Σ_{k∈R} aₖ / n,    a = y − (1 − y) t/(1 − t);

of reviewing all it is that of R = all rows, of none 0. A model is of use at t where it beats both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.stats.linear import MIN_CLASS_CLUSTERS, Bools, Floats, Ints, Units


@dataclass(frozen=True)
class Curve:
    """A figure at each threshold with its 95 % limits, (T,) each; nan where it is not known."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class NetBenefit:
    """Net benefits in bad rows found per row, by threshold (T,).

    model: of reviewing from the threshold on. all_rows: of reviewing all; of none it is 0. gain: of the model
    against the better of all and none, paired by row. reviewed: the share of rows at or above the threshold.
    """

    threshold: Floats
    model: Curve
    all_rows: Curve
    gain: Curve
    reviewed: Floats


def net_benefit(y: Bools, p: Floats, cluster: Ints | Units, threshold: Floats) -> NetBenefit:
    """The decision curve of risks p with labels y, (n,), at thresholds in [0, 1), (T,).

    Limits are ± t √V, V the clustered variance of the rows' sums, t with the clusters of the rarer label less
    one. Where few bad rows are reviewed more may come than the variance of a few tells: on that side their
    Poisson part of the squared reach, z² k of k clusters, gives way to that of their exact limit, (U(k) − k)²
    (Garwood 1936; recovered as in Zou & Donner 2008). The gain is the smaller of those against all and none: its
    limits are the smaller of their limits each, which hold it at least as often. A policy that leaves fewer than
    ten clusters to review, or not to, has no limits there. Rows are sorted once; every threshold reads the same
    running sums, which are whole numbers.
    """
    units = Units.of(y, cluster)
    n, odds = len(p), threshold / (1.0 - threshold)
    if not n:
        unknown = np.full(len(threshold), np.nan)
        curve = Curve(unknown, unknown, unknown)
        return NetBenefit(threshold, curve, curve, curve, unknown)
    order = _by_risk(p)
    rising = p[order]
    sums = _Sums.of(y[order], units.code[order], units.n)
    cut = np.searchsorted(rising, threshold, side="left")
    above, below = sums.above(cut), sums.below(cut)
    model, everything = (
        above.curve(odds, n, units),
        sums.whole(len(threshold)).curve(odds, n, units),
    )
    than_all = below.curve(odds, n, units)
    against_all = Curve(-than_all.value, -than_all.high, -than_all.low)
    gain = Curve(
        *(
            np.minimum(getattr(against_all, name), getattr(model, name))
            for name in ("value", "low", "high")
        )
    )
    return NetBenefit(threshold, model, everything, gain, (n - cut) / n)


def _by_risk(p: Floats) -> Ints:
    """Rows in rising order of risk, equal ones by position."""
    rising = (p[1:] >= p[:-1]).all()
    return np.arange(len(p)) if rising else np.argsort(p, kind="stable").astype(np.int64)


@dataclass(frozen=True)
class _Part:
    """Sums over the clusters of the rows of a policy, by threshold (T,).

    n, y: rows, and bad ones. nn, ny, yy: Σ_c n_c², Σ_c n_c y_c, Σ_c y_c². nm, ym: Σ_c n_c m_c, Σ_c y_c m_c with
    all rows m_c of a cluster; mm: Σ_c m_c². clusters, bad: how many have such rows, and bad ones. event: bad rows
    of a cluster that has any, in all rows, a larger cluster counting for more.
    """

    n: Ints
    y: Ints
    nn: Ints
    ny: Ints
    yy: Ints
    nm: Ints
    ym: Ints
    mm: int
    clusters: Ints
    bad: Ints
    event: float

    def curve(self, odds: Floats, n_all: int, units: Units) -> Curve:
        """The net benefit at odds t/(1 − t): of a cluster's total z = (1 + odds) y_c − odds n_c the variance
        is that of z − value m_c."""
        good, bad = odds, 1.0 + odds
        value = (bad * self.y - good * self.n) / n_all
        squares = bad**2 * self.yy - 2.0 * bad * good * self.ny + good**2 * self.nn
        with_all = bad * self.ym - good * self.nm
        residual = squares - 2.0 * value * with_all + value**2 * self.mm
        factor = units.n / (units.n - 1.0) if units.n > 1 else np.nan
        known = (self.clusters >= MIN_CLASS_CLUSTERS) & units.known
        spread = np.sqrt(factor * np.maximum(residual, 0.0)) / n_all
        half = np.where(known, units.rare_t * spread, np.nan)
        further = special.gammaincinv(self.bad + 1.0, 0.975) - self.bad
        excess = np.maximum(0.0, further**2 - float(special.ndtri(0.975)) ** 2 * self.bad)
        unit = bad * self.event / n_all
        return Curve(value, value - half, value + np.sqrt(half**2 + excess * unit**2))


@dataclass(frozen=True)
class _Sums:
    """Running sums over rows in rising order of risk, (n + 1,) each; what they grow by counts rows from the
    lowest risk on in `up`, from the highest in `down`.

    When a row joins a cluster of which k rows, j of them bad, are in already, Σ n_c² grows by 2 k + 1,
    Σ n_c y_c by j + y (k + 1), and Σ y_c² by y (2 j + 1).
    """

    y: Ints
    nm: Ints
    ym: Ints
    up: tuple[Ints, Ints, Ints, Ints, Ints]
    down: tuple[Ints, Ints, Ints, Ints, Ints]
    mm: int
    event: float

    @classmethod
    def of(cls, y: Bools, code: Ints, n_units: int) -> _Sums:
        """y, code: rows in rising order of risk."""
        label = y.astype(np.int64)
        size = np.bincount(code, minlength=n_units)
        bad = np.bincount(code[y], minlength=n_units)
        before, bad_before = _earlier(label, code, size)
        m = size[code]
        return cls(
            _running(label),
            _running(m),
            _running(label * m),
            _growth(label, before, bad_before),
            _growth(label, m - 1 - before, bad[code] - bad_before - label),
            int((size * size).sum()),
            float((bad * bad).sum()) / max(1.0, float(bad.sum())),
        )

    def below(self, cut: Ints) -> _Part:
        """The rows before each cut."""
        y, nm, ym = (sums[cut] for sums in (self.y, self.nm, self.ym))
        nn, ny, yy, clusters, bad = (sums[cut] for sums in self.up)
        return _Part(cut, y, nn, ny, yy, nm, ym, self.mm, clusters, bad, self.event)

    def above(self, cut: Ints) -> _Part:
        """The rows from each cut on."""
        y, nm, ym = (sums[-1] - sums[cut] for sums in (self.y, self.nm, self.ym))
        nn, ny, yy, clusters, bad = (sums[-1] - sums[cut] for sums in self.down)
        n = len(self.y) - 1 - cut
        return _Part(n, y, nn, ny, yy, nm, ym, self.mm, clusters, bad, self.event)

    def whole(self, times: int) -> _Part:
        """All rows, for each threshold."""
        return self.above(np.zeros(times, dtype=np.int64))


def _earlier(label: Ints, code: Ints, size: Ints) -> tuple[Ints, Ints]:
    """(n,): rows of the same cluster before each row, and bad ones among them."""
    key = (code << 32) | np.arange(len(code))
    key.sort()
    order = key & 0xFFFFFFFF
    begin = np.repeat(np.cumsum(size) - size, size)
    reach = _running(label[order])
    before, bad_before = np.empty(len(code), np.int64), np.empty(len(code), np.int64)
    before[order] = np.arange(len(code)) - begin
    bad_before[order] = reach[:-1] - reach[begin]
    return before, bad_before


def _growth(label: Ints, rows: Ints, bad: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Σ n_c², Σ n_c y_c, Σ y_c², and how many clusters have rows, and bad ones, so far."""
    return (
        _running(2 * rows + 1),
        _running(bad + label * (rows + 1)),
        _running(label * (2 * bad + 1)),
        _running(rows == 0),
        _running((label == 1) & (bad == 0)),
    )


def _running(values: Ints | Bools) -> Ints:
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
