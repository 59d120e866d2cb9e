"""Threads and memory change how long a review takes, and nothing else."""

from __future__ import annotations

from pathlib import Path

from analysis.sample import generate, write
from tests.end_to_end.children import Place, content


def test_threads_and_memory_change_no_byte(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    data = write(generate("regressed", 20_000, 1), tmp_path / "data", "parquet")
    line = ["review", "--data", data, "--out"]
    found = []
    for n, options in enumerate((["--threads", 1], ["--threads", 2, "--memory-limit", "300MB"])):
        out = tmp_path / f"out{n}"
        if n:
            (place.project / ".cache").rename(tmp_path / "cache")
        code, _, err = place.run(*line, out, *options)
        assert code == 0, err
        found.append(content(out))
    assert found[0] == found[1]


def test_too_little_memory_is_said(tmp_path: Path, tiny_data: Path) -> None:
    place = Place.make(tmp_path)
    for command in ("validate", "review"):
        code, out, err = place.run(command, "--data", tiny_data, "--memory-limit", "1MB")
        assert (code, out) == (2, "")
        assert "--memory-limit" in err
        assert "Traceback" not in err
    assert place.litter() == []
