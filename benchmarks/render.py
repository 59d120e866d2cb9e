"""Wall time, CPU time and peak memory of rendering one finished review, by engine.

    .venv/bin/python benchmarks/render.py [--data data/sample] [--runs 3]

The review is computed, and its figures and tables are drawn, before anything is measured: an engine runs
the pages' cells, lays out the site, makes the PDF, and the site is checked and put in place. The floor is
what every cell needs whatever renders it: starting a Jupyter kernel, running `1 + 1` and ending it. Quarto is
measured where it is on PATH. Each command runs as a process of its own; the median of the runs is shown.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import Cost, Limits, machine_mib, median, run, say, where

KERNEL = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
client.execute_interactive("1 + 1", output_hook=lambda message: None)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""
LIMITS = Limits(1800, machine_mib())


def measured(command: Sequence[str], runs: int) -> Cost:
    """The median cost of a command. Raises SystemExit where it fails."""
    costs = []
    for _ in range(runs):
        done = run(command, LIMITS)
        if done.status:
            raise SystemExit(f"{' '.join(command)} failed: {done.errors[-800:]}")
        costs.append(done.cost)
    return median(costs)


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/sample")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        render = [sys.executable, "-m", "analysis", "render", "--data", arguments.data, "--quiet"]
        commands = {"kernel (floor)": [sys.executable, "-c", KERNEL]}
        for engine in ("embedded", *(("quarto",) if shutil.which("quarto") else ())):
            commands[engine] = [*render, "--engine", engine, "--out", str(Path(scratch) / engine)]
        say("computing and drawing the review")
        if run(commands["embedded"], LIMITS).status:
            raise SystemExit("the review could not be rendered")
        versions = _quarto_version()
        print(f"Measured {where(LIMITS, versions)}\n")
        print("| render | wall s | CPU s | peak MiB | wall / floor | CPU / floor |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        floor = None
        for name, command in commands.items():
            say(f"measuring {name}")
            cost = measured(command, arguments.runs)
            floor = floor or cost
            print(
                f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} "
                f"| {cost.wall / floor.wall:.1f} | {cost.cpu / floor.cpu:.1f} |",
                flush=True,
            )


def _quarto_version() -> str:
    if not shutil.which("quarto"):
        return "No Quarto"
    return f"Quarto {run(['quarto', '--version'], LIMITS).output.strip()}"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
