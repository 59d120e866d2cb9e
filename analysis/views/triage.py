"""Triage: which interactions people should review, what that saves, and whether the queue copes.

Fitted, calibrated and decided on data before the candidate window, in this order of time; reported
on all of the candidate window (STATISTICS section 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.policy import Bad, Policy
from analysis.share_safe import shown
from analysis.stats.weekday_factors import WeekdayFactors, weekday_factors
from analysis.telemetry import Telemetry
from analysis.telemetry.arrivals import arrivals
from analysis.telemetry.history import Parts, forget, split
from analysis.telemetry.past import label_of, past_of
from analysis.views import triage_portable, triage_tables
from analysis.views.result import ViewResult
from analysis.views.triage_advice import levers
from analysis.views.triage_checks import mode_check, queue_check, undecided
from analysis.views.triage_choice import Choice, Learned, choose, learn
from analysis.views.triage_columns import Guarded, feature_columns, guard
from analysis.views.triage_control import RiskControl, risk_control
from analysis.views.triage_curve import next_best
from analysis.views.triage_data import PART_SHARES, Read, Reader
from analysis.views.triage_policy import (
    Costs,
    Forecast,
    PolicyResult,
    Queue,
    forecast,
    outcome,
    policy_of,
    reviewed_by,
)
from analysis.views.triage_quality import Labelled, Quality, net_benefit_table, quality
from analysis.views.triage_section import (
    ModelCard,
    TriageSection,
    Workload,
)
from analysis.views.triage_slices import slice_quality
from analysis.views.triage_stability import stability
from analysis.views.triage_workload import WAIT_COLUMNS, by_weekday, waiting

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

POLICIES = ("selected", "review_all", "review_none", "random_at_capacity", "top_by_capacity")


@dataclass(frozen=True)
class Inputs:
    """What the view works with: the telemetry, its policy, and how rows are read."""

    telemetry: Telemetry
    policy: Policy
    costs: Costs
    reader: Reader
    parts: Parts
    guarded: Guarded
    notes: tuple[str, ...]


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[TriageSection]:
    """The model, its mode, its workload and what it saves, with `triage.queue` and `.mode`."""
    settings = policy.triage
    costs = Costs(
        settings.review_cost_usd,
        settings.missed_cost_usd,
        settings.capacity_per_day,
        settings.queue_p90_guard,
    )
    guarded = guard(telemetry.contract, telemetry.columns, settings.decide_at, settings.label)
    if not telemetry.has(settings.label):
        reason = telemetry.unusable(settings.label) or f"there is no column {settings.label}"
        return _without(policy, costs, guarded, reason)
    rule, notes = _rule(telemetry, policy)
    note = shown(policy).note
    notes = notes if note is None else (*notes, note)
    delay = timedelta(hours=settings.label_delay_hours)
    label = label_of(telemetry, settings.label)
    try:
        with (
            threadpool_limits(limits=1),
            past_of(telemetry, label, delay // timedelta(microseconds=1)) as past,
        ):
            reader = Reader(telemetry, settings.label, label.dated, rule, delay, past)
            parts = split(telemetry.engine, telemetry.windows, PART_SHARES)
            return _assess(Inputs(telemetry, policy, costs, reader, parts, guarded, notes))
    finally:
        forget(telemetry.engine)


def _assess(given: Inputs) -> ViewResult[TriageSection]:
    telemetry, policy, costs, reader = given.telemetry, given.policy, given.costs, given.reader
    learned = learn(reader, given.parts, given.guarded.used)
    model = None if isinstance(learned, str) else learned.model
    read = reader.queue(model, None, given.parts, telemetry.dimensions if model else ())
    if isinstance(learned, str) or model is None:
        return _without(policy, costs, given.guarded, str(learned), read.queue, given.notes)
    choice = choose(learned, costs, _factors(telemetry, telemetry.windows.candidate.start))
    return _told(given, learned, choice, read)


def _factors(telemetry: Telemetry, before: datetime) -> WeekdayFactors:
    """What weekdays do to all arrivals before a moment."""
    seen = arrivals(telemetry.engine, telemetry.windows, before)
    return weekday_factors(seen.days, seen.by_day)


def _told(given: Inputs, learned: Learned, choice: Choice, read: Read) -> ViewResult[TriageSection]:
    """Everything that is said of the window under the mode that was chosen."""
    telemetry, policy, costs, model = given.telemetry, given.policy, given.costs, learned.model
    settings, window = policy.triage, read.queue
    factors = _factors(telemetry, telemetry.windows.candidate.end)
    ahead = _ahead(window, choice, costs, factors)
    reviewed = {
        name: reviewed_by(
            window, costs, policy_of(choice.mode) if name == "selected" else name, choice.threshold
        )
        for name in POLICIES
    }
    rows = Labelled.of(window)
    by_slice = slice_quality(rows, read.slices)
    section = TriageSection(
        label=settings.label,
        decide_at=settings.decide_at,
        threshold=choice.threshold,
        operating_mode=choice.mode,
        quality=quality(rows),
        workload=_workload(window, choice, costs, ahead, factors),
        policies=tuple(outcome(window, costs, name, reviewed[name]) for name in POLICIES),
        rule=_by_rule(window, costs),
        features=model.scorer.names,
        n_fit=learned.n_fit,
        n_calibrate=learned.n_calibrate,
        n_choose=len(learned.choosing.risk),
        rivals=choice.rivals,
        model=ModelCard(
            model.scorer.kind,
            model.calibrated_by,
            learned.tried,
            given.guarded.left_out,
            learned.implausible,
        ),
        slices=by_slice.found,
        stability=stability(learned.choosing, rows, _shared(learned, read)),
        risk_control=_risk_control(policy, learned.choosing, window, costs, reviewed["selected"], factors),
        levers=levers(
            learned.choosing, costs, choice.mode, choice.threshold, choice.tested,
            _at_response(given), settings.decide_at,
        ),
        reason=None,
    )  # fmt: skip
    unusable = telemetry.unusable(settings.label)
    suspects = tuple(i.column for i in learned.implausible)
    curve = triage_tables.threshold_curve(
        {"choose": learned.choosing, "candidate": window}, learned.choosing, choice.threshold, costs
    )
    benefit = net_benefit_table(rows, costs.break_even)
    waits = _waits(window, choice, costs, curve, policy)
    wanted = _wanted(window, choice)
    history = _wanted(learned.choosing, choice)
    return ViewResult(
        section=section,
        checks=(
            queue_check(len(window.risk), ahead, choice.mode, costs, unusable),
            mode_check(window, choice, reviewed["selected"], costs, unusable, suspects),
        ),
        tables={
            "triage_threshold_curve.csv": curve,
            "triage_quality.csv": by_slice.table,
            "triage_net_benefit.csv": benefit,
            "triage_queue.csv": waits,
            "triage_actions.csv": triage_tables.actions(
                given.reader, model, window, read.ids, reviewed["selected"], costs, shown(policy)
            ),
        },
        files={
            triage_portable.FILE_NAME: triage_portable.portable(
                model,
                label=settings.label,
                decide_at=settings.decide_at,
                mode=choice.mode,
                threshold=choice.threshold,
                release=policy.release.id,
            )
        },
        series={
            "triage_curve": curve,
            "triage_reliability": triage_tables.reliability_bins(rows),
            "triage_days": triage_tables.daily_queue(
                {"history": (learned.choosing, history), "candidate": (window, wanted)}, costs
            ),
            "triage_net_benefit": benefit,
            "triage_queue": waits,
            "triage_hours": triage_tables.by_hour(window, wanted),
        },
        notes=(*given.notes, *_suspicions(learned, settings.decide_at)),
    )


def _at_response(given: Inputs) -> tuple[str, ...]:
    """The columns that deciding at response would add."""
    telemetry, label = given.telemetry, given.policy.triage.label
    later = feature_columns(telemetry.contract, telemetry.columns, "response", label)
    return tuple(c.name for c in later if c not in given.guarded.used)


def _suspicions(learned: Learned, decide_at: str) -> tuple[str, ...]:
    return tuple(
        f"{i.column} alone ranks the label with an area under the ROC curve of {i.roc_auc:.3f}: is it "
        f"really known at {decide_at}? A contract of your own can say when it is."
        for i in learned.implausible
    )


def _shared(learned: Learned, read: Read) -> tuple[Ints, Ints]:
    """Cluster codes of the rows that chose and of the window's, which mean the same in both."""
    both = pd.concat([learned.unit, read.unit], ignore_index=True)
    codes = pd.factorize(both, use_na_sentinel=False)[0].astype(np.int64)
    return codes[: len(learned.unit)], codes[len(learned.unit) :]


def _risk_control(
    policy: Policy, choosing: Queue, window: Queue, costs: Costs,
    reviewed: npt.NDArray[np.float64], factors: WeekdayFactors,
) -> RiskControl | None:  # fmt: skip
    wanted = policy.triage.risk_control
    if wanted is None:
        return None
    return risk_control(
        choosing, window, costs, reviewed, factors, wanted.max_missed_share, wanted.confidence
    )


def _waits(
    window: Queue, choice: Choice, costs: Costs, curve: pd.DataFrame, policy: Policy
) -> pd.DataFrame:
    """The queue by day at the threshold chosen and at the next best, were nothing dropped."""
    if choice.mode == "review_none":
        return triage_tables.empty(WAIT_COLUMNS)
    others = next_best(curve, choice.threshold)
    thresholds = {"chosen": choice.threshold}
    thresholds |= {f"next_best_{k}": t for k, t in enumerate(others, 1)}
    hours = policy.triage.review_hours_utc
    return waiting(
        window.ts_us, window.risk, window.days, thresholds, costs, (hours.start, hours.end)
    )


def _ahead(window: Queue, choice: Choice, costs: Costs, factors: WeekdayFactors) -> Forecast:
    daily = window.demand(choice.threshold)
    return forecast(daily, costs.capacity_per_day, window.week(factors))


def _workload(
    window: Queue, choice: Choice, costs: Costs, ahead: Forecast, factors: WeekdayFactors
) -> Workload:
    seen = window.demand(choice.threshold)
    queued = choice.mode != "review_none"
    return Workload(
        _quantile(seen, 0.5),
        _quantile(seen, 0.9),
        costs.capacity_per_day,
        ahead.p50,
        ahead.p90,
        ahead.overflow,
        choice.ahead.p50,
        choice.ahead.p90,
        by_weekday(
            window, costs, choice.threshold, factors, by_risk=choice.mode == "selective"
        ) if queued else (),
    )  # fmt: skip


def _wanted(queue: Queue, choice: Choice) -> Bools:
    """Rows that the mode asks to review, before capacity."""
    return np.asarray(queue.risk >= choice.threshold)


def _by_rule(window: Queue, costs: Costs) -> PolicyResult | None:
    if window.rule is None:
        return None
    return outcome(window, costs, "rule", reviewed_by(window, costs, "rule", None))


def _rule(telemetry: Telemetry, policy: Policy) -> tuple[Bad | None, tuple[str, ...]]:
    """The policy's rule where it may be used: its column is there, and known in time."""
    given, moment = policy.triage.rule, policy.triage.decide_at
    if given is None:
        return None, ()
    rule = given if isinstance(given, Bad) else Bad(column=given)
    if not telemetry.has(rule.column):
        return None, (f"triage.rule names “{rule.column[:60]}”, which the telemetry lacks.",)
    if not telemetry.contract.knowable(rule.column, moment):
        return None, (f"triage.rule names “{rule.column[:60]}”, which is not known at {moment}.",)
    return rule, ()


def _quantile(daily: npt.NDArray[np.float64], level: float) -> float | None:
    return float(np.quantile(daily, level, method="inverted_cdf")) if len(daily) else None


def _without(
    policy: Policy,
    costs: Costs,
    guarded: Guarded,
    reason: str,
    window: Queue | None = None,
    notes: tuple[str, ...] = (),
) -> ViewResult[TriageSection]:
    """The view without a model: what needs none is still told."""
    told = []
    for name in POLICIES:
        if window is None or name in ("selected", "top_by_capacity"):
            told.append(PolicyResult.unknown(name, 0))
        else:
            told.append(outcome(window, costs, name, reviewed_by(window, costs, name, None)))
    settings = policy.triage
    section = TriageSection(
        label=settings.label,
        decide_at=settings.decide_at,
        threshold=None,
        operating_mode=None,
        quality=Quality.unknown(),
        workload=Workload(None, None, costs.capacity_per_day, None, None, None),
        policies=tuple(told),
        rule=None if window is None else _by_rule(window, costs),
        features=(),
        n_fit=0,
        n_calibrate=0,
        n_choose=0,
        rivals=(),
        model=ModelCard(None, None, (), guarded.left_out, ()),
        slices=(),
        stability=None,
        risk_control=None,
        levers=(),
        reason=reason,
    )
    checks = undecided(0 if window is None else len(window.risk), costs, reason)
    return ViewResult(
        section=section,
        checks=checks,
        tables=triage_tables.empty_tables(),
        files={
            triage_portable.FILE_NAME: triage_portable.unknown(
                label=settings.label,
                decide_at=settings.decide_at,
                release=policy.release.id,
                reason=reason,
            )
        },
        notes=(*notes, checks[0].sentence),
    )
