# ruff: noqa: E501 (the design's sample stands as it stands there)
from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from analysis.errors import PolicyError, UsageError
from analysis.policy import MAX_POLICY_BYTES, Bad, Policy, known_check_ids, load, parse, utc

# The design's sample: every key that it names.
SAMPLE = """
release: {id: "2026.11.2", title: "…"}
data: data/sample
cluster: auto                 # user where users average more than one session, else session
windows:                      # half-open, UTC
  candidate: {days: 14}
  baseline: {days: 42}
  exclude: []                 # [{start, end, reason}]
dimensions: [use_case, scenario, model_provider, model_name, account_tier, channel, region, segment]
slos:                         # the SLO named `latency` defines a latency breach everywhere
  - {name: availability, bad: is_failure, target: 0.95, period_days: 30}
  - {name: latency, bad: {column: latency_ms, above: 2200}, target: 0.95, period_days: 30}
spend: {budget_usd_per_day: 60, prices: null}   # or a dated price list
missing: {max_rate: 0.05}
hotspots: {metrics: [failure, latency_breach, cost], max_depth: 3, min_support: 60, fdr: 0.05, min_ratio: 1.25}
routing: {action: [model_provider, model_name], context: [use_case, account_tier], failure_cost_usd: 40,
          latency_breach_cost_usd: 5, confidence: 0.95, protect: [account_tier], bounds: {cost_usd: [0, 1]},
          candidates: [{name: cheapest-within-slo, learn: cheapest_within_slo, max_failure_rate: 0.05},
                       {name: coding-to-a, rules: [{when: {use_case: coding}, use: {model_provider: p, model_name: a}}]}]}
drift: {fdr: 0.05, low: {psi: 0.02}, medium: {psi: 0.10}, high: {psi: 0.25}, columns: auto}
triage: {label: is_failure, decide_at: response, review_cost_usd: 2, missed_cost_usd: 40, capacity_per_day: 25, queue_p90_guard: 40}
gate: {error_rate: 0.05, severity: {}, limits: {}}
"""


def problems_of(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as refused:
        parse(text if isinstance(text, bytes) else text.encode())
    assert refused.value.exit_code == 2
    return refused.value.problems


def window(text: str) -> str:
    return f"windows: {{candidate: {text}}}"


def candidate(text: str) -> str:
    return f"routing: {{candidates: [{text}]}}"


# ── what is accepted ─────────────────────────────────────────────────────────────────────


def test_the_sample_of_the_design_parses_and_says_what_it_says() -> None:
    policy = parse(SAMPLE.encode())
    assert (policy.release.id, policy.release.title) == ("2026.11.2", "…")
    assert policy.windows.candidate.days == 14
    assert policy.slos[1].rule == Bad(column="latency_ms", above=2200)
    assert policy.latency_slo is policy.slos[1]
    learned, ruled = policy.routing.candidates
    assert (learned.learn, learned.max_failure_rate) == ("cheapest_within_slo", 0.05)
    assert ruled.rules is not None
    assert ruled.rules[0].when == {"use_case": "coding"}
    assert ruled.rules[0].use == {"model_provider": "p", "model_name": "a"}


def test_what_the_sample_leaves_out_has_the_values_of_the_sample() -> None:
    written = yaml.safe_load(SAMPLE)
    for key in written:
        if key in ("release", "data", "spend", "routing"):
            continue
        assert getattr(Policy(), key) == getattr(parse(SAMPLE.encode()), key), key
    del written["routing"]["candidates"]
    assert Policy().routing == parse(yaml.safe_dump(written).encode()).routing


@pytest.mark.parametrize(
    "text", ["", "   \n", "# nothing but a remark\n", "---\n", "{}", "\ufeff{}"]
)
def test_an_empty_policy_is_the_default_one(text: str) -> None:
    assert parse(text.encode()) == Policy()


def test_the_settings_round_trip() -> None:
    for policy in (Policy(), parse(SAMPLE.encode()), parse(EVERYTHING_ELSE.encode())):
        written = policy.settings()
        assert json.loads(json.dumps(written, allow_nan=False)) == written
        again = parse(yaml.safe_dump(written).encode())
        assert again == policy
        assert again.settings() == written


EVERYTHING_ELSE = """
release: {id: "r43"}
cluster: session
windows:
  candidate: {start: 2026-11-02, end: 2026-11-16T12:00:00Z}
  baseline: {start: "2026-10-05", end: "2026-11-02T00:00:00"}
  exclude: [{start: 2026-10-10T01:00:00Z, end: 2026-10-10T02:00:00Z, reason: "provider outage"}]
slos:
  - {name: quality, bad: {column: response_quality_score, below: 0.5}, target: 0.9}
  - {name: resolved, bad: {column: final_resolution_state, equals: unresolved}, target: 0.9, period_days: 7}
spend:
  prices:
    - {model_name: a, start: 2026-01-01, prompt_usd_per_million: 1, completion_usd_per_million: 2.5}
    - {model_provider: p, model_name: a, start: 2026-06-01, prompt_usd_per_million: 1,
       completion_usd_per_million: 2, cached_usd_per_million: 0}
routing:
  candidates:
    - {name: c, rules: [{when: {use_case: [coding, chat], retry: 0, beta: true, size: 1.5}, use: {model_provider: p, model_name: a}}]}
    - {name: d, learn: share_split}
drift: {columns: [channel, region]}
triage: {decide_at: request, rule: {column: prompt_tokens, above: 4000}}
gate: {error_rate: 0.1, looks: 14, severity: {drift.high: note, budget.quality: block, routing.c: hold},
       limits: {health.failure_rate: 0.01, health.cost_usd: 1.2}}
"""


def test_an_objective_may_hold_for_each_group() -> None:
    text = (
        "slos: [{name: a, bad: is_failure, target: 0.9, by: [account_tier, region], period: month}]"
    )
    [slo] = parse(text.encode()).slos
    assert slo.by == ("account_tier", "region")
    assert slo.period_days == 30


@pytest.mark.parametrize(
    ("written", "period", "days"),
    [
        ("", "rolling", 30),
        ("period_days: 7", "rolling", 7),
        ("period: rolling, period_days: 7", "rolling", 7),
        ("period: month", "month", 30),
        ("period: quarter", "quarter", 90),
        ("period: quarter, period_days: 90", "quarter", 90),
    ],
)
def test_a_period_is_rolling_or_of_the_calendar(written: str, period: str, days: int) -> None:
    more = f", {written}" if written else ""
    [slo] = parse(f"slos: [{{name: a, bad: is_failure, target: 0.9{more}}}]".encode()).slos
    assert (slo.period, slo.period_days) == (period, days)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("period: month, period_days: 28", "slos[0].period_days: goes with period: rolling"),
        ("period: year", "slos[0].period: expected"),
        ("by: account_tier", "slos[0].by: expected a list"),
        ("by: [region, region]", "slos[0].by[1]: 'region' stands twice"),
    ],
)
def test_a_period_that_contradicts_itself_is_refused(written: str, problem: str) -> None:
    [told] = problems_of(f"slos: [{{name: a, bad: is_failure, target: 0.9, {written}}}]")
    assert told.startswith(problem)


def test_windows_come_by_days_by_times_or_by_release() -> None:
    policy = parse(EVERYTHING_ELSE.encode())
    assert policy.windows.candidate.start == datetime(2026, 11, 2, tzinfo=UTC)
    assert policy.windows.candidate.end == datetime(2026, 11, 16, 12, tzinfo=UTC)
    assert policy.windows.exclude[0].reason == "provider outage"
    by_release = parse(b"windows: {candidate: {release_id: r43}, baseline: {release_id: r42}}")
    assert by_release.windows.baseline != "none"
    assert by_release.windows.baseline.release_id == "r42"
    assert parse(b"windows: {baseline: none}").windows.baseline == "none"


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2026-11-16", 0),
        ("2026-11-16T06:00:00", 6),
        ("2026-11-16 06:00:00", 6),
        ("2026-11-16T06:00:00Z", 6),
        ("2026-11-16T06:00:00+02:00", 4),
        ('"2026-11-16"', 0),
        ('"2026-11-16T06:00:00Z"', 6),
        ('"2026-11-16T06:00:00-01:30"', 7),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(written: str, hour: int) -> None:
    start = parse(window(f"{{start: {written}, end: 2026-12-01}}").encode()).windows.candidate.start
    assert start is not None
    assert (start.utcoffset(), start.day, start.hour) == (timedelta(0), 16, hour)


def test_the_same_moment_makes_the_same_settings_however_it_is_written() -> None:
    forms = ["2026-11-16T06:00:00Z", '"2026-11-16T06:00:00"', "2026-11-16T08:00:00+02:00"]
    texts = {
        json.dumps(parse(window(f"{{start: {f}, end: 2026-12-01}}").encode()).settings())
        for f in forms
    }
    assert len(texts) == 1


def test_references_come_by_window_by_release_or_by_folder() -> None:
    written = """
drift:
  references:
    - {name: autumn, start: 2026-10-01, end: 2026-10-08}
    - {name: r42, release_id: r42}
    - {name: r41, recorded: data/releases/r41}
"""
    policy = parse(written.encode())
    autumn, by_id, recorded = policy.drift.references
    assert autumn.start == datetime(2026, 10, 1, tzinfo=UTC)
    assert autumn.end == datetime(2026, 10, 8, tzinfo=UTC)
    assert by_id.release_id == "r42"
    assert recorded.recorded == "data/releases/r41"
    assert parse(yaml.safe_dump(policy.settings()).encode()) == policy
    assert Policy().drift.references == ()


@pytest.mark.parametrize(
    "written",
    [
        "retain: {days: 56}",
        "{retain: {days: 14}, windows: {baseline: none}}",
        "{retain: {days: 1}, windows: {candidate: {release_id: b}, baseline: {release_id: a}}}",
        "gate: {owners: {health: Team A, budget.latency: Team B, gate: Team C}}",
    ],
)
def test_owners_and_retention_that_fit_are_taken(written: str) -> None:
    assert parse(written.encode()).settings()["retain"].keys() == {"days"}


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Policy().cluster = "user"  # type: ignore[misc]


def test_utc_takes_a_bare_time_for_utc() -> None:
    assert utc(datetime(2026, 1, 1)) == datetime(2026, 1, 1, tzinfo=UTC)
    east = timezone(timedelta(hours=2))
    assert utc(datetime(2026, 1, 1, 2, tzinfo=east)) == datetime(2026, 1, 1, tzinfo=UTC)


# ── what is refused ──────────────────────────────────────────────────────────────────────

# (policy, path, what the problem says)
WRONG = {
    "an unknown key": ("relase: {id: a}", "relase", "did you mean 'release'?"),
    "an unknown key deep down": (
        "slos: [{name: a, bad: {column: x, abov: 1}, target: 0.9}]",
        "slos[0].bad.abov",
        "did you mean 'above'?",
    ),
    "an unknown key that is like no other": ("triage: {zzz: 1}", "triage.zzz", "known: capacity"),
    "an unknown key of a window": (
        "windows: {baseline: {day: 7}}",
        "windows.baseline.day",
        "'days'",
    ),
    "an unknown key of a rule": (
        candidate(
            "{name: a, rules: [{when: {}, wen: {}, use: {model_provider: p, model_name: a}}]}"
        ),
        "routing.candidates[0].rules[0].wen",
        "did you mean 'when'?",
    ),
    "a number as text": (
        "spend: {budget_usd_per_day: '60'}",
        "spend.budget_usd_per_day",
        "write 60",
    ),
    "a number without a point": (
        "triage: {review_cost_usd: 1e3}",
        "triage.review_cost_usd",
        "write 1000",
    ),
    "text as a number": ("release: {id: 2026.11}", "release.id", 'quote it: "2026.11"'),
    "text as a date": ("release: {id: 2026-11-02}", "release.id", 'quote it: "2026-11-02"'),
    "yes for text": ("triage: {label: yes}", "triage.label", "expected text (found true)"),
    "yes for a number": ("missing: {max_rate: yes}", "missing.max_rate", "expected a number"),
    "a date in a rule": (
        candidate(
            "{name: a, rules: [{when: {x: [a, 2026-01-01]}, use: {model_provider: p, model_name: a}}]}"
        ),
        "routing.candidates[0].rules[0].when.x[1]",
        "(found 2026-01-01)",
    ),
    "a fraction for a count": ("hotspots: {max_depth: 2.5}", "hotspots.max_depth", "whole number"),
    "a section without keys": ("release:", "release", "leave the key out"),
    "a section that is a list": ("windows: [14]", "windows", "expected keys and values"),
    "a list that is text": ("dimensions: use_case", "dimensions", "expected a list"),
    "a name in a list that is a number": (
        "drift: {columns: [a, 5]}",
        "drift.columns[1]",
        "expected text",
    ),
    "neither auto nor a list": ("drift: {columns: al}", "drift.columns", "'auto' or a list"),
    "another word for a choice": ("cluster: users", "cluster", "'auto', 'user' or 'session'"),
    "another word for no baseline": ("windows: {baseline: nothing}", "windows.baseline", "'none'"),
    "a number for a time": (
        window("{start: 5, end: 2026-01-01}"),
        "windows.candidate.start",
        "(found 5)",
    ),
    "a word for a time": (
        window("{start: soon, end: 2026-01-01}"),
        "windows.candidate.start",
        "soon",
    ),
    "a date that is none": (
        window("{start: 2026-02-30, end: 2026-03-05}"),
        "windows.candidate.start",
        "2026-02-30",
    ),
    "a date out of reach": (
        window("{start: 0001-01-01T00:00:00+05:00, end: 2026-03-05}"),
        "windows.candidate.start",
        "expected a year",
    ),
    "a rate above one": ("missing: {max_rate: 5}", "missing.max_rate", "less than or equal to 1"),
    "a target of one": ("slos: [{name: a, bad: b, target: 1}]", "slos[0].target", "less than 1"),
    "a negative cost": (
        "triage: {review_cost_usd: -2}",
        "triage.review_cost_usd",
        "greater than 0",
    ),
    "no days": (window("{days: 0}"), "windows.candidate.days", "greater than or equal to 1"),
    "a depth of five": (
        "hotspots: {max_depth: 5}",
        "hotspots.max_depth",
        "less than or equal to 4",
    ),
    "a level above a half": ("gate: {error_rate: 0.5}", "gate.error_rate", "less than 0.5"),
    "an SLO without a target": ("slos: [{name: a, bad: b}]", "slos[0].target", "is missing"),
    "an SLO's name with a dot": (
        "slos: [{name: a.alerts, bad: b, target: 0.9}]",
        "slos[0].name",
        "pattern",
    ),
    "an empty name": ("release: {id: ''}", "release.id", "at least 1"),
    "a name with a bell": ('release: {id: "\\a"}', "release.id", "pattern"),
    "a name with a control sequence": ('release: {id: "\\x9b31m"}', "release.id", "pattern"),
    "no path to the data": ("data: ''", "data", "at least 1"),
    "not a number": (
        "spend: {budget_usd_per_day: .nan}",
        "spend.budget_usd_per_day",
        "not a finite",
    ),
    "infinity": ("routing: {failure_cost_usd: .inf}", "routing.failure_cost_usd", "not a finite"),
    "a number beyond floats": (
        "triage: {missed_cost_usd: 1.0e+999}",
        "triage.missed_cost_usd",
        "not a finite",
    ),
    "a number of 5,000 digits": (
        f"triage: {{missed_cost_usd: {'9' * 5000}}}",
        "triage.missed_cost_usd",
        "cannot be read",
    ),
    "a number beyond 64 bits": (
        f"windows: {{candidate: {{days: {'9' * 40}}}}}",
        "windows.candidate.days",
        "too large",
    ),
    "bounds of one number": (
        "routing: {bounds: {cost_usd: [1]}}",
        "routing.bounds.cost_usd[1]",
        "missing",
    ),
    "bounds of another column": (
        "routing: {bounds: {latency: [0, 1]}}",
        "routing.bounds.latency",
        "'cost_usd'",
    ),
    "no action": ("routing: {action: []}", "routing.action", "at least 1"),
    # contradictions
    "a window of two forms": (
        window("{days: 7, release_id: a}"),
        "windows.candidate",
        "exactly one of",
    ),
    "a window of no form": (window("{}"), "windows.candidate", "exactly one of"),
    "a window without an end": (window("{start: 2026-01-01}"), "windows.candidate", "go together"),
    "a window that ends first": (
        window("{start: 2026-02-01, end: 2026-01-01}"),
        "windows.candidate",
        "half-open",
    ),
    "a window that ends as it starts": (
        window("{start: 2026-02-01, end: 2026-02-01}"),
        "windows.candidate",
        "before",
    ),
    "windows that overlap": (
        "windows: {candidate: {start: 2026-02-01, end: 2026-02-15}, baseline: {start: 2026-01-01, end: 2026-02-02}}",
        "windows.baseline",
        "overlaps the candidate",
    ),
    "a release against itself": (
        "windows: {candidate: {release_id: a}, baseline: {release_id: a}}",
        "windows.baseline.release_id",
        "is the candidate's",
    ),
    "an exclusion that ends first": (
        "windows: {exclude: [{start: 2026-02-02, end: 2026-02-01, reason: r}]}",
        "windows.exclude[0]",
        "start must be before end",
    ),
    "an exclusion without a reason": (
        "windows: {exclude: [{start: 2026-02-01, end: 2026-02-02}]}",
        "windows.exclude[0].reason",
        "is missing",
    ),
    "two limits of an SLO": (
        "slos: [{name: a, bad: {column: b, above: 1, below: 2}, target: 0.9}]",
        "slos[0].bad",
        "at most one of",
    ),
    "two SLOs of a name": (
        "slos: [{name: a, bad: b, target: 0.9}, {name: a, bad: c, target: 0.9}]",
        "slos[1].name",
        "another SLO's name",
    ),
    "an SLO named as the check of the spend": (
        "slos: [{name: spend, bad: b, target: 0.9}]",
        "slos[0].name",
        "budget.spend",
    ),
    "a dimension twice": ("dimensions: [a, b, a]", "dimensions[2]", "stands twice"),
    "a reference of two forms": (
        "drift: {references: [{name: a, release_id: r1, recorded: data/releases/r1}]}",
        "drift.references[0]",
        "give exactly one of: start and end; release_id; recorded",
    ),
    "a reference of no form": (
        "drift: {references: [{name: a}]}",
        "drift.references[0]",
        "give exactly one of",
    ),
    "a reference without an end": (
        "drift: {references: [{name: a, start: 2026-10-01}]}",
        "drift.references[0]",
        "start and end go together",
    ),
    "a reference that ends before it starts": (
        "drift: {references: [{name: a, start: 2026-10-08, end: 2026-10-01}]}",
        "drift.references[0]",
        "start must be before end",
    ),
    "a reference of parts of days": (
        "drift: {references: [{name: a, start: 2026-10-01, end: 2026-10-08T12:00:00Z}]}",
        "drift.references[0]",
        "UTC midnights",
    ),
    "a recorded release outside of the project": (
        "drift: {references: [{name: a, recorded: /srv/releases/r1}]}",
        "drift.references[0].recorded",
        "relative to the project",
    ),
    "two references of one name": (
        "drift: {references: [{name: a, release_id: r1}, {name: a, release_id: r2}]}",
        "drift.references[1].name",
        "another reference's name",
    ),
    "an unknown key of a reference": (
        "drift: {references: [{name: a, release_id: r1, relese_id: r2}]}",
        "drift.references[0].relese_id",
        "did you mean 'release_id'?",
    ),
    "a metric twice": ("hotspots: {metrics: [cost, cost]}", "hotspots.metrics[1]", "stands twice"),
    "edges that fall": (
        "hotspots: {bins: {prompt_tokens: [1, 3, 3]}}",
        "hotspots.bins.prompt_tokens[2]",
        "edges must rise (found 3 after 3)",
    ),
    "an hour that no day has": (
        "hotspots: {bins: {hour: [6, 24]}}",
        "hotspots.bins.hour[1]",
        "expected an hour after 0 and up to 23",
    ),
    "no edges": (
        "hotspots: {bins: {a: []}}",
        "hotspots.bins.a",
        "expected 1 to 20 edges (found 0)",
    ),
    "too many edges": (
        f"hotspots: {{bins: {{a: {list(range(21))}}}}}",
        "hotspots.bins.a",
        "expected 1 to 20 edges (found 21)",
    ),
    "one quantile": (
        "hotspots: {bins: {a: {quantiles: 1}}}",
        "hotspots.bins.a.quantiles",
        "greater than or equal to 2",
    ),
    "too many quantiles": (
        "hotspots: {bins: {a: {quantiles: 11}}}",
        "hotspots.bins.a.quantiles",
        "less than or equal to 10",
    ),
    "an endless edge": ("hotspots: {bins: {a: [.inf]}}", "hotspots.bins.a[0]", "finite number"),
    "bins of another form": (
        "hotspots: {bins: {a: 4}}",
        "hotspots.bins.a",
        "expected a list or keys and values",
    ),
    "a key of bins that nobody knows": (
        "hotspots: {bins: {a: {quantiles: 4, quantile: 4}}}",
        "hotspots.bins.a.quantile",
        "did you mean 'quantiles'?",
    ),
    "bins of a dimension": (
        "{dimensions: [retry_index], hotspots: {bins: {retry_index: [1]}}}",
        "hotspots.bins.retry_index",
        "is one of dimensions too",
    ),
    "bins of what a metric is made of": (
        "hotspots: {bins: {latency_ms: [500]}}",
        "hotspots.bins.latency_ms",
        "the metric 'latency_breach' is made of this column",
    ),
    "bins of what the cost is": (
        "hotspots: {bins: {cost_usd: {quantiles: 4}}}",
        "hotspots.bins.cost_usd",
        "'cost' out of hotspots.metrics",
    ),
    "bins of what an objective judges": (
        "{slos: [{name: long, bad: {column: completion_tokens, above: 9}, target: 0.9}],"
        " hotspots: {metrics: [long], bins: {completion_tokens: [5]}}}",
        "hotspots.bins.completion_tokens",
        "the metric 'long' is made of this column",
    ),
    "a drift column twice": ("drift: {columns: [a, a]}", "drift.columns[1]", "stands twice"),
    "a price twice": (
        "spend: {prices: [{model_name: a, start: 2026-01-01, prompt_usd_per_million: 1, completion_usd_per_million: 1},"
        " {model_name: a, start: 2026-01-01T00:00:00Z, prompt_usd_per_million: 2, completion_usd_per_million: 1}]}",
        "spend.prices[1]",
        "another price",
    ),
    "prices of an unknown library": (
        "spend: {prices: litellm}",
        "spend.prices",
        "expected 'genai-prices' or a list",
    ),
    "a column of action and context": (
        "routing: {context: [use_case, model_name]}",
        "routing.context",
        "'model_name' is a column of action too",
    ),
    "rules and learn": (
        candidate(
            "{name: a, learn: cascade, rules: [{when: {}, use: {model_provider: p, model_name: a}}]}"
        ),
        "routing.candidates[0]",
        "exactly one of: rules, learn",
    ),
    "neither rules nor learn": (candidate("{name: a}"), "routing.candidates[0]", "exactly one of"),
    "no rules": (candidate("{name: a, rules: []}"), "routing.candidates[0]", "rules is empty"),
    "two candidates of a name": (
        candidate("{name: a, learn: cascade}, {name: a, learn: share_split}"),
        "routing.candidates[1].name",
        "another candidate's name",
    ),
    "a rule that leaves a part of the action open": (
        candidate("{name: a, rules: [{when: {}, use: {model_name: a}}]}"),
        "routing.candidates[0].rules[0].use",
        "expected every column of action, and no other: model_provider, model_name",
    ),
    "a rule that sets what is no action": (
        candidate(
            "{name: a, rules: [{when: {}, use: {model_provider: p, model_name: a, region: b}}]}"
        ),
        "routing.candidates[0].rules[0].use",
        "no other",
    ),
    "bounds that fall": (
        "routing: {bounds: {cost_usd: [1, 0]}}",
        "routing.bounds.cost_usd",
        "below",
    ),
    "bands that fall": ("drift: {low: {psi: 0.3}}", "drift", "bands must rise"),
    "a severity of no check": (
        "gate: {severity: {health.failure: note}}",
        "gate.severity.health.failure",
        "did you mean 'health.failure_rate'?",
    ),
    "a severity of an SLO that is not there": (
        "gate: {severity: {budget.quality: note}}",
        "gate.severity.budget.quality",
        "no such check",
    ),
    "another severity": (
        "gate: {severity: {drift.high: warn}}",
        "gate.severity.drift.high",
        "'block', 'hold' or 'note'",
    ),
    "a limit of a check without one": (
        "gate: {limits: {drift.high: 1}}",
        "gate.limits.drift.high",
        "those that have one: health.cost_usd",
    ),
    "an owner of nothing": ("gate: {owners: {helth: me}}", "gate.owners.helth", "'health'"),
    "rows that are kept shorter than the windows": (
        "retain: {days: 55}",
        "retain.days",
        "reach back 56; keep 56 at least",
    ),
    "a limit of no check": ("gate: {limits: {cost: 1}}", "gate.limits.cost", "no such check"),
    "a limit of cost as a difference": (
        "gate: {limits: {health.cost_usd: 0.15}}",
        "gate.limits.health.cost_usd",
        "ratio above 1",
    ),
    "a limit of a rate in per cent": (
        "gate: {limits: {health.failure_rate: 1.5}}",
        "gate.limits.health.failure_rate",
        "such as 0.01",
    ),
    "a limit that nothing passes": (
        "gate: {limits: {health.failure_rate: 0}}",
        "gate.limits.health.failure_rate",
        "above 0",
    ),
    "more days than looks": ("gate: {looks: 7}", "gate.looks", "day 14"),
    # surprises of YAML
    "a key twice": (
        "release: {id: a}\nrelease: {id: b}",
        "release",
        "stands twice; keep one (line 2)",
    ),
    "a deep key twice": (
        "gate: {error_rate: 0.1, error_rate: 0.01}",
        "gate.error_rate",
        "stands twice",
    ),
    "an alias": ("release: &r {id: a}\nmissing: *r", "missing", "aliases (*name) are not accepted"),
    "a merge": ("release: {<<: {id: a}}", "release.<<", "merge keys are not accepted"),
    "a tag": ("release: !!python/object:os.system {id: a}", "release", "the tag"),
    "a set": ("dimensions: !!set {a, b}", "dimensions", "the tag"),
    "bytes": ("release: {id: !!binary aGk=}", "release.id", "the tag"),
    "a number by force": (
        "spend: {budget_usd_per_day: !!int many}",
        "spend.budget_usd_per_day",
        "cannot be read",
    ),
    "a boolean by force": ("release: {id: !!bool maybe}", "release.id", "cannot be read"),
    "a key that is a number": ("1: a", "1", "the key is a whole number; expected text"),
    "a key that is a boolean": ("release: {on: a}", "release.on", "the key is true or false"),
    "half a character": ('release: {id: "\\ud800"}', "release.id", "surrogate"),
}


@pytest.mark.parametrize(("text", "path", "hint"), WRONG.values(), ids=WRONG.keys())
def test_one_slip_is_one_problem_with_its_path_and_a_hint(text: str, path: str, hint: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(f"{path}: ")
    assert hint in problem
    assert "\n" not in problem
    assert len(problem) < 600


# What is no policy at all: (bytes, what the problem says)
NO_POLICY = {
    "a list": (b"- a\n- b\n", "expected keys and values, found a list"),
    "a word": (b"ship it", "expected keys and values, found a single value"),
    "a number": (b"42", "expected keys and values"),
    "latin-1": ("release: {id: é}".encode("latin-1"), "byte 14 is not UTF-8"),
    "utf-16": ("release: {id: a}".encode("utf-16"), "is not UTF-8"),
    "a control character": (b"release: {id: \x07}", "U+0007 is not accepted"),
    "a NUL": (b"release: {id: a\0}", "U+0000"),
    "an open bracket": (b"release: {id: a", "line 1, column"),
    "a tab for an indent": (b"release:\n\tid: a", "line 2, column 1"),
    "two documents": (b"{}\n---\n{}\n", "another document"),
    "a very deep nest": (b"a: " + b"[" * 5000, "nested too deeply"),
    "a list as a key": (b"? [a, b]\n: 1", "a key is not plain text"),
}


@pytest.mark.parametrize(("raw", "hint"), NO_POLICY.values(), ids=NO_POLICY.keys())
def test_what_is_no_policy_is_refused_in_one_line(raw: bytes, hint: str) -> None:
    (problem,) = problems_of(raw)
    assert hint in problem
    assert "\n" not in problem


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    problems = problems_of(bomb)
    assert any("aliases" in problem for problem in problems)


def test_all_problems_come_at_once_syntax_keys_types_and_contradictions() -> None:
    problems = problems_of(
        """
        relase: {id: a}
        release: {id: 2026.11, id: "b"}
        windows: {candidate: {days: 7, release_id: a}, baseline: {days: many}}
        dimensions: [a, a]
        slos:
          - {name: one, bad: b, target: .nan}
          - {name: two, bad: b, target: "0.9"}
          - {name: two, bad: c, target: 0.9, perod: 7}
        routing: {contxt: [a], candidates: [{name: a, learn: cascade}, {name: a, learn: cascade}]}
        drift: {low: {psi: 0.5}}
        gate: {severity: {health.failure: note, drift.high: never}, limits: {drift.high: 3}}
        """
    )
    paths = [problem.partition(": ")[0] for problem in problems]
    assert sorted(paths) == sorted(
        [
            "relase",
            "release.id",
            "windows.candidate",
            "windows.baseline.days",
            "dimensions[1]",
            "slos[0].target",
            "slos[1].target",
            "slos[2].perod",
            "routing.contxt",
            "routing.candidates[1].name",
            "drift",
            "gate.severity.health.failure",
            "gate.severity.drift.high",
            "gate.limits.drift.high",
        ]
    )


def test_a_problem_that_follows_from_another_is_not_told() -> None:
    assert len(problems_of(window("{start: 2026-02-30, end: 2026-03-05}"))) == 1
    broken = "slos: [{name: quality, bad: b, target: 2}]\ngate: {severity: {budget.quality: note}}"
    assert [p.partition(":")[0] for p in problems_of(broken)] == ["slos[0].target"]


def test_a_problem_never_shows_what_a_terminal_would_obey() -> None:
    text = 'release: {"\\e[31mid": 1, id: ["\\e[2J"]}\n"\\u202egate": 1'
    shown = "\n".join(problems_of(text))
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_many_problems_take_no_time() -> None:
    assert len(problems_of(f"dimensions: [{', '.join(['a'] * 20_000)}]")) == 19_999


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_slip_of_the_keyboard_is_a_policy_or_a_list_of_problems(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([SAMPLE, EVERYTHING_ELSE]))
    place = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 8))
    typed = data.draw(
        st.text(st.sampled_from("\t\n :,-[]{}#&*!|>'\"%@`~?.0159aeNo\\\x07é"), max_size=6)
    )
    problems = problems_if_any((text[:place] + typed + text[place + length :]).encode())
    assert all(problem and problem.isprintable() for problem in problems)


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_policy_or_a_list_of_problems(raw: bytes) -> None:
    assert all(problem and problem.isprintable() for problem in problems_if_any(raw))


def problems_if_any(raw: bytes) -> tuple[str, ...]:
    try:
        parse(raw)
    except PolicyError as refused:
        return refused.problems or ("",)
    return ()


# ── files ────────────────────────────────────────────────────────────────────────────────


def test_a_loaded_policy_carries_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_bytes(b"release: {id: a}\n")
    loaded = load(path)
    assert loaded.policy.release.id == "a"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.path == path


def test_the_release_id_of_the_command_line_replaces_the_policy_s(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    for text, title in (("release: {id: a, title: t}", "t"), ("", ""), ("release: {}", "")):
        path.write_text(text)
        release = load(path, release_id="r43").policy.release
        assert (release.id, release.title) == ("r43", title)


@pytest.mark.parametrize("given", ["", "a\nb", "x" * 121, "\udcff"])
def test_a_release_id_that_the_policy_could_not_hold_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"release"):
        parse(b"", release_id=given)


def test_a_file_that_cannot_be_read_is_a_matter_of_the_command_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yml", tmp_path):
        with pytest.raises(UsageError, match="--policy") as refused:
            load(path)
        assert refused.value.exit_code == 2
        assert str(path) in str(refused.value)


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text("# " + "x" * MAX_POLICY_BYTES)
    with pytest.raises(PolicyError, match="larger than 1,000,000 bytes"):
        load(path)


def test_the_message_counts_the_problems_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text("a: 1\nb: 2\n")
    with pytest.raises(PolicyError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: 2 problems\n  a: unknown key")


# ── schema and checks ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", [SAMPLE, EVERYTHING_ELSE, "{}"])
def test_the_json_schema_accepts_what_load_accepts(text: str) -> None:
    schema = Policy.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    written: Any = yaml.load(text, _TextualDates)
    validator.validate(written)
    validator.validate(parse(text.encode()).settings())


def test_the_json_schema_refuses_unknown_keys_and_wrong_types() -> None:
    validator = jsonschema.Draft202012Validator(Policy.model_json_schema())
    for wrong in ({"relase": {}}, {"slos": [{"name": "a"}]}, {"cluster": "users"}, []):
        assert not validator.is_valid(wrong), wrong


class _TextualDates(yaml.SafeLoader):
    """YAML whose dates stay text, as in JSON."""


_TextualDates.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def test_the_checks_of_a_policy_follow_its_slos_and_candidates() -> None:
    ids = known_check_ids(parse(SAMPLE.encode()))
    assert {"budget.availability", "budget.latency.alerts", "routing.coding-to-a"} <= ids
    assert "budget.availability" not in known_check_ids(parse(b"slos: []"))
