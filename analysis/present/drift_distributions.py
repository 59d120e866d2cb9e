"""What the columns that drifted looked like before, and look like now: small multiples."""

from __future__ import annotations

import pandas as pd
from plotnine import (
    aes,
    element_text,
    facet_wrap,
    geom_point,
    geom_segment,
    ggplot,
    labs,
    scale_color_manual,
    scale_fill_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_discrete,
    theme,
)

from analysis.present import spans
from analysis.present.blocks import Body, figure
from analysis.present.escape import ALT, Html, visible
from analysis.present.formats import count, percent, plural, tick
from analysis.present.theme import LINE, NOTE, WINDOWS, heading, label, look, svg

MAX_PANELS = 6
MAX_BINS = 8
_COLUMNS = 2
_NAME, _BIN = 22, 16
_ALT = ALT - 70
_PITCH, _HEAD = 0.17, 0.62


def distributions(body: Body, series: pd.DataFrame) -> tuple[Html, ...]:
    """Shares of the interactions by value, of the counted columns that drifted most.

    series: rank, feature, severity, bin, label, baseline, candidate (shares of 1).
    """
    listed = {f["feature"] for f in body["views"]["drift"]["features"] if not f["counted"]}
    moved = series[(series["severity"] != "none") & ~series["feature"].isin(listed)]
    if moved.empty:
        return ()
    ranks = sorted(moved["rank"].unique())
    panels = [_panel(moved[moved["rank"] == rank]) for rank in ranks[:MAX_PANELS]]
    frame = pd.concat(panels, ignore_index=True)
    frame["panel"] = pd.Categorical(frame["panel"], list(dict.fromkeys(frame["panel"])))
    # The first bin stands at the top; a bin's name repeats in other panels, its place does not.
    frame["place"] = pd.Categorical(frame["place"], list(frame["place"])[::-1])
    names = dict(zip(frame["place"], frame["told"], strict=True))
    ends = frame.melt(
        id_vars=["panel", "place"], value_vars=["baseline", "candidate"], var_name="side",
        value_name="share",
    )  # fmt: skip
    rows = -(-len(panels) // _COLUMNS)
    tallest = [max(map(len, panels[i : i + _COLUMNS])) for i in range(0, len(panels), _COLUMNS)]
    plot = (
        ggplot(frame)
        + geom_segment(aes("baseline", "place", xend="candidate", yend="place"), color=LINE, size=1.6)
        + geom_point(aes("share", "place", color="side", fill="side", shape="side"), data=ends,
                     size=2.1, stroke=0.6)
        + facet_wrap("panel", ncol=_COLUMNS, scales="free")
        + scale_color_manual(values=WINDOWS)
        + scale_fill_manual(values={"baseline": "white", "candidate": WINDOWS["candidate"]})
        + scale_shape_manual(values={"baseline": "o", "candidate": "D"})
        + scale_x_continuous(labels=lambda values: [tick(100)(float(v)) for v in values])
        + scale_y_discrete(labels=lambda places: [names[p] for p in places])
        + labs(title=heading("What moved: before (ring), now (diamond)"),
               x="Share of interactions, %", y="")
        + look("xy")
        + theme(panel_spacing_y=0.06, panel_spacing_x=0.03, axis_text=element_text(size=NOTE - 1.5),
                strip_text=element_text(size=NOTE, ha="left"))
    )  # fmt: skip
    drawn = svg(plot, height=0.75 + rows * _HEAD + max(tallest) * _PITCH * rows)
    cut = max(len(moved[moved["rank"] == rank]) for rank in ranks[:MAX_PANELS]) > MAX_BINS
    caption = (
        f"Numbers by the baseline's deciles, texts by value. {spans.both(body)}"
        + (f" Of more than {MAX_BINS} values those that moved most." if cut else "")
        + (
            f" {count(len(ranks) - MAX_PANELS)} more drifted: see the table."
            if len(ranks) > MAX_PANELS
            else ""
        )
    )
    return (figure(drawn, _alt(panels), caption, name="What moved"),)


def _alt(panels: list[pd.DataFrame]) -> str:
    """The shares of whole panels, as many as an alt text has room for."""
    stories = [
        f"{visible(own['feature'].iloc[0], 40)}: "
        + ", ".join(
            f"{visible(line['label'], 30)}: {percent(line['baseline'], 1)} → {percent(line['candidate'], 1)}"
            for line in own.to_dict("records")
        )
        for own in panels
    ]
    kept = 1
    while kept < len(stories) and sum(map(len, stories[: kept + 1])) < _ALT:
        kept += 1
    rest = f"; and {plural(len(stories) - kept, 'more column')}" if kept < len(stories) else ""
    return f"Baseline to candidate. {'; '.join(stories[:kept])}{rest}."


def _panel(own: pd.DataFrame) -> pd.DataFrame:
    """The bins of a column that moved most, in their order."""
    size = (own["candidate"] - own["baseline"]).abs()
    kept = size.sort_values(ascending=False, kind="stable").index[:MAX_BINS]
    panel = own.loc[kept].sort_values("bin").copy()
    rank = int(panel["rank"].iloc[0])
    # Two long names may begin alike.
    panel["panel"] = f"{rank}  {label(panel['feature'].iloc[0], _NAME)}"
    panel["told"] = [label(text, _BIN) for text in panel["label"]]
    panel["place"] = [f"{rank}:{index}" for index in panel["bin"]]
    return panel
