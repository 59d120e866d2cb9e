"""What the hotspots page tells of each of the first findings: by day, since when, what, where, and examples."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from plotnine import (
    aes,
    facet_wrap,
    geom_line,
    geom_point,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_shape_manual,
    scale_x_datetime,
)

from analysis.present import spans
from analysis.present.blocks import Body, bullets, figure, joined, of_rows, paragraph
from analysis.present.escape import Html, escape, say
from analysis.present.formats import Format, moment, percent, plural
from analysis.present.hotspot_names import FORMS, called, measure, name
from analysis.present.theme import INK, WINDOWS, heading, label, look, svg

MAX_TOLD = 5
_OF = {
    "rate": ("bad interactions", "good ones", "Examples"),
    "usd": ("USD", "interactions", "The dearest"),
    "score": ("missing points", "interactions", "The lowest"),
}
"""Of a unit: what a slice is bad by, beside what, and what its examples are."""
_MIN_DAYS = 3


def details(found: Sequence[Body], days: pd.DataFrame, examples: pd.DataFrame) -> tuple[Html, ...]:
    """The first findings by day, and a block of each.

    examples: the view's series of that name, the ids of rows as they are shown.
    """
    told = _distinct(found)[:MAX_TOLD]
    if not told:
        return ()
    lead = (
        "Of the first findings: since when (the day from which on the level is another, UTC, with the "
        "days that 95 % confidence leaves), failure types, and what else is different where it is bad."
    )
    ids = [list(examples["id"][examples["place"] == found.index(own[0])]) for own in told]
    return (
        *_by_day([own[0] for own in told], days),
        paragraph(lead, note=True),
        *(part for own in told for part in _block(own)),
        *_examples(told, ids),
    )


def _distinct(found: Sequence[Body]) -> list[list[Body]]:
    """Findings with details, those of one slice and metric together: what is told of them is the same."""
    out: dict[tuple[object, ...], list[Body]] = {}
    for one in found:
        if one["detail"] is not None:
            out.setdefault((one["metric"], *one["slice"].items()), []).append(one)
    return list(out.values())


def _block(own: Sequence[Body]) -> tuple[Html, ...]:
    found = own[0]
    detail = found["detail"]
    of = _OF[found["unit"]]
    lines = [
        _since(detail["since"], _level(found)),
        *_types(detail["failure_types"]),
        *_contributors(detail["contributors"], *of[:2]),
    ]
    title = say(
        "<p><strong>{name}</strong> ({measure})</p>",
        name=escape(name(found["slice"]), 200),
        measure=joined((escape(measure(f)) for f in own), ", "),
    )
    return (title, bullets(lines))


def _since(since: Body | None, form: Format) -> Html:
    if since is None:
        return escape("Since when: no day stands out as the one on which it changed.", 200)
    low, high = moment(since["low"]), moment(since["high"])
    interval = "no other day fits" if low == high else f"{low} to {high}"
    rose = since["after"] > since["before"]
    return say(
        "Since {day} ({interval}): {rose} from {before} to {after}.",
        day=moment(since["since_utc"]), interval=interval, rose="rose" if rose else "fell",
        before=form(since["before"]), after=form(since["after"]),
    )  # fmt: skip


def _types(types: Sequence[Body]) -> tuple[Html, ...]:
    told = joined(
        (say("{type} {share} ({rest})",
             type=escape("no type" if t["failure_type"] is None else t["failure_type"]),
             share=percent(t["share"], 0),
             rest="no others" if t["share_of_rest"] is None
             else f"elsewhere {percent(t['share_of_rest'], 0)}")
         for t in types), ", ",
    )  # fmt: skip
    return (say("Failure types of its bad interactions: {told}.", told=told),) if types else ()


def _contributors(contributors: Sequence[Body], bad: str, good: str) -> tuple[Html, ...]:
    told = joined(
        (say("{dimension} = {value} ({share} of its {bad}, {reference} of its {good})",
             dimension=escape(c["dimension"]),
             value=escape("not known" if c["value"] is None else c["value"]),
             share=percent(c["share"], 0), reference=percent(c["reference_share"], 0),
             bad=bad, good=good)
         for c in contributors), ", ",
    )  # fmt: skip
    return (say("Concentrated on {told}.", told=told),) if contributors else ()


def _examples(told: Sequence[Sequence[Body]], ids: Sequence[Sequence[str]]) -> tuple[Html, ...]:
    """The ids of all findings in one block, which a recorded release leaves out whole."""
    lines = [
        say(
            "{name} ({measure}). {kind}: {ids}.",
            name=escape(name(own[0]["slice"]), 200),
            measure=joined((escape(measure(f)) for f in own), ", "),
            kind=_OF[own[0]["unit"]][2],
            ids=joined((say("<code>{id}</code>", id=escape(i)) for i in shown), ", "),
        )
        for own, shown in zip(told, ids, strict=True)
        if shown
    ]
    if not lines:
        return ()
    how = (
        "Examples of each. Ids are hashed: the first 16 hexadecimal digits of the SHA-256 of "
        "interaction_id; in share-safe mode, with the team's key."
    )
    return (of_rows(paragraph(how, note=True), bullets(lines)),)


# ── by day ───────────────────────────────────────────────────────────────────────────────


def _by_day(found: Sequence[Body], days: pd.DataFrame) -> tuple[Html, ...]:
    """A panel for each of the findings that `days` holds."""
    if days.empty or days["day"].nunique() < _MIN_DAYS:
        return ()
    frame = days.copy()
    frame["shown"] = frame["value"].where(frame["unit"] != "rate", 100 * frame["value"])
    frame["side"] = frame["window"].map({0: "baseline", 1: "candidate"})
    frame = frame.sort_values(["place", "window", "day"], ignore_index=True)
    frame["run"] = (
        frame.groupby(["place", "window"])["day"].diff() != pd.Timedelta(days=1)
    ).cumsum()
    firsts = frame.drop_duplicates("place")
    titles = {
        int(row["place"]): label(
            f"{row['place']}: {row['slice']}, {_unit(row['metric'], row['unit'])}", 56
        )
        for row in firsts.to_dict("records")
    }
    frame["panel"] = pd.Categorical(frame["place"].map(titles), list(titles.values()))
    since = firsts.dropna(subset=["since"])
    plot = (
        ggplot(frame, aes("day", "shown", color="side", shape="side"))
        + geom_line(aes(group="run"), size=0.5)
        + geom_point(size=1.2)
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_color_manual(values=WINDOWS)
        + scale_shape_manual(values={"baseline": "o", "candidate": "D"})
        + scale_x_datetime(date_labels="%d %b")
        + labs(title=heading("The first findings by day"), x="Day, UTC", y="")
        + look("y")
    )
    if len(since):
        marks = since.assign(at=since["since"] - spans.HALF_DAY)
        plot = plot + geom_vline(
            aes(xintercept="at"), data=marks, color=INK, linetype="dashed", size=0.5
        )
    stories = joined(
        (say("{place}: {name}: {story}", place=place, name=escape(name(f["slice"]), 100), story=_story(f))
         for place, f in enumerate(found[: len(titles)], 1)), " ",
    )  # fmt: skip
    caption = (
        "Grey circles: days of the baseline; blue diamonds: days of the candidate. Dashed: since when the "
        f"level is another. {plural(len(titles), 'finding')}, each on a scale of its own."
    )
    drawn = svg(plot, height=0.8 + 1.15 * len(titles))
    return (
        figure(
            drawn,
            say("By day. {stories}", stories=stories),
            caption,
            name="The first findings by day",
        ),
    )


def _unit(metric: str, unit: str) -> str:
    return {"usd": "USD", "score": "mean score"}.get(unit) or f"{called(metric).lower()}, %"


def _story(found: Body) -> Html:
    return _since(found["detail"]["since"], _level(found))


def _level(found: Body) -> Format:
    form = FORMS[found["unit"]][1]
    return (lambda value: f"{form(value)} USD") if found["unit"] == "usd" else form
