"""What page one tells of the gate: its error rate, waivers, what would turn it, and its own rules."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.policy_gate import RATES
from analysis.present import measures
from analysis.present.blocks import Body, bullets, over, paragraph, prose
from analysis.present.escape import Html, say
from analysis.present.formats import NONE, count, number, percent, plural, usd
from analysis.present.grid import Column, table, text


def error_rate(body: Body) -> tuple[Html, ...]:
    """The one error rate, and how many checks share it."""
    family = sum(c["p_adjusted"] is not None for c in body["checks"])
    if not family:
        return ()
    rules = body["policy"]["settings"]["gate"]
    looks = rules["looks"]
    spread = f", spread over {looks} daily looks" if looks is not None else ""
    return (
        paragraph(
            f"One error rate of {percent(rules['error_rate'], 0)}{spread}, for "
            f"{plural(family, 'regression check')} together: the chance that any fails though nothing "
            "got worse.",
            note=True,
        ),
    )


def waived(body: Body) -> tuple[Html, ...]:
    """Who answers for what would have stopped the release."""
    held = body["decision"]["waived"]
    if not held:
        return ()
    return (
        paragraph("Waived, and so without effect on the decision:"),
        bullets(
            [
                say(
                    "{check} ({outcome}): {owner}, until {expires}: {reason}",
                    check=w["check"], outcome=w["outcome"], owner=w["owner"],
                    expires=w["expires_utc"].removesuffix("T00:00:00Z"), reason=w["reason"],
                )
                for w in held
            ]
        ),
    )  # fmt: skip


def needs(body: Body) -> tuple[Html, ...]:
    """What would settle each open check that holds."""
    rows: list[Sequence[object]] = []
    by_id = {c["id"]: c for c in body["checks"]}
    for one in body["decision"]["needs"]["checks"]:
        rows.append(
            [
                measures.linked(by_id[one["check"]]),
                NONE if one["more_interactions"] is None else count(one["more_interactions"]),
                NONE if one["more_days"] is None else number(one["more_days"], 1),
                NONE if one["label"] is None else one["label"],
            ]
        )
    if not rows:
        return ()
    return (
        table(
            "What would settle the checks that hold",
            [text("Check"), Column("More interactions"), Column("More days"), text("Missing values of")],
            rows,
            "At current traffic and at the rates seen so far, with a power of 80 %. A dash: no traffic that "
            "can be waited for is known to settle it.",
        ),
    )  # fmt: skip


def flips(body: Body) -> tuple[Html, ...]:
    """What would turn each deciding check, or come nearest to stop a release that ships."""
    held = body["decision"]["flips"]
    if not held:
        return ()
    by_id = {c["id"]: c for c in body["checks"]}
    ships = body["decision"]["outcome"] == "ship"
    return (
        table(
            "What is nearest to stop this release" if ships else "What would turn each of these checks",
            [text("Check"), text("In the data"), text("In the policy")],
            [
                [measures.linked(by_id[f["check"]]), prose(f["data"]), prose(f["policy"] or NONE)]
                for f in held
            ],
            "One change at a time, the interval as wide as it is. A policy is changed for the next release, "
            "not for this one.",
        ),
    )  # fmt: skip


def rules(body: Body) -> tuple[Html, ...]:
    """The policy's thresholds, the recorded releases compared with, and the registration."""
    return (*_thresholds(body), *_baselines(body), *_registration(body))


def _thresholds(body: Body) -> tuple[Html, ...]:
    held = body["views"]["gate"]["thresholds"]
    if not held:
        return ()
    by_id = {c["id"]: c for c in body["checks"]}
    rows: list[Sequence[object]] = []
    for one in held:
        check = by_id[f"threshold.{one['name']}"]
        where = ", ".join(f"{k} “{v}”" for k, v in one["when"].items()) or "all traffic"
        rows.append(
            [one["name"], one["metric"], prose(where),
             over(measures.value(check), measures.interval(check)), measures.limit(check),
             check["outcome"], count(one["figure"]["support"])]
        )  # fmt: skip
    return (
        table(
            "Thresholds of the policy, in the candidate window",
            [text("Threshold"), text("Metric"), text("Of"), Column("Value, 95 % interval"),
             Column("Passes at"), text("Outcome"), Column("Interactions")],
            rows,
            "gate.thresholds: passes where the whole interval keeps the limit, fails where none of it does.",
        ),
    )  # fmt: skip


def _baselines(body: Body) -> tuple[Html, ...]:
    held = body["views"]["gate"]["baselines"]
    if not held:
        return ()
    by_id = {c["id"]: c for c in body["checks"]}
    rows: list[Sequence[object]] = []
    for one in held:
        check = by_id[f"baseline.{one['figure']}"]
        rows.append(
            [one["figure"], _level(one["figure"], one["mean"]),
             over(measures.value(check), measures.interval(check)), measures.limit(check),
             check["outcome"], prose(", ".join(one["releases"]) or NONE)]
        )  # fmt: skip
    left_out = {(e["release"], e["reason"]) for one in held for e in one["left_out"]}
    return (
        table(
            "Against the last recorded releases",
            [text("Figure"), Column("Their mean"), Column("Change, 95 % interval"),
             Column("Passes at"), text("Outcome"), text("Releases")],
            rows,
            "gate.baselines. Releases differ by more than chance, so their own spread is the yardstick "
            "(Student's t).",
        ),
        *((bullets([say("Left out: {r}: {why}.", r=r, why=why) for r, why in sorted(left_out)]),)
          if left_out else ()),
    )  # fmt: skip


def _level(figure: str, value: float | None) -> str:
    if value is None:
        return NONE
    if figure in RATES:
        return percent(value)
    return usd(value) if figure.startswith("cost") else f"{number(value, 0)} ms"


def _registration(body: Body) -> tuple[Html, ...]:
    check = next((c for c in body["checks"] if c["id"] == "gate.registration"), None)
    return () if check is None else (paragraph(check["sentence"], note=True),)
