"""History features, against a slow reference and against every way to look into the future."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.telemetry import Telemetry, past
from analysis.telemetry.fact import DERIVED
from analysis.telemetry.history import forget, split, window_rows
from analysis.telemetry.past import FEATURES, Label, label_of, past_of
from analysis.telemetry.rows import rows_of
from analysis.views.triage_data import truth
from tests.telemetry.worlds import MONDAY, World, frame, instant, world_of

HOUR = 3_600_000_000
DELAY = 24 * HOUR
MINUTE = pd.Timedelta(minutes=1)
WINDOWS = {"candidate": {"days": 3}, "baseline": {"days": 5}}
POLICY = Policy.model_validate({"windows": WINDOWS})


def random_rows(seed: int, n: int = 160, days: int = 9, minutes: int = 4) -> list[dict[str, Any]]:
    """Sessions of one to six rows whose times are often the same, and labels of every kind of moment."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    session = 0
    while len(rows) < n:
        session += 1
        minute = int(rng.integers(0, days * 1440))
        for _ in range(int(rng.choice([1, 1, 2, 4, 6]))):
            at = MONDAY + (minute + int(rng.integers(0, minutes))) * MINUTE
            known = [None, at - 300 * MINUTE, at, at + MINUTE, at + 2 * MINUTE, at + 4000 * MINUTE]
            moment = known[int(rng.integers(len(known)))]
            rows.append(
                {
                    "session": f"s{session}",
                    "user": f"u{session % 7}",
                    "at": at,
                    "is_failure": [True, False, None][int(rng.choice(3, p=[0.4, 0.4, 0.2]))],
                    "retry_index": [0, 1, 2, None][int(rng.integers(4))],
                    "label_available_utc": None if moment is None else instant(moment),
                }
            )
    return rows


def features(telemetry: Telemetry, label: Label | None, delay: int = DELAY) -> pd.DataFrame:
    """The features of all rows by interaction id, as they are read."""
    with past_of(telemetry, label, delay) as made:
        found = list(telemetry.batches(made.columns, "true", source=made.source))
    read = pd.concat(found).set_index("interaction_id")
    return read.astype(float).sort_index()


def reference(
    rows: pd.DataFrame, bad: Sequence[bool | None], known: Sequence[float]
) -> pd.DataFrame:
    """The same, one row at a time, by what the words say. bad, known: labels, and their moments."""
    out = {}
    at, retry = rows["ts_us"].tolist(), rows["retry_index"].fillna(0).tolist()
    for i in range(len(rows)):
        told: dict[str, float] = {}
        units: dict[str, Any] = {"session": rows["session_id"], "user": rows["user_id"]}
        for unit, of in units.items():
            mine = of.iloc[i]
            earlier = [j for j in range(len(rows)) if of.iloc[j] == mine and at[j] < at[i]]
            seen = [j for j in earlier if bad[j] is not None and known[j] < at[i]]
            if unit == "session":
                told["past_session_interactions"] = len(earlier)
                told["past_session_retries"] = sum(retry[j] > 0 for j in earlier)
                gaps = [at[i] - at[j] for j in earlier]
                told["past_session_gap_us"] = min(gaps, default=np.nan)
            told[f"past_{unit}_labelled"] = len(seen)
            told[f"past_{unit}_failures"] = sum(bool(bad[j]) for j in seen)
        out[rows["interaction_id"].iloc[i]] = told
    found = pd.DataFrame.from_dict(out, orient="index", columns=list(FEATURES)).astype(float)
    return found.sort_index().rename_axis("interaction_id")


def moments(rows: pd.DataFrame, delay: int = DELAY, *, dated: bool = True) -> list[float]:
    """When each label is known, µs."""
    out = []
    available = rows.get("label_available_utc", pd.Series([None] * len(rows)))
    for at, moment in zip(rows["ts_us"], available, strict=True):
        late = at + delay
        if dated and not pd.isna(moment):
            late = max(at, (pd.Timestamp(moment) - pd.Timestamp(0)) // pd.Timedelta("1us"))
        out.append(late)
    return out


def flags(values: pd.Series) -> list[bool | None]:
    return [None if pd.isna(v) else bool(v) for v in values]


def expected(telemetry: Telemetry, delay: int = DELAY) -> pd.DataFrame:
    rows = frame(telemetry)
    return reference(rows, flags(rows["failure"]), moments(rows, delay))


def same(found: pd.DataFrame, want: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, want[list(found)], check_dtype=False)


@pytest.mark.parametrize("seed", range(6))
def test_the_features_are_what_the_words_say(tmp_path: Path, seed: int) -> None:
    telemetry = world_of(random_rows(seed), tmp_path / "data").opened(policy=POLICY)
    for delay in (0, 2 * HOUR, DELAY):
        found = features(telemetry, label_of(telemetry, "is_failure"), delay)
        assert (found.drop(columns="past_session_gap_us").max() > 0).all()
        same(found, expected(telemetry, delay))
    telemetry.close()


def hours(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one session and user, and one of another that makes the windows."""
    mine = [{"session": "s", "user": "u", **row} for row in rows]
    return [*mine, {"session": "last", "user": "other", "at": 24 * 8}]


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        # An interaction alone knows nothing, and has no gap.
        ([{"at": 1}], [0, 0, np.nan, 0, 0, 0, 0]),
        # A label that comes at the very moment is not known before it.
        (
            [{"at": 1, "is_failure": True, "label_available_utc": "2026-09-07T02:00:00Z"}, {"at": 2}],
            [1, 0, HOUR, 0, 0, 0, 0],
        ),
        # A microsecond earlier it is.
        (
            [
                {"at": 1, "is_failure": True, "label_available_utc": "2026-09-07T01:59:59.999999Z"},
                {"at": 2},
            ],
            [1, 0, HOUR, 1, 1, 1, 1],
        ),
        # Interactions of one moment know nothing of each other, whatever their labels are dated.
        (
            [
                {"at": 2, "is_failure": True, "label_available_utc": "2026-09-06T00:00:00Z"},
                {"at": 2, "retry_index": 1},
            ],
            [0, 0, np.nan, 0, 0, 0, 0],
        ),
        # A label dated before its interaction is known from that on.
        (
            [
                {"at": 1, "is_failure": True, "label_available_utc": "2026-09-06T00:00:00Z"},
                {"at": 2, "retry_index": 1, "is_failure": None},
                {"at": 4},
            ],
            [2, 1, 2 * HOUR, 1, 1, 1, 1],
        ),
        # Without a date it takes the delay, to the microsecond.
        ([{"at": 1, "is_failure": True}, {"at": 25}], [1, 0, 24 * HOUR, 0, 0, 0, 0]),
        (
            [{"at": 1, "is_failure": True}, {"at": MONDAY + pd.Timedelta(hours=25, microseconds=1)}],
            [1, 0, 24 * HOUR + 1, 1, 1, 1, 1],
        ),
        # The user's other sessions count for the user alone.
        (
            [{"session": "before", "at": 1, "is_failure": True}, {"at": 40}],
            [0, 0, np.nan, 0, 0, 1, 1],
        ),
    ],
)  # fmt: skip
def test_the_last_row_of_a_session(
    tmp_path: Path, rows: list[dict[str, Any]], want: list[float]
) -> None:
    alone = Policy.model_validate({"windows": {"candidate": {"days": 9}, "baseline": "none"}})
    telemetry = world_of(hours(*rows), tmp_path / "data").opened(policy=alone)
    found = features(telemetry, label_of(telemetry, "is_failure"))
    telemetry.close()
    np.testing.assert_equal(found.loc[f"i{len(rows):05d}", list(FEATURES)].to_numpy(), want)


def test_labels_that_are_null_and_rows_from_as_of_on_count_nowhere(tmp_path: Path) -> None:
    as_of = (MONDAY + pd.Timedelta(days=8)).to_pydatetime()
    telemetry = world_of(random_rows(3), tmp_path / "data").opened(policy=POLICY, as_of=as_of)
    found = features(telemetry, label_of(telemetry, "is_failure"))
    assert len(found) < 160
    same(found, expected(telemetry))
    telemetry.close()


def test_rows_after_the_window_are_not_there(tmp_path: Path) -> None:
    rows = random_rows(4)
    end = MONDAY + pd.Timedelta(days=6)
    start = MONDAY + pd.Timedelta(days=3)
    windows = {"candidate": {"start": str(start), "end": str(end)}, "baseline": "none"}
    rules = Policy.model_validate({"windows": windows})
    telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
    found = features(telemetry, label_of(telemetry, "is_failure"))
    facts = frame(telemetry)
    last = facts.loc[facts["win"] == 1, "ts_us"].max()
    assert set(found.index) == set(facts.loc[facts["ts_us"] <= last, "interaction_id"])
    assert len(found) < len(facts)
    same(found, expected(telemetry).loc[found.index])
    telemetry.close()


@pytest.mark.parametrize("absent", ["retry_index", "label_available_utc"])
def test_what_is_not_there_makes_no_feature(tmp_path: Path, absent: str) -> None:
    world = world_of(random_rows(5), tmp_path / "data").drop(INTERACTIONS, absent)
    telemetry = world.opened(policy=POLICY)
    found = features(telemetry, label_of(telemetry, "is_failure"))
    rows = frame(telemetry)
    assert ("past_session_retries" in found) == (absent != "retry_index")
    want = reference(rows.assign(retry_index=0), flags(rows["failure"]), moments(rows))
    if absent == "retry_index":
        same(found, want)
    else:
        same(found.drop(columns="past_session_retries"), want.drop(columns="past_session_retries"))
    without = features(telemetry, None)
    same(without, found[list(without)])
    assert list(without) == [c for c in found if c in past.STEPS]
    telemetry.close()


def test_a_negative_delay_is_refused(tmp_path: Path) -> None:
    telemetry = world_of(random_rows(1), tmp_path / "data").opened(policy=POLICY)
    with pytest.raises(ValueError, match="delay_us is -1"), past_of(telemetry, None, -1):
        pass
    telemetry.close()


# ── nothing comes from the future ────────────────────────────────────────────────────────


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), place=st.integers(0, 59))
def test_what_happens_from_a_moment_on_changes_nothing_before_it(seed: int, place: int) -> None:
    """The moment is one of an interaction, mostly within its session. The windows are fixed, so that the
    rows which are read stay the same."""
    rows = random_rows(seed, n=60, minutes=12)
    moment = rows[place]["at"]
    first = {"session": "first", "user": "u0", "at": MONDAY - MINUTE, "label_available_utc": None}
    last = {"session": "last", "user": "u1", "at": MONDAY + 10 * 1440 * MINUTE}
    rows = [first, *rows, last]
    windows = {
        "candidate": {"start": str(MONDAY + 5 * 1440 * MINUTE), "end": str(MONDAY + 11 * 1440 * MINUTE)},
        "baseline": "none",
    }  # fmt: skip
    rules = Policy.model_validate({"windows": windows})
    rows = [{**row, "interaction_id": f"i{k:03d}"} for k, row in enumerate(rows)]
    changed = altered(rows, moment, np.random.default_rng(seed))
    with TemporaryDirectory() as folder:
        found = []
        for name, own in (("before", rows), ("after", changed)):
            telemetry = world_of(own, Path(folder) / name).opened(policy=rules, threads=1)
            found.append(features(telemetry, label_of(telemetry, "is_failure")))
            telemetry.close()
    early = [r["interaction_id"] for r in rows if r["at"] < moment]
    same(found[1].loc[early], found[0].loc[early])


def altered(
    rows: list[dict[str, Any]], moment: pd.Timestamp, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Rows changed, moved to other sessions, doubled or gone from a moment on; and other labels, at other
    times, where these become known from then on."""
    out = []
    for row in rows:
        told = row.get("label_available_utc")
        known = row["at"] + pd.Timedelta(hours=24) if told is None else pd.Timestamp(told)
        new = dict(row)
        if max(known, row["at"]) >= moment:
            new["is_failure"] = [True, False, None][int(rng.integers(3))]
            late = moment + int(rng.integers(0, 5000)) * MINUTE
            new["label_available_utc"] = instant(late)
        if row["at"] < moment or row["session"] == "last":
            out.append(new)
            continue
        new["retry_index"] = int(rng.integers(3))
        fate = rng.random()
        if fate < 0.2:
            out.append({**new, "session": "x", "user": "u3"})
        elif fate < 0.4:
            out += [new, {**new, "interaction_id": new["interaction_id"] + "x"}]
        elif fate < 0.8:
            out.append(new)
    return out


# ── the same for any form of the same telemetry ──────────────────────────────────────────


def test_order_format_and_threads_change_nothing(tmp_path: Path) -> None:
    world = world_of(random_rows(8), tmp_path / "csv")
    found = []
    for place, (kind, threads) in enumerate((("csv", 1), ("parquet", 2), ("csv.gz", 2))):
        telemetry = world.opened(kind, POLICY, threads=threads)
        found.append(features(telemetry, label_of(telemetry, "is_failure")))
        telemetry.close()
        world = shuffled(world, tmp_path / str(place), place)
    for other in found[1:]:
        pd.testing.assert_frame_equal(other, found[0])


def shuffled(world: World, folder: Path, seed: int) -> World:
    mixed = {
        name: rows.sample(frac=1, random_state=seed).reset_index(drop=True)
        for name, rows in world.tables.items()
    }
    return World(mixed, folder)


def test_readers_find_the_same_rows_with_more_columns(tmp_path: Path) -> None:
    telemetry = world_of(random_rows(9, n=600), tmp_path / "data").opened(policy=POLICY)
    parts = split(telemetry.engine, telemetry.windows, (0.5, 0.7))
    conditions = (*parts.where, window_rows(telemetry.windows))
    with past_of(telemetry, label_of(telemetry, "is_failure"), DELAY) as made:
        columns = ["ts_us", "is_failure", "day"]
        more = [*columns, *made.columns]
        for where in conditions:
            for limit in (40, 10_000):
                plain = telemetry.sample(columns, where, max_rows=limit, seed="s")
                rich = telemetry.sample(more, where, max_rows=limit, seed="s", source=made.source)
                pd.testing.assert_frame_equal(rich[list(plain)], plain)
            scanned = pd.concat(
                telemetry.scan(["interaction_id", *more], where, source=made.source)
            )
            again = pd.concat(telemetry.batches(more, where, source=made.source))
            ordered = scanned.sort_values("interaction_id", ignore_index=True)
            pd.testing.assert_frame_equal(again.reset_index(drop=True), ordered, check_dtype=False)
            assert set(rich["interaction_id"]) == set(scanned["interaction_id"])
        ids = ordered["interaction_id"].tolist()[:5]  # a scan comes in any order
        few = rows_of(telemetry.engine, ["interaction_id", *more], ids, source=made.source)
        want = ordered[ordered["interaction_id"].isin(ids)].reset_index(drop=True)
        # Five rows without a null in them have whole numbers, which all rows may not have.
        pd.testing.assert_frame_equal(few, want, check_dtype=False)
    forget(telemetry.engine)
    telemetry.close()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    telemetry = world_of(random_rows(2), tmp_path / "data").opened(policy=POLICY)

    def there() -> set[str]:
        names = "SELECT table_name FROM information_schema.tables"
        return {str(name) for (name,) in telemetry.engine.rows(names)}

    before = there()
    with past_of(telemetry, label_of(telemetry, "is_failure"), DELAY):
        assert there() - before == {"fact_past", "past_rows", "past_session", "past_user"}
    assert there() == before
    with pytest.raises(RuntimeError), past_of(telemetry, None, DELAY):
        raise RuntimeError
    assert there() == before
    broken = Label("no_such_column", dated=False)
    with pytest.raises(Exception, match="no_such_column"), past_of(telemetry, broken, DELAY):
        pass
    assert there() == before
    telemetry.close()


def test_the_names_of_the_features_are_kept(tmp_path: Path) -> None:
    """A column of the telemetry by such a name is left out, and the policy that names it is told."""
    assert set(FEATURES) <= set(DERIVED)
    name = "past_user_failures"
    rules = POLICY.model_copy(update={"dimensions": (name, "use_case")})
    world = world_of(random_rows(2), tmp_path / "data")
    world.add(INTERACTIONS, name, ["7"] * len(world.tables[INTERACTIONS]))
    telemetry = world.opened(policy=rules)
    assert any(name in w for w in telemetry.warnings)
    same(features(telemetry, label_of(telemetry, "is_failure")), expected(telemetry))
    telemetry.close()


# ── other labels ─────────────────────────────────────────────────────────────────────────

WORDS = (
    "yes",
    "NO ",
    " True",
    "f",
    "1",
    "0",
    "1.0",
    "0.0",
    "2",
    "",
    "on",
    "nan",
    "\tY\n",
    "\u00a0yes",
    "no\u2003",
    None,
)


@pytest.mark.parametrize(
    "values",
    [WORDS, (1, 0, 2, -1, None), (1.0, 0.0, 0.5, None, 1.0), (True, False, None), (1, 0, 1, 0)],
    ids=["texts", "integers", "numbers", "booleans", "no null"],
)
def test_a_label_is_read_as_the_triage_reads_it(tmp_path: Path, values: Sequence[object]) -> None:
    import duckdb
    import pyarrow as pa

    from analysis.telemetry.engine import DuckDB

    engine = DuckDB(duckdb.connect())
    engine.con.register("given", pa.table({"k": range(len(values)), "the label": list(values)}))
    engine.create("held", "SELECT * FROM given")
    kind = engine.types("held")["the label"]
    told = engine.rows(f"SELECT {past.truth_of('the label', kind)} FROM held ORDER BY k")
    known, true = truth(engine.frame("SELECT * FROM held ORDER BY k")["the label"])
    engine.close()
    want = [bool(t) if k else None for k, t in zip(known, true, strict=True)]
    assert [value for (value,) in told] == want
    assert {True, False} <= set(want)


def test_a_label_of_the_policys_own_takes_the_delay(tmp_path: Path) -> None:
    """`label_available_utc` dates outcomes: of a column that nobody declares it says nothing."""
    rows = random_rows(6)
    world = world_of(rows, tmp_path / "data")
    words = [WORDS[k % len(WORDS)] for k in range(len(rows))]
    world.add(INTERACTIONS, "escalated", words)
    rules = POLICY.model_copy(
        update={"triage": POLICY.triage.model_copy(update={"label": "escalated"})}
    )
    telemetry = world.opened("parquet", rules)
    label = label_of(telemetry, "escalated")
    assert not label.dated
    facts = frame(telemetry)
    known, true = truth(facts["escalated"])
    bad = [bool(t) if k else None for k, t in zip(known, true, strict=True)]
    same(features(telemetry, label), reference(facts, bad, moments(facts, dated=False)))
    assert label_of(telemetry, "is_failure") == Label("failure", dated=True)
    telemetry.close()


def test_a_user_whom_nobody_knows_has_no_past(tmp_path: Path) -> None:
    telemetry = world_of(random_rows(7), tmp_path / "data").opened(policy=POLICY)
    engine = telemetry.engine
    engine.view(
        "fact", "SELECT * REPLACE (CASE WHEN usr % 2 = 0 THEN usr END AS usr) FROM fact_known"
    )
    found = features(telemetry, label_of(telemetry, "is_failure"))
    facts = frame(telemetry)
    want = reference(facts, flags(facts["failure"]), moments(facts))
    unknown = facts.loc[facts["user_id"].isna(), "interaction_id"]
    want.loc[unknown, ["past_user_labelled", "past_user_failures"]] = np.nan
    assert 0 < len(unknown) < len(facts)
    same(found, want)
    telemetry.close()
