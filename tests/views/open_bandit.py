"""The small Open Bandit data of Saito, Aihara, Matsutani & Narita 2021: 10,000 rows a policy, CC BY 4.0.

It lies as CSV inside the wheel of `obp`, which itself needs torch and is not installed: the wheel is
fetched once into `.cache/peers/` and read as an archive.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from scipy import stats

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PEERS = Path(__file__).resolve().parents[2] / ".cache" / "peers"
WHEEL = "obp-0.4.1-py3-none-any.whl"
N_POSITIONS = 3


class NotFetched(Exception):
    """The wheel cannot be had."""


@dataclass(frozen=True)
class Logged:
    """One policy's log in order of time. item, position: (n,) codes; click, propensity: (n,); context:
    (n, p) indicators of users' features; items: (n items, q) what is known of items."""

    item: Ints
    position: Ints
    click: Floats
    propensity: Floats
    context: Floats
    items: Floats

    def drawn(self, seed: int) -> tuple[Logged, Ints]:
        """A bootstrap sample of the rows, as `obp` draws it, and which rows they are."""
        n = len(self.click)
        rows = np.random.RandomState(seed).choice(np.arange(n), size=n, replace=True)
        parts = (self.item, self.position, self.click, self.propensity, self.context)
        return Logged(*(p[rows] for p in parts), self.items), rows


def archive() -> zipfile.ZipFile:
    """The wheel. Raises NotFetched."""
    path = PEERS / WHEEL
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--retries", "1", "--timeout", "10", "--no-deps", "--dest", str(PEERS), "obp==0.4.1"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not path.exists():
            raise NotFetched(f"`pip download obp==0.4.1` failed: {done.stderr.strip()[-200:]}")
    return zipfile.ZipFile(path)


def logged(wheel: zipfile.ZipFile, policy: str, campaign: str = "all") -> Logged:
    """The log of `random` or `bts` (Bernoulli Thompson sampling)."""
    folder = f"obp/dataset/obd/{policy}/{campaign}"
    rows = pd.read_csv(io.BytesIO(wheel.read(f"{folder}/{campaign}.csv")), index_col=0)
    rows = rows.sort_values("timestamp")
    items = pd.read_csv(io.BytesIO(wheel.read(f"{folder}/item_context.csv")), index_col=0)
    users = rows.loc[:, rows.columns.str.contains("user_feature")]
    kinds = [pd.factorize(items[c], sort=True)[0] for c in items.columns[2:]]
    return Logged(
        item=rows["item_id"].to_numpy(),
        position=rows["position"].to_numpy() - 1,
        click=rows["click"].to_numpy(dtype=float),
        propensity=rows["propensity_score"].to_numpy(),
        context=pd.get_dummies(users, drop_first=True).to_numpy(dtype=float),
        items=np.column_stack([*kinds, items["item_feature_0"]]).astype(float),
    )


def _prior(wheel: zipfile.ZipFile, campaign: str) -> tuple[Floats, Floats]:
    prior = yaml.safe_load(wheel.read("obp/policy/conf/prior_bts.yaml"))[campaign]
    return np.array(prior["alpha"]), np.array(prior["beta"])


def thompson(wheel: zipfile.ZipFile, campaign: str = "all", steps: int = 10_000) -> Floats:
    """(n items, positions): how probably `bts` shows an item at a position, at the start of the log.

    Each item draws a click rate from its Beta prior and the highest are shown in order, so that an item
    is at position r with ∫ f(x) P(r others are above x) dx. `obp` simulates it.
    """
    alpha, beta = _prior(wheel, campaign)
    of = stats.beta(alpha[:, None], beta[:, None])
    edges = np.linspace(0.0, float(of.ppf(1 - 1e-9).max()), steps)
    below = of.cdf(edges)
    weight, middle = np.diff(below, axis=1), (below[:, 1:] + below[:, :-1]) / 2
    out = np.zeros((len(below), N_POSITIONS))
    for item in range(len(below)):
        above = np.zeros((N_POSITIONS, steps - 1))  # P(r of the others are above)
        above[0] = 1.0
        for other in np.delete(middle, item, axis=0):
            above[1:] = above[1:] * other + above[:-1] * (1 - other)
            above[0] *= other
        out[item] = above @ weight[item]
    return out / out.sum(axis=0)


def simulated_thompson(
    wheel: zipfile.ZipFile, n: int = 1_000_000, campaign: str = "all", block: int = 10_000
) -> Floats:
    """The same from n draws, as `obp` makes them with the seed of its example."""
    alpha, beta = _prior(wheel, campaign)
    rng = np.random.RandomState(12345)
    out = np.zeros((len(alpha), N_POSITIONS))
    for _ in range(n // block):
        rates = rng.beta(alpha, beta, size=(block, len(alpha)))
        for place in range(N_POSITIONS):
            best = rates.argmax(axis=1)
            out[:, place] += np.bincount(best, minlength=len(alpha))
            rates[np.arange(block), best] = -1.0
    return out / n
