"""The history page: this release among those that are recorded, over time, with what got worse marked."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.ledger import Ledger
from analysis.ledger_history import (
    ERROR_RATE,
    MEDIAN_OF,
    PLAIN,
    Figure,
    History,
    Kind,
    Line,
    history,
)
from analysis.ledger_report import WORSE, sentences
from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    answer,
    badge,
    bullets,
    link,
    notes,
    over,
    paragraph,
    prose,
)
from analysis.present.escape import Html, escape, say
from analysis.present.formats import (
    NONE,
    Format,
    between,
    moment,
    percent,
    plural,
    ratio,
    sentence,
    typeset,
    usd,
)
from analysis.present.grid import MAX_ROWS, Column, table, text
from analysis.present.history_figures import drift, figures
from analysis.review import Review

MAX_SAID = 6
MAX_SLOS = 5
_FORMS: dict[Kind, Format] = {
    "failure_rate": percent,
    "latency_breach_rate": percent,
    "cost_usd": usd,
    "usd_per_day": usd,
    "burn_rate": ratio,
}


def parts(review: Review) -> Parts:
    """The history page, while no ledger is read."""
    return parts_of(review.body, Ledger())


def parts_of(body: Body, ledger: Ledger) -> Parts:
    """The history page of one review over a ledger."""
    held = history(ledger, body)
    return Parts(
        (_answer(held),),
        (
            *figures(held),
            *_releases(held, body),
            *_worse(held),
            *_hotspots(held),
            *drift(held),
            *_faults(held),
        ),
        _actions(held),
    )


def _own(held: History) -> Line:
    return next(line for line in held.lines if line.digest == held.at_hand)


# ── the answer ───────────────────────────────────────────────────────────────────────────


def _answer(held: History) -> Html:
    own = _own(held)
    others = [line for line in held.lines if line is not own]
    named = say("<strong>{id}</strong>", id=own.release_id)
    if not others:
        lead = "No other release is recorded" if own.folder else "No release is recorded yet"
        return answer(
            "inconclusive",
            say(
                "<p>{lead}: {id} stands alone below, and is compared with none.</p>",
                lead=lead,
                id=named,
            ),
        )
    known = say(
        "<p>{n} beside this one, {id}.</p>",
        n=f"{plural(len(others), 'recorded release')}",
        id=named,
    )
    worse = sentences(own)
    if worse:
        more = len(worse) - MAX_SAID
        lines = [sentence(typeset(one)) for one in worse[:MAX_SAID]]
        lines += [f"{plural(more, 'more figure')} in the table below."] if more > 0 else []
        return answer("fail", known, paragraph("Worse than before, beyond noise:"), bullets(lines))
    if own.n_compared:
        return answer(
            "pass", known, paragraph("No figure is worse than at the release before, beyond noise.")
        )
    return answer(
        "inconclusive",
        known,
        paragraph(
            "None can be compared with: of those that ended before this one began, figures must mean the same, "
            "and tell what days add."
            if any(_apart(own, other) for other in others)
            else "None ended before this one began: overlapping windows are not compared."
        ),
    )


def _apart(own: Line, other: Line) -> bool:
    return other.end_utc <= own.start_utc


# ── every release ────────────────────────────────────────────────────────────────────────


def _releases(held: History, body: Body) -> tuple[Html, ...]:
    newest = list(reversed(held.lines))
    shown = newest[:MAX_ROWS]
    marked = (
        f"Below each value its 95 % interval. {WORSE}: worse than the release before or than the median of the "
        f"last {MEDIAN_OF}, beyond noise."
    )
    slos = held.slos[:MAX_SLOS]
    return (
        table(
            "Releases, the newest first",
            [text("Release"), text("Decision"), Column("Until, UTC"), Column("Failures"),
             Column("Latency breaches"), Column("USD per interaction"), Column("USD a day")],
            [
                [_named(line, held), badge(line.outcome), over(moment(line.end_utc), line.week),
                 *(_cell(line, kind) for kind in PLAIN)]
                for line in shown
            ],
            f"{marked} Below each day its ISO week. This release: {spans.candidate(body)}",
            total=len(newest),
        ),
        table(
            "Burn rates, hotspots and drift of the releases",
            [text("Release"), *(Column(f"Burn rate, {slo}", term="Burn rate") for slo in slos), Column("Hotspots"),
             Column("Columns that drift highly"), Column("Medium"), Column("Low")],
            [
                [_named(line, held), *(_cell(line, "burn_rate", slo) for slo in slos),
                 str(len(line.hotspots)), *_drift(line)]
                for line in shown
            ],
            f"{marked} Hotspots: findings of the release's review. Drift: of the columns that count in a check.",
            total=len(newest),
        ),
    )  # fmt: skip


def _named(line: Line, held: History) -> Html:
    return over(escape(line.release_id), _what(line, held))


def _drift(line: Line) -> list[str]:
    held = line.drift
    return [NONE] * 3 if held is None else [str(n) for n in (held.high, held.medium, held.low)]


def _what(line: Line, held: History) -> str:
    # Not whether it is recorded: the site of a record is made before its entry is there.
    return "this release" if line.digest == held.at_hand else ""


def _cell(line: Line, kind: Kind, slo: str | None = None) -> Html:
    figure = line.figure(kind, slo)
    if figure is None or figure.value is None:
        return escape(NONE)
    worse = any((one.kind, one.slo) == (kind, slo) for one in line.regressions)
    form = _FORMS[kind]
    mark = f"{WORSE} " if worse else ""
    return over(f"{mark}{form(figure.value)}", _between(figure, form))


def _between(figure: Figure, form: Format) -> str:
    return between(figure.low, figure.high, form)


# ── what got worse, and where ────────────────────────────────────────────────────────────


def _worse(held: History) -> tuple[Html, ...]:
    rows = [
        [line.release_id, moment(line.end_utc), prose(sentence(typeset(told)))]
        for line in reversed(held.lines)
        for told in sentences(line)
    ]
    if not rows:
        return ()
    return (
        table(
            "Worse than before, beyond noise",
            [text("Release"), Column("Until, UTC"), text("What rose, and from where")],
            rows[:MAX_ROWS],
            "Both intervals count, as of independent samples, widened by what days add; one-sided "
            f"{100 * ERROR_RATE:g} % over all comparisons of a release. Windows that share a moment are not "
            "compared, nor figures that do not mean the same, nor releases whose arms ran side by side, which "
            "do not tell what days add. "
            f"The median is that of the last {MEDIAN_OF} such releases, of three at least.",
            total=len(rows),
        ),
    )


def _hotspots(held: History) -> tuple[Html, ...]:
    """Each slice and metric that was ever found: since when, how often, and whether it is still there."""
    if len(held.lines) < 2:
        return ()
    found: dict[tuple[str, str], list[int]] = {}
    for place, line in enumerate(held.lines):
        for one in dict.fromkeys((h.name, h.metric) for h in line.hotspots):
            found.setdefault(one, []).append(place)
    if not found:
        return (paragraph("No release has a hotspot."),)
    # Those that are there now stand first, then those that were there last.
    ordered = sorted(found.items(), key=lambda kv: (-kv[1][-1], -len(kv[1]), kv[0]))
    rows = [
        [prose(escape(name, 200)), metric, _ids(held.lines, places[0]), _ids(held.lines, places[-1]),
         f"{len(places)} of {len(held.lines)}", _now(places, len(held.lines))]
        for (name, metric), places in ordered[:MAX_ROWS]
    ]  # fmt: skip
    return (
        table(
            "Hotspots over the releases",
            [text("Slice"), text("Metric"), text("First in"), text("Last in"), Column("Found in"),
             text("Now")],
            rows,
            "A slice is found where its release's review lists it. Now: at the newest release of the table above. "
            "Came: not at the one before it; stays: there too; went: no longer found.",
            total=len(ordered),
        ),
    )  # fmt: skip


def _ids(lines: Sequence[Line], place: int) -> str:
    return lines[place].release_id


def _now(places: Sequence[int], n: int) -> str:
    if places[-1] != n - 1:
        return "went"
    return "stays" if n - 2 in places else "came"


def _faults(held: History) -> tuple[Html, ...]:
    lines = [
        say("<code>{folder}</code>: {problem}", folder=f.folder, problem=f.problem)
        for f in held.faults
    ]
    return notes(lines, "Folders of the ledger that hold no sound release, and are left out:")


def _actions(held: History) -> tuple[Html, ...]:
    own = _own(held)
    items: list[object] = []
    if held.faults:
        items.append(
            say(
                "Find out who changed what the notes name: <code>{how}</code> says what differs.",
                how="python -m analysis verify data/releases/ID/decision_artifact.json",
            )
        )
    if own.regressions:
        items.append(
            "Read what rose, and whether the release that brought it is the one to roll back to before."
        )
    if own.folder is None:
        items.append(
            say(
                "Keep this release once it is decided: <code>{how}</code>.",
                how="python -m analysis record _site/decision_artifact.json",
            )
        )
    items.append(
        say(
            "The comparison with the baseline window is on the {health}, that with earlier weeks on the {drift}.",
            health=link("health.html", "health page"),
            drift=link("drift.html", "drift page"),
        )
    )
    return (bullets(items),)
