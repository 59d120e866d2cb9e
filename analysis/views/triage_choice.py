"""Learns the model, and chooses mode and threshold, all of it before the candidate window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.check import rounded
from analysis.stats.weekday_factors import WeekdayFactors
from analysis.telemetry.history import Parts
from analysis.views import triage_boosted, triage_logistic
from analysis.views.triage_advice import Contest
from analysis.views.triage_columns import FeatureColumn, Implausible, implausible, past_columns
from analysis.views.triage_data import (
    CALIBRATE,
    CHOOSE,
    FIT,
    MAX_CALIBRATE_ROWS,
    MAX_FIT_ROWS,
    Reader,
)
from analysis.views.triage_policy import (
    Costs,
    Forecast,
    Mode,
    Queue,
    Scores,
    Week,
    choose_threshold,
    fits,
    forecast,
    lower_bound,
    reviewed_by,
    row_costs,
    saving,
)
from analysis.views.triage_risk import RiskModel, Tried, calibrated
from analysis.views.triage_section import Rival
from analysis.views.triage_users import UserPrior

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MIN_ROWS, MIN_POSITIVES, MIN_PART_POSITIVES, MIN_CHOOSE_DAYS = 500, 50, 10, 3
NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Learned:
    """A calibrated model with the queues that it was decided on. unit: of the rows that chose, see `Read`."""

    model: RiskModel
    tried: tuple[Tried, ...]
    implausible: tuple[Implausible, ...]
    calibrating: Scores
    choosing: Queue
    unit: pd.Series
    n_fit: int
    n_calibrate: int

    def demand(self, threshold: float) -> Floats:
        """Reviews a day on the days that the fit did not see."""
        return np.concatenate([s.demand(threshold) for s in (self.calibrating, self.choosing)])

    def week(self, factors: WeekdayFactors) -> Week:
        """The weekdays of these days."""
        days = [s.days[s.full_days] for s in (self.calibrating, self.choosing)]
        return Week.of(np.concatenate(days), factors)


@dataclass(frozen=True)
class Choice:
    """The mode and the threshold, fixed before the candidate window. tested: the model's threshold that
    was held against the rivals, None where none fits."""

    mode: Mode
    threshold: float
    rivals: tuple[Rival, ...]
    ahead: Forecast
    tested: Contest | None


def learn(reader: Reader, parts: Parts, columns: tuple[FeatureColumn, ...]) -> Learned | str:
    """The calibrated model, or why there is none."""
    if not parts.complete:
        return (
            "the model needs labelled history before the candidate window; the telemetry has "
            f"{sum(parts.n_rows):,} interactions there, on too few days"
        )
    fit_rows, fit_bad = reader.sample(FIT, parts, columns, MAX_FIT_ROWS)
    cal_rows, cal_bad = reader.sample(CALIBRATE, parts, columns, MAX_CALIBRATE_ROWS)
    reason = _too_little(fit_bad, cal_bad)
    if reason is not None:
        return reason
    prior = UserPrior.learn(fit_rows, fit_bad)
    fit_rows = prior.added(fit_rows)
    every = (*columns, *past_columns(reader.past.columns, prior))
    scorers = (
        triage_logistic.fit(fit_rows, fit_bad, every),
        triage_boosted.fit(fit_rows, fit_bad, every, fit_rows["cluster_id"]),
    )
    moments = cal_rows["ts_us"].to_numpy(dtype=np.int64)
    model, tried = calibrated(scorers, cal_rows, cal_bad, moments, prior)
    calibrating = reader.scores(model, CALIBRATE, parts)
    read = reader.queue(model, CHOOSE, parts)
    choosing = settled(read.queue)
    reason = _too_little(fit_bad, cal_bad, choosing)
    if reason is not None:
        return reason
    clusters = pd.factorize(fit_rows["cluster_id"])[0].astype(np.int64)
    told = implausible(fit_rows, fit_bad, clusters, columns)
    return Learned(model, tried, told, calibrating, choosing, read.unit, len(fit_bad), len(cal_bad))


def _too_little(fit_bad: Bools, cal_bad: Bools, choosing: Queue | None = None) -> str | None:
    shares = [("fit", fit_bad), ("calibrate", cal_bad)]
    if choosing is not None:
        shares.append(("choose", choosing.bad[choosing.known]))
        everything = np.concatenate([bad for _, bad in shares])
        positives = int(everything.sum())
        if len(everything) < MIN_ROWS or positives < MIN_POSITIVES:
            return (
                f"the history before the candidate window has {len(everything):,} labelled "
                f"interactions, {positives:,} of them positive; the model needs {MIN_ROWS:,} and "
                f"{MIN_POSITIVES:,}"
            )
        if int(choosing.full_days.sum()) < MIN_CHOOSE_DAYS:
            return f"the part of the history that chooses has fewer than {MIN_CHOOSE_DAYS} days"
    for name, bad in shares:
        fewest = min(int(bad.sum()), int((~bad).sum()))
        if fewest < MIN_PART_POSITIVES:
            return (
                f"the part of the history that is used to {name} has {len(bad):,} labelled "
                f"interactions, {int(bad.sum()):,} of them positive; at least {MIN_PART_POSITIVES} "
                "positive and as many negative ones are needed"
            )
    return None


def settled(queue: Queue) -> Queue:
    """The queue with the labels of its last days taken as unknown, while many of them had not arrived.

    Which labels arrive first may hang on what they say: failures are often known before successes. The last
    day that counts is the last of which nearly as many labels are known as of the first half, give or take
    two standard errors.
    """
    every = np.bincount(queue.day, minlength=queue.n_days)
    known = np.bincount(queue.day[queue.known], minlength=queue.n_days)
    half = (queue.n_days + 1) // 2
    usual = known[:half].sum() / max(every[:half].sum(), 1)
    error = np.sqrt(usual * (1.0 - usual) / np.maximum(every, 1))
    enough = known >= (NEARLY_ALL * usual - 2.0 * error) * every
    last = int(np.flatnonzero(enough & (every > 0)).max(initial=-1))
    kept = queue.known & (queue.day <= last)
    return replace(queue, known=kept, bad=queue.bad & kept)


def choose(learned: Learned, costs: Costs, factors: WeekdayFactors) -> Choice:
    """The mode and threshold, from the part of the history that neither fitted nor calibrated.

    *selective* only where the lower bound of the paired saving is above 0 against each policy
    without a model that is feasible, and the demand fits; else review all or nothing, whichever is
    cheaper and feasible. The threshold looks at no label, so the test of its saving is unbiased.
    factors: of weekdays, from all arrivals before the window.
    """
    queue, week = learned.choosing, learned.week(factors)
    volume_fits = fits(learned.demand(0.0), costs, week)
    risks = np.concatenate([learned.calibrating.risk, queue.risk])
    threshold = choose_threshold(risks, learned.demand, costs, week)
    others = {
        name: reviewed_by(queue, costs, name, None)
        for name in rival_names(queue, volume_fits=volume_fits)
    }
    rivals: tuple[Rival, ...] = ()
    tested = None

    def chosen(mode: Mode, threshold: float) -> Choice:
        ahead = forecast(learned.demand(threshold), costs.capacity_per_day, week)
        return Choice(mode, threshold, rivals, ahead, tested)

    if threshold is not None:
        reviewed = reviewed_by(queue, costs, "selected", threshold)
        saved = {name: saving(queue, costs, than, reviewed) for name, than in others.items()}
        rivals = tuple(Rival(name, s[0], lower_bound(s)) for name, s in saved.items())
        tested = Contest(threshold, min(rivals, key=lambda r: (r.low, r.name)).name)
        if all(rounded(rival.low) > 0 for rival in rivals):
            return chosen("selective", threshold)
    totals = {
        name: float(row_costs(queue, costs, others[name]).sum())
        for name in ("review_none", "review_all")
        if name in others
    }
    if volume_fits and totals["review_all"] < totals["review_none"]:
        return chosen("review_all", 0.0)
    return chosen("review_none", 1.0)


def rival_names(queue: Queue, *, volume_fits: bool) -> list[str]:
    """The feasible policies without a model."""
    names = ["review_none", "random_at_capacity"]
    names += ["review_all"] if volume_fits else []
    return names + (["rule"] if queue.rule is not None else [])
