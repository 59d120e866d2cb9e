"""The policy as one small JSON file, by which a service scores a request without this project.

What a reader of the file does: build the inputs of one interaction, add the intercept and every term,
round to 1e-6, calibrate, round to 1e-6, and review where the risk is at or above the threshold. README.md says
so in words, and tests/views/apply_triage_policy.py in eighty lines of the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from analysis.stats.isotonic import Isotonic
from analysis.views.encoding import CLIP, CategoryFeature, ClockFeature, Feature, NumberFeature
from analysis.views.triage_boosted import Boosted, NumberAxis, Term
from analysis.views.triage_logistic import Logistic
from analysis.views.triage_risk import MAX_RISK, RISK_DIGITS, RiskModel, Sigmoid
from analysis.views.triage_users import FAILURES, LABELLED, USER_RATE, UserPrior

SCHEMA = "triage-policy/1"
FILE_NAME = "triage_policy.json"


def portable(
    model: RiskModel, *, label: str, decide_at: str, mode: str, threshold: float, release: str
) -> str:
    """The file's text."""
    scorer = model.scorer
    if isinstance(scorer, Logistic):
        terms = [
            _feature(feature, weights)
            for feature, weights in zip(scorer.features, scorer.weights, strict=True)
        ]
        intercept = scorer.intercept
    else:
        assert isinstance(scorer, Boosted)
        terms = [_table(term) for term in scorer.terms]
        intercept = scorer.intercept
    return _text(
        release=release,
        label=label,
        decide_at=decide_at,
        operating_mode=mode,
        threshold=threshold,
        inputs=_inputs(scorer.names, model.prior),
        model={"kind": scorer.kind, "intercept": intercept, "terms": terms},
        calibration=_calibration(model),
        digits=RISK_DIGITS,
        max_risk=MAX_RISK,
    )


def unknown(*, label: str, decide_at: str, release: str, reason: str) -> str:
    """The file where there is no model: nothing can be scored, and why."""
    return _text(
        release=release,
        label=label,
        decide_at=decide_at,
        operating_mode=None,
        threshold=None,
        model=None,
        reason=reason,
    )


def _text(**body: Any) -> str:
    held = {"schema": SCHEMA, **body}
    return json.dumps(held, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _inputs(names: Sequence[str], prior: UserPrior) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for name in names:
        if name == USER_RATE:
            out.append(
                {
                    "name": name,
                    "is": f"({FAILURES} + prior_rows * prior_rate) / ({LABELLED} + prior_rows)",
                    "prior_rate": prior.rate,
                    "prior_rows": prior.rows,
                }
            )
        else:
            out.append({"name": name})
    return out


def _feature(feature: Feature, weights: Sequence[float]) -> dict[str, Any]:
    if isinstance(feature, NumberFeature):
        return {
            "kind": "number",
            "name": feature.name,
            "mean": feature.mean,
            "scale": feature.scale,
            "clip": CLIP,
            "weight": weights[0],
            "missing": weights[1] if feature.flag_missing else 0.0,
        }
    if isinstance(feature, CategoryFeature):
        return {
            "kind": "category",
            "name": feature.name,
            "levels": list(feature.levels),
            "weights": list(weights),
        }
    assert isinstance(feature, ClockFeature)
    return {
        "kind": "clock",
        "name": feature.name,
        "sine": weights[0],
        "cosine": weights[1],
        "weekend": weights[2],
    }


def _table(term: Term) -> dict[str, Any]:
    axes = [
        {"name": axis.name, "cuts": list(axis.cuts)}
        if isinstance(axis, NumberAxis)
        else {"name": axis.name, "levels": list(axis.levels)}
        for axis in term.axes
    ]
    return {"kind": "table", "axes": axes, "scores": list(term.scores)}


def _calibration(model: RiskModel) -> dict[str, Any]:
    calibration = model.calibration
    if isinstance(calibration, Sigmoid):
        return {"kind": "platt", "slope": calibration.slope, "shift": calibration.shift}
    assert isinstance(calibration, Isotonic)
    return {
        "kind": "isotonic",
        "scores": list(calibration.scores),
        "risks": list(calibration.risks),
    }
