"""One PostgreSQL server for all tests of a process, and one Spark session for those of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.telemetry.engines import servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A server with no database of its own."""
    with servers.running() as server:
        yield server
