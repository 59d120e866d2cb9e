"""The scale benchmark's table, and that its changed policy finds the encoded telemetry."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import review as reviews
from analysis.telemetry.files import digest_inputs
from benchmarks import scale
from benchmarks.measuring import Cost, Limits, Stopped, run

ROOT = Path(__file__).resolve().parents[2]
COSTS: dict[tuple[str, str], Cost | str] = {
    ("floor", scale.VALIDATE): Cost(1.0, 1.0, 100.0),
    ("floor", scale.REVIEW): Cost(8.0, 9.0, 300.0),
    ("floor", "· validate"): Cost(1.0, 1.0, 0.0),
    ("floor", "· read"): Cost(2.0, 2.0, 0.0),
    ("project", scale.VALIDATE): Cost(2.5, 3.0, 200.0),
    ("project", scale.REVIEW): Cost(16.0, 20.0, 800.0),
    ("project", scale.AGAIN): Cost(10.0, 12.0, 700.0),
    ("project", scale.RENDER): Cost(25.0, 28.0, 900.0),
    ("project", scale.DRAWN): Cost(6.0, 6.0, 400.0),
    ("notebook", scale.REVIEW): "above 18 GiB",
}


def test_each_command_is_held_against_the_floor_of_what_it_does() -> None:
    table = {(line.who, line.command): line for line in scale.lines(10**6, "csv", COSTS)}
    assert table["project", scale.VALIDATE].floor == COSTS["floor", scale.VALIDATE]
    assert table["project", scale.REVIEW].floor == COSTS["floor", scale.REVIEW]
    assert table["project", scale.AGAIN].floor == Cost(5.0, 6.0, 0.0)  # neither validates nor reads
    assert table["project", scale.RENDER].floor is None


def test_rendering_alone_is_what_is_left_without_the_review() -> None:
    table = {(line.who, line.command): line for line in scale.lines(10**6, "csv", COSTS)}
    assert table["project", scale.ALONE].cost == Cost(15.0, 16.0, 0.0)


def test_a_line_tells_seconds_memory_and_the_cost_of_a_row() -> None:
    lines = [line.text() for line in scale.lines(10**6, "csv", COSTS)]
    assert (
        "| 1,000,000 | csv | project | review | 16.00 | 20.00 | 800 | 2.0 | 2.2 | 16.00 |" in lines
    )
    assert lines[-1] == (
        "| 1,000,000 | csv | notebook | review | stopped: above 18 GiB | – | – | – | – | – |"
    )


def test_the_changed_policy_is_another_review_of_the_same_encoded_telemetry(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "report", tmp_path / "report")
    changed = scale.changed_policy(tmp_path)
    data = str(ROOT / "data" / "sample")
    wanted = [
        reviews.request(data=data, policy=path)
        for path in (tmp_path / "report" / "policy.yml", changed)
    ]
    inputs = digest_inputs(wanted[0].data)
    assert len({reviews.cache_key(w, inputs) for w in wanted}) == 2
    assert len({reviews._store(w, tmp_path, inputs).key for w in wanted}) == 1


def test_a_process_above_a_limit_is_stopped() -> None:
    with pytest.raises(Stopped, match="above 0 s"):
        run(["sleep", "30"], Limits(0.1, 1024))


def test_memory_is_that_of_the_whole_tree() -> None:
    # Above the size of the test process, below which no child's peak can be.
    child = "import time; x = bytearray(400 << 20); time.sleep(0.5)"
    both = (
        "import subprocess, sys; "
        f"p = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]; "
        "[q.wait() for q in p]"
    )
    done = run(["python3", "-c", both], Limits(30, 4096))
    assert done.status == 0
    assert done.cost.peak > 800


def test_the_plot_has_every_line_and_no_label_on_another(tmp_path: Path) -> None:
    table = [line for size in (10**5, 10**6) for line in scale.lines(size, "csv", COSTS)]
    scale.plot(table, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
    places = np.log10(np.sort(scale._apart(pd.Series([5.0, 1.0, 5.1, 1.0]))))
    assert np.diff(places).min() >= scale.LABEL_HEIGHT - 1e-12
