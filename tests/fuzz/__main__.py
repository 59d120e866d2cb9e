"""`python -m tests.fuzz --seconds 600 --seed N`: broken triples through the command line.

Goes on after a failure, keeps the inputs of each kind once, and ends with 1 and a list of them.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.rounds import MAX_SECONDS, Outcome, play

logging.disable(logging.CRITICAL)


def main() -> int:
    """0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="plays this round alone, and shows what it does")
    parser.add_argument("--keep", type=Path, help="where the inputs of failed rounds are kept")
    parser.add_argument("--only-validate", action="store_true")
    a = parser.parse_args()
    keep = a.keep or Path(tempfile.gettempdir()) / "fuzz-failures"
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    play(0, 0, work / "round")  # loads what is loaded once
    found: dict[str, list[Outcome]] = {}
    codes: Counter[str] = Counter()
    begin, number = time.monotonic(), a.round if a.round is not None else 0
    slowest = (0.0, 0)
    try:
        while a.round is not None or time.monotonic() - begin < a.seconds:
            faulthandler.dump_traceback_later(3 * MAX_SECONDS, exit=True)
            start = time.monotonic()
            outcome = play(a.seed, number, work / "round", only_validate=a.only_validate)
            slowest = max(slowest, (time.monotonic() - start, number))
            codes.update(outcome.codes)
            for failure in outcome.failures:
                if failure not in found:
                    place = keep / f"seed-{a.seed}-round-{number}"
                    _keep(work / "round", place, outcome)
                    print(f"round {number}: {failure}\n  {', '.join(outcome.done)}")
                    again = f"python -m tests.fuzz --seed {a.seed} --round {number}"
                    print(f"  kept in {place}; again: {again}", flush=True)
                found.setdefault(failure, []).append(outcome)
            number += 1
            if a.round is not None:
                print(f"{', '.join(outcome.done)}\n{', '.join(outcome.codes)}\n{outcome.details}")
                break
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(work, ignore_errors=True)
    took = time.monotonic() - begin
    print(f"{number} rounds of seed {a.seed} in {took:.0f} s", end=", ")
    print(f"the slowest {slowest[0]:.1f} s (round {slowest[1]})")
    print(", ".join(f"{code}: {n}" for code, n in sorted(codes.items())))
    for failure, outcomes in found.items():
        rounds = ", ".join(str(o.number) for o in outcomes[:8])
        print(f"{len(outcomes)} × {failure} (rounds {rounds})")
    return 1 if found else 0


def _keep(folder: Path, place: Path, outcome: Outcome) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("data", "policy.yml", "contract.yml"):
        path = folder / name
        if path.is_dir():
            # Neither links nor pipes are followed or read.
            (place / name).mkdir()
            for file in path.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    target = place / file.relative_to(folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        elif path.is_file():
            shutil.copyfile(path, place / name)
    (place / "round.txt").write_text(
        "\n".join([*outcome.done, *outcome.codes, *outcome.failures, outcome.details])
    )


if __name__ == "__main__":
    sys.exit(main())
