"""The history page: earlier releases. The ledger is not there yet, and the page says so."""

from __future__ import annotations

from analysis.ledger import Ledger
from analysis.present import spans
from analysis.present.blocks import Body, Parts, answer, badge, joined, link, stacked
from analysis.present.escape import Html, say
from analysis.present.formats import NONE, moment, percent, ratio, usd
from analysis.present.grid import Column, table, text
from analysis.review import Review

REASON = (
    "no ledger of recorded releases is kept yet; so there is no earlier release and no trend over "
    "releases to compare with, and none is guessed"
)


def parts(review: Review) -> Parts:
    """The history page, while no ledger is read."""
    return parts_of(review.body, Ledger())


def parts_of(body: Body, ledger: Ledger) -> Parts:
    """The history page of one review over a ledger."""
    release = body["release"]["id"]
    return Parts(
        (
            answer(
                "inconclusive",
                say("<p>No earlier release is known: {reason}.</p>", reason=REASON),
                say(
                    "<p>This release, {id}, is the only one below.</p>",
                    id=say("<strong>{id}</strong>", id=release),
                ),
            ),
        ),
        (_releases(body),),
        (
            say(
                "<p>Keep {artifact} of this release: a ledger can be filled from it. The comparison with "
                "the baseline window is on the {health}, that with earlier weeks on the {drift}.</p>",
                artifact=link("../decision_artifact.json", "decision_artifact.json"),
                health=link("health.html", "health page"),
                drift=link("drift.html", "drift page"),
            ),
        ),
    )


def _releases(body: Body) -> Html:
    health = body["views"]["health"]["candidate"]
    burns = joined(
        (
            say("{name}: {burn}", name=s["name"], burn=stacked(s["burn_rate"], ratio))
            for s in body["views"]["budget"]["slos"]
        ),
        "<br>",
    )
    return table(
        "Recorded releases",
        [text("Release"), Column("Until, UTC"), text("Decision"), Column("Failure rate"),
         Column("Latency breaches"), Column("USD per interaction"), text("Burn rates")],
        [
            [
                body["release"]["id"],
                moment(body["windows"]["candidate"]["end_utc"]),
                badge(body["decision"]["outcome"]),
                stacked(health["failure_rate"], percent),
                stacked(health["latency_breach_rate"], percent),
                stacked(health["cost_usd_per_interaction"], usd),
                burns or NONE,
            ]
        ],
        f"Below each value its 95 % interval. {spans.candidate(body)}",
    )  # fmt: skip
