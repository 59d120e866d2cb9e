"""The budgets page: error budgets, alerts, spend and what moved it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    geom_col,
    geom_line,
    geom_point,
    geom_text,
    ggplot,
    labs,
    scale_color_identity,
    scale_linetype_identity,
    scale_x_datetime,
)

from analysis.present import bounded, spans
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
from analysis.present.escape import Html
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    NONE,
    between,
    count,
    hours,
    moment,
    number,
    percent,
    plural,
    ratio,
    signed_usd,
    stated,
    tick,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.levels import Level, apart, with_levels
from analysis.present.theme import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    NOTE,
    ORANGE,
    PURPLE,
    VERMILLION,
    heading,
    label,
    look,
    svg,
)
from analysis.review import Review

MAX_EPISODES = 5
MAX_DRIVERS = 5
_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
_TYPES = ("solid", "dashed", "dotted", "dashdot", "solid")
_DRIVERS = {
    "volume": "Volume: first attempts a day",
    "retries": "Retries: attempts per first attempt",
    "mix": "Mix: which models serve",
    "tokens": "Tokens per attempt",
    "price": "Price: USD per token",
}


def parts(review: Review) -> Parts:
    """The budgets page."""
    body, result = review.body, review.results["budget"]
    section = body["views"]["budget"]
    return Parts(
        view_answer(body, "budget"),
        (
            *_slos(body, section),
            *_remaining(section, result.series["burn"]),
            *_alerts(section),
            *_episodes(section),
            *_spend(body, section["spend"], result.series["spend_days"]),
            *_drivers(body, section["drivers"]),
            *view_notes(body, "budget", result.notes),
        ),
        view_actions(body, "budget"),
    )


# ── error budgets ────────────────────────────────────────────────────────────────────────


def _slos(body: Body, section: Body) -> tuple[Html, ...]:
    if not section["slos"]:
        return (paragraph("The policy names no objectives (slos): no error budget is judged."),)
    rows = [
        [s["name"], percent(s["target"], 1),
         bounded.stacked(body, s["burn_rate"], ratio, f"{s['name']}_burn_rate", "candidate"),
         bounded.beside(body, Html(percent(s["budget_consumed"], 1)), percent,
                        f"{s['name']}_budget_consumed", "candidate"),
         percent(s["budget_remaining"], 1), _exhausts(s),
         count(s["burn_rate"]["support"])]
        for s in section["slos"]
    ]  # fmt: skip
    periods = ", ".join(f"{s['name']} {s['period_days']} days" for s in section["slos"])
    bounds = [f"{s['name']}_{f}" for s in section["slos"] for f in ("burn_rate", "budget_consumed")]
    explained = f" {bounded.EXPLAINED}" if bounded.any_of(body, tuple(bounds)) else ""
    return (
        table(
            "Error budgets",
            [text("Objective"), Column("Target"), Column("Burn rate, 95 % interval"),
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
        return over("never", "nothing burns")
    if remaining <= 0:
        return over(moment(at["value"]), "it is overspent")
    late = "beyond a period" if at["high"] is None else _day(at["high"])
    return over(_day(at["value"]), f"{_day(at['low'])} to {late}")


def _day(value: str | None) -> str:
    """A predicted moment: the hour would say more than is known."""
    return NONE if value is None else moment(value)[:10]


def _remaining(section: Body, burn: pd.DataFrame) -> tuple[Html, ...]:
    """What is left of each budget at each day's end."""
    slos = [s for s in section["slos"] if s["budget_remaining"] is not None][: len(_COLOURS)]
    frame = burn[burn["slo"].isin([s["name"] for s in slos])].copy()
    if frame.empty:
        return (paragraph("No budget can be followed over its period.", note=True),)
    frame["day"] = frame["day"].dt.tz_localize(None)
    frame["left"] = 100 * frame["remaining"]
    place = {s["name"]: index for index, s in enumerate(slos)}
    frame["colour"] = [_COLOURS[place[n]] for n in frame["slo"]]
    frame["type"] = [_TYPES[place[n]] for n in frame["slo"]]
    first, last = frame["day"].min(), frame["day"].max()
    ends = frame.sort_values("day").groupby("slo", sort=False).tail(1).copy()
    low, high = min(frame["left"].min(), 0.0), max(frame["left"].max(), 100.0)
    ends["height"] = apart(ends["left"].tolist(), 0.075 * (high - low))
    ends["told"] = [
        label(f"{n} {v:.1f} %".replace("-", "−"), 26)
        for n, v in zip(ends["slo"], ends["left"], strict=True)
    ]
    room = (last - first) * 0.4 if last > first else pd.Timedelta(days=1)
    plot = (
        ggplot(frame, aes("day", "left", color="colour"))
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
        + coord_cartesian(xlim=(first, last + room))
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
    return (figure(svg(plot, height=3.2), f"Error budgets at the window's end: {story}.", caption),)


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
    return "never at this traffic" if after is None else f"{hours(_digits(after))} at this traffic"


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


# ── spend ────────────────────────────────────────────────────────────────────────────────


def _spend(body: Body, spend: Body, days: pd.DataFrame) -> tuple[Html, ...]:
    if spend["usd_per_day"]["value"] is None:
        return (paragraph("Spend is not known: the telemetry has no usable cost."),)
    ahead = spend["forecast_usd_per_day"]
    budget = spend["budget_usd_per_day"]
    rows = [
        ["Spend, USD a day", bounded.stacked(body, spend["usd_per_day"], usd, "usd_per_day", "candidate")],
        ["Budget, USD a day", "none is set" if budget is None else usd(budget)],
        *([] if budget is None else
          [["Spend as a share of the budget", stacked(spend["burn_rate"], percent)]]),
        ["Forecast: mean of the next days, as many as in the window, USD a day",
         over(usd(ahead["value"]), between(ahead["low"], ahead["high"], usd))],
        ["Spend without a known cost, USD in the window", usd(spend["unseen_usd"])],
    ]  # fmt: skip
    summary = table(
        "Spend",
        [text("Figure"), Column("Value, 95 % interval")],
        rows,
        f"{spans.candidate(body)} All traffic of its span counts. The forecast is a prediction interval.",
    )
    if len(days) < 3:
        return (summary,)
    return (_spend_figure(spend, days), summary)


def _spend_figure(spend: Body, days: pd.DataFrame) -> Html:
    frame = days.assign(day=days["day"].dt.tz_localize(None))
    budget, value = spend["budget_usd_per_day"], spend["usd_per_day"]["value"]
    lines: list[Level] = [(value, f"mean {usd(value)}", INK)]
    if budget is not None:
        lines.append((budget, f"budget {number(budget, 0)}", VERMILLION))
    top = max(frame["usd"].max(), *(at for at, _, _ in lines))
    first, last = frame["day"].min(), frame["day"].max()
    room = (last - first) * 0.28
    plot = ggplot(frame, aes("day", "usd")) + geom_col(fill=BLUE, width=0.75)
    plot = with_levels(plot, lines, last + room, top, gap=0.08)
    plot = (
        plot
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first - pd.Timedelta(hours=16), last + room), ylim=(0, 1.15 * top))
        + labs(title=heading("Spend by day, against the budget"), x="Day, UTC", y="USD")
        + look("y")
    )
    over = int((frame["usd"] > budget).sum()) if budget is not None else 0
    against = "" if budget is None else (
        f" The budget is {number(budget, 2)} USD a day; {over} of {plural(len(frame), 'day')} exceeded it."
    )  # fmt: skip
    alt = (
        f"Spend by day: mean {stated(spend['usd_per_day'], usd)} USD, from {usd(frame['usd'].min())} to "
        f"{usd(frame['usd'].max())}.{against}"
    )
    return figure(
        svg(plot, height=2.7), alt, "All traffic of the candidate window's span, UTC days."
    )


# ── drivers ──────────────────────────────────────────────────────────────────────────────


def _drivers(body: Body, drivers: Body) -> tuple[Html, ...]:
    change = drivers["change_usd_per_day"]
    if change is None:
        return (paragraph(f"What moved the spend is not decomposed: {drivers['reason']}."),)
    rows = [
        Row("Whole change", change, told=f"{signed_usd(change)} USD a day", tone="other"),
        *(
            Row(_DRIVERS.get(e["driver"], e["driver"]), e["usd_per_day"],
                told=f"{signed_usd(e['usd_per_day'])} USD a day")
            for e in drivers["effects"]
        ),
    ]  # fmt: skip
    drawn = forest(
        "What moved the spend: candidate minus baseline",
        rows, "USD a day", tick(sign=True), [Line(0.0, "no change", limit=False)], stem=0.0,
    )  # fmt: skip
    alt = (
        f"Spend changed by {signed_usd(change)} USD a day: "
        + ", ".join(f"{e['driver']} {signed_usd(e['usd_per_day'])}" for e in drivers["effects"])
        + "."
    )
    caption = (
        "An exact decomposition (log-mean Divisia index, Ang 2005): the parts sum to the whole change. "
        "It describes these two windows, and has no interval."
    )
    return (figure(drawn, alt, caption), *_by_model(body, drivers))


def _by_model(body: Body, drivers: Body) -> tuple[Html, ...]:
    rows = [
        [slice_name(e["slice"]), e["driver"], signed_usd(e["usd_per_day"])]
        for e in drivers["by_slice"]
        if e["usd_per_day"]
    ]
    if not rows:
        return ()
    return (
        table(
            "The largest parts of the change, by model",
            [text("Model"), text("Driver"), Column("USD a day")],
            rows[:MAX_DRIVERS],
            spans.both(body),
            file="spend_drivers.csv", total=len(drivers["by_slice"]),
        ),
    )  # fmt: skip


def slice_name(held: Mapping[str, Any]) -> str:
    """A slice in one line: its values, a null said."""
    return " / ".join("not known" if v is None else str(v) for v in held.values()) or "all"
