"""The first page: the decision, what carries it, what to do next, and every check."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.ledger import Ledger
from analysis.present import gate_page, measures, spans, summary
from analysis.present.blocks import (
    NOTHING,
    Body,
    Parts,
    bullets,
    figure,
    link,
    notes,
    paragraph,
    prose,
)
from analysis.present.escape import Html, say
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    NONE,
    count,
    moment,
    number,
    percent,
    plural,
    sentence,
    tick,
    typeset,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.health import headline
from analysis.review import Review

MAX_COLUMNS = 12
_LACKING = re.compile(
    r"the policy names the column '(?P<column>.*)', which the telemetry lacks: left out"
)
# Beyond this many times its limit a check is drawn at the edge, and its number says how far.
_EDGE = 4.0


def parts(review: Review) -> Parts:
    """The decision page, while no ledger is read."""
    return parts_of(review.body, Ledger())


def parts_of(body: Body, ledger: Ledger) -> Parts:
    """The decision page of one review over a ledger."""
    return Parts(summary.blocks(body, ledger), _evidence(body), _actions(body))


# ── what to do ───────────────────────────────────────────────────────────────────────────


def _actions(body: Body) -> tuple[Html, ...]:
    decision = body["decision"]
    out: list[Html] = []
    steps = summary.steps(body)
    if steps:
        out.append(bullets(steps, ordered=True))
    elif decision["outcome"] == "ship":
        out.append(paragraph("Ship it, and watch what the table names."
                             if decision["watch"] else "Ship it."))  # fmt: skip
    open_ = [c for c in summary.carrying(body) if c["outcome"] == "inconclusive"]
    if decision["outcome"] == "hold" and open_:
        out.append(_needs(decision, open_))
    out += gate_page.needs(body)
    out += gate_page.flips(body)
    out += _watch(decision)
    return tuple(out) or (paragraph(NOTHING),)


def _needs(decision: Body, open_: Sequence[Body]) -> Html:
    needs = decision["needs"]
    if all(c["value"] is None for c in open_):
        return paragraph(
            "More traffic alone does not settle this: what is missing must come first."
        )
    if needs["interactions"] is None:
        return paragraph(
            "How much more traffic would settle it cannot be said: something is missing or has failed, "
            "or the change is so near its limit that no traffic that can be waited for decides it."
        )
    return paragraph(
        f"What more traffic can settle needs about {count(needs['interactions'])} interactions over "
        "both windows, "
        f"which is a candidate window of {_days(needs['days'])} at current traffic."
    )


def _days(days: float) -> str:
    return f"{number(days, 0 if days >= 30 else 1)} days"


def _watch(decision: Body) -> list[Html]:
    if not decision["watch"]:
        return []
    return [
        table(
            "After shipping: what to watch, and when to roll back",
            [text("Watch"), Column("Roll back above"), Column("For, days")],
            [[w["what"].capitalize().replace(" in usd", ""), _watched(w["what"], w["limit"]), number(w["days"], 0)]
             for w in decision["watch"]],
            "Limits of rates and costs are the baseline's level plus what the gate accepted; those of budgets "
            "and of the queue are the policy's. Alert on each, and roll the release back where one is exceeded.",
        )
    ]  # fmt: skip


def _watched(what: str, limit: float) -> str:
    if what.endswith("USD"):
        return f"{usd(limit)} USD"
    return percent(limit) if what.endswith("rate") else number(limit, 4)


# ── what changed ─────────────────────────────────────────────────────────────────────────

_CHANGED = ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction", "latency_ms_p95")
_ELSEWHERE = ("hotspots.regression", "drift.high")


def _changes(body: Body) -> tuple[Html, ...]:
    """The figures that a release is known by, and the slices and columns that moved."""
    told = _moved(body)
    if body["windows"]["baseline"] is None:
        return (paragraph("Nothing is compared: this is declared as a first release."),)
    known = [n for n in _CHANGED if body["views"]["health"]["change"][n]["value"] is not None]
    if not known:
        return (
            paragraph("No failure rate, latency or cost can be compared; the reasons follow."),
            *told,
        )
    return (
        headline(
            body, known, "Candidate against baseline, with 95 % intervals",
            say("{spans} More: {health}.", spans=spans.both(body),
                health=link("health.html", "health page")),
        ),
        *told,
    )  # fmt: skip


def _moved(body: Body) -> tuple[Html, ...]:
    moved = [
        c
        for c in body["checks"]
        if c["id"] in _ELSEWHERE and c["outcome"] == "fail" and c["value"] is not None
    ]
    lines = [
        say("{sentence} ({id})", sentence=typeset(c["sentence"]), id=measures.linked(c))
        for c in moved
    ]
    return (bullets(lines),) if lines else ()


def _compared(windows: Body) -> tuple[Html, ...]:
    """What a difference between the windows may be due to, besides the release."""
    if windows["baseline"] is None:
        return ()
    if windows["comparison"] == "concurrent":
        return (paragraph("Candidate and baseline ran at the same time.", note=True),)
    n = len(windows["exclude"])
    left_out = f" {plural(n, 'known incident')} {'is' if n == 1 else 'are'} left out." if n else ""
    return (
        paragraph(
            "Before and after: an outage of a provider in the candidate's time would count against the "
            f"release, unless windows.exclude names it.{left_out}",
            note=True,
        ),
    )


# ── the evidence ─────────────────────────────────────────────────────────────────────────


def _evidence(body: Body) -> tuple[Html, ...]:
    return (
        *_changes(body),
        *_compared(body["windows"]),
        *gate_page.error_rate(body),
        paragraph(
            "Each check compares the candidate window with a limit that the policy fixed beforehand. The "
            "table has every check, with a link to its page."
        ),
        *_forest(body),
        measures.check_table(body["checks"], "All checks, the deciding ones first", _source(body)),
        *_unjudged(body),
        *gate_page.rules(body),
        _windows(body),
        *_exclusions(body),
        *notes(_warnings(body), "Warnings:"),
    )


def _warnings(body: Body) -> list[str]:
    """The review's warnings; those about columns that are not there become one."""
    warnings = body["windows"]["warnings"]
    lacking = [m["column"] for w in warnings if (m := _LACKING.fullmatch(w))]
    if len(lacking) < 2:
        return list(warnings)
    shown = ", ".join(lacking[:MAX_COLUMNS])
    more = f" and {len(lacking) - MAX_COLUMNS} more" if len(lacking) > MAX_COLUMNS else ""
    one = f"the telemetry lacks {len(lacking)} columns of the policy, which are left out: {shown}{more}"
    return [*(w for w in warnings if not _LACKING.fullmatch(w)), one]


def _source(body: Body) -> str:
    return (
        f"{spans.both(body)} A failed block check blocks; a failed hold check, or a block check that "
        "is inconclusive, holds; notes change nothing. pp: percentage points; ×: times."
    )


def relative(check: Body, figure: float | None) -> float | None:
    """`figure` as a share of what the check's limit allows: 0 no change or nothing used, 1 the limit."""
    if figure is None:
        return None
    start = 1.0 if check["unit"] == "ratio" else 0.0
    return float((figure - start) / (check["limit"] - start))


def _forest(body: Body) -> tuple[Html, ...]:
    """Deciding checks with an interval and a limit that can be used up, on one scale."""
    drawn = [
        c
        for c in measures.by_weight(body["checks"])
        if c["severity"] != "note" and c["comparison"] == "at_most"
        and None not in (c["value"], c["low"], c["high"], c["limit"])
        and c["limit"] > (1.0 if c["unit"] == "ratio" else 0.0)
    ][:10]  # fmt: skip
    if not drawn:
        return ()
    rows = [_row(c) for c in drawn]
    alt = "Checks against their limits. " + " ".join(
        f"{c['id']}: {measures.value(c)}, 95 % interval {measures.interval(c)}, passes at "
        f"{measures.limit(c)}, {c['outcome']}." for c in drawn
    )  # fmt: skip
    svg = forest(
        "How much of its limit each check uses",
        rows,
        "Share of what the limit allows, %",
        tick(100),
        [Line(0.0, "nothing used", limit=False), Line(1.0, "limit")],
    )
    caption = (
        "Value and 95 % interval of each deciding check that has both, as a share of its limit. "
        "Circle: pass; cross: fail; diamond: inconclusive. A check whose limit is none at all "
        "(slices, drifting columns) stands in the table only. Bars are cut at four times the limit."
    )
    return (figure(svg, alt, caption, name="How much of its limit each check uses"),)


def _row(check: Body) -> Row:
    def edged(figure: float | None) -> float | None:
        share = relative(check, figure)
        return None if share is None else min(max(share, -_EDGE), _EDGE)

    value = edged(check["value"])
    assert value is not None
    words = f"{measures.value(check)}, {check['outcome']}"
    return Row(
        check["id"], value, edged(check["low"]), edged(check["high"]), words, check["outcome"]
    )


def _unjudged(body: Body) -> tuple[Html, ...]:
    open_ = [c for c in measures.by_weight(body["checks"]) if c["outcome"] == "inconclusive"]
    if not open_:
        return (paragraph("Every check could be judged."),)
    return (
        table(
            "What could not be judged, and why",
            [text("Check"), text("Severity"), text("Reason")],
            [
                [
                    measures.linked(c),
                    c["severity"],
                    prose(sentence(c["reason"]) if c["reason"] else NONE),
                ]
                for c in open_
            ],
            "Inconclusive is no pass: on a block check it holds the release.",
        ),
    )


def _windows(body: Body) -> Html:
    windows = body["windows"]
    rows: list[Sequence[object]] = []
    for name in ("candidate", "baseline"):
        held = windows[name]
        if held is None:
            rows.append([name, "none: a first release", None, None, None, None])
            continue
        rows.append(
            [name, moment(held["start_utc"]), moment(held["end_utc"]),
             count(held["n_interactions"]), count(held["n_sessions"]), count(held["n_users"])]
        )  # fmt: skip
    n_excluded = len(windows["exclude"])
    excluded = (
        f" {plural(n_excluded, 'stretch', 'stretches')} of time left out." if n_excluded else ""
    )
    kind = {
        "concurrent": "Both windows ran at the same time: their difference is the release.",
        "before_after": "The windows follow each other: what changed between them besides the "
        "release counts too, so days are clusters as well.",
    }[windows["comparison"]]
    return table(
        "The windows that are compared",
        [text("Window"), Column("From, UTC"), Column("Until, UTC"), Column("Interactions"),
         Column("Sessions"), Column("Users")],
        rows,
        f"{kind} Interactions of one {windows['cluster']} count as one cluster.{excluded}",
    )  # fmt: skip


def _exclusions(body: Body) -> tuple[Html, ...]:
    excluded = body["windows"]["exclude"]
    if not excluded:
        return ()
    return (
        table(
            "Left out of both windows",
            [Column("From, UTC"), Column("Until, UTC"), text("Reason")],
            [[moment(e["start"]), moment(e["end"]), prose(e["reason"])] for e in excluded],
            "Known incidents that the policy names (windows.exclude).",
        ),
    )
