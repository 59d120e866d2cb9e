"""What the log holds of each routing candidate, what speaks against it, and what would settle it."""

from __future__ import annotations

from typing import Any

from analysis.present import spans
from analysis.present.blocks import Body, bullets, over, paragraph, prose, stacked
from analysis.present.escape import Html, escape, say
from analysis.present.formats import (
    NONE,
    between,
    count,
    number,
    percent,
    points,
    sentence,
    signed,
    signed_usd,
    small,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.routing_verdict import WORDS
from analysis.views.routing_decision import MIN_EFFECTIVE_SAMPLE_SIZE, MIN_MATCHED_FAILURES
from analysis.views.routing_doubts import MOST_IMBALANCE, MOST_PARETO_K

MAX_SLICES = 24
_DUE = say('<span class="rr-range">{t}</span>', t="should be")


def slices(body: Body, section: Body) -> tuple[Html, ...]:
    """Who wins and who loses, gains first; what is kept for harm is told with its slice."""
    told = {c["name"]: _estimated(c) for c in section["candidates"]}
    held = [name for name, found in told.items() if found]
    if not held:
        return ()
    each = max(MAX_SLICES // len(held), 2)
    rows = [
        [
            name,
            prose(escape(one["slice"])),
            count(one["requests"]),
            percent(one["moved_share"], 0),
            stacked(one["saving_usd"], signed_usd),
            stacked(one["failure_change"], points),
        ]
        for name in held
        for one in _ends(told[name], each)
    ]
    kept = [c for c in section["candidates"] if c["recommendation"] == "keep"]
    cut = any(len(told[name]) > each for name in held)
    return (
        table(
            "Who wins and who loses",
            [text("Candidate"), text("Slice"), Column("Requests"), Column("Part moved"),
             Column("Saving per request, USD"), Column("Change of failures")],
            rows,
            "Slices of routing.context that a candidate changes, those that gain most in all first"
            + (f", those that lose most last; of more than {each} the first and the last. " if cut else ". ")
            + "Saving in unit cost, per request of the slice; below each value its 95 % interval, of each "
            f"slice alone: among many some look good or bad by chance. {spans.candidate(body)}",
            file="routing_slices.csv",
        ),
        *((paragraph("Why the present routing is kept:"),
           bullets([say("{n}: {r}", n=escape(c["name"]), r=sentence(c["reason"])) for c in kept]))
          if kept else ()),
    )  # fmt: skip


def _estimated(candidate: Body) -> list[Body]:
    return [s for s in candidate["slices"]
            if s["saving_usd"]["value"] is not None or s["failure_change"]["value"] is not None]  # fmt: skip


def _ends(found: list[Body], most: int) -> list[Body]:
    if len(found) <= most:
        return found
    return [*found[: most - most // 2], *found[-(most // 2) :]]


# ── evidence ─────────────────────────────────────────────────────────────────────────────


def support(section: Body) -> tuple[Html, ...]:
    """How much of the log speaks for each candidate, beside what is needed."""
    if not section["candidates"]:
        return ()
    bounded = any(c["bounds"] is not None for c in section["candidates"])
    due: list[object] = [
        _DUE, None, "100 %", f"≥ {MIN_EFFECTIVE_SAMPLE_SIZE}", f"≥ {MIN_MATCHED_FAILURES}", None,
        f"≤ {MOST_PARETO_K}", *([None] if bounded else []),
    ]  # fmt: skip
    rows = [
        [
            c["name"],
            percent(c["changed_share"], 1),
            _held(c["overlap"], lambda v: percent(v, 0), lambda v: v >= 1, "bounds only"),
            _held(c["effective_sample_size"], lambda v: number(v, 0),
                  lambda v: round(v, 9) >= MIN_EFFECTIVE_SAMPLE_SIZE, "too few"),
            _held(c["matched_failures"], count, lambda v: v >= MIN_MATCHED_FAILURES, "too few"),
            number(c["max_weight"], 1),
            _held(c["pareto_k"], signed, lambda v: round(v, 2) <= MOST_PARETO_K, "too large"),
            *([_bounds(c)] if bounded else []),
        ]
        for c in section["candidates"]
    ]  # fmt: skip
    return (
        table(
            "What the log holds of each candidate",
            [text("Candidate"), Column("Requests changed"), Column("Overlap"),
             Column("Effective clusters"), Column("Matched failures"), Column("Largest weight"),
             Column("Pareto k"), *([Column("Bounds of saving, USD")] if bounded else [])],
            [due, *rows],
            "Overlap: share of the changed requests whose new choice was ever logged in their cell"
            + ("; below 100 % only bounds are known. " if bounded else ". ")
            + "Largest weight: how many requests the one that counts most stands for. Pareto k: how "
            "heavy the tail of the weights is; – where they are too few or too even to have one.",
            file="routing_policy.csv",
        ),
    )  # fmt: skip


def _held(value: float | None, form: Any, good: Any, else_: str) -> Html | str:
    """A number, with a word below it where it is not as it should be."""
    if value is None or good(value):
        return str(form(value))
    return over(form(value), else_)


def _bounds(candidate: Body) -> str:
    bounds = candidate["bounds"]
    return NONE if bounds is None else between(bounds["low"], bounds["high"], signed_usd)


def doubts(section: Body) -> tuple[Html, ...]:
    """What speaks against each estimate: balance, negative controls, hidden confounding."""
    estimated = [c for c in section["candidates"] if c["saving_usd"]["value"] is not None]
    if not estimated:
        return ()
    due: list[object] = [
        _DUE, f"within ±{MOST_IMBALANCE:.2f}", "interval holds 0", "interval holds 0", "far above 1",
    ]  # fmt: skip
    rows = [
        [c["name"], _balance(c["balance"]), _control(c, "failures", points),
         _control(c, "cost", signed_usd), _gamma(c)]
        for c in estimated
    ]  # fmt: skip
    return (
        table(
            "What speaks against each estimate",
            [text("Candidate"), text("Worst balance, sd"), text("Control: failures before"),
             text("Control: USD before"), text("Hidden confounding Γ")],
            [due, *rows],
            "Balance: the feature that differs most, after weighting, between requests that got the "
            "candidate's choice and those that it would change. Control: what the request before, in the "
            "same session, had more of where the log took the candidate's choice, which nothing can have "
            "caused. Γ: see below; only of candidates that are adopted or kept.",
        ),
    )  # fmt: skip


def _balance(balance: Body | None) -> Html | str:
    if balance is None:
        return NONE
    off = abs(balance["difference"]) > MOST_IMBALANCE
    return say(
        '{d}{off}<br><span class="rr-range">{c}</span>', d=signed(balance["difference"]),
        off=", beyond" if off else "", c=escape(balance["column"], 40),
    )  # fmt: skip


def _control(candidate: Body, outcome: str, form: Any) -> Html | str:
    found = next((n for n in candidate["negative_controls"] if n["outcome"] == outcome), None)
    if found is None:
        return "too few requests have one before them"
    low, high = found["low"], found["high"]
    holds = (low is None or low <= 0) and (high is None or high >= 0)
    return say(
        '{e}{off}<br><span class="rr-range">{i}; p {p}, n = {n}</span>',
        e=form(found["effect"]), off="" if holds else ", not 0", i=between(low, high, form),
        p=small(found["p_value"]), n=count(found["n"]),
    )  # fmt: skip


def _gamma(candidate: Body) -> Html | str:
    if candidate["gamma_flip"] is None:
        return NONE
    words = candidate["gamma_words"] or ""
    return say("{g}: {w}", g=number(candidate["gamma_flip"]), w=words)


# ── what would settle it ─────────────────────────────────────────────────────────────────


def settling(section: Body) -> tuple[Html, ...]:
    """Of what is not settled: how much more traffic, or which trial."""
    open_ = [c for c in section["candidates"] if c["recommendation"] == "insufficient_evidence"]
    if not open_:
        return ()
    return (
        table(
            f"What would settle what is {WORDS['insufficient_evidence']}",
            [text("Candidate"), Column("More requests like today's"), Column("Days of them"),
             Column("Trial: share sent its way"), Column("Days"), Column("Requests an arm"),
             Column("Trial costs, USD a day")],
            [_settles(c) for c in open_],
            "Either wait for more traffic of the same kind, or send a share of the requests that it "
            "would change its way at random. A trial's cost is in unit cost, below zero where it saves, as "
            "far as the log bounds it. –: not known, or out of reach within eight weeks.",
        ),
    )  # fmt: skip


def _settles(candidate: Body) -> list[object]:
    needs, trial = candidate["needs"], candidate["exploration"]
    waits: list[object] = (
        ["not by waiting", None]
        if needs is None or needs["requests"] is None
        else [count(needs["requests"]), number(needs["days"], 1)]
    )
    if trial is None:
        return [candidate["name"], *waits, None, None, None, None]
    cost = between(trial["usd_per_day_low"], trial["usd_per_day_high"], _money)
    return [candidate["name"], *waits, percent(trial["share"], 0), count(trial["days"]),
            count(trial["requests"]), cost]  # fmt: skip


def _money(value: float | None) -> str:
    return usd(None if value is None else round(value, 2))
