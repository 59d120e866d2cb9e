"""Four releases that follow each other in one log: good, regressed, fixed, too little data.

Each release is the candidate window of a world of its own, with its own seed and its own users; the
first brings its baseline along. The log as it stands at a release holds all that came before, so a
later baseline has the earlier candidates in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.sample.scenarios import HEALTHY, REGRESSED, Change, Decision, Scenario
from analysis.sample.world import World, simulate

FIRST_START = datetime(2026, 9, 28, tzinfo=UTC)
"""When the first release starts; its baseline lies before it."""


@dataclass(frozen=True)
class Release:
    """One release: `days` of traffic from `start` on, under `change`, and the right decision.

    excluded: ids of earlier releases that its policy leaves out of the baseline, as incidents.
    """

    id: str
    title: str
    start: datetime
    days: int
    change: Change
    prompt_version: str
    expected: Decision
    seed: int
    excluded: tuple[str, ...] = ()

    @property
    def end(self) -> datetime:
        """The first moment after the release's traffic."""
        return self.start + timedelta(days=self.days)


def _after(days: int) -> datetime:
    return FIRST_START + timedelta(days=days)


RELEASES = (
    Release("2026.10.1", "A prompt, tidied up", _after(0), 14, Change(), "p7", "ship", 1),
    Release(
        "2026.10.2",
        "New prompts, one model with longer outputs",
        _after(14),
        14,
        replace(REGRESSED.change, prompt_version="p8"),
        "p8",
        "block",
        2,
    ),
    Release(
        "2026.10.3",
        "The new prompts, with tool use repaired",
        _after(28),
        14,
        Change(),
        "p9",
        "ship",
        3,
        ("2026.10.2",),
    ),
    Release(
        "2026.11.1",
        "A shorter system prompt, two days after its start",
        _after(42),
        2,
        Change(),
        "p10",
        "hold",
        4,
        ("2026.10.2",),
    ),
)


def release_named(release_id: str) -> Release:
    """The release of this id. Raises ValueError that lists the known ones."""
    for release in RELEASES:
        if release.id == release_id:
            return release
    known = ", ".join(r.id for r in RELEASES)
    raise ValueError(f"no release {release_id!r}; expected one of: {known}")


def log_at(release_id: str, n_interactions: int | None = None) -> World:
    """The log as it stands when this release is reviewed, and the truth about the decision.

    n_interactions: of each world that the log is cut from (the scenario's by default), so of 56 days.
    The same release and size give the same log, and a later log begins with the earlier ones. Raises
    ValueError for an unknown id or size.
    """
    last = release_named(release_id)
    until = RELEASES[: RELEASES.index(last) + 1]
    parts = [_traffic(release, n_interactions) for release in until]
    interactions = _together([part.interactions for part in parts]).sort_by(
        [("timestamp_utc", "ascending"), ("interaction_id", "ascending")]
    )
    sessions = _together([part.sessions for part in parts]).sort_by("session_id")
    users = _together([part.users for part in parts]).sort_by("user_id")
    for table, key in (
        (interactions, "interaction_id"),
        (sessions, "session_id"),
        (users, "user_id"),
    ):
        # Ids of two worlds may meet by chance; the seeds above are such that none do.
        if pc.count_distinct(table[key]).as_py() != len(table):
            raise ValueError(f"{key}: two releases share one; choose other seeds")
    scenario = _scenario(last)
    return World(scenario, last.seed, interactions, sessions, users, _truth(until, parts))


def _scenario(release: Release) -> Scenario:
    """A healthy world that ends with the release's last day."""
    place = RELEASES.index(release)
    before = RELEASES[place - 1] if place else None
    return replace(
        HEALTHY,
        name=f"release {release.id}",
        title=release.title,
        expected=release.expected,
        end_utc=release.start + timedelta(days=HEALTHY.candidate_days),
        baseline_release=before.id if before else "2026.09.1",
        candidate_release=release.id,
        prompt_version=before.prompt_version if before else release.prompt_version,
        change=replace(release.change, prompt_version=release.prompt_version),
    )


def _traffic(release: Release, n_interactions: int | None) -> World:
    """The part of the release's world that goes into the log: whole sessions, by their start."""
    world = simulate(_scenario(release), n_interactions, release.seed)
    start = world.sessions["start_timestamp_utc"]
    here = pc.less(start, pa.scalar(release.end, start.type))
    if release is not RELEASES[0]:
        here = pc.and_(here, pc.greater_equal(start, pa.scalar(release.start, start.type)))
    sessions = world.sessions.filter(here)
    known = pc.is_in(world.interactions["session_id"], sessions["session_id"].combine_chunks())
    interactions = world.interactions.filter(known)
    return replace(
        world,
        interactions=interactions,
        sessions=sessions,
        users=_totals_of_users(interactions, world.users),
    )


def _totals_of_users(interactions: pa.Table, like: pa.Table) -> pa.Table:
    """The rollup of users over these interactions, with the columns of `like`."""
    micro_usd = pc.cast(pc.round(pc.multiply(interactions["cost_usd"], 1e6)), pa.int64())
    failures = pc.cast(pc.fill_null(interactions["is_failure"], False), pa.int64())
    totals = (
        pa.table(
            {
                "user_id": interactions["user_id"],
                "micro_usd": micro_usd,
                "tokens": interactions["total_tokens"],
                "failures": failures,
            }
        )
        .group_by("user_id", use_threads=False)
        .aggregate(
            [("micro_usd", "sum"), ("tokens", "sum"), ("failures", "sum"), ([], "count_all")]
        )
    )
    return pa.table(
        {
            "user_id": totals["user_id"],
            "user_total_cost_usd": pc.divide(pc.cast(totals["micro_usd_sum"], pa.float64()), 1e6),
            "user_total_tokens": totals["tokens_sum"],
            "user_total_requests": totals["count_all"],
            "user_total_failures": totals["failures_sum"],
        }
    ).cast(like.schema)


def _together(tables: list[pa.Table]) -> pa.Table:
    """One table; dictionaries of the parts, which may differ, become plain text and one again."""
    joined = pa.concat_tables([_plain(table) for table in tables])
    for place, field in enumerate(tables[0].schema):
        if pa.types.is_dictionary(field.type):
            column = joined.column(place).combine_chunks().dictionary_encode()
            joined = joined.set_column(place, field.name, column)
    return joined


def _plain(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, column)
    return table


def _truth(until: tuple[Release, ...], parts: list[World]) -> dict[str, Any]:
    """What `truth.json` says of a log: whose traffic it holds, and the right decisions."""
    return {
        "schema": "sample-releases/1",
        "releases": [
            {
                "id": release.id,
                "title": release.title,
                "seed": release.seed,
                "start_utc": _moment(release.start),
                "end_utc": _moment(release.end),
                "n_interactions": len(part.interactions),
                "excluded": list(release.excluded),
                "expected": {"decision": release.expected},
            }
            for release, part in zip(until, parts, strict=True)
        ],
    }


def _moment(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
