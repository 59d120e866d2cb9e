"""The artifact page: digests, inputs, policy and producer, and how to verify them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analysis.present.blocks import (
    Body,
    Parts,
    answer,
    bullets,
    link,
    of_rows,
    paragraph,
    prose,
)
from analysis.present.escape import Html, say
from analysis.present.formats import count, size
from analysis.present.grid import Column, table, text
from analysis.review import Review
from analysis.tables import FILES, OF_ROWS, TABLES

NOT_SET = "not set"
MAX_SETTINGS = 1_000
"""A policy may name hundreds of thresholds; the page shows what was applied, all of it."""
_SAID = {
    "health_by_model.csv": "every figure of each model",
    "slo_burn.csv": "every objective with its budget, and each alert",
    "slo_by_release.csv": "what each release, prompt version and month burned of a budget",
    "spend_drivers.csv": "what moved the spend, by model and driver",
    "spend_by_hour.csv": "spend, interactions and unknown costs of each hour",
    "hotspots.csv": "every tested slice",
    "routing_policy.csv": "what each rule of a routing candidate changes",
    "routing_backtest.csv": "every candidate under every estimator",
    "routing_slices.csv": "what each routing candidate does to each part of the traffic",
    "drift_report.csv": "every column's drift",
    "drift_references.csv": "every column against each week, release and window before, and its trend",
    "drift_distributions.csv": "every column's counts by bin: what a later review compares with",
    "drift_consequence.csv": "what each change of outcomes is made of, and what the new mix alone burns and costs",
    "triage_threshold_curve.csv": "what each review threshold would have done",
    "triage_quality.csv": "how good the risks are, in all and by slice",
    "triage_net_benefit.csv": "what reviewing from a risk on is worth, at each",
    "triage_queue.csv": "backlog and waiting by day, at the threshold chosen and at the next best",
    "triage_actions.csv": "the queue of interactions to review",
    "triage_policy.json": "the policy of review, for a service to apply",
}

_BESIDE = {
    "decision_artifact.schema.json": "the form of the artifact, as JSON Schema",
    "decision.intoto.json": "an in-toto Statement, to be signed: each file's digest, and the decision",
}


def parts(review: Review) -> Parts:
    """The artifact page."""
    body = review.body
    return Parts(_answer(body), _evidence(body), _actions(body))


def _answer(body: Body) -> tuple[Html, ...]:
    where = link("../decision_artifact.json", "decision_artifact.json")
    return (
        answer(
            "",
            say(
                "<p>Everything on these pages is in {where}; the same telemetry, policy and code give "
                "the same bytes again.</p>",
                where=where,
            ),
            say("<p>Digest of the whole:<br><code>{d}</code></p>", d=body["digest"]),
            say(
                "<p>Digest of the evidence (checks, decision, policy, views, windows):<br>"
                "<code>{d}</code></p>",
                d=body["evidence_digest"],
            ),
        ),
    )


def _evidence(body: Body) -> tuple[Html, ...]:
    return (_inputs(body), _producer(body), _files(), _rows(), _policy(body))


def _inputs(body: Body) -> Html:
    return table(
        "What was read",
        [text("File"), Column("Rows"), Column("Size"), text("SHA-256")],
        [
            [
                i["file"],
                count(i["rows"]),
                size(i["bytes"]),
                prose(say("<code>{s}</code>", s=i["sha256"])),
            ]
            for i in body["inputs"]
        ],
        "Compare a digest with that of your own copy of the file.",
    )


def _producer(body: Body) -> Html:
    made = body["producer"]
    commit = made["commit"] or "not known: the code is in no checkout"
    rows = [["release review", made["version"]], ["commit", commit], ["Python", made["python"]]]
    rows += [[name, version] for name, version in made["packages"].items()]
    rows.append(["policy file, SHA-256", say("<code>{s}</code>", s=body["policy"]["sha256"])])
    return table(
        "What made it", [text("Part"), text("Version")], rows, "Versions count in the whole digest."
    )


def _files() -> Html:
    return table(
        "The files beside the artifact",
        [text("File"), text("Holds")],
        [
            *([link(f"../{name}", name), said] for name, said in _BESIDE.items()),
            *(
                [link(f"../tables/{name}", name), _SAID[name]]
                for name in (*TABLES, *FILES)
                if name not in OF_ROWS
            ),
        ],
        "CSV, UTF-8, safe to open in a spreadsheet; what ends in .json is for programs.",
    )


def _rows() -> Html:
    """The tables that name single rows, apart: a recorded release has none of them."""
    lines = [
        say("{file}: {said}.", file=link(f"../tables/{name}", name), said=_SAID[name])
        for name in OF_ROWS
    ]
    lead = "Beside these, with ids of rows, and in no recorded release:"
    return of_rows(paragraph(lead), bullets(lines))


def _policy(body: Body) -> Html:
    """Every setting in one table."""
    settings = body["policy"]["settings"]
    plain = {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    groups = [("general", plain)] + [(k, v) for k, v in settings.items() if isinstance(v, Mapping)]
    rows = [
        [name, path, say("{v}", v=value)]
        for name, held in groups
        for path, value in flat(held)
        if value != NOT_SET
    ]
    return table(
        "The policy that was applied",
        [text("Section"), text("Setting"), text("Value")],
        rows,
        "With the defaults; settings that are not set are left out. report/policy.yml is the file to change.",
        most=MAX_SETTINGS,
    )


def flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Each setting's path and value; lists of plain values stay in one."""
    if isinstance(value, Mapping):
        for key, held in value.items():
            yield from flat(held, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for index, held in enumerate(value, start=1):
            yield from flat(held, f"{path}[{index}]")
    else:
        yield path, _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _actions(body: Body) -> tuple[Html, ...]:
    commands = (
        (
            "Check schema, digests and every file of this site:",
            "python -m analysis verify decision_artifact.json",
        ),
        (
            "Compute it again from its inputs, and compare every value:",
            "python -m analysis verify decision_artifact.json --data DIR",
        ),
        (
            "What changed since another release:",
            "python -m analysis diff OTHER.json decision_artifact.json",
        ),
        ("The decision as an exit code:", "python -m analysis gate decision_artifact.json"),
    )
    lines = [say("{what} <code>{how}</code>", what=what, how=how) for what, how in commands]
    return (
        paragraph("Verify it before you rely on it."),
        bullets(lines),
    )
