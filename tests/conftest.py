"""One small review, computed once for all tests that read a finished one."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import review as reviews
from analysis.review import Review
from analysis.sample import generate, write

POLICY = Path(__file__).resolve().parents[1] / "report" / "policy.yml"


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the scenario `tiny`."""
    return write(generate("tiny", None, 1), tmp_path_factory.mktemp("tiny") / "data", "csv")


@pytest.fixture(scope="session")
def tiny_review(tiny_data: Path) -> Review:
    """Its review under the policy of the report. Nobody may change it."""
    return reviews.compute(reviews.request(data=str(tiny_data), policy=POLICY))
