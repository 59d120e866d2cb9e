"""Which windows a first policy compares: two releases where the data name them, else days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from analysis.propose.evidence import Overview, ReleaseSeen, Selection, can_be_named, count
from analysis.telemetry.source import Source
from analysis.telemetry.windows import YEARS
from analysis.yaml_text import counted, per_cent, quoted, scalar

MIN_ROWS = 200
"""A release with fewer rows is too young to be compared."""
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class WindowChoice:
    """The two windows as YAML, and why.

    reference: the rows that the proposed levels are taken from, which are the baseline's where
    there is one. volume: the rows that stand for `volume_days` days of traffic.
    """

    candidate: str
    baseline: str
    why: tuple[str, ...]
    instead: tuple[str, ...]
    release: str | None
    reference: Selection
    reference_name: str
    volume: Selection
    volume_days: float

    @property
    def has_baseline(self) -> bool:
        """Whether anything is compared."""
        return self.baseline != "none"

    def as_lines(self) -> tuple[str, str]:
        """The two windows as keys."""
        return f"candidate: {self.candidate}", f"baseline: {self.baseline}"


def choose(source: Source, seen: Overview) -> WindowChoice:
    """The windows for what the data cover."""
    pair = _pair(seen)
    by_days = _by_days(source, seen)
    if pair is None:
        return by_days
    return _by_release(seen, *pair, by_days)


def days_of(n_days: int) -> tuple[int, int]:
    """Days of candidate and baseline that fit into so many: whole weeks where there are two of
    them, 14 and 42 where there is room; a baseline of 0 days is none."""
    weeks = n_days // 7
    if weeks >= 8:
        return 14, 42
    if weeks >= 2:
        candidate = 14 if weeks >= 6 else 7
        return candidate, 7 * weeks - candidate
    if n_days >= 2:
        candidate = max(1, n_days // 3)
        return candidate, n_days - candidate
    return 1, 0


def _pair(seen: Overview) -> tuple[ReleaseSeen, ReleaseSeen] | None:
    """The newest release and the one before it, where both have enough rows."""
    named = [r for r in seen.releases if can_be_named(r.id)]
    if len(named) < 2 or named[-1].n_rows < MIN_ROWS or named[-1] != seen.releases[-1]:
        return None
    older = [r for r in named[:-1] if r.n_rows >= MIN_ROWS]
    return (named[-1], older[-1]) if older else None


def _by_release(
    seen: Overview, new: ReleaseSeen, old: ReleaseSeen, by_days: WindowChoice
) -> WindowChoice:
    why = [
        f"{len(seen.releases):,} releases are in the data. The newest is taken to be the one that "
        f"began last: {quoted(new.id)} ({_rows(new)}), after {quoted(old.id)} ({_rows(old)}). Check "
        "that this is so.",
    ]
    if old.last >= new.first:
        why.append("The two overlap in time: where both serve in most hours, they are concurrent.")
    else:
        why.append("One follows the other, so windows by time can compare them too.")
    if seen.without_release:
        share = per_cent(seen.without_release)
        why.append(f"{share} of the interactions have no release_id, and are in neither window.")
    why.append(
        "A release has no volume of its own: spend and budgets consumed cover all traffic of its "
        "time, and triage is fitted on what lies before it."
    )
    return WindowChoice(
        candidate=f"{{release_id: {scalar(new.id)}}}",
        baseline=f"{{release_id: {scalar(old.id)}}}",
        why=tuple(why),
        instead=by_days.as_lines() if by_days.has_baseline else by_days.instead,
        release=new.id,
        reference=Selection("release = ?", (old.id,)),
        reference_name="in the baseline",
        volume=Selection(),
        volume_days=_elapsed_days(seen.first, seen.last),
    )


def _by_days(source: Source, seen: Overview) -> WindowChoice:
    new, old = days_of(seen.n_days)
    begins = seen.last_day + 1 - new
    candidate = Selection("start_day >= ?", (begins,))
    before = Selection("start_day >= ? AND start_day < ?", (begins - old, begins))
    covered = (
        f"Sessions start on {_days(seen.n_days)}, {_day(seen.first_day)} to {_day(seen.last_day)}"
    )
    compared = bool(old) and count(source, before) > 0 and count(source, candidate) > 0
    if not compared:
        why, instead = _no_baseline(source, seen, covered)
        return WindowChoice(
            f"{{days: {new}}}", "none", why, instead, None,
            candidate, "in the candidate window", candidate, new,
        )  # fmt: skip
    if (new, old) == (14, 42):
        text = f"{covered}: room for the usual two weeks against the six before."
    elif new % 7 == 0:
        text = f"{covered}: whole weeks, so that weekdays are alike; 14 against 42 days is usual."
    else:
        text = (
            f"{covered}: less than two weeks, so weekdays are not balanced, and little can be "
            "shown. Collect more; 14 against 42 days is usual."
        )
    few = _too_few_releases(seen)
    return WindowChoice(
        f"{{days: {new}}}", f"{{days: {old}}}", (text, *few), (), None,
        before, "in the baseline", before, old,
    )  # fmt: skip


def _no_baseline(
    source: Source, seen: Overview, covered: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to say, and the two halves of the time as an alternative, where both hold rows."""
    why = (
        f"{covered}: too short for two windows of days. `none` declares a first release: nothing "
        "is compared, and every budget must be kept to ship.",
        *_too_few_releases(seen),
    )
    if not YEARS[0] <= seen.first.year <= seen.last.year <= YEARS[1]:
        return why, ()  # no policy can name these times
    start = seen.first.replace(second=0, microsecond=0)
    end = seen.last.replace(second=0, microsecond=0) + timedelta(minutes=1)
    middle = start + timedelta(minutes=int((end - start) / timedelta(minutes=2)))
    halves = [Selection("ts >= ? AND ts < ?", half) for half in ((start, middle), (middle, end))]
    if not all(count(source, half) for half in halves):
        return why, ()
    return why, (
        f"candidate: {{start: {_moment(middle)}, end: {_moment(end)}}}",
        f"baseline: {{start: {_moment(start)}, end: {_moment(middle)}}}",
    )


def _too_few_releases(seen: Overview) -> tuple[str, ...]:
    if not seen.releases:
        return ("There is no release_id: with one, two releases could be compared directly.",)
    if len(seen.releases) == 1:
        return ("All that have a release_id have the same one.",)
    return (
        f"{len(seen.releases):,} releases are in the data, but not two in a row with {MIN_ROWS} "
        "interactions and a name that a policy can hold.",
    )


def _elapsed_days(first: datetime, last: datetime) -> float:
    """Days from the hour of one moment to the end of the hour of another."""
    start, end = (m.replace(minute=0, second=0, microsecond=0) for m in (first, last))
    return (end - start) / timedelta(days=1) + 1 / 24


def _rows(release: ReleaseSeen) -> str:
    n = counted(release.n_rows, "interaction")
    return f"{n}, {release.first:%Y-%m-%d %H:%M} to {release.last:%Y-%m-%d %H:%M}"


def _day(number: int) -> str:
    return date.fromordinal(_EPOCH + number).isoformat()


def _days(n: int) -> str:
    return "one day" if n == 1 else f"{n:,} days"


def _moment(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"
