"""The published form of a share-safe review: nothing small, nothing that gives it away, and the same decision."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import artifact as artifacts
from analysis import gate_report
from analysis import review as reviews
from analysis.disclosure import Sum, attack, rounded
from analysis.masking import Names, is_sensitive, plain_settings
from analysis.policy import Policy, Publish
from analysis.publication import file_names, published
from analysis.published_names import EVENTS, NOT_COUNTS, WHOLE
from analysis.published_values import Publisher
from analysis.review import Review
from analysis.sample import generate, write
from analysis.tables import csv_bytes
from analysis.verification import Inputs, verify

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "report" / "policy.yml"
SAFE = Policy(publish=Publish(share_safe=True))
EMAIL, PLACE, PROSE = (
    "ada.lovelace@clinic.example",
    "/home/ada/prompts/intake.txt",
    "please tell my doctor that the new tablets make me dizzy at night",
)

Body = dict[str, Any]


def written(folder: Path, **changes: Any) -> Path:
    held = {**yaml.safe_load(POLICY.read_text()), **changes}
    (folder / "policy.yml").write_text(yaml.safe_dump(held))
    return folder / "policy.yml"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Review:
    """The committed sample, reviewed as it is."""
    policy = written(tmp_path_factory.mktemp("policy"))
    wanted = reviews.request(data=str(ROOT / "data" / "sample"), policy=policy)
    return reviews.compute(wanted)


@pytest.fixture(scope="module")
def safe(raw: Review) -> Review:
    body, results = published(raw.body, raw.results, SAFE, Names())
    return Review(artifacts.sealed(artifacts.rounded_tree(body)), results, ())


def objects(held: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of the views but the headline figures of whole windows."""
    if place in WHOLE:
        return
    if isinstance(held, Mapping):
        yield place, held
        for key, value in held.items():
            yield from objects(value, f"{place}.{key}".lstrip("."))
    elif isinstance(held, list):
        for value in held:
            yield from objects(value, place)


# ── what is shown ────────────────────────────────────────────────────────────────────────


def test_no_count_in_the_artifact_is_small_and_all_are_rounded(safe: Review) -> None:
    seen = 0
    for place, held in objects(safe.body["views"]):
        for name, value in held.items():
            whole = f"{place}.{name}" in WHOLE or name in NOT_COUNTS or "nano" in name
            if type(value) is int and not whole:
                assert value == 0 or (value >= 10 and value % 5 == 0), (place, name, value)
                seen += 1
    assert seen > 300


def test_no_rate_in_the_artifact_tells_a_small_numerator(raw: Review, safe: Review) -> None:
    """By the true support of each rate, which the reader has to within two."""
    seen = 0
    before = dict(objects(raw.body["views"]))
    for place, held in objects(safe.body["views"]):
        named = any(n in place for n in ("_rate", "_flag")) and held.keys() == {
            *["value", "low", "high", "support"]
        }
        if not named or not place.startswith("health") or "change" in place:
            continue
        true = before[place] if "by_model" not in place else held
        if held.get("value") is not None and held["support"]:
            events = held["value"] * true["support"]
            assert events >= 7.5, place
            assert (true["support"] - events) >= 7.5, place
            steps = held["value"] * held["support"] / 5
            assert steps == pytest.approx(round(steps), abs=1e-6)
            seen += 1
    assert seen > 20


def test_no_table_shows_a_small_count(safe: Review) -> None:
    seen = 0
    for name, frame in safe.tables.items():
        # The budget's own support is that of the whole window.
        for column in frame.columns if name != "slo_burn.csv" else ():
            if column in ("support", "interactions", "bad", "requests", "reviewed", "tp", "fp",
                          "n_baseline", "n_candidate", "n_bad", "arrivals"):  # fmt: skip
                for value in frame[column].dropna():
                    assert value == 0 or (value >= 10 and value % 5 == 0), (name, column, value)
                    seen += 1
    assert seen > 500


def test_the_decision_the_checks_and_the_headline_stay(raw: Review, safe: Review) -> None:
    for name in ("decision", "checks", "windows", "release"):
        assert safe.body[name] == raw.body[name]
    for name in ("baseline", "candidate", "change"):
        assert safe.body["views"]["health"][name] == raw.body["views"]["health"][name]
    assert safe.body["views"]["budget"]["spend"] == raw.body["views"]["budget"]["spend"]


def test_a_published_artifact_verifies_and_says_what_was_done(safe: Review) -> None:
    assert artifacts.verify(safe.body) == []
    said = safe.body["publication"]
    assert (said["min_cell"], said["rounded_to"]) == (10, 5)
    assert {h["where"] for h in said["hidden"]} >= {"hotspots.found.detail.days"}
    whats = {one["what"] for one in said["left_out"]}
    assert whats >= {
        "tables/hotspots.csv",
        "tables/triage_actions.csv",
        "tables/triage_policy.json",
    }


def test_the_same_review_is_published_in_the_same_bytes(raw: Review, safe: Review) -> None:
    body, results = published(raw.body, raw.results, SAFE, Names())
    again = artifacts.sealed(artifacts.rounded_tree(body))
    assert artifacts.canonical(again) == artifacts.canonical(safe.body)
    for view, result in results.items():
        for name, frame in result.tables.items():
            assert csv_bytes(frame) == csv_bytes(safe.results[view].tables[name])


def test_tables_of_rows_and_crossed_cells_are_empty(safe: Review) -> None:
    for name in (
        "hotspots.csv",
        "drift_distributions.csv",
        "drift_consequence.csv",
        "triage_actions.csv",
    ):
        assert safe.tables[name].empty, name
    assert "left_out" in json.loads(safe.files["triage_policy.json"])
    assert safe.body["views"]["drift"]["distributions_sha256"] is None


def test_a_hidden_row_of_a_table_is_empty_and_marked(safe: Review) -> None:
    curve = safe.tables["triage_threshold_curve.csv"]
    hidden = curve[curve["suppressed"] == True]  # noqa: E712
    assert len(hidden) > 0
    assert hidden["threshold"].notna().all()
    assert hidden[["tp", "fp", "fn", "tn", "recall", "cost_usd"]].isna().all().all()


def test_policy_settings_and_inputs_name_no_place(safe: Review, raw: Review) -> None:
    assert plain_settings(raw.body["policy"]["settings"])["data"] is None
    assert all("/" not in one["file"] for one in safe.body["inputs"])
    assert file_names([("t", "t/user=1/part-0.parquet"), ("t", "t/b.parquet"), ("s", "s.csv")]) == [
        "part 1", "part 2", "s.csv",
    ]  # fmt: skip


def test_a_check_of_a_slice_that_is_too_small_tells_no_figure(raw: Review, tmp_path: Path) -> None:
    few = {**raw.body["checks"][1], "id": "threshold.rare", "view": "gate", "support": 4,
           "sentence": "3 of 4 interactions failed: 75 %.", "unit": "rate", "value": 0.75}  # fmt: skip
    flips = [{**raw.body["decision"]["flips"][0], "check": "threshold.rare"}]
    body = {
        **raw.body,
        "checks": [*raw.body["checks"], few],
        "decision": {**raw.body["decision"], "flips": [*raw.body["decision"]["flips"], *flips]},
    }
    made = artifacts.sealed(artifacts.rounded_tree(published(body, raw.results, SAFE, Names())[0]))
    shown = made["checks"][-1]
    assert (shown["outcome"], shown["severity"]) == (few["outcome"], few["severity"])
    assert [shown[k] for k in ("value", "low", "high", "support")] == [None] * 4
    assert "75" not in shown["sentence"]
    assert made["decision"]["flips"] == raw.body["decision"]["flips"]
    assert artifacts.verify(made) == []
    assert "suppressed: few interactions" in gate_report.explain(made, "threshold.rare")
    assert "suppressed" in gate_report.FORMATS["markdown"](made)


# ── what can be told from it ─────────────────────────────────────────────────────────────

ROWS = st.lists(st.tuples(st.integers(0, 80), st.floats(0, 1)), min_size=2, max_size=8).filter(
    lambda rows: sum(n for n, _ in rows) > 0
)


@settings(deadline=None, max_examples=80)
@given(ROWS)
def test_no_hidden_row_of_a_list_can_be_recovered_from_its_totals(
    drawn: list[tuple[int, float]],
) -> None:
    """An attacker knows all that is published, and the exact totals of interactions and of bad ones."""
    rows = [
        {"value": f"v{i}", "column": "release_id", "interactions": n, "bad": round(n * share),
         "burn_rate": 20.0 * round(n * share) / n if n else None, "budget_consumed": 0.0}
        for i, (n, share) in enumerate(drawn)
    ]  # fmt: skip
    publisher = Publisher(10, {"candidate": 5_000}, 0.0)
    made = publisher.view("budget", {"slos": [{"error_budget": 0.05, "by_release": rows}]})
    shown = {row["value"]: row for row in made["slos"][0]["by_release"]}
    every = tuple(range(len(rows)))
    for name in ("interactions", "bad"):
        seen = [shown.get(row["value"], {}).get(name) for row in rows]
        known = attack(seen, [Sum(every, sum(row[name] for row in rows))])
        for row, given_, (low, high) in zip(rows, seen, known, strict=True):
            assert low - 1e-6 <= row[name] <= high + 1e-6
            if 0 < row[name] < 10 or (row[name] == 0 and name in EVENTS):
                assert given_ is None
                assert high - low >= 10 - 1e-6 or not shown
    for row in shown.values():
        if row["bad"]:
            assert row["burn_rate"] == pytest.approx(
                row["bad"] / row["interactions"] / 0.05, rel=0.01
            )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(200, 3000), st.integers(0, 60)), min_size=2, max_size=6))
def test_no_hidden_rate_of_a_model_can_be_recovered_from_the_others(
    models: list[tuple[int, int]],
) -> None:
    rows = [
        {"model_name": f"m{i}", "n": n, "candidate": {"failure_rate": {
            "value": bad / n, "low": bad / n / 2, "high": min(1.0, 2 * bad / n), "support": n}}}
        for i, (n, bad) in enumerate(models)
    ]  # fmt: skip
    made = Publisher(10, {"candidate": 20_000}, 0.0).view("health", {"by_model": rows})
    seen = []
    for row, (n, bad) in zip(made["by_model"], models, strict=True):
        held = row["candidate"]["failure_rate"]
        assert held["support"] == rounded(n)
        # From the rate and the support that are shown to the numerator that they stand for.
        seen.append(None if held["value"] is None else round(held["value"] * held["support"]))
        if held["value"] is None:
            assert (held["low"], held["high"]) == (None, None)
        else:
            assert abs(seen[-1] - bad) <= 2.5 + 1e-6
            assert held["low"] * held["support"] / 5 == pytest.approx(
                round(held["low"] * held["support"] / 5), abs=1e-6
            )
    known = attack(seen, [Sum(tuple(range(len(models))), sum(bad for _, bad in models))])
    for (_, bad), given_, (low, high) in zip(models, seen, known, strict=True):
        if bad < 10:
            assert given_ is None
            assert high - low >= 10 - 1e-6 or all(s is None for s in seen)


def test_a_key_that_nobody_declared_is_taken_for_a_cell() -> None:
    made = Publisher(10, {"candidate": 1_000}, 0.0).view(
        "health",
        {"fresh": 7, "rows": [{"who": "a", "m": 3}], "more": {"many": 123, "odd_share": 0.213}},
    )
    more = made.pop("more")
    assert made == {"fresh": None, "rows": []}
    # Fresh counts seven, and what stands below it may be shares of those.
    assert more == {"many": 125, "odd_share": 0.0}
    alone = Publisher(10, {"candidate": 1_000}, 0.0).view(
        "health", {"many": 123, "odd_share": 0.213}
    )
    assert alone == {"many": 125, "odd_share": pytest.approx(5 * 5 / 123)}


def test_a_change_tells_no_more_than_its_two_sides() -> None:
    def side(value: float, n: int) -> Body:
        return {"value": value, "low": value / 2, "high": value * 2, "support": n}

    more = {
        "baseline": side(0.02, 1000),
        "candidate": side(0.001, 1000),
        "change": side(-0.019, 2000),
    }
    made = Publisher(10, {"candidate": 1_000}, 0.0).view("health", {"more": {"pii_flag": more}})
    held = made["more"]["pii_flag"]
    assert held["baseline"]["value"] == 0.02
    assert held["candidate"]["value"] is held["change"]["value"] is held["change"]["high"] is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("3 interactions lack an outcome", "fewer than 10 interactions lack an outcome"),
        ("of 4,944 requests", "of 4,945 requests"),
        ("“web” rose to 0.1 %", "“web” rose to less than 1 %"),
        ("99.9 % are known", "more than 99 % are known"),
        ("it rose from 12.0 % to 14 days", "it rose from 12.0 % to 14 days"),
    ],
)
def test_sentences_tell_no_small_counts(said: str, shown: str) -> None:
    assert Publisher(10, {"candidate": 1_000}, 0.0).text(said) == shown


# ── names ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [EMAIL, PLACE, PROSE, "https://intra/x?id=1", "C:\\Users\\ada\\x", "10.1.2.3", "db01.internal",
     "0f8fad5b-d9cb-469f-a165-70867728950e", "deadbeef00112233445566", "4915112345678"],
)  # fmt: skip
def test_what_looks_like_an_address_a_path_an_id_or_prose_is_sensitive(value: str) -> None:
    assert is_sensitive(value)


@pytest.mark.parametrize(
    "value", ["web", "gpt-4.1-mini", "aurora-large", "small-business", "tool use", "eu-west-1",
              "claude-3.5-sonnet", "meta.llama3-70b", "wrong_answer", "DE", "2026.11.2"],
)  # fmt: skip
def test_what_names_a_category_is_not(value: str) -> None:
    assert not is_sensitive(value)


def test_a_masked_value_goes_by_one_name_wherever_it_stands() -> None:
    names = Names.of({"channel": ["a@b.example", EMAIL]}, people=["Grace Hopper"])
    assert names.text(EMAIL) == "value 2 of channel"
    assert names.text(f"channel “{EMAIL}” fell") == "channel “value 2 of channel” fell"
    assert names.text(f"coding · {EMAIL} · pro") == "coding · value 2 of channel · pro"
    assert (
        names.text(f"channel={EMAIL}, use_case=coding")
        == "channel=value 2 of channel, use_case=coding"
    )
    assert names.text(f"“{EMAIL[:12]}…” rose") == "“value 2 of channel” rose"
    assert names.text("ask Grace Hopper at g@h.example") == "ask owner 1 at (masked)"


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Telemetry whose dimensions hold what their names do not promise."""
    data = write(generate("tiny", 3_000, 1), tmp_path_factory.mktemp("telling") / "data", "csv")
    path = data / "llm_system_interactions.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[frame["channel"] == "web", "channel"] = EMAIL
    first = sorted(frame["region"].unique())[0]
    frame.loc[frame["region"] == first, "region"] = PLACE
    frame.loc[frame["segment"] == sorted(frame["segment"].unique())[-1], "segment"] = PROSE
    frame.to_csv(path, index=False)
    return data


def test_no_secret_value_reaches_a_share_safe_review(telling: Path, tmp_path: Path) -> None:
    policy = written(tmp_path, publish={"share_safe": True})
    review = reviews.compute(reviews.request(data=str(telling), policy=policy))
    every = json.dumps(review.body, ensure_ascii=False)
    every += "".join(csv_bytes(f).decode() for f in review.tables.values())
    every += "".join(f.to_csv() for r in review.results.values() for f in r.series.values())
    every += "".join(n for r in review.results.values() for n in r.notes)
    for secret in (EMAIL, PLACE, PROSE):
        assert secret not in every
    assert "value 1 of channel" in every
    assert {m["column"] for m in review.body["publication"]["masked"]} >= {
        "channel",
        "region",
        "segment",
    }
    path = tmp_path / "decision_artifact.json"
    artifacts.write(review.body, path)
    found = verify(path, Inputs(data=str(telling), policy=policy))
    assert found.agrees, [d for part in found.parts for d in part.differences][:5]
    assert {part.name for part in found.parts} >= {"inputs", "policy", "review"}


def test_a_value_that_the_policy_names_is_no_secret(telling: Path, tmp_path: Path) -> None:
    thresholds = [
        {"name": "mail", "metric": "failure_rate", "max": 0.5, "when": {"channel": EMAIL}}
    ]
    policy = written(tmp_path, publish={"share_safe": True}, gate={"thresholds": thresholds})
    review = reviews.compute(reviews.request(data=str(telling), policy=policy))
    assert "channel" not in {m["column"] for m in review.body["publication"]["masked"]}


def test_a_review_that_is_not_share_safe_is_published_as_it_is(raw: Review) -> None:
    assert raw.body["publication"] is None
    assert not math.isnan(raw.body["checks"][0]["support"])
    assert "suppressed" not in raw.tables["slo_by_release.csv"].columns
