"""What the values of a view are, by their names: whole windows, cells, counts, events, shares.

Everything that no name here tells of is taken for a cell (`analysis.published_values`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

WHOLE = frozenset(
    ("health.baseline", "health.candidate", "health.change", "contract.rules")
    + ("contract.bounds.figures",)
    + ("budget.spend", "routing.on_policy", "budget.drivers.effects")
    + ("budget.slos.burn_rate", "budget.slos.exhausts_utc", "budget.slos.needs")
    + ("budget.slos.budget_consumed", "budget.slos.budget_remaining")
    + tuple(
        f"routing.candidates.{name}"
        for name in (
            "unit_cost_usd",
            "failure_rate",
            "latency_breach_rate",
            "cost_usd",
            "saving_usd",
        )
    )
)
"""Headline figures of whole windows, by their place in `views`."""
KEPT = frozenset(
    ("violations", "below", "slos", "alerts", "episodes", "candidates", "features", "changes")
    + ("dimensions", "metrics", "priced", "policies", "levers", "weekdays", "rivals", "drifted")
    + ("thresholds", "baselines", "figures", "stability", "columns", "tried", "negative_controls")
    + ("prices", "effects", "unseen", "by_token", "cells", "others", "bins")
)
"""Lists whose rows are no cells: they stay, and only values in them are hidden."""
SINGLE = frozenset({"found", "listed", "incidents", "references", "slow", "negative_controls"})
"""Lists whose rows are no parts of one total."""
DAILY = frozenset(
    ("days", "triage_days", "triage_hours", "triage_queue", "triage_queue.csv", "spend_by_hour.csv")
)
"""Lists by time: with more than a quarter of their rows hidden they are left out."""
NOT_COUNTS = frozenset(
    ("cause", "changes_tested", "days", "history_days", "min_events", "n_bins", "n_cells", "n_days")
    + ("n_drifted", "n_errors", "n_gone", "n_merged", "n_models", "n_needed", "n_new", "n_rules")
    + ("n_tested", "n_values", "n_warnings", "n_weeks", "other_versions", "period_days", "rank")
    + ("bin", "rule", "candidate_rank", "window", "place", "hour")
)
EVENTS = frozenset({"bad", "n_bad", "n_failures", "matched_failures", "tp", "fp", "fn", "tn"})
"""Counts of what happened: of these a zero is small too."""
EXPECTED = frozenset(
    (
        "reviewed",
        "tp",
        "fp",
        "fn",
        "tn",
        "n_misplaced",
        "n_own",
        "arrivals",
        "backlog",
        "demand",
        "due",
    )
)
"""Counts that may be no whole numbers."""
OF_EVENTS = frozenset({"contributors", "failure_types"})
"""Lists whose shares are of the bad interactions around them."""
OF_THE_REST = frozenset({"share_of_rest", "reference_share"})
"""Shares of what is around a slice, of which it is not known how few they are."""
EXACT = frozenset(
    ("target", "threshold", "error_budget", "budget_share", "long_hours", "short_hours", "alpha")
    + (
        "confidence",
        "fdr",
        "capacity_per_day",
        "max",
        "min",
        "limit",
        "allowed",
        "budget_usd_per_day",
    )
    + ("outage_detection_hours", "outage_firing_hours", "capacity", "guard", "take", "period_days")
    + ("cached_usd_per_million", "completion_usd_per_million", "prompt_usd_per_million", "edges")
)
"""Settings, and what follows from them alone."""
NO_RATE = re.compile(
    r"usd|cost|latency_ms|tokens|score|auc|brier|calibration|psi|p_value|q_value|p_adjusted|value_of"
    r"|ratio|wasserstein|log_loss|correlation|gamma|design_effect|pareto|per_second|_count|days|p50|p90"
    r"|p95|p99|importance|alone"
)
"""Names of numbers that are no shares of interactions, whatever their size."""
CHANGES = re.compile(r"change|^(effect|mix.*|within|total|added|off|difference)$")
INTERVAL = frozenset({"value", "low", "high", "support"})


@dataclass(frozen=True)
class Context:
    """Where a value stands. names: the keys that lead to it. support: interactions around it, the fewest
    that are known. events: the bad ones among them, of which causes are shares.
    error_budget: of the objective that it belongs to. outer: how many of the names are those of the view,
    and of a table or figure. is_other: whether the unit is no share."""

    names: tuple[str, ...]
    support: float
    error_budget: float | None = None
    events: float | None = None
    outer: int = 1
    is_other: bool = False

    @property
    def place(self) -> str:
        return ".".join(self.names)

    @property
    def is_no_rate(self) -> bool:
        """Whether a name, or the unit beside it, says that the number is no share of interactions."""
        return self.is_other or any(NO_RATE.search(name) for name in self.names[self.outer :])

    def under(self, name: str) -> Context:
        return replace(self, names=(*self.names, name))
