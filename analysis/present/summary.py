"""What the first screen and the first sheet of print hold: the decision, and all that it is made of in short.

Whoever reads no further knows what was decided, why, what to do next and whose task it is, what changed,
what is not known, and how near each deciding check is to its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from analysis.ledger import Ledger
from analysis.ledger_last import Last, last
from analysis.present import gate_page, measures
from analysis.present.blocks import (
    NOTHING,
    Body,
    answer,
    badge,
    bullets,
    joined,
    link,
    mark,
    paragraph,
)
from analysis.present.escape import Html, escape, say
from analysis.present.formats import (
    NONE,
    between,
    count,
    moment,
    percent,
    plural,
    points,
    ratio,
    typeset,
    usd,
)
from analysis.present.grid import Column, table, text

WHERE = "hotspots.regression"
MAX_REASONS = 3
MAX_STEPS = 3
MAX_NAMED = 3
MAX_CHECKS = 9
OWNERS: Mapping[str, str] = {
    "contract": "data engineering",
    "health": "the release's authors",
    "budget": "on-call SRE",
    "hotspots": "the release's authors",
    "routing": "platform engineering",
    "drift": "data science",
    "triage": "review team",
    "gate": "release manager",
}
"""Whose task a view's checks are where the policy's `gate.owners` names nobody."""


def blocks(body: Body, ledger: Ledger) -> tuple[Html, ...]:
    """The first screen: the decision with its reasons, three short columns, and the deciding checks."""
    columns = (
        _next(body),
        _since(body, last(ledger, body)),
        _unjudged(body),
    )
    return (
        say(
            '<div class="rr-first">{decision}<div class="rr-columns">{columns}</div>{checks}</div>',
            decision=_decision(body), columns=joined(columns), checks=_checks(body),
        ),
    )  # fmt: skip


def carrying(body: Body) -> list[Body]:
    """The checks that the decision rests on: those that block or hold, else those that pass it.

    Failures stand before doubts, as in the headline.
    """
    decision = body["decision"]
    ids = [*decision["blocking"], *decision["holding"]]
    by_id = {c["id"]: c for c in body["checks"]}
    if ids:
        return sorted((by_id[i] for i in ids), key=lambda c: c["outcome"] != "fail")
    passed = [c for c in body["checks"] if c["outcome"] == "pass" and c["severity"] != "note"]
    return measures.by_weight(passed)


def steps(body: Body) -> list[Html]:
    """Each action once, with the checks that ask for it and who is to do it, the heaviest first."""
    return [
        say("{action} ({ids}; {who})", action=action, who=_who(body, checks),
            ids=joined((link(measures.page_of(c), c["id"]) for c in checks), ", "))
        for action, checks in _asked(body).items()
    ]  # fmt: skip


def owner(body: Body, check: Body) -> str:
    """Whose task a check is: as the policy names it for the check, or for its view, else a usual role."""
    named, view = _owners(body), check["view"]
    return named.get(check["id"]) or named.get(view) or OWNERS[view]


def _owners(body: Body) -> Mapping[str, str]:
    owners: Mapping[str, str] = body["policy"]["settings"]["gate"]["owners"]
    return owners


def _who(body: Body, checks: Sequence[Body]) -> str:
    return ", ".join(dict.fromkeys(owner(body, c) for c in checks))


def _manager(body: Body) -> str:
    return _owners(body).get("gate", OWNERS["gate"])


def _asked(body: Body) -> dict[str, list[Body]]:
    asked: dict[str, list[Body]] = {}
    for check in carrying(body):
        if check["outcome"] != "pass" and check["action"] != NOTHING:
            asked.setdefault(check["action"], []).append(check)
    return asked


# ── the decision ─────────────────────────────────────────────────────────────────────────


def _decision(body: Body) -> Html:
    decision, release = body["decision"], body["release"]
    named = say("<strong>{id}</strong>", id=release["id"])
    if release["title"]:
        named = say("{named}: {title}", named=named, title=release["title"])
    reasons = carrying(body)
    # The headline already says the first one.
    said = [c for c in reasons if c["sentence"][1:] in decision["headline"]]
    # Where it broke stands next: it is the nearest to a cause.
    others = sorted((c for c in reasons if c not in said), key=lambda c: c["id"] != WHERE)
    shown = others[: MAX_REASONS - len(said)]
    support = (
        f" ({plural(said[0]['support'], 'interaction')})" if said and said[0]["support"] else ""
    )
    return answer(
        decision["outcome"],
        say("<p>Release {named}</p>", named=named),
        say(
            "<p><strong>{badge} {headline}</strong>{support}</p>",
            badge=badge(decision["outcome"]), headline=typeset(decision["headline"]), support=support,
        ),
        *_reasons(decision["outcome"], shown, len(others) - len(shown)),
        *gate_page.waived(body),
    )  # fmt: skip


def _reasons(outcome: str, shown: Sequence[Body], n_more: int) -> tuple[Html, ...]:
    """Reasons beside the headline's. Their support stands in the table: in a sentence on slices, that of the
    window would pass for the slice's."""
    if not shown:
        return ()
    lead = (paragraph("What lets it ship:", note=True),) if outcome == "ship" else ()
    lines = [
        say("{m} {sentence}", m=mark(c["outcome"]), sentence=typeset(c["sentence"])) for c in shown
    ]
    more = f"{plural(n_more, 'more reason')} in the table below."
    return (*lead, bullets([*lines, *([more] if n_more else [])]))


# ── the three columns ────────────────────────────────────────────────────────────────────


def _column(lead: str, content: Iterable[Html], n_shown: int = 0, n: int = 0) -> Html:
    """One column under its lead, which says how many of how many it shows where these are not all."""
    counted = f" ({n_shown} of {n:,})" if n_shown < n else ""
    return say(
        '<div class="rr-column"><p class="rr-lead"><strong>{lead}</strong>{counted}</p>{content}</div>',
        lead=lead, counted=counted, content=joined(content),
    )  # fmt: skip


def _next(body: Body) -> Html:
    asked = _asked(body)
    steps = [
        say('{action} <span class="rr-who">→ {who}</span>', action=action, who=_who(body, checks))
        for action, checks in list(asked.items())[:MAX_STEPS]
    ] or [
        say(
            '{done} <span class="rr-who">→ {who}</span>',
            done=_done(body["decision"]),
            who=_manager(body),
        )
    ]
    return _column(
        "What to do next, and who", [bullets(steps, ordered=True)], len(steps), len(asked)
    )


def _done(decision: Body) -> str:
    if decision["outcome"] != "ship":
        return NOTHING
    return f"Ship it{', and watch what is listed below' if decision['watch'] else ''}."


def _since(body: Body, before: Last | None) -> Html:
    """The figures that a release is known by, and which checks came out otherwise than the last time."""
    if before is None:
        baseline = body["windows"]["baseline"]
        span = () if baseline is None else (paragraph(_span(baseline), note=True),)
        lines = [*_moved(body), escape("No earlier release is recorded.")]
        return _column("Against the baseline window", [*span, bullets(lines)])
    lead = say("<p>{id}: {badge}</p>", id=before.release_id, badge=badge(before.outcome))
    against = paragraph("Against the baseline window:", note=True)
    turned = _turned(body, before) or [escape("Every deciding check came out as then.")]
    return _column(
        "Since the last release", [lead, bullets(turned), against, bullets(_moved(body))]
    )


def _span(window: Body) -> str:
    return f"{moment(window['start_utc'])} to {moment(window['end_utc'])}"


def _turned(body: Body, before: Last) -> list[Html]:
    now = {c["id"]: c["outcome"] for c in body["checks"] if c["severity"] != "note"}
    words = {"fail": "Fails now", "inconclusive": "Undecided now", "pass": "Passes again"}
    turned = {outcome: before.turned(now, outcome) for outcome in words}
    return [
        say("{words}: {ids}", words=words[outcome], ids=_listed(body, ids))
        for outcome, ids in turned.items()
        if ids
    ]


_FIGURES = (
    ("failure_rate", "Failures", percent, points),
    ("cost_usd_per_interaction", "USD a call", usd, ratio),
    ("latency_ms_p95", "p95, ms", count, ratio),
)


def _moved(body: Body) -> list[Html]:
    if body["windows"]["baseline"] is None:
        return [escape("Nothing is compared: a first release.")]
    health = body["views"]["health"]
    lines = []
    for name, words, level, change in _FIGURES:
        old, new, moved = (health[w][name] for w in ("baseline", "candidate", "change"))
        if moved["value"] is not None:
            lines.append(
                say(
                    '{words} {old} → {new} <span class="rr-range">({moved})</span>',
                    words=words, old=level(old["value"]), new=level(new["value"]),
                    moved=between(moved["low"], moved["high"], change),
                )
            )  # fmt: skip
    return lines or [escape("No failure rate, latency or cost can be compared.")]


def _listed(body: Body, ids: Sequence[str]) -> Html:
    by_id = {c["id"]: c for c in body["checks"]}
    shown = joined((measures.linked(by_id[i]) for i in ids[:MAX_NAMED]), ", ")
    more = len(ids) - MAX_NAMED
    return say("{shown} and {n} more", shown=shown, n=more) if more > 0 else shown


def _unjudged(body: Body) -> Html:
    open_ = [c for c in measures.by_weight(body["checks"]) if c["outcome"] == "inconclusive"]
    lines = [
        say('{id} <span class="rr-range">({why})</span>', id=measures.linked(c),
            why=c["reason"] if len(open_) == 1 and c["reason"] else c["severity"])
        for c in open_[:MAX_NAMED]
    ]  # fmt: skip
    content = bullets(lines) if lines else paragraph("Every check could be judged.")
    return _column("Not judged", [content], len(lines), len(open_))


# ── the deciding checks ──────────────────────────────────────────────────────────────────


def _checks(body: Body) -> Html:
    deciding = [c for c in measures.by_weight(body["checks"]) if c["severity"] != "note"]
    if not deciding:
        return Html("")
    rows = [
        [say("{m}, {s}", m=mark(c["outcome"]), s=_effect(body["decision"], c)), measures.linked(c),
         measures.value(c), measures.interval(c), measures.limit(c), count(c["support"]) if c["support"] else NONE]
        for c in deciding
    ]  # fmt: skip
    return say(
        '<div class="rr-compact">{table}</div>',
        table=table(
            "Checks that decide",
            [text("Outcome"), text("Check"), Column("Value"), Column("95 % interval"),
             Column("Passes at"), Column("Interactions")],
            rows,
            "Notes, which decide nothing, stand in the full table below.",
            total=len(rows),
            most=MAX_CHECKS,
        ),
    )  # fmt: skip


def _effect(decision: Body, check: Body) -> str:
    """What the check does to this decision, or could do to one."""
    name = check["id"]
    if name in decision["blocking"]:
        return "blocks"
    if name in decision["holding"]:
        return "holds"
    if name in {w["check"] for w in decision["waived"]}:
        return "waived"
    return f"can {check['severity']}" if check["outcome"] == "pass" else "stops nothing"
