from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.views.budget import SloBudget, assess
from analysis.views.budget_section import Incident
from tests.views.world import DAY, START, evenly, events, opened, policy

HOUR = pd.Timedelta(hours=1)
WINDOWS: dict[str, Any] = {"candidate": {"days": 14}, "baseline": {"days": 28}}


def world(*outages: tuple[float, float, float], a_day: int = 1440, days: int = 44) -> pd.DataFrame:
    """One row a minute, of which one in 300 fails, and of each outage (day, hours, share)
    the share."""
    moments = evenly(days, a_day)
    failed = [k % 300 == 241 for k in range(len(moments))]
    for day, hours, share in outages:
        first = round(day * a_day)
        for k in range(first, first + round(hours * a_day / 24)):
            failed[k] = (k + 1) * share // 1 > k * share // 1
    return events(moments, failed)


def budget(
    rows: pd.DataFrame,
    folder: Path,
    *,
    windows: dict[str, Any] = WINDOWS,
    headlines_only: bool = False,
    **more: Any,
) -> SloBudget:
    """The only objective of these rows; more: of its policy."""
    slo = {"name": "availability", "bad": "is_failure", "target": 0.99, **more}
    wanted = policy(slos=[slo], windows=windows)
    with opened(rows, folder, wanted) as telemetry:
        (held,) = assess(telemetry, telemetry.policy, headlines_only=headlines_only).section.slos
    return held


def span(one: Incident) -> tuple[pd.Timestamp, pd.Timestamp]:
    return pd.Timestamp(one.start_utc), pd.Timestamp(one.end_utc)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_outage_is_an_incident_with_its_counts_and_share(tmp_path: Path, share: float) -> None:
    rows = world((40.125, 2.0, share))
    slo = budget(rows, tmp_path)
    (one,) = slo.incidents
    begin = START + 40.125 * DAY
    assert span(one) == (begin, begin + 2 * HOUR)
    assert (one.n, one.bad, one.rate) == (120, 120 * share, share)
    assert one.budget_share == pytest.approx(one.bad / (0.01 * 1440 * 30))
    assert not one.excluded
    assert slo.budget_consumed is not None
    assert one.budget_share < slo.budget_consumed


def test_incidents_are_by_time_and_those_set_aside_say_so(tmp_path: Path) -> None:
    rows = world((34.0, 1.0, 1.0), (37.5, 3.0, 0.5), (41.0, 1.0, 1.0))
    known = {"start": (START + 37.5 * DAY).isoformat(), "reason": "provider",
             "end": (START + 37.5 * DAY + 2 * HOUR).isoformat()}  # fmt: skip
    early = {"start": (START + 41 * DAY - 5 * HOUR).isoformat(), "reason": "deploy",
             "end": (START + 41 * DAY + HOUR / 4).isoformat()}  # fmt: skip
    slo = budget(rows, tmp_path, windows={**WINDOWS, "exclude": [known, early]})
    assert [span(i)[0] for i in slo.incidents] == [START + d * DAY for d in (34.0, 37.5, 41.0)]
    # Two of three hours of the second are known, and a quarter of the third.
    assert [i.excluded for i in slo.incidents] == [False, True, False]


def test_at_most_twenty_are_kept_those_with_the_most_bad(tmp_path: Path) -> None:
    starts = [31 + d / 2 for d in range(24)]
    rows = world(*((d, 0.5 + 0.05 * (i % 12), 1.0) for i, d in enumerate(starts)))
    held = budget(rows, tmp_path).incidents
    assert len(held) == 20
    assert [i.start_utc for i in held] == sorted(i.start_utc for i in held)
    assert min(i.bad for i in held) > 33  # the four shortest lasted half an hour: 30 and 33 rows


def test_a_steady_world_has_none_and_neither_have_headlines(tmp_path: Path) -> None:
    assert budget(world(), tmp_path / "a").incidents == ()
    rows = world((40.0, 2.0, 1.0))
    assert budget(rows, tmp_path / "b", headlines_only=True).incidents == ()


def test_a_share_is_null_where_the_budget_spent_is(tmp_path: Path) -> None:
    slo = budget(world((40.0, 2.0, 1.0)), tmp_path, period_days=60)
    assert slo.budget_consumed is None
    (one,) = slo.incidents
    assert one.budget_share is None
    assert one.bad == 120


def test_what_a_calendar_period_did_not_see_burned_none_of_it(tmp_path: Path) -> None:
    # The world's days 31 to 44 are those from 22 October to 4 November.
    rows = world((39.0, 2.0, 1.0), (40.75, 12.0, 1.0))
    slo = budget(rows, tmp_path, period="month")
    assert slo.period_start_utc == "2026-11-01T00:00:00Z"
    before, across = slo.incidents
    assert before.budget_share == 0.0
    assert across.bad == 12 * 60
    # Six of its twelve hours; November is three days old, and as busy as these to its end.
    assert across.budget_share == pytest.approx(6 * 60 / (0.01 * 1440 * 30), rel=1e-9)


def test_a_canarys_incidents_are_of_its_own_rows(tmp_path: Path) -> None:
    rows = world((40.0, 2.0, 1.0))
    late = rows["timestamp_utc"] >= START + 35 * DAY
    rows["release_id"] = np.where(late & (rows.index % 2 == 0), "r2", "r1")
    windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
    (one,) = budget(rows, tmp_path, windows=windows).incidents
    assert (one.n, one.bad) == (60, 60)
    assert one.budget_share == pytest.approx(60 / (0.01 * 1440 * 30))
