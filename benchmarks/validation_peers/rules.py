"""The contract of the sample's columns as plain values, which every contender writes its rules from.

Written by hand, as somebody without this project would have them; a test holds them against
`data/contract.yml`. The contract names no allowed values. Nothing is imported here: the file is
read in the environment of each contender.
"""

INTERACTIONS = "llm_system_interactions"
SESSIONS = "llm_system_sessions_summary"
USERS = "llm_system_users_summary"
KEYS = {INTERACTIONS: "interaction_id", SESSIONS: "session_id", USERS: "user_id"}

# Every key of a table: its own and those of other tables.
KEY_COLUMNS = {
    INTERACTIONS: ("interaction_id", "session_id", "user_id"),
    SESSIONS: ("session_id", "user_id"),
    USERS: ("user_id",),
}

_ROLLUPS = {"cost_usd": "number", "tokens": "integer", "requests": "integer", "failures": "integer"}

# Table → its columns in the order of the file → type.
TYPES = {
    INTERACTIONS: {
        "interaction_id": "string",
        "session_id": "string",
        "user_id": "string",
        "timestamp_utc": "timestamp",
        "trace_id": "string",
        "release_id": "string",
        "prompt_version": "string",
        "instruction_template": "string",
        "use_case": "string",
        "scenario": "string",
        "account_tier": "string",
        "channel": "string",
        "region": "string",
        "country_code": "string",
        "segment": "string",
        "retry_index": "integer",
        "prompt_tokens": "integer",
        "max_tokens": "integer",
        "temperature": "number",
        "top_p": "number",
        "model_provider": "string",
        "model_name": "string",
        "routing_propensity": "number",
        "completion_tokens": "integer",
        "cached_prompt_tokens": "integer",
        "reasoning_tokens": "integer",
        "total_tokens": "integer",
        "latency_ms": "number",
        "time_to_first_token_ms": "number",
        "tokens_per_second": "number",
        "cost_usd": "number",
        "tool_calls_count": "integer",
        "is_failure": "boolean",
        "failure_type": "string",
        "safety_flag": "boolean",
        "hallucination_flag": "boolean",
        "tool_error_flag": "boolean",
        "pii_flag": "boolean",
        "response_quality_score": "number",
        "final_resolution_state": "string",
        "repair_strategy": "string",
        "label_available_utc": "timestamp",
        "user_feedback_score": "number",
        "user_feedback_label": "string",
        "user_reported_issue": "boolean",
    },
    SESSIONS: {
        "session_id": "string",
        "user_id": "string",
        "start_timestamp_utc": "timestamp",
        "end_timestamp_utc": "timestamp",
        **{f"session_total_{name}": kind for name, kind in _ROLLUPS.items()},
    },
    USERS: {
        "user_id": "string",
        **{f"user_total_{name}": kind for name, kind in _ROLLUPS.items()},
    },
}

# Column → (low, high), both allowed; high None: no limit. Beyond 1e12 sums would not be exact.
RANGES = {
    INTERACTIONS: {
        "retry_index": (0, 1e12),
        "prompt_tokens": (0, 1e12),
        "max_tokens": (0, 1e12),
        "temperature": (0, 1e12),
        "top_p": (0, 1),
        "routing_propensity": (0, 1),
        "completion_tokens": (0, 1e12),
        "cached_prompt_tokens": (0, 1e12),
        "reasoning_tokens": (0, 1e12),
        "total_tokens": (0, 1e12),
        "latency_ms": (0, 1e12),
        "time_to_first_token_ms": (0, 1e12),
        "tokens_per_second": (0, 1e12),
        "cost_usd": (0, 1e6),
        "tool_calls_count": (0, 1e12),
        "response_quality_score": (-1e12, 1e12),
        "user_feedback_score": (-1e12, 1e12),
    },
    SESSIONS: {f"session_total_{name}": (0, None) for name in _ROLLUPS},
    USERS: {f"user_total_{name}": (0, None) for name in _ROLLUPS},
}
ABOVE_LOW = ("routing_propensity",)  # here the low end itself is not allowed

TOKEN_SUM = ("total_tokens", "prompt_tokens", "completion_tokens")  # the first is the sum
TOKEN_PARTS = (
    ("cached_prompt_tokens", "prompt_tokens"),
    ("reasoning_tokens", "completion_tokens"),
)

MAX_MISSING = 0.05
NOT_MISSING = (
    "account_tier",
    "channel",
    "cost_usd",
    "is_failure",
    "latency_ms",
    "model_name",
    "model_provider",
    "region",
    "scenario",
    "segment",
    "use_case",
)
# Rows that agree in these are duplicates.
CONTENT = tuple(c for c in TYPES[INTERACTIONS] if c not in ("interaction_id", "trace_id"))

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
