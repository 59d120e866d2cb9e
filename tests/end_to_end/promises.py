"""What every artifact promises, whatever the telemetry: DESIGN section 6, STATISTICS section 2."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from analysis import artifact as artifacts

Body = Mapping[str, Any]

KEYS = {
    "": "checks decision digest evidence_digest inputs policy producer release schema views windows",
    "decision": "outcome headline blocking holding needs watch",
    "decision.needs": "interactions days",
    "windows": "comparison baseline candidate exclude",
    "windows.candidate": "start_utc end_utc n_interactions n_sessions n_users",
    "views": "contract health budget hotspots routing drift triage",
    "views.contract": "n_rules n_errors n_warnings violations below quarantine bounds",
    "views.health": "baseline candidate change more missing",
    "views.budget": "slos spend drivers",
    "views.budget.spend": "usd_per_day budget_usd_per_day burn_rate forecast_usd_per_day unseen_usd "
    "unseen period history_days weekdays",
    "views.budget.spend.period": "start_utc end_utc spent_usd budget_usd forecast_usd exhausts_utc",
    "views.budget.drivers": "change_usd_per_day effects by_slice by_use_case by_token new gone prices",
    "views.hotspots": "n_tested fdr coverage detectable_ratio listed found",
    "views.routing": "propensity on_policy candidates",
    "views.routing.on_policy": "unit_cost_usd failure_rate cost_usd",
    "views.drift": "features joint outcome_change",
    "views.drift.joint": "auc low high p_value",
    "views.drift.outcome_change": "total mix mix_context mix_action within",
    "views.triage": "label decide_at threshold operating_mode quality workload policies",
    "views.triage.quality": "roc_auc average_precision brier brier_skill calibration_error",
    "views.triage.workload": "reviews_per_day_p50 reviews_per_day_p90 capacity_per_day "
    "predicted_p50 predicted_p90 overflow_probability",
}
FIGURES = ["failure_rate", "latency_breach_rate", "cost_usd_per_interaction"]
FIGURES += ["latency_ms_p50", "latency_ms_p95", "latency_ms_p99"]
LISTS = {
    "checks": "id view outcome severity value low high limit comparison unit support p_value "
    "reason sentence action",
    "views.contract.violations": "rule table column severity n_rows share hint examples cause",
    "views.contract.below": "rule table column severity n_rows share hint examples cause",
    "views.budget.slos": "name target error_budget period_days burn_rate budget_consumed "
    "budget_remaining exhausts_utc alerts episodes",
    "views.hotspots.found": "slice metric kind status value reference effect ratio low high "
    "q_value support n_clusters excess excess_usd detail",
    "views.routing.candidates": "name estimator unit_cost_usd failure_rate cost_usd saving_usd "
    "saving_usd_per_day bounds effective_sample_size matched_failures overlap max_weight pareto_k "
    "gamma_flip recommendation reason rules",
    "views.drift.features": "feature role statistic effect psi p_value q_value severity",
    "views.triage.policies": "name reviewed tp fp fn tn precision recall cost_usd",
}
INTERACTIONS = "llm_system_interactions"
RATES = ("failure_rate", "latency_breach_rate")
SHARES = {"roc_auc", "average_precision", "brier"}
WORDS = re.compile(r"\b(nan|NaN|None(?! of )|-?inf|infinity|null|NaT|<NA>)\b|object at 0x")
REGRESSIONS = {
    "health.failure_rate",
    "health.latency_breach_rate",
    "health.cost_usd",
    "hotspots.regression",
    "drift.high",
}
MODES = {"selective", "review_all", "review_none", None}
POLICIES = {"selected", "review_all", "review_none", "random_at_capacity", "top_by_capacity"}


def broken(body: Body) -> list[str]:
    """Every promise that an artifact's JSON values break; nothing where all are kept."""
    return [
        *(f"verify: {problem}" for problem in artifacts.verify(body)),
        *_keys(body),
        *_contract(body),
        *_bounds(body),
        *_intervals(body),
        *_rates(body),
        *_checks(body),
        *_decision(body),
        *_sums(body),
    ]


def at(body: Body, path: str) -> Any:
    """The value at a dotted path."""
    node: Any = body
    for part in path.split(".") if path else ():
        node = node[part]
    return node


def intervals(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, interval) of every {value, low, high, support} but the checks."""
    if isinstance(node, dict):
        if set(node) == {"value", "low", "high", "support"}:
            yield path, node
        for key, item in node.items():
            yield from intervals(item, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from intervals(item, f"{path}[{index}]")


def _keys(body: Body) -> Iterator[str]:
    for path, names in KEYS.items():
        missing = set(names.split()) - set(at(body, path))
        if missing:
            yield f"{path or 'artifact'}: lacks {sorted(missing)}"
    for path, names in LISTS.items():
        for item in at(body, path):
            missing = set(names.split()) - set(item)
            if missing:
                yield f"{path}: an item lacks {sorted(missing)}"
    shape = {"value", "low", "high", "support"}
    places: list[tuple[str, Any]] = [
        (f"views.health.{part}.{name}", at(body, f"views.health.{part}.{name}"))
        for part in ("baseline", "candidate", "change")
        for name in FIGURES
    ]
    places += [
        (f"views.health.more.{name}.{part}", more[part])
        for name, more in at(body, "views.health.more").items()
        for part in ("baseline", "candidate", "change")
    ]
    places += [(f"slos.{s['name']}", s["burn_rate"]) for s in at(body, "views.budget.slos")]
    spend = at(body, "views.budget.spend")
    places += [(f"spend.{name}", spend[name]) for name in ("usd_per_day", "burn_rate")]
    places += list(at(body, "views.routing.on_policy").items())
    places += [
        (f"routing.{c['name']}.{name}", c[name])
        for c in at(body, "views.routing.candidates")
        for name in ("unit_cost_usd", "failure_rate", "cost_usd", "saving_usd")
    ]
    places += list(at(body, "views.triage.quality").items())
    places += [(f"triage.{p['name']}", p["cost_usd"]) for p in at(body, "views.triage.policies")]
    for path, found in places:
        if not isinstance(found, dict) or set(found) != shape:
            yield f"{path}: is no interval"
    if {p["name"] for p in at(body, "views.triage.policies")} != POLICIES:
        yield "views.triage.policies: not the five policies"
    if at(body, "views.triage.operating_mode") not in MODES:
        yield "views.triage.operating_mode: unknown"


def _contract(body: Body) -> Iterator[str]:
    section = at(body, "views.contract")
    found, below = section["violations"], section["below"]
    severities = [v["severity"] for v in found]
    if (section["n_errors"], section["n_warnings"]) != (
        severities.count("error"),
        severities.count("warning"),
    ):
        yield "views.contract: its counts are not those of its violations"
    if severities != sorted(severities, key=["error", "warning"].index) and not any(
        v["cause"] for v in found
    ):
        yield "views.contract.violations: errors do not stand first"
    causes = [v["cause"] for v in found if v["cause"] is not None]
    if causes != sorted(causes) or set(causes) != set(range(1, len(set(causes)) + 1)):
        yield f"views.contract.violations: causes {causes}"
    if any(causes.count(c) < 2 for c in causes):
        yield "views.contract.violations: a cause of one rule alone"
    for v in [*found, *below]:
        where = f"violation {v['rule']} of {v['table']}.{v['column']}"
        if v["n_rows"] < 0 or not 0 <= v["share"] <= 1 or len(v["examples"]) > 3 or not v["hint"]:
            yield f"{where}: {v}"
        if v["n_rows"] and v["share"] == 0:
            yield f"{where}: {v['n_rows']} rows are told as none"
    if any(v["cause"] is not None for v in below):
        yield "views.contract.below: what is no violation has a cause"
    rows = {i["table"]: 0 for i in body["inputs"]}
    for i in body["inputs"]:
        rows[i["table"]] += i["rows"]
    aside = section["quarantine"]
    check = next((c for c in body["checks"] if c["id"] == "contract.errors"), None)
    if (aside is None, check is None) != (not section["n_errors"],) * 2:
        yield "views.contract: errors without quarantine, or quarantine without errors"
    if aside is None or check is None:
        return
    if not _near(aside["share"], aside["rows"][INTERACTIONS] / rows[INTERACTIONS]):
        yield f"views.contract.quarantine: share {aside}"
    if any(not 0 <= n <= rows[table] for table, n in aside["rows"].items()):
        yield f"views.contract.quarantine: {aside} of {rows}"
    if check["outcome"] != "fail" or check["value"] != sum(aside["rows"].values()):
        yield f"check contract.errors: {check['outcome']} at {check['value']}, set aside {aside}"


def _bounds(body: Body) -> Iterator[str]:
    held = at(body, "views.contract.bounds")
    check = next(c for c in body["checks"] if c["id"] == "contract.bounds")
    n_windows = sum(
        at(body, f"windows.{w}")["n_interactions"]
        for w in ("baseline", "candidate")
        if at(body, f"windows.{w}")
    )
    if held is None:
        if (check["outcome"], check["value"]) != ("pass", 0):
            yield f"check contract.bounds: {check['outcome']} at {check['value']}, nothing is unknown"
        return
    if not _near(check["value"], held["n_interactions"] / (n_windows + held["n_absent"])):
        yield f"check contract.bounds: value {check['value']}"
    flips = {held["best"], held["worst"]} != {held["reviewed"]}
    if (check["outcome"] == "fail") != flips:
        yield f"check contract.bounds: {check['outcome']}, the extremes say {held}"
    own = ("contract.errors", "contract.bounds")
    blocking, holding = (
        [c for c in at(body, f"decision.{key}") if c not in own] for key in ("blocking", "holding")
    )
    if held["reviewed"] != ("block" if blocking else "hold" if holding else "ship"):
        yield f"views.contract.bounds: reviewed {held['reviewed']}"
    sides = [held["baseline"], held["candidate"]]
    lacking = [n for side in sides for n in side["missing"].values()]
    absent = sum(side["set_aside"] + side["lost"] for side in sides)
    if min([0, *lacking]) < 0 or not held["n_absent"] <= absent <= 2 * held["n_absent"]:
        yield f"views.contract.bounds: {held['n_absent']} are not there, by window {sides}"
    at_least = sum(max(side["missing"].values()) for side in sides) + held["n_absent"]
    at_most = sum(lacking) + held["n_absent"]
    if not at_least <= held["n_interactions"] <= at_most:
        yield f"views.contract.bounds: {held['n_interactions']} interactions, by column {sides}"
    names = [(f["figure"], f["window"]) for f in held["figures"]]
    promised = [(name, w) for name in FIGURES for w in ("baseline", "candidate", "change")]
    promised += [
        (f"{slo['name']}_{name}", "candidate")
        for slo in at(body, "views.budget.slos")
        for name in ("burn_rate", "budget_consumed")
    ]
    if sorted(names) != sorted([*promised, ("usd_per_day", "candidate")]):
        yield f"views.contract.bounds.figures: {names}"
    for f in held["figures"]:
        value, low, high = f["value"], f["low"], f["high"]
        where = f"bounds of {f['figure']}, {f['window']}"
        ordered = [v for v in (low, value, high) if v is not None]
        if ordered != sorted(ordered):
            yield f"{where}: {low} ≤ {value} ≤ {high} does not hold"
        if (
            f["figure"] in RATES
            and f["window"] != "change"
            and not all(0 <= v <= 1 for v in ordered)
        ):
            yield f"{where}: {ordered} is no rate"
        if f["figure"] in FIGURES and value != at(
            body, f"views.health.{f['window']}.{f['figure']}.value"
        ):
            yield f"{where}: {value} is not the figure that health gives"
        side = held.get(f["window"])
        if (
            side
            and not any([*side["missing"].values(), side["set_aside"], side["lost"]])
            and (f["figure"] in FIGURES and not value == low == high)
        ):
            yield f"{where}: {low} to {high}, and nothing is unknown in the window"


def _intervals(body: Body) -> Iterator[str]:
    n = {
        name: side["n_interactions"] if side else 0
        for name, side in (
            ("baseline", at(body, "windows.baseline")),
            ("candidate", at(body, "windows.candidate")),
        )
    }
    for path, one in intervals(body):
        value, low, high = one["value"], one["low"], one["high"]
        if value is None and (low is not None or high is not None):
            yield f"{path}: limits without a value"
        if (low is not None and low > value) or (high is not None and high < value):
            yield f"{path}: {low} ≤ {value} ≤ {high} does not hold"
        if not isinstance(one["support"], int) or one["support"] < 0:
            yield f"{path}: support {one['support']!r}"
        for side, most in n.items():
            inside = path.startswith(f"views.health.{side}.") or path.endswith(f".{side}")
            if inside and one["support"] > most:
                yield f"{path}: support {one['support']} of {most} rows"
    for name, figure in at(body, "views.health.more").items():
        if figure["change"]["value"] is not None and (
            figure["baseline"]["value"] is None or figure["candidate"]["value"] is None
        ):
            yield f"views.health.more.{name}: a change of what is not known"


def _rates(body: Body) -> Iterator[str]:
    for path, one in intervals(body):
        *_, parent, name = ["", *path.split(".")]
        known = [one[k] for k in ("value", "low", "high") if one[k] is not None]
        level = name in RATES and parent in ("baseline", "candidate", "on_policy")
        if (level or name in SHARES) and not all(0 <= v <= 1 for v in known):
            yield f"{path}: {known} is no rate"
        if name in RATES and parent == "change" and not all(-1 <= v <= 1 for v in known):
            yield f"{path}: {known} is no difference of rates"
        if name in ("burn_rate", "usd_per_day") and not all(v >= 0 for v in known):
            yield f"{path}: {known} is below 0"
    for column, share in at(body, "views.health.missing").items():
        if not all(v is None or 0 <= v <= 1 for v in share.values()):
            yield f"views.health.missing.{column}: {share}"
    for p in at(body, "views.triage.policies"):
        if not all(v is None or 0 <= v <= 1 for v in (p["precision"], p["recall"])):
            yield f"views.triage.policies.{p['name']}: precision, recall"
    coverage = at(body, "views.hotspots.coverage")
    if coverage is not None and not 0 <= coverage <= 1:
        yield f"views.hotspots.coverage: {coverage}"
    for f in at(body, "views.drift.features"):
        if not all(v is None or 0 <= v <= 1 for v in (f["p_value"], f["q_value"])):
            yield f"views.drift.features.{f['feature']}: p_value, q_value"


def _checks(body: Body) -> Iterator[str]:
    ids = [c["id"] for c in body["checks"]]
    slos = [s["name"] for s in at(body, "views.budget.slos")]
    promised = [*sorted(REGRESSIONS), "budget.spend", "hotspots.level", "drift.medium"]
    promised += ["drift.joint", "triage.queue", "triage.mode"]
    promised += [f"budget.{name}{end}" for name in slos for end in ("", ".alerts")]
    promised += [f"routing.{c['name']}" for c in at(body, "views.routing.candidates")]
    if sorted(set(ids)) != sorted(ids):
        yield "checks: an id stands twice"
    for name in promised:
        if name not in ids:
            yield f"checks: lacks {name}"
    for c in body["checks"]:
        value, low, high, limit = c["value"], c["low"], c["high"], c["limit"]
        where = f"check {c['id']}"
        if c["outcome"] == "inconclusive" and not c["reason"]:
            yield f"{where}: inconclusive without a reason"
        if c["outcome"] == "pass" and c["severity"] != "note" and c["support"] == 0:
            yield f"{where}: passes on no evidence"
        if value is None and (low is not None or high is not None):
            yield f"{where}: limits without a value"
        if value is not None and (
            (low is not None and low > value) or (high is not None and high < value)
        ):
            yield f"{where}: {low} ≤ {value} ≤ {high} does not hold"
        if c["id"].startswith("budget.") and not c["id"].endswith(".alerts"):
            if c["outcome"] == "pass" and not (high is not None and high <= limit):
                yield f"{where}: passes with high {high}, limit {limit}"
            if c["outcome"] == "fail" and not (low is not None and low > limit):
                yield f"{where}: fails with low {low}, limit {limit}"
        if (
            c["id"] == "triage.queue"
            and c["outcome"] == "pass"
            and not (high is not None and high <= limit)
        ):
            yield f"{where}: passes with high {high}, limit {limit}"
        for key in ("sentence", "action", "reason"):
            text = c[key]
            if text is not None and WORDS.search(text):
                yield f"{where}: {key} says {WORDS.search(text)[0]!r}: {text}"  # type: ignore[index]
        if not c["sentence"].strip() or not c["action"].strip():
            yield f"{where}: says nothing"
    if WORDS.search(at(body, "decision.headline")):
        yield f"headline: {at(body, 'decision.headline')}"


def _decision(body: Body) -> Iterator[str]:
    decision, checks = body["decision"], body["checks"]
    first = at(body, "windows.baseline") is None
    blocking = [c["id"] for c in checks if (c["severity"], c["outcome"]) == ("block", "fail")]
    holding = [
        c["id"]
        for c in checks
        if (c["severity"], c["outcome"]) in (("hold", "fail"), ("block", "inconclusive"))
        or (
            first
            and c["severity"] != "note"
            and (c["view"] == "budget" or c["id"] == "triage.queue")
            and c["outcome"] != "pass"
            and c["id"] not in blocking
        )
    ]
    expected = "block" if blocking else "hold" if holding else "ship"
    if (decision["outcome"], decision["blocking"], decision["holding"]) != (
        expected,
        blocking,
        holding,
    ):
        yield f"decision: {decision['outcome']}, the checks give {expected} {blocking} {holding}"
    if first:
        for c in checks:
            if c["id"] in REGRESSIONS and (c["severity"], c["outcome"]) != ("note", "inconclusive"):
                yield f"check {c['id']}: {c['outcome']} in a first release"
    needs = decision["needs"]
    if (needs["interactions"] is None) != (needs["days"] is None):
        yield f"decision.needs: {needs}"


def _sums(body: Body) -> Iterator[str]:
    drivers = at(body, "views.budget.drivers")
    change = drivers["change_usd_per_day"]
    for part in ("effects", "by_slice", "by_use_case", "by_token"):
        if part.startswith("by_") and not drivers[part]:
            continue  # without use cases, or without prices
        amounts = [e["usd_per_day"] for e in drivers[part]]
        total = math.fsum(amounts)
        # Twelve digits of each amount are told; large ones that cancel leave what is below them.
        untold = 1e-11 * math.fsum(map(abs, amounts))
        if change is not None and not (_near(total, change) or abs(total - change) <= untold):
            yield f"views.budget.drivers.{part}: sums to {total}, not {change}"
    spend = at(body, "views.budget.spend")
    for cause in spend["unseen"]:
        low, high = cause["usd"]["low"], cause["usd"]["high"]
        value = cause["usd"]["value"]
        if cause["n"] <= 0 or (value is not None and not low <= value <= (high or value)):
            yield f"views.budget.spend.unseen: {cause}"
    ahead = spend["period"]["forecast_usd"]
    if ahead["value"] is not None and not (
        spend["period"]["spent_usd"] <= ahead["low"] <= ahead["value"] <= ahead["high"]
    ):
        yield f"views.budget.spend.period: {spend['period']}"
    if ahead["value"] is None and not spend["period"]["reason"]:
        yield "views.budget.spend.period: no forecast, and no reason"
    o = at(body, "views.drift.outcome_change")
    if (o["mix"] is None) != (o["within"] is None) or (o["mix"] is None and not o["reason"]):
        yield f"views.drift.outcome_change: {o}"
    if o["mix"] is not None:
        if not _near(o["mix"], o["mix_context"] + o["mix_action"]):
            yield f"views.drift.outcome_change: mix {o}"
        if not _near(o["total"], o["mix"] + o["within"]):
            yield f"views.drift.outcome_change: total {o}"
    for s in at(body, "views.budget.slos"):
        consumed, remaining = s["budget_consumed"], s["budget_remaining"]
        known = consumed is not None and remaining is not None
        if not (consumed is remaining is None or (known and _near(remaining, 1 - consumed))):
            yield f"slo {s['name']}: consumed {consumed}, remaining {remaining}"
        if not _near(s["error_budget"], 1 - s["target"]):
            yield f"slo {s['name']}: error budget {s['error_budget']}"
        if consumed is None and not s["reason"]:
            yield f"slo {s['name']}: no budget consumed, and no reason"
        for a in s["alerts"]:
            if a["firing"] and not (a["firing_plain"] and a["feasible"]):
                yield f"slo {s['name']}: an alert fires that cannot"
    positives = set()
    for p in at(body, "views.triage.policies"):
        counts = [p[k] for k in ("reviewed", "tp", "fp", "fn", "tn")]
        if None in counts:
            if counts != [None] * 5:
                yield f"triage {p['name']}: {counts}"
            continue
        reviewed, tp, fp, fn, tn = counts
        if not _near(reviewed, tp + fp):
            yield f"triage {p['name']}: reviewed {reviewed} is not {tp} + {fp}"
        if min(counts) < -1e-9:
            yield f"triage {p['name']}: {counts} below 0"
        positives.add((round(tp + fn, 6), round(fp + tn, 6)))
    if len(positives) > 1:
        yield f"triage: policies differ in positives and negatives: {sorted(positives)}"
    for f in at(body, "views.hotspots.found"):
        if f["effect"] is not None and not _near(f["effect"], f["value"] - f["reference"]):
            yield f"hotspot {f['slice']}: effect"
        if f["excess"] is not None and not _near(f["excess"], f["effect"] * f["support"]):
            yield f"hotspot {f['slice']}: excess"


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
