"""Small worlds of three tables that keep the contract, as text cells, for tests to break."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.telemetry.source import open_source
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import ContractSection, Violation

CONTRACT = contracts.load()
MONDAY = pd.Timestamp("2026-09-07T00:00:00Z")
ARROW = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


@dataclass
class World:
    """Table name → its cells as text, None where null. `folder` is where it is written."""

    tables: dict[str, pd.DataFrame]
    folder: Path

    def set(self, table: str, column: str, row: int, value: str | None) -> Self:
        """Sets one cell; `row` is the 1-based data row."""
        frame = self.tables[table]
        if column not in frame:
            frame[column] = pd.Series([None] * len(frame), dtype=object)
        frame.loc[row - 1, column] = value
        return self

    def add(self, table: str, column: str, values: Iterable[Any]) -> Self:
        """Adds a column, or replaces it."""
        self.tables[table][column] = pd.Series(list(values), dtype=object)
        return self

    def drop(self, table: str, *columns: str) -> Self:
        """Takes columns away."""
        self.tables[table] = self.tables[table].drop(columns=list(columns))
        return self

    def append(self, table: str, row: int, **cells: str | None) -> Self:
        """Adds a copy of a row, with other cells."""
        frame = self.tables[table]
        copy = {**frame.iloc[row - 1].to_dict(), **cells}
        self.tables[table] = pd.concat([frame, pd.DataFrame([copy])], ignore_index=True)
        return self

    def csv(self, table: str) -> str:
        """The table as CSV text."""
        return str(self.tables[table].to_csv(index=False))

    def arrow(self, table: str) -> pa.Table:
        """The table in the types that the contract declares; undeclared columns stay text."""
        return arrow_of(self.tables[table], table)

    def write(self, kind: str = "csv") -> Path:
        """Writes the three tables as `kind`: csv, csv.gz, parquet or parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            if kind in ("csv", "csv.gz"):
                self.tables[name].to_csv(
                    self.folder / f"{name}.{kind}", index=False, compression="infer"
                )
            elif kind == "parquet":
                pq.write_table(self.arrow(name), self.folder / f"{name}.parquet")
            else:
                whole = self.arrow(name)
                (self.folder / name).mkdir()
                half = len(whole) // 2
                pq.write_table(whole.slice(0, half), self.folder / name / "part-0.parquet")
                pq.write_table(whole.slice(half), self.folder / name / "part-1.parquet")
        return self.folder

    def validated(self, kind: str = "csv", **options: Any) -> ContractSection:
        """Writes the world and validates it."""
        return validated(self.write(kind), **options)

    def violations(self, kind: str = "csv", **options: Any) -> tuple[Violation, ...]:
        """Writes the world, and lists what is wrong with it."""
        return self.validated(kind, **options).violations

    def opened(self, kind: str = "csv", policy: Policy | None = None, **options: Any) -> Telemetry:
        """Writes the world and opens it."""
        return open_telemetry(self.write(kind), CONTRACT, policy or Policy(), **options)


def validated(
    folder: Path, contract: contracts.Contract = CONTRACT, **rules: Any
) -> ContractSection:
    """Validates the telemetry in `folder`."""
    source = open_source(folder, contract)
    try:
        return validate(source, contract, **rules)
    finally:
        source.close()


def arrow_of(frame: pd.DataFrame, table: str) -> pa.Table:
    """Text cells as Arrow columns of their declared types."""
    columns = {}
    for name in frame.columns:
        rule = CONTRACT.tables[table].column(name)
        kind = rule.type if rule is not None else "string"
        columns[name] = pa.array([typed(v, kind) for v in frame[name]], ARROW[kind])
    return pa.table(columns)


def typed(value: Any, kind: str) -> Any:
    """One cell of a declared type."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if kind == "boolean":
        return str(value).lower() in ("true", "1")
    if kind == "timestamp":
        return pd.Timestamp(value).tz_convert(None).to_pydatetime()
    return {"string": str, "integer": int, "number": float}[kind](value)


def instant(moment: pd.Timestamp) -> str:
    """A time as the tables hold it."""
    return moment.isoformat().replace("+00:00", "Z")


def interactions(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Interactions as text: what a row leaves out gets a plain value.

    A row names its `session`, `user` and `at` (hours since Monday, or a timestamp).
    """
    out = []
    for number, row in enumerate(rows, start=1):
        own = dict(row)
        at = own.pop("at", number)
        moment = at if isinstance(at, pd.Timestamp) else MONDAY + pd.Timedelta(hours=at)
        prompt, completion = own.get("prompt_tokens", 10 * number), own.get("completion_tokens", 5)
        known = prompt is not None and completion is not None
        cells = {
            "interaction_id": f"i{number:05d}",
            "session_id": own.pop("session"),
            "user_id": own.pop("user"),
            "timestamp_utc": instant(moment),
            "is_failure": False,
            "use_case": "coding",
            "country_code": "DE",
            "retry_index": 0,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion if known else None,
            "latency_ms": 100.5 * number,
            "cost_usd": f"{number / 1000:.6f}",
            **own,
        }
        out.append({k: text(v) for k, v in cells.items()})
    return pd.DataFrame(out, dtype=object)


def text(value: Any) -> str | None:
    """A value as a CSV cell."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(value)


def summaries(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sessions and users that belong to interactions."""
    sessions, users = [], []
    for session, own in rows.groupby("session_id", sort=False):
        sessions.append(
            {
                "session_id": session,
                "user_id": own["user_id"].iloc[0],
                "start_timestamp_utc": own["timestamp_utc"].min(),
                "end_timestamp_utc": own["timestamp_utc"].max(),
                **totals("session", own),
            }
        )
    for user, own in rows.groupby("user_id", sort=False):
        users.append({"user_id": user, **totals("user", own)})
    return pd.DataFrame(sessions, dtype=object), pd.DataFrame(users, dtype=object)


def totals(prefix: str, rows: pd.DataFrame) -> dict[str, str]:
    """What a summary says about its rows."""
    cost = sum(float(c) for c in rows["cost_usd"] if c is not None)
    return {
        f"{prefix}_total_cost_usd": f"{cost:.6f}",
        f"{prefix}_total_tokens": str(sum(int(t) for t in rows["total_tokens"] if t is not None)),
        f"{prefix}_total_requests": str(len(rows)),
        f"{prefix}_total_failures": str(int((rows["is_failure"] == "true").sum())),
    }


def world_of(rows: Iterable[dict[str, Any]] | pd.DataFrame, folder: Path) -> World:
    """A world that holds these interactions, and the sessions and users that they need."""
    frame = rows if isinstance(rows, pd.DataFrame) else interactions(rows)
    sessions, users = summaries(frame)
    return World({INTERACTIONS: frame, SESSIONS: sessions, USERS: users}, folder)


def tiny(folder: Path) -> World:
    """Eight interactions of four sessions and three users, two of them failures."""
    rows = [
        {"session": "s1", "user": "u1", "at": 1},
        {"session": "s1", "user": "u1", "at": 1.5, "is_failure": True},
        {"session": "s1", "user": "u1", "at": 2, "retry_index": 1},
        {"session": "s2", "user": "u1", "at": 30, "country_code": "NA"},
        {"session": "s3", "user": "u2", "at": 31, "is_failure": None},
        {"session": "s3", "user": "u2", "at": 32, "is_failure": True},
        {"session": "s4", "user": "u3", "at": 50, "use_case": "support"},
        {"session": "s4", "user": "u3", "at": 51, "use_case": "support"},
    ]
    return world_of(rows, folder)


def random_rows(rng: np.random.Generator, n: int = 120, days: int = 8) -> list[dict[str, Any]]:
    """Interactions of several to a session and user, with unknown values of every kind."""

    def some(values: list[Any], k: int) -> Any:
        return values[int(rng.integers(len(values)))]

    rows = []
    session, user, minute = 0, "u0", 0
    for k in range(n):
        if k == 0 or rng.random() < 0.4:
            session += 1
            user = f"u{int(rng.integers(12))}"
            minute = int(rng.integers(0, days * 24 * 60))
        rows.append(
            {
                "session": f"s{session}",
                "user": user,
                "at": MONDAY + pd.Timedelta(minutes=minute + int(rng.integers(0, 3))),
                "is_failure": some([True, False, False, False, None], k),
                "latency_ms": some([100.25, 2200.0, 2200.5, 9000.0, None], k),
                "cost_usd": some(["0.000001", "0.25", "1.000000001", "0", None], k),
                "retry_index": some([0, 0, 1, 2, None], k),
                "use_case": some(["coding", "support", None, "NA"], k),
                "country_code": some(["DE", "NA", "FR"], k),
                "region": some(["eu", "'); DROP TABLE fact;--", "{{< env HOME >}}"], k),
            }
        )
    return rows


def frame(telemetry: Telemetry) -> pd.DataFrame:
    """All rows of `fact`, and whose they are: what the independent computations start from."""
    found = telemetry.engine.frame(
        "SELECT f.*, s.id AS session_id, u.id AS user_id FROM fact f "
        "LEFT JOIN session_ids s ON s.code = f.session LEFT JOIN user_ids u ON u.code = f.usr "
        "ORDER BY interaction_id"
    )
    texts = {c: object for c in found if isinstance(found[c].dtype, pd.CategoricalDtype)}
    return found.astype(texts).assign(ts=pd.to_datetime(found["ts_us"], unit="us"))
