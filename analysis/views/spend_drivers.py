"""What moved the spend: its change between the windows, taken apart exactly (STATISTICS section 5)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import pandas as pd

from analysis.stats.lmdi import DRIVERS, Cell, Part, decompose, total
from analysis.telemetry import Telemetry
from analysis.telemetry.spending import TOKENS_KNOWN, Piece
from analysis.telemetry.windows import ResolvedWindows, coverage
from analysis.views.prices import TOKENS, ListPrice, PriceInfo, PriceList, frozen, list_cost
from analysis.views.spend_names import REST, Label, Names

NANO = 1e9
MAX_MODELS = 200
MAX_USE_CASES = 50
MAX_NAMED = 50
MODEL = ("model_provider", "model_name")
OTHERS = "(all other models)"
OTHER_USE_CASES = "(all other use cases)"
_COLUMNS = ["driver", "usd_per_day", "nano_usd_days"]

Cells = Mapping[str, Cell]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Effect:
    """`nano_usd_days`: the same as an exact integer, in nano-USD × days²."""

    driver: str
    usd_per_day: float
    nano_usd_days: int


@dataclass(frozen=True)
class SliceEffect:
    slice: dict[str, str | None]
    driver: str
    usd_per_day: float
    nano_usd_days: int


@dataclass(frozen=True)
class TokenEffect:
    """token: prompt (not cached), cached, completion; all where the model has no price for them."""

    token: str
    driver: str
    usd_per_day: float
    nano_usd_days: int


@dataclass(frozen=True)
class Appeared:
    """A model or a use case that one of the windows alone has, and what it costs a day there."""

    slice: dict[str, str | None]
    usd_per_day: float
    attempts: int


@dataclass(frozen=True)
class DriversSection:
    """The change of spend between the windows, and its exact parts. `reason`: why it is null.

    by_slice: by model. by_use_case: each use case's own change by its own volume, retries and mix.
    by_token: prompt, cached and completion tokens apart, where prices are given; a model without one
    is listed as unpriced, and unpriced_reasons say why, in the same order. All of them sum to the
    change. new, gone: at most `MAX_NAMED` of each, the dearest first. prices: those in force for any
    of the traffic.
    """

    change_usd_per_day: float | None
    effects: tuple[Effect, ...]
    by_slice: tuple[SliceEffect, ...]
    change_nano_usd_days: int | None
    reason: str | None
    by_use_case: tuple[SliceEffect, ...] = ()
    by_token: tuple[TokenEffect, ...] = ()
    new: tuple[Appeared, ...] = ()
    gone: tuple[Appeared, ...] = ()
    n_new: int = 0
    n_gone: int = 0
    prices: tuple[PriceInfo, ...] = ()
    unpriced: tuple[dict[str, str | None], ...] = ()
    unpriced_reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drivers:
    """The section, the table behind it, and what the reader must know."""

    section: DriversSection
    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def series(self) -> pd.DataFrame:
        """driver, usd_per_day: the waterfall, in the order of the drivers."""
        held = [(e.driver, e.usd_per_day) for e in self.section.effects]
        return pd.DataFrame(held, columns=["driver", "usd_per_day"])


def model_keys(telemetry: Telemetry) -> tuple[str, ...]:
    """The columns that name a model."""
    return tuple(c for c in MODEL if telemetry.has(c))


def why_not(telemetry: Telemetry) -> str | None:
    """Why the change of spend has no drivers; None where it has."""
    windows = telemetry.windows
    if telemetry.baseline is None:
        return "this is a first release: there is no baseline to compare with"
    if windows.by_release or (windows.baseline is not None and windows.baseline.release_id):
        return "releases share the traffic: a change of spend a day is not theirs"
    return telemetry.unusable("cost_usd")


def assess_drivers(
    telemetry: Telemetry, pieces: Sequence[Piece], prices: PriceList, keys: Sequence[str]
) -> Drivers:
    """The drivers of the change of spend between the windows, from the pieces of both."""
    reason = why_not(telemetry)
    if reason is not None:
        empty = pd.DataFrame(columns=["slice", *_COLUMNS])
        return Drivers(DriversSection(None, (), (), None, reason), empty, ())
    scale, time1, time0 = _times(telemetry)
    tokens = telemetry.has("total_tokens") or telemetry.has("prompt_tokens", "completion_tokens")

    def usd(amount: int) -> float:
        return amount / (time1 * time0) * scale / NANO

    def parts_of(new: Cells, old: Cells, both: tuple[Cell, Cell] | None = None) -> tuple[Part, ...]:
        return decompose(new, old, time1, time0, tokens_known=tokens, overall=both)[1]

    models = Names(pieces, lambda p: p.model, MAX_MODELS)
    use_cases = Names(pieces, lambda p: (p.use_case,), MAX_USE_CASES)
    candidate, baseline = (_cells(pieces, w, models.name) for w in (1, 0))
    change, parts = decompose(candidate, baseline, time1, time0, tokens_known=tokens)

    def model_of(name: str) -> Label:
        return models.label(name, keys, OTHERS)

    by_use_case: list[SliceEffect] = []
    grouped: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces if telemetry.has("use_case") else ():
        grouped[use_cases.name(piece)].append(piece)
    for name in sorted(grouped):
        here, before = (_cells(grouped[name], w, models.name) for w in (1, 0))
        split = parts_of(here, before)
        label = use_cases.label(name, ("use_case",), OTHER_USE_CASES)
        by_use_case += [
            SliceEffect(label, d, usd(n), n) for d, n in _by(split, lambda p: p.driver).items()
        ]
    by_token, used, bare = _tokens(pieces, prices, models, keys, parts_of)

    def told(kind: Callable[[Cells, Cells], list[tuple[str, Cell]]], time: int) -> list[Appeared]:
        found = [(dict(zip(keys, json.loads(n), strict=True)), c)
                 for n, c in kind(*(_cells(pieces, w, _model_name) for w in (1, 0)))]  # fmt: skip
        if telemetry.has("use_case"):
            found += [({"use_case": json.loads(n)[0]}, c)
                      for n, c in kind(*(_cells(pieces, w, _use_case_name) for w in (1, 0)))]  # fmt: skip
        found.sort(key=lambda one: (-one[1].cost, json.dumps(one[0], ensure_ascii=False)))
        return [
            Appeared(label, c.cost / time * scale / NANO, c.attempts) for label, c in found if label
        ]

    new, gone = told(lambda a, b: _alone(a, b), time1), told(lambda a, b: _alone(b, a), time0)
    effects = _by(parts, lambda p: p.driver)
    section = DriversSection(
        change_usd_per_day=usd(change),
        effects=tuple(Effect(d, usd(effects.get(d, 0)), effects.get(d, 0)) for d in DRIVERS),
        by_slice=tuple(
            SliceEffect(model_of(p.name), p.driver, usd(p.amount), p.amount) for p in _ranked(parts)
        ),
        change_nano_usd_days=change,
        reason=None if tokens else "the telemetry has no tokens: they stand under price",
        by_use_case=tuple(by_use_case),
        by_token=tuple(TokenEffect(t, d, usd(n), n) for (t, d), n in by_token.items()),
        new=tuple(new[:MAX_NAMED]),
        gone=tuple(gone[:MAX_NAMED]),
        n_new=len(new),
        n_gone=len(gone),
        prices=tuple(frozen(p) for p in used),
        unpriced=tuple(model_of(name) for name in bare),
        unpriced_reasons=tuple(_why_unpriced(name, prices) for name in bare),
    )
    rows = [
        {**model_of(p.name), "driver": p.driver, "usd_per_day": usd(p.amount),
         "nano_usd_days": p.amount}
        for p in _ranked(parts)
    ]  # fmt: skip
    return Drivers(
        section,
        pd.DataFrame(rows, columns=[*keys, *_COLUMNS]),
        tuple(filter(None, (models.note("models", MAX_MODELS),
                            use_cases.note("use cases", MAX_USE_CASES)))),
    )  # fmt: skip


# ── cells ────────────────────────────────────────────────────────────────────────────────


def _model_name(piece: Piece) -> str:
    # JSON, for no text of the telemetry may pass for two texts, or for none.
    return json.dumps(piece.model, ensure_ascii=False)


def _use_case_name(piece: Piece) -> str:
    return json.dumps((piece.use_case,), ensure_ascii=False)


def _cells(pieces: Iterable[Piece], window: int, name: Callable[[Piece], str]) -> dict[str, Cell]:
    """One window's cells by name."""
    cells: dict[str, Cell] = defaultdict(Cell)
    for p in pieces:
        if p.window == window:
            seen = p.cause == "seen"
            cells[name(p)] += Cell(
                p.attempts,
                p.first_attempts,
                p.attempts if seen else 0,
                p.nano_usd,
                p.tokened if seen else 0,
                p.tokens if seen else 0,
            )
    return dict(cells)


def _alone(here: Cells, there: Cells) -> list[tuple[str, Cell]]:
    return [(n, c) for n, c in here.items() if n not in there]


def _by(parts: Iterable[Part], key: Callable[[Part], Key]) -> dict[Key, int]:
    sums: dict[Key, int] = defaultdict(int)
    for part in sorted(parts, key=lambda p: (p.name, DRIVERS.index(p.driver))):
        sums[key(part)] += part.amount
    return dict(sums)


def _ranked(parts: tuple[Part, ...]) -> list[Part]:
    return sorted(parts, key=lambda p: (-abs(p.amount), p.name, p.driver))


# ── tokens by kind ───────────────────────────────────────────────────────────────────────


class _Tally:
    """Of one model in one window: list cost in nano-USD and tokens by kind, and attempts with both."""

    def __init__(self) -> None:
        self.lists = dict.fromkeys(TOKENS, Fraction(0))
        self.counts = dict.fromkeys(TOKENS, 0)
        self.attempts = 0

    def add(self, piece: Piece, price: ListPrice) -> None:
        self.attempts += piece.attempts
        counts = (piece.prompt - piece.cached, piece.cached, piece.completion)
        costs = list_cost(price, piece.prompt, piece.cached, piece.completion)
        for kind, n in zip(TOKENS, counts, strict=True):
            self.lists[kind] += costs[kind]
            self.counts[kind] += n


def _tokens(
    pieces: Sequence[Piece],
    prices: PriceList,
    models: Names,
    keys: Sequence[str],
    parts_of: Callable[[Cells, Cells, tuple[Cell, Cell]], tuple[Part, ...]],
) -> tuple[dict[tuple[str, str], int], list[ListPrice], list[str]]:
    """Amounts by kind of token and driver, the prices in force, and the names of models without one.

    What a model cost is shared among the kinds by list price, so that the price of each is its list
    price times what was paid of it. A model is split only where all of its tokens have a price.
    """
    if not prices.prices and not prices.without:
        return {}, [], []
    used: set[int] = set()
    bare: set[str] = set()
    tallies: dict[tuple[int, str], _Tally] = defaultdict(_Tally)
    for p in pieces:
        price = prices.in_force(dict(zip(keys, p.model, strict=True)), p.era)
        if price is not None:
            used.add(prices.prices.index(price))
        if p.cause != "seen":
            continue
        name = models.name(p)
        if price is None or name == REST:
            bare.add(name)
        elif p.tokens_known == TOKENS_KNOWN:
            tallies[p.window, name].add(p, price)
    cells = {w: _cells(pieces, w, models.name) for w in (1, 0)}
    for w, held in cells.items():
        bare |= {n for n, c in held.items() if c.cost and not sum(tallies[w, n].lists.values())}
    split: dict[int, dict[str, Cell]] = {1: {}, 0: {}}
    kinds: dict[str, str] = {}
    for w, held in cells.items():
        for name, cell in held.items():
            of = {"all": cell} if name in bare else _by_kind(cell, tallies[w, name])
            for kind, own in of.items():
                split[w][f"{kind} {name}"], kinds[f"{kind} {name}"] = own, kind
    both = total(cells[1].values()), total(cells[0].values())
    sums = _by(parts_of(split[1], split[0], both), lambda p: (kinds[p.name], p.driver))
    order = (*TOKENS, "all")
    ranked = sorted(sums, key=lambda one: (order.index(one[0]), DRIVERS.index(one[1])))
    return (
        {key: sums[key] for key in ranked},
        [prices.prices[i] for i in sorted(used)],
        sorted(bare),
    )


def _why_unpriced(name: str, prices: PriceList) -> str:
    if name == REST:
        return "they are many, and taken together"
    known = prices.without.get(tuple(json.loads(name)))
    return known or "no list price of it covers all of its traffic"


def _by_kind(cell: Cell, tally: _Tally) -> dict[str, Cell]:
    return {
        kind: Cell(cell.attempts, cell.first_attempts, cell.known, cost, tally.attempts,
                   tally.counts[kind])
        for kind, cost in _shared(cell.cost, tally.lists).items()
    }  # fmt: skip


def _shared(cost: int, lists: Mapping[str, Fraction]) -> dict[str, int]:
    """`cost` by kind of token in proportion to list prices: integers that sum to it."""
    whole = sum(lists.values())
    if not whole:
        return dict.fromkeys(TOKENS, 0)
    shares = {kind: round(cost * held / whole) for kind, held in lists.items()}
    largest = max(shares, key=lambda kind: (shares[kind], kind))
    shares[largest] += cost - sum(shares.values())
    return shares


# ── time ─────────────────────────────────────────────────────────────────────────────────


def _times(telemetry: Telemetry) -> tuple[float, int, int]:
    """(units a day, D₁, D₀): lengths in days where whole, else in seconds.

    The baseline's length counts each weekday with its weight.
    """
    windows = telemetry.windows
    assert windows.baseline is not None
    days1, days0 = telemetry.candidate_days, _weighted_days(telemetry.baseline_days, windows)
    if days1.is_integer() and days0.is_integer():
        return 1.0, int(days1), int(days0)
    return 86_400.0, round(days1 * 86_400), round(days0 * 86_400)


def _weighted_days(days: float, windows: ResolvedWindows) -> float:
    if all(w == 1 for w in windows.weekday_weights) or windows.baseline is None:
        return days
    held = coverage(windows, windows.baseline)
    return sum(windows.weekday_weights[(day + 3) % 7] * share for day, share in held.items())
