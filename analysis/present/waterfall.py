"""What moved the spend, on the budgets page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.present import spans
from analysis.present.blocks import Body, figure, paragraph
from analysis.present.escape import Html
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import signed_usd, tick
from analysis.present.grid import Column, table, text

MAX_DRIVERS = 5
_DRIVERS = {
    "volume": "Volume: first attempts a day",
    "retries": "Retries: attempts per first attempt",
    "mix": "Mix: which models serve",
    "tokens": "Tokens per attempt",
    "price": "Price: USD per token",
}


def blocks(body: Body, drivers: Body) -> tuple[Html, ...]:
    """What moved the spend: the drivers, and their largest parts by model."""
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
