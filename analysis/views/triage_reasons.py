"""Why a row's risk is above a typical one's: the terms that add most, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.stats.queue_simulation import HOUR_US
from analysis.views.encoding import CLOCK
from analysis.views.triage_boosted import WEEKDAYS, weekday_of
from analysis.views.triage_columns import HOUR, WEEKDAY
from analysis.views.triage_risk import RISK_DIGITS, RiskModel
from analysis.views.triage_users import LABELLED, USER_RATE

MOST = 3
LEAST = 0.01
"""Log-odds below which a term is no reason."""

_PAST = {
    "past_session_interactions": ("earlier interaction", "earlier interactions"),
    "past_session_retries": ("earlier retry", "earlier retries"),
    "past_session_failures": ("known failure", "known failures"),
}


def reasons(model: RiskModel, frame: pd.DataFrame, most: int = MOST) -> list[str]:
    """(n,): the terms that raise each row's score most, at most `most`; empty where none does.

    Terms of the same columns count as one: what a column says alone and with another is told together
    only under the columns that say it.
    """
    terms = model.contributions(frame)
    if not terms or not len(frame):
        return [""] * len(frame)
    frame = model.prior.added(frame)
    effects = np.round(np.column_stack([added for _, added in terms]), RISK_DIGITS)
    order = np.argsort(-effects, axis=1, kind="stable")[:, :most]
    values: Mapping[str, list[object]] = {str(c): frame[c].tolist() for c in frame.columns}
    out = []
    for row in range(len(frame)):
        told = [
            " with ".join(dict.fromkeys(_told(name, values, row) for name in terms[k][0]))
            for k in order[row]
            if effects[row, k] > LEAST
        ]
        out.append("; ".join(told))
    return out


def _told(name: str, values: Mapping[str, list[object]], row: int) -> str:
    if name == CLOCK:
        return name
    if name == HOUR:
        return f"hour {int(str(values['ts_us'][row])) // HOUR_US % 24} UTC"
    if name == WEEKDAY:
        return WEEKDAYS[int(weekday_of(np.int64(str(values["ts_us"][row]))))].title()
    value = values[name][row]
    if name == "past_session_gap_us":
        if _missing(value):
            return "first of the session"
        return f"{float(str(value)) / 1e6:.3g} s after the session's last"
    if name == USER_RATE:
        known = int(float(str(values[LABELLED][row])))
        labels = "label" if known == 1 else "labels"
        rate = f"{100 * float(str(value)):.3g} %"
        return f"the user's failure rate so far {rate} ({known} {labels} known)"
    if _missing(value):
        return f"{name} is missing"
    if name in _PAST:
        n = int(float(str(value)))
        return f"{n} {_PAST[name][n != 1]} in the session"
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"{name} {float(value):.6g}"
    text = str(value)
    return f"{name} “{text if len(text) <= 60 else text[:59] + '…'}”"


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
