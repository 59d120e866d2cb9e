"""The telemetry contract (DESIGN section 4): `load` reads it, and all its names are here.

`data/contract.yml` is the single source; nothing else in the project names a column's type, range,
role or the moment from which it is known. A file of one's own extends it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from analysis import contract_file
from analysis.contract_model import (
    INTERACTIONS,
    KEPT,
    RULES,
    SESSIONS,
    TABLES,
    USERS,
    Column,
    ColumnType,
    Contract,
    KnownAt,
    OwnRule,
    Role,
    RuleId,
    RuleSeverity,
    Table,
    TokenPart,
    TokenSum,
)
from analysis.contract_schema import schema_of

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "data" / "contract.yml"


@functools.lru_cache(maxsize=8)
def load(path: Path = DEFAULT_PATH) -> Contract:
    """The project's contract, extended by the file at `path` where that is another one.

    Raises UsageError where the file cannot be read, PolicyError with every problem otherwise.
    """
    return contract_file.read(path, extends=None if path == DEFAULT_PATH else load())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of one's own, which extends the project's contract."""
    return schema_of(load())


__all__ = [
    "DEFAULT_PATH",
    "INTERACTIONS",
    "KEPT",
    "RULES",
    "SESSIONS",
    "TABLES",
    "USERS",
    "Column",
    "ColumnType",
    "Contract",
    "KnownAt",
    "OwnRule",
    "Role",
    "RuleId",
    "RuleSeverity",
    "Table",
    "TokenPart",
    "TokenSum",
    "json_schema",
    "load",
]
