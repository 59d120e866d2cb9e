"""The tables and figure series behind the routing view."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.check import finite
from analysis.policy import Policy, Scalar
from analysis.stats.offpolicy import ClusteredMean
from analysis.views.routing_backtest import Backtest
from analysis.views.routing_log import FAILURE, UNIT_COST, Log

POLICY_COLUMNS = ("candidate", "rule", "when", "use", "requests", "share", "tried", "unsupported",
                  "mean_propensity", "logged_failure_rate", "tried_failure_rate",
                  "logged_unit_cost_usd", "tried_unit_cost_usd")  # fmt: skip
BACKTEST_COLUMNS = ("candidate", "estimator", "unit_cost_usd", "failure_rate", "cost_usd",
                    "saving_usd", "saving_low", "saving_high", "requests")  # fmt: skip
SAVINGS_COLUMNS = ("candidate", "estimator", "saving", "low", "high")


def tables(log: Log, policy: Policy, found: Mapping[str, Backtest]) -> dict[str, pd.DataFrame]:
    """Both files of `tables/`."""
    return {
        "routing_policy.csv": _policies(log, policy, found),
        "routing_backtest.csv": _backtests(log, found),
    }


def empty() -> dict[str, pd.DataFrame]:
    """Both files without rows."""
    return {
        "routing_policy.csv": pd.DataFrame({c: [] for c in POLICY_COLUMNS}),
        "routing_backtest.csv": pd.DataFrame({c: [] for c in BACKTEST_COLUMNS}),
    }


def savings(found: Mapping[str, Backtest]) -> pd.DataFrame:
    """Each estimator's saving with its 95 % interval; that of `dr` guards against rare failures."""
    rows = []
    for name, result in found.items():
        for estimator, estimate in result.estimates.items():
            shown = result.saving if estimator == "dr" else estimate.saving
            if shown is not None:
                rows.append(
                    (
                        name,
                        estimator,
                        *map(finite, (shown.value, shown.lower(0.975), shown.upper(0.975))),
                    )
                )
    return pd.DataFrame(rows, columns=list(SAVINGS_COLUMNS))


def _policies(log: Log, policy: Policy, found: Mapping[str, Backtest]) -> pd.DataFrame:
    """What each rule changes, and what the log holds of it, without any adjustment."""
    rows = []
    for candidate in policy.routing.candidates:
        result = found.get(candidate.name)
        if result is None:
            continue
        for index, rule in enumerate(candidate.rules or ()):
            here = result.plan.rule == index
            tried = here & (result.weights > 0)
            y, n = log.outcomes, int(here.sum())
            rows.append(
                (
                    candidate.name, index + 1, _words(dict(rule.when)), _words(dict(rule.use)), n,
                    n / len(here), int(tried.sum()), int((here & result.plan.unsupported).sum()),
                    float(log.propensity[tried].mean()) if tried.any() else None,
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
    rows = []
    for name, result in found.items():
        for estimator, estimate in result.estimates.items():
            saving = (
                estimate.saving if estimator != "dr" or result.saving is None else result.saving
            )
            rows.append(
                (
                    name, estimator, _value(estimate.unit_cost), _value(estimate.failure),
                    _value(estimate.cost), finite(saving.value), finite(saving.lower(0.975)),
                    finite(saving.upper(0.975)), len(log.frame),
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(BACKTEST_COLUMNS))


def _value(mean: ClusteredMean) -> float | None:
    return finite(mean.value)
