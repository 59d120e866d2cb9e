"""The hotspots page: which slices break, whether they are new, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.policy_hotspots import QUANTILES
from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    joined,
    link,
    over,
    paragraph,
    prose,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html, escape, say
from analysis.present.forest import Row, forest
from analysis.present.formats import (
    NONE,
    Format,
    between,
    count,
    number,
    percent,
    plural,
    ratio,
)
from analysis.present.grid import MAX_ROWS, Column, table, text
from analysis.present.hotspot_details import details
from analysis.present.hotspot_names import FORMS, METRICS, SCORES, measure, name, percentile
from analysis.present.theme import label
from analysis.review import Review

MAX_DRAWN = 8
MAX_FIGURES = 8
_KINDS = {"level": "than the rest", "regression": "than before"}
MAX_LISTED = 8


def parts(review: Review) -> Parts:
    """The hotspots page."""
    body, result = review.body, review.results["hotspots"]
    section = body["views"]["hotspots"]
    return Parts(
        view_answer(body, "hotspots", _tested(section)),
        (
            *_figures(section["found"]),
            *_found(body, section),
            *details(section["found"], result.series["days"], result.series["examples"]),
            *_listed(body, section),
            *view_notes(body, "hotspots", result.notes),
        ),
        view_actions(body, "hotspots"),
    )


def _tested(section: Body) -> tuple[Html, ...]:
    if not section["n_tested"]:
        return (paragraph("No slice was tested."),)
    smallest = ""
    if section["detectable_ratio"] is not None:
        smallest = (
            f" In a slice of median size, a ratio of {number(section['detectable_ratio'], 1)} is found "
            "four times in five; smaller ones may be missed."
        )
    covered = section["coverage"]
    return (
        paragraph(
            f"{plural(section['n_tested'], 'test')} over slices that cover {percent(covered, 0)} of the "
            f"traffic; of those listed, at most {percent(section['fdr'], 0)} are expected to be chance."
            f"{smallest}"
        ),
    )


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _figures(found: Sequence[Body]) -> tuple[Html, ...]:
    known = [f for f in found if f["value"] is not None]
    metrics = dict.fromkeys([*METRICS, *(f["metric"] for f in known)])
    by = {metric: [f for f in known if f["metric"] == metric] for metric in metrics}
    drawn = [(metric, own) for metric, own in by.items() if own][:MAX_FIGURES]
    return tuple(_figure(metric, own, first=not place) for place, (metric, own) in enumerate(drawn))


def _figure(metric: str, own: Sequence[Body], *, first: bool) -> Html:
    unit, form, _, ticks = FORMS[own[0]["unit"]]
    title = _title(metric)
    rows = [_row(f, form) for f in own[:MAX_DRAWN]]
    drawn = forest(
        f"{title}: the slices that stand out", rows, label(f"{title}, {unit}", 60), ticks
    )
    stories = joined(
        (escape(f"{name(f['slice'])}: {form(f['value'])} against {form(f['reference'])} "
                f"({f['status']}, worse {_KINDS.get(f['kind'], f['kind'])}).", 160)
         for f in own[:3]), " ",
    )  # fmt: skip
    alt = say("{metric}, {unit}: {stories}", metric=title, unit=unit, stories=stories)
    more = f" The first {MAX_DRAWN} of {len(own)}." if len(own) > MAX_DRAWN else ""
    how = (
        "Bars: intervals that hold jointly over all findings (false-coverage rate). Tick: the "
        "reference, which is the rest of the traffic, or what the slice would be had it moved with the "
        "rest. Cross: worse than before; circle: worse than the rest."
    )
    return figure(
        drawn,
        alt,
        f"{how if first else 'To be read as the figure above.'}{more}",
        name=_place(metric),
    )


def _place(metric: str) -> str:
    """The figure's name in addresses, where no column's or SLO's own name may stand."""
    own = metric in QUANTILES or metric in METRICS or metric in SCORES
    return f"{_title(metric) if own else 'Another metric'}: the slices that stand out"


def _title(metric: str) -> str:
    """A metric as a title begins with it; flags and SLOs go by their own names."""
    if metric in QUANTILES:
        return f"Share as slow as the {percentile(metric)}"
    return METRICS.get(metric) or SCORES.get(metric) or f"Rate of {metric}"


def _row(found: Body, form: Format) -> Row:
    base = found["reference"]

    def level(effect: float | None) -> float | None:
        return None if effect is None or base is None else base + effect

    regression = found["kind"] == "regression"
    return Row(
        name(found["slice"], short=True),
        found["value"],
        level(found["low"]),
        level(found["high"]),
        f"{form(found['value'])}, worse {_KINDS.get(found['kind'], found['kind'])}",
        "fail" if regression else "plain",
        base,
        "" if base is None else f"reference {form(base)}",
    )


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _found(body: Body, section: Body) -> tuple[Html, ...]:
    found = section["found"]
    if not found:
        return (paragraph("No slice stands out beyond chance."),)
    source = (
        f"{spans.candidate(body)} Effect: value minus reference, with its joint interval. Excess: "
        "interactions that went wrong beyond the reference, USD beyond it, or points that scores lack to it, in "
        "the window. The ratio of scores is that of their distances from the best one. "
        "Vs rest: against all other traffic; vs before: against its own past. Shrunk: what is left of the ratio "
        "after the luck of being found. Given the others: against what is in no other finding, which decides. "
        "The file has p- and q-values."
    )
    return (
        _table("Slices that stand out, the costliest certain excess first", found, source, section),
    )


def _listed(body: Body, section: Body) -> tuple[Html, ...]:
    if not section["listed"]:
        return ()
    source = (
        f"{spans.both(body)} Resolved: bad in the baseline only. The others are better than the rest. "
        "None of these is a finding."
    )
    title = "Also listed: resolved, or better than the rest"
    return (_table(title, section["listed"], source, section, MAX_LISTED),)


def _table(
    title: str, found: Sequence[Body], source: str, section: Body, most: int = MAX_ROWS
) -> Html:
    shown = found[:most]
    cut = f" The first {len(shown)} of {len(found):,}." if len(shown) < len(found) else ""
    where = link("../tables/hotspots.csv", "tables/hotspots.csv")
    tests = plural(section["n_tested"], "test")
    return table(
        title,
        [text("Slice"), text("Measure, status"), Column("Value, ratio"),
         Column("Effect, interval"), Column("Excess"), Column("Interactions")],
        [_cells(f) for f in shown],
        say("{source}{cut} All {tests}: {where}.", source=source, cut=cut, tests=tests, where=where),
    )  # fmt: skip


def _ratios(found: Body) -> Html:
    """The ratio as far as evidence carries it, and beside the other findings where that is another."""
    if found["shrunk_ratio"] is None or found["status"] in ("resolved", "better"):
        return Html("")
    given = found["ratio_given"]
    told = say("<br>shrunk {shrunk}", shrunk=ratio(found["shrunk_ratio"]))
    if given is None or found["ratio"] is None or 0.9 <= given / found["ratio"] <= 1.1:
        return told
    return say("{told}<br>{given} given the others", told=told, given=ratio(given))


def _cells(found: Body) -> list[object]:
    _, level, change, _ = FORMS[found["unit"]]
    unit = " USD" if found["unit"] == "usd" else ""
    effect: object = NONE
    if found["effect"] is not None:
        effect = over(
            f"{change(found['effect'])}{unit}", between(found["low"], found["high"], change)
        )
    excess = NONE
    if found["excess"] is not None:
        excess = number(found["excess"], 0) + (" points" if found["unit"] == "score" else unit)
    return [
        prose(name(found["slice"])),
        over(measure(found), found["status"]),
        say(
            '{value}{unit}, {ratio}<br><span class="rr-range">reference {reference}{unit}{more}</span>',
            value=level(found["value"]),
            unit=unit,
            ratio=ratio(found["ratio"]),
            reference=level(found["reference"]),
            more=_ratios(found),
        ),
        effect,
        excess,
        count(found["support"]),
    ]
