"""Levels that the policy holds figures of the candidate window to, of all traffic or of a slice."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.check import Check, Interval, Outcome, rounded
from analysis.policy import Bad, Policy
from analysis.policy_gate import Threshold
from analysis.policy_types import Scalar
from analysis.stats.sketch import quantile_bin
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.latency import beyond_us, histograms
from analysis.telemetry.sql import bad_when, identifier, number_of
from analysis.views.budget_checks import too_little
from analysis.views.health_checks import MIN_BAD_CLUSTERS, expected_bad_clusters
from analysis.views.health_compared import mean, rate
from analysis.views.health_quantiles import QUANTILES, quantile_interval

_SCALE = 10**6


@dataclass(frozen=True)
class ThresholdFigure:
    """A threshold, and what its figure is. reason: why there is none."""

    name: str
    metric: str
    when: dict[str, Scalar]
    min: float | None
    max: float | None
    figure: Interval
    unit: str
    columns: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class _Asked:
    """What a threshold's metric is made of. bad: a rate's expression; value: a mean's, in 1/scale."""

    unit: str
    columns: tuple[str, ...]
    bad: str | None = None
    value: str | None = None
    scale: int = 1
    quantile: float | None = None


def threshold_columns(threshold: Threshold, policy: Policy) -> tuple[str, ...]:
    """The interactions columns that a threshold rests on."""
    return (*measured(threshold.metric, policy), *threshold.when)


def measured(metric: str, policy: Policy) -> tuple[str, ...]:
    """The column that a metric is made of."""
    latency = policy.latency_slo
    if metric == "failure_rate":
        return ("is_failure",)
    if metric == "latency_breach_rate":
        return ("latency_ms",) if latency is None else (latency.rule.column,)
    if metric == "cost_usd_per_interaction":
        return ("cost_usd",)
    if metric in QUANTILES:
        return ("latency_ms",)
    slo = next((s for s in policy.slos if s.name == metric), None)
    return (slo.rule.column,) if slo is not None else (metric,)


def check(threshold: Threshold, found: ThresholdFigure, support: int, floor: str | None) -> Check:
    """A threshold's check: the interval lies within the limit, beyond it, or holds it.

    floor: why the slice has too little evidence, or None.
    """
    limit, at_most = threshold.limit, threshold.max is not None
    figure, reason = found.figure, found.reason or floor
    outcome: Outcome = "inconclusive"
    where = _where(threshold)
    if figure.value is None or figure.low is None or figure.high is None:
        reason = reason or "its interval cannot be computed"
        sentence = f"{threshold.metric}{where} is not judged: {reason}."
    else:
        value, lower, upper, asked = (
            _written(v, found.unit) for v in (figure.value, figure.low, figure.high, limit)
        )
        story = (
            f"{threshold.metric}{where} is {value} (95 % interval {lower} to {upper}), at "
            f"{'most' if at_most else 'least'} {asked} is asked for"
        )
        low, high = rounded(figure.low), rounded(figure.high)
        kept = high <= limit if at_most else low >= limit
        broken = low > limit if at_most else high < limit
        if reason is None and not kept and not broken:
            reason = "the interval holds the limit"
        if reason is None:
            outcome = "pass" if kept else "fail"
        sentence = f"{story}: not decided, because {reason}." if reason else f"{story}."
    return Check(
        id=f"threshold.{threshold.name}", view="gate", outcome=outcome, severity=threshold.severity,
        value=figure.value, low=figure.low, high=figure.high, limit=limit,
        comparison="at_most" if at_most else "at_least", unit=found.unit, support=support,
        p_value=None, p_adjusted=None, reason=reason, sentence=sentence,
        action={
            "pass": "Nothing to do.",
            "fail": f"Bring {threshold.metric}{where} back to {limit:g}, or change the threshold before "
            "the next release.",
            "inconclusive": "Provide what is missing, or wait for more traffic, then review again.",
        }[outcome],
    )  # fmt: skip


def checks(
    telemetry: Telemetry, policy: Policy
) -> tuple[tuple[ThresholdFigure, ...], tuple[Check, ...]]:
    """Every threshold's figure, and its check."""
    figures, judged = [], []
    for threshold in policy.gate.thresholds:
        found, floor = _told(telemetry, policy, threshold)
        figures.append(found)
        judged.append(check(threshold, found, found.figure.support, floor))
    return tuple(figures), tuple(judged)


def _told(
    telemetry: Telemetry, policy: Policy, threshold: Threshold
) -> tuple[ThresholdFigure, str | None]:
    """The figure, and why it has too little evidence to be judged, or None."""
    columns = tuple(dict.fromkeys(threshold_columns(threshold, policy)))

    def told(figure: Interval, unit: str, reason: str | None) -> ThresholdFigure:
        return ThresholdFigure(
            threshold.name, threshold.metric, dict(threshold.when), threshold.min, threshold.max,
            figure, unit, columns, reason,
        )  # fmt: skip

    reason = telemetry.unusable(*columns)
    asked = None if reason else _asked(telemetry, policy, threshold.metric)
    if asked is None:
        reason = reason or f"{threshold.metric} is neither a number nor a flag"
        return told(Interval.unknown(), "", reason), None
    inside = " AND ".join(
        bad_when(Bad(column=c, equals=value), telemetry.types[c])
        for c, value in threshold.when.items()
    )
    figure, floor = (
        _quantile(telemetry, asked.quantile, inside)
        if asked.quantile is not None
        else _mean_or_rate(telemetry, asked, inside, threshold)
    )
    if not figure.support:
        floor = "no interaction of the candidate window has a value" + (" in it" if inside else "")
    return told(figure, asked.unit, None), floor


def _asked(telemetry: Telemetry, policy: Policy, metric: str) -> _Asked | None:
    columns = measured(metric, policy)
    slo = next((s for s in policy.slos if s.name == metric), None)
    if metric == "failure_rate":
        return _Asked("share", columns, bad="failure")
    if metric == "latency_breach_rate":
        return None if policy.latency_slo is None else _Asked("share", columns, bad="breach")
    if metric == "cost_usd_per_interaction":
        return _Asked("USD per interaction", columns, value="cost_nano", scale=10**9)
    if metric in QUANTILES:
        return _Asked("ms", columns, quantile=QUANTILES[metric])
    if slo is not None:
        return _Asked("share", columns, bad=telemetry.bad(slo.rule))
    held, declared = telemetry.types[metric], telemetry.contract.column(metric)
    if held == "BOOLEAN":
        return _Asked("share", columns, bad=identifier(metric))
    if declared is not None and held == "VARCHAR":
        return None
    number = number_of(metric, held)
    # What no 64 bits hold is no value: an infinity, or a number that was never meant as one.
    value = (
        f"CASE WHEN abs({number}) < 9e12 "
        f"THEN CAST(floor({number} * {float(_SCALE)!r} + 0.5) AS BIGINT) END"
    )
    return _Asked("mean", columns, value=value, scale=_SCALE)


def _mean_or_rate(
    telemetry: Telemetry, asked: _Asked, inside: str, threshold: Threshold
) -> tuple[Interval, str | None]:
    def metric(of: str) -> Metric:
        name = f"threshold {threshold.name}{of}"
        held = f"CASE WHEN {inside} THEN {{}} END" if of and inside else "{}"
        if asked.bad is not None:
            return Metric.rate(name, held.format(asked.bad))
        return Metric.mean(name, held.format(asked.value), asked.scale)

    whole_metric, slice_metric = metric(""), metric(" in its slice")
    found = telemetry.moments([whole_metric, slice_metric] if inside else [whole_metric])
    whole = found[whole_metric.name]
    m = found[slice_metric.name] if inside else whole
    floor = too_little(m) or _too_rare(asked, m, threshold)
    if asked.bad is None:
        return mean(telemetry, m, 1), floor
    return rate(
        m.candidate, m.support_candidate, whole.baseline, whole.candidate if inside else None
    ), floor


def _too_rare(asked: _Asked, m: Moments, threshold: Threshold) -> str | None:
    """A rate needs ten clusters with a bad row, expected at the limit or seen (STATISTICS section 1)."""
    if asked.bad is None or threshold.max is None or not m.candidate.n:
        return None
    seen = m.candidate.bad_clusters
    expected = expected_bad_clusters(m, m.candidate, threshold.limit)
    if max(seen, expected) >= MIN_BAD_CLUSTERS:
        return None
    return (
        f"at the limit it would hold {expected:.1f} clusters with a bad interaction; at least "
        f"{MIN_BAD_CLUSTERS} are needed"
    )


def _quantile(telemetry: Telemetry, q: float, inside: str) -> tuple[Interval, str | None]:
    relation = f"(SELECT * FROM fact WHERE {inside}) held" if inside else "fact"
    counts = histograms(telemetry.engine, relation) if inside else telemetry.latency_histograms()
    at = quantile_bin(counts[1], q)
    if at is None:
        return Interval.unknown(), None
    beyond = f"(latency_us >= {beyond_us(at)})"
    name = f"latency beyond its quantile {q:g}"
    mark = Metric.rate(name, f"CASE WHEN {inside} THEN {beyond} END" if inside else beyond)
    m = telemetry.moments([mark])[name]
    figure = quantile_interval(telemetry, counts[1], q, m, m.candidate, 1, m.support_candidate)
    if figure.value is None:
        return figure, "fewer than ten clusters lie beyond it"
    return figure, too_little(m)


def _written(value: float, unit: str) -> str:
    return f"{100 * value:.2f} %" if unit == "share" else f"{value:.4g}"


def _where(threshold: Threshold) -> str:
    if not threshold.when:
        return ""
    return " in " + ", ".join(f"{name} “{value}”" for name, value in threshold.when.items())
