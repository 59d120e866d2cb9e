"""The keys of a first policy, in the order in which they stand, each as lines with comments."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.policy import Policy
from analysis.propose.evidence import Level, Overview, TextColumn, can_be_named
from analysis.propose.policy_numbers import availability, daily, latency_limit, whole
from analysis.propose.window_choice import WindowChoice
from analysis.yaml_text import (
    comment,
    counted,
    figure,
    listed,
    per_cent,
    quoted,
    rounded_up,
    scalar,
)

MAX_DIMENSIONS = 10
MAX_DIMENSION_VALUES = 200
MAX_CELL_VALUES = 12
ENOUGH_CLUSTERS = 30
ACTIONS = ("model_provider", "model_name")
HEADER = (
    "A first policy, proposed from the data: what this team holds a release to. Every number below "
    "was derived from the past, and a policy is a promise about the future: read each comment, "
    "decide, then delete the comment. Every key is optional; `python -m analysis schema policy` has "
    "them all.",
    "Change it before you look at a release, not after.",
)


@dataclass(frozen=True)
class Seen:
    """All that a draft is written from."""

    columns: tuple[str, ...]
    overview: Overview
    windows: WindowChoice
    level: Level
    volume: Level
    texts: tuple[TextColumn, ...]
    dimensions: tuple[str, ...]
    missing: dict[str, float]
    dearest: float | None
    n_problems: int


def sections(seen: Seen) -> list[list[str]]:
    """The header, then every key."""
    return [
        _header(seen),
        _release(seen),
        _cluster(seen),
        _windows(seen),
        _dimensions(seen),
        _slos(seen),
        _spend(seen),
        _missing(seen),
        _quarantine(seen),
        _hotspots(seen),
        _routing(seen),
        _drift(),
        _triage(seen),
        _publish(),
        _gate(),
    ]


def chosen(texts: tuple[TextColumn, ...]) -> tuple[str, ...]:
    """The dimensions: those of a policy that says nothing before any others, ten in all."""
    usual = {name: place for place, name in enumerate(Policy().dimensions)}
    fitting = [t.name for t in texts if not _why_not(t)]
    return tuple(sorted(fitting, key=lambda n: usual.get(n, len(usual)))[:MAX_DIMENSIONS])


def _why_not(column: TextColumn) -> str | None:
    """Why a column is no dimension; None where it is one."""
    if not can_be_named(column.name):
        return "a name that a policy cannot hold"
    if column.name == "release_id":
        return "it tells the windows apart"
    if column.n_values < 2:
        return "empty" if not column.n_values else "one value"
    if column.n_values > MAX_DIMENSION_VALUES:
        return f"{column.n_values:,} values"
    return None


# ── the keys, in the order in which they stand ───────────────────────────────────────────


def _header(seen: Seen) -> list[str]:
    lines = [line for text in HEADER for line in comment(text)]
    o = seen.overview
    lines += comment(
        f"Seen: {counted(o.n_rows, 'interaction')} in {counted(o.n_sessions, 'session')} of "
        f"{counted(o.n_users, 'user')}, "
        f"{o.first:%Y-%m-%d %H:%M} to {o.last:%Y-%m-%d %H:%M} UTC."
    )
    if seen.n_problems:
        lines += comment(
            f"The telemetry violates its contract in {counted(seen.n_problems, 'way')} or more, and a "
            "review would stop: run `validate`. What does not fit was left out of the numbers below."
        )
    lines.append("#   python -m analysis review --data DIR --policy FILE")
    return lines


def _release(seen: Seen) -> list[str]:
    name = seen.windows.release or "first-review"
    return [
        *comment("What is reviewed: the id and the title stand on page one."),
        f'release: {{id: {scalar(name)}, title: ""}}',
        *comment("Where the tables lie; --data says the same on the command line."),
        "# data: data/mine",
    ]


def _cluster(seen: Seen) -> list[str]:
    o = seen.overview
    cluster = "auto"
    text = (
        "What is independent of each other: users where they average more than one session, else "
        f"sessions. Here {counted(o.n_sessions, 'session')} of {counted(o.n_users, 'user')}"
    )
    by_user = 0 < o.n_users < o.n_sessions
    if by_user and (o.n_users < ENOUGH_CLUSTERS or o.largest_user > 0.2):
        cluster = "session"
        text += (
            f", the largest with {per_cent(o.largest_user)} of the interactions: too few or too "
            "unequal for `auto`, which would take users. `session` treats sessions of one user as "
            "independent: check that this is fair"
        )
    return [*comment(f"{text}."), f"cluster: {cluster}"]


def _windows(seen: Seen) -> list[str]:
    w = seen.windows
    lines = [line for text in w.why for line in comment(text)]
    lines += ["windows:", *(f"  {line}" for line in w.as_lines())]
    if w.instead:
        lines += comment("By time instead:", 2)
        lines += [f"  # {line}" for line in w.instead]
    lines += comment("Known incidents, left out of both: {start:, end:, reason:}", 2)
    return [*lines, "  exclude: []"]


def _dimensions(seen: Seen) -> list[str]:
    values = {t.name: t.n_values for t in seen.texts}
    said = ", ".join(f"{quoted(n)} {values[n]:,}" for n in seen.dimensions)
    lines = comment("Where to look for hotspots: text that is known with the request.")
    lines += comment(f"Distinct values: {said or 'no such column has two or more'}.")
    left = [(t, _why_not(t)) for t in seen.texts if t.name not in seen.dimensions]
    if left:
        reasons = [f"{quoted(t.name)} ({why or 'ten are enough to begin'})" for t, why in left]
        lines += comment(f"Left out: {', '.join(reasons)}.")
    return [*lines, f"dimensions: {listed(seen.dimensions)}"]


def _slos(seen: Seen) -> list[str]:
    where = seen.windows.reference_name
    lines = comment(
        "A target is a promise to users, not a description of the past: the proposals are what the "
        "past has kept with some room. What do your users need?"
    )
    target, why = availability(seen.level, where)
    lines += ["slos:", *comment(why, 2)]
    lines.append(f"  - {{name: availability, bad: is_failure, target: {target}, period_days: 30}}")
    limit = _latency(seen)
    if limit is None:
        lines += comment("No latency_ms is known: no SLO for latency, and no latency breaches.", 2)
    else:
        p95 = figure(seen.level.latency_p95 or 0.0)
        lines += comment(
            f"95 % of the answers {where} took at most {p95} ms; a tenth more, rounded up, is the "
            "limit. The SLO named latency defines a latency breach everywhere.",
            2,
        )
        lines.append(
            f"  - {{name: latency, bad: {{column: latency_ms, above: {scalar(limit)}}}, "
            "target: 0.95, period_days: 30}"
        )
    if seen.overview.n_days < 30:
        lines += comment(
            f"The telemetry covers {seen.overview.n_days} of the 30 days: until it covers the "
            "period, the budget that remains is not known.",
            2,
        )
    return lines


def _latency(seen: Seen) -> float | None:
    return latency_limit(seen.level) if "latency_ms" in seen.columns else None


def _spend(seen: Seen) -> list[str]:
    days = seen.windows.volume_days
    money = seen.volume.cost_usd
    if "cost_usd" not in seen.columns or not money:
        return [
            *comment("No cost_usd above 0 is known: no budget."),
            "spend: {budget_usd_per_day: null, prices: null}",
        ]
    a_day = money / days
    lines = comment(
        f"{figure(a_day)} USD a day over {figure(days)} {'day' if days == 1 else 'days'}; a fifth "
        "more, rounded up, is the budget. What has been approved?"
    )
    return [
        *lines,
        f"spend: {{budget_usd_per_day: {scalar(rounded_up(1.2 * a_day))}, prices: null}}",
    ]


def _missing(seen: Seen) -> list[str]:
    limit = Policy().missing.max_rate
    above = [f"{quoted(n)} {per_cent(share)}" for n, share in seen.missing.items() if share > limit]
    text = "A check whose column is empty above this share in either window is inconclusive."
    if above:
        text += f" Above it in all data: {', '.join(above)}."
    return [*comment(text), f"missing: {{max_rate: {scalar(limit)}}}"]


def _quarantine(seen: Seen) -> list[str]:
    kept = Policy().quarantine
    text = (
        "Whether rows that break the contract may be set aside, at most this share of the "
        "interactions: the rest is then reviewed, and contract.errors blocks. "
        f"{'The data break it now.' if seen.n_problems else 'The data keep it.'}"
    )
    return [*comment(text), f"quarantine: {{allow: false, max_share: {scalar(kept.max_share)}}}"]


def _hotspots(seen: Seen) -> list[str]:
    default = Policy().hotspots
    metrics = ["failure"]
    metrics += ["latency_breach"] if _latency(seen) is not None else []
    metrics += ["cost"] if "cost_usd" in seen.columns else []
    smallest = default.min_support / max(seen.overview.n_rows, 1)
    lines = comment(
        f"Slices with fewer than {default.min_support} interactions ({per_cent(min(1.0, smallest))} "
        "of all) are not tested; a slice is named when it is 1.25 times as bad as its reference. "
        "Metrics are what the data hold."
    )
    return [
        *lines,
        f"hotspots: {{metrics: {listed(metrics)}, max_depth: {default.max_depth}, "
        f"min_support: {default.min_support}, fdr: {scalar(default.fdr)}, "
        f"min_ratio: {scalar(default.min_ratio)}}}",
    ]


def _routing(seen: Seen) -> list[str]:
    action = _action(seen)
    contexts = [t for t in seen.texts if t.role == "context" and t.name in seen.dimensions]
    few = [t.name for t in contexts if t.n_values <= MAX_CELL_VALUES]
    usual = [n for n in ("use_case", "domain", "account_tier") if n in few]
    context = (usual or few)[:2]
    protect = [n for n in ("account_tier", "segment") if n in few]
    lines = comment(
        "What another choice of model would have cost. action: what routing chooses. context: the "
        f"cells in which it is compared, columns of at most {MAX_CELL_VALUES} values. protect: "
        "groups for whom failures must not rise.",
    )
    if not set(action) & set(seen.columns):
        lines += comment("The data have no such column, so nothing is backtested: the rest waits.")
    lines += [
        "routing:",
        f"  action: {listed(action)}",
        f"  context: {listed(context)}",
        *comment(
            "What a failure and a late answer cost you in USD: guesses of ours, not yours.", 2
        ),
        "  failure_cost_usd: 40",
        "  latency_breach_cost_usd: 5",
        "  confidence: 0.95",
        f"  protect: {listed(protect)}",
        *_bounds(seen),
        *_propensity(seen),
        *comment(
            "Policies to backtest: {name: cheapest, learn: cheapest_within_slo, max_failure_rate: "
            "0.05}, or rules of your own.",
            2,
        ),
        "  candidates: []",
    ]
    return lines


def _action(seen: Seen) -> list[str]:
    present = [n for n in ACTIONS if n in seen.columns]
    other = [t.name for t in seen.texts if t.role == "action" and t.name != "release_id"]
    other = [n for n in other if can_be_named(n)]
    return present or other[:2] or list(ACTIONS)


def _bounds(seen: Seen) -> list[str]:
    if not seen.dearest:
        return ["  bounds: {cost_usd: [0, 1]}"]
    lines = comment(
        f"The least and the most that one request can cost; {figure(seen.dearest)} USD was the most, "
        "retries included.",
        2,
    )
    return [*lines, f"  bounds: {{cost_usd: [0, {scalar(rounded_up(seen.dearest, 1))}]}}"]


def _propensity(seen: Seen) -> list[str]:
    share = seen.missing.get("routing_propensity")
    if share is None:
        text = (
            "No routing_propensity is logged: the probability of each choice is estimated, which "
            "is weaker evidence. Log it where the router draws at random."
        )
    else:
        text = f"routing_propensity is logged for {per_cent(1 - share)} of the interactions."
    return comment(text, 2)


def _drift() -> list[str]:
    return [
        *comment(
            "How far a distribution moves before it is told (population stability index); the usual "
            "bands. `columns: auto` tests every declared column of context, action, cost and outcome."
        ),
        "drift: {fdr: 0.05, low: {psi: 0.02}, medium: {psi: 0.10}, high: {psi: 0.25}, columns: auto}",
    ]


def _triage(seen: Seen) -> list[str]:
    default = Policy().triage
    a_day = daily(seen.volume, seen.windows.volume_days)
    if a_day is None:
        capacity = whole(default.capacity_per_day)
        text = f"No failure is known, so {capacity} a day is a guess of ours."
    else:
        capacity = whole(rounded_up(max(a_day, 1.0)))
        text = f"{figure(a_day)} failures a day were known; the capacity is that, rounded up."
    return [
        *comment(
            "Which interactions a person reviews. Costs of a review and of a failure that nobody "
            f"sees are guesses of ours, not yours. {text} How many can your team review?"
        ),
        "triage:",
        "  label: is_failure",
        *comment("request: before the model answers; response: once it has answered.", 2),
        f"  decide_at: {default.decide_at}",
        f"  review_cost_usd: {scalar(whole(default.review_cost_usd))}",
        f"  missed_cost_usd: {scalar(whole(default.missed_cost_usd))}",
        f"  capacity_per_day: {capacity}",
        *comment("The most that nine days in ten may ask for.", 2),
        f"  queue_p90_guard: {whole(rounded_up(1.6 * capacity))}",
        *comment(
            "How long after an interaction its label is known, where the telemetry does not date it.",
            2,
        ),
        f"  label_delay_hours: {whole(default.label_delay_hours)}",
    ]


def _publish() -> list[str]:
    return [
        *comment(
            "share_safe: true hashes ids with the key in RELEASE_REVIEW_ID_KEY, or leaves them out where there "
            "is none, masks names that tell too much, and suppresses counts below min_cell (10)."
        ),
        "publish: {share_safe: false}",
        *comment(
            "retain: {days: 365} lets `forget --expired` remove older sessions; no shorter than the windows reach."
        ),
        "retain: {days: null}",
    ]


def _gate() -> list[str]:
    return [
        *comment(
            "error_rate: how often a release like the baseline may be stopped by chance, over all "
            "comparisons together. severity makes a check block, hold or only note: "
            "{health.cost_usd: note}. limits moves how much worse still passes: "
            "{health.failure_rate: 0.01}. looks: on how many days a release is looked at."
        ),
        "gate: {error_rate: 0.05, severity: {}, limits: {}}",
    ]
