"""Wall time, CPU time and peak memory of `review` and `render`, by number of interactions.

    .venv/bin/python benchmarks/review_and_render.py [--sizes 20000 100000] [--runs 3]

Each command runs as a process of its own, without the cache; the median of the runs is shown. The
last column is a ratio to reading the same tables with pandas in the same run, which carries over
between machines where seconds do not.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import PROJECT, Cost, Limits, machine_mib, median, run

READ = (
    "import sys, pandas as pd, pathlib\n"
    "for p in sorted(pathlib.Path(sys.argv[1]).glob('*.parquet')): pd.read_parquet(p)"
)


def measure(command: Sequence[str]) -> Cost:
    """Runs a command to its end. Raises where it fails."""
    done = run(command, Limits(3600, machine_mib()))
    if done.status:
        raise SystemExit(f"{' '.join(command)} failed: {done.errors[-500:]}")
    return done.cost


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    cache = PROJECT / ".cache" / "review"
    print("| interactions | command | wall s | CPU s | peak MiB | wall / pandas read |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        for size in arguments.sizes:
            data = Path(scratch) / str(size)
            analysis = [sys.executable, "-m", "analysis"]
            subprocess.run(
                [*analysis, "sample", "--scenario", "regressed", "--interactions", str(size),
                 "--format", "parquet", "--out", str(data), "--quiet"],
                cwd=PROJECT,
                check=True,
            )  # fmt: skip
            commands = {
                "pandas read": [sys.executable, "-c", READ, str(data)],
                "review": [*analysis, "review", "--data", str(data), "--quiet"],
                "render": [*analysis, "render", "--data", str(data), "--engine", "embedded",
                           "--out", str(Path(scratch) / "site"), "--quiet"],
            }  # fmt: skip
            floor = 0.0
            for name, command in commands.items():
                costs = []
                for _ in range(arguments.runs):
                    shutil.rmtree(cache, ignore_errors=True)
                    costs.append(measure(command))
                cost = median(costs)
                floor = floor or cost.wall
                print(
                    f"| {size:,} | {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} "
                    f"| {cost.wall / floor:.1f} |"
                )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
