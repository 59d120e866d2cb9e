"""`truth.json`: what is planted in a world, where, how large, and what a right review says of it.

Every figure is computed from the world: exact expectations over the contexts that were drawn, given
the day effects, over models, outcomes and random effects.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from analysis.sample import hostile
from analysis.sample.behaviour import Potential
from analysis.sample.expectation import (
    Bools,
    Expected,
    Rates,
    auc_of_risk,
    expect,
    model_totals,
    population_stability_index,
    rates,
    spend_drivers,
)
from analysis.sample.outcomes import Attempts
from analysis.sample.scenarios import RoutingCandidate, Scenario
from analysis.sample.traffic import Days, Floats, Requests, Sessions, Users

DIGITS = 10


@dataclass(frozen=True)
class Seen:
    """The world as the truth needs it: requests that were made, and their windows."""

    scenario: Scenario
    days: Days
    users: Users
    sessions: Sessions
    requests: Requests
    propensity: Floats
    potential: Potential
    attempts: Attempts
    expected: Expected
    made: Bools
    candidate: Bools

    def window(self, candidate: bool) -> Bools:
        """Requests of one window."""
        chosen: Bools = self.made & (self.candidate == candidate)
        return chosen

    def length(self, candidate: bool) -> int:
        """Days of one window."""
        return self.scenario.candidate_days if candidate else self.scenario.baseline_days

    def rates(self, candidate: bool, where: Bools | None = None) -> Rates:
        """True rates of one window, or of the part `where` of it."""
        chosen = self.window(candidate) if where is None else self.window(candidate) & where
        return rates(self.expected, self.propensity, chosen, self.length(candidate))


def describe(
    s: Scenario,
    seed: int,
    days: Days,
    users: Users,
    sessions: Sessions,
    requests: Requests,
    propensity: Floats,
    potential: Potential,
    attempts: Attempts,
) -> dict[str, Any]:
    """The truth about a world as JSON values."""
    made = np.zeros(len(requests.session), dtype=bool)
    made[attempts.request] = True
    seen = Seen(
        s,
        days,
        users,
        sessions,
        requests,
        propensity,
        potential,
        attempts,
        expect(potential),
        made,
        days.in_candidate[sessions.day[requests.session]],
    )
    whole = {"baseline": seen.rates(False), "candidate": seen.rates(True)}
    content = {
        "schema": "sample-truth/1",
        "scenario": s.name,
        "title": s.title,
        "seed": seed,
        "basis": "exact expectations over the contexts drawn, given the day effects; rates are "
        "per interaction, routing per logical request; all attempts of a request use one model",
        "expected": {"decision": s.expected},
        "windows": _windows(seen),
        "rates": {name: asdict(value) for name, value in whole.items()},
        "change": _change(whole["baseline"], whole["candidate"]),
        "slos": _slos(s, whole),
        "spend": {
            "budget_usd_per_day": s.budget_usd_per_day,
            "drivers_usd_per_day": _drivers(seen),
        },
        "hotspots": _hotspots(seen),
        "routing": _routing(seen),
        "drift": _drift(seen),
        "risk": _risk(seen),
        "hostile": [asdict(h) for h in hostile.HOSTILE],
    }
    content["planted"] = _planted(s, content)
    rounded: dict[str, Any] = _rounded(content)
    return rounded


def _windows(seen: Seen) -> dict[str, Any]:
    s = seen.scenario
    middle = s.end_utc - timedelta(days=s.candidate_days)
    spans = {
        "baseline": (middle - timedelta(days=s.baseline_days), middle, s.baseline_release),
        "candidate": (middle, s.end_utc, s.candidate_release),
    }
    session = seen.requests.session[seen.attempts.request]
    candidate = seen.candidate[seen.attempts.request]
    result = {}
    for name, (start, end, release) in spans.items():
        here = session[candidate == (name == "candidate")]
        result[name] = {
            "start_utc": start.isoformat().replace("+00:00", "Z"),
            "end_utc": end.isoformat().replace("+00:00", "Z"),
            "release_id": release,
            "n_interactions": len(here),
            "n_sessions": len(np.unique(here)),
            "n_users": len(np.unique(seen.sessions.user[here])),
        }
    return result


def _change(before: Rates, after: Rates) -> dict[str, float | None]:
    """Differences of rates, ratio of cost; null where a window is empty."""

    def minus(new: float | None, old: float | None) -> float | None:
        return None if new is None or old is None else new - old

    cost_before, cost_after = before.cost_usd_per_interaction, after.cost_usd_per_interaction
    return {
        "failure_rate": minus(after.failure_rate, before.failure_rate),
        "latency_breach_rate": minus(after.latency_breach_rate, before.latency_breach_rate),
        "cost_usd_per_interaction": (
            cost_after / cost_before if cost_after and cost_before else None
        ),
    }


def _slos(s: Scenario, whole: dict[str, Rates]) -> list[dict[str, Any]]:
    result = []
    for name, target in (("availability", s.slo_failure_target), ("latency", s.slo_latency_target)):
        column = "failure_rate" if name == "availability" else "latency_breach_rate"
        burn = {
            window: None if (rate := getattr(value, column)) is None else rate / (1 - target)
            for window, value in whole.items()
        }
        now = burn["candidate"]
        result.append(
            {
                "name": name,
                "target": target,
                "burn_rate": burn,
                "burns": now is not None and now > 1,
            }
        )
    return result


def _drivers(seen: Seen) -> dict[str, Any] | None:
    prompt = seen.requests.prompt_tokens.astype(np.float64)
    before, after = (
        model_totals(seen.expected, seen.propensity, prompt, seen.window(w), seen.length(w))
        for w in (False, True)
    )
    effects = spend_drivers(before, after)
    if effects is None:
        return None
    return {
        "change": float(after.usd.sum() - before.usd.sum()),
        "effects": effects,
        "by_model": {
            m.name: {"baseline": float(b), "candidate": float(a)}
            for m, b, a in zip(seen.scenario.models, before.usd, after.usd, strict=True)
        },
    }


def _hotspots(seen: Seen) -> list[dict[str, Any]]:
    spot = seen.scenario.change.hotspot
    if spot is None:
        return []
    use_case = [u.name for u in seen.scenario.use_cases].index(spot.use_case)
    code = seen.scenario.scenarios.values.index(spot.scenario)
    here = (seen.sessions.use_case[seen.requests.session] == use_case) & (
        seen.requests.scenario == code
    )
    inside, rest = seen.rates(True, here), seen.rates(True, ~here)
    before, rest_before = seen.rates(False, here), seen.rates(False, ~here)
    reference = None
    if before.failure_rate and rest_before.failure_rate and rest.failure_rate is not None:
        reference = before.failure_rate * rest.failure_rate / rest_before.failure_rate
    rate = inside.failure_rate
    return [
        {
            "slice": {"use_case": spot.use_case, "scenario": spot.scenario},
            "metric": "failure",
            "kind": "regression",
            "value": rate,
            "baseline_value": before.failure_rate,
            "rest": rest.failure_rate,
            "reference": reference,
            "effect": rate - reference if rate is not None and reference is not None else None,
            "ratio": rate / reference if rate is not None and reference else None,
            "interactions": inside.interactions,
            "traffic_share": inside.interactions
            / max(inside.interactions + rest.interactions, 1e-12),
        }
    ]


def _routing(seen: Seen) -> dict[str, Any]:
    """True policy values over the logical requests of the candidate window."""
    where = seen.window(True)
    if not where.any():
        return {"on_policy": None, "candidates": []}
    e = seen.expected
    measures = {
        "unit_cost_usd": e.unit_cost_usd(seen.scenario)[where],
        "failure_rate": e.final_failure[where],
        "cost_usd": e.cost_usd[where],
    }
    logged = seen.propensity[where]
    on_policy = {k: (logged * v).sum(axis=1) for k, v in measures.items()}
    return {
        "n_requests": int(where.sum()),
        "failure_cost_usd": seen.scenario.failure_cost_usd,
        "latency_breach_cost_usd": seen.scenario.latency_breach_cost_usd,
        "on_policy": {k: float(v.mean()) for k, v in on_policy.items()},
        "candidates": [
            _candidate(seen, candidate, where, measures, on_policy)
            for candidate in seen.scenario.routing_candidates
        ],
    }


def _candidate(
    seen: Seen,
    candidate: RoutingCandidate,
    where: Bools,
    measures: dict[str, Floats],
    on_policy: dict[str, Floats],
) -> dict[str, Any]:
    s = seen.scenario
    names = [m.name for m in s.models]
    use_cases = [u.name for u in s.use_cases]
    use_case = seen.sessions.use_case[seen.requests.session][where]
    target = np.full(len(use_case), -1)
    for rule in reversed(candidate.rules):
        target[use_case == use_cases.index(rule.use_case)] = names.index(rule.model_name)
    ruled = target >= 0
    rows = np.flatnonzero(ruled)
    value = {k: v.copy() for k, v in on_policy.items()}
    for k, v in measures.items():
        value[k][rows] = v[rows, target[rows]]
    saving = float((on_policy["unit_cost_usd"] - value["unit_cost_usd"]).mean())
    explored = seen.propensity[where][rows, target[rows]]
    return {
        "role": candidate.role,
        "policy": {
            "name": candidate.name,
            "rules": [
                {
                    "when": {"use_case": r.use_case},
                    "use": {"model_provider": r.model_provider, "model_name": r.model_name},
                }
                for r in candidate.rules
            ],
        },
        **{k: float(v.mean()) for k, v in value.items()},
        "saving_usd": saving,
        "saving_usd_per_day": saving * int(where.sum()) / s.candidate_days,
        "naive_saving_usd": _naive_saving(explored, measures, on_policy, rows, target, len(ruled)),
        "affected_share": float(ruled.mean()),
        "propensity_of_target": {
            "min": float(explored.min()) if len(rows) else None,
            "mean": float(explored.mean()) if len(rows) else None,
        },
        "expected": "adopt" if candidate.role == "good" else "not adopt",
    }


def _naive_saving(
    explored: Floats,
    measures: dict[str, Floats],
    on_policy: dict[str, Floats],
    rows: np.ndarray,
    target: np.ndarray,
    total: int,
) -> float | None:
    """What comparing the logged means of the ruled traffic would say, without adjustment."""
    if len(rows) == 0:
        return None
    unit = measures["unit_cost_usd"][rows, target[rows]]
    observed = float((explored * unit).sum() / explored.sum())
    return (float(on_policy["unit_cost_usd"][rows].mean()) - observed) * len(rows) / total


def _drift(seen: Seen) -> list[dict[str, Any]]:
    shifted = seen.scenario.change.channels
    if shifted is None:
        return []
    before, after = np.asarray(seen.scenario.channels.shares), np.asarray(shifted.shares)
    return [
        {
            "feature": "channel",
            "psi": population_stability_index(before, after),
            "baseline": dict(zip(seen.scenario.channels.values, before.tolist(), strict=True)),
            "candidate": dict(zip(shifted.values, after.tolist(), strict=True)),
            "severity": "high",
        }
    ]


def _risk(seen: Seen) -> dict[str, Any]:
    """How well failure can be told in advance, at best, by all that is known at the request."""
    candidate = seen.candidate[seen.attempts.request]
    return {
        "known_at_request": {
            "baseline_roc_auc": auc_of_risk(seen.attempts.risk[~candidate]),
            "candidate_roc_auc": auc_of_risk(seen.attempts.risk[candidate]),
        },
        "drivers": [
            "use_case",
            "scenario",
            "prompt_tokens",
            "model_name",
            "retry_index",
            "tool_calls_count",
        ],
    }


def _planted(s: Scenario, content: dict[str, Any]) -> list[dict[str, Any]]:
    """One line a planted thing: where it is, its true value, what a right review does with it."""
    planted = [
        {
            "kind": "hotspot",
            "where": h["slice"],
            "size": h["ratio"],
            "true": h["value"],
            "expected": "found as a failure regression; hotspots.regression fails",
        }
        for h in content["hotspots"]
    ]
    if s.change.hotspot is not None:
        planted.append(
            {
                "kind": "failure_rate",
                "where": "all traffic",
                "size": content["change"]["failure_rate"],
                "true": content["rates"]["candidate"]["failure_rate"],
                "expected": "health.failure_rate fails; the release is blocked",
            }
        )
    planted += [
        {
            "kind": "slo_burn",
            "where": slo["name"],
            "size": slo["burn_rate"]["candidate"],
            "true": slo["burn_rate"]["candidate"],
            "expected": f"budget.{slo['name']} fails",
        }
        for slo in content["slos"]
        if slo["burns"]
    ]
    if s.change.longer_outputs is not None:
        drivers = content["spend"]["drivers_usd_per_day"]
        planted.append(
            {
                "kind": "cost_rise",
                "where": {"model_name": s.change.longer_outputs.model_name},
                "size": s.change.longer_outputs.factor,
                "true": content["change"]["cost_usd_per_interaction"],
                "expected": "health.cost_usd fails; the driver is tokens"
                + ("" if drivers is None else f", {drivers['effects']['tokens']:.2f} USD a day"),
            }
        )
    planted += [
        {
            "kind": f"routing_{c['role']}",
            "where": c["policy"]["name"],
            "size": c["saving_usd"],
            "true": c["saving_usd"],
            "expected": c["expected"],
        }
        for c in content["routing"]["candidates"]
    ]
    planted += [
        {
            "kind": "drift",
            "where": d["feature"],
            "size": d["psi"],
            "true": d["psi"],
            "expected": "severity high; drift.high fails",
        }
        for d in content["drift"]
    ]
    planted.append(
        {
            "kind": "risk_signal",
            "where": "is_failure",
            "size": None,
            "true": content["risk"]["known_at_request"]["candidate_roc_auc"],
            "expected": "a fitted model ranks better than chance, and no better than this",
        }
    )
    return planted


def _rounded(value: Any) -> Any:
    """JSON values with floats at ten significant digits: stable bytes, no false precision."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value
