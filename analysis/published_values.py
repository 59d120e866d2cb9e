"""The values of a view as they may be published: small ones hidden, the others rounded.

What is told of a whole window stays as it is (`WHOLE`). Everything else is taken for a cell, new keys
included: an integer for a count, a number from −1 to 1 for a rate, any other for a sum or a mean, unless a
name below says otherwise. Rules and rounding are those of `analysis.disclosure`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

Row = dict[str, Any]

WHOLE = frozenset(
    ("health.baseline", "health.candidate", "health.change", "contract.rules")
    + ("contract.bounds.figures",)
    + ("budget.spend", "routing.on_policy", "budget.drivers.effects")
    + ("budget.slos.burn_rate", "budget.slos.exhausts_utc", "budget.slos.needs")
    + ("budget.slos.budget_consumed", "budget.slos.budget_remaining")
    + tuple(
        f"routing.candidates.{name}"
        for name in (
            "unit_cost_usd",
            "failure_rate",
            "latency_breach_rate",
            "cost_usd",
            "saving_usd",
        )
    )
)
"""Headline figures of whole windows, by their place in `views`."""
KEPT = frozenset(
    ("violations", "below", "slos", "alerts", "episodes", "candidates", "features", "changes")
    + ("dimensions", "metrics", "priced", "policies", "levers", "weekdays", "rivals", "drifted")
    + ("thresholds", "baselines", "figures", "stability", "columns", "tried", "negative_controls")
    + ("prices", "effects", "unseen", "by_token", "cells", "others", "bins")
)
"""Lists whose rows are no cells: they stay, and only values in them are hidden."""
SINGLE = frozenset({"found", "listed", "incidents", "references", "slow", "negative_controls"})
"""Lists whose rows are no parts of one total."""
DAILY = frozenset(
    ("days", "triage_days", "triage_hours", "triage_queue", "triage_queue.csv", "spend_by_hour.csv")
)
"""Lists by time: with more than a quarter of their rows hidden they are left out."""
NOT_COUNTS = frozenset(
    ("cause", "changes_tested", "days", "history_days", "min_events", "n_bins", "n_cells", "n_days")
    + ("n_drifted", "n_errors", "n_gone", "n_merged", "n_models", "n_needed", "n_new", "n_rules")
    + ("n_tested", "n_values", "n_warnings", "n_weeks", "other_versions", "period_days", "rank")
    + ("bin", "rule", "candidate_rank", "window", "place", "hour")
)
EVENTS = frozenset({"bad", "n_bad", "n_failures", "matched_failures", "tp", "fp", "fn", "tn"})
"""Counts of what happened: of these a zero is small too."""
EXPECTED = frozenset(
    (
        "reviewed",
        "tp",
        "fp",
        "fn",
        "tn",
        "n_misplaced",
        "n_own",
        "arrivals",
        "backlog",
        "demand",
        "due",
    )
)
"""Counts that may be no whole numbers."""
OF_EVENTS = frozenset({"contributors", "failure_types"})
"""Lists whose shares are of the bad interactions around them."""
OF_THE_REST = frozenset({"share_of_rest", "reference_share"})
"""Shares of what is around a slice, of which it is not known how few they are."""
EXACT = frozenset(
    ("target", "threshold", "error_budget", "budget_share", "long_hours", "short_hours", "alpha")
    + (
        "confidence",
        "fdr",
        "capacity_per_day",
        "max",
        "min",
        "limit",
        "allowed",
        "budget_usd_per_day",
    )
    + ("outage_detection_hours", "outage_firing_hours", "capacity", "guard", "take", "period_days")
    + ("cached_usd_per_million", "completion_usd_per_million", "prompt_usd_per_million", "edges")
)
"""Settings, and what follows from them alone."""
_NO_RATE = re.compile(
    r"usd|cost|latency_ms|tokens|score|auc|brier|calibration|psi|p_value|q_value|p_adjusted|value_of"
    r"|ratio|wasserstein|log_loss|correlation|gamma|design_effect|pareto|per_second|_count|days|p50|p90"
    r"|p95|p99|importance|alone"
)
"""Names of numbers that are no shares of interactions, whatever their size."""
_CHANGES = re.compile(r"change|^(effect|mix.*|within|total|added|off|difference)$")
_SHARES = re.compile(r"(\d+(?:\.\d+)?) %")
_FEW = re.compile(
    r"\b([0-9])(?= (?:\w+ )?(?:interaction|session|user|request|failure|review|row|label|outcome)s?\b)"
)
_MANY = re.compile(
    r"(?<![\d.,:-])(\d{1,3}(?:,\d{3})+|\d{2,})(?= (?:\w+ )?(?:interaction|session|user|request|failure|row|label)"
    r"s?\b| were bad)"
)
_COARSE = 0.05
_DIGITS = 3
_INTERVAL = frozenset({"value", "low", "high", "support"})


@dataclass(frozen=True)
class Context:
    """Where a value stands. names: the keys that lead to it. support: interactions around it, the fewest
    that are known. events: the bad ones among them, of which causes are shares.
    error_budget: of the objective that it belongs to. outer: how many of the names are those of the view,
    and of a table or figure. is_other: whether the unit is no share."""

    names: tuple[str, ...]
    support: float
    error_budget: float | None = None
    events: float | None = None
    outer: int = 1
    is_other: bool = False

    @property
    def place(self) -> str:
        return ".".join(self.names)

    @property
    def is_no_rate(self) -> bool:
        """Whether a name, or the unit beside it, says that the number is no share of interactions."""
        return self.is_other or any(_NO_RATE.search(name) for name in self.names[self.outer :])

    def under(self, name: str) -> Context:
        return replace(self, names=(*self.names, name))


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
            for names, held in _intervals(row, ()):
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
        if value is None or not support or any(_CHANGES.search(name) for name in at.names):
            return None
        scale = self._scale(at, value)
        return None if scale is None else max(0.0, value * scale * support)

    def _counts(self, row: Row, at: Context) -> dict[str, float]:
        """A row's counts by name; where it has none, those that its shares of the windows imply."""
        found = {
            name: float(held)
            for name, held in row.items()
            if _is_number(held) and _is_count(name, held)
        }
        if found:
            return found
        return {
            f"share_{window}": float(row[f"share_{window}"]) * size
            for window, size in self.sizes.items()
            if _is_number(row.get(f"share_{window}"))
        }

    # ── objects ──────────────────────────────────────────────────────────────────────────

    def _object(self, held: Row, at: Context) -> Row:
        if at.place in WHOLE:
            return held
        if held.keys() == _INTERVAL:
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
            made["share"] = 0.0 if few else _digits(held["share"] * made["n_rows"] / held["n_rows"])
        self._confusion(held, made, at)
        self._burn(held, made)
        self._rate_of_row(held, made, at)
        _changes(made, at)
        return made

    def _inside(self, held: Row, at: Context) -> Context:
        whole = held.get("support")
        counts = [float(whole)] if _is_number(whole) and whole else [
            float(v) for name, v in held.items()
            if _is_number(v) and _is_count(name, v) and v >= 1 and name not in EVENTS
        ]  # fmt: skip
        budget = held.get("error_budget")
        return replace(
            at,
            support=at.support if at.names[-1] in OF_EVENTS else min([at.support, *counts]),
            events=held["value"] * held["support"] if _is_rate_of_row(held) else at.events,
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
            shown = {k: _digits(held[k]) for k in ("value", "low", "high")}
            return {**shown, "support": rounded(support)}
        changed = any(_CHANGES.search(name) for name in at.names)
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
        if not _is_number(held) or name in EXACT:
            return held
        if "nano_usd" in name:
            return int(self._usd(held / 1e9) * 1e9)
        if _is_count(name, held):
            return self._count(held, at)
        if isinstance(held, int) or math.isinf(held):
            return held
        if name in ("usd_per_day", "change_usd_per_day") and "drivers" in at.names:
            return self._usd(held)
        if "per_day" in name and "usd" not in name:
            return float(math.floor(held + 0.5))
        step = max(0.01, STEP / max(at.support, 1.0))
        if name in OF_THE_REST:
            return _on_steps(held, _COARSE)
        if name == "share":
            return _on_steps(held, step)
        if abs(held) > 1 or at.is_no_rate:
            return _digits(held)
        if _CHANGES.search(name) or name in ("low", "high", "excess"):
            return _on_steps(held, step)
        return self._share(held, max(at.support, 1.0))

    def _share(self, held: float, support: float) -> float:
        """A share of at least `support` interactions, on steps of a hundredth or of 5 of them.

        One that few make up is shown as 0, as ehrQL does, and one that few are missing from as 1.
        """
        if abs(held) * support < self.min_cell:
            return 0.0
        if 0 < (1 - abs(held)) * support < self.min_cell:
            return math.copysign(1.0, held)
        return _on_steps(held, max(0.01, STEP / support))

    def _usd(self, value: float) -> float:
        if self.usd_step <= 0:
            return _digits(value) or 0.0
        return _clean(self.usd_step * math.floor(value / self.usd_step + 0.5))

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
                made[name] = _clean((made["tp"] or 0) / below) if below else None

    def _burn(self, held: Row, made: Row) -> None:
        """Burn and spending of a budget, as the rounded counts of the same row give them."""
        for side in ("burn_long", "burn_short"):
            if side in made and isinstance(made.get(f"{side}_interval"), Mapping):
                made[side] = made[f"{side}_interval"]["value"]
        if not (held.get("bad") and held.get("interactions") and made["bad"]):
            return
        bad, size = made["bad"] / held["bad"], made["interactions"] / held["interactions"]
        for name, scale in (("burn_rate", bad / size), ("budget_consumed", bad)):
            if _is_number(held.get(name)):
                made[name] = _digits(held[name] * scale)

    def _rate_of_row(self, held: Row, made: Row, at: Context) -> None:
        """A row's own rate, as one of rounded counts of its support."""
        support = held.get("support")
        named = {"bad_rate"} if _is_number(held.get("bad_rate")) else set()
        if _is_rate_of_row(held):
            named |= {"value"}
        for name in named:
            if 0 <= held[name] <= 1 and support:
                small = is_small(held[name] * support, self.min_cell)
                made[name] = None if small else rounded_rate(held[name], support)
                if small:
                    self.values[at.under(name).place] += 1
        for name in ("baseline", "candidate"):
            share = held.get(f"share_{name}")
            if share is not None and _is_number(held.get(name)) and abs(held[name]) <= 1:
                size = share * self.sizes.get(name, self.smallest)
                if is_small(held[name] * size, self.min_cell):
                    made[name] = None
                    self.values[at.under(name).place] += 1

    # ── text ─────────────────────────────────────────────────────────────────────────────

    def text(self, words: str) -> str:
        """A sentence without small counts, and without shares that are ones."""
        least = 100 * self.min_cell / max(self.smallest, 1)

        def share(found: re.Match[str]) -> str:
            given = float(found.group(1))
            if 0 < given < least:
                return f"less than {math.ceil(10 * least) / 10:g} %"
            if 100 - least < given < 100:
                return f"more than {math.floor(10 * (100 - least)) / 10:g} %"
            return found.group(0)

        few = _FEW.sub(
            lambda m: m.group(0) if m.group(1) == "0" else f"fewer than {self.min_cell}", words
        )
        many = _MANY.sub(lambda m: f"{rounded(float(m.group(1).replace(',', ''))):,}", few)
        return _SHARES.sub(share, many)


def _intervals(row: Row, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Row]]:
    """The intervals of a row, with the keys that lead to them; each a value of its own from now on."""
    for name, held in row.items():
        if isinstance(held, Mapping):
            row[name] = own = dict(held)
            if own.keys() == _INTERVAL:
                yield (*names, name), own
            else:
                yield from _intervals(own, (*names, name))


def _changes(made: Row, at: Context) -> None:
    """A change says no more than its two sides, also of each metric in them."""
    if not made.keys() >= {"baseline", "candidate", "change"} or f"{at.place}.change" in WHOLE:
        return
    before, after, change = (made[name] for name in ("baseline", "candidate", "change"))
    if not all(isinstance(side, Mapping) for side in (before, after, change)):
        return
    if change.keys() == _INTERVAL:
        made["change"] = _change(at.names[-1], before, after, dict(change))
        return
    made["change"] = {
        name: _change(name, before[name], after[name], dict(held))
        if isinstance(held, Mapping) and name in before and name in after
        else held
        for name, held in change.items()
    }


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any], change: Row) -> Row:
    if change["value"] is None:
        return change
    if before["value"] is None or after["value"] is None:
        return {**change, "value": None, "low": None, "high": None}
    if _NO_RATE.search(name) or not 0 <= before["value"] <= 1:
        return change
    step = STEP / max(1, min(before["support"] or 1, after["support"] or 1))
    ends = {
        k: None if change[k] is None else _clean(step * math.floor(change[k] / step + 0.5))
        for k in ("low", "high")
    }
    return {**change, **ends, "value": _clean(after["value"] - before["value"])}


def _is_number(held: Any) -> bool:
    return isinstance(held, int | float) and not isinstance(held, bool) and held == held


def _is_count(name: str, held: float) -> bool:
    if name in NOT_COUNTS or name in EXACT or "nano_usd" in name or held < 0:
        return False
    return isinstance(held, int) or name in EXPECTED


def _is_rate_of_row(held: Row) -> bool:
    """Whether a row's `value` is a rate of its `support`."""
    value = held.get("value")
    return (
        bool(held.get("support"))
        and _is_number(value)
        and value is not None
        and 0 <= value <= 1
        and held.get("unit") == "rate"
        and "low" in held
        and not held.get("measure")
    )


def _on_steps(value: float, step: float) -> float:
    return _clean(min(1.0, max(-1.0, step * math.floor(value / step + 0.5))))


def _digits(value: float | None) -> float | None:
    return None if value is None else _clean(float(f"{value:.{_DIGITS}g}"))


def _clean(value: float) -> float:
    return float(f"{value:.12g}") + 0.0
