"""Tables and figures' series of a view as they may be published: rows hidden, or the whole left out.

A table or series that is not named here is left out.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.disclosure import Withheld
from analysis.masking import Names
from analysis.published_names import DAILY
from analysis.published_numbers import Row
from analysis.published_values import Publisher
from analysis.views.result import ViewResult

_TABLES: Mapping[str, tuple[str, ...]] = {
    "slo_by_release.csv": ("slo", "by"),
    "spend_drivers.csv": (),
    "spend_by_hour.csv": (),
    "routing_policy.csv": ("candidate",),
    "routing_backtest.csv": ("candidate", "estimator"),
    "routing_slices.csv": ("candidate",),
    "drift_report.csv": ("feature",),
    "drift_references.csv": ("reference", "feature"),
    "triage_threshold_curve.csv": ("part", "threshold"),
    "triage_quality.csv": ("dimension", "measure"),
    "triage_net_benefit.csv": ("threshold",),
    "triage_queue.csv": ("role", "threshold"),
}
"""Tables whose rows are cells; within which columns the rows are parts of one total."""
_SERIES: Mapping[str, tuple[str, ...]] = {
    "days": ("window", "metric"),
    "found": ("slice", "metric", "kind"),
    "drift_distributions": ("feature",),
    "triage_curve": ("part", "threshold"),
    "triage_reliability": (),
    "triage_net_benefit": ("threshold",),
    "triage_days": ("part",),
    "triage_queue": ("role", "threshold"),
    "triage_hours": (),
}
"""The same for what figures draw."""
_AS_THEY_ARE = frozenset(
    ("drivers", "routing_savings", "routing_frontier", "drift_features", "drift_weeks", "examples")
)
"""Series of whole windows; `examples` are ids, hashed with the team's key or left out."""
_BY_DAY = ("spend_days", "spend_period")
"""Money by day: shown where every day has enough interactions."""
_NAMES: Mapping[str, Mapping[str, str]] = {
    "days": {"n": "support", "value": "bad_rate"},
    "drift_distributions": {"baseline": "share_baseline", "candidate": "share_candidate"},
    "triage_reliability": {"n": "support", "rate": "bad_rate"},
}
"""Columns that go by another name elsewhere."""
_WHY: Mapping[str, str] = {
    "hotspots.csv": "it crosses up to three dimensions, and cells could be told from each other",
    "drift_consequence.csv": "its rows are cells of crossed columns",
    "drift_distributions.csv": "it counts every value of every column, under a digest that can be guessed",
    "triage_actions.csv": "its rows are single interactions",
    "triage_policy.json": "it is a model of single interactions, and holds their columns' values",
    "burn": "it tells what each day added",
    "drift_days": "it tells what happened on each day",
}
_FIGURES: Mapping[str, str] = {
    "days": "daily figures",
    "latency": "the distribution of latency",
    "burn": "what is left of the budgets day by day",
    "spend_days": "spend day by day",
    "spend_period": "spend over the period",
    "drift_days": "the daily series behind changes",
    "drift_distributions": "distributions of the columns that moved",
    "triage_curve": "the curve of thresholds",
    "triage_reliability": "the reliability of predicted risks",
    "triage_net_benefit": "the net benefit",
    "triage_days": "the queue day by day",
    "triage_queue": "the backlog day by day",
    "triage_hours": "the queue by hour",
}


def published_result(
    result: ViewResult[Any],
    view: str,
    views: Mapping[str, Row],
    publisher: Publisher,
    names: Names,
    left: list[Withheld],
) -> ViewResult[Any]:
    tables = {}
    for name, frame in result.tables.items():
        masked = _masked(frame, names)
        if name == "health_by_model.csv":
            tables[name] = _by_model(frame, views["health"]["by_model"])
        elif name == "slo_burn.csv":
            tables[name] = _alerts(masked, views["budget"]["slos"])
        elif name in _TABLES:
            tables[name] = _table(view, name, masked, publisher, left)
        else:
            left.append(Withheld(view, f"tables/{name}", _WHY.get(name, "it may hold small cells")))
            tables[name] = frame.iloc[0:0]
    files = {}
    for name in result.files:
        why = _WHY.get(name, "it may hold small cells")
        left.append(Withheld(view, f"tables/{name}", why))
        files[name] = json.dumps({"left_out": f"The review is share-safe: {why}."}, indent=1) + "\n"
    days = _enough_a_day(result, publisher.min_cell)
    series = {}
    for name, frame in result.series.items():
        masked = _masked(frame, names)
        if (view == "hotspots" and name == "days") or not (
            name in _SERIES
            or name in _AS_THEY_ARE
            or name == "latency"
            or (name in _BY_DAY and days)
        ):
            what = "the days of each hotspot" if view == "hotspots" else _FIGURES.get(name, name)
            why = _WHY.get(name, "the counts behind it are too small, or not known")
            left.append(Withheld(view, f"figure: {what}", why))
            series[name] = frame.iloc[0:0]
        elif name == "latency":
            series[name] = _latency(masked, publisher, left)
        elif name in _SERIES:
            series[name] = _drawn(view, name, masked, publisher, left)
        else:
            series[name] = _texts(masked, publisher)
    notes = tuple(publisher.text(names.text(note)) for note in result.notes)
    return dataclasses.replace(result, tables=tables, files=files, series=series, notes=notes)


def _masked(frame: pd.DataFrame, names: Names) -> pd.DataFrame:
    shown = frame.copy()
    for column in shown.columns:
        if shown[column].dtype == object or pd.api.types.is_string_dtype(shown[column]):
            shown[column] = [names.text(v) if isinstance(v, str) else v for v in shown[column]]
    return shown


def _texts(frame: pd.DataFrame, publisher: Publisher) -> pd.DataFrame:
    if "sentence" in frame.columns:
        return frame.assign(sentence=[publisher.text(str(v)) for v in frame["sentence"]])
    return frame


def _records(frame: pd.DataFrame, renamed: Mapping[str, str]) -> list[Row]:
    held = frame.rename(columns=renamed).astype(object)
    return [
        {str(name): None if _is_nothing(value) else _plain(value) for name, value in row.items()}
        for row in held.to_dict("records")
    ]


def _is_nothing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (
        isinstance(value, float) and math.isnan(value)
    )  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _table(
    view: str, name: str, frame: pd.DataFrame, publisher: Publisher, left: list[Withheld]
) -> pd.DataFrame:
    """The table with the numbers of hidden rows emptied, and a column that says where."""
    if frame.empty:
        return frame
    rows = _records(frame, {})
    made = publisher.frame_rows(view, name, rows, _TABLES[name])
    kept = sum(one is not None for one in made)
    if (name in DAILY and 4 * kept < 3 * len(made)) or not kept:
        publisher.forget(view, name)
        left.append(Withheld(view, f"tables/{name}", "most of its counts are too small"))
        return frame.iloc[0:0]
    shown = [
        {**(_labels(row, _TABLES[name]) if one is None else one), "suppressed": one is None}
        for row, one in zip(rows, made, strict=True)
    ]
    return pd.DataFrame(shown, columns=[*frame.columns, "suppressed"], dtype=object)


def _labels(row: Row, parts: Sequence[str]) -> Row:
    return {
        name: value if isinstance(value, str | bool) or name in parts else None
        for name, value in row.items()
    }


def _drawn(
    view: str, name: str, frame: pd.DataFrame, publisher: Publisher, left: list[Withheld]
) -> pd.DataFrame:
    """The series without the rows that are hidden; nothing of it where too little would be left."""
    if frame.empty:
        return frame
    renamed = _NAMES.get(name, {})
    made = publisher.frame_rows(view, name, _records(frame, renamed), _parts(name, renamed))
    kept = [one for one in made if one is not None and one.get("bad_rate", 0) is not None]
    if 4 * len(kept) < 3 * len(made):
        publisher.forget(view, name)
        left.append(
            Withheld(
                view, f"figure: {_FIGURES.get(name, name)}", "most of its counts are too small"
            )
        )
        kept = []
    back = {new: old for old, new in renamed.items()}
    shown = pd.DataFrame(kept, columns=[renamed.get(str(c), str(c)) for c in frame.columns])
    shown = shown.rename(columns=back)
    for column in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[column]):
            shown[column] = pd.to_numeric(shown[column])
        elif pd.api.types.is_datetime64_any_dtype(frame[column]):
            shown[column] = shown[column].astype(frame[column].dtype)
    return shown.reset_index(drop=True)


def _latency(frame: pd.DataFrame, publisher: Publisher, left: list[Withheld]) -> pd.DataFrame:
    """The cumulative distribution without its ends, which few interactions make up, in steps of 1 %."""
    sizes = [publisher.sizes.get(name, 0) for name in ("baseline", "candidate")]
    rows = frame["window"].map(lambda window: sizes[int(window)]).astype(float)
    if frame.empty or (rows < 20 * publisher.min_cell).any():
        left.append(Withheld("health", f"figure: {_FIGURES['latency']}", "too few interactions"))
        return frame.iloc[0:0]
    least = rows.rdiv(publisher.min_cell).clip(lower=0.01)
    inner = frame[(frame["share"] >= least) & (frame["share"] <= 1 - least)]
    shown = inner.assign(share=(inner["share"] / least[inner.index]).round() * least[inner.index])
    return shown.drop_duplicates(["window", "share"]).reset_index(drop=True)


def _parts(name: str, renamed: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(renamed.get(part, part) for part in _SERIES[name])


def _by_model(frame: pd.DataFrame, models: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of the artifact's models; figures by window, with their limits."""
    rows = []
    for model in models:
        row: Row = {
            "n_candidate": model["n"],
            "share_candidate": model["share"],
            **{k: v for k, v in model.items() if k in frame.columns},
        }
        for window in ("baseline", "candidate", "change"):
            for figure, held in model[window].items():
                row |= {
                    f"{figure}_{window}": held["value"],
                    f"{figure}_{window}_low": held["low"],
                    f"{figure}_{window}_high": held["high"],
                }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(frame.columns), dtype=object)


def _alerts(frame: pd.DataFrame, slos: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table with each alert's burn as the artifact has it."""
    shown = {
        (slo["name"], alert["long_hours"], alert["threshold"]): alert
        for slo in slos
        for alert in slo["alerts"]
    }
    rows = _records(frame, {})
    for row in rows:
        alert = shown.get((row["slo"], row["long_hours"], row["threshold"]))
        for side in ("long", "short"):
            held = {} if alert is None else alert[f"burn_{side}_interval"]
            row |= {
                f"burn_{side}": held.get("value"),
                f"burn_{side}_low": held.get("low"),
                f"burn_{side}_high": held.get("high"),
            }
    return pd.DataFrame(rows, columns=list(frame.columns), dtype=object)


def _enough_a_day(result: ViewResult[Any], min_cell: int) -> bool:
    """Whether every day of the spend has enough interactions for its sum to be shown."""
    frame = result.tables.get("spend_by_hour.csv")
    if frame is None or frame.empty:
        return False
    days = frame.groupby(pd.to_datetime(frame["hour"], utc=True).dt.floor("D"))[
        "interactions"
    ].sum()
    return bool((days >= min_cell).all())
