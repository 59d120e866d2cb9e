"""Spend on the budgets page: its period against the budget, by day, in numbers, and what is unseen."""

from __future__ import annotations

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    geom_col,
    geom_line,
    geom_ribbon,
    ggplot,
    labs,
    scale_x_datetime,
)

from analysis.present import bounded, spans
from analysis.present.blocks import Body, figure, link, over, paragraph, stacked
from analysis.present.escape import Html, say
from analysis.present.formats import (
    NONE,
    between,
    count,
    moment,
    number,
    percent,
    plural,
    stated,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.levels import Level, apart, with_levels
from analysis.present.theme import BLUE, INK, MUTED, NOTE, VERMILLION, heading, label, look, svg

_CAUSES = {
    "unknown_price": "Tokens known, cost not",
    "timeout": "Timeout",
    "dropped_stream": "Dropped stream",
    "fallback": "Fallback answer",
    "other": "Neither tokens nor cause known",
}


def blocks(body: Body, spend: Body, days: pd.DataFrame, path: pd.DataFrame) -> tuple[Html, ...]:
    """Spend against its budget: the period with its forecast, by day, in numbers, and the unseen."""
    if spend["usd_per_day"]["value"] is None:
        return (paragraph("Spend is not known: the telemetry has no usable cost."),)
    drawn = (_fan(spend["period"], path),) if len(path) >= 3 else ()
    bars = (_by_day(spend, days),) if len(days) >= 3 else ()
    return (*drawn, *bars, _summary(body, spend), *_unseen(spend["unseen"]))


def _summary(body: Body, spend: Body) -> Html:
    ahead, period = spend["forecast_usd_per_day"], spend["period"]
    budget, of = spend["budget_usd_per_day"], period["forecast_usd"]
    name = f"{moment(period['start_utc'])} to {moment(period['end_utc'])}"
    rows = [
        ["Spend, USD a day", bounded.stacked(body, spend["usd_per_day"], usd, "usd_per_day", "candidate")],
        ["Budget, USD a day", "none is set" if budget is None else usd(budget)],
        *([] if budget is None else
          [["Spend as a share of the budget", stacked(spend["burn_rate"], percent)]]),
        ["Forecast: mean of the next days, as many as in the window, USD a day",
         over(usd(ahead["value"]), between(ahead["low"], ahead["high"], usd))],
        [f"Spent since the period began ({name}), USD", usd(period["spent_usd"])],
        *([] if budget is None else [["Budget of the period, USD", usd(period["budget_usd"])]]),
        ["Forecast: at the period's end, USD",
         over(usd(of["value"]), between(of["low"], of["high"], usd))],
        *([] if budget is None else [["Budget of the period is spent, UTC", _exhausts(period)]]),
        ["Spend without a known cost, USD in the window", usd(spend["unseen_usd"])],
    ]  # fmt: skip
    weekdays = "with" if spend["weekdays"] else "without"
    hours = say(
        "{window} All traffic of its span counts, as far as its cost is known. Forecasts are 95 % "
        "prediction intervals from {days}, {weekdays} weekday effects. By hour: {file}.",
        window=spans.candidate(body),
        days=plural(spend["history_days"], "whole day"),
        weekdays=weekdays,
        file=link("../tables/spend_by_hour.csv", "tables/spend_by_hour.csv"),
    )
    return table("Spend", [text("Figure"), Column("Value, 95 % interval")], rows, hours)


def _exhausts(period: Body) -> str | Html:
    at = period["exhausts_utc"]
    if period["forecast_usd"]["value"] is None and at["value"] is None:
        return NONE
    if at["value"] is not None and at["value"] == at["low"] == at["high"]:
        return moment(at["value"])
    early = "" if at["low"] is None else f"{moment(at['low'])[:10]} at the earliest"
    if at["value"] is None:
        return over("not before its end", early)
    late = "beyond its end" if at["high"] is None else moment(at["high"])[:10]
    return over(moment(at["value"])[:10], f"{moment(at['low'])[:10]} to {late}")


def _unseen(causes: list[Body]) -> tuple[Html, ...]:
    if not causes:
        return ()

    def bounds(held: Body) -> str:
        if held["high"] is None:
            return f"{usd(held['low'])} to no upper bound"
        return between(held["low"], held["high"], usd)

    return (
        table(
            "Spend that the log cannot see",
            [text("Cause"), Column("Interactions"), Column("Share"), Column("USD, bounds")],
            [
                [_CAUSES.get(c["cause"], c["cause"]), count(c["n"]), percent(c["share"]),
                 over(usd(c["usd"]["value"]), bounds(c["usd"]))]
                for c in causes
            ],
            "Interactions without a cost, each under one cause. Value: the list price where tokens and "
            "prices are known, else the model's mean. Upper bound: the list price of the longest answer "
            "allowed, or the policy's cap (spend.unseen_cap_usd, or routing.bounds.cost_usd).",
        ),
    )  # fmt: skip


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _fan(period: Body, path: pd.DataFrame) -> Html:
    """Cumulative spend of the period, and where it leads."""
    frame = path.assign(day=path["day"].dt.tz_localize(None), ahead=path["ahead"].astype(bool))
    past, ahead = frame[~frame["ahead"]], frame[frame["ahead"]]
    fan = pd.concat([past.tail(1), ahead], ignore_index=True)
    budget, of = period["budget_usd"], period["forecast_usd"]
    first, last = frame["day"].min(), frame["day"].max()
    now = past["day"].max()
    top = max(float(frame["high"].max()), budget or 0.0)
    plot = ggplot(fan, aes("day", "usd"))
    if len(ahead):
        # Edges, for a shade alone is lost in print.
        plot = (
            plot
            + geom_ribbon(aes(ymin="low", ymax="high"), fill=BLUE, alpha=0.16)
            + geom_ribbon(aes(ymin="low50", ymax="high50"), fill=BLUE, alpha=0.28)
            + geom_line(aes(y="low"), color=BLUE, linetype="dashed", size=0.5)
            + geom_line(aes(y="high"), color=BLUE, linetype="dashed", size=0.5)
            + geom_line(aes(y="low50"), color=BLUE, size=0.4)
            + geom_line(aes(y="high50"), color=BLUE, size=0.4)
            + geom_line(color=INK, linetype="dotted", size=0.9)
        )
    plot = plot + geom_line(data=past, color=INK, size=1.1)
    named = [(float(past["usd"].iloc[-1]), f"spent {number(period['spent_usd'], 0)}", INK)]
    if len(ahead):
        named = [
            (float(of["value"]), f"forecast {number(of['value'], 0)}", INK),
            (float(of["high"]), f"95 % high {number(of['high'], 0)}", BLUE),
            (float(of["low"]), f"95 % low {number(of['low'], 0)}", BLUE),
        ]
    if budget is not None:
        named.append((budget, f"budget {number(budget, 0)}", VERMILLION))
        plot = (
            plot
            + annotate("segment", x=first, xend=last, y=0, yend=budget, color=MUTED,
                       linetype="dotted", size=0.6)
            + annotate("segment", x=first, xend=last, y=budget, yend=budget, color=VERMILLION,
                       linetype="dashed", size=0.7)
        )  # fmt: skip
    heights = apart([at for at, _, _ in named], 0.085 * top)
    room = (last - first) * 0.36
    for (_, name, colour), height in zip(named, heights, strict=True):
        plot = plot + annotate("text", x=last + room * 0.04, y=height, label=label(name), ha="left",
                               va="center", size=NOTE, color=colour)  # fmt: skip
    if len(ahead):
        spent = float(past["usd"].iloc[-1])
        plot = (
            plot
            + annotate("segment", x=now, xend=now, y=0, yend=spent, color=MUTED, size=0.4)
            + annotate("text", x=now, y=0.02 * top, label=label(f" spent {number(spent, 0)}"),
                       ha="left", va="bottom", size=NOTE, color=INK)
        )  # fmt: skip
    plot = (
        plot
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first, last + room), ylim=(0, 1.08 * max(top, *heights, 1e-9)))
        + labs(title=heading("Spend of the period, with its forecast"), x="Day's end, UTC", y="USD")
        + look("y")
    )
    story = f"Spend of the period {moment(period['start_utc'])} to {moment(period['end_utc'])}: "
    story += f"{usd(period['spent_usd'])} USD so far"
    if len(ahead):
        story += (
            f", forecast {usd(of['value'])} at its end "
            f"(95 % interval {between(of['low'], of['high'], usd)})"
        )
    story += "." if budget is None else f"; its budget is {usd(budget)} USD."
    caption = (
        "Solid: spent so far. Dotted: forecast at the candidate's level, by weekday where they are "
        "known, with the intervals that hold half and 95 % of outcomes (dashed edges)."
    )
    if budget is not None:
        caption += " Grey dots: the even pace that spends the budget exactly."
    return figure(
        svg(plot, height=3.1), story, caption, name="Spend of the period, with its forecast"
    )


def _by_day(spend: Body, days: pd.DataFrame) -> Html:
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
        svg(plot, height=2.7),
        alt,
        "All traffic of the candidate window's span, UTC days.",
        name="Spend by day",
    )
