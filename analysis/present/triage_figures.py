"""The figures of the triage page: what a threshold costs, what it asks of the team, what it is worth."""

from __future__ import annotations

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    facet_wrap,
    geom_abline,
    geom_col,
    geom_hline,
    geom_line,
    geom_linerange,
    geom_point,
    geom_ribbon,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_x_continuous,
    scale_x_datetime,
    scale_y_continuous,
)

from analysis.present import spans
from analysis.present.blocks import Body, figure, paragraph
from analysis.present.escape import Html
from analysis.present.formats import number, percent, plural, stated, usd
from analysis.present.levels import Level, apart, with_levels
from analysis.present.theme import (
    BLUE,
    INK,
    MUTED,
    NOTE,
    STROKES,
    VERMILLION,
    heading,
    label,
    look,
    svg,
)

PANELS = {
    "choose": "Before the window: what the mode was chosen on",
    "candidate": "Candidate window: what it then cost",
}
_ROLES = {
    "chosen": "chosen",
    "next_best_1": "next best",
    "next_best_2": "second next",
}


def cost(section: Body, curve: pd.DataFrame | None) -> tuple[Html, ...]:
    """USD a day over the threshold, before the window and in it."""
    frame = _over_threshold(section, curve, ["cost_usd_per_day"])
    if frame.empty:
        return ()
    frame["panel"] = pd.Categorical(frame["part"].map(PANELS), list(PANELS.values()))
    chosen, edge, ended = _chosen(section, frame)
    tops = frame.groupby("panel", observed=True)["cost_usd_per_day_high"].max().reset_index()
    named = tops.assign(risk=chosen, told=label(ended))
    right = chosen > edge / 2
    plot = (
        ggplot(frame, aes("risk", "cost_usd_per_day"))
        + geom_ribbon(aes(ymin="cost_usd_per_day_low", ymax="cost_usd_per_day_high"), fill=BLUE,
                      alpha=0.16)
        + geom_line(color=BLUE, size=0.9)
        + geom_vline(xintercept=chosen, color=VERMILLION, linetype="dashed", size=0.6)
        + geom_text(aes(y="cost_usd_per_day_high", label="told"), data=named,
                    ha="right" if right else "left", va="bottom", size=NOTE, color=INK,
                    nudge_x=-0.01 * edge if right else 0.01 * edge)
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_y_continuous(expand=(0.05, 0, 0.15, 0))
        + labs(title=heading("Cost of reviews and misses, by the risk from which one reviews"),
               x="Review from a risk of, %", y="USD a day")
        + look("xy")
    )  # fmt: skip
    own = frame[frame["part"] == "candidate"]
    best = own.sort_values("cost_usd_per_day", kind="stable").iloc[0] if len(own) else None
    told = {p["name"]: p["cost_usd"] for p in section["policies"]}
    alt = f"Cost over the review threshold; {ended}. In the window the selected mode cost " + (
        f"{stated(told['selected'], usd)} USD."
    )
    if best is not None:
        alt += (
            f" In hindsight the cheapest threshold was {percent(best['threshold'], 1)}, at "
            f"{usd(best['cost_usd_per_day'])} USD a day."
        )
    caption = (
        "Review cost plus the cost of missed failures, within the day's capacity, with 95 % intervals. "
        "Dashed: the mode that was chosen. The candidate window chose nothing."
    )
    return (
        figure(svg(plot, height=3.9), alt, caption, name="Cost of reviews and misses by threshold"),
    )


def found(section: Body, curve: pd.DataFrame | None) -> tuple[Html, ...]:
    """Precision and recall over the threshold, in the window."""
    frame = _over_threshold(section, curve, ["precision", "recall"])
    frame = frame[frame["part"] == "candidate"] if len(frame) else frame
    if frame.empty or section["operating_mode"] is None:
        return ()
    names = {
        "precision": "Precision: reviews that find a failure, %",
        "recall": "Recall: failures that are reviewed, %",
    }
    long = pd.concat(
        [
            pd.DataFrame(
                {
                    "risk": frame["risk"],
                    "threshold": frame["threshold"],
                    "panel": name,
                    "value": 100 * frame[column],
                    "low": 100 * frame[f"{column}_low"],
                    "high": 100 * frame[f"{column}_high"],
                }
            )
            for column, name in names.items()
        ],
        ignore_index=True,
    ).dropna(subset=["value"])
    if long.empty:
        return ()
    long["panel"] = pd.Categorical(long["panel"], list(names.values()))
    chosen, _, ended = _chosen(section, frame)
    plot = (
        ggplot(long, aes("risk", "value"))
        + geom_ribbon(aes(ymin="low", ymax="high"), fill=BLUE, alpha=0.16)
        + geom_line(color=BLUE, size=0.9)
        + geom_vline(xintercept=chosen, color=VERMILLION, linetype="dashed", size=0.6)
        + facet_wrap("panel", ncol=1, scales="free_y")
        + labs(title=heading("What reviewing from a risk on finds"), x="Review from a risk of, %", y="")
        + look("xy")
    )  # fmt: skip
    selected = next(p for p in section["policies"] if p["name"] == "selected")
    alt = (
        f"Precision and recall over the review threshold in the candidate window; {ended}. The selected "
        f"mode reviewed {number(selected['reviewed'], 0)} interactions: precision "
        f"{percent(selected['precision'], 1)}, recall {percent(selected['recall'], 1)}."
    )
    caption = (
        "Within the day's capacity, with 95 % intervals of clusters and days. Dashed: the mode that was "
        "chosen. Every threshold: tables/triage_threshold_curve.csv."
    )
    return (
        figure(svg(plot, height=3.4), alt, caption, name="What reviewing from a risk on finds"),
    )


def _over_threshold(section: Body, curve: pd.DataFrame | None, columns: list[str]) -> pd.DataFrame:
    """The curve's rows with these columns, up to a little above the last reviewed risk."""
    if curve is None or curve.empty or section["threshold"] is None:
        return pd.DataFrame()
    frame = curve.dropna(subset=columns).copy()
    frame["risk"] = 100 * frame["threshold"]
    return frame[frame["risk"] <= _edge(curve)]


def _edge(curve: pd.DataFrame) -> float:
    """A little above the largest risk at which anything is still reviewed, in percent."""
    used = curve[curve["reviewed"] > 0]
    reach = float(used["threshold"].max()) if len(used) else 0.1
    return max(1.3 * 100 * reach, 5.0)


def _chosen(section: Body, frame: pd.DataFrame) -> tuple[float, float, str]:
    """Where the chosen threshold is drawn, the axis's end, and its name."""
    edge = float(frame["risk"].max())
    name = (
        "no review" if section["threshold"] >= 1 else f"chosen {percent(section['threshold'], 1)}"
    )
    return min(100 * section["threshold"], edge), edge, name


def _levels(capacity: float, guard: float) -> list[Level]:
    """What a day's reviews are held against."""
    return [
        (capacity, f"capacity {number(capacity, 0)}", INK),
        (guard, f"guard {number(guard, 0)}", VERMILLION),
    ]


def queue(section: Body, days: pd.DataFrame | None) -> tuple[Html, ...]:
    """Reviews asked for by day, against capacity and guard."""
    if days is None or days.empty:
        return ()
    if section["operating_mode"] == "review_none":
        return (
            paragraph("Nothing is queued, so that there is no daily queue to show.", note=True),
        )
    frame = days.assign(day=pd.to_datetime(days["day"]))
    capacity, guard = float(frame["capacity"].iloc[0]), float(frame["guard"].iloc[0])
    top = max(frame["demand"].max(), capacity, guard)
    first, last = frame["day"].min(), frame["day"].max()
    room = (last - first) * 0.24
    colours = {"history": MUTED, "candidate": BLUE}
    plot = ggplot(frame, aes("day", "demand"))
    for part, colour in colours.items():
        own = frame[frame["part"] == part]
        if len(own):
            plot = plot + geom_col(data=own, fill=colour, width=0.75)
    plot = with_levels(plot, _levels(capacity, guard), last + room, top, gap=0.09)
    plot = (
        plot
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first - pd.Timedelta(hours=16), last + room), ylim=(0, 1.15 * top))
        + labs(title=heading("Reviews asked for by day, against capacity and guard"), x="Day, UTC",
               y="Reviews")
        + look("y")
    )  # fmt: skip
    work = section["workload"]
    alt = (
        f"Daily review queue: median {number(work['reviews_per_day_p50'], 0)}, 90th percentile "
        f"{number(work['reviews_per_day_p90'], 0)}; predicted 90th percentile "
        f"{number(work['predicted_p90'], 0)}; capacity {number(capacity, 0)}, guard {number(guard, 0)}."
    )
    caption = (
        "Grey: the days before the window that the mode was chosen on; blue: the candidate window. "
        "Above capacity, reviews are not reached. The guard limits the 90th percentile."
    )
    return (figure(svg(plot, height=2.7), alt, caption, name="Reviews asked for by day"),)


def backlog(section: Body, waits: pd.DataFrame | None, capacity: float) -> tuple[Html, ...]:
    """What is left each evening where nothing is dropped, at the threshold chosen and at the next best."""
    if waits is None or waits.empty:
        return ()
    frame = waits.assign(day=pd.to_datetime(waits["day"]))
    roles = [role for role in _ROLES if (frame["role"] == role).any()]
    first, last = frame["day"].min(), frame["day"].max()
    room = max(last - first, pd.Timedelta(days=2)) * 0.5
    top = max(float(frame["backlog"].max()), 1.0)
    ends = {r: float(frame[frame["role"] == r]["backlog"].iloc[-1]) for r in roles}
    heights = apart(list(ends.values()), 0.09 * top)
    plot = ggplot(frame, aes("day", "backlog"))
    for role, height, (colour, stroke) in zip(ends, heights, STROKES, strict=False):
        own = frame[frame["role"] == role]
        threshold = float(own["threshold"].iloc[0])
        name = f"{_ROLES[role]}, {percent(threshold, 1)}"
        plot = (
            plot
            + geom_line(data=own, color=colour, linetype=stroke, size=0.9)
            + geom_point(data=own, color=colour, size=1.6)
            + annotate("text", x=last + pd.Timedelta(hours=8), y=height, label=label(name), ha="left",
                       va="center", size=NOTE, color=colour)
        )  # fmt: skip
    plot = (
        plot
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first - pd.Timedelta(hours=8), last + room), ylim=(0, 1.15 * top))
        + labs(title=heading("Reviews left over each evening, were none dropped"), x="Day, UTC",
               y="Backlog")
        + look("y")
    )  # fmt: skip
    told = []
    for role in roles:
        own = frame[frame["role"] == role]
        worst = own["wait_hours_p90"].max()
        told.append(
            f"{_ROLES[role]} (from {percent(float(own['threshold'].iloc[0]), 1)}): at most "
            f"{number(own['backlog'].max(), 0)} left over, {number(ends[role], 0)} at the end"
            + ("" if pd.isna(worst) else f", nine in ten wait at most {number(worst, 1)} hours")
        )
    alt = f"Backlog by day. {'; '.join(told)}."
    caption = (
        f"The window's arrivals against {number(capacity, 0)} reviews a day, spread over the team's hours, "
        "first come first served, what is left over carried to the next day. Next best: the other "
        "thresholds of least cost before the window, whatever the guard says."
    )
    return (figure(svg(plot, height=2.7), alt, caption, name="Reviews left over each evening"),)


def weekdays(section: Body, guard: float) -> tuple[Html, ...]:
    """The predicted queue of each weekday, against capacity and guard."""
    days = [d for d in section["workload"]["weekdays"] if d["demand_p90"] is not None]
    if not days or section["operating_mode"] == "review_none":
        return ()
    frame = pd.DataFrame(days)
    places = list(range(1, len(frame) + 1))
    names = [label(d[:3]) for d in frame["weekday"]]
    frame["place"] = places
    capacity = section["workload"]["capacity_per_day"]
    highs = frame["high"].fillna(frame["demand_p90"])
    top = max(float(highs.max()), capacity, guard)
    plot = (
        ggplot(frame, aes("place", "demand_p90"))
        + geom_linerange(aes(ymin="low", ymax="high"), color=BLUE, size=0.9)
        + geom_point(color=BLUE, size=2.6)
        + geom_point(aes(y="demand_p50"), color=MUTED, size=2.2, shape="D")
    )
    plot = with_levels(plot, _levels(capacity, guard), len(frame) + 2.0, top, gap=0.09)
    plot = (
        plot
        + scale_x_continuous(breaks=places, labels=names)
        + coord_cartesian(xlim=(0.4, len(frame) + 2.0), ylim=(0, 1.12 * top))
        + labs(title=heading("The queue of a weekday to come"), x="", y="Reviews")
        + look("y")
    )
    worst = max(days, key=lambda d: (d["overflow_probability"] or 0.0, d["weekday"]))
    alt = (
        f"Predicted reviews by weekday, capacity {number(capacity, 0)}, guard {number(guard, 0)}. Most "
        f"likely above capacity: {worst['weekday']}, {percent(worst['overflow_probability'], 0)}; its "
        f"median is {number(worst['demand_p50'], 0)}, its 90th percentile "
        f"{number(worst['demand_p90'], 0)}."
    )
    caption = (
        "Blue: the 90th percentile with its 95 % interval; grey: the median. From the window's days and "
        "the weekdays' shares of all arrivals before it."
    )
    return (figure(svg(plot, height=2.6), alt, caption, name="The queue of a weekday to come"),)


def hours(section: Body, frame: pd.DataFrame | None, settings: Body) -> tuple[Html, ...]:
    """When reviews come due, against what the team does in its hours."""
    if frame is None or frame.empty or section["operating_mode"] in (None, "review_none"):
        return ()
    team = settings["review_hours_utc"]
    rate = settings["capacity_per_day"] / (team["end"] - team["start"])
    top = max(float(frame["due"].max()), rate)
    plot = (
        ggplot(frame.assign(x=frame["hour"] + 0.5), aes("x", "due"))
        + geom_col(fill=BLUE, width=0.8)
        + annotate("segment", x=team["start"], xend=team["end"], y=rate, yend=rate, color=INK,
                   linetype="dashed", size=0.7)
        + annotate("text", x=24, y=1.04 * top, label=f"dashed: capacity {number(rate, 1)}",
                   ha="right", va="bottom", size=NOTE, color=INK)
        + scale_x_continuous(breaks=[0, 6, 12, 18, 24])
        + coord_cartesian(xlim=(0, 24), ylim=(0, 1.15 * top))
        + labs(title=heading("When reviews come due, on a mean day"), x="Hour, UTC",
               y="Reviews an hour")
        + look("y")
    )  # fmt: skip
    busiest = frame.sort_values("due", kind="stable").iloc[-1]
    inside = frame[(frame["hour"] >= team["start"]) & (frame["hour"] < team["end"])]["due"].sum()
    total = float(frame["due"].sum())
    alt = (
        f"Reviews due by hour of the day: most at {int(busiest['hour'])}:00 UTC, "
        f"{number(float(busiest['due']), 1)} an hour; "
        f"{percent(inside / total if total else None, 0)} come within the team's hours, "
        f"{team['start']}:00 to {team['end']}:00, in which {number(rate, 1)} an hour are done."
    )
    caption = (
        "Mean of the candidate window's days; dashed: what the team does in its hours "
        "(triage.review_hours_utc)."
    )
    return (figure(svg(plot, height=2.4), alt, caption, name="When reviews come due"),)


def reliability(body: Body, section: Body, bins: pd.DataFrame | None) -> tuple[Html, ...]:
    """Predicted risk against what happened."""
    if bins is None or bins.empty:
        return ()
    frame = bins.assign(
        x=100 * bins["risk"], y=100 * bins["rate"], low=100 * bins["low"], high=100 * bins["high"]
    ).dropna(subset=["x", "y", "low", "high"])
    if frame.empty:
        return ()
    edge = 1.08 * max(frame["high"].max(), frame["x"].max())
    plot = (
        ggplot(frame, aes("x", "y"))
        + geom_abline(intercept=0, slope=1, color=MUTED, linetype="dashed", size=0.6)
        + annotate("text", x=0.72 * edge, y=0.66 * edge, label="perfect", ha="left", va="top",
                   size=NOTE, color=MUTED)
        + geom_linerange(aes(ymin="low", ymax="high"), color=BLUE, size=0.9)
        + geom_point(color=BLUE, size=2.6)
        + coord_cartesian(xlim=(0, edge), ylim=(0, edge), expand=False)
        + labs(title=heading("Predicted risk against what happened"), x="Predicted risk, %",
               y="Failed, %")
        + look("xy")
    )  # fmt: skip
    first, last = frame.iloc[0], frame.iloc[-1]
    error = stated(section["quality"]["calibration_error"], percent)
    alt = (
        f"Reliability in {plural(len(frame), 'bin')}: at a predicted {number(first['x'])} % "
        f"{number(first['y'])} % failed, at {number(last['x'])} % {number(last['y'])} % failed. "
        f"Expected calibration error {error}."
    )
    caption = (
        "Ten groups of equal size by predicted risk, 95 % intervals. Above the line, the model "
        f"predicted too little. {spans.candidate(body)}"
    )
    return (
        figure(svg(plot, height=3.4), alt, caption, name="Predicted risk against what happened"),
    )


def benefit(body: Body, curve: pd.DataFrame | None) -> tuple[Html, ...]:
    """The decision curve: what reviewing by risk is worth, whatever a review costs."""
    if curve is None or curve.empty:
        return ()
    frame = curve.assign(
        risk=100 * curve["threshold"],
        model=1000 * curve["net_benefit"],
        low=1000 * curve["net_benefit_low"],
        high=1000 * curve["net_benefit_high"],
        everything=1000 * curve["net_benefit_of_all"],
    )
    frame = frame[frame["risk"] <= max(40.0, float(frame[frame["break_even"]]["risk"].max()) * 1.5)]
    own = frame[frame["break_even"]].iloc[0]
    top = float(frame[["high", "everything"]].max().max())
    bottom = min(-0.15 * top, float(frame["low"].min()))
    edge = float(frame["risk"].max())
    plot = (
        ggplot(frame, aes("risk", "model"))
        + geom_hline(yintercept=0, color=INK, size=0.5)
        + geom_ribbon(aes(ymin="low", ymax="high"), fill=BLUE, alpha=0.16)
        + geom_line(color=BLUE, size=0.9)
        + geom_line(aes(y="everything"), color=MUTED, linetype="dotted", size=0.9)
        + geom_vline(xintercept=own["risk"], color=VERMILLION, linetype="dashed", size=0.6)
        + annotate("text", x=own["risk"] + 0.012 * edge, y=1.02 * top, label="your costs", ha="left",
                   va="bottom", size=NOTE, color=VERMILLION)
        + annotate("text", x=0.99 * edge, y=0.03 * top, label="review nothing", ha="right",
                   va="bottom", size=NOTE, color=INK)
        + coord_cartesian(xlim=(0, edge), ylim=(bottom, 1.14 * top))
        + labs(title=heading("What reviewing by risk is worth at other costs"),
               x="Cost of a review, % of that of a miss", y="Net benefit per 1,000")
        + look("xy")
    )  # fmt: skip
    alt = (
        f"Decision curve. At your costs (a review costs {number(own['risk'], 1)} % of a miss) reviewing by "
        f"risk is worth {number(own['model'], 2)} found failures per 1,000 interactions "
        f"({number(own['low'], 2)} to {number(own['high'], 2)}), reviewing all "
        f"{number(own['everything'], 2)}, nothing 0."
    )
    caption = (
        "Failures found per 1,000 interactions, less the reviews at their price, without a capacity: blue "
        "by risk, with 95 % intervals; dotted: reviewing all (Vickers & Elkin 2006). "
        f"{spans.candidate(body)}"
    )
    return (
        figure(
            svg(plot, height=2.9),
            alt,
            caption,
            name="What reviewing by risk is worth at other costs",
        ),
    )
