"""The telemetry contract as typed models: tables, columns, roles, known-at, rules (DESIGN section 4).

`data/contract.yml` is the single source; nothing else in the project names a column's type, range,
role or the moment from which it is known.
"""

from __future__ import annotations

import fnmatch
import functools
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from analysis.errors import PolicyError, UsageError

INTERACTIONS = "llm_system_interactions"
SESSIONS = "llm_system_sessions_summary"
USERS = "llm_system_users_summary"
TABLES = (INTERACTIONS, SESSIONS, USERS)

ColumnType = Literal["string", "integer", "number", "boolean", "timestamp"]
Role = Literal[
    "key",
    "identifier",
    "time",
    "context",
    "action",
    "cost",
    "outcome",
    "feedback",
    "rollup",
    "carried",
]
KnownAt = Literal["request", "response", "later"]
RuleSeverity = Literal["error", "warning"]
RuleId = Literal[
    "files",
    "columns",
    "types",
    "ranges",
    "key_unique",
    "key_null",
    "foreign_key",
    "user_matches_session",
    "token_sum",
    "rollup",
    "timestamp_utc",
    "timestamp_in_session",
    "session_order",
    "duplicate_rows",
    "missing_rate",
]
RULES: tuple[RuleId, ...] = RuleId.__args__  # type: ignore[attr-defined]

_MOMENTS: dict[KnownAt, int] = {"request": 0, "response": 1, "later": 2}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Model):
    """One declared column. `min` and `max` are inclusive unless `min_exclusive`."""

    type: ColumnType
    unit: str | None = None
    required: bool = False
    min: float | None = None
    min_exclusive: bool = False
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    role: Role
    known_at: KnownAt
    description: str


class TokenSum(_Model):
    total: str
    parts: tuple[str, ...]


class TokenPart(_Model):
    part: str
    whole: str


class Table(_Model):
    """One table: its columns, its key, and how it joins and adds up."""

    key: str
    columns: dict[str, Column]
    foreign_keys: dict[str, str] = {}
    patterns: dict[str, Column] = {}
    token_sums: tuple[TokenSum, ...] = ()
    token_parts: tuple[TokenPart, ...] = ()
    rollups: dict[str, Literal["cost_usd", "total_tokens", "requests", "failures"]] = {}

    def column(self, name: str) -> Column | None:
        """The declaration of `name`, also by pattern (`*_flag`); None where it is not declared."""
        if name in self.columns:
            return self.columns[name]
        for pattern, column in self.patterns.items():
            if fnmatch.fnmatchcase(name, pattern):
                return column
        return None


class Contract(_Model):
    """All tables, and each rule's severity."""

    severities: dict[RuleId, RuleSeverity]
    tables: dict[str, Table]

    def column(self, name: str) -> Column | None:
        """The declaration of an interactions column."""
        return self.tables[INTERACTIONS].column(name)

    def knowable(self, name: str, decide_at: KnownAt) -> bool:
        """Whether an interactions column is known at `decide_at`: the leakage guard.

        A column that is not declared is never knowable, for nobody said when it is known.
        """
        column = self.column(name)
        return column is not None and _MOMENTS[column.known_at] <= _MOMENTS[decide_at]


DEFAULT_PATH = Path(__file__).resolve().parent.parent / "data" / "contract.yml"


@functools.lru_cache(maxsize=8)
def load(path: Path = DEFAULT_PATH) -> Contract:
    """The contract at `path`. Raises UsageError (unreadable), PolicyError (invalid, all problems)."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"contract {path}: {error.strerror or 'cannot be read'}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PolicyError([f"not YAML in UTF-8: {error}"], str(path)) from None
    try:
        contract = Contract.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PolicyError(problems, str(path)) from None
    absent = [t for t in TABLES if t not in contract.tables]
    if absent:
        raise PolicyError([f"tables.{t}: is missing" for t in absent], str(path))
    return contract
