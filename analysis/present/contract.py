"""The contract page: what the telemetry violates, and what was read."""

from __future__ import annotations

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    answer,
    bullets,
    checks_of,
    mark,
    notes,
    paragraph,
    prose,
    told,
    view_actions,
)
from analysis.present.escape import Html, say
from analysis.present.formats import count, percent, plural, size
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
    return (*_violations(body), _inputs(body), *notes(judged, "Checks on the contract:"))


def _violations(body: Body) -> tuple[Html, ...]:
    found = body["views"]["contract"]["violations"]
    if not found:
        return (paragraph("There is no violation to list."),)
    ordered = sorted(found, key=lambda v: v["severity"] != "error")
    return (
        table(
            "Violations, errors first",
            [text("Severity"), text("Rule"), text("Table"), text("Column"), Column("Rows"),
             Column("Share of rows"), text("What to do")],
            [
                [v["severity"], v["rule"], v["table"], v["column"], count(v["n_rows"]),
                 percent(v["share"]), prose(v["hint"])]
                for v in ordered
            ],
            "Over all rows of the table, both windows and what lies outside of them.",
        ),
    )  # fmt: skip


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
    hints = list(dict.fromkeys(v["hint"] for v in body["views"]["contract"]["violations"]))[:5]
    own = view_actions(body, "contract")
    return (bullets(hints),) if hints else own
