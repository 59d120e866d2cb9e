"""Drift beside Evidently, NannyML and alibi-detect: false alarms, planted drift, and what it costs.

    .venv/bin/python benchmarks/drift.py [--worlds 500] [--large 50] [--planted 100] [--size 1000000]
        [--repeat 3] [--only floor project evidently nannyml alibi_detect]

Prints two Markdown tables. How to read them:

- What is flagged: worlds of 15 columns, 42 days before and 14 after (`tests/views/drift_worlds.py`), whose rows
  hang together by session, user and day. In *nothing drifts* they have 5,000 to 20,000 interactions, or
  100,000; any flagged column is a false alarm, and a share above 5 % is more of them than anybody asks for.
  In *planted* there are 20,000, and the true stability index of one column of categories and of one of
  numbers is 0.35: `category` and `number` count the worlds in which that column is flagged, `others` the
  worlds in which another one is. All contenders read the same files, at their own defaults, and a row is one
  of their verdicts. The project's: a column of any severity, a column with q at fdr or below, whatever its
  size, and a check that fails.
- What it costs: each contender is one process from start to end, reading included: the median of the runs,
  which go round the contenders. The telemetry is one million interactions of the regressed sample, with 34
  columns; `drift alone` is the part without start and reading. `floor` bins every column by hand-written
  SQL with second moments over users, and judges nothing (`scale_peers/floor_drift.py`). The peers read the
  two windows as two frames, without keys.

Environments of peers are made on first use in `.cache/benchmarks/` from `requirements-<peer>.txt`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import (
    CACHE,
    PROJECT,
    Cost,
    Limits,
    Stopped,
    environment,
    machine_mib,
    median,
    run,
    say,
    where,
)

FLOOR = "floor"
NAMES = (FLOOR, "project", "evidently", "nannyml", "alibi_detect")
OWN = (FLOOR, "project")  # run by this interpreter
VERSIONS = "Evidently 0.7.23, NannyML 0.13.1, alibi-detect 0.13.0"
NOTHING, LARGE, PLANTED = "nothing drifts", "nothing drifts, large", "planted"
SMALLEST, MOST, MANY, ENOUGH = 5_000, 20_000, 100_000, 20_000
PSI = 0.35
MOVED = (
    ("use_case", "prompt_tokens"), ("channel", "latency_ms"), ("region", "cost_usd"),
    ("country_code", "time_to_first_token_ms"),
)  # fmt: skip
BATCH = 25  # worlds on disk at a time


@dataclass
class Tally:
    """Of one verdict of one contender, by kind of world: worlds, and those in which it flags."""

    worlds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    flagged: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    category: int = 0
    number: int = 0
    others: int = 0

    def add(self, kind: str, columns: Sequence[str], moved: Sequence[str]) -> None:
        """One more world; moved: the planted columns, the one of categories first."""
        self.worlds[kind] += 1
        self.flagged[kind] += bool(columns)
        if moved:
            self.category += moved[0] in columns
            self.number += moved[1] in columns
            self.others += bool(set(columns) - set(moved))


# ── contenders ───────────────────────────────────────────────────────────────────────────


def command(name: str, folders: Sequence[Path]) -> list[str]:
    """How a contender is run on the tables in these folders."""
    python = sys.executable if name in OWN else str(environment(name))
    module = FLOOR if name == FLOOR else f"with_{name}"
    return [python, "-m", f"benchmarks.drift_peers.{module}", *map(str, folders)]


@dataclass(frozen=True)
class Said:
    """Of one folder. flagged: verdict to columns. seconds: of drift alone."""

    flagged: Mapping[str, Sequence[str]]
    seconds: float


def judged(name: str, folders: Sequence[Path], limits: Limits) -> tuple[list[Said], Cost]:
    """What a contender says of each folder, and what the process cost. Raises Stopped."""
    done = run(command(name, folders), limits)
    if done.status:
        raise SystemExit(f"{name} failed: {done.errors[-800:]}")
    said = [Said(**each) for each in json.loads(done.output.strip().splitlines()[-1])]
    if len(said) != len(folders):
        raise SystemExit(f"{name} judges {len(said)} of {len(folders)} folders")
    return said, done.cost


# ── what is flagged ──────────────────────────────────────────────────────────────────────


def put(kind: str, seed: int, folder: Path) -> tuple[str, ...]:
    """Writes a world; returns its planted columns."""
    import numpy as np

    from tests.views.drift_worlds import Plant, drawn, written

    rng = np.random.default_rng([9, [NOTHING, LARGE, PLANTED].index(kind), seed])
    moved = MOVED[seed % len(MOVED)] if kind == PLANTED else ()
    few = round(float(np.exp(rng.uniform(np.log(SMALLEST), np.log(MOST)))))
    n_rows = {NOTHING: few, LARGE: MANY, PLANTED: ENOUGH}[kind]
    written(drawn(rng, n_rows, [Plant(c, PSI) for c in moved]), folder)
    return moved


def quality(
    names: Sequence[str], worlds: Mapping[str, int], limits: Limits
) -> dict[tuple[str, str], Tally]:
    """(contender, verdict) → what it flagged."""
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    done = dict.fromkeys(worlds, 0)
    for kind, n in worlds.items():
        for start in range(0, n, BATCH):
            seeds = range(start, min(start + BATCH, n))
            with tempfile.TemporaryDirectory() as scratch:
                folders = [Path(scratch) / str(seed) for seed in seeds]
                moved = [
                    put(kind, seed, folder) for seed, folder in zip(seeds, folders, strict=True)
                ]
                for name in names:
                    for said, columns in zip(judged(name, folders, limits)[0], moved, strict=True):
                        for verdict, flagged in said.flagged.items():
                            tallies[name, verdict].add(kind, flagged, columns)
            done[kind] = seeds.stop
            say(f"{kind}: {seeds.stop} of {n}\n" + "\n".join(flags(tallies, done)))
    return tallies


def flags(tallies: Mapping[tuple[str, str], Tally], worlds: Mapping[str, int]) -> list[str]:
    """The table of what is flagged."""
    lines = [
        "| contender | flags | nothing drifts | nothing drifts, 100,000 | planted: category | planted: number "
        "| planted: others |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (name, verdict), tally in tallies.items():
        alarms = [_share(tally.flagged[kind], worlds[kind]) for kind in (NOTHING, LARGE)]
        found = [_share(n, worlds[PLANTED]) for n in (tally.category, tally.number, tally.others)]
        lines.append(f"| {name} | {verdict} | {' | '.join(alarms + found)} |")
    return lines


def _share(n: int, of: int) -> str:
    return f"{100 * n / of:.1f} % of {of}" if of else "–"


# ── what it costs ────────────────────────────────────────────────────────────────────────


def sample(size: int) -> Path:
    """The regressed sample in the cache, read once so that it is in the page cache."""
    data = CACHE / "data" / f"regressed-{size}"
    if not data.exists():
        part = data.with_name(f"{data.name}.part")
        options = ["--scenario", "regressed", "--seed", "1", "--format", "parquet", "--quiet"]
        made = ["--interactions", str(size), "--out", str(part)]
        subprocess.run(
            [sys.executable, "-m", "analysis", "sample", *options, *made], cwd=PROJECT, check=True
        )
        part.rename(data)
    for path in data.iterdir():
        path.read_bytes()
    return data


@dataclass(frozen=True)
class Spent:
    """A process, and the seconds of drift alone."""

    cost: Cost
    alone: float


def cost(names: Sequence[str], size: int, repeat: int, limits: Limits) -> dict[str, Spent | str]:
    """Contender → the median of its runs, or why it was stopped."""
    data = sample(size)
    runs: dict[str, list[tuple[Cost, float]]] = {n: [] for n in names}
    stopped: dict[str, str] = {}
    for _ in range(repeat):
        for name in names:
            if name in stopped:
                continue
            say(f"{name} on {size:,}")
            try:
                (said,), spent = judged(name, [data], limits)
            except Stopped as reason:
                stopped[name] = str(reason)
                continue
            runs[name].append((spent, said.seconds))
    return {
        name: stopped.get(name)
        or Spent(
            median([c for c, _ in done]), sorted(alone for _, alone in done)[(len(done) - 1) // 2]
        )
        for name, done in runs.items()
    }


def costs(spent: Mapping[str, Spent | str], size: int) -> list[str]:
    """The table of what it costs."""
    lines = [
        "| contender | interactions | wall s | CPU s | peak MiB | drift alone s | wall / floor | CPU / floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    floor = spent.get(FLOOR)
    for name, found in spent.items():
        if isinstance(found, str):
            lines.append(f"| {name} | {size:,} | stopped: {found} | – | – | – | – | – |")
            continue
        ratios = "– | –"
        if isinstance(floor, Spent):
            ratios = (
                f"{found.cost.wall / floor.cost.wall:.1f} | {found.cost.cpu / floor.cost.cpu:.1f}"
            )
        lines.append(
            f"| {name} | {size:,} | {found.cost.wall:.1f} | {found.cost.cpu:.1f} "
            f"| {found.cost.peak:,.0f} | {found.alone:.1f} | {ratios} |"
        )
    return lines


# ── running ──────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--large", type=int, default=50)
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--size", type=int, default=10**6, help="0: without the table of costs")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--max-seconds", type=float, default=600, help="of a process")
    parser.add_argument("--max-gib", type=float, default=0.75 * machine_mib() / 1024)
    a = parser.parse_args()
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    for name in a.only:
        if name not in OWN:
            environment(name)
    print(where(limits, VERSIONS), flush=True)
    # What it costs first: later this process is as large as the worlds that it made.
    if a.size:
        print("\n" + "\n".join(costs(cost(a.only, a.size, a.repeat, limits), a.size)), flush=True)
    worlds = {NOTHING: a.worlds, LARGE: a.large, PLANTED: a.planted}
    if any(worlds.values()):
        judges = [n for n in a.only if n != FLOOR]
        print("\n" + "\n".join(flags(quality(judges, worlds, limits), worlds)), flush=True)


if __name__ == "__main__":
    main()
