"""Hotspots beside DivExplorer and SliceLine: what is found of planted slices, and what it costs.

    .venv/bin/python benchmarks/hotspots.py [--worlds 50] [--size 1000000] [--only project divexplorer sliceline]

Prints two Markdown tables. How to read them:

- What is found: worlds of 100,000 interactions with seven planted slices each
  (`tests/views/hotspot_worlds.py`), a quarter of the rows in the candidate window. All seven are worse than the
  rest there, and that alone is asked of all: the peers know one window. A finding describes a plant where
  they share four fifths of their rows (intersection by union); a second description of the same plant is
  false. Also: how many worlds of 40,000 interactions without any plant have a finding.
- What it costs: each contender is one process from start to end, on one million interactions with the
  same six dimensions to depth 3 and support of 60. The peers read the quarter of the rows that lies in
  the candidate window, without keys and times; the project reads all three tables, encodes them, and tests
  levels and regressions with clusters.

Environments of peers are made on first use in `.cache/benchmarks/` from `requirements-<peer>.txt`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.measuring import Limits, Run, Stopped, environment, machine_mib, run, say, where
from tests.views.hotspot_worlds import (
    DIMENSIONS,
    World,
    failing,
    matched,
    nothing,
    planted,
    skeleton,
    written,
)

NAMES = ("project", "divexplorer", "sliceline")


def python(name: str) -> str:
    """The interpreter of a contender."""
    return sys.executable if name == "project" else str(environment(name))


def command(name: str, folder: Path) -> list[str]:
    """How a contender is run on what `put` wrote."""
    target = folder if name == "project" else folder / "candidate.parquet"
    return [python(name), "-m", f"benchmarks.hotspot_peers.with_{name}", str(target)]


def put(world: World, folder: Path) -> None:
    """The three tables, and the candidate window's dimensions and outcome as one."""
    written(world, folder)
    rows = world.rows[world.rows["candidate"]]
    rows[[*DIMENSIONS, "is_failure"]].to_parquet(folder / "candidate.parquet", index=False)


def put_much(size: int, folder: str) -> None:
    """So many interactions without a plant."""
    rng = np.random.default_rng(9)
    put(World(failing(rng, skeleton(rng, size)), ()), Path(folder))


def told(done: Run, name: str) -> list[dict[str, str]]:
    """The slices that a contender printed."""
    if done.status:
        raise SystemExit(f"{name} failed: {done.errors[-800:]}")
    found: list[dict[str, str]] = json.loads(done.output.strip().splitlines()[-1])
    return found


def quality(names: Sequence[str], worlds: int, limits: Limits) -> list[str]:
    """The table of what is found."""
    recalls: dict[str, list[float]] = {n: [] for n in names}
    precisions: dict[str, list[float]] = {n: [] for n in names}
    noisy = dict.fromkeys(names, 0)
    counts: dict[str, list[int]] = {n: [] for n in names}
    for k in range(worlds):
        for world in (
            planted(np.random.default_rng([7, k])),
            nothing(np.random.default_rng([8, k])),
        ):
            with tempfile.TemporaryDirectory() as folder:
                put(world, Path(folder))
                for name in names:
                    found = told(run(command(name, Path(folder)), limits), name)
                    if not world.plants:
                        noisy[name] += bool(found)
                        continue
                    hit, false = matched(world, found)
                    recalls[name].append(len(hit) / len(world.plants))
                    precisions[name].append(1 - false / len(found) if found else 1.0)
                    counts[name].append(len(found))
        say(f"world {k + 1} of {worlds}")
    lines = [
        f"| contender | recall | precision | findings a world | worlds of noise with a finding, of {worlds} |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {n} | {np.mean(recalls[n]):.2f} | {np.mean(precisions[n]):.2f} | {np.mean(counts[n]):.1f} "
        f"| {noisy[n]} |"
        for n in names
    ]
    return lines


def cost(names: Sequence[str], size: int, limits: Limits) -> list[str]:
    """The table of what it costs."""
    lines = [
        "| contender | interactions | wall s | CPU s | peak MiB | wall / project |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    base: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: no contender's peak is below that of the process that starts it.
        making = multiprocessing.get_context("spawn").Process(target=put_much, args=(size, folder))
        making.start()
        making.join()
        for name in names:
            say(f"{name} on {size:,}")
            try:
                done = run(command(name, Path(folder)), limits)
            except Stopped as reason:
                lines.append(f"| {name} | {size:,} | stopped: {reason} | – | – | – |")
                continue
            told(done, name)
            base = done.cost.wall if name == "project" else base
            ratio = f"{done.cost.wall / base:.1f}" if base else "–"
            lines.append(
                f"| {name} | {size:,} | {done.cost.wall:.1f} | {done.cost.cpu:.1f} "
                f"| {done.cost.peak:,.0f} | {ratio} |"
            )
    return lines


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--size", type=int, default=10**6)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--max-gib", type=float, default=0.75 * machine_mib() / 1024)
    a = parser.parse_args()
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    print(where(limits, "DivExplorer 0.2.6, sliceline 0.3.0"), flush=True)
    # What it costs first: later this process is as large as the worlds that it made.
    print("\n" + "\n".join(cost(a.only, a.size, limits)), flush=True)
    if a.worlds:
        print("\n" + "\n".join(quality(a.only, a.worlds, limits)), flush=True)


if __name__ == "__main__":
    main()
