"""The release before the one at hand, and how its checks came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.ledger import Entry, Ledger


@dataclass(frozen=True)
class Last:
    """A recorded release. outcome: its decision. checks: check id → outcome."""

    release_id: str
    outcome: str
    checks: Mapping[str, str]

    def turned(self, checks: Mapping[str, str], outcome: str) -> list[str]:
        """The ids, in the order of `checks`, that have the outcome now and had another one then."""
        return [
            name
            for name, now in checks.items()
            if now == outcome and self.checks.get(name, outcome) != outcome
        ]


def last(ledger: Ledger, at_hand: Mapping[str, Any]) -> Last | None:
    """The newest recorded release that was decided before this one, with another id; None without one.

    A recorded artifact that lacks what is asked here is passed over: the history page names it.
    """
    end = str(at_hand["windows"]["candidate"]["end_utc"])
    own = str(at_hand["release"]["id"])
    earlier = [e for e in ledger.entries if e.end_utc < end and e.release_id != own]
    for entry in reversed(earlier):
        found = _read(entry)
        if found is not None:
            return found
    return None


def _read(entry: Entry) -> Last | None:
    try:
        return Last(
            entry.release_id,
            str(entry.body["decision"]["outcome"]),
            {str(c["id"]): str(c["outcome"]) for c in entry.body["checks"]},
        )
    except (KeyError, TypeError):
        return None
