"""The failure rate under label delay: what it will be once late labels are there.

A risk model of the baseline's labelled rows, cross-fitted by cluster and calibrated, reads columns that
are known with the response, and never an outcome or feedback. It estimates the rate of the candidate's
rows without a label (`stats.label_delay`). The same estimate of the rows whose labels are there is held
against their truth: beyond chance, something changed within, and the estimate is not to be trusted.
It assumes that nothing changed within, so it is shown, and never gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.check import Interval
from analysis.stats.calibration import platt
from analysis.stats.crossfit import fold_of
from analysis.stats.label_delay import (
    Estimates,
    Rows,
    density_weights,
    estimate_rates,
)
from analysis.stats.overlap import effective_sample_size
from analysis.stats.ridge import ridge_logistic
from analysis.telemetry import Metric, Telemetry
from analysis.views.encoding import CategoryFeature, source
from analysis.views.health_compared import mean, rate
from analysis.views.triage_columns import FeatureColumn, feature_columns
from analysis.views.triage_logistic import RIDGE, Logistic, fit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_ROWS = 20_000
N_FOLDS = 2
MIN_BAD_CLUSTERS = 30
MIN_CLUSTERS = 30
FEW_ALIKE = "the baseline holds too little traffic like that of the unlabelled interactions"
_LABEL = "is_failure"


@dataclass(frozen=True)
class SelfCheck:
    """The estimate held against the labels that are there.

    observed, estimated: failure rates of the candidate's labelled rows. off: observed − estimated.
    holds: whether `off` is within chance.
    """

    observed: float
    estimated: float
    off: Interval
    holds: bool


@dataclass(frozen=True)
class Estimated:
    """n_labelled, n_unlabelled: the candidate's interactions. labelled: their failure rate as seen so
    far, which would be the whole's if labels were missing at random. unlabelled: the estimate of the
    others; whole: both together. new_share: of the unlabelled, those with a value that the baseline
    lacks. n_rows: what the model read, of both windows. columns: the columns that it read. reason: why
    there is no estimate."""

    n_labelled: int
    n_unlabelled: int
    labelled: Interval
    unlabelled: Interval
    whole: Interval
    check: SelfCheck | None
    new_share: float | None
    n_rows: int
    columns: tuple[str, ...]
    reason: str | None


def estimate(telemetry: Telemetry) -> Estimated:
    """The failure rate with and without what labels will tell."""
    if not telemetry.has(_LABEL):
        return _unknown(0, 0, Interval.unknown(), f"the telemetry has no column {_LABEL}")
    metric = Metric.rate("failure", "failure")
    moments = telemetry.moments([metric])[metric.name]
    n_labelled = moments.support_candidate
    n_unlabelled = telemetry.candidate.n_interactions - n_labelled
    seen = rate(moments.candidate, n_labelled, moments.baseline)
    if n_labelled + n_unlabelled == 0:
        return _unknown(0, 0, seen, "the candidate window is empty")
    if moments.baseline.bad_clusters < MIN_BAD_CLUSTERS:
        return _unknown(n_labelled, n_unlabelled, seen,
                        f"the baseline has failures in {moments.baseline.bad_clusters} clusters; "
                        f"a risk model needs {MIN_BAD_CLUSTERS}")  # fmt: skip
    columns = feature_columns(telemetry.contract, telemetry.columns, "response", _LABEL)
    if not columns:
        return _unknown(n_labelled, n_unlabelled, seen,
                        "no column of role context, action or cost is known at response")  # fmt: skip
    names = ["ts_us", "day", "failure", *(c.name for c in columns)]
    where = ["win = 0 AND failure IS NOT NULL"]
    where += ["win = 1 AND failure IS NOT NULL"] if n_labelled else []
    where += ["win = 1 AND failure IS NULL"] if n_unlabelled else []
    old, *new_parts = (telemetry.sample(names, w, max_rows=MAX_ROWS, seed="cbpe") for w in where)
    if old["cluster_id"].nunique() < MIN_CLUSTERS:
        return _unknown(n_labelled, n_unlabelled, seen,
                        f"the baseline has fewer than {MIN_CLUSTERS} clusters with labels")  # fmt: skip
    new = pd.concat(new_parts, ignore_index=True)
    share = n_unlabelled / (n_labelled + n_unlabelled)
    model, rows, found = _fitted(old, new, columns, telemetry.by_days, share)
    missing = ~rows.known
    later, whole = Interval.unknown(n_unlabelled), Interval.unknown(n_labelled + n_unlabelled)
    if found.unlabelled is not None and found.whole is not None:
        later = _interval(found.unlabelled.value, found.unlabelled.spread.reach(), n_unlabelled)
        # The rate of labelled rows is known of all of them, whatever part of them the model read.
        value = share * found.unlabelled.value + (1.0 - share) * (seen.value or 0.0)
        reach = found.whole.spread.reach()
        if len(new) < n_labelled + n_unlabelled:
            of = mean(telemetry, moments, 1)
            if of.low is not None and of.high is not None:
                apart = share * found.unlabelled.spread.reach()
                reach = min(reach, apart + (1.0 - share) * (of.high - of.low) / 2.0)
        whole = _interval(value, reach, n_labelled + n_unlabelled)
    check = None
    if found.off is not None:
        observed = float(rows.y[rows.known].mean())
        off = _interval(
            found.off.value, found.off.spread.reach(), int(rows.known.sum()), least=-1.0
        )
        holds = off.low is None or off.high is None or off.low <= 0.0 <= off.high
        check = SelfCheck(observed, observed - found.off.value, off, holds)
    return Estimated(
        n_labelled, n_unlabelled, seen, later, whole, check,
        _new_share(model, old, new[missing]) if missing.any() else None,
        len(old) + len(new), tuple(c.name for c in columns),
        FEW_ALIKE if n_unlabelled and found.unlabelled is None else None,
    )  # fmt: skip


def _unknown(n_labelled: int, n_unlabelled: int, seen: Interval, reason: str) -> Estimated:
    return Estimated(
        n_labelled, n_unlabelled, seen, Interval.unknown(n_unlabelled),
        Interval.unknown(n_labelled + n_unlabelled), None, None, 0, (), reason,
    )  # fmt: skip


def _interval(value: float, reach: float, support: int, least: float = 0.0) -> Interval:
    return Interval.of(min(1.0, max(least, value)), max(least, value - reach),
                       min(1.0, value + reach), support)  # fmt: skip


def _fitted(
    old: pd.DataFrame,
    new: pd.DataFrame,
    columns: Sequence[FeatureColumn],
    by_days: bool,
    share: float,
) -> tuple[Logistic, Rows, Estimates]:
    """The first fold's model, the candidate's rows, and the estimates.

    Each fold of the baseline's clusters is scored by a model of the others, the candidate by the mean of
    the folds' log-odds. One sigmoid, fitted on the folds' own scores, calibrates all (Platt 1999).
    """
    ids = pd.concat([old["cluster_id"], new["cluster_id"]], ignore_index=True)
    codes, clusters = pd.factorize(ids)
    fold = np.array([fold_of(str(c), N_FOLDS) for c in clusters], dtype=np.int64)[codes[: len(old)]]
    y = old["failure"].to_numpy(dtype=bool)
    scores, later, models = np.zeros(len(old)), np.zeros(len(new)), []
    for f in range(N_FOLDS):
        inside = fold == f
        model = fit(old[~inside].reset_index(drop=True), y[~inside], columns)
        models.append(model)
        scores[inside] = model.log_odds(old[inside])
        later += model.log_odds(new) / N_FOLDS
    slope, shift = platt(scores, y)
    risk = _risk(slope * scores + shift)
    known = new["failure"].notna().to_numpy()
    label = new["failure"].fillna(False).to_numpy(dtype=bool)
    before = Rows(y, np.ones(len(old), dtype=bool), risk, codes[: len(old)].astype(np.int64),
                  old["day"].to_numpy(dtype=np.int64))  # fmt: skip
    after = Rows(label, known, _risk(slope * later + shift), codes[len(old) :].astype(np.int64),
                 new["day"].to_numpy(dtype=np.int64))  # fmt: skip
    design = np.column_stack([f.design(old[source(f)]) for f in models[0].features])
    other = np.column_stack([f.design(new[source(f)]) for f in models[0].features])
    weights = [
        _weights(design, other[chosen], before.cluster) if chosen.any() else None
        for chosen in (~known, known)
    ]
    return models[0], after, estimate_rates(before, after, weights[0], weights[1], by_days, share)


def _weights(old: Floats, new: Floats, cluster: Ints) -> Floats | None:
    """Weights that make the old rows like the new ones, by a logistic classifier of the two; None where
    they rest on hardly any clusters: the baseline holds too little of such traffic."""
    target = np.concatenate([np.zeros(len(old)), np.ones(len(new))])
    beta = ridge_logistic(np.concatenate([old, new]), target, ridge=RIDGE)
    weights = density_weights(np.round(beta[0] + old @ beta[1:], 9))
    return weights if effective_sample_size(weights, cluster) >= MIN_CLUSTERS else None


def _risk(log_odds: Floats) -> Floats:
    return np.asarray(np.round(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))), 9))


def _new_share(model: Logistic, old: pd.DataFrame, new: pd.DataFrame) -> float:
    """The share of rows with a value of a category that no baseline row has."""
    lacking = np.zeros(len(new), dtype=bool)
    for feature in model.features:
        if isinstance(feature, CategoryFeature):
            name = source(feature)
            seen = {str(v) for v in pd.unique(old[name].dropna())}
            codes, values = pd.factorize(new[name], use_na_sentinel=True)
            lacking |= np.array([*(str(v) not in seen for v in values), False])[codes]
    return float(lacking.mean())
