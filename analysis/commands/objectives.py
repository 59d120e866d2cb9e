"""`slos`: the policy's objectives as OpenSLO documents."""

from __future__ import annotations

from argparse import Namespace

from analysis.commands.output import emit


def slos(a: Namespace) -> int:
    """Every objective of the policy, and the burn-rate alerts on it, as OpenSLO."""
    from analysis import policy as policies
    from analysis.check import rounded
    from analysis.openslo_document import AlertRow, document
    from analysis.review import PROJECT
    from analysis.views.budget import ALERT_RULES, alert_threshold

    path = a.policy if a.policy is not None else PROJECT / "report" / "policy.yml"
    objectives = []
    for slo in policies.load(path).policy.slos:
        rows = []
        for rule in ALERT_RULES:
            threshold = rounded(alert_threshold(rule, slo.period_days))
            feasible = threshold < rounded(1 / rounded(1 - slo.target))
            rows.append(
                AlertRow(rule.long_hours, rule.short_hours, threshold, rule.pages, feasible)
            )
        objectives.append((slo, rows))
    emit(document(objectives).removesuffix("\n"), a.out)
    return 0
