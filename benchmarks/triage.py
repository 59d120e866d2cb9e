"""Triage beside the common way in scikit-learn: what the threshold costs and asks for, and what it takes.

    .venv/bin/python benchmarks/triage.py [--worlds 10] [--size 1000000] [--only project sklearn]

Prints two Markdown tables. How to read them:

- What it costs to review by it: worlds of 40,000 interactions before the window and 13,000 in it, whose true
  risks are known (`tests/views/triage_worlds.py`): additive ones, with steps, with pairs of columns that act
  together; 60 reviews a day fit, 90 on one day in ten. *cost / best*: the expected cost of what was
  reviewed, over that of the best threshold on the true risks under the same capacity. *asked, p90*: reviews a day
  that the threshold asks for, against the guard of 90; what exceeds the capacity is not reviewed.
  *AUC short*: of the area that the true risks have. In *nothing* no column tells anything: a contender that
  reviews by its model there is wrong.
- What it takes: one process on one million interactions of the regressed sample; `alone` is without start and
  reading. The project's view also forecasts, tests, tells slices and reasons, and scores by a past as of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from sklearn.metrics import roc_auc_score

from analysis.views.triage_policy import Costs
from benchmarks.measuring import PROJECT, Limits, Run, Stopped, machine_mib, run, say, where
from tests.views.triage_worlds import best_cost, expected_cost, world
from tests.views.world import DAY, START, at, written

NAMES = ("project", "sklearn")
KINDS = ("additive", "steps", "pairs", "nothing")
HISTORY, WINDOW, ROWS = 42, 14, 40_000
COSTS = Costs(2.0, 40.0, 60.0, 90.0)


def command(name: str, folder: Path, policy: Path) -> list[str]:
    """How a contender is run."""
    return [sys.executable, "-m", f"benchmarks.triage_peers.with_{name}", str(folder), str(policy)]


def told(done: Run, name: str) -> dict[str, object]:
    """What a contender printed."""
    if done.status:
        raise SystemExit(f"{name} failed: {done.errors[-800:]}")
    found: dict[str, object] = json.loads(done.output.strip().splitlines()[-1])
    return found


def rules(folder: Path, start: str, end: str, first: str) -> Path:
    """The policy of both, as a file."""
    path = folder / "policy.yml"
    path.write_text(
        json.dumps(
            {
                "dimensions": ["use_case", "account_tier", "channel", "model_name"],
                "windows": {
                    "candidate": {"start": start, "end": end},
                    "baseline": {"start": first, "end": start},
                },
                "triage": {
                    "review_cost_usd": COSTS.review_usd,
                    "missed_cost_usd": COSTS.missed_usd,
                    "capacity_per_day": COSTS.capacity_per_day,
                    "queue_p90_guard": COSTS.guard_p90,
                },
            }
        )
    )
    return path


def quality(names: Sequence[str], worlds: int, limits: Limits) -> list[str]:
    """The table of what reviewing by it costs."""
    seen: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(worlds):
        for kind in KINDS:
            drawn = world(
                500 + seed,
                kind,  # type: ignore[arg-type]
                n_sessions=round(ROWS / HISTORY * (HISTORY + WINDOW) / 2.5),
                days=HISTORY + WINDOW,
            )
            inside = drawn.window(HISTORY)
            risk, rows = drawn.risk[inside], drawn.rows[inside]
            day = ((rows["timestamp_utc"] - START) // DAY).to_numpy()
            with tempfile.TemporaryDirectory() as folder:
                data = written(drawn.rows, Path(folder) / "data")
                policy = rules(Path(folder), at(HISTORY), at(HISTORY + WINDOW), at(0))
                for name in names:
                    found = told(run(command(name, data, policy), limits), name)
                    reviewed = rows["interaction_id"].isin(found["reviewed"]).to_numpy(dtype=float)  # type: ignore[arg-type]
                    cost = expected_cost(risk, reviewed, COSTS) / best_cost(risk, day, COSTS)
                    area = roc_auc_score(rows["is_failure"].astype(bool), risk)
                    asked = float(np.quantile(found["asked"] or [0.0], 0.9))  # type: ignore[arg-type]
                    seen[name, kind].append(
                        (
                            cost,
                            asked,
                            float(asked > COSTS.guard_p90),
                            float(found["mode"] == "selective"),
                            float(found["calibration_error"]),  # type: ignore[arg-type]
                            area - float(found["roc_auc"]),  # type: ignore[arg-type]
                        )
                    )
        say(f"world {seed + 1} of {worlds}")
    lines = [
        "| contender | worlds | cost / best | asked, p90 | above the guard | selective | calibration error "
        "| AUC short |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        for name in names:
            cost, asked, above, selective, error, short = np.mean(seen[name, kind], axis=0)
            lines.append(
                f"| {name} | {worlds} {kind} | {cost:.3f} | {asked:.0f} | {above:.0%} | {selective:.0%} "
                f"| {error:.4f} | {short:.3f} |"
            )
    return lines


def cost(names: Sequence[str], size: int, limits: Limits) -> list[str]:
    """The table of what it takes."""
    lines = [
        "| contender | interactions | wall s | CPU s | peak MiB | alone, wall s | alone, CPU s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        sample = [
            sys.executable,
            "-m",
            "analysis",
            "sample",
            "--scenario",
            "regressed",
            "--interactions",
        ]
        subprocess.run(
            [
                *sample,
                str(size),
                "--seed",
                "1",
                "--format",
                "parquet",
                "--out",
                str(data),
                "--quiet",
            ],
            check=True,
            cwd=PROJECT,
        )
        policy = rules(
            Path(folder), "2026-11-02T00:00:00Z", "2026-11-16T00:00:00Z", "2026-09-21T00:00:00Z"
        )
        for name in names:
            say(f"{name} on {size:,}")
            try:
                done = run(command(name, data, policy), limits)
            except Stopped as reason:
                lines.append(f"| {name} | {size:,} | stopped: {reason} | – | – | – | – |")
                continue
            wall, cpu = told(done, name)["seconds"]  # type: ignore[misc]
            lines.append(
                f"| {name} | {size:,} | {done.cost.wall:.1f} | {done.cost.cpu:.1f} | {done.cost.peak:,.0f} "
                f"| {wall:.1f} | {cpu:.1f} |"
            )
    return lines


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--size", type=int, default=10**6)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--max-seconds", type=float, default=900)
    parser.add_argument("--max-gib", type=float, default=0.75 * machine_mib() / 1024)
    a = parser.parse_args()
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    print(where(limits, "scikit-learn 1.9.1"), flush=True)
    if a.size:
        print("\n" + "\n".join(cost(a.only, a.size, limits)), flush=True)
    if a.worlds:
        print("\n" + "\n".join(quality(a.only, a.worlds, limits)), flush=True)


if __name__ == "__main__":
    main()
