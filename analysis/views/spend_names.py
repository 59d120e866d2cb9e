"""What parts of the spend are called: the dearest models or use cases by name, all others together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence

from analysis.telemetry.spending import Piece

REST = "all others: no JSON, and so no name in the cells"

Label = dict[str, str | None]


class Names:
    """The names that cost most in both windows, at most `limit`, and all others as `REST`.

    A change of the mix among those others stands under their tokens and price.
    """

    def __init__(
        self, pieces: Sequence[Piece], of: Callable[[Piece], tuple[str | None, ...]], limit: int
    ) -> None:
        self._of = of
        cost: dict[str, int] = defaultdict(int)
        for piece in pieces:
            cost[self._own(piece)] += piece.nano_usd
        dearest = sorted(cost, key=lambda n: (-cost[n], n))
        self.n_folded = max(len(dearest) - limit, 0)
        self._kept = frozenset(dearest[:limit])

    def name(self, piece: Piece) -> str:
        own = self._own(piece)
        return own if own in self._kept else REST

    def label(self, name: str, keys: Sequence[str], others: str) -> Label:
        if name == REST:
            return dict.fromkeys(keys, others)
        return dict(zip(keys, json.loads(name), strict=True))

    def note(self, what: str, limit: int) -> str | None:
        if not self.n_folded:
            return None
        return (
            f"What moved the spend is told of the {limit} {what} that cost most; the other "
            f"{self.n_folded:,} are taken together."
        )

    def _own(self, piece: Piece) -> str:
        return json.dumps(self._of(piece), ensure_ascii=False)
