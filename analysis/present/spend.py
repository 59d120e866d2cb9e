"""Spend on the budgets page: by day against the budget, and in numbers."""

from __future__ import annotations

import pandas as pd
from plotnine import aes, coord_cartesian, geom_col, ggplot, labs, scale_x_datetime

from analysis.present import bounded, spans
from analysis.present.blocks import Body, figure, over, paragraph, stacked
from analysis.present.escape import Html
from analysis.present.formats import between, number, percent, plural, stated, usd
from analysis.present.grid import Column, table, text
from analysis.present.levels import Level, with_levels
from analysis.present.theme import BLUE, INK, VERMILLION, heading, look, svg


def blocks(body: Body, spend: Body, days: pd.DataFrame) -> tuple[Html, ...]:
    """Spend against its budget: by day, and in numbers."""
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
    return (_by_day(spend, days), summary)


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
        svg(plot, height=2.7), alt, "All traffic of the candidate window's span, UTC days."
    )
