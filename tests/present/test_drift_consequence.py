from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.present.drift_consequence import consequence
from analysis.views.drift_consequence import Consequence
from tests.views import test_drift_consequence as worlds
from tests.views.test_drift import candidate

WINDOW = {
    "release_id": None, "start_utc": "2026-11-02T00:00:00Z", "end_utc": "2026-11-16T00:00:00Z",
    "n_interactions": 3000,
}  # fmt: skip
BODY = {"windows": {"candidate": WINDOW, "baseline": WINDOW, "comparison": "before_after"}}


def shown(found: Consequence, reason: str | None = None) -> str:
    section: dict[str, Any] = {
        "consequence": dataclasses.asdict(found),
        "outcome_change": {"reason": reason},
    }
    return "".join(consequence(BODY, section))


def words(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Consequence:
    rows = worlds.drifted(3000)
    new = candidate(rows)
    rows.loc[new & (np.arange(len(rows)) % 3 == 0), "use_case"] = "translation"
    return worlds.found_in(rows, tmp_path_factory.mktemp("page"))


def test_each_metric_that_changed_has_a_figure_whose_alt_text_has_its_numbers(
    found: Consequence,
) -> None:
    page = shown(found)
    alts = re.findall(r'alt="([^"]*)"', page)
    for alt, name in zip(alts, ("failure rate", "cost of an inter"), strict=True):
        assert alt.startswith(f"Change of the {name}")
        assert alt.count("whole change") == alt.count("the system itself") == 1
        assert len(re.findall(r"\d", alt)) > 20
        assert not alt.endswith("…")
    # Latency breaches did not move: their numbers stand in a sentence.
    told = words(page)
    assert "Change of the latency breach rate, within chance: whole change " in told
    assert "the system itself " in told


def test_text_of_the_telemetry_is_escaped(found: Consequence) -> None:
    first = found.dimensions[0]
    odd = dataclasses.replace(first.by_value[0], value="<b>new & odd</b>")
    dimensions = (dataclasses.replace(first, by_value=(odd,)), *found.dimensions[1:])
    page = shown(dataclasses.replace(found, dimensions=dimensions))
    assert "<b>new" not in page
    assert "&lt;b&gt;new &amp; odd&lt;/b&gt;" in page


def test_unknown_traffic_is_said_with_its_share(found: Consequence) -> None:
    text = words(shown(found))
    assert "SLO availability: the mix of traffic alone adds" in text
    assert re.search(
        r"3\d\.\d % of the candidate's traffic is in cells that the baseline lacks", text
    )
    assert "None" not in text
    assert "nan" not in text


def test_a_first_release_says_why_there_is_nothing() -> None:
    text = words(shown(Consequence(), "there is no baseline"))
    assert text.strip() == "Why outcomes changed is not told: there is no baseline."


def test_late_labels_are_told_with_the_check_of_the_estimate(tmp_path: Path) -> None:
    rows, _ = worlds.TestLabelDelay().late(0.3)
    text = words(shown(worlds.found_in(rows, tmp_path)))
    assert "are not there yet" in text
    assert "it is shown, and never gates" in text
    assert "That is within chance." in text
    worse, _ = worlds.TestLabelDelay().late(0.3, worse=0.08)
    assert "something changed within the system" in words(
        shown(worlds.found_in(worse, tmp_path / "b"))
    )


def test_without_a_missing_label_one_line_says_so(tmp_path: Path) -> None:
    rows, _ = worlds.TestLabelDelay().late(0.0)
    text = words(shown(worlds.found_in(rows, tmp_path)))
    assert "No failure label is missing in the candidate" in text
    assert "Self-check" in text
    assert "never gates" not in text


def test_the_page_part_stays_small_with_many_dimensions(tmp_path: Path) -> None:
    rows = worlds.drifted(1500)
    rng = np.random.default_rng(3)
    for name in ("region", "segment", "scenario"):
        rows[name] = pd.Series(rng.choice([f"{name} {i}" * 5 for i in range(40)], len(rows)))
    page = shown(worlds.found_in(rows, tmp_path))
    assert len(page) < 250_000
