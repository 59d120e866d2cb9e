"""What no single row breaks, and what is rarely right: warnings about the telemetry as a whole.

Missing days, stamps far from all others, hours that hold twice what they should, columns that never
change or hold nothing, shares of nulls that jump from one day to the next, and categories without
end. All of it comes from two small reductions: rows by hour, and nulls and categories by day.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from analysis.contract import INTERACTIONS, Column, Contract
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import Violation

EXPECTED_ROWS = 20
"""A day that usually holds as many rows is not empty by chance: e⁻²⁰ without clusters."""
FEW = 0.05
"""Days of strays hold less than this share of a usual day."""
DOUBLE = (1.8, 2.6)
DOUBLE_Z = 8.0
JUMP = 0.10
JUMP_Z = 6.0
JUMP_ROWS = 50
MAX_CATEGORIES = 1000
CATEGORY_SHARE = 0.2
MANY = 50
EXPLOSION = 5.0
NEAR = 0.5
"""Quick counts of values are off by some per cent: from this share of a limit on they are made exact."""
_ZERO_IS_PLAUSIBLE = frozenset(
    {"cached_prompt_tokens", "reasoning_tokens", "tool_calls_count", "retry_index"}
)


@dataclass(frozen=True)
class Day:
    """One UTC day of interactions.

    known: column → rows in which it is not null. categories: column → about how many values.
    """

    day: date
    rows: int
    known: Mapping[str, int]
    categories: Mapping[str, int]


@dataclass(frozen=True)
class Profile:
    """Interactions as a whole, by day and by hour; rows that have no time only in `known`.

    known: column → rows in which it is not null. values: text column by which rows are grouped →
    about how many values. In `days` stand the columns that have nulls, and those with many values.
    """

    known: Mapping[str, int]
    values: Mapping[str, int]
    days: tuple[Day, ...]
    hours: Mapping[datetime, int]


def profile(source: Source, contract: Contract, used: frozenset[str]) -> Profile:
    """The reductions. used: columns that the policy names, declared or not."""
    have = source.columns[INTERACTIONS]
    named = [c for c in have if contract.column(c) is not None or c in used]
    grouped = _categorical(source, contract, used)
    parts = [f"count({identifier(c)})" for c in named]
    parts += [f"approx_count_distinct({identifier(c)})" for c in grouped]
    row = source.con.execute(f"SELECT {', '.join(['0', *parts])} FROM {INTERACTIONS}").fetchall()[0]
    known = dict(zip(named, map(int, row[1 : 1 + len(named)]), strict=True))
    values = dict(zip(grouped, map(int, row[1 + len(named) :]), strict=True))
    if "timestamp_utc" not in have:
        return Profile(known, values, (), {})
    n = source.rows(INTERACTIONS)
    hours = source.con.execute(
        f"SELECT date_trunc('hour', timestamp_utc), count(*) FROM {INTERACTIONS} "
        "WHERE timestamp_utc IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return Profile(
        known,
        values,
        _days(
            source,
            [c for c in named if 0 < known[c] < n],
            [c for c in grouped if values[c] >= NEAR * MANY],
        ),
        {h: int(k) for h, k in hours},
    )


def _days(source: Source, holed: Sequence[str], many: Sequence[str]) -> tuple[Day, ...]:
    parts = ["CAST(timestamp_utc AS DATE)", "count(*)"]
    parts += [f"count({identifier(c)})" for c in holed]
    parts += [f"approx_count_distinct({identifier(c)})" for c in many]
    rows = source.con.execute(
        f"SELECT {', '.join(parts)} FROM {INTERACTIONS} WHERE timestamp_utc IS NOT NULL "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    n = 2 + len(holed)
    return tuple(
        Day(
            r[0],
            int(r[1]),
            dict(zip(holed, map(int, r[2:n]), strict=True)),
            dict(zip(many, map(int, r[n:]), strict=True)),
        )
        for r in rows
    )


def _categorical(source: Source, contract: Contract, used: frozenset[str]) -> list[str]:
    """Text columns by which rows are grouped."""
    types = dict(
        source.con.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            [INTERACTIONS],
        ).fetchall()
    )
    out = []
    for name in source.columns[INTERACTIONS]:
        declared = contract.column(name)
        grouped = declared is not None and declared.role in ("context", "action")
        if types.get(name) == "VARCHAR" and (grouped or (declared is None and name in used)):
            out.append(name)
    return out


# ── time ─────────────────────────────────────────────────────────────────────────────────


class _Usual:
    """How many rows a day usually holds, by weekday where three weeks are there to tell."""

    def __init__(self, days: Sequence[Day]) -> None:
        first, last = days[0].day, days[-1].day
        self._weekday: dict[int, float] = {}
        for weekday in range(7):
            # One stray year makes millions of days: those without rows are counted, not listed.
            n = ((last - first).days - (weekday - first.weekday()) % 7) // 7 + 1
            own = [d.rows for d in days if d.day.weekday() == weekday]
            if n >= 3:
                own += [0] * min(n - len(own), len(own) + 1)
                self._weekday[weekday] = median(own)
        self.day = median([d.rows for d in days])
        # In three weeks every weekday was seen often enough.
        seldom = [self.day] if len(self._weekday) < 7 else []
        self.most = max([*self._weekday.values(), *seldom])

    def rows(self, day: date) -> float:
        """Of an average day like this one; nothing on a weekend that was not seen often enough."""
        if day.weekday() in self._weekday:
            return self._weekday[day.weekday()]
        return self.day if day.weekday() < 5 else 0.0


def missing_days(found: Profile, contract: Contract) -> list[Violation]:
    """Days inside the data on which nothing was recorded, and usually much is."""
    days = _bulk(found.days)
    if len(days) < 3:
        return []
    usual = _Usual(days)
    there = {d.day for d in days}
    span = (days[-1].day - days[0].day).days
    if usual.most < EXPECTED_ROWS:
        return []
    inside = (days[0].day + timedelta(days=k) for k in range(span))
    gone = [d for d in inside if d not in there and usual.rows(d) >= EXPECTED_ROWS]
    if not gone:
        return []
    shown = ", ".join(f"{d:%Y-%m-%d}" for d in gone[:5]) + (", …" if len(gone) > 5 else "")
    hint = (
        f"no interaction on {shown}, where about {usual.rows(gone[0]):,.0f} a day are usual; "
        "was an export lost? Exclude an outage in the policy (windows.exclude)"
    )
    severity = contract.severities["missing_days"]
    return [
        Violation(
            "missing_days", INTERACTIONS, "timestamp_utc", severity, 0, len(gone) / span, hint
        )
    ]


def _bulk(days: Sequence[Day]) -> Sequence[Day]:
    """The days without strays at either end."""
    first, last = _strays(days)
    return days[len(first) : len(days) - len(last)]


def _strays(days: Sequence[Day]) -> tuple[Sequence[Day], Sequence[Day]]:
    """Days before and after the bulk: few rows each, apart by days that usually hold many."""
    if len(days) < 3:
        return (), ()
    level = _level(days)
    if level < EXPECTED_ROWS:
        return (), ()
    many = [i for i, d in enumerate(days) if d.rows > FEW * level]
    low, high = many[0], many[-1]
    usual = _Usual(days[low : high + 1])
    before = _apart(days[: low + 1][::-1], usual, -1)
    after = _apart(days[high:], usual, 1)
    return days[: len(before)], days[len(days) - len(after) :]


def _level(days: Sequence[Day]) -> int:
    """Rows of the day on which the median row lies: strays do not pull it down."""
    ordered = sorted(d.rows for d in days)
    reach, half = 0, sum(ordered) / 2
    for n in ordered:
        reach += n
        if reach >= half:
            return n
    return 0


def _apart(days: Sequence[Day], usual: _Usual, step: int) -> Sequence[Day]:
    """Those of the days, the first of which is usual, that follow an unusual gap."""
    for i in range(1, len(days)):
        gap = abs((days[i].day - days[i - 1].day).days) - 1
        between = (days[i - 1].day + timedelta(days=step * k) for k in range(1, min(gap, 7) + 1))
        if any(usual.rows(d) >= EXPECTED_ROWS for d in between):
            return days[i:]
    return ()


def stray_stamps(found: Profile, contract: Contract) -> list[Rule]:
    """Rows long before or after all others: a clock that was reset, or runs ahead."""
    first, last = _strays(found.days)
    rules = []
    for days, words in (
        (first, "lie before all others: was a clock reset?"),
        (
            last,
            "lie in the future of all others, and would move the windows; does a clock run ahead?",
        ),
    ):
        if days:
            span = (
                f"BETWEEN DATE '{min(d.day for d in days)}' AND DATE '{max(d.day for d in days)}'"
            )
            rules.append(
                _clock(contract, f"CAST(t.timestamp_utc AS DATE) {span}", f"times {words}")
            )
    return rules


def doubled_hours(found: Profile, contract: Contract) -> list[Rule]:
    """Hours with twice the rows of the hours and days around them.

    The yardstick is the largest of the four neighbours (an hour and a day before and after), the
    noise is how much the same hour differs from day to day: a daily peak is no doubled hour.
    """
    # The calendar ends: nothing lies a day before its first, or after its last.
    hours = {h: n for h, n in found.hours.items() if 1 < h.year < 9999}
    if len(hours) < 72:
        return []
    day, hour = timedelta(days=1), timedelta(hours=1)
    noise = [
        (n - hours[h - day]) ** 2 / (n + hours[h - day])
        for h, n in hours.items()
        if h - day in hours
    ]
    # The median of a χ² with one degree of freedom is 0.455.
    spread = max(1.0, median(noise) / 0.455) if noise else 1.0
    twice = []
    for h, n in hours.items():
        around = [hours[k] for k in (h - hour, h + hour, h - day, h + day) if k in hours]
        if len(around) < 3:
            continue
        usual = max(around)
        z = (n - usual) / math.sqrt(usual * spread)
        if DOUBLE[0] * usual <= n <= DOUBLE[1] * usual and z >= DOUBLE_Z:
            twice.append(h)
    if not twice:
        return []
    listed = ", ".join(f"TIMESTAMP '{h}'" for h in twice)
    shown = ", ".join(f"{h:%Y-%m-%dT%H}" for h in twice[:3]) + (", …" if len(twice) > 3 else "")
    return [
        _clock(
            contract,
            f"date_trunc('hour', t.timestamp_utc) IN ({listed})",
            f"the hours {shown} hold twice the rows of those around them; were they loaded twice, or "
            "are times local, and the clock was set back?",
        )
    ]


def mixed_zones(source: Source, contract: Contract) -> list[Rule]:
    """Times of one CSV column that say UTC, beside times that say nothing."""
    rules = []
    for column, zoned in source.zoned.get(INTERACTIONS, {}).items():
        row = source.con.execute(
            f"SELECT count(*) FILTER ({zoned}), count(*) FILTER (NOT {zoned}) FROM cells_{INTERACTIONS} "
            f"WHERE {identifier(column)} IS NOT NULL"
        ).fetchall()[0]
        if all(row):
            rules.append(
                Rule(
                    "clock",
                    INTERACTIONS,
                    column,
                    f"NOT {zoned} AND {identifier(column)} IS NOT NULL",
                    "times without Z stand among times with Z, and are read as UTC; are they local?",
                    contract.severities["clock"],
                    f"cells_{INTERACTIONS} t",
                    f"CAST({identifier(column)} AS VARCHAR)",
                )
            )
    return rules


def early_labels(source: Source, contract: Contract) -> list[Rule]:
    """Labels that were known before their call was made."""
    if not {"timestamp_utc", "label_available_utc"} <= set(source.columns[INTERACTIONS]):
        return []
    return [
        Rule(
            "clock",
            INTERACTIONS,
            "label_available_utc",
            "date_trunc('second', t.label_available_utc) < date_trunc('second', t.timestamp_utc)",
            "the label was known before the call was made; do two clocks differ, or two time zones?",
            contract.severities["clock"],
            f"cells_{INTERACTIONS} t",
            "t.label_available_utc || ' before ' || t.timestamp_utc",
        )
    ]


def _clock(contract: Contract, broken: str, hint: str) -> Rule:
    return Rule(
        "clock",
        INTERACTIONS,
        "timestamp_utc",
        broken,
        hint,
        contract.severities["clock"],
        f"{INTERACTIONS} t",
        "CAST(t.timestamp_utc AS VARCHAR)",
    )


# ── columns ──────────────────────────────────────────────────────────────────────────────


def jumps(found: Profile, contract: Contract) -> list[Rule]:
    """Columns whose share of nulls changes suddenly from one day to the next.

    A jump is at least `JUMP` wide, and `JUMP_Z` times as wide as changes from day to day usually
    are. What is known later only may be missing up to the end of the data: labels that are still to
    come are no jump.
    """
    days = [d for d in _bulk(found.days) if d.rows >= JUMP_ROWS]
    if len(days) < 4:
        return []
    rules: list[Rule] = []
    for column in days[0].known:
        share = [1 - d.known[column] / d.rows for d in days]
        steps = [b - a for a, b in itertools.pairwise(share)]
        usual = 1.4826 * median([abs(s) for s in steps])
        places = []
        for i, step in enumerate(steps):
            p = (share[i] + share[i + 1]) / 2
            chance = math.sqrt(p * (1 - p) * (1 / days[i].rows + 1 / days[i + 1].rows))
            if abs(step) >= max(JUMP, JUMP_Z * usual, JUMP_Z * chance):
                places.append(i)
        declared = contract.column(column)
        if declared is not None and declared.known_at == "later":
            places = [i for i in places if not _pending(share, i)]
        if places:
            rules.append(_jump(contract, column, days, share, places))
    return rules


def _pending(share: Sequence[float], i: int) -> bool:
    """Whether the share rises at step i and stays up to the end: labels that are still to come."""
    middle = (share[i] + share[i + 1]) / 2
    return share[i + 1] > share[i] and all(s >= middle for s in share[i + 1 :])


def _jump(
    contract: Contract,
    column: str,
    days: Sequence[Day],
    share: Sequence[float],
    places: Sequence[int],
) -> Rule:
    high = [days[k].day for k in _upper_days(share, places)]
    listed = ", ".join(f"DATE '{d}'" for d in high)
    i = places[0]
    more = f", and {len(places) - 1} more such steps" if len(places) > 1 else ""
    return Rule(
        "missing_jump",
        INTERACTIONS,
        column,
        f"t.{identifier(column)} IS NULL AND CAST(t.timestamp_utc AS DATE) IN ({listed})",
        f"missing went from {100 * share[i]:.3g} % on {days[i].day} to {100 * share[i + 1]:.3g} % on "
        f"{days[i + 1].day}{more}; what changed in the logging?",
        contract.severities["missing_jump"],
        f"{INTERACTIONS} t",
    )


def _upper_days(share: Sequence[float], places: Sequence[int]) -> list[int]:
    """The days on the upper side of the jumps: those whose nulls are the news."""
    levels = [(share[i] + share[i + 1]) / 2 for i in places]
    edges = [0, *(i + 1 for i in places), len(share)]
    out: list[int] = []
    for k, (start, end) in enumerate(itertools.pairwise(edges)):
        own = share[start:end]
        near = [levels[j] for j in (k - 1, k) if 0 <= j < len(levels)]
        if own and near and median(own) > max(near):
            out += range(start, end)
    if out:
        return out
    return [i + 1 if share[i + 1] > share[i] else i for i in places]


def constants(
    source: Source, contract: Contract, found: Profile
) -> tuple[list[Violation], list[Violation]]:
    """Columns that hold nothing, or one value where values differ by nature; and harmless ones.

    The second list: columns of one value that may well be so (one region, no flag ever raised).
    The first rows tell that most columns vary; only the others are read to their end.
    """
    declared = {c: contract.column(c) for c in found.known}
    known = {c: d for c, d in declared.items() if d is not None and d.role != "key"}
    if not known or source.rows(INTERACTIONS) < MANY:
        return [], []
    empty = [c for c in known if not found.known[c]]
    first = f"(SELECT * FROM {INTERACTIONS} LIMIT 2048)"
    unsure = list(_same(source, [c for c in known if c not in empty], first))
    same = _same(source, unsure, INTERACTIONS)
    odd = {c: _odd(c, known[c], value) for c, value in same.items()}
    told = "every row that has a value has the same one"

    def violation(column: str, hint: str) -> Violation:
        severity = contract.severities["constant"]
        return Violation("constant", INTERACTIONS, column, severity, 0, 1.0, hint)

    strange = [
        violation(c, "the column is there and holds nothing; drop it, or fill it") for c in empty
    ]
    strange += [violation(c, f"{told}; is it a default that nobody fills?") for c in odd if odd[c]]
    return strange, [violation(c, told) for c in odd if not odd[c]]


def _same(source: Source, columns: Sequence[str], relation: str) -> dict[str, object]:
    """Those of the columns that hold one value at most there, and that value."""
    if not columns:
        return {}
    parts = [f"min({identifier(c)}), max({identifier(c)})" for c in columns]
    row = source.con.execute(f"SELECT {', '.join(parts)} FROM {relation}").fetchall()[0]
    return {c: row[2 * i] for i, c in enumerate(columns) if row[2 * i] == row[2 * i + 1]}


def _odd(column: str, declared: Column, value: object) -> bool:
    """Whether one value in every row is a fault rather than a fact."""
    if declared.type == "timestamp":
        return True
    if declared.type == "boolean":
        return column == "is_failure" or bool(value)
    if declared.role == "cost" or declared.unit == "tokens":
        configured = column == "max_tokens"
        return not configured and not (value == 0 and column in _ZERO_IS_PLAUSIBLE)
    return False


def explosions(source: Source, contract: Contract, found: Profile) -> list[Violation]:
    """Columns by which rows are grouped, and that hold nearly as many values as rows.

    Either over all rows, or from some day on.
    """
    if not found.days:
        return []
    out = []
    for column in found.days[0].categories:
        hint = _too_many(source, column) or _more_than_before(source, column, found)
        if hint is not None:
            severity = contract.severities["cardinality"]
            out.append(Violation("cardinality", INTERACTIONS, column, severity, 0, 1.0, hint))
    return out


def _too_many(source: Source, column: str) -> str | None:
    n, known = source.con.execute(
        f"SELECT count(DISTINCT {identifier(column)}), count({identifier(column)}) FROM {INTERACTIONS}"
    ).fetchall()[0]
    if n > MAX_CATEGORIES or (n > MANY and n > CATEGORY_SHARE * known):
        return (
            f"{n:,} different values in {known:,} rows: this is no category; is it free text or an "
            "id? Slices by it are empty"
        )
    return None


def _more_than_before(source: Source, column: str, found: Profile) -> str | None:
    """A day from which on the values multiply."""
    if max(d.categories[column] for d in found.days) < NEAR * MANY:
        return None
    rows = source.con.execute(
        f"SELECT CAST(timestamp_utc AS DATE), count(DISTINCT {identifier(column)}) "
        f"FROM {INTERACTIONS} WHERE timestamp_utc IS NOT NULL GROUP BY 1"
    ).fetchall()
    exact = {day: int(n) for day, n in rows}
    days = [d.day for d in _bulk(found.days) if d.rows >= JUMP_ROWS]
    for i in range(3, len(days)):
        before = median(exact[d] for d in days[:i])
        if exact[days[i]] >= max(MANY, EXPLOSION * before):
            return (
                f"{exact[days[i]]:,} different values on {days[i]}, after {before:,.0f} a day before; "
                "what is written into it?"
            )
    return None
