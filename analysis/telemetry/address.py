"""Addresses of engines: `--data duckdb:///file.db`, `postgres://…`, `spark:local`, `spark://…`.

A query may follow: `?schema=NAME` says in which schema the tables stand, and `?path=DIR` lets Spark
read them as Parquet by the contract's names. Credentials are used, and never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from analysis.errors import UsageError

Kind = Literal["duckdb", "postgres", "spark"]
_SCHEMES: dict[str, Kind] = {
    "duckdb": "duckdb",
    "postgres": "postgres",
    "postgresql": "postgres",
    "spark": "spark",
}
_QUERY: dict[Kind, frozenset[str]] = {
    "duckdb": frozenset({"schema"}),
    "postgres": frozenset({"schema", "host", "sslmode", "port", "dbname", "application_name"}),
    "spark": frozenset({"schema", "path"}),
}


_NO_ADDRESS = "not an address; in names and passwords write / ? # and @ as %2F %3F %23 and %40"


@dataclass(frozen=True)
class Address:
    """Where an engine is. `url` may hold credentials; `shown` holds none.

    target: a file (DuckDB), what libpq takes (PostgreSQL), the master (Spark).
    """

    kind: Kind
    shown: str
    schema: str | None = None
    path: str | None = None
    target: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def is_warehouse(self) -> bool:
        """Whether it names a service with tables of its own, not a file."""
        return self.kind != "duckdb"


def is_address(data: str) -> bool:
    """Whether `--data` names an engine rather than a directory."""
    scheme, colon, _ = data.partition(":")
    return bool(colon) and scheme.lower() in _SCHEMES


def address(data: str) -> Address:
    """The address that a command line names. Raises UsageError."""
    scheme = data.partition(":")[0].lower()
    kind = _SCHEMES[scheme]
    try:
        parts = urlsplit(data)
        port = parts.port
        query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
    except ValueError:
        raise UsageError(f"--data {scheme}:…: {_NO_ADDRESS}") from None
    if kind != "duckdb" and ("@" in parts.path or "@" in parts.query.partition("path=")[0]):
        # A piece of a password that was not escaped: nothing of it may be shown.
        raise UsageError(f"--data {scheme}:…: {_NO_ADDRESS}")
    if parts.fragment:
        raise UsageError(f"--data {scheme}:…: {_NO_ADDRESS}")
    host = parts.hostname or ""
    shown_host = f"{host}:{port}" if port else host
    known = {k: v for k, v in query.items() if k in ("schema", "path")}
    told = "&".join(f"{k}={_without_user(v)}" for k, v in known.items())
    if kind == "spark" and not parts.netloc:
        shown = f"spark:{parts.path}"
    else:
        shown = urlunsplit((scheme, shown_host, parts.path, "", ""))
        shown = shown if "://" in shown else f"{scheme}://{shown_host}{parts.path}"
    shown += f"?{told}" if told else ""
    unknown = sorted(set(query) - _QUERY[kind])
    if unknown:
        raise UsageError(
            f"--data {shown}: knows no {', '.join(unknown)}; expected {', '.join(sorted(_QUERY[kind]))}"
        )
    schema, path = query.get("schema"), query.get("path")
    if kind == "duckdb":
        if parts.netloc or not parts.path.startswith("/"):
            raise UsageError(f"--data {shown}: expected duckdb:///path/to/file.db")
        return Address(kind, shown, schema, None, unquote(parts.path))
    if kind == "postgres":
        rest = "&".join(f"{k}={v}" for k, v in query.items() if k != "schema")
        target = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
        target = target if "://" in target else target.replace("postgresql:", "postgresql://", 1)
        return Address(kind, shown, schema, None, target)
    if not parts.netloc and parts.path != "local":
        raise UsageError(f"--data {shown}: expected spark:local or spark://host:port")
    master = "local" if not parts.netloc else f"spark://{parts.netloc}"
    return Address(kind, shown, schema, path, master)


def _without_user(path: str) -> str:
    """A path, where it is an address of its own without its credentials."""
    scheme, colon, rest = path.partition("://")
    place, slash, inside = rest.partition("/")
    return f"{scheme}{colon}{place.rpartition('@')[2]}{slash}{inside}" if colon else path
