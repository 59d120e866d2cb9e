"""`slos`: the policy's objectives as OpenSLO documents."""

from __future__ import annotations

from argparse import Namespace

from analysis.commands.output import emit


def slos(a: Namespace) -> int:
    """Every objective of the policy, and the burn-rate alerts on it, as OpenSLO."""
    from analysis import alert_windows
    from analysis import policy as policies
    from analysis.check import rounded
    from analysis.openslo_document import AlertRow, document
    from analysis.review import PROJECT
    from analysis.views.budget_alerts import is_feasible, limit_of

    path = a.policy if a.policy is not None else PROJECT / "report" / "policy.yml"
    objectives = []
    for slo in policies.load(path).policy.slos:
        rows = []
        for window in alert_windows.load():
            limit = limit_of(window, slo.period_days, rounded(1 - slo.target))
            rows.append(
                AlertRow(
                    window.long_hours,
                    window.short_hours,
                    limit.threshold,
                    window.severity == "page",
                    is_feasible(limit),
                )
            )
        objectives.append((slo, rows))
    emit(document(objectives).removesuffix("\n"), a.out)
    return 0
