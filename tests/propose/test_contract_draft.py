from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.errors import UsageError
from analysis.propose import contract_text
from tests.propose.drafts import (
    checked,
    draft,
    extended,
    of_interactions,
    required,
    telemetry,
    write_csv,
)

N = 40


def with_columns(folder: Path, drop: Sequence[str] = (), **columns: Sequence[Any]) -> Path:
    kept = {name: cells for name, cells in required(N).items() if name not in drop}
    return telemetry(folder, {**kept, **columns})


# ── names ────────────────────────────────────────────────────────────────────────────────

RENAMED: dict[str, tuple[str, Sequence[Any]]] = {
    "timestamp_utc": ("created_at", [f"2026-09-07 00:{k:02d}:00" for k in range(N)]),
    "interaction_id": ("Request ID", [f"r{k}" for k in range(N)]),
    "session_id": ("conversationId", ["s1"] * N),
    "user_id": ("account-id", ["u1"] * N),
    "is_failure": ("error", ["0", "1"] * (N // 2)),
    "latency_ms": ("duration_ms", [100 + k for k in range(N)]),
    "prompt_tokens": ("input_tokens", list(range(N))),
    "cost_usd": ("total_cost", [k / 1000 for k in range(N)]),
    "model_name": ("model", ["m1", "m2"] * (N // 2)),
}


@pytest.mark.parametrize("declared", RENAMED)
def test_a_column_under_another_name_is_renamed_and_why_is_said(
    declared: str, tmp_path: Path
) -> None:
    name, cells = RENAMED[declared]
    text, said = draft(with_columns(tmp_path, [declared], **{name: cells}))
    assert of_interactions(said, "names") == {declared: name}
    assert "# Looks like it: text" in text
    assert of_interactions(said, "columns") == {}


def test_all_of_them_together_and_nothing_is_left_to_do(tmp_path: Path) -> None:
    data = telemetry(tmp_path, dict(RENAMED.values()))
    text, said = draft(data)
    assert of_interactions(said, "names") == {d: name for d, (name, _) in RENAMED.items()}
    assert "9 under another, 0 to decide" in text.replace("\n# ", " ")


def test_the_same_name_in_another_case_wins_over_a_synonym(tmp_path: Path) -> None:
    data = with_columns(tmp_path, Latency_MS=[700 + k for k in range(N)], duration=["5"] * N)
    _, said = draft(data)
    assert of_interactions(said, "names") == {"latency_ms": "Latency_MS"}
    assert set(of_interactions(said, "columns")) == {"duration"}


def test_two_that_are_alike_are_left_to_a_person(tmp_path: Path) -> None:
    text, said = draft(with_columns(tmp_path, ["user_id"], uid=["a"] * N, account_id=["b"] * N))
    assert of_interactions(said, "names") == {}
    assert "REQUIRED, DECIDE: 2 columns may be user_id" in text
    assert "\n      # user_id: uid\n" in text
    assert "\n      # user_id: account_id" in text


def test_of_several_ids_the_one_that_is_unique_is_the_key(tmp_path: Path) -> None:
    data = with_columns(
        tmp_path, ["interaction_id"], id=["x"] * N, request_id=[f"r{k}" for k in range(N)]
    )
    _, said = draft(data)
    assert of_interactions(said, "names") == {"interaction_id": "request_id"}


DECISIONS: dict[str, tuple[str, str, Sequence[Any], str]] = {
    "a key that repeats": ("interaction_id", "id", ["x"] * N, "1 distinct value in 40 rows"),
    "a key with gaps": ("interaction_id", "id", [*map(str, range(N - 1)), ""], "empty: no key"),
    "latency in seconds": (
        "latency_ms", "latency", [1.5 + k / 7 for k in range(N)], "if these are seconds, multiply by 1,000",
    ),
    "latency in seconds by its name": ("latency_ms", "latency_s", [2] * N, "multiply it by 1,000"),
    "cost in cents": ("cost_usd", "cost", [3.5] * N, "if these are cents"),
    "cost in cents by its name": ("cost_usd", "cost_cents", [0.5] * N, "multiply it by 0.01"),
    "seconds since 1970": (
        "timestamp_utc", "ts", [1_790_000_000 + k for k in range(N)], "it counts seconds since 1970",
    ),
    "milliseconds since 1970": (
        "timestamp_utc", "ts", [1_790_000_000_000 + k for k in range(N)], "milliseconds since 1970",
    ),
    "times of another zone": (
        "timestamp_utc", "ts", ["2026-09-07T00:00:00+02:00"] * N, "expected an ISO 8601 time in UTC",
    ),
    "errors in words": ("is_failure", "error", ["timeout", ""] * (N // 2), "expected true or false"),
    "the opposite": ("is_failure", "success", ["true"] * N, "seems to say the opposite"),
    "an empty column": ("is_failure", "failed", [""] * N, "it is empty"),
    "negative tokens": ("prompt_tokens", "input_tokens", [-1] * N, "lowest value is -1, below 0"),
    "attempts from 1 on": ("retry_index", "attempt", [1, 2] * (N // 2), "begins with 1"),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "name", "cells", "why"), DECISIONS.values(), ids=DECISIONS)
def test_a_rename_that_is_not_enough_is_commented_out(
    declared: str, name: str, cells: Sequence[Any], why: str, tmp_path: Path
) -> None:
    text, said = draft(with_columns(tmp_path, [declared], **{name: cells}))
    assert of_interactions(said, "names") == {}
    assert f"      # {declared}: {name}" in text
    assert why in " ".join(text.replace("#", " ").split())


@pytest.mark.parametrize("missing", required(1))
def test_a_required_column_that_is_not_there_says_what_to_do(missing: str, tmp_path: Path) -> None:
    text, said = draft(with_columns(tmp_path, [missing]))
    assert f"REQUIRED, not found: {missing}:" in text
    assert said == {"tables": {}}


def test_a_unit_that_looks_wrong_is_told_of_a_declared_column_too(tmp_path: Path) -> None:
    text, _ = draft(with_columns(tmp_path, latency_ms=[1.5 + k / 7 for k in range(N)]))
    assert "latency_ms: DECIDE: half of its values are at most" in text


def test_few_cells_that_do_not_fit_do_not_hide_the_column(tmp_path: Path) -> None:
    cells = ["late", *map(str, range(100, 100 + N - 1))]
    text, said = draft(with_columns(tmp_path, latency=cells))
    assert of_interactions(said, "names") == {"latency_ms": "latency"}
    assert "Cells that are no number, which `validate` lists: 1." in text


def test_sessions_and_users_have_names_of_their_own(tmp_path: Path) -> None:
    telemetry(tmp_path, required(N))
    write_csv(tmp_path, SESSIONS, ["id", "uid", "started_at"], [["s1", "u1", "2026-09-07"]])
    write_csv(tmp_path, USERS, ["id", "n_requests", "mood"], [["u1", "40", "good"]])
    _, said = draft(tmp_path)
    assert said["tables"][SESSIONS]["names"] == {
        "session_id": "id",
        "user_id": "uid",
        "start_timestamp_utc": "started_at",
    }
    assert said["tables"][USERS]["names"] == {"user_id": "id", "user_total_requests": "n_requests"}
    assert said["tables"][USERS]["columns"]["mood"]["role"] == "carried"


# ── columns ──────────────────────────────────────────────────────────────────────────────

# cells → type, role, known_at
EXTRA: dict[str, tuple[str, Sequence[Any], tuple[str, str, str]]] = {
    "few words": ("gpu_type", ["a100", "h100"] * (N // 2), ("string", "context", "request")),
    "words of the outcome": ("finish_reason", ["stop"] * N, ("string", "outcome", "later")),
    "feedback": ("thumb", ["up", "down"] * (N // 2), ("string", "feedback", "later")),
    "yes and no": ("was_cached", ["True", "false"] * (N // 2), ("boolean", "outcome", "later")),
    "a flag of 0 and 1": ("is_cached", ["0", "1"] * (N // 2), ("boolean", "outcome", "later")),
    "0 and 1 of no flag": ("replicas", ["0", "1"] * (N // 2), ("integer", "carried", "later")),
    "whole numbers": ("depth", list(range(N)), ("integer", "carried", "later")),
    "numbers": ("depth", [k / 8 for k in range(N)], ("number", "carried", "later")),
    "whole numbers, then not": ("depth", [*range(N - 1), "1.5"], ("number", "carried", "later")),
    "numbers, then words": ("zone", [*[1] * (N - 1), "b"], ("string", "context", "request")),
    "codes of digits": ("zip", ["01234"] * N, ("string", "context", "request")),
    "times": ("indexed_at", ["2026-01-01T00:00:00Z"] * N, ("timestamp", "carried", "later")),
    "costs": ("embedding_cost", [0.25] * N, ("number", "cost", "later")),
    "numbered ids": ("shard_id", [k * 7 for k in range(N)], ("integer", "identifier", "later")),
}  # fmt: skip


@pytest.mark.parametrize(("name", "cells", "guessed"), EXTRA.values(), ids=EXTRA)
def test_an_undeclared_column_is_guessed_with_caution(
    name: str, cells: Sequence[Any], guessed: tuple[str, str, str], tmp_path: Path
) -> None:
    text, said = draft(with_columns(tmp_path, **{name: cells}))
    column = of_interactions(said, "columns")[name]
    assert (column["type"], column["role"], column["known_at"]) == guessed
    assert ("CHECK: a model that decides at request time" in text) == (guessed[2] == "request")
    assert extended(said, tmp_path).column(name) is not None


def test_text_that_differs_from_row_to_row_is_an_identifier(tmp_path: Path) -> None:
    n = 2_000
    data = telemetry(tmp_path, {**required(n), "memo": [f"text {k}" for k in range(n)]})
    text, said = draft(data)
    assert of_interactions(said, "columns")["memo"]["role"] == "identifier"
    assert "Identifier-like: never modelled" in text
    assert re.search(r"none empty, about (1,[89]|2,[012])00 distinct", text)


@pytest.mark.parametrize(
    ("n_empty", "room"), [(0, 0.01), (1, 0.05), (4, 0.2), (10, 0.5), (30, None)]
)
def test_the_share_that_may_be_missing_is_what_was_seen_with_some_room(
    n_empty: int, room: float | None, tmp_path: Path
) -> None:
    cells = ["a"] * (N - n_empty) + [""] * n_empty
    _, said = draft(with_columns(tmp_path, gpu=cells))
    assert of_interactions(said, "columns")["gpu"].get("max_missing") == room


def test_allowed_values_are_a_comment_that_reads_back_once_the_mark_is_gone(tmp_path: Path) -> None:
    values = ["a: b", "#x", "\u202eevil", "no", "1", "naïve"]
    cells = (values * 8)[:N]
    text, said = draft(with_columns(tmp_path, gpu=cells))
    assert "allowed" not in of_interactions(said, "columns")["gpu"]
    opened = yaml.safe_load(text.replace("# allowed:", "allowed:"))
    assert sorted(of_interactions(opened, "columns")["gpu"]["allowed"]) == sorted(set(cells))


UNLISTED = {
    "many values": ("gpu", [f"v{k % 13}" for k in range(N)]),
    "values of one row": ("gpu", ["a"] * (N - 1) + ["my secret"]),
    "long values": ("gpu", ["x" * 41, "y"] * (N // 2)),
    "what may be personal": ("user_email", ["a@b.c", "d@e.f"] * (N // 2)),
}


@pytest.mark.parametrize(("name", "cells"), UNLISTED.values(), ids=UNLISTED)
def test_values_that_may_not_be_shown_are_not(
    name: str, cells: Sequence[Any], tmp_path: Path
) -> None:
    text, _ = draft(with_columns(tmp_path, **{name: cells}))
    assert "allowed" not in text
    assert not any(str(c) in text for c in cells if len(str(c)) > 2 and not str(c).startswith("v"))


LEFT_OUT = {
    "an empty column": ("spare", "empty: no type can be read"),
    "a name that is taken": ("Session_ID", "its name is taken, case aside"),
    "a name of the reader's own": ("Source_Row", "its name is taken, case aside"),
    "no name": ("  ", "a column without a name"),
    "an endless name": ("n" * 1200, "its name is too long for a key"),
}


@pytest.mark.parametrize(("name", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_cannot_be_declared_is_said(name: str, why: str, tmp_path: Path) -> None:
    cells = [""] * N if name == "spare" else ["a"] * N
    text, said = draft(with_columns(tmp_path, **{name: cells}))
    assert said == {"tables": {}}
    assert f"left out; {why}" in " ".join(text.replace("#", " ").split())


# ── the file as a whole ──────────────────────────────────────────────────────────────────


def test_what_has_the_contracts_names_needs_nothing(tiny_data: Path) -> None:
    text, said = draft(tiny_data)
    assert said == {"tables": {}}
    assert "python -m analysis validate --data DIR --contract FILE" in text
    assert "0 under another, 0 to decide" in text.replace("\n# ", " ")


def test_declared_columns_are_told_only_where_there_is_something_to_say(tmp_path: Path) -> None:
    text, _ = draft(
        with_columns(tmp_path, latency_ms=["700"] * N, cost_usd=["", "-1"] * (N // 2))
    )  # fmt: skip
    assert "cost_usd: 50 % empty; always -1, which is outside of what the contract allows" in text
    assert "latency_ms" not in text


def test_the_same_data_give_the_same_text(tiny_data: Path) -> None:
    assert contract_text(tiny_data) == contract_text(tiny_data)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    telemetry(tmp_path, required(N))
    (tmp_path / f"{INTERACTIONS}.csv").unlink()
    table = pa.table(
        {
            **{k: v for k, v in required(N).items() if k not in ("timestamp_utc", "is_failure")},
            "ts": pa.array([dt.datetime(2026, 9, 7, 0, k) for k in range(N)], pa.timestamp("ns", "UTC")),
            "failed": [k % 2 == 0 for k in range(N)],
            "digits": ["1", "2"] * (N // 2),
            "seen": pa.array([dt.date(2026, 9, 7)] * N),
            "money": pa.array([k / 4 for k in range(N)]).cast(pa.decimal128(20, 2)),
            "tags": [["a", "b"]] * N,
            "extra": [{"a": 1}] * N,
            "raw": pa.array([b"\xff\x00"] * N, pa.binary()),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / f"{INTERACTIONS}.parquet")
    text, said = draft(tmp_path)
    assert of_interactions(said, "names") == {"timestamp_utc": "ts", "is_failure": "failed"}
    kinds = {name: c["type"] for name, c in of_interactions(said, "columns").items()}
    assert kinds == {"digits": "string", "seen": "timestamp", "money": "number", "raw": "string"}
    assert text.count("left out; lists or objects") == 2


def test_parts_and_gzip_are_read_too(tmp_path: Path) -> None:
    telemetry(tmp_path, required(N))
    frame = pd.read_csv(tmp_path / f"{INTERACTIONS}.csv", dtype=str).rename(
        columns={"interaction_id": "call_id"}
    )
    (tmp_path / f"{INTERACTIONS}.csv").unlink()
    (tmp_path / INTERACTIONS).mkdir()
    frame[:10].to_parquet(tmp_path / INTERACTIONS / "a.parquet", index=False)
    frame[10:].to_parquet(tmp_path / INTERACTIONS / "b.parquet", index=False)
    users = pd.read_csv(tmp_path / f"{USERS}.csv")
    (tmp_path / f"{USERS}.csv").unlink()
    users.to_csv(tmp_path / f"{USERS}.csv.gz", index=False)
    _, said = draft(tmp_path)
    assert of_interactions(said, "names") == {"interaction_id": "call_id"}


# ── what stops it ────────────────────────────────────────────────────────────────────────


def test_a_table_that_is_not_there_says_what_was_expected(tmp_path: Path) -> None:
    telemetry(tmp_path, required(N))
    (tmp_path / f"{USERS}.csv").unlink()
    (tmp_path / f"{SESSIONS}.csv").write_text("")
    with pytest.raises(UsageError) as caught:
        contract_text(tmp_path)
    told = str(caught.value)
    assert f"{USERS}: no file" in told
    assert f"{SESSIONS}: {SESSIONS}.csv is empty" in told
    assert "expected the three tables" in told


def test_two_columns_of_one_name_are_refused_without_hidden_characters(tmp_path: Path) -> None:
    telemetry(tmp_path, required(N))
    write_csv(tmp_path, INTERACTIONS, ["a\u202e", "a\u202e"], [["1", "2"]])
    with pytest.raises(UsageError, match="more than one column named") as caught:
        contract_text(tmp_path)
    assert "\u202e" not in str(caught.value)


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        contract_text(tmp_path / "nowhere")


# ── through the loader ───────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    "max_missing" not in contracts.Column.model_fields,
    reason="a contract file does not yet extend data/contract.yml: analysis.contract has no `names` "
    "and no `max_missing`",
)
def test_the_draft_loads_as_a_contract(tmp_path: Path) -> None:
    data = with_columns(
        tmp_path / "data", ["timestamp_utc"], created_at=required(N)["timestamp_utc"], gpu=["a"] * N
    )
    path = tmp_path / "contract.yml"
    path.write_text(contract_text(data), encoding="utf-8")
    column = contracts.load(path).column("gpu")
    assert column is not None
    assert (column.type, column.known_at) == ("string", "request")


def test_every_draft_is_checked_for_its_structure() -> None:
    with pytest.raises(AssertionError):
        checked("tables: {llm_system_interactions: {columns: {gpu: {type: string}}}}")
