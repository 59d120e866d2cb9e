"""What was spent: by day, in all, and by model, use case and what is known of each interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from analysis.telemetry.fact import micros
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry

CAUSES = ("seen", "unknown_price", "timeout", "dropped_stream", "fallback", "other")
"""Why a row has no cost, in the order of their codes; the first has one."""
TOKENS_KNOWN, CEILING_KNOWN = 2, 1
"""What of a row's tokens is known: prompt and completion; or the prompt, and what the completion was
allowed (max_tokens)."""


@dataclass(frozen=True)
class Spent:
    """Rows with a known cost, their nano-USD, and Σ of the squares of clusters' nano-USD."""

    n_known: int
    nano_usd: int
    cluster_squares: int


@dataclass(frozen=True)
class Piece:
    """Rows of one window that are alike in model, use case, price and what is known of them.

    window: 1 candidate, 0 baseline. model: values of the keys. era: how many of the given moments
    the rows lie after. cause: one of `CAUSES`. tokens_known: see there. n: rows. All else is weighted
    by weekday: attempts, first attempts; nano-USD; attempts with a known count of tokens, and these
    tokens; prompt, cached prompt and completion tokens where prompt and completion are known; and
    where only the ceiling is, prompt tokens and max_tokens.
    """

    window: int
    model: tuple[str | None, ...]
    use_case: str | None
    era: int
    cause: str
    tokens_known: int
    n: int
    attempts: int
    first_attempts: int
    nano_usd: int
    tokened: int
    tokens: int
    prompt: int
    cached: int
    completion: int
    ceiling: int


def spent(telemetry: Telemetry) -> Spent:
    """What the traffic of the candidate's time span cost."""
    row = telemetry.engine.row(
        "SELECT coalesce(sum(known), 0), coalesce(sum(t), 0), coalesce(sum(t * t), 0) "
        "FROM (SELECT count(cost_nano) AS known, "
        "CAST(coalesce(sum(cost_nano), 0) AS HUGEINT) AS t "
        f"FROM fact WHERE {_scope(telemetry)} GROUP BY cluster) clusters"
    )
    return Spent(*(int(v) for v in row))


def spent_by_day(telemetry: Telemetry) -> dict[int, int]:
    """Day number → nano-USD of the candidate's time span."""
    rows = telemetry.engine.rows(
        f"SELECT day, coalesce(sum(cost_nano), 0) FROM fact WHERE {_scope(telemetry)} GROUP BY day"
    )
    return {int(day): int(nano) for day, nano in rows}


@dataclass(frozen=True)
class Hour:
    """An hour (since 1970-01-01 UTC) by the rows' own times, all traffic: nano-USD, rows, and those
    without a known cost. in_period: whether they lie at or after a given moment."""

    hour: int
    in_period: bool
    nano_usd: int
    n: int
    n_unknown: int


def spent_by_hour(telemetry: Telemetry, start: datetime, end: datetime) -> tuple[Hour, ...]:
    """The hours before `end` that hold rows, in order; one that `start` divides stands twice."""
    rows = telemetry.engine.rows(
        "SELECT hour, later, coalesce(sum(cost_nano), 0), count(*), count(cost_nano) FROM "
        "(SELECT CAST(floor(ts_us / 3600000000) AS BIGINT) AS hour, "
        f"CASE WHEN ts_us >= {micros(start)} THEN 1 ELSE 0 END AS later, cost_nano "
        f"FROM fact WHERE ts_us < {micros(end)}) hours GROUP BY hour, later ORDER BY hour, later"
    )
    return tuple(
        Hour(int(hour), bool(later), int(nano), int(n), int(n) - int(known))
        for hour, later, nano, n, known in rows
    )


def _scope(telemetry: Telemetry) -> str:
    """Rows that the spend a day covers: a canary's span counts all traffic, less the exclusions."""
    if not telemetry.windows.by_release:
        return "win = 1"
    span = telemetry.windows.candidate
    where = f"ts_us >= {micros(span.start)} AND ts_us < {micros(span.end)}"
    for out in telemetry.windows.exclude:
        where += f" AND NOT (ts_us >= {micros(out.start)} AND ts_us < {micros(out.end)})"
    return where


def spend_pieces(
    telemetry: Telemetry, keys: Sequence[str], moments: Sequence[datetime] = ()
) -> tuple[Piece, ...]:
    """Both windows' traffic in pieces (a canary's: all traffic of its span), in no order.

    keys: columns that name a model. moments: UTC times at which prices change, ascending.
    """
    names = tuple(f"k{i}" for i in range(len(keys)))
    select = ", ".join(
        [
            *(f"{identifier(key)} AS {name}" for key, name in zip(keys, names, strict=True)),
            f"{'use_case' if telemetry.has('use_case') else _NONE} AS uc",
            f"{_era(moments)} AS era",
            f"{_cause(telemetry)} AS cause",
            *_side(telemetry),
            "first_attempt, cost_nano",
            *_usage(telemetry),
        ]
    )
    by = ", ".join(("side", *names, "uc", "era", "cause", "known"))
    rows = telemetry.engine.rows(
        f"SELECT {by}, count(*), sum(w), sum(CASE WHEN first_attempt THEN w ELSE 0 END), "
        "sum(w * coalesce(cost_nano, 0)), sum(CASE WHEN tokens IS NULL THEN 0 ELSE w END), "
        "sum(w * coalesce(tokens, 0)), sum(w * prompt), sum(w * cached), sum(w * completion), "
        "sum(w * ceiling) "
        "FROM (SELECT side, w, first_attempt, cost_nano, uc, era, cause, tokens, "
        f"{''.join(name + ', ' for name in names)}{_known()} "
        f"FROM (SELECT {select} FROM fact) spending WHERE side IS NOT NULL) known_spending "
        f"GROUP BY {by}"
    )
    out = []
    for side, *row in rows:
        model = tuple(None if v is None else str(v) for v in row[: len(keys)])
        use_case, era, cause, known, *numbers = row[len(keys) :]
        out.append(
            Piece(
                int(side),
                model,
                None if use_case is None else str(use_case),
                int(era),
                CAUSES[int(cause)],
                int(known),
                *(int(v or 0) for v in numbers),
            )
        )
    return tuple(out)


_NONE = "CAST(NULL AS VARCHAR)"
_UNKNOWN = "CAST(NULL AS BIGINT)"


def _side(telemetry: Telemetry) -> tuple[str, str]:
    """The window of a row, and its weight."""
    if telemetry.windows.by_release:
        return f"CASE WHEN {_scope(telemetry)} THEN 1 END AS side", "1 AS w"
    return "win AS side", "weight AS w"


def _era(moments: Sequence[datetime]) -> str:
    """How many of the moments a row lies at or after."""
    cases = " ".join(
        f"WHEN ts_us >= {micros(moment)} THEN {place}"
        for place, moment in reversed(list(enumerate(moments, start=1)))
    )
    return f"CASE {cases} ELSE 0 END" if cases else "0"


def _cause(telemetry: Telemetry) -> str:
    """The code of why a row has no cost: each row has one, the first that holds."""
    kinds = []
    if telemetry.has("failure_type"):
        kind = "lower(CAST(failure_type AS VARCHAR))"
        timed_out = " OR ".join(
            f"{kind} LIKE '%{w}%'" for w in ("timeout", "timed_out", "deadline")
        )
        dropped = " OR ".join(f"{kind} LIKE '%{w}%'" for w in ("stream", "dropped", "disconnect"))
        kinds += [(timed_out, "timeout"), (dropped, "dropped_stream")]
        kinds.append((f"{kind} LIKE '%fallback%'", "fallback"))
    if telemetry.has("repair_strategy"):
        kinds.append(("lower(CAST(repair_strategy AS VARCHAR)) LIKE '%fallback%'", "fallback"))
    if telemetry.has("prompt_tokens", "completion_tokens"):
        known = "prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL"
        kinds.append((known, "unknown_price"))
    cases = " ".join(f"WHEN {when} THEN {CAUSES.index(cause)}" for when, cause in kinds)
    return f"CASE WHEN cost_nano IS NOT NULL THEN 0 {cases} ELSE {CAUSES.index('other')} END"


def _usage(telemetry: Telemetry) -> tuple[str, ...]:
    """p, cached_p, c, m: prompt, cached prompt, completion and max tokens; tokens: all, as logged."""

    def column(name: str) -> str:
        return name if telemetry.has(name) else _UNKNOWN

    counted = f"{column('prompt_tokens')} + {column('completion_tokens')}"
    return (
        f"{column('prompt_tokens')} AS p",
        f"coalesce({column('cached_prompt_tokens')}, 0) AS cached_p",
        f"{column('completion_tokens')} AS c",
        f"{column('max_tokens')} AS m",
        f"coalesce({column('total_tokens')}, {counted}) AS tokens",
    )


def _known() -> str:
    """What is known of a row's tokens, and these tokens, 0 where they are not."""
    both = "p IS NOT NULL AND c IS NOT NULL"
    ceiling = "p IS NOT NULL AND c IS NULL AND m IS NOT NULL"
    return (
        f"CASE WHEN {both} THEN {TOKENS_KNOWN} WHEN {ceiling} THEN {CEILING_KNOWN} ELSE 0 END AS known, "
        f"CASE WHEN {both} OR {ceiling} THEN p ELSE 0 END AS prompt, "
        f"CASE WHEN {both} THEN cached_p ELSE 0 END AS cached, "
        f"CASE WHEN {both} THEN c ELSE 0 END AS completion, "
        f"CASE WHEN {ceiling} THEN m ELSE 0 END AS ceiling"
    )
