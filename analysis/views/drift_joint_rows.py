"""The rows that joint drift is told from: a bounded sample, and which half each row is in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.overlap import effective_sample_size
from analysis.stats.two_sample import Halves, halves_of_clusters, halves_of_days
from analysis.telemetry import Telemetry
from analysis.views.health_checks import MIN_EFFECTIVE_CLUSTERS

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_JOINT_ROWS = 40_000
"""Of many rows it is days that are few: more rows would cost time, and tell little more."""
MIN_DAYS = 4
N_FOLDS = 10
SEED = "joint"


@dataclass(frozen=True)
class JointRows:
    """Sampled rows, sorted by `interaction_id`. values: by column; all else (n,)."""

    values: dict[str, pd.Series]
    late: Bools
    cluster: Ints
    day: Ints
    fold: Ints
    halves: Halves


def sampled_rows(telemetry: Telemetry, names: Sequence[str]) -> JointRows | str:
    """The rows and their halves, or why they are too few to be split."""
    # A weight of 0 is a weekday that the candidate lacks; other weights are those of the halves.
    frame = telemetry.sample(
        ["win", "day", *names], "win IS NOT NULL AND weight > 0", max_rows=MAX_JOINT_ROWS, seed=SEED
    )
    late = frame["win"].to_numpy(dtype=np.int64) == 1
    day = frame["day"].to_numpy(dtype=np.int64)
    cluster, ids = _coded(frame["cluster_id"])
    draws = np.array([_draw(i) for i in ids], dtype=np.int64)
    half, fold = (draws % 2)[cluster], (draws // 2)[cluster]
    if not (late.any() and (~late).any()):
        return "a window has no usable row"
    if not telemetry.by_days:
        halves = halves_of_clusters(half)
    else:
        for name, side in (("baseline", ~late), ("candidate", late)):
            n_days = len(np.unique(day[side]))
            if n_days < MIN_DAYS:
                return (
                    f"the {name} window has {n_days} day{'s' if n_days != 1 else ''} with traffic; "
                    f"a comparison before and after splits days, and needs {MIN_DAYS}"
                )
        visits = telemetry.cluster == "session"
        halves = halves_of_days(
            late, day, cluster, None if visits else half, whole_days=_whole_days(telemetry)
        )
        if visits and len(np.unique(day[halves.fitted & late] % 7)) > 1:
            fold = day % 7
    for name, part in (("fitted on", halves.fitted), ("scored", halves.scored)):
        for window, side in (("baseline", ~late), ("candidate", late)):
            inside = part & side
            effective = effective_sample_size(halves.weight[inside], cluster[inside])
            if effective < MIN_EFFECTIVE_CLUSTERS:
                return (
                    f"the half that is {name} has {effective:.0f} effective clusters of the {window}; "
                    f"at least {MIN_EFFECTIVE_CLUSTERS} are needed"
                )
    return JointRows({n: frame[n] for n in names}, late, cluster, day, fold, halves)


def _whole_days(telemetry: Telemetry) -> bool:
    spans = (telemetry.windows.candidate, telemetry.windows.baseline)
    return all(s is not None and s.release_id is None and s.whole_days for s in spans)


def _draw(cluster_id: str) -> int:
    """2 `N_FOLDS` equally likely numbers by md5 of the id: the half, and the part of it, of a cluster."""
    text = f"{SEED} half {cluster_id}"
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[-12:], 16) % (
        2 * N_FOLDS
    )


def _coded(values: pd.Series) -> tuple[Ints, list[str]]:
    codes, found = pd.factorize(values)
    return codes.astype(np.int64), [str(v) for v in found]
