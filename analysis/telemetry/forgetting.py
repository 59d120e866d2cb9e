"""What of telemetry goes when a person is forgotten, or when rows are older than a policy keeps them.

`telemetry.rewriting` takes these rows out of the tables. Rows of one session go together where its time is
up. What is left obeys the contract: totals of users and sessions that lose some of their rows are emptied,
for they are no longer known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from analysis.contract import INTERACTIONS, Contract
from analysis.telemetry.fact import moment
from analysis.telemetry.files import Found, Unreadable
from analysis.telemetry.sql import identifier
from analysis.telemetry.windows import midnight

_TIME = "timestamp_utc"


@dataclass(frozen=True)
class Pair:
    """What one user has in one session. last: of its newest interaction, in UTC; None where none is read."""

    user: str | None
    session: str | None
    last: datetime | None


@dataclass(frozen=True)
class Gone:
    """Which rows go. users, sessions: ids of whom every row goes. users_in_part, sessions_in_part: ids
    that keep some rows and lose others."""

    users: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    users_in_part: frozenset[str] = frozenset()
    sessions_in_part: frozenset[str] = frozenset()


def of_users(users: Collection[str], pairs: Collection[Pair]) -> Gone:
    """Every row of these users, and every session that is theirs alone."""
    theirs = {p.session for p in pairs if p.user in users and p.session is not None}
    shared = {p.session for p in pairs if p.user not in users and p.session in theirs}
    return Gone(
        users=frozenset(users),
        sessions=frozenset(theirs - shared),
        sessions_in_part=frozenset(s for s in shared if s is not None),
    )


def of_time(pairs: Collection[Pair], days: int, as_of: datetime | None = None) -> Gone:
    """Sessions whose newest interaction is more than `days` before `as_of`, and users who have no other.

    as_of: by default the first midnight after the newest interaction, where a window of whole days ends.
    A session whose times cannot be read stays.
    """
    last: dict[str, datetime | None] = {}
    for p in pairs:
        if p.session is not None:
            known = [t for t in (p.last, last.get(p.session)) if t is not None]
            last[p.session] = max(known) if known else None
    times = [t for t in last.values() if t is not None]
    if not times:
        return Gone()
    limit = (as_of or midnight(max(times)) + timedelta(days=1)) - timedelta(days=days)
    old = frozenset(s for s, t in last.items() if t is not None and t < limit)
    some = {p.user for p in pairs if p.session in old and p.user is not None}
    keeping = {p.user for p in pairs if p.session not in old and p.user is not None}
    return Gone(
        users=frozenset(some - keeping), sessions=old, users_in_part=frozenset(some & keeping)
    )


# ── what is read to decide it ────────────────────────────────────────────────────────────


def pairs_of(found: Found, contract: Contract) -> list[Pair]:
    """Each user's sessions in an interactions table. Raises Unreadable where it cannot be read."""
    import duckdb
    import pyarrow as pa

    from analysis.telemetry import csv_file

    names = column_names(contract, INTERACTIONS, ("user_id", "session_id", _TIME))
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        if found.format == "parquet":
            source = connection.read_parquet([str(p) for p in found.paths], union_by_name=True)
            columns = {key: name for key, name in names.items() if name in source.columns}
        else:
            (path,) = found.paths
            gzipped = found.format == "csv.gz"
            header = csv_file.header(path, gzipped=gzipped)
            columns = {k: f"c{header.index(n)}" for k, n in names.items() if n in header}
            source = connection.from_arrow(csv_file.records(path, header, gzipped=gzipped))
        if "user_id" not in columns:
            raise Unreadable("columns", f"has no column {names['user_id']!r}", "user_id")
        taken = ", ".join(
            f"cast({identifier(columns[k])} AS VARCHAR) AS {k}" if k in columns else f"NULL AS {k}"
            for k in ("user_id", "session_id")
        )
        time = (
            f"try_cast({identifier(columns[_TIME])} AS TIMESTAMPTZ)"
            if _TIME in columns
            else "NULL::TIMESTAMPTZ"
        )
        rows = source.aggregate(
            f"{taken}, epoch_us(max({time}))",
            ", ".join(identifier(columns[k]) for k in columns if k != _TIME),
        ).fetchall()
    except (csv_file.NoCsv, pa.ArrowException, duckdb.Error) as error:
        raise Unreadable("files", csv_file.reason(error)) from None
    finally:
        connection.close()
    return [Pair(user, session, None if us is None else moment(us)) for user, session, us in rows]


def column_names(contract: Contract, table: str, columns: Collection[str]) -> Mapping[str, str]:
    """Column of the contract → what the data call it."""
    names = contract.tables[table].names
    return {c: names.get(c, c) for c in columns}
