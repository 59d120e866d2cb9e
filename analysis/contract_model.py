"""The telemetry contract as typed models: tables, columns, roles, known-at, rules (DESIGN section 4).

What the models cannot say (names that refer to nothing, ranges that are none) is in
`contract_problems`; `analysis.contract` loads a file and has all of these names.
"""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
BUILT_ON: dict[str, dict[str, ColumnType]] = {
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
REQUIRED: dict[str, tuple[str, ...]] = {
    INTERACTIONS: ("interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure"),
    SESSIONS: ("session_id",),
    USERS: ("user_id",),
}
KEPT = {
    "source_row",
    "source_hash",
    "ts",
    "ts_us",
    "day",
    "session",
    "usr",
    "cluster",
    "win",
    "weight",
    "cost_nano",
    "latency_us",
    "latency_bin",
    "failure",
    "breach",
    "first_attempt",
    "traced",
    "ts_day",
    "started_us",
    "started_day",
    "label_us",
    "past_session_interactions",
    "past_session_retries",
    "past_session_gap_us",
    "past_session_labelled",
    "past_session_failures",
    "past_user_labelled",
    "past_user_failures",
}
"""Names that the review has for columns of its own; no column may be declared by one of them."""

MAX_EXPRESSION = 2_000

DataName = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]

_MOMENTS: dict[KnownAt, int] = {"request": 0, "response": 1, "later": 2}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Model):
    """One declared column. `min` and `max` are inclusive unless `min_exclusive`.

    max_missing: the share of nulls, 0 to 1, that the column may have; None leaves it to the policy.
    """

    type: ColumnType
    unit: str | None = None
    required: bool = False
    min: float | None = None
    min_exclusive: bool = False
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    max_missing: Annotated[float, Field(ge=0, le=1)] | None = None
    role: Role
    known_at: KnownAt
    description: str = ""


class TokenSum(_Model):
    total: str
    parts: tuple[str, ...]


class TokenPart(_Model):
    part: str
    whole: str


class OwnRule(_Model):
    """A condition that every row of a table must satisfy; null counts as satisfied (`own_rules`)."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")]
    table: str
    expression: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION)]
    severity: RuleSeverity = "error"
    hint: Annotated[str, Field(max_length=300)] = ""


class Table(_Model):
    """One table: its columns, its key, and how it joins and adds up.

    names: a column of the contract → what the data call it.
    """

    key: str
    names: dict[str, DataName] = {}
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
    """All tables, each rule's severity and what it says, and the rules of one's own."""

    severities: dict[RuleId, RuleSeverity]
    descriptions: dict[RuleId, str] = {}
    tables: dict[str, Table]
    rules: tuple[OwnRule, ...] = ()

    def column(self, name: str) -> Column | None:
        """The declaration of an interactions column."""
        return self.tables[INTERACTIONS].column(name)

    def knowable(self, name: str, decide_at: KnownAt) -> bool:
        """Whether an interactions column is known at `decide_at`: the leakage guard.

        A column that is not declared is never knowable, for nobody said when it is known.
        """
        column = self.column(name)
        return column is not None and _MOMENTS[column.known_at] <= _MOMENTS[decide_at]
