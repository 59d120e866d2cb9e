"""The budgets page: error budgets and alerts here, spend and what moved it in modules of their own."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    geom_line,
    geom_point,
    geom_text,
    ggplot,
    labs,
    scale_color_identity,
    scale_linetype_identity,
    scale_x_datetime,
)

from analysis.present import bounded, incidents, spans, spend, waterfall
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    over,
    paragraph,
    stacked,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.budget_groups import groups, period
from analysis.present.escape import Html
from analysis.present.formats import (
    NONE,
    count,
    hours,
    moment,
    number,
    percent,
    plural,
    ratio,
)
from analysis.present.grid import Column, table, text
from analysis.present.levels import apart
from analysis.present.theme import (
    INK,
    MUTED,
    NOTE,
    STROKES,
    heading,
    label,
    look,
    svg,
)
from analysis.review import Review

MAX_EPISODES = 5
MAX_PARTS = 3
_PARTS = {"release_id": "release", "prompt_version": "prompt version", "month": "month"}
MAX_LINES = 5  # of the ink of a sixth is the line of an empty budget


def parts(review: Review) -> Parts:
    """The budgets page."""
    body, result = review.body, review.results["budget"]
    section = body["views"]["budget"]
    shown = incidents.numbered(section)
    return Parts(
        view_answer(body, "budget"),
        (
            *_slos(body, section),
            *groups(body),
            *_remaining(section, result.series["burn"], shown),
            *incidents.incidents(section, shown),
            *_by_release(section),
            *_alerts(section),
            *_episodes(section),
            *spend.blocks(
                body, section["spend"], result.series["spend_days"], result.series["spend_period"]
            ),
            *waterfall.blocks(body, section["spend"], section["drivers"]),
            *view_notes(body, "budget", result.notes),
        ),
        view_actions(body, "budget"),
    )


# ── error budgets ────────────────────────────────────────────────────────────────────────


def _slos(body: Body, section: Body) -> tuple[Html, ...]:
    if not section["slos"]:
        return (paragraph("The policy names no objectives (slos): no error budget is judged."),)
    rows = [
        [over(s["name"], f"target {percent(s['target'], 1)}"),
         bounded.stacked(body, s["burn_rate"], ratio, f"{s['name']}_burn_rate", "candidate"),
         bounded.beside(body, Html(percent(s["budget_consumed"], 1)), percent,
                        f"{s['name']}_budget_consumed", "candidate"),
         percent(s["budget_remaining"], 1), _exhausts(s),
         count(s["burn_rate"]["support"])]
        for s in section["slos"]
    ]  # fmt: skip
    periods = ", ".join(f"{s['name']} {period(s)}" for s in section["slos"])
    bounds = [f"{s['name']}_{f}" for s in section["slos"] for f in ("burn_rate", "budget_consumed")]
    explained = f" {bounded.EXPLAINED}" if bounded.any_of(body, tuple(bounds)) else ""
    return (
        table(
            "Error budgets",
            [text("Objective"), Column("Burn rate, 95 % interval"),
             Column("Budget spent"), Column("Budget left"), Column("Exhausted, UTC"),
             Column("Interactions")],
            rows,
            f"Burn rate: {spans.candidate(body)} Spent and left: the period that ends with it "
            f"({periods}).{explained}",
            file="slo_burn.csv",
        ),
    )  # fmt: skip


def _exhausts(slo: Body) -> Html:
    at, remaining = slo["exhausts_utc"], slo["budget_remaining"]
    if remaining is None:
        return over(NONE, "not known, see below")
    if at["value"] is None:
        burns = slo["burn_rate"]["value"]
        return over("never", "not before the period ends" if burns else "nothing burns")
    if remaining <= 0:
        return over(moment(at["value"]), "it is overspent")
    late = "beyond a period" if at["high"] is None else _day(at["high"])
    return over(_day(at["value"]), f"{_day(at['low'])} to {late}")


def _day(value: str | None) -> str:
    """A predicted moment: the hour would say more than is known."""
    return NONE if value is None else moment(value)[:10]


def _remaining(
    section: Body, burn: pd.DataFrame, shown: Sequence[incidents.Numbered]
) -> tuple[Html, ...]:
    """What is left of each budget at each day's end, and when incidents were."""
    slos = [s for s in section["slos"] if s["budget_remaining"] is not None][:MAX_LINES]
    frame = burn[burn["slo"].isin([s["name"] for s in slos])].copy()
    if burn.empty and slos:
        return ()  # left out of what is published, as the page says
    if frame.empty:
        return (paragraph("No budget can be followed over its period.", note=True),)
    frame["day"] = frame["day"].dt.tz_localize(None)
    frame["left"] = 100 * frame["remaining"]
    place = {s["name"]: index for index, s in enumerate(slos)}
    frame["colour"] = [STROKES[place[n]][0] for n in frame["slo"]]
    frame["type"] = [STROKES[place[n]][1] for n in frame["slo"]]
    first, last = frame["day"].min(), frame["day"].max()
    ends = frame.sort_values("day").groupby("slo", sort=False).tail(1).copy()
    low, high = min(frame["left"].min(), 0.0), max(frame["left"].max(), 100.0)
    ends["height"] = apart(ends["left"].tolist(), 0.075 * (high - low))
    ends["told"] = [
        label(f"{n} {v:.1f} %".replace("-", "−"), 26)
        for n, v in zip(ends["slo"], ends["left"], strict=True)
    ]
    room = (last - first) * 0.4 if last > first else pd.Timedelta(days=1)
    held = incidents.bands(shown, first, last, low, high)
    top = max(high + incidents.ROOM * (high - low), ends["height"].max())
    bottom = min(low, ends["height"].min())
    plot = (
        ggplot(frame, aes("day", "left", color="colour"))
        + held
        + annotate("segment", x=first, xend=last, y=100, yend=0, color=MUTED, linetype="dotted",
                   size=0.6)
        + annotate("segment", x=first, xend=last, y=0, yend=0, color=INK, size=0.6)
        + geom_line(aes(group="slo", linetype="type"), size=0.9)
        + geom_point(data=ends, size=2)
        + geom_text(aes(y="height", label="told"), data=ends, ha="left", size=NOTE,
                    nudge_x=(last - first) / pd.Timedelta(days=1) * 0.02)
        + annotate("text", x=first, y=0, label="budget exhausted", ha="left", va="bottom", size=NOTE,
                   color=INK)
        + scale_color_identity() + scale_linetype_identity()
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first, last + room), ylim=(bottom, top) if held else None)
        + labs(title=heading("Error budget left, at each day's end"), x="Day, UTC", y="Left, %")
        + look("y")
    )  # fmt: skip
    story = "; ".join(
        f"{s['name']} {percent(s['budget_remaining'], 1)} left of {s['period_days']} days"
        for s in slos
    )
    caption = (
        "Share of the period's error budget that is left; below zero it is overspent. Dotted: the even "
        "pace that spends it exactly."
    )
    if held:
        caption += " Bands: incidents, numbered as in the table; dashed and in brackets: set aside."
    alt = f"Error budgets at the window's end: {story}.{incidents.told(shown)}"
    return (figure(svg(plot, height=3.2), alt, caption, name="Error budget left"),)


def _by_release(section: Body) -> tuple[Html, ...]:
    """What each release, prompt version and month burned."""
    rows = []
    for s in section["slos"]:
        for kind, held in (
            *(
                (name, [p for p in s["by_release"] if p["column"] == name])
                for name in ("release_id", "prompt_version")
            ),
            ("month", s["by_month"]),
        ):
            strongest = sorted(held, key=lambda p: -p["bad"])[:MAX_PARTS]
            rows += [
                [s["name"], _PARTS[kind], _part(p), count(p["interactions"]), count(p["bad"]),
                 ratio(p["burn_rate"]), percent(p["budget_consumed"], 1)]
                for p in held if p in strongest
            ]  # fmt: skip
    if not rows:
        return ()
    total = sum(len(s["by_release"]) + len(s["by_month"]) for s in section["slos"])
    return (
        table(
            "Who burned the budget",
            [text("Objective"), text("By"), text("Value"), Column("Interactions"), Column("Bad"),
             Column("Burn rate"), Column("Share of the budget")],
            rows,
            "The period that ends with the candidate window, all traffic. Shares of each kind add up to "
            f"the budget spent; at most {MAX_PARTS} of a kind are shown, those with the most bad ones.",
            file="slo_by_release.csv", total=total,
        ),
    )  # fmt: skip


def _part(part: Body) -> str:
    if "month" in part:
        return str(part["month"])
    if part["others"]:
        return "all others"
    return "not named" if part["value"] is None else str(part["value"])


def _alerts(section: Body) -> tuple[Html, ...]:
    rows = [
        [
            s["name"],
            f"{hours(a['long_hours'])} and {hours(a['short_hours'])}",
            number(a["threshold"], 1),
            stacked(a["burn_long_interval"], number),
            stacked(a["burn_short_interval"], number),
            _state(a),
            over(hours(_digits(a["outage_detection_hours"])), _at_traffic(a)),
        ]
        for s in section["slos"]
        for a in s["alerts"]
    ]
    if not rows:
        return ()
    return (
        table(
            "Burn alerts at the window's end",
            [text("Objective"), Column("Windows"), Column("Threshold, ×"), Column("Long burn, ×"),
             Column("Short burn, ×"), text("State"), Column("Detects a full outage after")],
            rows,
            "Multi-window rules of the SRE Workbook, chapter 5; burn with 95 % intervals. An alert fires "
            "when both windows burn at the threshold or faster, and more sessions or users fail in the "
            "long one than chance explains: one that fails again and again is one event. Detection: by "
            "the burn alone, and below it at this traffic. –: no traffic in that window, or never.",
            file="slo_burn.csv",
        ),
    )  # fmt: skip


def _state(alert: Body) -> str:
    if not alert["feasible"]:
        return "can never fire: beyond a full outage"
    if alert["firing"]:
        return f"fires: {alert['severity']}"
    return "above, may be chance" if alert["firing_plain"] else "quiet"


def _at_traffic(alert: Body) -> str:
    if not alert["feasible"]:
        return ""
    after = alert["outage_firing_hours"]
    return "never" if after is None else hours(_digits(after))


def _digits(value: float | None) -> float | None:
    """To three digits: more would say more than even traffic holds."""
    return None if value is None else float(f"{value:.3g}")


def _episodes(section: Body) -> tuple[Html, ...]:
    held = [(s["name"], e) for s in section["slos"] for e in s["episodes"]]
    if not held:
        return ()
    held.sort(key=lambda pair: -pair[1]["peak_burn"])
    worst = held[:MAX_EPISODES]
    return (
        table(
            "When alerts fired during the candidate window, the strongest first",
            [text("Objective"), Column("From, UTC"), Column("Until, UTC"), Column("Long window"),
             text("Severity"), Column("Peak burn, ×")],
            [[name, moment(e["start_utc"]), moment(e["end_utc"]), hours(e["long_hours"]),
              e["severity"], number(e["peak_burn"])] for name, e in worst],
            f"{plural(len(held), 'episode')}; the times are those at which the alert would have been firing.",
            total=len(held),
        ),
    )  # fmt: skip
