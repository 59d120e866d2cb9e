"""The contract page: what the telemetry violates, what that could hide, and what was read."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    answer,
    bullets,
    checks_of,
    mark,
    notes,
    over,
    paragraph,
    prose,
    told,
    view_actions,
)
from analysis.present.escape import Html, escape, say
from analysis.present.formats import (
    Format,
    between,
    count,
    ms,
    percent,
    plural,
    points,
    ratio,
    size,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.review import Review


def parts(review: Review) -> Parts:
    """The contract page."""
    body = review.body
    return Parts(_answer(body), _evidence(body), _actions(body))


def _answer(body: Body) -> tuple[Html, ...]:
    section = body["views"]["contract"]
    errors, warnings = section["n_errors"], section["n_warnings"]
    outcome = "fail" if errors else "pass"
    rules = plural(section["n_rules"], "rule")
    if errors:
        story = (
            f"The telemetry breaks its contract: {plural(errors, 'error')} and "
            f"{plural(warnings, 'warning')} under {rules}. What breaks it is set aside; the rest is reviewed."
        )
    elif warnings:
        story = f"The telemetry keeps its contract, with {plural(warnings, 'warning')} ({rules} checked)."
    else:
        story = f"The telemetry keeps its contract: {rules} checked, nothing violated."
    return (answer(outcome, say("<p>{mark} {story}</p>", mark=mark(outcome), story=story)),)


def _evidence(body: Body) -> tuple[Html, ...]:
    judged = [told(c) for c in checks_of(body, "contract")]
    return (
        *_violations(body),
        *_set_aside(body),
        *_below(body),
        *_unknown(body),
        *_bounds(body),
        _rules(body),
        _inputs(body),
        *notes(judged, "Checks on the contract:"),
    )


def _violations(body: Body) -> tuple[Html, ...]:
    found = body["views"]["contract"]["violations"]
    if not found:
        return (paragraph("There is no violation to list."),)
    return (
        table(
            "Violations, errors first",
            [text("Severity"), text("Rule"), text("Where"), Column("Rows"), text("What to do")],
            [
                [v["severity"], _rule(v), _where(v), _rows(v), _hint(v)]
                for v in found
            ],
            "Over all rows of the table, both windows and what lies outside of them. Rules of one cause "
            "fail on the same rows. Examples are masked: letters stand as a, digits as 9.",
        ),
    )  # fmt: skip


def _rule(v: Body) -> Html:
    return over(v["rule"], "" if v["cause"] is None else f"cause {v['cause']}")


def _where(v: Body) -> Html:
    """The column above its table; a name may break where a phone is narrow."""
    name = escape(v["table"]).replace("_", "_<wbr>")
    if v["column"] is None:
        return Html(name)
    column = escape(v["column"], 80).replace("_", "_<wbr>")
    return say('{c}<br><span class="rr-range">{t}</span>', c=Html(column), t=Html(name))


def _rows(v: Body) -> Html:
    if v["n_rows"] is None:
        return Html("suppressed")
    if not v["n_rows"]:
        return Html("the table")
    return over(count(v["n_rows"]), percent(v["share"]))


def _hint(v: Body) -> Html:
    if not v["examples"]:
        return prose(v["hint"])
    return say(
        '<span class="rr-prose">{h}<br><span class="rr-range">such as {e}</span></span>',
        h=v["hint"],
        e="; ".join(v["examples"]),
    )


def _set_aside(body: Body) -> tuple[Html, ...]:
    aside = body["views"]["contract"]["quarantine"]
    if aside is None:
        return ()
    rows = ", ".join(f"{count(n)} of {name}" for name, n in aside["rows"].items() if n)
    return (
        paragraph(
            f"Set aside: {rows} ({percent(aside['share'])} of the interactions). "
            "Sessions and users of which only a total is wrong keep their interactions. The option "
            "--quarantine DIR writes all of them to a directory."
        ),
    )


def _below(body: Body) -> tuple[Html, ...]:
    counted = body["views"]["contract"]["below"]
    if not counted:
        return ()
    return (
        table(
            "Counted, and below what is worth a warning",
            [text("Rule"), text("Where"), Column("Rows"), text("What it says")],
            [[v["rule"], _where(v), _rows(v), prose(v["hint"])] for v in counted],
            "Not nothing: shown so that nobody takes it for zero.",
        ),
    )


def _unknown(body: Body) -> tuple[Html, ...]:
    bounds = body["views"]["contract"]["bounds"]
    if bounds is None:
        return ()
    windows = [w for w in ("baseline", "candidate") if body["windows"][w] is not None]
    sides = [bounds[w] for w in windows]
    rows: list[list[object]] = [
        [f"{column} not known", *(count(s["missing"].get(column)) for s in sides)]
        for column in sorted({c for s in sides for c in s["missing"]})
    ]
    rows.append(["Set aside for breaking the contract", *(count(s["set_aside"]) for s in sides)])
    rows.append(["Lost: counted by totals, not there", *(count(s["lost"]) for s in sides)])
    twice = (
        " What may have been in either window counts in both: rows without a time or a session, and "
        "what is lost without one."
        if len(windows) > 1 and bounds["n_absent"]
        else ""
    )
    return (
        table(
            "Interactions that nobody knows the outcome, latency or cost of",
            [text("What"), *(Column(w.capitalize()) for w in windows)],
            rows,
            f"{spans.both(body)} {plural(bounds['n_interactions'], 'interaction')} altogether, each "
            f"counted once.{twice}",
        ),
    )


_FIGURES: dict[str, tuple[str, Format, Format]] = {
    "failure_rate": ("Failure rate", percent, points),
    "latency_breach_rate": ("Latency breach rate", percent, points),
    "cost_usd_per_interaction": ("Cost per interaction, USD", usd, ratio),
    "latency_ms_p50": ("Latency, median", ms, ratio),
    "latency_ms_p95": ("Latency, 95th percentile", ms, ratio),
    "latency_ms_p99": ("Latency, 99th percentile", ms, ratio),
    "usd_per_day": ("Spend, USD a day", usd, usd),
}


def _bounds(body: Body) -> tuple[Html, ...]:
    """Every headline figure that the unknown rows could move, with how far."""
    bounds = body["views"]["contract"]["bounds"]
    if bounds is None:
        return ()
    rows = [
        [name, held["window"], form(held["value"]), between(held["low"], held["high"], form)]
        for held in bounds["figures"]
        if not held["value"] == held["low"] == held["high"]
        for name, form in [_figure(held)]
    ]
    apart = ", contract.errors left aside," if body["views"]["contract"]["quarantine"] else ""
    worst, best = "bad in the candidate and good in the baseline", "the other way round"
    if body["windows"]["baseline"] is None:
        worst, best = "bad", "with every one good"
    outcomes = (
        f"As reviewed the decision{apart} is {bounds['reviewed']}; with every unknown row {worst} it would "
        f"be {bounds['worst']}, {best} {bounds['best']}. For these, health and budgets are judged anew; "
        "hotspots, routing, drift and triage stay as they are."
    )
    if not rows:
        return (paragraph(outcomes),)
    return (
        table(
            "What the unknown rows could hide",
            [text("Figure"), text("Window"), Column("As reviewed"), Column("Worst case")],
            rows,
            outcomes,
        ),
    )


def _figure(held: Body) -> tuple[str, Format]:
    """What a figure is called, and how it is written."""
    for end, what, form in (
        ("_burn_rate", "Burn of SLO", ratio),
        ("_budget_consumed", "Budget spent of SLO", percent),
    ):
        if held["figure"].endswith(end):
            return f"{what} {held['figure'].removesuffix(end)}", form
    name, level, change = _FIGURES.get(held["figure"], (held["figure"], usd, usd))
    return name, change if held["window"] == "change" else level


def _rules(body: Body) -> Html:
    """Every rule, and whether the telemetry keeps it."""
    section = body["views"]["contract"]
    broken = {v["rule"] for v in section["violations"]}
    rows = [
        [
            r["rule"],
            r["severity"],
            "violated" if r["rule"] in broken else "kept",
            prose(r["description"]),
        ]
        for r in section["rules"]
    ]
    return table(
        "Rules that were asked",
        [text("Rule"), text("Severity"), text("Outcome"), text("What it says")],
        rows,
        "From data/contract.yml, and a contract of your own where one was given. A rule whose tables or "
        "columns are not there has nothing to say, and counts as kept.",
    )


def _inputs(body: Body) -> Html:
    return table(
        "What was read",
        [text("Table"), text("File"), Column("Rows"), Column("Size"), text("SHA-256 begins")],
        [
            [i["table"], i["file"], count(i["rows"]), size(i["bytes"]), i["sha256"][:12]]
            for i in body["inputs"]
        ],
        f"{spans.both(body)} The artifact page has the whole digests.",
    )


def _actions(body: Body) -> tuple[Html, ...]:
    found = body["views"]["contract"]["violations"]
    first = [v for v in found if v["cause"] is None or _leads(v, found)]
    items: list[object] = [
        say("{where}: {hint}", where=f"{v['table']}.{v['column'] or '*'}", hint=v["hint"])
        for v in first[:8]
    ]
    if len(first) > 8:
        items.append(f"… and {len(first) - 8} more.")
    items += [
        c["action"]
        for c in checks_of(body, "contract")
        if items and (c["id"], c["outcome"]) == ("contract.bounds", "fail")
    ]
    return (bullets(items),) if items else view_actions(body, "contract")


def _leads(v: Body, found: Sequence[Body]) -> bool:
    """Whether a violation is the first of its cause: mended there, the others are mended too."""
    return next(w for w in found if w["cause"] == v["cause"]) is v
