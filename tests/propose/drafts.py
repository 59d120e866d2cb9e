"""Telemetry under any names, and what a drafted contract must look like, for the tests of drafts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS, Contract
from analysis.propose import contract_text
from analysis.yaml_text import is_visible

COLUMN_KEYS = {"type", "role", "known_at", "description", "max_missing"}
Rows = Sequence[Mapping[str, Any]]


def write_csv(
    folder: Path, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows(rows)


def telemetry(folder: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Interactions of these columns, and the smallest sessions and users beside them."""
    write_csv(folder, INTERACTIONS, list(columns), zip(*columns.values(), strict=True))
    write_csv(folder, SESSIONS, ["session_id"], [["s1"]])
    write_csv(folder, USERS, ["user_id"], [["u1"]])
    return folder


def required(n: int) -> dict[str, list[Any]]:
    """The required columns of n interactions."""
    return {
        "interaction_id": [f"i{k}" for k in range(n)],
        "session_id": ["s1"] * n,
        "user_id": ["u1"] * n,
        "timestamp_utc": [f"2026-09-07T00:{k % 60:02d}:00Z" for k in range(n)],
        "is_failure": ["false"] * n,
    }


def draft(data: Path) -> tuple[str, dict[str, Any]]:
    """The drafted contract as text, and as what it says."""
    text = contract_text(data)
    return text, checked(text)


def checked(text: str) -> dict[str, Any]:
    """What a draft says, once it has the structure of a file that extends the contract."""
    hidden = {c for c in text if not is_visible(c)} - {"\n"}
    assert hidden == set(), "a draft holds only what can be seen"
    said = yaml.safe_load(text)
    assert set(said) == {"tables"}
    assert set(said["tables"]) <= set(TABLES)
    base = contracts.load()
    for table, parts in said["tables"].items():
        assert set(parts) <= {"names", "columns"}
        assert all(parts.values()), "a key that holds nothing is left out"
        names = parts.get("names", {})
        assert set(names) <= set(base.tables[table].columns)
        assert len(set(names.values())) == len(names)
        for name, column in parts.get("columns", {}).items():
            assert base.tables[table].column(name) is None
            assert set(column) - {"max_missing"} == COLUMN_KEYS - {"max_missing"}
            assert 0 < column.get("max_missing", 0.5) < 1
    return said


def extended(said: Mapping[str, Any], folder: Path) -> Contract:
    """The contract with the drafted columns in it, through the loader that every contract passes."""
    whole = yaml.safe_load(contracts.DEFAULT_PATH.read_text(encoding="utf-8"))
    for table, parts in said["tables"].items():
        for name, column in parts.get("columns", {}).items():
            whole["tables"][table]["columns"][name] = {
                key: value for key, value in column.items() if key != "max_missing"
            }
    path = folder / "whole.yml"
    path.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
    return contracts.load(path)


def of_interactions(said: Mapping[str, Any], part: str) -> dict[str, Any]:
    """`names` or `columns` of the interactions; empty where nothing is in force."""
    return dict(said["tables"].get(INTERACTIONS, {}).get(part, {}))
