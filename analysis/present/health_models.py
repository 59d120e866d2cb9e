"""Health by model, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.present import spans
from analysis.present.blocks import Body, over, paragraph
from analysis.present.escape import Html, escape
from analysis.present.formats import NONE, Format, count, percent, plural, points, ratio, stated
from analysis.present.grid import Column, table, text
from analysis.present.health_figures import LEVELS, headed

_METRICS = (
    "failure_rate",
    "latency_breach_rate",
    "cost_usd_per_interaction",
    "latency_ms_p95",
)
_CHANGES: Mapping[str, Format] = {
    name: points if name.endswith("rate") else ratio for name in _METRICS
}


def by_model(body: Body) -> tuple[Html, ...]:
    """The table, or nothing where the telemetry names no model."""
    models = body["views"]["health"]["by_model"]
    if not models:
        return ()
    columns = [text("Model"), Column("Interactions"), *(Column(headed(m)) for m in _METRICS)]
    rows = [
        [
            over(_named(model), _told(model)),
            over(count(model["n"]), percent(model["share"], 1)),
            *(_figure(model, name) for name in _METRICS),
        ]
        for model in models
    ]
    source = (
        "Candidate; below it the change from the baseline, or the baseline of what is gone. Changes are "
        "differences in percentage points (pp) and ratios (×) with 95 % intervals for each model by "
        "itself, not corrected for the number of models: of twenty models, one is expected to show a "
        f"change by chance. {spans.both(body)}"
    )
    shown = table("Health by model", columns, rows, source, "health_by_model.csv")
    return (*_moves(models), shown)


def _named(model: Body) -> str:
    if model["status"] == "others":
        return str(model["model_name"])
    parts = [str(v) for v in (model["model_provider"], model["model_name"]) if v is not None]
    return " · ".join(parts) or "not known"


def _told(model: Body) -> str:
    parts = []
    if model["status"] in ("new", "gone"):
        parts.append(model["status"])
    if model["status"] == "others":
        parts.append(plural(model["n_models"], "model"))
    if model["reason"] is not None:
        parts.append(model["reason"])
    return "; ".join(parts)


def _figure(model: Body, name: str) -> Html:
    held: dict[str, Any] = {w: model[w][name] for w in ("baseline", "candidate", "change")}
    below: str
    if held["change"]["value"] is not None:
        # The interval goes to a line of its own where the table would be wider than the page.
        below = Html(escape(stated(held["change"], _CHANGES[name])).replace(" (", " <wbr>("))
    elif held["candidate"]["value"] is None and held["baseline"]["value"] is not None:
        below = f"was {LEVELS[name](held['baseline']['value'])}"
    else:
        below = NONE
    return over(LEVELS[name](held["candidate"]["value"]), below)


def _moves(models: list[Body]) -> tuple[Html, ...]:
    """The new and the gone by name."""
    said = []
    for status, words in (
        ("new", "New in the candidate window"),
        ("gone", "Gone since the baseline"),
    ):
        named = [_named(m) for m in models if m["status"] == status]
        if named:
            said.append(f"{words}: {', '.join(named)}.")
    return (paragraph(" ".join(said)),) if said else ()
