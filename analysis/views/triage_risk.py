"""Risks that mean what they say: a fitted model with the calibration that suits it, chosen in time order.

Both models are fitted on the oldest part of the history. The next part, which neither saw, has two halves in
time: each is calibrated on one half, by a sigmoid and by isotonic regression, and judged on the other, both
ways. A model keeps the sigmoid unless isotonic regression is better by more than one standard error, since a
step moves whole blocks of rows across a break-even; then the model of least log loss is chosen, and its
calibration is learnt from the whole part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from analysis.stats import isotonic
from analysis.stats.calibration import platt
from analysis.stats.isotonic import Isotonic
from analysis.stats.queue_simulation import DAY_US
from analysis.views.triage_users import UserPrior

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

RISK_DIGITS = 6
# No score reaches 1, so that a threshold of 1 reviews nothing and one of 0 everything.
MAX_RISK = 0.999999
MIN_CLASS_ROWS = 15
"""Fewer rows of either label than that in a half choose nothing: the simple model and the sigmoid stay."""
MIN_ISOTONIC_ROWS = 100
"""Positives from which isotonic regression is tried: below, its steps are noise."""
SURELY_BETTER = 1e-6


class Scorer(Protocol):
    """A fitted model before calibration."""

    @property
    def kind(self) -> Literal["logistic", "boosted"]: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    def log_odds(self, frame: pd.DataFrame) -> Floats: ...
    def contributions(self, frame: pd.DataFrame) -> list[tuple[tuple[str, ...], Floats]]: ...


@dataclass(frozen=True)
class Sigmoid:
    """Risk = 1/(1 + exp(−shift − slope · score)) (Platt 1999)."""

    slope: float
    shift: float

    def risk(self, score: Floats) -> Floats:
        """(n,)."""
        return np.asarray(special.expit(self.slope * score + self.shift))


Calibration = Sigmoid | Isotonic


@dataclass(frozen=True)
class Tried:
    """A model with a calibration, and its log loss on the part that calibrates, each half of which is judged
    by the calibration of the other."""

    kind: Literal["logistic", "boosted"]
    calibration: Literal["platt", "isotonic"]
    log_loss: float


@dataclass(frozen=True)
class RiskModel:
    """A scorer with its calibration. prior: how far a user's own rate counts."""

    scorer: Scorer
    calibration: Calibration
    prior: UserPrior

    @property
    def calibrated_by(self) -> Literal["platt", "isotonic"]:
        return "platt" if isinstance(self.calibration, Sigmoid) else "isotonic"

    def risk(self, frame: pd.DataFrame) -> Floats:
        """(n,): the calibrated risk, rounded to 1e-6 and below 1."""
        score = self.scorer.log_odds(self.prior.added(frame))
        return rounded_risk(self.calibration.risk(np.round(score, RISK_DIGITS)))

    def contributions(self, frame: pd.DataFrame) -> list[tuple[tuple[str, ...], Floats]]:
        """The columns of each term, and what it adds to each row's score beyond what is typical."""
        return self.scorer.contributions(self.prior.added(frame))


def rounded_risk(risk: Floats) -> Floats:
    """Risks as they are compared: in whole millionths, below 1."""
    return np.minimum(np.round(np.maximum(risk, 0.0), RISK_DIGITS), MAX_RISK)


def calibrated(
    scorers: Sequence[Scorer], frame: pd.DataFrame, y: Bools, ts_us: Ints, prior: UserPrior
) -> tuple[RiskModel, tuple[Tried, ...]]:
    """The model of least log loss, calibrated on all of these rows, and what was tried.

    scorers: the simplest first, which stays where nothing is better. frame, y, ts_us: (n,) rows that no
    fit saw, sorted by key. Between calibrations of one model the simpler one stays within one standard error
    of the paired difference (Breiman et al. 1984, section 3.4.3).

    Risk (%): a model's calibrated probability that an interaction has the policy's label, by what is known
    when one decides.

    Log loss: mean of −log of the probability that the model gave to what happened; less is better.
    """
    frame = prior.added(frame)
    scores = [np.round(scorer.log_odds(frame), RISK_DIGITS) for scorer in scorers]
    early, late = halves(ts_us)
    tried: list[Tried] = []
    best, how, least = 0, "platt", np.inf
    if all(_enough(y[half], MIN_CLASS_ROWS) for half in (early, late)):
        for index, (scorer, score) in enumerate(zip(scorers, scores, strict=True)):
            losses: dict[str, Floats] = {}
            for name in _methods(y[early], y[late]):
                risk = np.empty(len(y))
                for half, other in ((early, late), (late, early)):
                    risk[half] = _learn(name, score[other], y[other]).risk(score[half])
                losses[name] = _log_losses(rounded_risk(risk), y)
                tried.append(Tried(scorer.kind, name, _mean(losses[name])))
            own = "isotonic" if _surely_less(losses.get("isotonic"), losses["platt"]) else "platt"
            if _mean(losses[own]) < least - SURELY_BETTER:
                best, how, least = index, own, _mean(losses[own])
    calibration = _learn(how, scores[best], y)
    return RiskModel(scorers[best], calibration, prior), tuple(tried)


def halves(ts_us: Ints) -> tuple[Bools, Bools]:
    """(n,) rows of the earlier and of the later half of the days, by rows; no day is in both."""
    day = ts_us // DAY_US
    days, counts = np.unique(day, return_counts=True)
    reach = np.cumsum(counts) - counts / 2.0
    cut = int(np.searchsorted(reach, len(ts_us) / 2.0))
    early = day < days[min(cut, len(days) - 1)] if len(days) else np.zeros(0, dtype=bool)
    return early, ~early


def _methods(*halves_of_y: Bools) -> tuple[Literal["platt", "isotonic"], ...]:
    fewest = min(int(y.sum()) for y in halves_of_y)
    return ("platt", "isotonic") if fewest >= MIN_ISOTONIC_ROWS else ("platt",)


def _learn(method: str, score: Floats, y: Bools) -> Calibration:
    return Sigmoid(*platt(score, y)) if method == "platt" else isotonic.learn(score, y)


def _enough(y: Bools, least: int) -> bool:
    return min(int(y.sum()), int((~y).sum())) >= least


def _log_losses(risk: Floats, y: Bools) -> Floats:
    told = np.clip(np.where(y, risk, 1.0 - risk), 1e-6, 1.0)
    return np.asarray(-np.log(told))


def _mean(losses: Floats) -> float:
    return round(float(losses.mean()), 12)


def _surely_less(losses: Floats | None, others: Floats) -> bool:
    """Whether (n,) losses are less than others of the same rows by more than one standard error."""
    if losses is None:
        return False
    gain = others - losses
    return _mean(gain) > round(float(gain.std()) / len(gain) ** 0.5, 12)
