"""Scores one interaction by `triage_policy.json` alone: what a service would run. Standard library only."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def risk(policy: dict[str, Any], row: dict[str, Any]) -> float:
    """The calibrated risk of a row: column name → value, None where it is missing; `ts_us` its time."""
    values = dict(row)
    minutes = row["ts_us"] // 60_000_000
    weekday = (minutes // 1440 + 3) % 7  # Monday 0
    values["hour_utc"] = row["ts_us"] % 86_400_000_000 / 3.6e9
    values["weekday_utc"] = WEEKDAYS[weekday]
    for given in policy["inputs"]:
        if "prior_rows" in given:
            known, bad, prior = (
                row["past_user_labelled"],
                row["past_user_failures"],
                given["prior_rows"],
            )
            values[given["name"]] = (bad + prior * given["prior_rate"]) / (known + prior)
    total = policy["model"]["intercept"]
    for term in policy["model"]["terms"]:
        if term["kind"] == "table":
            cell = 0
            for axis in term["axes"]:
                cell = cell * _size(axis) + _bin(axis, values[axis["name"]])
            total += term["scores"][cell]
        elif term["kind"] == "category":
            text = _text(values[term["name"]])
            total += term["weights"][term["levels"].index(text)] if text in term["levels"] else 0.0
        elif term["kind"] == "number":
            number = values[term["name"]]
            if number is None:
                total += term["missing"]
                continue
            log = math.copysign(math.log1p(abs(number)), number)
            scaled = (log - term["mean"]) / term["scale"]
            total += max(-term["clip"], min(term["clip"], scaled)) * term["weight"]
        else:  # the clock
            hour = (minutes % 1440 // 60) + (minutes % 1440 % 60) / 60.0
            angle = hour / 24.0 * 2.0 * math.pi
            total += term["sine"] * math.sin(angle) + term["cosine"] * math.cos(angle)
            total += term["weekend"] * (weekday >= 5)
    return _calibrated(policy, round(total, policy["digits"]))


def _calibrated(policy: dict[str, Any], score: float) -> float:
    calibration = policy["calibration"]
    if calibration["kind"] == "platt":
        told = 1.0 / (1.0 + math.exp(-(calibration["slope"] * score + calibration["shift"])))
    else:
        xs, ys = calibration["scores"], calibration["risks"]
        at = bisect_right(xs, score)
        if at == 0 or at == len(xs):
            told = ys[0] if at == 0 else ys[-1]
        else:
            share = (score - xs[at - 1]) / (xs[at] - xs[at - 1])
            told = ys[at - 1] + share * (ys[at] - ys[at - 1])
    return min(round(told, policy["digits"]), policy["max_risk"])


def _size(axis: dict[str, Any]) -> int:
    return len(axis["cuts"]) + 2 if "cuts" in axis else len(axis["levels"]) + 1


def _bin(axis: dict[str, Any], value: Any) -> int:
    if "cuts" in axis:
        return 0 if value is None else bisect_right(axis["cuts"], value) + 1
    text = _text(value)
    return axis["levels"].index(text) if text in axis["levels"] else len(axis["levels"])


def _text(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
