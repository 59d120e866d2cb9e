"""Who burned a budget: by release, by prompt version, and by calendar month."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from analysis.policy import Slo
from analysis.telemetry import Telemetry
from analysis.telemetry.events import PartCounts, part_counts
from analysis.views.budget_periods import period_of
from analysis.views.budget_section import MonthBurn, ReleaseBurn, SloBudget

COLUMNS = ("release_id", "prompt_version")


def with_parts(
    telemetry: Telemetry, slos: Sequence[Slo], budgets: Sequence[SloBudget]
) -> list[SloBudget]:
    """The budgets with their parts, in one scan for all. slos: those whose column is there."""
    columns = [column for column in COLUMNS if telemetry.has(column)]
    known = [slo for slo in slos if telemetry.unusable(slo.rule.column) is None]
    if not known:
        return list(budgets)
    end = telemetry.windows.candidate.end
    periods = [period_of(slo, end) for slo in known]
    by_column, by_month = part_counts(
        telemetry,
        [telemetry.bad(slo.rule) for slo in known],
        [period.start for period in periods],
        end,
        columns,
    )
    place = {slo.name: i for i, slo in enumerate(known)}
    out = []
    for budget in budgets:
        i = place.get(budget.name)
        if i is None:
            out.append(budget)
            continue
        months = [part for part in by_month[i] if part.n]
        so_far = sum(part.n for part in months) if budget.budget_consumed is not None else 0
        whole = so_far / periods[i].share
        releases = [
            ReleaseBurn(column, part.value, part.others, *_burned(part, budget, whole))
            for column in columns
            for part in by_column[column][i]
            if part.n
        ]
        out.append(
            dataclasses.replace(
                budget,
                by_release=tuple(releases),
                by_month=tuple(
                    MonthBurn(str(part.value), *_burned(part, budget, whole)) for part in months
                ),
            )
        )
    return out


def _burned(
    part: PartCounts, budget: SloBudget, whole: float
) -> tuple[int, int, float | None, float | None]:
    """Interactions, bad ones, burn, and share of the budget of a period of `whole` events."""
    burn = part.bad / part.n / budget.error_budget if part.n else None
    share = part.bad / (budget.error_budget * whole) if whole else None
    return part.n, part.bad, burn, share


def parts_table(budgets: Sequence[SloBudget]) -> pd.DataFrame:
    """One row an SLO and release, prompt version or month."""
    rows: list[tuple[object, ...]] = []
    for budget in budgets:
        parts: list[tuple[str, str | None, bool, ReleaseBurn | MonthBurn]] = [
            *((p.column, p.value, p.others, p) for p in budget.by_release),
            *(("month", m.month, False, m) for m in budget.by_month),
        ]
        rows += [
            (budget.name, by, value, others, p.interactions, p.bad, p.burn_rate, p.budget_consumed)
            for by, value, others, p in parts
        ]
    names = ("slo", "by", "value", "others", "interactions", "bad", "burn_rate", "budget_consumed")
    return pd.DataFrame(rows, columns=list(names))
