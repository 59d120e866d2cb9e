"""The candidate's headline figures beside those of the last recorded releases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from analysis.check import Interval, Outcome, RegressionTest, rounded
from analysis.policy import Bad, Policy
from analysis.policy_gate import FIGURES, RATES, Baselines
from analysis.stats.needed import QUANTILE_975
from analysis.stats.recent import Recent, against_recent
from analysis.telemetry import Telemetry
from analysis.telemetry.recorded import RecordedFigures
from analysis.telemetry.windows import iso
from analysis.views.health import Figures
from analysis.views.looks import pass_confidence

MIN_RELEASES = 3


@dataclass(frozen=True)
class UnusedRelease:
    """A recorded release that is no baseline, and why."""

    release: str
    reason: str


@dataclass(frozen=True)
class BaselineFigure:
    """A figure beside the mean of the last recorded releases: a difference of rates, else a ratio.

    releases: whose mean it is, the newest first. mean: geometric of ratios. change: with its 95 %
    interval. reason: why it is not judged.
    """

    figure: str
    releases: tuple[str, ...]
    mean: float | None
    change: Interval
    allowed: float
    reason: str | None
    left_out: tuple[UnusedRelease, ...]


def compare(
    telemetry: Telemetry, policy: Policy, candidate: Figures
) -> tuple[tuple[BaselineFigure, ...], tuple[RegressionTest, ...]]:
    """Each figure of `gate.baselines.allowed` with its check.

    baseline.FIGURE: whether a figure exceeds the mean of the last recorded releases by more than
    gate.baselines allows, with the spread between these releases as the yardstick. Source: Student's t.
    """
    rules = policy.gate.baselines
    if rules is None:
        return (), ()
    level = pass_confidence(policy, telemetry.windows)
    found = [
        _compared(telemetry, policy, rules, name, getattr(candidate, name), level)
        for name in FIGURES
        if name in rules.allowed
    ]
    return tuple(f for f, _ in found), tuple(t for _, t in found)


def chosen(
    earlier: tuple[RecordedFigures, ...], start: datetime, rules: Baselines, figure: str,
    latency: Bad | None,
) -> tuple[list[RecordedFigures], list[UnusedRelease]]:  # fmt: skip
    """The last releases before `start` that one figure is compared with, the newest first.

    Their windows share no time, with each other neither: the same traffic counted twice would make
    them look alike. A blocked release is no baseline.
    """
    kept: list[RecordedFigures] = []
    out: list[UnusedRelease] = []
    until = iso(start)
    for release in reversed(earlier):
        if len(kept) == rules.last:
            break
        reason = _unfit(release, figure, latency)
        if release.end_utc > iso(start):
            continue  # it is no earlier release
        if release.end_utc > until:
            reason = "its window shares time with that of a newer one"
        if reason is None:
            kept.append(release)
            until = release.start_utc
        else:
            out.append(UnusedRelease(release.release_id, reason))
    return kept, out


def _unfit(release: RecordedFigures, figure: str, latency: Bad | None) -> str | None:
    known = release.figures[figure]
    if release.outcome == "block":
        return "it was blocked"
    if known.value is None or known.low is None or known.high is None:
        return "the figure is not known there"
    if figure not in RATES and known.low <= 0:
        return "the figure has no interval above 0 there"
    if figure == "latency_breach_rate":
        rule = None if latency is None else latency.model_dump(mode="json", exclude_none=True)
        if rule != {k: v for k, v in (release.latency_rule or {}).items() if v is not None}:
            return "another limit of latency counted there"
    return None


def _compared(
    telemetry: Telemetry, policy: Policy, rules: Baselines, name: str, own: Interval, level: float
) -> tuple[BaselineFigure, RegressionTest]:
    latency = None if policy.latency_slo is None else policy.latency_slo.rule
    kept, left_out = chosen(
        telemetry.earlier, telemetry.windows.candidate.start, rules, name, latency
    )
    allowed = rules.allowed[name]  # type: ignore[index]
    reason = None
    if own.value is None or own.low is None or own.high is None:
        reason = "the candidate's figure is not known"
    elif name not in RATES and own.low <= 0:
        reason = "the candidate's figure has no interval above 0"
    elif len(kept) < MIN_RELEASES:
        reason = (
            f"{len(kept)} recorded releases before the window can be compared with; "
            f"{MIN_RELEASES} are needed"
        )
    recent = (
        None if reason else _recent(own, [r.figures[name] for r in kept], logs=name not in RATES)
    )
    mean, change = _shown(name, own, recent)
    shown = BaselineFigure(
        name, tuple(r.release_id for r in kept), mean, change, allowed, reason, tuple(left_out)
    )
    p = None if recent is None else max(recent.p_greater, _p_of_logs(own, kept, name))
    return shown, _test(name, allowed, shown, recent, p, level)


def _p_of_logs(own: Interval, kept: list[RecordedFigures], name: str) -> float:
    """The p-value on the other scale, 0 where there is none: what differs between releases mostly
    multiplies, and differences of such rates have a long upper tail that Student's t lacks."""
    figures = [own, *(r.figures[name] for r in kept)]
    if any(not f.value or not f.low or not f.high or f.low <= 0 for f in figures):
        return 0.0
    return _recent(figures[0], figures[1:], logs=True).p_greater


def _recent(own: Interval, earlier: list[Interval], *, logs: bool) -> Recent:
    value, variance = _placed(own, logs)
    others = [_placed(one, logs) for one in earlier]
    return against_recent(value, variance, [v for v, _ in others], [v for _, v in others])


def _placed(figure: Interval, logs: bool) -> tuple[float, float]:
    """A figure and its variance, as it is or as its logarithm."""
    assert figure.value is not None and figure.low is not None and figure.high is not None
    if not logs:
        return figure.value, ((figure.high - figure.low) / (2 * QUANTILE_975)) ** 2
    return math.log(figure.value), (math.log(figure.high / figure.low) / (2 * QUANTILE_975)) ** 2


def _shown(name: str, own: Interval, recent: Recent | None) -> tuple[float | None, Interval]:
    if recent is None or own.value is None:
        return None, Interval.unknown(own.support)
    if name in RATES:
        return own.value - recent.delta, Interval.of(
            recent.delta, recent.low, recent.high, own.support
        )
    return own.value / math.exp(recent.delta), Interval.of(
        math.exp(recent.delta), _exp(recent.low), _exp(recent.high), own.support
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _test(
    name: str,
    allowed: float,
    shown: BaselineFigure,
    recent: Recent | None,
    p_value: float | None,
    level: float,
) -> RegressionTest:
    rate = name in RATES
    change = shown.change
    subject = f"{name} against the mean of the last {len(shown.releases)} recorded releases"
    limit = f"{100 * allowed:+.2f} points" if rate else f"{100 * (allowed - 1):+.1f} %"
    passes = material = False
    bound = passes_at = None
    reason = shown.reason or f"the interval reaches beyond the allowed {limit}"
    if recent is None or change.value is None:
        story = f"{name} is not compared with recorded releases"
    else:
        bound = recent.upper(level) if rate else _exp(recent.upper(level))
        passes, material = rounded(bound) < allowed, rounded(change.value) > allowed
        half = recent.upper(level) - recent.delta
        passes_at = allowed - half if rate else allowed * math.exp(-half)
        moved = (
            f"{100 * change.value:+.2f} points" if rate else f"{100 * (change.value - 1):+.1f} %"
        )
        story = f"{subject}: {moved}{_limits(change, rate)}, {limit} allowed"
    sentences: dict[Outcome, str] = {
        "pass": f"{story}: within it.",
        "fail": f"{story}: a regression.",
        "inconclusive": f"{story}: not decided, because {reason}.",
    }
    return RegressionTest(
        id=f"baseline.{name}", view="gate", severity="hold",
        value=change.value, low=change.low, high=change.high, limit=allowed,
        unit="rate" if rate else "ratio", support=change.support,
        p_value=p_value,
        material=material, passes=passes, reason=reason, subject=subject, sentences=sentences,
        actions={
            "pass": "Nothing to do.",
            "fail": "Read on the history page when it rose; fix it, or accept the new level by recording it.",
            "inconclusive": "Record more releases, or wait for more traffic.",
        },
        material_at=allowed, passes_at=passes_at, bound=bound,
    )  # fmt: skip


def _limits(change: Interval, rate: bool) -> str:
    if change.low is None or change.high is None:
        return ""
    if rate:
        return f" (95 % interval {100 * change.low:+.2f} to {100 * change.high:+.2f})"
    return f" (95 % interval {100 * (change.low - 1):+.1f} to {100 * (change.high - 1):+.1f} %)"
