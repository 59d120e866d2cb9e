"""What was known of an interaction's session and user at its own moment, and nothing later.

    past_session_interactions   earlier interactions of the session
    past_session_retries        those of them that were retries (retry_index above 0)
    past_session_gap_us         µs since the last of them; null for the first
    past_session_labelled       those of them whose label was known before this moment
    past_session_failures       how many of these were bad
    past_user_labelled, past_user_failures    the same of all earlier interactions of the user; null
                                where nobody knows whose the interaction is

Earlier is strictly before, by integer µs: interactions of one moment know nothing of each other. A label
is known at `label_available_utc` where that dates it and is there, else `delay_us` after its interaction,
and never before its interaction. A label that is null counts nowhere. So no value, label or row from a
moment on changes a feature of an interaction up to that moment.

How many interactions a user had is left out: it is counted since the telemetry began, and grows with it.
A model would meet values in the candidate window that it never saw. The count of known labels grows
as well; it stands beside the failures to make a rate of them, and is no feature by itself.

The features are functions of (session, moment) and of (user, moment), so ties need no order and rows
no number: they are kept once a pair, where they are not zero, and joined when rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analysis.telemetry.engine import Engine
from analysis.telemetry.history import window_rows
from analysis.telemetry.rows import Source
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry

STEPS = ("past_session_interactions", "past_session_retries", "past_session_gap_us")
OF_SESSION = ("past_session_labelled", "past_session_failures")
OF_USER = ("past_user_labelled", "past_user_failures")
FEATURES = (*STEPS, *OF_SESSION, *OF_USER)

_TABLE, _ROWS = "fact_past", "past_rows"
_MADE = (
    _TABLE, _ROWS, "past_session", "past_user", "past_known", "past_spans", "past_events",
)  # fmt: skip

TRUE_WORDS = ("true", "t", "1", "1.0", "yes", "y")
FALSE_WORDS = ("false", "f", "0", "0.0", "no", "n")
BLANKS = " \t\n\r\x0b\x0c"


@dataclass(frozen=True)
class Label:
    """A label of interactions. bad: a nullable boolean over `fact`, null where it is not known.

    dated: whether `label_available_utc` says when it became known.
    """

    bad: str
    dated: bool


@dataclass(frozen=True)
class Past:
    """The features, ready to be read. source: what the readers of `Telemetry` take, the rows of `fact`
    up to the last of the candidate window. columns: the features that are there."""

    source: Source
    columns: tuple[str, ...]


def label_of(telemetry: Telemetry, column: str) -> Label:
    """A column as a label: of booleans, of 0 and 1, or of their usual spellings; else it is unknown.

    `failure` stands for is_failure. An outcome is dated where the telemetry says when it was known.
    """
    rule = telemetry.contract.column(column)
    dated = rule is not None and rule.role == "outcome" and telemetry.has("label_available_utc")
    if column == "is_failure":
        return Label("failure", dated)
    return Label(truth_of(column, telemetry.types[column]), dated)


def truth_of(column: str, column_type: str) -> str:
    """A column as a nullable boolean. column_type: its type by DuckDB's name."""
    quoted = identifier(column)
    if column_type == "BOOLEAN":
        return quoted
    if column_type.startswith(_NUMBERS):
        return f"(CASE WHEN {quoted} = 1 THEN true WHEN {quoted} = 0 THEN false END)"
    text = f"lower(trim(CAST({quoted} AS VARCHAR), '{BLANKS}'))"
    true, false = (", ".join(f"'{w}'" for w in words) for words in (TRUE_WORDS, FALSE_WORDS))
    return f"(CASE WHEN {text} IN ({true}) THEN true WHEN {text} IN ({false}) THEN false END)"


_NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL",
)  # fmt: skip


@contextmanager
def past_of(telemetry: Telemetry, label: Label | None, delay_us: int) -> Iterator[Past]:
    """Computes the features of every interaction up to the candidate window's last, until it is left.

    label: what failures are counted by; without one only the session's steps are there. delay_us: how
    long after its interaction an undated label is known. It reads `fact` as it stands. Raises
    ValueError for a negative delay.
    """
    if delay_us < 0:
        raise ValueError(f"delay_us is {delay_us}: a label is not known before its interaction")
    engine = telemetry.engine
    retries = telemetry.has("retry_index")
    columns = tuple(c for c in STEPS if retries or c != "past_session_retries")
    if label is not None:
        columns += OF_SESSION + OF_USER
    try:
        _events(telemetry, label, delay_us)
        _session(engine, retries=retries, labelled=label is not None)
        if label is not None:
            _known(engine, "usr", "past_user")
        engine.drop("past_spans", "past_events")
        source = _source(telemetry, columns)
        engine.view(_TABLE, f"SELECT {source.columns} FROM {_ROWS} AS f {source.joins}")
        yield Past(source, columns)
    finally:
        engine.drop(*_MADE)


def _events(telemetry: Telemetry, label: Label | None, delay_us: int) -> None:
    """`past_rows`, the rows that are read, and what of them is counted: 1 or null, and when it was known."""
    engine = telemetry.engine
    last = engine.row(f"SELECT max(ts_us) FROM fact WHERE {window_rows(telemetry.windows)}")[0]
    until = "false" if last is None else f"ts_us <= {int(last)}"
    engine.view(_ROWS, f"SELECT * FROM fact WHERE {until}")
    made = ["session", "usr", "ts_us"]
    if telemetry.has("retry_index"):
        made.append("CASE WHEN retry_index > 0 THEN 1 END AS retry")
    if label is not None:
        known = f"ts_us + {int(delay_us)}"
        if label.dated:
            known = f"greatest(ts_us, coalesce(epoch_us(label_available_utc), {known}))"
        made.append(f"CASE WHEN {label.bad} THEN 1 END AS bad")
        made.append(f"CASE WHEN ({label.bad}) IS NOT NULL THEN {known} END AS known_us")
    engine.create("past_events", f"SELECT {', '.join(made)} FROM {_ROWS}")


def _session(engine: Engine, *, retries: bool, labelled: bool) -> None:
    """`past_session`: a row for each moment of a session but its first.

    Of interactions of one moment, in whatever order, the first has just those before it that are earlier,
    and alone has a gap. Functions over one window see one order: PostgreSQL says so, and the others sort
    once for all of them.
    """
    within = "OVER (PARTITION BY session ORDER BY ts_us"
    before = f"{within} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    features = {
        "past_session_interactions": f"CAST(row_number() {within}) - 1 AS BIGINT)",
        "past_session_retries": f"count(retry) {before}",
        "past_session_gap_us": f"ts_us - lag(ts_us) {within})",
    }
    if not retries:
        del features["past_session_retries"]
    selected = ", ".join(f"{sql} AS {name}" for name, sql in features.items())
    steps = (
        f"SELECT session, ts_us, {', '.join(features)} FROM (SELECT session, ts_us, {selected} "
        "FROM past_events WHERE session IS NOT NULL) AS steps WHERE past_session_gap_us > 0"
    )
    if not labelled:
        engine.create("past_session", steps)
        return
    _known(engine, "session", "past_known")
    engine.create(
        "past_session",
        f"SELECT steps.*, known.labelled, known.failures FROM ({steps}) AS steps LEFT JOIN past_known "
        "AS known ON known.session = steps.session AND known.ts_us = steps.ts_us",
    )
    engine.drop("past_known")


def _known(engine: Engine, unit: str, into: str) -> None:
    """How many labels of a unit are known before a moment of it, and how many are bad, where any is.

    Interactions and arrivals of labels stand in one line, interactions first where both are of one
    moment: what has arrived up to an interaction is what is known strictly before it. Interactions
    before any label, and labels after all interactions, are left out of the line: for sessions, which
    are mostly over when labels come, that is nearly all.
    """
    engine.create(
        "past_spans",
        f"SELECT {unit}, min(known_us) AS first_known, max(ts_us) AS last_us FROM past_events "
        f"WHERE {unit} IS NOT NULL GROUP BY {unit} HAVING min(known_us) < max(ts_us)",
    )
    joined = f"FROM past_events AS e JOIN past_spans AS spans ON spans.{unit} = e.{unit}"
    order = f"OVER (PARTITION BY {unit} ORDER BY moment, arrives"
    before = f"{order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    # Of interactions of one moment, which know the same, the first is kept: before it stands something
    # earlier, since the line begins with an arrival.
    engine.create(
        into,
        f"""
        SELECT {unit}, moment AS ts_us, labelled, failures
        FROM (SELECT {unit}, moment, arrives, count(label) {before} AS labelled,
                     count(bad) {before} AS failures, lag(moment) {order}) AS previous
              FROM (SELECT e.{unit}, e.ts_us AS moment, 0 AS arrives,
                           CAST(NULL AS INTEGER) AS label, CAST(NULL AS INTEGER) AS bad
                    {joined} WHERE e.ts_us > spans.first_known
                    UNION ALL
                    SELECT e.{unit}, e.known_us, 1, 1, e.bad {joined} WHERE e.known_us < spans.last_us
              ) AS line
        ) AS reached WHERE arrives = 0 AND previous < moment
        """,
    )


def _source(telemetry: Telemetry, columns: tuple[str, ...]) -> Source:
    """The rows with their features, zero where nothing was kept."""
    held = {
        **{c: f"s.{c}" for c in STEPS},
        **dict(zip(OF_SESSION, ("s.labelled", "s.failures"), strict=True)),
        **dict(zip(OF_USER, ("u.labelled", "u.failures"), strict=True)),
    }
    selected = [f"f.{identifier(c)}" for c in telemetry.types if c.lower() not in FEATURES]
    for name in columns:
        value = f"coalesce({held[name]}, 0)"
        if name == "past_session_gap_us":
            value = held[name]
        elif name in OF_USER:
            value = f"CASE WHEN f.usr IS NOT NULL THEN {value} END"
        selected.append(f"{value} AS {name}")
    joins = "LEFT JOIN past_session AS s ON s.session = f.session AND s.ts_us = f.ts_us"
    if OF_USER[0] in columns:
        joins += " LEFT JOIN past_user AS u ON u.usr = f.usr AND u.ts_us = f.ts_us"
    return Source(_TABLE, _ROWS, ", ".join(selected), joins)


__all__ = [
    "BLANKS",
    "FALSE_WORDS",
    "FEATURES",
    "TRUE_WORDS",
    "Label",
    "Past",
    "label_of",
    "past_of",
    "truth_of",
]
