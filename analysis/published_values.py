"""The values of a view as they may be published: small ones hidden, the others rounded.

What is told of a whole window stays as it is (`WHOLE`). Everything else is taken for a cell, new keys
included: an integer for a count, a number from −1 to 1 for a rate, any other for a sum or a mean, unless a
name below says otherwise. Rules and rounding are those of `analysis.disclosure`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.disclosure import (
    STEP,
    Hidden,
    is_small,
    of_one_total,
    rounded,
    rounded_rate,
)
from analysis.published_names import (
    CHANGES,
    DAILY,
    EVENTS,
    EXACT,
    INTERVAL,
    KEPT,
    OF_EVENTS,
    OF_THE_REST,
    SINGLE,
    WHOLE,
    Context,
)
from analysis.published_numbers import (
    Row,
    changes,
    clean,
    digits,
    intervals,
    is_count,
    is_number,
    is_rate_of_row,
    on_steps,
)
from analysis.published_text import published_text

_COARSE = 0.05


@dataclass
class Publisher:
    """Publishes the values of one review.

    sizes: interactions of each window, by its name. usd_step: what the sums of groups are rounded to,
    the cost a day of `min_cell` interactions.
    """

    min_cell: int
    sizes: Mapping[str, int]
    usd_step: float
    rows: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def smallest(self) -> int:
        """Interactions of the smaller window."""
        return min(self.sizes.values())

    def told(self) -> tuple[Hidden, ...]:
        """What was hidden, in the order of places."""
        reason = f"a count below {self.min_cell}, or what would give one away"
        return tuple(
            Hidden(where, self.rows[where], self.values[where], reason)
            for where in sorted({*self.rows, *self.values})
        )

    def view(self, name: str, section: Mapping[str, Any]) -> Row:
        """A view's section of the artifact."""
        return self._object(dict(section), Context((name,), self.smallest))

    def frame_rows(
        self, view: str, name: str, rows: Sequence[Row], parts: Sequence[str] = ()
    ) -> list[Row | None]:
        """Rows of a table or of a figure's series, None where one is hidden.

        parts: columns within whose values the rows are parts of one total; empty: of the whole table.
        """
        return self._rows(list(rows), Context((view, name), self.smallest, outer=2), parts)

    def forget(self, view: str, name: str) -> None:
        """Takes back what was told of a table or a figure: it is left out as a whole."""
        for told in (self.rows, self.values):
            for where in [w for w in told if w.split(".")[:2] == [view, name.split(".")[0]]]:
                del told[where]

    # ── rows ─────────────────────────────────────────────────────────────────────────────

    def _list(self, held: Sequence[Any], at: Context) -> list[Any]:
        if not held or not all(isinstance(one, Mapping) for one in held):
            return [self._leaf(one, at) if not isinstance(one, list) else one for one in held]
        name = at.names[-1]
        if name in KEPT:
            return [self._object(dict(one), at) for one in held]
        made = self._rows([dict(one) for one in held], at, ("column",))
        kept = [one for one in made if one is not None]
        if name in DAILY and 4 * len(kept) < 3 * len(made):
            self.rows[at.place] += len(kept)
            return []
        return kept

    def _rows(self, rows: list[Row], at: Context, parts: Sequence[str]) -> list[Row | None]:
        """Rows that are cells: hidden where a count of theirs is, or would be given away by the others."""
        if at.names[-1] in OF_EVENTS and at.events:
            at = replace(at, support=at.events)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(tuple(row.get(p) for p in parts), []).append(place)
        hide = [False] * len(rows)
        single = at.names[-1] in SINGLE
        for places in groups.values():
            counted = sorted({name for p in places for name in self._counts(rows[p], at)})
            for name in counted:
                held = [(p, self._counts(rows[p], at).get(name)) for p in places]
                known = [
                    (p, n) for p, n in held if n is not None and not (n == 0 and name not in EVENTS)
                ]
                counts = [n for _, n in known]
                if single:
                    hidden = [is_small(n, self.min_cell) for n in counts]
                else:
                    hidden = of_one_total(counts, self.min_cell)
                for (place, _), small in zip(known, hidden, strict=True):
                    hide[place] = hide[place] or small
            if not single:
                self._share_events([rows[p] for p in places], at)
        if any(hide):
            self.rows[at.place] += sum(hide)
        return [
            None if hidden else self._object(row, at)
            for hidden, row in zip(hide, rows, strict=True)
        ]

    def _share_events(self, rows: Sequence[Row], at: Context) -> None:
        """Hides rates by which the events of a row could be had from a total, beside the small ones.

        Changes the rows: whoever calls has made them.
        """
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            for names, held in intervals(row, ()):
                found.setdefault(names, []).append(held)
        for names, parts in found.items():
            below = replace(at, names=(*at.names, *names))
            events = [self._events(one, below) for one in parts]
            known = [(one, n) for one, n in zip(parts, events, strict=True) if n is not None]
            hidden = of_one_total([n for _, n in known], self.min_cell)
            for (one, n), hide in zip(known, hidden, strict=True):
                if hide and not is_small(n, self.min_cell):
                    self.values[below.place] += 1
                    one.update(value=None, low=None, high=None)

    def _events(self, held: Row, at: Context) -> float | None:
        value, support = held["value"], held["support"]
        if value is None or not support or any(CHANGES.search(name) for name in at.names):
            return None
        scale = self._scale(at, value)
        return None if scale is None else max(0.0, value * scale * support)

    def _counts(self, row: Row, at: Context) -> dict[str, float]:
        """A row's counts by name; where it has none, those that its shares of the windows imply."""
        found = {
            name: float(held)
            for name, held in row.items()
            if is_number(held) and is_count(name, held)
        }
        if found:
            return found
        return {
            f"share_{window}": float(row[f"share_{window}"]) * size
            for window, size in self.sizes.items()
            if is_number(row.get(f"share_{window}"))
        }

    def text(self, words: str) -> str:
        """A sentence without small counts, and without shares that are ones."""
        return published_text(words, self.min_cell, self.smallest)

    # ── objects ──────────────────────────────────────────────────────────────────────────

    def _object(self, held: Row, at: Context) -> Row:
        if at.place in WHOLE:
            return held
        if held.keys() == INTERVAL:
            return self._interval(held, at)
        inner = self._inside(held, at)
        if isinstance(held.get("measure"), str):
            inner = inner.under(held["measure"])
        elif held.get("unit", "rate") not in ("rate", "share", None):
            inner = replace(inner, is_other=True)
        made = {}
        for name, value in held.items():
            below = inner.under(name)
            if below.place in WHOLE:
                made[name] = value
            elif isinstance(value, Mapping):
                made[name] = self._object(dict(value), below)
            elif isinstance(value, list):
                made[name] = self._list(value, below)
            else:
                made[name] = self._leaf(value, below)
        if held.get("n_rows") and "share" in held:
            few = made["n_rows"] is None
            made["share"] = 0.0 if few else digits(held["share"] * made["n_rows"] / held["n_rows"])
        self._confusion(held, made, at)
        self._burn(held, made)
        self._rate_of_row(held, made, at)
        changes(made, at)
        return made

    def _inside(self, held: Row, at: Context) -> Context:
        whole = held.get("support")
        counts = [float(whole)] if is_number(whole) and whole else [
            float(v) for name, v in held.items()
            if is_number(v) and is_count(name, v) and v >= 1 and name not in EVENTS
        ]  # fmt: skip
        budget = held.get("error_budget")
        return replace(
            at,
            support=at.support if at.names[-1] in OF_EVENTS else min([at.support, *counts]),
            events=held["value"] * held["support"] if is_rate_of_row(held) else at.events,
            error_budget=at.error_budget if budget is None else float(budget),
        )

    def _interval(self, held: Row, at: Context) -> Row:
        support, value = held["support"], held["value"]
        if support is None or value is None:
            return {**held, "support": self._count(support, at)}
        if not support:
            return held
        if is_small(support, self.min_cell):
            self.values[at.place] += 1
            return dict.fromkeys(("value", "low", "high", "support"))
        scale = self._scale(at, value)
        if scale is None:
            shown = {k: digits(held[k]) for k in ("value", "low", "high")}
            return {**shown, "support": rounded(support)}
        changed = any(CHANGES.search(name) for name in at.names)
        happened = value * scale * support
        if not changed and (
            is_small(happened, self.min_cell) or is_small(support - happened, self.min_cell)
        ):
            self.values[at.place] += 1
            return {"value": None, "low": None, "high": None, "support": rounded(support)}
        shown = {
            k: None if held[k] is None else rounded_rate(held[k] * scale, support) / scale
            for k in ("value", "low", "high")
        }
        return {**shown, "support": rounded(support)}

    def _scale(self, at: Context, value: float) -> float | None:
        """What makes a share of interactions of a number; None where it is none."""
        if any("burn" in name for name in at.names):
            return at.error_budget
        if at.is_no_rate or not -1 <= value <= 1:
            return None
        return 1.0

    def _leaf(self, held: Any, at: Context) -> Any:
        name = at.names[-1]
        if isinstance(held, str):
            return self.text(held)
        if not is_number(held) or name in EXACT:
            return held
        if "nano_usd" in name:
            return int(self._usd(held / 1e9) * 1e9)
        if is_count(name, held):
            return self._count(held, at)
        if isinstance(held, int) or math.isinf(held):
            return held
        if name in ("usd_per_day", "change_usd_per_day") and "drivers" in at.names:
            return self._usd(held)
        if "per_day" in name and "usd" not in name:
            return float(math.floor(held + 0.5))
        step = max(0.01, STEP / max(at.support, 1.0))
        if name in OF_THE_REST:
            return on_steps(held, _COARSE)
        if name == "share":
            return on_steps(held, step)
        if abs(held) > 1 or at.is_no_rate:
            return digits(held)
        if CHANGES.search(name) or name in ("low", "high", "excess"):
            return on_steps(held, step)
        return self._share(held, max(at.support, 1.0))

    def _share(self, held: float, support: float) -> float:
        """A share of at least `support` interactions, on steps of a hundredth or of 5 of them.

        One that few make up is shown as 0, as ehrQL does, and one that few are missing from as 1.
        """
        if abs(held) * support < self.min_cell:
            return 0.0
        if 0 < (1 - abs(held)) * support < self.min_cell:
            return math.copysign(1.0, held)
        return on_steps(held, max(0.01, STEP / support))

    def _usd(self, value: float) -> float:
        if self.usd_step <= 0:
            return digits(value) or 0.0
        return clean(self.usd_step * math.floor(value / self.usd_step + 0.5))

    def _count(self, held: float | None, at: Context) -> int | None:
        if held is None or held == 0:
            return None if held is None else 0
        if is_small(held, self.min_cell):
            self.values[at.place] += 1
            return None
        return rounded(held)

    def _confusion(self, held: Row, made: Row, at: Context) -> None:
        """What was found and missed: one small count hides all four, and what they give away."""
        cells = ("tp", "fp", "fn", "tn")
        if not held.keys() >= set(cells) or held["tp"] is None:
            return
        if any(held[c] > 0 and is_small(held[c], self.min_cell) for c in cells):
            for name in made:
                gives = name in cells or name.startswith(("precision", "recall", "cost_usd"))
                if gives and not isinstance(made[name], Mapping):
                    made[name] = None
                elif gives:
                    made[name] = {**made[name], "value": None, "low": None, "high": None}
            self.values[at.place] += 1
            return
        for name, whole in (("precision", ("tp", "fp")), ("recall", ("tp", "fn"))):
            below = sum(made[c] or 0 for c in whole)
            if held.get(name) is not None:
                made[name] = clean((made["tp"] or 0) / below) if below else None

    def _burn(self, held: Row, made: Row) -> None:
        """Burn and spending of a budget, as the rounded counts of the same row give them."""
        for side in ("burn_long", "burn_short"):
            if side in made and isinstance(made.get(f"{side}_interval"), Mapping):
                made[side] = made[f"{side}_interval"]["value"]
        if not (held.get("bad") and held.get("interactions") and made["bad"]):
            return
        bad, size = made["bad"] / held["bad"], made["interactions"] / held["interactions"]
        for name, scale in (("burn_rate", bad / size), ("budget_consumed", bad)):
            if is_number(held.get(name)):
                made[name] = digits(held[name] * scale)

    def _rate_of_row(self, held: Row, made: Row, at: Context) -> None:
        """A row's own rate, as one of rounded counts of its support."""
        support = held.get("support")
        named = {"bad_rate"} if is_number(held.get("bad_rate")) else set()
        if is_rate_of_row(held):
            named |= {"value"}
        for name in named:
            if 0 <= held[name] <= 1 and support:
                small = is_small(held[name] * support, self.min_cell)
                made[name] = None if small else rounded_rate(held[name], support)
                if small:
                    self.values[at.under(name).place] += 1
        for name in ("baseline", "candidate"):
            share = held.get(f"share_{name}")
            if share is not None and is_number(held.get(name)) and abs(held[name]) <= 1:
                size = share * self.sizes.get(name, self.smallest)
                if is_small(held[name] * size, self.min_cell):
                    made[name] = None
                    self.values[at.under(name).place] += 1
