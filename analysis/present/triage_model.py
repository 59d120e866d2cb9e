"""The tables of the triage page about the model: how good, where it is off, what it may read."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.present import spans
from analysis.present.blocks import Body, paragraph, prose, stacked
from analysis.present.escape import Html
from analysis.present.formats import Format, count, number, percent, plural, psi, signed, small
from analysis.present.grid import Column, table, text

_QUALITY = {
    "roc_auc": ("Ranking: area under the ROC curve", "0.5 is chance, 1 perfect"),
    "average_precision": ("Average precision", "the share of failures is chance"),
    "brier": ("Brier score", "0 is perfect"),
    "brier_reliability": ("… of it reliability", "0 where risks are what happens"),
    "brier_resolution": ("… less resolution", "what the risks tell apart"),
    "brier_uncertainty": ("… and uncertainty", "what no model can change"),
    "brier_skill": ("Brier skill", "0 is no better than the base rate"),
    "calibration_error": ("Expected calibration error", "0 is perfect"),
    "calibration_slope": ("Calibration slope", "1 is right; below it risks are too extreme"),
    "calibration_intercept": ("Calibration in the large", "log-odds; above 0 risks are too low"),
}
_FINDINGS = {
    "risk_too_low": "risks too low",
    "risk_too_high": "risks too high",
    "ranks_worse": "ranks worse than elsewhere",
}
_MODELS = {"logistic": "logistic regression", "boosted": "boosted tables"}
_CALIBRATIONS = {"platt": "sigmoid (Platt)", "isotonic": "isotonic"}


def quality(body: Body, section: Body) -> tuple[Html, ...]:
    """How good the model is."""
    figures = section["quality"]
    if figures["roc_auc"]["value"] is None:
        return ()
    rows = [
        [name, stacked(figures[key], _form(key)), read,
         count(figures[key]["support"])]
        for key, (name, read) in _QUALITY.items()
    ]  # fmt: skip
    card = section["model"]
    return (
        table(
            "How good the model is",
            [text("Measure"), Column("Value, 95 % interval"), text("How to read it"),
             Column("Interactions")],
            rows,
            f"{spans.candidate(body)} {_MODELS[card['kind']].capitalize()}, calibrated by "
            f"{_CALIBRATIONS[card['calibration']]}; fitted on {count(section['n_fit'])} interactions, "
            f"calibrated on {count(section['n_calibrate'])}; label {section['label']}, decided at "
            f"{section['decide_at']}, from {plural(len(section['features']), 'column')}. Reliability − "
            "resolution + uncertainty is the Brier score of ten groups.",
            file="triage_quality.csv",
        ),
    )  # fmt: skip


def _form(name: str) -> Format:
    digits = 4 if name.startswith("brier") and name != "brier_skill" else 3
    return lambda v: number(v, digits)


def stability(section: Body) -> tuple[Html, ...]:
    """Whether the model is in the window what it was before."""
    held = section["stability"]
    if held is None:
        return ()
    rows = [
        [_QUALITY[one["measure"]][0],
         *(stacked(one[part], _form(one["measure"])) for part in ("history", "window", "change"))]
        for one in sorted(held["figures"], key=lambda one: list(_QUALITY).index(one["measure"]))
        if one["change"]["value"] is not None
    ]  # fmt: skip
    if not rows:
        return ()
    moved = held["risk_psi"]
    risks = "" if moved is None else (
        f" Stability index of the risks: {psi(moved)} (p = "
        f"{small(held['risk_p_value'])})."
    )  # fmt: skip
    return (
        table(
            "Before the window, and in it",
            [text("Measure"), Column("Before"), Column("In the window"), Column("Change")],
            rows,
            "Before: the part of the history that chose, which neither fitted nor calibrated. 95 % intervals "
            f"of clusters and days.{risks}",
        ),
    )


def slices(section: Body) -> tuple[Html, ...]:
    """Where the risks are off."""
    found = section["slices"]
    if section["model"]["kind"] is None:
        return ()
    if not found:
        return (
            paragraph(
                "In no slice are the risks surely off, or the ranking surely worse than elsewhere.",
                note=True,
            ),
        )
    rows = [
        [prose(f"{s['dimension']} = {s['value']}"), _FINDINGS[s["finding"]],
         percent(s["mean_risk"], 1), percent(s["bad_rate"], 1), number(s["roc_auc"], 2),
         f"{signed(s['estimate'])} ({signed(s['low'])} to {signed(s['high'])})", count(s["support"])]
        for s in found
    ]  # fmt: skip
    return (
        table(
            "Where the risks are off",
            [text("Slice"), text("What is off"), Column("Mean risk"), Column("Failed"), Column("AUC"),
             Column("How far, interval"), Column("Interactions")],
            rows,
            "How far: of risks the calibration intercept in log-odds (in all "
            f"{signed(section['quality']['calibration_intercept']['value'])}), of ranking the difference of "
            "areas. False discovery rate 5 % over slices; intervals keep the false coverage rate.",
            file="triage_quality.csv",
        ),
    )  # fmt: skip


def tried(section: Body) -> tuple[Html, ...]:
    """What was tried, by log loss."""
    rows = section["model"]["tried"]
    if not rows:
        return ()
    card = section["model"]
    return (
        table(
            "Which model was chosen, and why",
            [text("Model"), text("Calibration"), Column("Log loss"), text("Chosen")],
            [[_MODELS[t["kind"]], _CALIBRATIONS[t["calibration"]], number(t["log_loss"], 5),
              "yes" if (t["kind"], t["calibration"]) == (card["kind"], card["calibration"]) else ""]
             for t in rows],
            "Fitted on the oldest part of the history; calibrated on one half of the next part and judged on the "
            "other, both ways. The sigmoid stays unless isotonic regression is better by more than one standard "
            "error; then the model of least log loss is chosen.",
        ),
    )  # fmt: skip


def left_out(section: Body) -> tuple[Html, ...]:
    """What the guard keeps from the model."""
    held: Sequence[Body] = section["model"]["left_out"]
    if not held:
        return ()
    by_reason: dict[str, list[str]] = {}
    for one in held:
        by_reason.setdefault(one["reason"], []).append(one["column"])
    return (
        table(
            "What the model may not read",
            [text("Because it"), text("Columns")],
            [[reason, prose(", ".join(names))] for reason, names in sorted(by_reason.items())],
            f"Decided at {section['decide_at']}. Of a session's and a user's past only what was known at the "
            "moment of each interaction is read.",
        ),
    )
