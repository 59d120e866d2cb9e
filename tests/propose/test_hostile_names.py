"""Names and values are hostile text: whatever they are, a draft parses, shows them, and means them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import policy as policies
from analysis.propose import contract_text, policy_text
from analysis.telemetry.columns import RESERVED
from analysis.yaml_text import is_visible
from tests.propose.drafts import (
    checked,
    extended,
    of_interactions,
    required,
    telemetry,
)

N = 8
FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
# What a file in UTF-8 can hold.
CHARACTERS = st.characters(blacklist_categories=["Cs"])
NASTY = st.sampled_from(
    [
        "'); DROP TABLE x;--", 'a"b', "a: b", "- a", "# a", "\u202eevil", "a\u200bb", "no", "null", "1e3",
        "2026-01-01", "{a: [b", "&a *a !!python/object", "---", "...", "\ufeffx", "x\r\ny", "a\x1b[31mb",
        "tables", "names", "columns", "created at", "Model", "LATENCY", "{{< env HOME >}}", "=1+1",
        "%TAG", "a\u2028b", "a\tb", "a\x00b", "\\u0041", "é", "e\u0301", "ключ", "𝒳",
    ]
)  # fmt: skip
TEXT = st.one_of(NASTY, st.text(CHARACTERS, min_size=1, max_size=30))
# Two names that differ only in case are another test's matter.
NAMES = st.lists(TEXT, min_size=1, max_size=6, unique_by=lambda n: n.casefold())
COLUMNS = NAMES.flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.lists(TEXT | st.just(""), min_size=N, max_size=N) for name in names}
    )
)


def usable(names: Any) -> list[str]:
    taken = {*(n.casefold() for n in required(1)), *RESERVED}
    return [n for n in names if n.strip() and n.casefold() not in taken and n not in required(1)]


@FEW
@given(COLUMNS)
def test_a_contract_names_every_column_exactly_and_hides_nothing(
    columns: dict[str, list[str]],
) -> None:
    columns = {name: columns[name] for name in usable(columns)}
    with tempfile.TemporaryDirectory() as place:
        data = telemetry(Path(place) / "data", {**required(N), **columns})
        text = contract_text(data)
        said = checked(text)
        extended(said, Path(place))
    named = set(of_interactions(said, "names").values()) | set(of_interactions(said, "columns"))
    assert named <= set(columns)
    # What is in force, or to decide, or said to be left out: nothing goes missing.
    assert named == set(columns) or "DECIDE" in text or "left out;" in text
    opened = yaml.safe_load(text.replace("# allowed:", "allowed:"))
    for name, column in of_interactions(opened, "columns").items():
        assert set(column.get("allowed", [])) <= set(columns[name])


@FEW
@given(st.lists(TEXT, min_size=2, max_size=2, unique=True), TEXT, TEXT)
def test_a_policy_names_releases_and_columns_exactly_and_hides_nothing(
    releases: list[str], one: str, other: str
) -> None:
    n = 500
    rows = required(n)
    rows["timestamp_utc"] = [f"2026-09-{1 + k // 50:02d}T00:00:00Z" for k in range(n)]
    rows["release_id"] = [releases[k // 250] for k in range(n)]
    rows["use_case"] = [one if k % 2 else other for k in range(n)]
    with tempfile.TemporaryDirectory() as place:
        data = telemetry(Path(place) / "data", rows)
        text = policy_text(data)
        path = Path(place) / "policy.yml"
        path.write_text(text, encoding="utf-8")
        loaded = policies.load(path).policy
    assert all(is_visible(c) or c == "\n" for c in text)
    windows = loaded.windows
    if windows.candidate.release_id is not None:
        assert windows.baseline != "none"
        assert [windows.baseline.release_id, windows.candidate.release_id] == releases
        assert loaded.release.id == releases[1]
    if "use_case" in loaded.dimensions:
        assert one != other
