"""The tables and figure series behind the routing view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from analysis.check import finite
from analysis.policy import RoutingRule, Scalar
from analysis.stats.clustered_mean import ClusteredMean, GuardedMean, without_gaps
from analysis.stats.overlap import effective_sample_size
from analysis.views.routing_backtest import Backtest
from analysis.views.routing_log import FAILURE, UNIT_COST, Log

if TYPE_CHECKING:
    from analysis.views.routing_section import Candidate, OnPolicy

POLICY_COLUMNS = ("candidate", "rule", "when", "use", "take", "requests", "share", "tried", "unsupported",
                  "mean_propensity", "logged_failure_rate", "tried_failure_rate",
                  "logged_unit_cost_usd", "tried_unit_cost_usd")  # fmt: skip
BACKTEST_COLUMNS = ("candidate", "estimator", "unit_cost_usd", "failure_rate", "cost_usd",
                    "saving_usd", "saving_low", "saving_high", "requests")  # fmt: skip
SLICE_COLUMNS = ("candidate", "slice", "requests", "moved_share", "logged", "effective_sample_size",
                 "saving_usd", "saving_low", "saving_high", "failure_change", "failure_change_low",
                 "failure_change_high")  # fmt: skip
FRONTIER_COLUMNS = ("name", "recommendation", "cost", "cost_low", "cost_high", "failure",
                    "failure_low", "failure_high", "breach", "frontier")  # fmt: skip
SAVINGS_COLUMNS = ("candidate", "estimator", "saving", "low", "high")


def tables(
    log: Log,
    rules: Mapping[str, Sequence[RoutingRule]],
    found: Mapping[str, Backtest],
) -> dict[str, pd.DataFrame]:
    """The files of `tables/`. rules: by candidate, as in `found`."""
    return {
        "routing_policy.csv": _policies(log, rules, found),
        "routing_backtest.csv": _backtests(log, found),
        "routing_slices.csv": _slices(log, found),
    }


def empty() -> dict[str, pd.DataFrame]:
    """The same files without rows."""
    return {
        "routing_slices.csv": pd.DataFrame({c: [] for c in SLICE_COLUMNS}),
        "routing_policy.csv": pd.DataFrame({c: [] for c in POLICY_COLUMNS}),
        "routing_backtest.csv": pd.DataFrame({c: [] for c in BACKTEST_COLUMNS}),
    }


def savings(found: Mapping[str, Backtest]) -> pd.DataFrame:
    """Each estimator's saving with its 95 % interval."""
    rows = [
        (name, estimator, *_ends(saving))
        for name, result in found.items()
        for estimator, saving in _savings(result).items()
    ]
    return pd.DataFrame(rows, columns=list(SAVINGS_COLUMNS))


def frontier(now: OnPolicy, found: Sequence[Candidate]) -> pd.DataFrame:
    """Cost and failure rate of today's routing (without a recommendation) and of each candidate."""
    points: list[tuple[str, str | None, OnPolicy | Candidate, bool | None]] = [
        ("", None, now, None),
        *((c.name, c.recommendation, c, c.frontier) for c in found),
    ]
    rows = [
        (
            name,
            verdict,
            *(p.cost_usd.value, p.cost_usd.low, p.cost_usd.high),
            *(p.failure_rate.value, p.failure_rate.low, p.failure_rate.high),
            p.latency_breach_rate.value,
            best,
        )
        for name, verdict, p, best in points
        if p.cost_usd.value is not None and p.failure_rate.value is not None
    ]
    return pd.DataFrame(rows, columns=list(FRONTIER_COLUMNS))


def _slices(log: Log, found: Mapping[str, Backtest]) -> pd.DataFrame:
    """Every cell that a candidate touches, its support and what it gains and loses there."""
    rows = []
    for name, result in found.items():
        for part in result.cells:
            weights = result.weights[part.where]
            rows.append(
                (
                    name, part.name, part.n, part.moved, int((weights > 0).sum()),
                    effective_sample_size(weights, without_gaps(log.cluster[part.where])),
                    *_ends(part.saving), *_ends(part.failure_change),
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(SLICE_COLUMNS))


def _ends(figure: GuardedMean | ClusteredMean | None) -> tuple[float | int | None, ...]:
    """A value and its 95 % limits."""
    if figure is None:
        return None, None, None
    return finite(figure.value), finite(figure.lower(0.975)), finite(figure.upper(0.975))


def _savings(result: Backtest) -> dict[str, GuardedMean | ClusteredMean]:
    """Each estimator's saving; that of `dr` guards against rare failures."""
    found: dict[str, GuardedMean | ClusteredMean] = {
        name: estimate.saving for name, estimate in result.estimates.items()
    }
    if "dr" in found and result.saving is not None:
        found["dr"] = result.saving
    return found


def _policies(
    log: Log, rules: Mapping[str, Sequence[RoutingRule]], found: Mapping[str, Backtest]
) -> pd.DataFrame:
    """What each rule changes, and what the log holds of it, without any adjustment."""
    rows = []
    for name, result in found.items():
        for index, rule in enumerate(rules[name]):
            part = result.plan.taken_by(index)
            lost = sum(
                ((layer.rule == index) & layer.unsupported for layer in result.plan.layers),
                start=part < 0,
            )
            here = part > 0
            tried = here & (result.weights > 0)
            y, n = log.outcomes, int(here.sum())
            rows.append(
                (
                    name, index + 1, _words(dict(rule.when)), _words(dict(rule.use)), rule.share, n,
                    float(part.sum()) / len(here), int(tried.sum()), int(lost.sum()),
                    1.0 / float(result.weights[tried].mean()) if tried.any() else None,
                    float(y[here, FAILURE].mean()) if n else None,
                    float(y[tried, FAILURE].mean()) if tried.any() else None,
                    float(y[here, UNIT_COST].mean()) if n else None,
                    float(y[tried, UNIT_COST].mean()) if tried.any() else None,
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(POLICY_COLUMNS))


def _words(parts: Mapping[str, Scalar | tuple[Scalar, ...]]) -> str:
    return "; ".join(
        f"{column} = {' or '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for column, value in parts.items()
    )


def _backtests(log: Log, found: Mapping[str, Backtest]) -> pd.DataFrame:
    rows = [
        (
            name, estimator, finite(estimate.unit_cost), finite(estimate.failure),
            finite(estimate.cost), *_ends(_savings(result)[estimator]), len(log.frame),
        )
        for name, result in found.items()
        for estimator, estimate in result.estimates.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(BACKTEST_COLUMNS))
