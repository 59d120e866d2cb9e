"""The windows of burn alerts are data: read, and refused with every problem."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from analysis.alert_windows import load
from analysis.errors import PolicyError, UsageError


def written(folder: Path, *rows: str) -> Path:
    path = folder / "windows.yml"
    path.write_text("windows:\n" + "".join(f"  - {{{row}}}\n" for row in rows))
    return path


def test_windows_are_read_in_minutes_hours_and_days(tmp_path: Path) -> None:
    (window,) = load(written(tmp_path, "long: 2d, short: 45m, budget_share: 0.1, severity: ticket"))
    assert (window.long_span, window.short_span) == (timedelta(days=2), timedelta(minutes=45))
    assert (window.long_hours, window.short_hours) == (48.0, 0.75)


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "long: 1h, short: 7m, budget_share: 0.02, severity: page",
        "long: 30m, short: 1h, budget_share: 0.02, severity: page",
        "long: 1w, short: 5m, budget_share: 2, severity: mail",
    )
    with pytest.raises(PolicyError) as refused:
        load(path)
    told = str(refused.value)
    for part in ("windows[0].short: expected a multiple of five minutes", "windows[1].short: expected a shorter",
                 "windows[2].long", "windows[2].budget_share", "windows[2].severity"):  # fmt: skip
        assert part in told


def test_no_window_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="windows"):
        load(written(tmp_path))
    with pytest.raises(UsageError):
        load(tmp_path / "absent.yml")
