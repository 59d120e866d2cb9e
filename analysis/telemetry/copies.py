"""Interactions that stand more than once under new ids, to the letter or nearly.

One scan of hashes over what a copy cannot change finds the few candidates; only those are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.contract import INTERACTIONS, Contract
from analysis.telemetry.rules import Rule, twice_of
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

IDENTITY = ("interaction_id", "trace_id")
NEAR_SECONDS = 5
MAX_REPEATED = 8
"""Calls of one session with the same prompt: more are a probe or a batch, not one call logged twice."""
CLEARLY = 5.0
MOSTLY = 0.25
"""Share of repeated prompts that are copies, from which on they are: people ask again, too."""
CLOSE_MS, CLOSE = 50, 0.25
"""Two layers that log one call differ by less in its latency: in ms, and as a share."""
NEAR_COPIES = 0.001
"""Share of near duplicates from which on they are a warning: parallel calls can be alike."""
_ENOUGH = 1_000_000
_ANSWERED = frozenset(
    {"completion_tokens", "total_tokens", "reasoning_tokens", "cached_prompt_tokens"}
)
_TOKENS = ("prompt_tokens", "completion_tokens")
_COUNTS = (*_TOKENS, "cached_prompt_tokens", "reasoning_tokens", "retry_index")


def copy_rules(source: Source, contract: Contract) -> list[Rule]:
    """Rules `duplicate_rows` and `near_duplicates`, where some row breaks them.

    A duplicate equals another row in everything but its ids; each copy counts, the original does
    not, and which one is the original does not show in the count. A near duplicate belongs to the
    same session and user, asked for the same and got as many tokens, and either came within
    `NEAR_SECONDS` of the other or took the very same time: one call that two layers logged, or a
    batch that was loaded again with other stamps. Without token counts nobody can tell it from two
    calls that are alike, and the rule has nothing to say. Nor has it where as many come by chance.
    """
    columns = source.columns[INTERACTIONS]
    whole = [c for c in columns if c not in IDENTITY]
    if not whole:
        return []
    near = _near_key(columns, contract)
    engine = source.engine
    # Few calls of a session share all their counts, or their very time: enough to begin with.
    counts = [c for c in near if c in _COUNTS]
    telling = ["session_id", *(counts or ["timestamp_utc"])]
    hashed = (
        f"hash({', '.join(identifier(c) for c in telling if c in whole) or identifier(whole[0])})"
    )
    engine.create("alike", twice_of(hashed, INTERACTIONS))
    if not engine.rows("SELECT 1 FROM alike LIMIT 1"):
        return []
    engine.create(
        "candidates",
        f"SELECT h.* FROM (SELECT *, {hashed} AS source_hash FROM {INTERACTIONS}) h "
        "JOIN alike a ON a.source_hash = h.source_hash",
    )
    engine.create(
        "copies",
        "SELECT source_row FROM (SELECT source_row, row_number() OVER "
        f"(PARTITION BY {', '.join(map(identifier, whole))} ORDER BY source_row) AS place "
        "FROM candidates) placed WHERE place > 1",
    )
    found = [
        _rule(contract, "duplicate_rows", "copies",
              "rows equal another one in everything but their id; was a batch loaded twice?")
    ]  # fmt: skip
    if near:
        engine.create("near_copies", _near_copies(near, columns))
    if near and not _by_chance(source, near):
        found.append(
            _rule(contract, "near_duplicates", "near_copies",
                  "rows repeat a call of the same session under a new id, within "
                  f"{NEAR_SECONDS} s or with the very same latency; is a call logged twice?")
        )  # fmt: skip
    engine.drop("candidates")
    return [r for r in found if engine.rows(f"SELECT 1 FROM {r.relation} LIMIT 1")]


def _near_key(columns: Sequence[str], contract: Contract) -> list[str]:
    """What a second record of one call shares with the first; empty where it cannot be told."""
    if not {"session_id", "user_id", "timestamp_utc", *_TOKENS} <= set(columns):
        return []
    key = ["session_id", "user_id"]
    for name in columns:
        declared = contract.column(name)
        if declared is None or name in ("trace_id", "routing_propensity"):
            continue
        if declared.role in ("context", "action") or declared.unit == "tokens":
            key.append(name)
    return key


def _near_copies(near: Sequence[str], columns: Sequence[str]) -> str:
    """A row that follows one like it. Repeated on purpose: a retry follows a failure, and a session
    that sends the same prompt again and again (a probe, a batch) tells nothing by doing so.
    """
    listed = ", ".join(map(identifier, near))
    # Rows of one time and different outcomes are told apart by more than their place in the file.
    beside = [c for c in ("is_failure", "latency_ms") if c in columns]
    order = f"ORDER BY {', '.join(['timestamp_utc', *beside, 'source_row'])}"
    failed = "coalesce(is_failure, false)" if "is_failure" in columns else "false"
    soon = (
        f"epoch_us(timestamp_utc) - epoch_us(lag(timestamp_utc) OVER (PARTITION BY {listed} {order})) "
        f"<= {NEAR_SECONDS * 1_000_000}"
    )
    if "latency_ms" in columns:
        before = f"lag(latency_ms) OVER (PARTITION BY {listed} {order})"
        soon += (
            f" AND coalesce(abs(latency_ms - {before}) <= {CLOSE_MS} + {CLOSE} * latency_ms, true)"
        )
        same = f"row_number() OVER (PARTITION BY {listed}, latency_ms {order}) > 1"
        soon = f"({soon}) OR (latency_ms > 0 AND {same})"
    return (
        f"SELECT source_row FROM (SELECT source_row, {soon} AS again, completion_tokens > 0 AS answered, "
        f"lag({failed}) OVER (PARTITION BY {listed} {order}) AS retried, "
        "count(*) OVER (PARTITION BY session_id, prompt_tokens) AS repeated FROM candidates) near "
        f"WHERE again AND answered AND NOT retried AND repeated <= {MAX_REPEATED} "
        "AND source_row NOT IN (SELECT source_row FROM copies)"
    )


def _by_chance(source: Source, near: Sequence[str]) -> bool:
    """Whether as many calls would be alike if answers had nothing to do with each other.

    Calls of one session with the same prompt within `NEAR_SECONDS` are many where work comes in
    batches, and short answers (a class, yes or no) often have the same length. Their number times
    the chance that two answers to the same kind of call are equally long is what chance makes.
    """
    engine, rows = source.engine, source.rows(INTERACTIONS)
    n = int(engine.row("SELECT count(*) FROM near_copies")[0])
    if n < NEAR_COPIES * rows:
        return not n  # too few to warn, and shown all the same
    parts = -(-rows // _ENOUGH)
    # A sixteenth of the sessions is the finest part: more rows than 16 million only cost time.
    parts = min(16, 1 << (parts - 1).bit_length())
    first = "".join(f"{digit:x}" for digit in range(16 // parts))
    some = (
        f"{INTERACTIONS} WHERE completion_tokens > 0 AND "
        f"substr(md5(session_id), 1, 1) IN ({', '.join(repr(d) for d in first)})"
    )
    asked = ", ".join(identifier(c) for c in near if c not in _ANSWERED)
    kinds = [identifier(c) for c in near if c in ("use_case", "scenario", "model_name")]
    listed = ", ".join([*kinds, "completion_tokens"])
    same = f"GROUP BY {', '.join(kinds)}" if kinds else ""
    engine.create("answers", f"SELECT {listed}, count(*) AS n FROM {some} GROUP BY {listed}")
    pairs = engine.row(
        f"SELECT sum(n * (n - 1.0)) FROM (SELECT sum(n) AS n FROM answers {same}) kinds"
    )[0]
    alike = engine.row("SELECT sum(n * (n - 1.0)) FROM answers")[0]
    beside = engine.row(
        "SELECT count(*) FROM (SELECT epoch_us(timestamp_utc) - epoch_us(lag(timestamp_utc) OVER "
        f"(PARTITION BY {asked} ORDER BY timestamp_utc)) AS gap FROM {some}) gaps "
        f"WHERE gap <= {NEAR_SECONDS * 1_000_000}"
    )[0]
    engine.drop("answers")
    chance = float(alike) / float(pairs) if pairs else 0.0
    return bool(n < beside * parts * max(CLEARLY * chance, MOSTLY))


def _rule(contract: Contract, rule: str, table: str, hint: str) -> Rule:
    return Rule(
        rule,
        INTERACTIONS,
        None,
        "true",
        hint,
        contract.severities[rule],  # type: ignore[index]
        f"{INTERACTIONS} t JOIN {table} c ON c.source_row = t.source_row",
    )
