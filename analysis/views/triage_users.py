"""A user's own rate so far, as far as it may be trusted.

The rate is the posterior mean of a beta prior around the rate of all: (failures + m r)/(labels + m). m, how
many labels a user needs before his own rate counts as much as that of all, is learnt from how well the rates
foretold the rows to come (prequential likelihood: Dawid 1984). Where users do not differ nothing is gained,
and the rate is left out: a rate that is shrunk too little grows bolder with every label, and means another
thing in the candidate window than it did in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LABELLED, FAILURES = "past_user_labelled", "past_user_failures"
USER_RATE = "past_user_failure_rate"
PRIOR_ROWS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
LEAST_GAIN = 4.0
"""Log-likelihood by which the rates must foretell better than that of all."""


@dataclass(frozen=True)
class UserPrior:
    """rate: of all rows. rows: m, None where users do not differ."""

    rate: float
    rows: float | None

    @classmethod
    def learn(cls, frame: pd.DataFrame, y: Bools) -> UserPrior:
        """From the fit's rows and their labels (n,)."""
        overall = round(float(y.mean()), 9)
        if LABELLED not in frame or not 0.0 < overall < 1.0:
            return cls(overall, None)
        best, rows = LEAST_GAIN, None
        plain = _likelihood(np.full(len(y), overall), y)
        for m in PRIOR_ROWS:
            gain = round(_likelihood(_rates(frame, overall, m), y) - plain, 6)
            if gain > best:
                best, rows = gain, m
        return cls(overall, rows)

    def added(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the rate of each row's user, where it is used."""
        if self.rows is None or LABELLED not in frame:
            return frame
        return frame.assign(**{USER_RATE: _rates(frame, self.rate, self.rows)})


def _rates(frame: pd.DataFrame, overall: float, rows: float) -> Floats:
    labelled, failures = (
        frame[name].fillna(0).to_numpy(dtype=float) for name in (LABELLED, FAILURES)
    )
    return np.asarray((failures + rows * overall) / (labelled + rows))


def _likelihood(rate: Floats, y: Bools) -> float:
    return float(np.log(np.where(y, rate, 1.0 - rate)).sum())
