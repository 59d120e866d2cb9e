"""The health page: failures, latency and cost of the candidate against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.present import bounded, spans
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    paragraph,
    stacked,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html, say
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    Format,
    count,
    number,
    percent,
    points,
    ratio,
    signed,
    stated,
    tick,
)
from analysis.present.grid import Column, table, text
from analysis.present.health_figures import CHECKS, LEVELS, NAMES, daily, headed, latency
from analysis.present.health_models import by_model
from analysis.review import Review

# Ratios beyond this, or its inverse, are drawn at the edge.
_EDGE = 4.0
_SCORES = ("response_quality_score", "user_feedback_score")


def parts(review: Review) -> Parts:
    """The health page."""
    body, result = review.body, review.results["health"]
    return Parts(
        view_answer(body, "health"),
        (
            *_changes(body),
            *daily(body, result.series["days"]),
            *latency(body, result.series["latency"]),
            headline(
                body,
                tuple(NAMES),
                "Headline figures with their 95 % intervals",
                f"{spans.both(body)} Percentiles are read to within 1 %: a smaller change may show as none.",
            ),
            *by_model(body),
            *_more(body),
            _missing(body),
            *view_notes(body, "health", result.notes),
        ),
        view_actions(body, "health"),
    )


# ── what changed ─────────────────────────────────────────────────────────────────────────


def _changes(body: Body) -> tuple[Html, ...]:
    rates = _change_figure(
        body,
        ("failure_rate", "latency_breach_rate"),
        points,
        "Failures and latency breaches: candidate minus baseline",
        "Difference, percentage points",
        tick(100, sign=True),
        Line(0.0, "no change", limit=False),
    )
    ratios = _change_figure(
        body,
        ("cost_usd_per_interaction", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"),
        ratio,
        "Cost and latency: candidate as a multiple of the baseline",
        "Ratio",
        tick(),
        Line(1.0, "no change", limit=False),
    )
    return (*rates, *ratios)


def _change_figure(
    body: Body,
    names: tuple[str, ...],
    form: Format,
    title: str,
    axis: str,
    mark_at: Format,
    line: Line,
) -> tuple[Html, ...]:
    change = body["views"]["health"]["change"]
    known = [n for n in names if change[n]["value"] is not None]
    if not known:
        return ()
    checks = {c["id"]: c for c in body["checks"]}
    rows, stories = [], []
    for name in known:
        held = change[name]
        check = checks.get(CHECKS.get(name, ""))
        limit = None if check is None else check["limit"]
        outcome = "plain" if check is None or limit is None else check["outcome"]
        short = NAMES[name]
        words = stated(held, form)
        mark = "" if limit is None else f"limit {form(limit)}"
        value, low, high = _drawn(held, form)
        rows.append(Row(short, value, low, high, words, outcome, limit, mark))
        judged = f", {mark}, {outcome}" if mark else ""
        stories.append(f"{short} {words}{judged}.")
    svg_bytes = forest(title, rows, axis, mark_at, [line])
    caption = (
        f"{spans.both(body)} Bars: 95 % intervals. Circle: pass, or not judged where no limit is "
        f"marked; cross: fail; diamond: inconclusive.{_cut(change, known, form)}"
    )
    return (figure(svg_bytes, f"{title}. {' '.join(stories)}", caption, name=title),)


def _drawn(held: Body, form: Format) -> list[Any]:
    """value, low, high; a ratio's kept so near that one wide interval does not hide the others."""
    figures = [held[k] for k in ("value", "low", "high")]
    if form is not ratio:
        return figures
    return [None if f is None else min(max(f, 1 / _EDGE), _EDGE) for f in figures]


def _cut(change: Body, names: list[str], form: Format) -> str:
    whole = all(
        _drawn(change[n], form) == [change[n][k] for k in ("value", "low", "high")] for n in names
    )
    return "" if whole else " A bar that leaves the figure is cut: its numbers stand beside it."


# ── tables ───────────────────────────────────────────────────────────────────────────────


def headline(body: Body, names: Sequence[str], title: str, source: object) -> Html:
    """The named figures of both windows and their change, with intervals."""
    health = body["views"]["health"]
    rows = []
    for name in names:
        change: Format = points if name.endswith("rate") else ratio
        rows.append(
            [headed(name),
             bounded.stacked(body, health["change"][name], change, name, "change"),
             bounded.stacked(body, health["baseline"][name], LEVELS[name], name, "baseline"),
             bounded.stacked(body, health["candidate"][name], LEVELS[name], name, "candidate"),
             count(health["change"][name]["support"])]
        )  # fmt: skip
    if all(health[w][n]["value"] is None for w in ("baseline", "candidate") for n in names):
        return paragraph("No failure rate, latency or cost is known; the checks above say why.")
    explained = f" {bounded.EXPLAINED}" if bounded.any_of(body, tuple(names)) else ""
    return table(title, _COLUMNS, rows, say("{source}{more}", source=source, more=explained))


# The change stands first: a phone shows no more than three columns at once.
_COLUMNS = [text("Figure"), Column("Change"), Column("Baseline"), Column("Candidate"),
            Column("Interactions")]  # fmt: skip


def _more(body: Body) -> tuple[Html, ...]:
    more = body["views"]["health"]["more"]
    rows = []
    for name, held in more.items():
        level, change = _kind(name)
        rows.append(
            [name, stacked(held["change"], change), stacked(held["baseline"], level),
             stacked(held["candidate"], level), count(held["change"]["support"])]
        )  # fmt: skip
    if not rows:
        return ()
    source = (
        "Means per interaction, and shares of interactions for flags and retries; the shares of cost are "
        "those of the dearest 1 % of interactions, and of the one cluster that costs most. Changes: pp is "
        "percentage points, × a ratio; scores are differences. "
    )
    return (table("Further figures", _COLUMNS, rows, source + spans.both(body)),)


def _kind(name: str) -> tuple[Format, Format]:
    """How a further figure's level and its change are written."""
    if name in _SCORES:
        return lambda v: number(v, 3), lambda v: signed(v)
    if name.endswith("_count"):
        return lambda v: number(v, 2), ratio
    if name.endswith(("tokens", "_ms", "_second")):
        return lambda v: number(v, 1), ratio
    return percent, points


def _missing(body: Body) -> Html:
    missing = body["views"]["health"]["missing"]
    held = {
        c: m for c, m in missing.items() if max(m["baseline"] or 0.0, m["candidate"] or 0.0) > 0
    }
    if not held:
        return paragraph("No column is missing a value in either window.")
    rows = sorted(
        held.items(), key=lambda kv: (-max(kv[1]["baseline"] or 0, kv[1]["candidate"] or 0), kv[0])
    )
    worst = body["policy"]["settings"]["missing"]["max_rate"]
    return table(
        "Missing values",
        [text("Column"), Column("Baseline"), Column("Candidate")],
        [[c, percent(m["baseline"]), percent(m["candidate"])] for c, m in rows],
        f"Share of interactions without a value, columns without any left out. A check whose column "
        f"is missing above {percent(worst, 0)} in either window is inconclusive.",
    )
