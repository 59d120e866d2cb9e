"""OpenSLO documents: what is read from them, what is refused, and that an export is read as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import openslo
from analysis.__main__ import main
from analysis.errors import PolicyError, UsageError
from analysis.openslo_document import AlertRow, document
from analysis.policy import load
from analysis.policy_slos import Bad, Slo

OURS = {"type": "release-review"}
CALENDAR = {"startTime": "2026-01-01 00:00:00", "timeZone": "Etc/UTC"}


def source(**spec: Any) -> dict[str, Any]:
    return {"metricSource": {**OURS, "spec": spec}}


def ratio(**changes: Any) -> dict[str, Any]:
    return {"ratioMetric": {"counter": True, "bad": source(column="is_failure"),
                            "total": source(), **changes}}  # fmt: skip


def threshold(**spec: Any) -> dict[str, Any]:
    return {"thresholdMetric": source(**spec)}


def slo(
    name: str = "checkout",
    indicator: dict[str, Any] | None = None,
    objectives: list[dict[str, Any]] | None = None,
    window: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A document of kind SLO; None leaves a part as it usually is."""
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": name, "displayName": "Checkout"},
        "spec": {
            "description": "What it is for.",
            "service": "shop",
            "indicator": {"metadata": {"name": "sli"}, "spec": indicator or ratio()},
            "timeWindow": [window or {"duration": "28d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": objectives or [{"displayName": "Good", "target": 0.99}],
            **spec,
        },
    }


def parsed(*documents: dict[str, Any]) -> tuple[tuple[Slo, ...], list[str]]:
    return openslo.parse(yaml.safe_dump_all(documents).encode())


def one(*documents: dict[str, Any]) -> Slo:
    found, problems = parsed(*documents)
    assert problems == []
    [only] = found
    return only


# ── what is read ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("why", "given", "expected"),
    [
        ("a ratio of bad events", slo(), Bad(column="is_failure")),
        ("a ratio of bad events that are told", slo(
            indicator=ratio(bad=source(column="verdict", equals="wrong"))),
         Bad(column="verdict", equals="wrong")),
        ("a ratio of good events", slo(
            indicator={"ratioMetric": {"good": source(column="is_ok"), "total": source(column="is_ok")}}),
         Bad(column="is_ok", equals=False)),
        ("a ratio of events that are good when a flag is not there", slo(
            indicator={"ratioMetric": {"good": source(column="tool_error_flag", equals=False),
                                       "total": source()}}),
         Bad(column="tool_error_flag", equals=True)),
        ("good is at most", slo(indicator=threshold(column="latency_ms"),
            objectives=[{"op": "lte", "value": 500, "target": 0.9}]),
         Bad(column="latency_ms", above=500)),
        ("good is less", slo(indicator=threshold(column="latency_ms"),
            objectives=[{"op": "lt", "value": 500, "target": 0.9}]),
         Bad(column="latency_ms", at_least=500)),
        ("good is at least", slo(indicator=threshold(column="response_quality_score"),
            objectives=[{"op": "gte", "value": 0.7, "target": 0.9}]),
         Bad(column="response_quality_score", below=0.7)),
        ("good is more", slo(indicator=threshold(column="response_quality_score"),
            objectives=[{"op": "gt", "value": 0.7, "target": 0.9}]),
         Bad(column="response_quality_score", at_most=0.7)),
        ("the metric says what is bad", slo(indicator=threshold(column="cost_usd", above=2)),
         Bad(column="cost_usd", above=2)),
    ],
)  # fmt: skip
def test_an_indicator_says_what_is_bad(why: str, given: dict[str, Any], expected: Bad) -> None:
    assert one(given).rule == expected


@pytest.mark.parametrize(
    ("window", "period", "days"),
    [
        ({"duration": "2w", "isRolling": True}, "rolling", 14),
        ({"duration": "30d", "isRolling": True}, "rolling", 30),
        ({"duration": "1M", "isRolling": False, "calendar": CALENDAR}, "month", 30),
        ({"duration": "1Q", "calendar": CALENDAR}, "quarter", 90),
        ({"duration": "1M", "calendar": {**CALENDAR, "startTime": "2026-05-01 00:00:00"}}, "month", 30),
    ],
)  # fmt: skip
def test_a_time_window_is_a_period(window: dict[str, Any], period: str, days: int) -> None:
    found = one(slo(window=window))
    assert (found.period, found.period_days) == (period, days)


def test_a_start_may_be_a_time_of_yaml() -> None:
    text = yaml.safe_dump(slo(window={"duration": "1M", "calendar": CALENDAR}))
    found, problems = openslo.parse(
        text.replace("'2026-01-01 00:00:00'", "2026-01-01 00:00:00").encode()
    )
    assert problems == []
    assert found[0].period == "month"


def test_without_a_time_window_the_period_is_that_of_a_policy() -> None:
    given = slo()
    del given["spec"]["timeWindow"]
    assert (one(given).period, one(given).period_days) == ("rolling", 30)


@pytest.mark.parametrize(
    ("objective", "target"),
    [({"target": 0.9995}, 0.9995), ({"targetPercent": 99.95}, 0.9995), ({"targetPercent": 99.9}, 0.999)],
)  # fmt: skip
def test_a_target_may_be_in_percent(objective: dict[str, Any], target: float) -> None:
    assert one(slo(objectives=[objective])).target == target


def test_a_ratio_may_have_several_objectives() -> None:
    found, problems = parsed(slo(objectives=[{"target": 0.9}, {"target": 0.99}]))
    assert problems == []
    assert [(s.name, s.target) for s in found] == [("checkout-1", 0.9), ("checkout-2", 0.99)]


def test_indicators_and_sources_may_stand_in_documents_of_their_own() -> None:
    sli = {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "slow"},
           "spec": {"thresholdMetric": {"metricSource": {"metricSourceRef": "log",
                                                         "spec": {"column": "latency_ms"}}}}}  # fmt: skip
    store = {"apiVersion": "openslo/v1", "kind": "DataSource", "metadata": {"name": "log"},
             "spec": {**OURS, "connectionDetails": {}}}  # fmt: skip
    given = slo(indicatorRef="slow", objectives=[{"op": "lte", "value": 800, "target": 0.95}])
    del given["spec"]["indicator"]
    service = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "shop"}}
    assert one(given, sli, store, service).rule == Bad(column="latency_ms", above=800)


# ── what is refused ──────────────────────────────────────────────────────────────────────


def without(given: dict[str, Any], *path: str) -> dict[str, Any]:
    node = given
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return given


PROMETHEUS = {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(x)"}}}


@pytest.mark.parametrize(
    ("given", "path", "hint"),
    [
        (slo(budgetingMethod="Timeslices"), "spec.budgetingMethod", "expected Occurrences"),
        (slo(budgetingMethod="RatioTimeslices"), "spec.budgetingMethod", "expected Occurrences"),
        (slo(indicator=ratio(bad=PROMETHEUS)),
         "spec.indicator.spec.ratioMetric.bad.metricSource.type", "found 'Prometheus'; expected release-review"),
        (slo(indicator=threshold()), "thresholdMetric.metricSource.spec", "expected the name of a column"),
        (slo(indicator={"ratioMetric": {"raw": source(column="share"), "rawType": "success"}}),
         "ratioMetric", "raw ratios cannot be read"),
        (slo(indicator=ratio(good=source(column="is_ok"))), "ratioMetric", "exactly one of: good, bad"),
        (slo(indicator={"ratioMetric": {"bad": source(column="is_failure")}}),
         "ratioMetric.total", "is missing"),
        (slo(indicator=ratio(total=source(column="latency_ms"))), "ratioMetric.total", "knows 'is_failure'"),
        (slo(indicator={"ratioMetric": {"good": source(column="latency_ms", below=500), "total": source()}}),
         "ratioMetric.good", "is a flag"),
        (slo(indicator={**ratio(), **threshold(column="x")}), "spec.indicator.spec",
         "exactly one of: thresholdMetric, ratioMetric"),
        (slo(indicator=threshold(column="latency_ms")), "spec.objectives[0]", "needs op"),
        (slo(indicator=threshold(column="latency_ms"), objectives=[{"op": "eq", "value": 1, "target": 0.9}]),
         "spec.objectives[0]", "one of lte, lt, gte, gt"),
        (slo(indicator=threshold(column="latency_ms", above=5),
             objectives=[{"op": "lte", "value": 1, "target": 0.9}]), "spec.objectives[0]", "a limit already"),
        (slo(objectives=[{"op": "gt", "target": 0.9}]), "spec.objectives[0]", "go with a thresholdMetric"),
        (slo(indicator=threshold(column="x", above=1), objectives=[{"target": 0.9}, {"target": 0.8}]),
         "spec.objectives", "one objective"),
        (slo(objectives=[{"target": 0.9, "targetPercent": 90}]), "spec.objectives[0]",
         "exactly one of: target, targetPercent"),
        (slo(objectives=[{"displayName": "x"}]), "spec.objectives[0]", "exactly one of: target"),
        (slo(objectives=[{"target": 0}]), "spec.objectives[0].target", "above 0 and below 1"),
        (slo(objectives=[{"targetPercent": 100}]), "spec.objectives[0].targetPercent", "below 100"),
        (slo(objectives=[{"target": 0.9, "compositeWeight": 2}]), "spec.objectives[0].compositeWeight",
         "unknown key"),
        (slo(window={"duration": "1h", "isRolling": True}), "spec.timeWindow[0].duration", "such as 30d or 4w"),
        (slo(window={"duration": "1M", "isRolling": True}), "spec.timeWindow[0].duration", "such as 30d or 4w"),
        (slo(window={"duration": "1M", "isRolling": False}), "spec.timeWindow[0]", "isRolling: true, or calendar"),
        (slo(window={"duration": "30d", "isRolling": True, "calendar": CALENDAR}), "spec.timeWindow[0]",
         "isRolling: true, or calendar"),
        (slo(window={"duration": "1Y", "calendar": CALENDAR}), "spec.timeWindow[0].duration", "1M or 1Q"),
        (slo(window={"duration": "1M", "calendar": {**CALENDAR, "timeZone": "America/New_York"}}),
         "spec.timeWindow[0].calendar.timeZone", "expected Etc/UTC"),
        (slo(window={"duration": "1Q", "calendar": {**CALENDAR, "startTime": "2026-02-01 00:00:00"}}),
         "spec.timeWindow[0].calendar.startTime", "first day of a quarter"),
        (slo(window={"duration": "1M", "calendar": {**CALENDAR, "startTime": "2020-01-21 12:30:00"}}),
         "spec.timeWindow[0].calendar.startTime", "first day of a month"),
        (slo(timeWindow=[]), "spec.timeWindow", "exactly one time window"),
        (slo(window={"duration": "400d", "isRolling": True}), "spec.objectives[0]", "period_days"),
        (slo(name="not a slug"), "spec.objectives[0]", "name"),
        (slo(indicatorRef="also"), "spec", "exactly one of: indicator, indicatorRef"),
        (without(slo(indicatorRef="nothing"), "spec", "indicator"), "spec.indicatorRef",
         "no SLI is called 'nothing'"),
        (slo(goal=1), "spec.goal", "unknown key"),
        ({**slo(), "apiVersion": "openslo/v2"}, "apiVersion", "expected openslo/v1"),
        ({**slo(), "kind": "Slo"}, "kind", "known: AlertCondition"),
        (without(slo(), "metadata", "name"), "metadata.name", "expected a name"),
    ],
)  # fmt: skip
def test_what_means_something_else_here_is_refused(
    given: dict[str, Any], path: str, hint: str
) -> None:
    found, problems = parsed(given)
    assert found == ()
    assert len(problems) == 1, problems
    assert problems[0].startswith("document 1")
    assert path in problems[0]
    assert hint in problems[0]


def test_every_problem_of_every_document_is_told_at_once() -> None:
    broken = slo(budgetingMethod="Timeslices", objectives=[{"target": 2}],
                 window={"duration": "1Y", "calendar": {**CALENDAR, "timeZone": "Asia/Tokyo"}})  # fmt: skip
    found, problems = parsed(slo(), broken, slo(name="other", goal=1))
    assert [s.name for s in found] == ["checkout"]
    assert len(problems) == 5
    assert [p.partition(" (")[0] for p in problems] == ["document 2"] * 4 + ["document 3"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "holds no objective"),
        (b"- 1", "expected keys and values"),
        (b"a: [", "line 1"),
        (b"\xff", "not UTF-8"),
        (b"a: &x 1\nb: *x", "aliases"),
        (yaml.safe_dump_all([slo(), slo()]).encode(), "another objective's name"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "slos.yaml"
    path.write_bytes(text)
    with pytest.raises(PolicyError, match=problem):
        openslo.read(path)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        openslo.read(tmp_path / "none.yaml")


# ── there and back ───────────────────────────────────────────────────────────────────────

COLUMNS = st.sampled_from(["is_failure", "latency_ms", "cost_usd", "a column: with 'quotes'"])
LIMITS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda v: v + 0.0)
RULES = st.one_of(
    st.builds(lambda c: Bad(column=c), COLUMNS),
    st.builds(lambda c, k, v: Bad(column=c, **{k: v}), COLUMNS,
              st.sampled_from(["above", "below", "at_least", "at_most"]), LIMITS),
    st.builds(lambda c, v: Bad(column=c, equals=v), COLUMNS,
              st.one_of(st.booleans(), st.integers(-9, 9), st.sampled_from(["no", "1", "a b"]))),
)  # fmt: skip
SLOS = st.builds(
    lambda name, bad, target, days, period, by: Slo.model_validate(
        {"name": name, "bad": bad, "target": target, "period": period,
         "by": by, **({"period_days": days} if period == "rolling" else {})}),
    st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True), RULES,
    st.floats(0.001, 0.99999), st.integers(1, 366), st.sampled_from(["rolling", "month", "quarter"]),
    st.lists(st.sampled_from(["account_tier", "use_case", 'a "b", c']), unique=True),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(SLOS, min_size=1, max_size=4, unique_by=lambda s: s.name))
def test_what_is_written_is_read_as_it_was(slos: list[Slo]) -> None:
    row = AlertRow(1, 1 / 12, 14.4, True, True)
    text = document([(s, [row]) for s in slos])
    found, problems = openslo.parse(text.encode())
    assert problems == []
    assert [(s.name, s.rule, s.target, s.period, s.period_days, s.by) for s in found] == [
        (s.name, s.rule, s.target, s.period, s.period_days, s.by) for s in slos
    ]
    names = [d["metadata"]["name"] for d in yaml.safe_load_all(text)]
    assert len(set(names)) == len(names)
    assert all(len(n) <= 63 and n == n.lower() and "_" not in n for n in names)


def test_each_alert_is_a_policy_with_its_windows() -> None:
    held = Slo(name="availability", bad="is_failure", target=0.9)
    rows = [AlertRow(1, 1 / 12, 14.4, True, False), AlertRow(72, 6, 1.0, False, True)]
    documents = list(yaml.safe_load_all(document([(held, rows)])))
    kinds = [d["kind"] for d in documents]
    assert kinds == ["Service", *["AlertNotificationTarget"] * 2, "SLO", *["AlertPolicy"] * 2]
    page, ticket = documents[-2:]
    assert page["metadata"]["annotations"] == {
        "release-review.short-window": "5m", "release-review.feasible": "false",
    }  # fmt: skip
    assert ticket["metadata"]["annotations"] == {"release-review.short-window": "6h"}
    [condition] = ticket["spec"]["conditions"]
    assert condition["spec"]["severity"] == "ticket"
    assert condition["spec"]["condition"] == {
        "kind": "burnrate", "op": "gte", "threshold": 1.0, "lookbackWindow": "3d", "alertAfter": "0m",
    }  # fmt: skip
    assert [a["alertPolicyRef"] for a in documents[3]["spec"]["alertPolicies"]] == [
        page["metadata"]["name"], ticket["metadata"]["name"],
    ]  # fmt: skip


# ── in a policy ──────────────────────────────────────────────────────────────────────────


def policy(folder: Path, text: str, *documents: dict[str, Any]) -> Path:
    (folder / "slos.yaml").write_text(yaml.safe_dump_all(documents))
    path = folder / "policy.yml"
    path.write_text(text)
    return path


def test_a_policy_takes_its_objectives_from_a_file_beside_it(tmp_path: Path) -> None:
    latency = slo(
        "latency", threshold(column="latency_ms"), [{"op": "lte", "value": 900, "target": 0.95}]
    )
    path = policy(tmp_path, "slos: {openslo: slos.yaml}\n"
                  "gate: {severity: {budget.checkout: note}}", slo(), latency)  # fmt: skip
    loaded = load(path)
    assert [s.name for s in loaded.policy.slos] == ["checkout", "latency"]
    assert loaded.policy.latency_slo is not None
    assert loaded.policy.latency_slo.rule == Bad(column="latency_ms", above=900)
    assert loaded.policy.settings()["slos"][0]["name"] == "checkout"
    assert (
        loaded.sha256
        == hashlib.sha256(
            path.read_bytes() + b"\0" + (tmp_path / "slos.yaml").read_bytes()
        ).hexdigest()
    )


def test_the_digest_follows_the_files_bytes(tmp_path: Path) -> None:
    path = policy(tmp_path, "slos: {openslo: slos.yaml}", slo())
    before = load(path).sha256
    (tmp_path / "slos.yaml").write_text("# said\n" + yaml.safe_dump(slo()))
    assert load(path).sha256 != before


def test_problems_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    path = policy(
        tmp_path,
        "slos: {openslo: slos.yaml}\ncluster: team",
        slo(budgetingMethod="x"),
        slo("b", goal=1),
    )
    with pytest.raises(PolicyError) as refused:
        load(path)
    told = refused.value.problems
    assert len(told) == 3
    assert sum(p.startswith("slos.openslo: slos.yaml: document") for p in told) == 2
    assert sum(p.startswith("cluster:") for p in told) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("slos: {openslo: none.yaml}", "No such file"),
        ("slos: {openslo: 3}", "expected a list, or {openslo: file}"),
        ("slos: {open: x}", "expected a list, or {openslo: file}"),
        ("slos: {openslo: .}", "directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PolicyError) as refused:
        load(policy(tmp_path, text, slo()))
    [told] = refused.value.problems
    assert told.startswith("slos.openslo: ")
    assert problem in told


def test_the_command_writes_what_a_policy_reads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "slos: [{name: Safe_answers, bad: unsafe_flag, target: 0.9, period: quarter}, "
        "{name: latency, bad: {column: latency_ms, above: 2200}, target: 0.999}]"
    )
    path = tmp_path / "policy.yml"
    path.write_text(text)
    assert main(["slos", "--policy", str(path), "--out", str(tmp_path / "slos.yaml")]) == 0
    again = tmp_path / "again.yml"
    again.write_text("slos: {openslo: slos.yaml}")
    rules = [(s.name, s.rule, s.target, s.period, s.period_days) for s in load(path).policy.slos]
    assert rules == [
        (s.name, s.rule, s.target, s.period, s.period_days) for s in load(again).policy.slos
    ]
    assert main(["slos", "--policy", str(again)]) == 0
    written = list(yaml.safe_load_all(capsys.readouterr().out))
    alerts = [d for d in written if d["kind"] == "AlertPolicy"]
    assert len(alerts) == 8
    month = [d["spec"]["conditions"][0]["spec"]["condition"] for d in alerts[4:]]
    assert [(c["lookbackWindow"], c["threshold"]) for c in month] == [
        ("1h", 14.4), ("6h", 6.0), ("1d", 3.0), ("3d", 1.0),
    ]  # fmt: skip
    # Of a tenth of bad events, no window burns faster than ten times: not 43 of a quarter's first hour.
    assert [d["metadata"]["annotations"].get("release-review.feasible") for d in alerts[:4]] == [
        "false", "false", None, None,
    ]  # fmt: skip
