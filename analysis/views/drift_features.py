"""One column's drift, from its bins to a severity (STATISTICS section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.check import rounded
from analysis.contract import Contract
from analysis.policy import Policy
from analysis.stats.divergence import (
    absent_category_p,
    compare_distributions,
    psi,
    split_off,
    total_variation,
    vanished_category_p,
)
from analysis.stats.multiple import benjamini_hochberg
from analysis.telemetry import Telemetry
from analysis.telemetry.bin_cuts import MIN_CATEGORY_ROWS, MIN_CATEGORY_SHARE
from analysis.telemetry.bins import BinnedColumn, DriftColumn, bin_columns, is_moment, natural_types
from analysis.telemetry.fact import DERIVED

TESTED_ROLES = ("context", "action", "cost", "outcome")
NEVER_TESTED_ROLES = ("key", "identifier", "time")
LEFT_OUT = frozenset({"release_id", "routing_propensity"})
# Changing these may be what the release is: they are listed, and no check counts them.
LISTED_ONLY = frozenset({"prompt_version", "instruction_template", "model_name", "model_provider"})
MAX_QUOTED = 60

DriftSeverity = Literal["none", "low", "medium", "high"]
RANK: dict[DriftSeverity, int] = {"none": 0, "low": 1, "medium": 2, "high": 3}


@dataclass(frozen=True)
class Feature:
    """One column's distribution, candidate against baseline.

    statistic: the test behind `p_value`: rao_scott_chi2 (the whole distribution), new_category
    (values that the baseline lacks), vanished_category (values that the candidate lacks),
    missing_rate (whether a value is missing), or not_tested, with the `reason`. The smallest of those
    that there are counts, by Bonferroni.
    effect: total_variation for categories (share of traffic, 0 to 1), wasserstein for numbers (in
    baseline standard deviations); `effect_unit` says which.
    psi: bias-corrected, so that it is 0 on average without drift, and may be below 0.
    counted: whether the `drift.*` checks count it. new_share: share of candidate rows in values that
    the baseline lacks; vanished_share: share of baseline rows in values that the candidate lacks.
    missing_*: share of null rows. support: rows of both windows.
    total_variation: of the bins. wasserstein: of a number's values, in its own `unit`; mean_*: their
    weighted means, of the same rows. sentence: what changed, in words.
    """

    feature: str
    role: str
    statistic: str
    effect: float | None
    psi: float | None
    p_value: float | None
    q_value: float | None
    severity: DriftSeverity
    effect_unit: str | None
    kind: str | None
    counted: bool
    n_bins: int
    new_share: float | None
    missing_baseline: float | None
    missing_candidate: float | None
    support: int
    reason: str | None
    total_variation: float | None = None
    wasserstein: float | None = None
    unit: str | None = None
    mean_baseline: float | None = None
    mean_candidate: float | None = None
    vanished_share: float | None = None
    sentence: str = ""


def drift_columns(telemetry: Telemetry, policy: Policy) -> tuple[list[str], list[str]]:
    """The columns to test, sorted, and a note on each named one that cannot be."""
    if policy.drift.columns == "auto":
        chosen = []
        for name in telemetry.columns:
            declared = telemetry.contract.column(name)
            if declared is None or declared.role not in TESTED_ROLES or name in LEFT_OUT:
                continue
            if name == "domain" and telemetry.has("use_case"):
                continue
            if not _barred(telemetry, name, telemetry.types[name]):
                chosen.append(name)
        return sorted(chosen), []
    notes, chosen = [], []
    named = list(dict.fromkeys(policy.drift.columns))
    read_as = _read_as(telemetry, [n for n in named if telemetry.has(n)])
    for name in named:
        barred = _barred(telemetry, name, read_as.get(name))
        if barred:
            notes.append(f"drift.columns: “{short(name)}” is left out: {barred}")
        else:
            chosen.append(name)
    return sorted(chosen), notes


def _barred(telemetry: Telemetry, name: str, read_as: str | None) -> str | None:
    if read_as is None:
        return "the telemetry has no such column"
    declared = telemetry.contract.column(name)
    if name.lower() in DERIVED:
        return "the name is taken"
    if declared is not None and declared.role in NEVER_TESTED_ROLES:
        return f"a column in the role of {declared.role} says nothing of a distribution"
    if is_moment(read_as):
        return "moments of time differ between windows by construction"
    return None


def role_of(contract: Contract, name: str) -> str:
    """The contract's role of a column; `carried` where it is not declared."""
    declared = contract.column(name)
    return declared.role if declared is not None else "carried"


def binned_features(telemetry: Telemetry, names: Sequence[str]) -> dict[str, BinnedColumn]:
    """Outcomes only over rows whose label is known: a late label is no drift."""
    read_as = _read_as(telemetry, names)
    columns = {
        name: DriftColumn(
            name="failure" if name == "is_failure" else name,
            read_as=read_as[name],
            known_outcome=role_of(telemetry.contract, name) == "outcome",
        )
        for name in names
    }
    binned = bin_columns(telemetry.engine, list(columns.values()))
    return {name: binned[column.name] for name, column in columns.items()}


def _read_as(telemetry: Telemetry, names: Sequence[str]) -> dict[str, str]:
    """The DuckDB types as which columns are read; the contract's word comes first."""
    undeclared = [n for n in names if n not in DERIVED and telemetry.contract.column(n) is None]
    return {n: telemetry.types.get(n, "VARCHAR") for n in names} | natural_types(
        telemetry.engine, undeclared
    )


def measure(telemetry: Telemetry, name: str, column: BinnedColumn) -> Feature:
    """All but `q_value` and `severity`, which depend on the other features.

    PSI: the population stability index: how far a column's distribution in the candidate window lies from the
    baseline's; corrected for chance, so that it is about 0 without drift.

    New values (%): the candidate's share of values that the baseline lacks.

    Vanished (%): the baseline's share of values that the candidate lacks.

    Missing (%): share of interactions without a value in the column.
    """
    declared = telemetry.contract.column(name)
    untested = Feature(
        feature=name,
        role=role_of(telemetry.contract, name),
        statistic="not_tested",
        effect=None,
        psi=None,
        p_value=None,
        q_value=None,
        severity="none",
        effect_unit=None,
        kind=column.kind,
        counted=name not in LISTED_ONLY,
        n_bins=column.clusters.n_bins,
        unit=None if declared is None else declared.unit,
        new_share=None,
        missing_baseline=column.missing[0],
        missing_candidate=column.missing[1],
        support=sum(column.rows),
        reason=None,
    )
    if min(column.rows) == 0:
        return replace(untested, reason="a window has no usable row")
    if column.clusters.n_bins < 2:
        return replace(untested, reason=_same_throughout(column))
    m = column.clusters
    test = compare_distributions(m, column.days if telemetry.by_days else None)
    if test is None:
        return replace(untested, reason="there are too few clusters to compare")
    tests = {"rao_scott_chi2": test.p_value, **_own_tests(telemetry, column)}
    statistic = min(tests, key=lambda name: (tests[name], name != "rao_scott_chi2"))
    variation = total_variation(m.shares[0], m.shares[1])
    moved = column.distance if column.points is not None else None
    scaled = moved.scaled if moved is not None else None
    # The prior's half a row is half an unweighted row.
    counts = m.counts * (np.asarray(column.rows) / m.totals)[:, None]
    return replace(
        untested,
        statistic=statistic,
        effect=variation if scaled is None else scaled,
        effect_unit="total_variation" if scaled is None else "wasserstein",
        psi=float(psi(counts) - test.expected),
        p_value=min(1.0, len(tests) * float(tests[statistic])),
        new_share=float(m.shares[1][m.counts[0] == 0].sum()),
        vanished_share=float(m.shares[0][m.counts[1] == 0].sum()),
        total_variation=variation,
        wasserstein=moved.wasserstein if moved is not None else None,
        mean_baseline=moved.means[0] if moved is not None else None,
        mean_candidate=moved.means[1] if moved is not None else None,
    )


def _same_throughout(column: BinnedColumn) -> str:
    """Why a column has a single bin."""
    if column.missing[0] == 1.0:
        return "every row is missing"
    if column.points is None and not column.counted.cut.frequent:
        return (
            f"its values are too rare to compare: none has {MIN_CATEGORY_ROWS} rows and "
            f"{100 * MIN_CATEGORY_SHARE:g} % of the baseline"
        )
    return f"every row holds “{column.labels[0]}”"


def _own_tests(telemetry: Telemetry, column: BinnedColumn) -> dict[str, float]:
    """p by statistic: of values that one window lacks, and of the rate at which they are missing.

    A unit lies in a window with the larger of its share of units and its share of rows.
    """
    found = {}
    for statistic, test, win in (
        ("new_category", absent_category_p, 1),
        ("vanished_category", vanished_category_p, 0),
    ):
        rows = column.rows[win] / sum(column.rows)
        chances = [
            max(rows, units[win] / (units[0] + units[1]))
            for units in (column.clusters.units, column.days.units)
        ]
        p = test(column.holders, chances[0], chances[1] if telemetry.by_days else None)
        if p is not None:
            found[statistic] = p
    # Missing values that begin or end altogether are a new or a vanished category.
    at = column.missing_bin if all(column.missing) else None
    if at is not None and column.clusters.n_bins > 2:
        rates = compare_distributions(
            split_off(column.clusters, at),
            split_off(column.days, at) if telemetry.by_days else None,
        )
        if rates is not None:
            found["missing_rate"] = rates.p_value
    return found


def judge(measured: Sequence[Feature], policy: Policy) -> tuple[Feature, ...]:
    """Features with q-values and severities, the most severe first."""
    p = [np.nan if f.p_value is None else f.p_value for f in measured]
    q = benjamini_hochberg(p)
    judged = []
    for feature, value in zip(measured, q, strict=True):
        if feature.p_value is None:
            judged.append(feature)
            continue
        severity = severity_of(feature.psi or 0.0, float(value), policy)
        judged.append(replace(feature, q_value=float(value), severity=severity))
    return tuple(
        sorted(judged, key=lambda f: (-RANK[f.severity], -rounded(or_least(f.psi)), f.feature))
    )


def severity_of(value: float, q: float, policy: Policy) -> DriftSeverity:
    """The severity of a stability index with a q-value: none unless it is large, and beyond chance.

    Drift severity: low, medium or high by the policy's band of the stability index, where the change is beyond
    chance (q); none where it is not. Source: second-order test of Rao and Scott 1984.
    """
    return "none" if rounded(q) > policy.drift.fdr else band_of(value, policy)


def band_of(value: float, policy: Policy) -> DriftSeverity:
    """The policy's band of a stability index, whatever chance says of it."""
    bands, shown = policy.drift, rounded(value)
    if shown < bands.low.psi:
        return "none"
    if shown < bands.medium.psi:
        return "low"
    return "medium" if shown < bands.high.psi else "high"


def or_least(value: float | None) -> float:
    return -1e9 if value is None else value


def short(text: str) -> str:
    """A value of the telemetry or the policy, short enough for a sentence."""
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
