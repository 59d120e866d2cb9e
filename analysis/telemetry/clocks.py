"""What is suspicious about times: days that are missing, stamps far from all others, doubled hours,
time zones that are mixed, and labels that were known before their call.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median

from analysis.contract import INTERACTIONS, Contract
from analysis.telemetry.profile import Day, Profile
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import Violation

EXPECTED_ROWS = 20
"""A day that usually holds as many rows is not empty by chance: e⁻²⁰ without clusters."""
CHANCE = 1e-4
"""Largest chance, over all days, that a missing day is a quiet one."""
FEW = 0.05
"""Days of strays hold less than this share of a usual day, and of all rows."""
GAP = 2
LONG_BEFORE = 28
"""Days between a clock that was reset and the rest: a pilot may lie some days before a launch."""
DOUBLE = (1.6, 2.6)
DOUBLE_Z = 5.0
DOUBLE_ROWS = 30
"""Below, a burst of one user looks like a doubled hour."""
DOUBLE_QUARTER = 1.3
CALM = 1.5
"""The hours beside a doubled one hold at most this many times what they hold the day before or after."""
SKEW_SECONDS = 60
"""Clocks of two hosts differ by less."""
_HALF_HOURS = tuple(k for k in range(-28, 29) if k)


class _Usual:
    """How many rows a day usually holds, and how far days differ from that."""

    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days
        first, last = days[0].day, days[-1].day
        self.span = (last - first).days + 1
        self._weekday: dict[int, float] = {}
        for weekday in range(7):
            # One stray year makes a million days: those without rows are counted, not listed.
            n = ((last - first).days - (weekday - first.weekday()) % 7) // 7 + 1
            own = [d.rows for d in days if d.day.weekday() == weekday]
            if n >= 3:
                self._weekday[weekday] = median(own + [0] * min(n - len(own), len(own) + 1))
        self._day = median([d.rows for d in days])
        # Robust variance over mean: 1 for independent rows, more where sessions or days clump.
        usual = [(d.rows, self.rows(d.day)) for d in days]
        off = [abs(n - m) / math.sqrt(m) for n, m in usual if m > 0]
        self._spread = max(1.0, (1.4826 * median(off)) ** 2) if off else 1.0

    def rows(self, day: date) -> float:
        """Of a day like this one: of its weekday, where three weeks are there to tell, and no more
        than in the week before and in the week after. Nothing on a weekend not seen often enough.
        """
        own = self._weekday.get(day.weekday(), self._day if day.weekday() < 5 else 0.0)
        before = [d.rows for d in self._days if d.day < day][-7:]
        after = [d.rows for d in self._days if d.day > day][:7]
        return min([own, *(median(side) for side in (before, after) if side)])

    @property
    def can_hold_many(self) -> bool:
        """Whether any day could: no day of years without traffic is asked in vain."""
        return max([self._day, *self._weekday.values()]) >= EXPECTED_ROWS and (
            self.span < 50 * len(self._days)
        )

    def holds_many(self, day: date) -> bool:
        """Whether such a day is not empty by chance.

        Negative binomial with the days' own ratio of variance to mean φ: P(0) = φ^(−m/(φ−1)).
        """
        m, spread = self.rows(day), self._spread
        exponent = m if spread < 1.001 else m * math.log(spread) / (spread - 1)
        return m >= EXPECTED_ROWS and self.span * math.exp(-exponent) < CHANCE


def missing_days(found: Profile, contract: Contract) -> list[Violation]:
    """Days inside the data on which nothing was recorded, and usually much is."""
    days = bulk(found.days)
    if len(days) < 3:
        return []
    usual = _Usual(days)
    there = {d.day for d in days}
    span = usual.span - 1
    if not usual.can_hold_many:
        return []
    inside = (days[0].day + timedelta(days=k) for k in range(span))
    gone = [d for d in inside if d not in there and usual.holds_many(d)]
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


# ── strays ───────────────────────────────────────────────────────────────────────────────


def bulk(days: Sequence[Day]) -> Sequence[Day]:
    """The days without strays at either end."""
    first, last = _strays(days)
    return days[len(first) : len(days) - len(last)]


def _strays(days: Sequence[Day]) -> tuple[Sequence[Day], Sequence[Day]]:
    """Days before and after the bulk: few rows each, and apart by more than a quiet time."""
    if len(days) < 4:
        return (), ()
    rows, level = sum(d.rows for d in days), _level(days)
    before = _apart(days[::-1], rows, level, LONG_BEFORE)
    after = _apart(days, rows, level, GAP)
    return days[:before], days[len(days) - after :]


def _apart(days: Sequence[Day], rows: int, level: int, shortest: int) -> int:
    """How many of the last of the days are strays; days may run backwards."""
    out, held = 0, 0
    for i in range(len(days) - 1, 2, -1):
        held += days[i].rows
        if held > FEW * rows or (level >= EXPECTED_ROWS and days[i].rows > FEW * level):
            break
        gap = abs((days[i].day - days[i - 1].day).days) - 1
        if gap >= shortest and _unusual(days[:i], days[i - 1].day, days[i].day, gap):
            out = len(days) - i
    return out


def _unusual(days: Sequence[Day], start: date, end: date, gap: int) -> bool:
    """Whether nothing between start and end is strange for days like these."""
    rest = sorted(days, key=lambda d: d.day)
    usual, step = _Usual(rest), 1 if end > start else -1
    if any(usual.holds_many(start + timedelta(days=step * k)) for k in range(1, min(gap, 7) + 1)):
        return True
    # Days that are often empty by chance: only a long silence among many rows is strange.
    longest = max((b.day - a.day).days - 1 for a, b in itertools.pairwise(rest))
    expected = gap * sum(d.rows for d in rest) / usual.span
    return gap >= max(LONG_BEFORE, 5 * longest) and expected >= 5 * EXPECTED_ROWS


def _level(days: Sequence[Day]) -> int:
    """Rows of the day on which the median row lies: strays do not pull it down."""
    ordered = sorted(d.rows for d in days)
    reach, half = 0, sum(ordered) / 2
    for n in ordered:
        reach += n
        if reach >= half:
            return n
    return 0


def stray_stamps(found: Profile, contract: Contract) -> list[Rule]:
    """Rows long before or after all others: a clock that was reset, or runs ahead."""
    first, last = _strays(found.days)
    rules = []
    for days, words in (
        (first, "lie long before all others: was a clock reset?"),
        (
            last,
            "lie in the future of all others, and would move the windows; does a clock run ahead, "
            "or were the days between lost?",
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


# ── hours ────────────────────────────────────────────────────────────────────────────────


def doubled_hours(source: Source, contract: Contract, found: Profile) -> list[Rule]:
    """Single hours with twice the rows of the hours, days and weeks around them.

    The yardstick is the largest of the neighbours (an hour, a day and a week before and after), the
    noise is how much the same hour differs from day to day: a daily peak or a weekly job is no
    doubled hour. Neither is a wave, which lifts the hours beside it, nor a burst, which fills some
    minutes only: all quarters of a doubled hour are fuller.
    """
    # At the ends of the calendar there is no week before or after.
    hours = {h: n for h, n in found.hours.items() if _FIRST <= h <= _LAST}
    if len(hours) < 72:
        return []
    noise = [
        (n - hours[h - _DAY]) ** 2 / (n + hours[h - _DAY])
        for h, n in hours.items()
        if h - _DAY in hours
    ]
    # The median of a χ² with one degree of freedom is 0.455.
    spread = max(1.0, median(noise) / 0.455) if noise else 1.0
    twice = [h for h in hours if _is_double(hours, h, spread)]
    twice = _filled(source, hours, twice)
    if not twice:
        return []
    listed = ", ".join(f"TIMESTAMP '{h}'" for h in twice)
    shown = ", ".join(f"{h:%Y-%m-%dT%H}" for h in twice[:3]) + (", …" if len(twice) > 3 else "")
    many = len(twice) > 1
    return [
        _clock(
            contract,
            f"date_trunc('hour', t.timestamp_utc) IN ({listed})",
            f"the hour{'s' if many else ''} {shown} hold{'' if many else 's'} twice the rows of those "
            f"around {'them' if many else 'it'}; {'were they' if many else 'was it'} loaded twice, or "
            "are times local, and the clock was set back?",
        )
    ]


_HOUR, _DAY, _WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
_FIRST, _LAST = datetime.min + 2 * _WEEK, datetime.max - 2 * _WEEK


def _is_double(hours: Mapping[datetime, int], h: datetime, spread: float) -> bool:
    n = hours[h]
    usual = _around(hours, h)
    if usual is None or usual < DOUBLE_ROWS:
        return False
    if not DOUBLE[0] * usual <= n <= DOUBLE[1] * usual:
        return False
    if (n - usual) / math.sqrt(usual * spread) < DOUBLE_Z:
        return False
    for beside in (h - _HOUR, h + _HOUR):
        days = [hours[k] for k in (beside - _DAY, beside + _DAY) if k in hours]
        if days and hours.get(beside, 0) > CALM * max(days):
            return False
    return True


def _around(hours: Mapping[datetime, int], h: datetime) -> float | None:
    """The largest that the neighbours let expect; None where fewer than three are there.

    Of another day or week, as that day holds in the hours beside this one: Sundays hold less.
    """
    beside = (h - _HOUR, h + _HOUR)
    own = sum(hours.get(k, 0) for k in beside)
    near = [float(hours[k]) for k in beside if k in hours]
    far = []
    for step in (-_DAY, _DAY, -_WEEK, _WEEK):
        theirs = sum(hours.get(k + step, 0) for k in beside)
        if h + step in hours and theirs:
            far.append(hours[h + step] * own / theirs)
    if len(near) + len(far) < 3 or not near:
        return None
    return max([*near, *far])


def _filled(
    source: Source, hours: Mapping[datetime, int], twice: Sequence[datetime]
) -> list[datetime]:
    """Those of the hours in whose every quarter more is than usual."""
    if not twice:
        return []
    listed = ", ".join(f"TIMESTAMP '{h}'" for h in twice)
    rows = source.engine.rows(
        "SELECT date_trunc('hour', timestamp_utc), "
        "CAST(floor(date_part('minute', timestamp_utc) / 15) AS BIGINT), count(*) "
        f"FROM {INTERACTIONS} WHERE date_trunc('hour', timestamp_utc) IN ({listed}) GROUP BY 1, 2"
    )
    out = []
    for h in twice:
        usual = _around(hours, h) or 0.0
        quarters = [int(n) for hour, _, n in rows if hour == h]
        if len(quarters) == 4 and min(quarters) >= DOUBLE_QUARTER * usual / 4:
            out.append(h)
    return out


# ── zones and labels ─────────────────────────────────────────────────────────────────────


def zone_shift(source: Source, rule: Rule) -> float | None:
    """Hours by which most rows that lie outside of their session would have to move back.

    None where no shift by whole or half hours puts four of five back: then it is no time zone.
    """
    inside = [
        f"count(*) FILTER (WHERE t.timestamp_utc - INTERVAL '{30 * k} minutes' >= s.a "
        f"AND t.timestamp_utc - INTERVAL '{30 * k} minutes' <= s.b)"
        for k in _HALF_HOURS
    ]
    row = source.engine.row(
        f"SELECT count(*), {', '.join(inside)} FROM {rule.relation} WHERE {rule.broken}"
    )
    n, best = int(row[0]), max(row[1:])
    if not n or best < 0.8 * n:
        return None
    # Long sessions hold several shifts: the smallest that explains as many is meant.
    fitting = [k for k, m in zip(_HALF_HOURS, row[1:], strict=True) if m == best]
    return min(fitting, key=lambda k: (abs(k), k)) / 2


def mixed_zones(source: Source, contract: Contract) -> list[Rule]:
    """Times of one text column that say UTC, beside times that say nothing."""
    rules = []
    for column, zoned in source.zoned.get(INTERACTIONS, {}).items():
        row = source.engine.row(
            f"SELECT count(*) FILTER (WHERE {zoned}), count(*) FILTER (WHERE NOT {zoned}) "
            f"FROM cells_{INTERACTIONS} WHERE {identifier(column)} IS NOT NULL"
        )
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
    """Labels that were known before their call was made.

    Two hosts' clocks may differ by `SKEW_SECONDS`. Where labels carry a date only, their day counts.
    """
    if not {"timestamp_utc", "label_available_utc"} <= set(source.columns[INTERACTIONS]):
        return []
    known, called = "t.label_available_utc", "t.timestamp_utc"
    early = f"epoch_us({known}) < epoch_us({called}) - {SKEW_SECONDS * 1_000_000}"
    dated = source.engine.row(
        f"SELECT bool_and(epoch_us({known}) % 86400000000 = 0) FROM {INTERACTIONS} t "
        f"WHERE {known} IS NOT NULL"
    )[0]
    if dated:
        early = f"{known} < date_trunc('day', {called})"
    return [
        Rule(
            "clock",
            INTERACTIONS,
            "label_available_utc",
            early,
            "the label was known before the call was made; do two clocks differ, or two time zones?",
            contract.severities["clock"],
            f"cells_{INTERACTIONS} t",
            f"{known} || ' before ' || {called}",
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
