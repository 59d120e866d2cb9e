"""Odd but valid telemetry and policies, over the whole path: every artifact keeps its promises."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.__main__ import main
from analysis.gate import EXIT_CODES
from analysis.present import draw
from analysis.review import UNCHANGED
from analysis.sample import generate, write
from analysis.tables import FILES, TABLES
from analysis.telemetry.opening import KNOWN
from tests.end_to_end.promises import WORDS, broken

REQUIRED = ["interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure"]
CANDIDATE = pd.Timestamp("2026-11-02", tz="UTC")
SMALL = {"model_provider": "aurora", "model_name": "aurora-small"}
BY_RELEASE = {"windows": {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}}
FIRST = {"windows": {"baseline": "none"}}
ANY_SHARE_MISSING = {"missing": {"max_rate": 1}}

Frame = pd.DataFrame
Change = Callable[[Frame], Frame]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """1,200 interactions of a healthy release."""
    data = write(generate("healthy", 1200, 3), tmp_path_factory.mktemp("base") / "data", "parquet")
    rows = pd.read_parquet(data / "llm_system_interactions.parquet")
    rows["timestamp_utc"] = pd.to_datetime(rows["timestamp_utc"], utc=True)
    return rows


def tables(rows: Frame) -> dict[str, Frame]:
    """The three tables of these interactions."""
    sessions = rows.groupby("session_id", sort=False, observed=True).agg(
        user_id=("user_id", "first"), start_timestamp_utc=("timestamp_utc", "min")
    )
    users = pd.DataFrame({"user_id": rows["user_id"].unique()})
    return {
        "interactions": rows,
        "sessions_summary": sessions.reset_index(),
        "users_summary": users,
    }


def written(rows: Frame, folder: Path, form: str = "csv") -> Path:
    folder.mkdir(parents=True)
    for name, frame in tables(rows).items():
        if form == "parquet":
            frame.to_parquet(folder / f"llm_system_{name}.parquet", index=False)
            continue
        frame = frame.copy()
        for column in frame.select_dtypes("datetimetz").columns:
            frame[column] = frame[column].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        frame.to_csv(folder / f"llm_system_{name}.csv", index=False)
    return folder


@dataclass(frozen=True)
class World:
    """Telemetry and policy; `inconclusive` are checks that must be, with what the reason names."""

    name: str
    change: Change = lambda rows: rows
    policy: dict[str, Any] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    form: str = "csv"
    inconclusive: dict[str, str] = field(default_factory=dict)
    outcome: str | None = None


def without(*columns: str) -> Change:
    return lambda rows: rows.drop(columns=list(columns))


def with_columns(**columns: Any) -> Change:
    return lambda rows: rows.assign(**columns)


def unknown(*columns: str, where: Callable[[Frame], Any] = lambda r: r.index >= 0) -> Change:
    def change(rows: Frame) -> Frame:
        hidden = where(rows)
        return rows.assign(**{c: rows[c].astype("object").mask(hidden) for c in columns})

    return change


def in_candidate(rows: Frame) -> Any:
    return rows["timestamp_utc"] >= CANDIDATE


def in_baseline(rows: Frame) -> Any:
    return rows["timestamp_utc"] < CANDIDATE


def released(share: float) -> Change:
    """Sessions assigned to the release `new` with this share, all the time."""

    def change(rows: Frame) -> Frame:
        codes = pd.factorize(rows["session_id"])[0]
        return rows.assign(release_id=np.where(codes % 100 < 100 * share, "new", "old"))

    return change


def failures_of_the_past_in_one_slice(rows: Frame) -> Frame:
    spared = in_baseline(rows) & (rows["use_case"] != "coding")
    return rows.assign(is_failure=rows["is_failure"].mask(spared, False))


def strange_ids(rows: Frame) -> Frame:
    return rows.assign(
        user_id=[f'ü {u}\n\t"x",\u202e😀' for u in rows["user_id"]],
        session_id=rows["session_id"] + " " + "k" * 1_000,
        interaction_id=[f"i d\n{k}" if k else "N" * 10_240 for k in range(len(rows))],
    )


def columns_named_like_aliases(rows: Frame) -> Frame:
    names = "win n y day hour ts cluster weight fact rowid value low high support count sum bad "
    names += "failure cost latency_breach select group order date metric slice session usr key w"
    numbers = np.arange(len(rows)) % 3
    more = pd.DataFrame(dict.fromkeys(names.split(), numbers), index=rows.index)
    return pd.concat([rows, more], axis=1)


def hostile(rows: Frame) -> Frame:
    values = [
        "<script>alert(1)</script>",
        "=cmd()",
        "{{< env HOME >}}",
        "nan",
        "",
        "a\nb",
        "x" * 999,
    ]
    return rows.assign(use_case=[values[k % len(values)] for k in range(len(rows))])


def categorical(rows: Frame) -> Frame:
    texts = [c for c in rows.columns if rows[c].dtype == object or rows[c].dtype == "str"]
    return rows.astype({c: "category" for c in texts if not c.endswith("_utc")})


WORLDS = [
    World(
        "required columns only",
        lambda rows: rows[REQUIRED],
        inconclusive={
            "health.latency_breach_rate": "latency_ms",
            "health.cost_usd": "cost_usd",
            "budget.spend": "cost_usd",
            "hotspots.regression": "use_case",
            "routing.support-to-aurora-small": "model_name",
        },
        outcome="hold",
    ),
    World("a first release of required columns", lambda rows: rows[REQUIRED], FIRST, outcome="hold"),
    World(
        "no label",
        unknown("is_failure"),
        inconclusive={"health.failure_rate": "is_failure", "budget.availability": "is_failure"},
        outcome="hold",
    ),
    World(
        "no label in the candidate",
        unknown("is_failure", where=in_candidate),
        inconclusive={"health.failure_rate": "is_failure"},
        outcome="hold",
    ),
    World(
        "no value of anything in the candidate, and any share may be missing",
        unknown("is_failure", "latency_ms", "cost_usd", where=in_candidate),
        ANY_SHARE_MISSING,
        inconclusive={"budget.spend": "cost_usd", "budget.latency": "latency_ms"},
        outcome="hold",
    ),
    World(
        "no value of anything in the baseline, and any share may be missing",
        unknown("is_failure", "latency_ms", "cost_usd", where=in_baseline),
        ANY_SHARE_MISSING,
        outcome="hold",
    ),
    World("no failures", with_columns(is_failure=False), outcome="hold"),
    World("failures only", with_columns(is_failure=True), outcome="hold"),
    World("failures of the past in one slice", failures_of_the_past_in_one_slice),
    World("one user", with_columns(user_id="u"), outcome="hold"),
    World("one session", with_columns(user_id="u", session_id="s"), FIRST, outcome="hold"),
    World("three interactions", lambda rows: rows.iloc[[0, 600, -1]], outcome="hold"),
    World(
        "one day",
        lambda rows: rows[rows["timestamp_utc"].dt.normalize() == CANDIDATE],
        {"windows": {"candidate": {"days": 1}, "baseline": "none"}},
        outcome="hold",
    ),
    World(
        "windows that begin and end within a day",
        policy={
            "windows": {
                "candidate": {"start": "2026-11-02T05:00:00Z", "end": "2026-11-09T17:00:00Z"},
                "baseline": {"start": "2026-10-12T03:00:00Z", "end": "2026-11-02T05:00:00Z"},
            }
        },
    ),
    World("a canary", released(0.1), BY_RELEASE, outcome="hold"),
    World("two concurrent arms as of a middle day", released(0.5), BY_RELEASE, ("--as-of", "2026-11-05")),
    World(
        "windows of 9 and 3 days",
        policy={"windows": {"candidate": {"days": 9}, "baseline": {"days": 3}}},
    ),
    World(
        "an incident within the candidate",
        policy={
            "windows": {
                "exclude": [{"start": "2026-11-04", "end": "2026-11-06T12:00:00Z", "reason": "outage"}]
            }
        },
    ),
    World("labels known three days later, as of a middle day", args=("--as-of", "2026-11-09T05:00:00Z")),
    World("costs and latencies of zero", with_columns(cost_usd=-0.0, latency_ms=-0.0), form="parquet"),
    World(
        "no SLO",
        policy={"slos": []},
        inconclusive={"health.latency_breach_rate": "latency"},
        outcome="hold",
    ),
    World(
        "SLOs of every form, and of columns that hold no such values",
        policy={
            "slos": [
                {"name": "a", "bad": {"column": "temperature", "equals": 0.2}, "target": 0.5},
                {"name": "b", "bad": {"column": "response_quality_score", "below": 0.5}, "target": 0.9},
                {"name": "c", "bad": "safety_flag", "target": 0.999, "period_days": 366},
                {"name": "d", "bad": {"column": "model_name", "above": 3}, "target": 0.5},
                {"name": "e", "bad": "no_such", "target": 0.5},
                {"name": "f", "bad": {"column": "timestamp_utc", "above": 5}, "target": 0.5},
            ]
        },
        inconclusive={"budget.d": "model_name", "budget.e": "no_such", "budget.f": "timestamp_utc"},
    ),
    World(
        "routing rules of every form",
        policy={
            "routing": {
                "candidates": [
                    {"name": "never", "rules": [{"when": {"use_case": "zzz"}, "use": SMALL}]},
                    {"name": "all", "rules": [{"when": {}, "use": SMALL}]},
                    {"name": "lost", "rules": [{"when": {"no_such": 1}, "use": SMALL}]},
                    {"name": "late", "rules": [{"when": {"is_failure": True}, "use": SMALL}]},
                    {"name": "lists", "rules": [{"when": {"retry_index": [0, 1]}, "use": SMALL}]},
                ]
            }
        },
        inconclusive={"routing.lost": "no_such", "routing.late": "is_failure"},
    ),
    World("propensities next to nothing", with_columns(routing_propensity=1e-300)),
    World(
        "triage of another label with next to no capacity",
        policy={"triage": {"label": "tool_error_flag", "decide_at": "request", "capacity_per_day": 0.001}},
    ),
    World(
        "hotspots of SLOs, flags and nonsense, as small as they come",
        policy={
            "hotspots": {
                "metrics": ["failure", "latency", "tool_error_flag", "nonsense", "cost"],
                "min_support": 1,
                "max_depth": 2,
                "min_ratio": 1,
                "fdr": 0.5,
            }
        },
    ),
    World("no dimension", policy={"dimensions": []}, inconclusive={"hotspots.regression": "dimensions"}),
    World(
        "looks, limits and severities",
        policy={
            "gate": {
                "looks": 14,
                "limits": {"health.failure_rate": 0.02, "health.cost_usd": 2},
                "severity": {"drift.joint": "block", "health.failure_rate": "note"},
            }
        },
        outcome="hold",
    ),
    World("strange ids", strange_ids),
    World("hostile values", hostile),
    World("columns named like aliases", columns_named_like_aliases),
    World("categoricals", categorical, form="parquet"),
    World("domain for use_case", lambda rows: rows.rename(columns={"use_case": "domain"})),
    World("one value in every optional column", lambda rows: rows.assign(**{
        c: rows[c].iloc[0] for c in rows.columns if c not in REQUIRED
    })),
    World("nothing in any optional column", lambda rows: rows.assign(**{
        c: None for c in rows.columns if c not in REQUIRED
    }), outcome="hold"),
]  # fmt: skip


@functools.cache
def report_policy() -> str:
    return (Path(__file__).resolve().parents[2] / "report" / "policy.yml").read_text()


def policy_file(changes: dict[str, Any], folder: Path) -> Path:
    settings = yaml.safe_load(report_policy())
    del settings["data"]
    for section, values in changes.items():
        if isinstance(values, dict) and section != "windows":
            settings[section] = {**settings[section], **values}
        elif section == "windows":
            settings["windows"] = {"candidate": {"days": 14}, "baseline": {"days": 42}, **values}
        else:
            settings[section] = values
    # JSON is YAML without aliases.
    path = folder / "policy.yml"
    path.write_text(artifacts.canonical(settings).decode())
    return path


def reviewed(
    world: World, rows: Frame, folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The artifact that the command line writes, and at most that it was known said on stderr."""
    data = written(world.change(rows), folder / "data", world.form)
    out = folder / "out"
    policy = policy_file(world.policy, folder)
    argv = ["review", "--data", str(data), "--policy", str(policy), "--out", str(out)]
    code = main([*argv, "--threads", "1", *world.args])
    told = capsys.readouterr()
    assert code == 0
    assert told.err in ("", f"{KNOWN}\n", f"{UNCHANGED}\n")
    assert len(list((out / "tables").iterdir())) == len(TABLES) + len(FILES)
    return artifacts.read(out / artifacts.FILE_NAME)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_an_odd_world_is_reviewed_and_every_promise_is_kept(
    world: World, base: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = reviewed(world, base, tmp_path, capsys)
    assert broken(body) == []
    checks = {c["id"]: c for c in body["checks"]}
    for name, column in world.inconclusive.items():
        assert checks[name]["outcome"] == "inconclusive", name
        assert column in checks[name]["reason"], name
    if world.outcome is not None:
        assert body["decision"]["outcome"] == world.outcome
    path = tmp_path / "out" / artifacts.FILE_NAME
    assert main(["gate", str(path), "--format", "junit"]) == EXIT_CODES[body["decision"]["outcome"]]
    junit = ET.fromstring(capsys.readouterr().out)
    assert len(list(junit.iter("testcase"))) == len(checks)
    main(["gate", str(path)])
    assert WORDS.search(capsys.readouterr().out) is None


@pytest.mark.parametrize(
    ("policy", "args", "says"),
    [
        ({"windows": {"candidate": {"release_id": "zz"}}}, (), "zz"),
        (
            {
                "windows": {
                    "exclude": [{"start": "2026-11-02", "end": "2026-11-17", "reason": "all"}]
                }
            },
            (),
            "windows.candidate",
        ),
        (
            {
                "windows": {
                    "exclude": [{"start": "2026-01-01", "end": "2026-11-02", "reason": "all"}]
                }
            },
            (),
            "windows.baseline",
        ),
        ({}, ("--as-of", "2020-01-01"), "windows.candidate"),
        ({}, ("--as-of", "2027-06-01"), "windows.candidate"),
    ],
    ids=["unknown release", "candidate excluded", "baseline excluded", "before", "after"],
)
def test_a_window_outside_the_data_is_the_policy_s_fault_and_the_range_is_told(
    policy: dict[str, Any],
    args: tuple[str, ...],
    says: str,
    base: Frame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = written(base, tmp_path / "data")
    out = tmp_path / "out"
    wanted = policy_file(policy, tmp_path)
    code = main(["review", "--data", str(data), "--policy", str(wanted), "--out", str(out), *args])
    told = capsys.readouterr().err
    assert code == 2
    assert says in told
    assert "2026-09-21" in told
    assert "2026-11-15" in told
    assert not out.exists()


@pytest.mark.parametrize("name", ["strange ids"])
def test_row_order_and_format_change_no_evidence_of_an_odd_world(
    name: str, base: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = next(w for w in WORLDS if w.name == name)
    rows = world.change(base)
    same = World(name, policy=world.policy)
    shuffled = rows.sample(frac=1, random_state=7)
    parquet = World(name, policy=world.policy, form="parquet")
    digests = {
        reviewed(w, frame, tmp_path / key, capsys)["evidence_digest"]
        for key, w, frame in (
            ("plain", same, rows),
            ("shuffled", same, shuffled),
            ("parquet", parquet, shuffled),
        )
        if (tmp_path / key).mkdir() is None
    }
    assert len(digests) == 1


def test_headline_figures_agree_with_plain_pandas(
    base: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = reviewed(World("plain"), base, tmp_path, capsys)
    views = body["views"]
    start = base.groupby("session_id")["timestamp_utc"].transform("min")
    rows = base[start >= CANDIDATE].assign(bad=lambda r: r["is_failure"].astype("Float64"))
    health = views["health"]["candidate"]
    slow = (rows["latency_ms"] > 2200).mean()
    spend = rows["cost_usd"].sum() / 14
    period = base[base["timestamp_utc"] >= CANDIDATE - pd.Timedelta(days=16)]
    slo = views["budget"]["slos"][0]
    known = period["is_failure"].dropna().astype(float)
    for ours, theirs in [
        (health["failure_rate"]["value"], rows["bad"].mean()),
        (health["failure_rate"]["support"], rows["bad"].count()),
        (health["latency_breach_rate"]["value"], slow),
        (health["cost_usd_per_interaction"]["value"], rows["cost_usd"].mean()),
        (slo["burn_rate"]["value"], rows["bad"].mean() / 0.05),
        (slo["budget_consumed"], known.sum() / (0.05 * len(known))),
        (views["budget"]["spend"]["usd_per_day"]["value"], spend),
        (views["budget"]["spend"]["burn_rate"]["value"], spend / 60),
    ]:
        assert ours == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize("name", ["one user", "three interactions"])
def test_the_pages_of_an_odd_world_are_drawn_without_a_warning(
    name: str, base: Frame, tmp_path: Path
) -> None:
    world = next(w for w in WORLDS if w.name == name)
    data = written(world.change(base), tmp_path / "data")
    policy = policy_file(world.policy, tmp_path)
    review = reviews.compute(reviews.request(data=str(data), policy=policy, threads=1))
    draw(review, tmp_path / "drawn")
    assert (tmp_path / "drawn" / "pages").is_dir()
