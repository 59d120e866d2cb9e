"""What the drift did to outcomes and money: why they changed, by what, and what the mix alone burns."""

from __future__ import annotations

from analysis.present import spans
from analysis.present.blocks import Body, bullets, figure, paragraph, prose, stacked
from analysis.present.escape import SENTENCE, Html, escape, say, visible
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    NONE,
    Format,
    count,
    number,
    percent,
    plural,
    points,
    sentence,
    signed,
    signed_usd,
    stated,
    tick,
    usd,
)
from analysis.present.grid import Column, table, text

_NAMES = {
    "failure": "failures",
    "latency_breach": "latency breaches",
    "cost": "cost of an interaction",
}
_TITLES = {
    "failure": "failure rate",
    "latency_breach": "latency breach rate",
    "cost": "cost of an interaction",
}
_PARTS = (
    ("total", "Whole change"),
    ("mix_context", "Traffic (what is asked)"),
    ("mix_action", "Routing (which model)"),
    ("within", "The system itself"),
)


def consequence(body: Body, section: Body) -> tuple[Html, ...]:
    """The part of the drift page that says what it did."""
    found = section["consequence"]
    if not found["metrics"]:
        reason = section["outcome_change"]["reason"]
        return (paragraph(f"Why outcomes changed is not told: {reason}.", note=True),)
    return (
        *(one for m in found["metrics"] for one in _parts(body, m)),
        *_untold(found["metrics"]),
        *_dimensions(body, found),
        *_prices(found["priced"]),
        *_estimated(found["estimated"]),
    )  # fmt: skip


def _money(value: float | None) -> str:
    """A difference of USD per interaction: most are parts of a cent."""
    if value is None:
        return NONE
    return f"{'+' if value > 0 else ''}{number(value, 4)} USD"


# ── the parts ────────────────────────────────────────────────────────────────────────────


def _parts(body: Body, m: Body) -> tuple[Html, ...]:
    if m["within"]["value"] is None:
        return ()
    rate = m["unit"] == "rate"
    form: Format = points if rate else _money
    if m["metric"] != "failure" and not any(_changed(m[key]) for key, _ in _PARTS):
        # A figure whose every interval holds 0 tells no more than a sentence.
        told = ", ".join(f"{words.lower()} {stated(m[key], form)}" for key, words in _PARTS)
        return (paragraph(f"Change of the {_TITLES[m['metric']]}, within chance: {told}."),)
    rows = [
        Row(
            words, m[key]["value"], m[key]["low"], m[key]["high"], told=stated(m[key], form),
            tone="other" if key == "total" else "plain",
        )
        for key, words in _PARTS
    ]  # fmt: skip
    drawn = forest(
        f"Why the {_TITLES[m['metric']]} changed", rows, "Percentage points" if rate else m["unit"],
        tick(100 if rate else 1, sign=True), [Line(0.0, "no change", limit=False)],
    )  # fmt: skip
    alt = f"Change of the {_TITLES[m['metric']]}: " + "; ".join(
        f"{words.lower()} {stated(m[key], form)}" for key, words in _PARTS
    )
    caption = (
        f"Over {plural(m['n_cells'], 'cell')} of context and model: traffic, routing, and the system at equal "
        "traffic and routing sum to the whole (Kitagawa 1955). Bars: 95 % intervals, with whole users or "
        f"sessions as units{_days(body)}. {plural(m['total']['support'], 'interaction')}. {spans.both(body)}"
    )
    name = f"Why the {_TITLES[m['metric']]} changed"
    return (figure(drawn, f"{alt}.", caption, name=name),)


def _days(body: Body) -> str:
    return ", days too" if body["windows"]["comparison"] == "before_after" else ""


def _untold(metrics: list[Body]) -> tuple[Html, ...]:
    """What has no parts, or parts without limits, and why."""
    lines = [
        f"The change of {_NAMES[m['metric']]} is "
        + ("not split" if m["within"]["value"] is None else "split without limits")
        + f": {m['reason']}."
        for m in metrics
        if m["reason"]
    ]
    return tuple(paragraph(line, note=True) for line in lines)


# ── dimensions ───────────────────────────────────────────────────────────────────────────


def _dimensions(body: Body, found: Body) -> tuple[Html, ...]:
    """Of the failure rate, and of what else changed beyond chance: one row a dimension."""
    moved = [
        m["metric"] for m in found["metrics"] if m["metric"] == "failure" or _changed(m["total"])
    ]
    shown = [d for name in moved for d in found["dimensions"] if d["metric"] == name]
    if not shown:
        return ()
    rows = [
        [
            d["dimension"],
            _NAMES[d["metric"]],
            stacked(d["mix"], _form(d)),
            stacked(d["within"], _form(d)),
            prose(escape(_most(d), SENTENCE)),
        ]
        for d in shown
    ]
    return (
        table(
            "The same changes by one dimension at a time",
            [text("Dimension"), text("Change of"), Column("Mix of its values"), Column("Within its values"),
             text("Value that adds most")],
            rows,
            "Mix and within sum to the whole change; below each its 95 % interval. Of the value that adds "
            "most, through its share and its own rate together: both before and after. "
            + spans.both(body),
            file="drift_consequence.csv", total=len(found["dimensions"]),
        ),
    )  # fmt: skip


def _changed(total: Body) -> bool:
    """Whether the interval of a change leaves out 0."""
    low, high = total["low"], total["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _form(dimension: Body) -> Format:
    return points if dimension["unit"] == "rate" else _money


def _most(dimension: Body) -> str:
    form = _form(dimension)
    level: Format = (lambda v: percent(v, 1)) if dimension["unit"] == "rate" else _usd
    named = [v for v in dimension["by_value"] if not v["others"]]
    if not named:
        return "none has rows enough"
    v = named[0]
    return (
        f"{'missing' if v['value'] is None else visible(v['value'], 30)} {form(v['mix'] + v['within'])}: "
        f"share {percent(v['share_baseline'], 1)} → {percent(v['share_candidate'], 1)}, "
        f"own {level(v['baseline'])} → {level(v['candidate'])}"
    )


def _usd(value: float | None) -> str:
    return NONE if value is None else f"{usd(value)} USD"


# ── the price ────────────────────────────────────────────────────────────────────────────


def _prices(priced: list[Body]) -> tuple[Html, ...]:
    told = [_price(p) for p in priced]
    if not told:
        return ()
    lead = "What the baseline's own rates would burn and cost in the candidate's traffic:"
    return (paragraph(lead), bullets([escape(line, SENTENCE) for line in told]))


def _price(p: Body) -> str:
    name, burn = p["name"], p["unit"] == "burn"
    subject = f"SLO {visible(name, 40)}" if burn else "Cost of an interaction"
    if p["mix"] is None or p["traffic"] is None:
        return f"{subject}: not known, because {p['reason']}."
    level: Format = (lambda v: number(v, 2)) if burn else _usd
    added: Format = signed if burn else _money
    traffic, mix = p["traffic"], p["mix"]
    if mix["value"]["value"] is None:
        return f"{subject}: not known, because the baseline has none of the candidate's cells."
    told = (
        f"{subject}: the mix of traffic alone adds {_added(traffic, added)}{' to the burn rate' if burn else ''}, "
        f"traffic and routing {_added(mix, added)}: {level(p['baseline'])} → "
        f"{level(mix['value']['value'])} (the candidate: {level(p['candidate'])})"
    )
    if p["change_usd_per_day"] is not None and p["change_usd_per_day"]["value"] is not None:
        told += f", {stated(p['change_usd_per_day'], signed_usd)} USD a day"
    told += "."
    if mix["unknown_share"] > 0:
        told += (
            f" {percent(mix['unknown_share'], 1)} of the candidate's traffic is in cells that the baseline "
            "lacks; limits allow for any rate there."
        )
    return told + (f" No limits: {p['reason']}." if p["reason"] else "")


def _added(part: Body, form: Format) -> str:
    added = part["added"]
    return "an unknown amount" if added["value"] is None else stated(added, form)


# ── label delay ──────────────────────────────────────────────────────────────────────────


def _estimated(e: Body | None) -> tuple[Html, ...]:
    if e is None:
        return ()
    if e["n_labelled"] is None or e["n_unlabelled"] is None:
        return (paragraph("How many failure labels are missing is suppressed: they are few."),)
    n = e["n_labelled"] + e["n_unlabelled"]
    if not e["n_unlabelled"]:
        lead = f"No failure label is missing in the candidate ({plural(n, 'interaction')})."
    else:
        share = e["n_unlabelled"] / n if n else 0.0
        lead = (
            f"The failure labels of {count(e['n_unlabelled'])} of {plural(n, 'interaction')} "
            f"({percent(share, 1)}) are not there yet. Of those with a label "
            f"{stated(e['labelled'], _rate)} failed"
        )
        lead += (
            f"; the others are estimated at {stated(e['unlabelled'], _rate)}, and the whole window at "
            f"{stated(e['whole'], _rate)}. It assumes that nothing changed within, and that labels are "
            "missing at random given the columns; it is shown, and never gates."
            if e["unlabelled"]["value"] is not None
            else f". What the others will tell is not estimated: {sentence(e['reason'] or NONE)}"
        )
        if e["new_share"]:
            lead += (
                f" {percent(e['new_share'], 1)} of the unlabelled have a value that the baseline lacks; of "
                "them the estimate knows the other columns alone."
            )
    return (paragraph(lead), *_self_check(e))


def _rate(value: float | None) -> str:
    return percent(value, 2)


def _self_check(e: Body) -> tuple[Html, ...]:
    check = e["check"]
    if check is None:
        return () if e["n_unlabelled"] or not e["reason"] else (
            paragraph(f"The estimate was not checked: {sentence(e['reason'])}", note=True),
        )  # fmt: skip
    verdict = (
        "That is within chance."
        if check["holds"]
        else "That is beyond chance: something changed within the system, and such an estimate should "
        "not be trusted."
    )
    return (
        say(
            "<p>{t}</p>",
            t=f"Self-check: from the columns alone, {percent(check['estimated'], 2)} of "
            f"{plural(check['off']['support'], 'labelled interaction')} would have failed; "
            f"{percent(check['observed'], 2)} did, a difference of {stated(check['off'], points)}. {verdict}",
        ),
    )
