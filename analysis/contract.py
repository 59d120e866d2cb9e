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
    "near_duplicates",
    "clock",
    "missing_days",
    "constant",
    "missing_jump",
    "cardinality",
]
RULES: tuple[RuleId, ...] = RuleId.__args__  # type: ignore[attr-defined]

# What the reductions compute with: a contract may not give these another type.
_BUILT_ON: dict[str, dict[str, ColumnType]] = {
    INTERACTIONS: {
        "interaction_id": "string",
        "session_id": "string",
        "user_id": "string",
        "timestamp_utc": "timestamp",
        "is_failure": "boolean",
        "retry_index": "integer",
        "prompt_tokens": "integer",
        "completion_tokens": "integer",
        "total_tokens": "integer",
        "latency_ms": "number",
        "cost_usd": "number",
        "routing_propensity": "number",
        "label_available_utc": "timestamp",
    },
    SESSIONS: {
        "session_id": "string",
        "user_id": "string",
        "start_timestamp_utc": "timestamp",
        "end_timestamp_utc": "timestamp",
    },
    USERS: {"user_id": "string"},
}
_REQUIRED = {
    INTERACTIONS: ("interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure"),
    SESSIONS: ("session_id",),
    USERS: ("user_id",),
}

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
    max_missing: float | None = None
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
    names: dict[str, str] = {}
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
    rules: tuple[str, ...] = ()

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
    problems = _contradictions(contract)
    if problems:
        raise PolicyError(problems, str(path))
    return contract


def _contradictions(contract: Contract) -> list[str]:
    """What the types of the model cannot say: names that refer to nothing, rules left out."""
    problems = [f"severities.{r}: is missing" for r in RULES if r not in contract.severities]
    problems += [f"tables.{t}: is missing" for t in TABLES if t not in contract.tables]
    for name, table in contract.tables.items():
        found = _of_table(name, table, contract)
        problems += [f"tables.{name}.{problem}" for problem in found]
    return problems


def _of_table(name: str, table: Table, contract: Contract) -> list[str]:
    problems = []
    if name in _REQUIRED:
        expected = _REQUIRED[name][0]
        if table.key != expected:
            problems.append(f"key: expected {expected}, found {table.key}")
        for column in _REQUIRED[name]:
            if column not in table.columns:
                problems.append(f"columns.{column}: is missing")
            elif not table.columns[column].required:
                problems.append(f"columns.{column}.required: expected true")
    for column, kind in _BUILT_ON.get(name, {}).items():
        found = table.columns.get(column)
        if found is not None and found.type != kind:
            problems.append(f"columns.{column}.type: expected {kind}, found {found.type}")
    seen: dict[str, str] = {}
    for column, declared in table.columns.items():
        other = seen.setdefault(column.lower(), column)
        if other != column:
            problems.append(f"columns.{column}: differs from {other} only in case")
        if None not in (declared.min, declared.max) and declared.min > declared.max:  # type: ignore[operator]
            problems.append(f"columns.{column}: min {declared.min:g} exceeds max {declared.max:g}")
        if declared.allowed is not None and declared.type != "string":
            problems.append(f"columns.{column}.allowed: is for text, found {declared.type}")
    for column, other in table.foreign_keys.items():
        if column not in table.columns:
            problems.append(f"foreign_keys.{column}: is no column of the table")
        if other not in contract.tables:
            problems.append(f"foreign_keys.{column}: {other} is no table")
    summed = [(f"token_sums.{t.total}", c) for t in table.token_sums for c in (t.total, *t.parts)]
    summed += [(f"token_parts.{t.part}", c) for t in table.token_parts for c in (t.part, t.whole)]
    summed += [("rollups", c) for c in table.rollups]
    for where, column in summed:
        rule = table.column(column)
        if rule is None or rule.type not in ("integer", "number"):
            problems.append(f"{where}: {column} is no number of the table")
    return problems
