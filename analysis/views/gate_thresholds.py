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
    """What a threshold measures. inside: what its slice is, empty for all traffic; bad: a rate's
    expression; value: a mean's, in 1/scale."""

    unit: str
    inside: str
    bad: str | None = None
    value: str | None = None
    scale: int = 1
    quantile: float | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Of a rate or a mean: that of all traffic, and of the slice where there is one."""
        own = self.bad if self.bad is not None else self.value
        if own is None:
            return ()
        of = [own, *([f"CASE WHEN {self.inside} THEN {own} END"] if self.inside else [])]
        if self.bad is not None:
            return tuple(Metric.rate(one, one) for one in of)
        return tuple(Metric.mean(one, one, self.scale) for one in of)


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
    """Every threshold's figure, and its check.

    threshold.NAME: whether a figure of the candidate window keeps the level of gate.thresholds: of all
    traffic, or of a slice. It passes where the whole 95 % interval keeps the limit, and fails where none of
    it does.
    """
    asked = [_asked(telemetry, policy, t) for t in policy.gate.thresholds]
    # All that is a rate or a mean in one reduction; what is measured once is remembered.
    every = [m for one in asked if isinstance(one, _Asked) for m in one.metrics]
    telemetry.moments(list(dict.fromkeys(every)))
    figures, judged = [], []
    for threshold, one in zip(policy.gate.thresholds, asked, strict=True):
        found, floor = _told(telemetry, policy, threshold, one)
        figures.append(found)
        judged.append(check(threshold, found, found.figure.support, floor))
    return tuple(figures), tuple(judged)


def _told(
    telemetry: Telemetry, policy: Policy, threshold: Threshold, asked: _Asked | str
) -> tuple[ThresholdFigure, str | None]:
    """The figure, and why it has too little evidence to be judged, or None. asked: or why nothing can be."""
    floor = None
    if isinstance(asked, str):
        figure, unit, reason = Interval.unknown(), "", asked
    else:
        unit, reason = asked.unit, None
        figure, floor = (
            _quantile(telemetry, asked.quantile, asked.inside)
            if asked.quantile is not None
            else _mean_or_rate(telemetry, asked, threshold)
        )
        if not figure.support:
            floor = "no interaction of the candidate window has a value"
            floor += " in it" if asked.inside else ""
    return ThresholdFigure(
        threshold.name, threshold.metric, dict(threshold.when), threshold.min, threshold.max,
        figure, unit, tuple(dict.fromkeys(threshold_columns(threshold, policy))), reason,
    ), floor  # fmt: skip


def _asked(telemetry: Telemetry, policy: Policy, threshold: Threshold) -> _Asked | str:
    """What a threshold measures, or why nothing can be."""
    reason = telemetry.unusable(*threshold_columns(threshold, policy))
    if reason is not None:
        return reason
    inside = " AND ".join(
        bad_when(Bad(column=c, equals=value), telemetry.types[c])
        for c, value in threshold.when.items()
    )
    metric = threshold.metric
    slo = next((s for s in policy.slos if s.name == metric), None)
    if metric == "failure_rate":
        return _Asked("share", inside, bad="failure")
    if metric == "latency_breach_rate" and policy.latency_slo is not None:
        return _Asked("share", inside, bad="breach")
    if metric == "cost_usd_per_interaction":
        return _Asked("USD per interaction", inside, value="cost_nano", scale=10**9)
    if metric in QUANTILES:
        return _Asked("ms", inside, quantile=QUANTILES[metric])
    if slo is not None:
        return _Asked("share", inside, bad=telemetry.bad(slo.rule))
    held, declared = telemetry.types.get(metric), telemetry.contract.column(metric)
    if held == "BOOLEAN":
        return _Asked("share", inside, bad=identifier(metric))
    if held is None or (declared is not None and held == "VARCHAR"):
        return f"{metric} is neither a number nor a flag"
    number = number_of(metric, held)
    # What no 64 bits hold is no value: an infinity, or a number that was never meant as one.
    value = (
        f"CASE WHEN abs({number}) < 9e12 "
        f"THEN CAST(floor({number} * {float(_SCALE)!r} + 0.5) AS BIGINT) END"
    )
    return _Asked("mean", inside, value=value, scale=_SCALE)


def _mean_or_rate(
    telemetry: Telemetry, asked: _Asked, threshold: Threshold
) -> tuple[Interval, str | None]:
    found = telemetry.moments(asked.metrics)
    whole, m = found[asked.metrics[0].name], found[asked.metrics[-1].name]
    floor = too_little(m) or _too_rare(asked, m, threshold)
    if asked.bad is None:
        return mean(telemetry, m, 1), floor
    return rate(
        m.candidate, m.support_candidate, whole.baseline, whole.candidate if asked.inside else None
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
