"""Routing backtests beside skdr-eval and beside a table of group means, on logs with a known truth.

    .venv/bin/python benchmarks/routing.py [--logs 800] [--max-seconds 36000] [--only project skdr-eval ...]

Prints a Markdown table. The worlds are those of `tests/views/test_routing_planted.py`, a quarter of the logs
each: `anything` draws world and candidate at random; `flattering` has a candidate that does harm though its
group means look like a gain; `better` has one that is good and was tried everywhere; `partly` has one whose
model some uses never got. A log has 6,000 requests (`better`: 8,000) in 1,500 users. How to read it:

- *logged*, *estimated*: whether the log has the router's probabilities, for all contenders alike.
- Coverage of the 95 % interval of the saving, and its root mean squared error in USD a request: over the logs
  of `anything` of which the project, with these propensities, gives a figure. There all contenders give one.
- The share of logs whose candidate was adopted: of `flattering`, `better` and `partly`.
- CPU seconds a log, one thread, from a table of requests to a verdict.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measuring import Limits, machine_mib, say, where
from benchmarks.routing_peers import with_group_means, with_project, with_skdr_eval
from benchmarks.routing_peers.case import Case, Word
from tests.views import test_routing_planted as planted
from tests.views.routing_worlds import MODELS, USES

KINDS: dict[str, Callable[..., planted.Run]] = {
    "anything": planted.anything,
    "flattering": planted.flattering,
    "better": planted.better,
    "partly": planted.partly,
}
MORE = {"better": {"n": 8_000}}
CONTENDERS: dict[str, Callable[[Case], dict[str, Word]]] = {
    "project": with_project.judge,
    "skdr-eval": with_skdr_eval.judge,
    "group means": with_group_means.judge,
}


@dataclass
class Tally:
    """What a contender said. figures: (saving, low, high, truth) of `anything`, by seed."""

    figures: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    adopted: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)


def case_of(seen: planted.Run) -> Case:
    """What the contenders get of a planted log."""
    log = seen.log
    target = np.full(len(log.frame), "", dtype=object)
    for layer in seen.result.plan.layers:
        for code in np.unique(layer.target[layer.share > 0]).tolist():
            target[(layer.target == code) & (layer.share > 0)] = log.actions[code][0]
    use = log.frame["use_case"].to_numpy(dtype=str)
    moves = {
        k: MODELS.index(str(target[use == name][0]))
        for k, name in enumerate(USES)
        if (use == name).any() and target[use == name][0]
    }
    return Case(log.frame, log.outcomes[:, 0], moves, target.astype(str))


def measured(names: Sequence[str], logs: int, seconds: float) -> tuple[dict[str, Tally], int]:
    """By contender and kind of propensities, and how many logs of each kind of world."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    start, done = time.monotonic(), 0
    for seed in range(logs // len(KINDS)):
        for known in (True, False):
            for kind, draw in KINDS.items():
                seen = draw(seed, known=known, **MORE.get(kind, {}))
                for name in names:
                    if name == "group means" and not known:
                        continue  # it reads no propensities: the same again
                    suffix = (
                        "" if name == "group means" else f" ({'logged' if known else 'estimated'})"
                    )
                    began = time.process_time()
                    words = CONTENDERS[name](case_of(seen))
                    spent = time.process_time() - began
                    for said, word in words.items():
                        tally = tallies[said + suffix]
                        tally.seconds.append(spent)
                        tally.adopted[kind].append(word.adopted)
                        if kind == "anything" and word.saving is not None:
                            assert word.low is not None
                            assert word.high is not None
                            tally.figures[seed] = (word.saving, word.low, word.high, seen.saving)
        done += 1
        say(f"{done * len(KINDS)} of {logs} logs, {time.monotonic() - start:.0f} s")
        if time.monotonic() - start > seconds:
            break
    return tallies, done


def table(tallies: dict[str, Tally], each: int) -> list[str]:
    """One row a contender."""
    lines = [
        "| contender | 95 % interval covers | RMSE, USD | harm that looks good adopted | good adopted "
        "| without overlap adopted | s a log |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, tally in tallies.items():
        judge = "project (estimated)" if "(estimated)" in name else "project (logged)"
        shown = tallies[judge].figures if judge in tallies else tally.figures
        figures = np.array([f for seed, f in tally.figures.items() if seed in shown]).reshape(-1, 4)
        covers = (figures[:, 1] <= figures[:, 3]) & (figures[:, 3] <= figures[:, 2])
        error = math.sqrt(float(np.mean((figures[:, 0] - figures[:, 3]) ** 2)))
        shares = [
            f"{sum(tally.adopted[kind])} of {len(tally.adopted[kind])}"
            for kind in ("flattering", "better", "partly")
        ]
        lines.append(
            f"| {name} | {int(covers.sum())} of {len(covers)} | {error:.3f} | {' | '.join(shares)} "
            f"| {np.mean(tally.seconds):.2f} |"
        )
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=int, default=800)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--max-seconds", type=float, default=36_000)
    a = parser.parse_args()
    print(where(Limits(a.max_seconds, machine_mib()), "skdr-eval 0.12.0"), flush=True)
    with threadpool_limits(limits=1):
        tallies, each = measured(a.only, a.logs, a.max_seconds)
    print(f"\n{each * len(KINDS)} logs, {each} a kind of world.\n")
    print("\n".join(table(tallies, each)), flush=True)


if __name__ == "__main__":
    main()
