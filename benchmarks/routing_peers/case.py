"""What every contender gets, and what it has to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A log of requests and a candidate, which sends some uses to one model each.

    frame: (n,) the context, `model_name`, `ts_us`, `cluster_id`, outcomes, and `routing_propensity` where
    it was logged. unit_cost: (n,) USD. moves: use to model, as codes of `routing_worlds`. target: (n,) the
    model's name, "" where a request keeps its own.
    """

    frame: pd.DataFrame
    unit_cost: Floats
    moves: dict[int, int]
    target: npt.NDArray[np.str_]

    @property
    def moved(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.target != "")


@dataclass(frozen=True)
class Word:
    """Of the saving per request in USD: value and 95 % interval, None where there is no figure."""

    adopted: bool
    saving: float | None = None
    low: float | None = None
    high: float | None = None
