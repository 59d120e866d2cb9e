"""A valid tiny world of three tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.telemetry.worlds import World, tiny


@pytest.fixture
def world(tmp_path: Path) -> World:
    return tiny(tmp_path / "data")
