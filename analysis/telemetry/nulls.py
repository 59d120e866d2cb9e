"""Shares of nulls that jump from one day to the next: the logging changed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from analysis.contract import INTERACTIONS, Contract
from analysis.telemetry.clocks import bulk
from analysis.telemetry.profile import Day, Profile
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

JUMP = 0.10
JUMP_Z = 6.0
JUMP_ROWS = 100
"""Rows on either side of a jump; where a day holds fewer, days are taken together."""
JUMP_DAYS = 10
MIN_ROWS = 30
CLUSTERS = 10
CLUSTER_Z = 4.0
PENDING_DAYS = 7
ONLY_FAILURES = 0.98
"""Share of a column's values in failed calls from which on it is read as a column of failures."""


@dataclass(frozen=True)
class _Nulls:
    """One column by day: rows that could hold a value, and those that hold none."""

    days: tuple[date, ...]
    rows: tuple[int, ...]
    nulls: tuple[int, ...]
    only_failures: bool


@dataclass(frozen=True)
class _Step:
    """A change of the share of nulls: `place` is the first day behind it."""

    place: int
    before: float
    after: float
    chance: float

    @property
    def size(self) -> float:
        """The change of the share."""
        return self.after - self.before


def jumps(source: Source, contract: Contract, found: Profile) -> list[Rule]:
    """Columns whose share of nulls changes suddenly from one day to the next.

    A jump is at least `JUMP` wide, and `JUMP_Z` times as wide as chance and usual changes allow.
    What recurs a week later is a weekly pattern. A column that is filled for failures only is held
    against the failures. What is known later only may be missing up to the end of the data: labels
    that are still to come are no jump.
    """
    days = bulk(found.days)
    rules: list[Rule] = []
    for column in days[0].known if days else ():
        nulls = _nulls(days, column)
        steps = _steps(nulls)
        places = _jumps(nulls, steps)
        declared = contract.column(column)
        if declared is not None and declared.known_at == "later":
            places = _settled(nulls, places)
        places = [s for s in places if _is_wide(source, column, nulls, s)]
        if places:
            rules.append(_jump(contract, column, nulls, places))
    return rules


def _nulls(days: Sequence[Day], column: str) -> _Nulls:
    rows, known = [d.rows for d in days], [d.known[column] for d in days]
    failed = [d.failed.get(column, 0) for d in days]
    only_failures = sum(failed) > 0 and sum(failed) >= ONLY_FAILURES * sum(known)
    if only_failures:
        rows, known = [d.failures for d in days], failed
    nulls = tuple(max(0, n - k) for n, k in zip(rows, known, strict=True))
    return _Nulls(tuple(d.day for d in days), tuple(rows), nulls, only_failures)


def _steps(nulls: _Nulls) -> list[_Step]:
    """The change at every day; days of few rows are taken together with those before or behind."""
    out = []
    for place in range(1, len(nulls.days)):
        n0, k0 = _pooled(nulls, range(place - 1, -1, -1))
        n1, k1 = _pooled(nulls, range(place, len(nulls.days)))
        if min(n0, n1) < MIN_ROWS or max(n0, n1) < JUMP_ROWS:
            continue
        p = (k0 + k1 + 1) / (n0 + n1 + 2)
        out.append(_Step(place, k0 / n0, k1 / n1, math.sqrt(p * (1 - p) * (1 / n0 + 1 / n1))))
    return out


def _pooled(nulls: _Nulls, places: Sequence[int]) -> tuple[int, int]:
    side = _side(nulls, places)
    return sum(nulls.rows[i] for i in side), sum(nulls.nulls[i] for i in side)


def _side(nulls: _Nulls, places: Sequence[int]) -> list[int]:
    """The first of the days, and as many more as it takes to hold `JUMP_ROWS`."""
    out: list[int] = []
    for i in places:
        held = sum(nulls.rows[j] for j in out)
        if held >= JUMP_ROWS or abs((nulls.days[i] - nulls.days[places[0]]).days) >= JUMP_DAYS:
            break
        out.append(i)
    return out


def _jumps(nulls: _Nulls, steps: Sequence[_Step]) -> list[_Step]:
    if len(steps) < 3:
        return []
    usual = 1.4826 * median(abs(s.size) for s in steps)
    # Users and sessions that leave a column out together make more noise than rows: by how much
    # shows in the changes themselves.
    clumped = max(1.0, median((s.size / s.chance) ** 2 for s in steps) / 0.455)
    found = [
        s
        for s in steps
        if abs(s.size) >= max(JUMP, JUMP_Z * usual, JUMP_Z * s.chance * math.sqrt(clumped))
    ]
    by_day = {nulls.days[s.place]: s for s in steps}
    found = [s for s in found if not _weekly(nulls, s, by_day)]
    # Steps that share rows are one jump, where it is widest.
    return [s for s in found if not any(_hides(nulls, other, s) for other in found)]


def _hides(nulls: _Nulls, other: _Step, step: _Step) -> bool:
    low, high = sorted((other.place, step.place))
    between = sum(nulls.rows[low:high])
    wider = (abs(other.size) / other.chance, -other.place) > (
        abs(step.size) / step.chance, -step.place
    )  # fmt: skip
    return between < JUMP_ROWS and low < high and wider and other.size * step.size > 0


def _weekly(nulls: _Nulls, step: _Step, by_day: Mapping[date, _Step]) -> bool:
    """Whether the step comes every week, or (of the only weekend) goes back on Monday."""
    day = nulls.days[step.place]
    touches = _touches_weekend(nulls, step)
    # Where days are taken together, a weekend's step may come a day sooner or later.
    slack = (-1, 0, 1) if touches else (0,)
    for k, j in itertools.product((-7, 7), slack):
        other = by_day.get(day + timedelta(days=k + j))
        if other is None or _touches_weekend(nulls, other) != touches:
            continue
        if other.size * step.size > 0 and abs(other.size) >= abs(step.size) / 2:
            return True
    if any(day + timedelta(days=k) in by_day for k in (-7, 7)):
        return False
    # The only weekend: what goes up and comes back around it may well be its own.
    around = [
        other
        for other_day, other in by_day.items()
        if abs((other_day - day).days) <= 3 and _touches_weekend(nulls, other)
    ]
    return touches and any(
        o.size * step.size < 0 and abs(o.size) >= abs(step.size) / 2 for o in around
    )


def _touches_weekend(nulls: _Nulls, step: _Step) -> bool:
    return any(nulls.days[k].weekday() >= 5 for k in (step.place - 1, step.place))


def _settled(nulls: _Nulls, places: Sequence[_Step]) -> list[_Step]:
    """The steps before labels that are still to come.

    These are missing up to the end of the data, for some days or to a man.
    """
    n = len(nulls.days)
    share = [k / max(r, 1) for k, r in zip(nulls.nulls, nulls.rows, strict=True)]
    for i, step in enumerate(places):
        middle = (step.before + step.after) / 2
        tail = share[step.place :]
        last = median(share[max(step.place, n - 3) :])
        brief = (nulls.days[-1] - nulls.days[step.place]).days < PENDING_DAYS
        if step.size > 0 and median(tail) >= middle and last >= middle and (brief or last >= 0.9):
            return list(places[:i])
    return list(places)


def _is_wide(source: Source, column: str, nulls: _Nulls, step: _Step) -> bool:
    """Whether a step is more than the nulls of few: one user's burst is no change of the logging.

    The variance is that of clusters: users, or sessions where few users are there (STATISTICS,
    section 1).
    """
    keys = [c for c in ("user_id", "session_id") if c in source.columns[INTERACTIONS]]
    before = _side(nulls, range(step.place - 1, -1, -1))
    after = _side(nulls, range(step.place, len(nulls.days)))
    for key in keys:
        variance, fewest = 0.0, math.inf
        nulls_in = [sum(nulls.nulls[i] for i in side) for side in (before, after)]
        rows_in = [sum(nulls.rows[i] for i in side) for side in (before, after)]
        p = sum(nulls_in) / sum(rows_in)
        for side, n in zip((before, after), rows_in, strict=True):
            listed = ", ".join(f"DATE '{nulls.days[i]}'" for i in side)
            among = " AND is_failure" if nulls.only_failures else ""
            squares, n_squares = source.engine.row(
                f"SELECT sum((k - {p} * n) * (k - {p} * n)), sum(n * n * 1.0) FROM (SELECT count(*) AS n, "
                f"count(*) - count({identifier(column)}) AS k FROM {INTERACTIONS} "
                f"WHERE CAST(timestamp_utc AS DATE) IN ({listed}){among} GROUP BY {identifier(key)}) units"
            )
            variance += float(squares) / n**2
            fewest = min(fewest, n**2 / float(n_squares))
        if fewest >= CLUSTERS or key == keys[-1]:
            return abs(step.size) >= CLUSTER_Z * math.sqrt(variance)
    return True


def _jump(contract: Contract, column: str, nulls: _Nulls, places: Sequence[_Step]) -> Rule:
    listed = ", ".join(f"DATE '{nulls.days[k]}'" for k in _upper_days(nulls, places))
    step = places[0]
    among = " AND t.is_failure" if nulls.only_failures else ""
    more = f", and {len(places) - 1} more such steps" if len(places) > 1 else ""
    return Rule(
        "missing_jump",
        INTERACTIONS,
        column,
        f"t.{identifier(column)} IS NULL{among} AND CAST(t.timestamp_utc AS DATE) IN ({listed})",
        f"missing went from {100 * step.before:.3g} % on {nulls.days[step.place - 1]} to "
        f"{100 * step.after:.3g} % on {nulls.days[step.place]}{more}; what changed in the logging?",
        contract.severities["missing_jump"],
        f"{INTERACTIONS} t",
    )


def _upper_days(nulls: _Nulls, places: Sequence[_Step]) -> list[int]:
    """The days on the upper side of the jumps: those whose nulls are the news."""
    edges = [0, *(s.place for s in places), len(nulls.days)]
    out: list[int] = []
    for k, (start, end) in enumerate(itertools.pairwise(edges)):
        came_up = k > 0 and places[k - 1].size > 0
        goes_down = k < len(places) and places[k].size < 0
        if came_up or goes_down:
            out += range(start, end)
    return out
