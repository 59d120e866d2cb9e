"""How much traffic settles an open question, at the rates seen so far."""

from __future__ import annotations

import math

QUANTILE_975 = 1.959963984540054
QUANTILE_80 = 0.84


def rows_to_settle(rate: float, limit: float, deff: float, quantile: float = QUANTILE_975) -> float:
    """Rows at which a rate's interval leaves its limit out, with a power of 0.8; inf at the limit.

    n = deff (z √(l(1 − l)) + 0.84 √(p(1 − p)))²/(p − l)² for a limit l (Fleiss, Levin & Paik 2003,
    section 2.5): the limit's own spread decides, that of the rate how often. With nothing bad, or
    nothing good, Clopper & Pearson's limit is known: 1 − 0.025^(deff/n) ≤ limit from
    n = deff log 0.025 / log(1 − limit) on, and likewise for the good.
    """
    if not 0 < limit < 1 or rate == limit:
        return math.inf
    if rate <= 0 or rate >= 1:
        tail = math.erfc(quantile / math.sqrt(2)) / 2
        return deff * math.log(tail) / math.log(1 - limit if rate <= 0 else limit)
    spread = quantile * math.sqrt(limit * (1 - limit)) + QUANTILE_80 * math.sqrt(rate * (1 - rate))
    return deff * (spread / (rate - limit)) ** 2
