"""The terms of the glossary, in the order of its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One term. defined: `module:function` below `analysis`, whose docstring has the paragraph.

    headings: of columns of numbers, and names of figures, that mean it; words: headings of columns of words.
    `Table: heading` where a heading means something of its own in one table. checks: the check ids that it
    is of; `*` stands for a policy's own name.
    """

    name: str
    defined: str
    headings: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Terms of one page of the report."""

    title: str
    terms: tuple[Term, ...]


GROUPS = (
    Group(
        "Everywhere",
        (
            Term("Candidate", "telemetry.windows:resolve", headings=("Candidate", "In the window")),
            Term("Baseline", "telemetry.windows:resolve", headings=("Baseline",)),
            Term("Interactions", "views.health:headline_metrics", headings=("Interactions",)),
            Term("95 % interval", "stats.intervals:rate_interval",
                 headings=("Value, 95 % interval", "95 % interval")),
            Term("Change", "views.health_compared:compared", headings=("Change", "Change, 95 % interval")),
            Term("Cluster", "stats.clusters:difference_variance"),
            Term("q", "stats.multiple:benjamini_hochberg", headings=("q",)),
            Term("Worst case", "bounds:judge", headings=("Worst case", "As reviewed")),
        ),
    ),
    Group(
        "Checks and the gate",
        (
            Term("Outcome", "gate:judge",
                 words=("Thresholds of the policy, in the candidate window: Outcome",
                  "Against the last recorded releases: Outcome")),
            Term("Severity", "gate:decide", words=("Outcome, severity",
                  "What could not be judged, and why: Severity")),
            Term("Passes at", "gate:judge", headings=("Passes at",)),
            Term("Error rate", "stats.multiple:holm"),
            Term("What more traffic settles", "gate_needs:check_needs", headings=("More interactions",
                  "More days", "More requests like today's", "Days of them")),
            Term("Roll back above", "gate_watch:watch_list", headings=("Roll back above",)),
            Term("threshold.NAME", "views.gate_thresholds:checks", checks=("threshold.*",)),
            Term("baseline.FIGURE", "views.gate_baselines:compare", headings=("Their mean",),
                 checks=("baseline.*",)),
            Term("gate.waivers", "gate:waivers_check", checks=("gate.waivers",)),
            Term("gate.registration", "registration:check", checks=("gate.registration",)),
            Term("contract.errors", "views.contract:errors_check", checks=("contract.errors",)),
            Term("contract.bounds", "views.contract:bounds_check", checks=("contract.bounds",)),
        ),
    ),
    Group(
        "Health",
        (
            Term("Failure rate", "views.health:headline_metrics", headings=("Failure rate", "Failures",
                  "failure", "failure_rate")),
            Term("Latency breach rate", "views.health:headline_metrics", headings=("latency_breach",
                  "latency_breach_rate", "Latency breach rate", "Latency breaches")),
            Term("Cost per interaction", "views.health:headline_metrics", headings=("cost",
                  "cost_usd_per_interaction", "Cost per interaction", "Cost per interaction, USD",
                  "USD per interaction")),
            Term("Latency percentile", "views.health_quantiles:latency_quantiles",
                 headings=("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "latency_p50",
                  "latency_p90", "latency_p95", "latency_p99", "Latency, median",
                  "Latency, 95th percentile", "Latency, 99th percentile")),
            Term("Share of cost", "views.health_tails:tails", headings=("cost_share_of_dearest_1_percent",
                  "cost_share_of_largest_cluster")),
            Term("Tokens per second", "views.health_tails:tails", headings=("tokens_per_second",)),
            Term("health.failure_rate", "views.health_checks:rate_check", checks=("health.failure_rate",)),
            Term("health.latency_breach_rate", "views.health_checks:rate_check",
                 checks=("health.latency_breach_rate",)),
            Term("health.cost_usd", "views.health_checks:cost_check", checks=("health.cost_usd",)),
        ),
    ),
    Group(
        "Budgets",
        (
            Term("Bad", "views.budget:metrics", headings=("Bad",)),
            Term("Burn rate", "views.budget_checks:burn_check", headings=("Burn rate",
                  "Burn rate, 95 % interval", "Long burn, ×", "Short burn, ×", "Peak burn, ×")),
            Term("Budget spent", "views.budget_exhaustion:consumption", headings=("Budget spent",
                  "Share of the budget")),
            Term("Budget left", "views.budget_exhaustion:consumption", headings=("Budget left",)),
            Term("Exhausted", "views.budget_exhaustion:consumption", headings=("Exhausted, UTC",)),
            Term("At once for all groups", "views.budget_groups:groups_check",
                 headings=("At once for all groups",)),
            Term("Burn alert", "views.budget_alerts:alerts_of", headings=("Windows", "Long window"),
                 words=("State", "Alert")),
            Term("Alert threshold", "stats.alerts:threshold", headings=("Threshold, ×",)),
            Term("Detection", "stats.alerts:detection_hours", headings=("Detects a full outage after",)),
            Term("Incident", "views.budget_incidents:incidents_of", headings=("Bad, share",)),
            Term("budget.SLO.alerts", "views.budget_checks:alert_check", checks=("budget.*.alerts",)),
            Term("budget.spend", "views.spend:assess_spend", checks=("budget.spend",)),
            Term("budget.SLO", "views.budget_checks:burn_check", checks=("budget.*",)),
        ),
    ),
    Group(
        "Spend",
        (
            Term("Spend", "views.spend:assess_spend", headings=("USD a day", "Spend, USD a day",
                  "Spend as a share of the budget")),
            Term("Forecast", "stats.daily_forecast:fit",
                 headings=("Forecast: mean of the next days, as many as in the window, USD a day",
                  "Forecast: at the period's end, USD", "Budget of the period is spent, UTC")),
            Term("Unseen spend", "views.spend_unseen:unseen_spend", headings=("USD, bounds",
                  "Spend that the log cannot see: Share", "Spend without a known cost, USD in the window")),
            Term("Driver", "stats.lmdi:decompose", headings=("Volume", "Retries", "Mix", "Tokens", "Price",
                  "Unseen", "The largest parts of the change, by model: USD a day",
                  "The change by use case, USD a day: Change",
                  "The change by kind of token, USD a day: Change"), words=("Driver",)),
        ),
    ),
    Group(
        "Hotspots",
        (
            Term("Slice", "views.hotspots:assess", words=("Slice",)),
            Term("Hotspot", "views.hotspot_findings:describe", headings=("Hotspots", "Found in"),
                 words=("Measure, status",)),
            Term("Reference", "views.hotspot_findings:describe"),
            Term("Effect of a slice", "views.hotspot_findings:describe", headings=("Effect, interval",)),
            Term("Ratio", "views.hotspot_findings:describe", headings=("Value, ratio",)),
            Term("Excess", "views.hotspot_findings:describe", headings=("Excess",)),
            Term("hotspots.regression", "views.hotspot_checks:checks", checks=("hotspots.regression",)),
            Term("hotspots.level", "views.hotspot_checks:checks", checks=("hotspots.level",)),
        ),
    ),
    Group(
        "Routing",
        (
            Term("Logical request", "telemetry.requests:logical_requests", headings=("Requests",)),
            Term("Unit cost", "views.routing_backtest:backtest", headings=("Unit cost, USD",)),
            Term("Cash cost", "views.routing_backtest:backtest", headings=("Cash cost, USD",)),
            Term("Saving", "views.routing_backtest:backtest", headings=("Saving per request, USD",
                  "What each candidate would have saved: USD a day")),
            Term("Change of failures", "views.routing_backtest:backtest", headings=("Change of failures",)),
            Term("Doubly robust", "stats.offpolicy:dr_scores"),
            Term("SNIPS", "stats.offpolicy:snips_scores", headings=("SNIPS",)),
            Term("Switch-DR", "stats.offpolicy:switched_weights", headings=("Switch-DR",)),
            Term("DRos", "stats.offpolicy:shrunken_weights", headings=("DRos",)),
            Term("Outcome model", "stats.offpolicy:direct_method_scores", headings=("Outcome model",)),
            Term("Group means", "views.routing_backtest:backtest", headings=("Group means",)),
            Term("Frontier", "views.routing:assess", headings=("Frontier",)),
            Term("Requests changed", "views.routing_plan:plan", headings=("Requests changed", "Part moved",
                  "The rules of each candidate: Share")),
            Term("Propensity", "stats.propensity:crossfit_propensity"),
            Term("Overlap", "views.routing_backtest:scored", headings=("Overlap",)),
            Term("Effective clusters", "stats.overlap:effective_sample_size",
                 headings=("Effective clusters",)),
            Term("Matched failures", "views.routing_backtest:backtest", headings=("Matched failures",)),
            Term("Largest weight", "stats.offpolicy:importance_weights", headings=("Largest weight",)),
            Term("Pareto k", "stats.overlap:pareto_k", headings=("Pareto k",)),
            Term("Bounds of saving", "stats.partial_identification:imbens_manski",
                 headings=("Bounds of saving, USD",)),
            Term("Balance", "stats.overlap:balance", words=("Worst balance, sd",)),
            Term("Negative control", "views.routing_doubts:doubts", words=("Control: failures before",
                  "Control: USD before")),
            Term("Hidden confounding Γ", "stats.sensitivity:flips_at", words=("Hidden confounding Γ",)),
            Term("Trial", "views.routing_needs:exploration", headings=("Trial: share sent its way",
                  "Trial costs, USD a day", "Requests an arm",
                  "What would settle what is not settled: Days")),
            Term("routing.CANDIDATE", "views.routing_decision:recommend", words=("Advice",),
                 checks=("routing.*",)),
        ),
    ),
    Group(
        "Drift",
        (
            Term("PSI", "views.drift_features:measure", headings=("PSI",), words=("Most of all (PSI)",)),
            Term("Effect of drift", "stats.divergence:total_variation", headings=("Effect",)),
            Term("Drift severity", "views.drift_features:severity_of", headings=("Columns that drift",
                  "Columns that drift highly", "Medium", "Low"),
                 words=("Every column, the most severe first: Severity",)),
            Term("New values", "views.drift_features:measure", headings=("New values",)),
            Term("Vanished", "views.drift_features:measure", headings=("Vanished",)),
            Term("Missing", "views.drift_features:measure", headings=("Missing now",)),
            Term("Mix and within", "stats.decomposition:decompose", headings=("Mix of its values",
                  "Within its values")),
            Term("Since when", "views.drift_time:changes_over_time", headings=("Since, UTC",
                  "Since when: Before", "Since when: After")),
            Term("AUC of the windows", "stats.two_sample:two_sample"),
            Term("AUC of a column", "views.drift_joint:assess_joint", headings=("AUC lost when shuffled",
                  "AUC alone")),
            Term("drift.high", "views.drift_checks:high_check", checks=("drift.high",)),
            Term("drift.medium", "views.drift_checks:medium_check", checks=("drift.medium",)),
            Term("drift.joint", "views.drift_joint:judged", checks=("drift.joint",)),
        ),
    ),
    Group(
        "Triage",
        (
            Term("Risk", "views.triage_risk:calibrated", headings=("Mean risk",)),
            Term("Reviewed", "views.triage_policy:outcome", headings=("Reviewed",)),
            Term("Failures found", "views.triage_policy:outcome", headings=("Failures found",)),
            Term("Failures missed", "views.triage_policy:outcome", headings=("Failures missed",)),
            Term("Precision", "views.triage_policy:outcome", headings=("Precision",)),
            Term("Recall", "views.triage_policy:outcome", headings=("Recall",)),
            Term("Cost of reviewing", "views.triage_policy:outcome", headings=("Cost, USD, 95 % interval",)),
            Term("Saving of reviewing", "views.triage_policy:saving", headings=("Saving, USD",)),
            Term("Lower bound", "views.triage_policy:lower_bound",
                 headings=("One-sided 95 % lower bound, USD",)),
            Term("Reviews due", "views.triage_workload:by_weekday", headings=("Reviews due, median",
                  "90th percentile")),
            Term("Above capacity", "views.triage_workload:by_weekday", headings=("Above capacity",)),
            Term("Area under the ROC curve", "stats.calibration:roc_auc",
                 headings=("Ranking: area under the ROC curve", "AUC")),
            Term("Average precision", "stats.calibration:average_precision", headings=("Average precision",)),
            Term("Brier score", "stats.calibration:brier", headings=("Brier score",)),
            Term("Parts of the Brier score", "stats.brier_parts:brier_parts",
                 headings=("… of it reliability", "… less resolution", "… and uncertainty")),
            Term("Brier skill", "stats.calibration:brier_skill", headings=("Brier skill",)),
            Term("Calibration error", "stats.calibration:calibration_error",
                 headings=("Expected calibration error",)),
            Term("Calibration slope", "stats.recalibration:recalibration", headings=("Calibration slope",)),
            Term("Calibration in the large", "stats.recalibration:recalibration",
                 headings=("Calibration in the large",)),
            Term("Stability", "views.triage_stability:stability",
                 headings=("Before the window, and in it: Before",
                  "Before the window, and in it: In the window", "Before the window, and in it: Change")),
            Term("How far risks are off", "views.triage_slice_table:findings",
                 headings=("How far, interval",), words=("What is off",)),
            Term("Failed", "views.triage_slice_table:findings", headings=("Failed",)),
            Term("Log loss", "views.triage_risk:calibrated", headings=("Log loss",)),
            Term("triage.queue", "views.triage_checks:queue_check", checks=("triage.queue",)),
            Term("triage.mode", "views.triage_checks:mode_check", checks=("triage.mode",)),
        ),
    ),
    Group(
        "History",
        (
            Term("Worse than before", "ledger_history:history", words=("What rose, and from where",)),
        ),
    ),
)  # fmt: skip
