"""What the drift page tells of the context columns together."""

from __future__ import annotations

from analysis.present import spans
from analysis.present.blocks import Body, figure, joined
from analysis.present.escape import Html, escape, say, visible
from analysis.present.forest import Row, forest
from analysis.present.formats import count, number, percent, plural, tick
from analysis.present.grid import Column, table, text

MAX_COLUMNS = 8
# A share that would have followed from the columns one by one, within a tenth of what it is.
_ABOUT = 0.1


def joint(body: Body, joint: Body) -> tuple[Html, ...]:
    """The AUC; where it is beyond chance also what gives the windows away."""
    if joint["auc"] is None:
        return (
            say(
                '<p class="rr-note">Whether all context columns together tell the windows apart is not '
                "known: {r}.</p>",
                r=escape(joint["reason"], 300),
            ),
        )
    lead = say(
        "<p>The context together: a classifier learnt on {n} columns of {fitted} interactions tells the "
        "windows apart, on {scored} interactions of other clusters{days}, with an AUC of {auc} "
        "(95 % interval {low} to {high}; 0.5 is chance).</p>",
        n=count(len(joint["names"])), auc=number(joint["auc"], 3), low=number(joint["low"], 3),
        high=number(joint["high"], 3), fitted=count(joint["n_fitted"]),
        scored=count(joint["n_baseline"] + joint["n_candidate"]),
        days=" and other days" if body["windows"]["comparison"] == "before_after" else "",
    )  # fmt: skip
    if not joint["columns"]:
        return (lead,)
    return (lead, *_cells(body, joint), _columns(body, joint))


def _cells(body: Body, joint: Body) -> tuple[Html, ...]:
    """The combinations that moved most, before and now."""
    if not joint["cells"]:
        return ()
    names = joint["giveaway"]
    told = joined((say("<strong>{c}</strong>", c=escape(c)) for c in names), " with ")
    single = len(names) == 1
    rows, stories = [], []
    for cell in joint["cells"]:
        words = f"{percent(cell['baseline'], 1)} → {percent(cell['candidate'], 1)}"
        if not single:
            words += f" (alone {percent(cell['expected'], 1)})"
        value = " & ".join(visible(v, 60 // len(names)) for v in cell["values"])
        rows.append(Row(value, float(cell["candidate"]), told=words, mark=float(cell["baseline"])))
        stories.append(f"{value} {words}")
    drawn = forest(
        f"{visible(' & '.join(names), 34)}: before (tick), now (circle)",
        rows, "Share of interactions, %", tick(100),
    )  # fmt: skip
    alone = (
        ""
        if single
        else " Alone: the share that would follow now had the columns moved, but not what they say together."
    )
    caption = (
        f"The values of {', '.join(names)} whose share moved most, found on one half of the clusters and shown "
        f"on the other: {plural(joint['n_baseline'], 'baseline interaction')}, "
        f"{plural(joint['n_candidate'], 'candidate interaction')}.{alone} {spans.both(body)}"
    )
    alt = f"{' & '.join(names)}, baseline to candidate: {'; '.join(stories)}."
    return (
        say("<p>What gives the windows away most is {told}.{most}</p>", told=told,
            most=_most(joint)),
        figure(drawn, alt, caption, name="What gives the windows away"),
    )  # fmt: skip


def _most(joint: Body) -> Html:
    """The combination that moved furthest, as a sentence; nothing for a single column."""
    names = joint["giveaway"]
    cells = joint["cells"]
    if len(names) < 2:
        return Html("")
    cell = max(cells, key=lambda c: abs(c["candidate"] - c["expected"]))
    gap, moved = cell["candidate"] - cell["expected"], cell["candidate"] - cell["baseline"]
    what = joined(
        (
            say("{c} “{v}”", c=escape(c), v=escape(v))
            for c, v in zip(names, cell["values"], strict=True)
        ),
        " with ",
    )
    why = " The columns alone do not explain it." if abs(gap) > (1 - _ABOUT) * abs(moved) else ""
    return say(
        " Interactions of {what} were {before} of the baseline, and are {now} of the candidate.{why}",
        what=what, before=percent(cell["baseline"], 1), now=percent(cell["candidate"], 1), why=why,
    )  # fmt: skip


def _columns(body: Body, joint: Body) -> Html:
    listed = joint["columns"][:MAX_COLUMNS]
    rows = [[c["name"], number(c["importance"], 3), number(c["alone"], 3)] for c in listed]
    more = len(joint["columns"]) - len(listed)
    return table(
        "How much each context column tells",
        [text("Column"), Column("AUC lost when shuffled"), Column("AUC alone")],
        rows,
        "AUC lost when shuffled: how far the AUC falls when the column's values are dealt out anew, which "
        "also breaks what it says together with others. AUC alone: of this column by itself; 0.5 is chance. "
        "Neither has an interval: they rank columns, and the interval above is of all together. "
        + (f"{plural(more, 'column')} of less importance left out. " if more else "")
        + spans.both(body),
    )  # fmt: skip
