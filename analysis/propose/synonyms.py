"""What other people call the contract's columns.

Names are compared without case and without separators: `createdAt`, `created_at` and `Created At`
are one name. Within a table no name stands for two columns.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.contract import INTERACTIONS, SESSIONS, USERS

_USER = "user end_user end_user_id account_id customer_id member_id client_id tenant_id uid"
_SESSION = "session session_key conversation_id conversation conv_id thread_id chat_id dialog_id"

_SYNONYMS: dict[str, dict[str, str]] = {
    INTERACTIONS: {
        "interaction_id": "id request_id call_id span_id completion_id generation_id response_id "
        "message_id event_id log_id run_id observation_id uuid",
        "session_id": _SESSION,
        "user_id": _USER,
        "timestamp_utc": "timestamp ts time created_at created event_time event_timestamp start_time "
        "started_at request_time requested_at datetime timestamp_ms epoch epoch_ms unix_time",
        "is_failure": "error failed failure is_error is_failed has_error has_failed errored "
        "success is_success succeeded successful ok",
        "trace_id": "trace trace_uuid",
        "use_case": "task task_type feature intent",
        "account_tier": "tier plan plan_name subscription subscription_tier customer_tier",
        "channel": "surface platform",
        "region": "geo user_region",
        "country_code": "country country_iso",
        "segment": "customer_segment user_segment",
        "prompt_tokens": "input_tokens tokens_in tokens_prompt prompt_token_count input_token_count "
        "n_prompt_tokens num_prompt_tokens usage.prompt_tokens usage.input_tokens "
        "gen_ai.usage.input_tokens",
        "completion_tokens": "output_tokens tokens_out tokens_completion completion_token_count "
        "output_token_count n_completion_tokens num_completion_tokens generated_tokens "
        "response_tokens usage.completion_tokens usage.output_tokens gen_ai.usage.output_tokens",
        "cached_prompt_tokens": "cached_tokens cached_input_tokens cache_read_tokens "
        "cache_read_input_tokens",
        "reasoning_tokens": "thinking_tokens",
        "total_tokens": "tokens token_count tokens_total usage.total_tokens",
        "max_tokens": "max_output_tokens max_completion_tokens max_new_tokens",
        "temperature": "temp",
        "retry_index": "retry retry_number attempt attempt_index attempt_number",
        "instruction_template": "template template_name prompt_template prompt_name",
        "prompt_version": "template_version prompt_revision",
        "model_provider": "provider vendor llm_provider model_vendor",
        "model_name": "model llm llm_model model_id deployment gen_ai.request.model",
        "release_id": "release release_version version app_version build deployment_id",
        "routing_propensity": "propensity pscore action_prob action_probability routing_probability",
        "latency_ms": "latency duration duration_ms response_time response_time_ms elapsed elapsed_ms "
        "total_latency_ms total_duration_ms latency_s latency_sec latency_seconds duration_s "
        "duration_sec duration_seconds response_time_s elapsed_s elapsed_seconds latency_us "
        "duration_us latency_ns duration_ns",
        "time_to_first_token_ms": "ttft ttft_ms first_token_ms time_to_first_token "
        "first_token_latency_ms ttft_s ttft_seconds time_to_first_token_s",
        "tokens_per_second": "tps tokens_per_s throughput",
        "cost_usd": "cost total_cost total_cost_usd price price_usd usd cost_dollars spend spend_usd "
        "cost_cents price_cents",
        "tool_calls_count": "tool_calls tool_call_count n_tool_calls num_tool_calls",
        "failure_type": "error_type error_code error_class failure_reason",
        "response_quality_score": "quality_score quality eval_score grade",
        "final_resolution_state": "resolution resolution_state final_state",
        "label_available_utc": "labelled_at labeled_at label_time graded_at",
        "user_feedback_score": "feedback_score rating user_rating csat",
        "user_feedback_label": "feedback feedback_label user_feedback thumbs",
        "user_reported_issue": "reported_issue user_report",
    },
    SESSIONS: {
        "session_id": f"id {_SESSION}",
        "user_id": _USER,
        "start_timestamp_utc": "start start_time started_at session_start created_at created "
        "first_seen first_timestamp start_timestamp",
        "end_timestamp_utc": "end end_time ended_at session_end finished_at last_seen last_timestamp "
        "end_timestamp",
        "session_total_cost_usd": "cost cost_usd total_cost session_cost session_cost_usd",
        "session_total_tokens": "tokens session_tokens",
        "session_total_requests": "requests n_requests request_count calls n_calls interactions "
        "n_interactions",
        "session_total_failures": "failures n_failures failed errors n_errors error_count",
    },
    USERS: {
        "user_id": f"id {_USER}",
        "user_total_cost_usd": "cost cost_usd total_cost user_cost user_cost_usd",
        "user_total_tokens": "tokens user_tokens",
        "user_total_requests": "requests n_requests request_count calls n_calls interactions "
        "n_interactions",
        "user_total_failures": "failures n_failures failed errors n_errors error_count",
    },
}

OPPOSITE = ("success", "is_success", "succeeded", "successful", "ok")
"""Names of flags that say the opposite of `is_failure`."""

# The ending of a name → the factor from its unit to the contract's.
_UNITS = {
    "latency_ms": {"s": 1000.0, "sec": 1000.0, "seconds": 1000.0, "us": 0.001, "ns": 1e-6},
    "time_to_first_token_ms": {"s": 1000.0, "seconds": 1000.0},
    "cost_usd": {"cents": 0.01},
}
NOT_FOUND = {
    "interaction_id": "every call needs an id of its own; number the rows if they have none",
    "session_id": "the conversation or task that a call belongs to; where calls stand alone, copy "
    "the id of the call",
    "user_id": "who caused the call; where nobody knows, copy the id of the session",
    "timestamp_utc": "when the call was made, as ISO 8601 in UTC such as 2026-11-16T09:30:00Z",
    "is_failure": "true or false, empty while it is not known; where nothing is labelled yet, add "
    "an empty column",
}


def normalised(name: str) -> str:
    """A name without case and separators."""
    return "".join(c for c in name.casefold() if c.isalnum())


SYNONYMS: Mapping[str, Mapping[str, frozenset[str]]] = {
    table: {column: frozenset(map(normalised, names.split())) for column, names in of.items()}
    for table, of in _SYNONYMS.items()
}


def looks_like(table: str, declared: str, name: str) -> bool:
    """Whether a column called `name` may be the declared one."""
    plain = normalised(name)
    return plain == normalised(declared) or plain in SYNONYMS[table].get(declared, frozenset())


def factor_by_name(declared: str, name: str) -> float | None:
    """What to multiply a column by whose name has another unit than the declared one's."""
    ending = name.casefold().replace("-", "_").replace(" ", "_").rpartition("_")[2]
    return _UNITS.get(declared, {}).get(ending)
