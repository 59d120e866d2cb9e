"""Time and memory of validation: this project, hand-written SQL for the same rules, and its peers.

    .venv/bin/python benchmarks/validation.py [--sizes 100000 1000000 10000000] [--formats csv parquet]
        [--only floor project pandera pointblank great_expectations] [--repeat 3] [--out FILE]

Prints a Markdown table. How to read it:

- Each row is one process from start to end, imports included, on telemetry without a violation: the
  median of the runs, which go round the contenders so that all meet the machine's moods alike. Files
  are in the page cache. Ten million interactions run at most twice.
- `floor` is DuckDB SQL by hand for the same rules over the same files (`validation_peers/floor.py`):
  it knows its columns, and says only that nothing is wrong. `wall / floor` is how many times longer a
  contender takes; it carries over between machines where seconds do not. Where others use the
  machine, `CPU / floor` says more.
- `rules` says what a contender checks. `all`: every rule of the contract. The peers check one table
  at a time: neither joins nor rollups, so their rows are the cost of less.
- `stopped` instead of numbers: above the limit of time or memory, which are the same for all.

Before it is timed, a contender must find every rule that it claims broken in a small sample, in both
formats. Environments of peers are made on first use in `.cache/benchmarks/` from
`requirements-<peer>.txt`; the telemetry is kept there too (`data/`, some 4 GB with ten million).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import (
    CACHE,
    FORMATS,
    LARGE,
    PROJECT,
    Cost,
    Limits,
    Stopped,
    environment,
    machine_mib,
    make,
    median,
    run,
    say,
    telemetry,
    where,
)

ONE_TABLE = (
    "types", "ranges", "key_null", "key_unique", "token_sum", "session_order", "duplicate_rows",
    "missing_rate",
)  # fmt: skip
ALL = (
    *ONE_TABLE, "foreign_key", "user_matches_session", "rollup", "timestamp_in_session",
)  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """One way to validate.

    module: in validation_peers, None for the project's own command. packages: whose versions are
    told. covers: rules that it must find broken. rules: the same in words.
    """

    name: str
    module: str | None
    packages: tuple[str, ...]
    covers: tuple[str, ...]
    rules: str

    @property
    def peer(self) -> bool:
        """Whether it has an environment of its own."""
        return self.module is not None and self.module.startswith("with_")


CONTENDERS = (
    Contender("floor", "floor", ("duckdb",), ALL, "all; says only whether"),
    Contender("project", None, ("duckdb", "pyarrow", "pandas"), ALL, "all; says which rows, and what to do"),
    Contender(
        "pandera", "with_pandera", ("pandera", "polars"), ONE_TABLE, "one table; no joins, no rollups"
    ),
    Contender(
        "pointblank", "with_pointblank", ("pointblank", "polars"), ONE_TABLE,
        "one table; no joins, no rollups",
    ),
    Contender(
        "great_expectations", "with_great_expectations", ("great-expectations", "pandas"),
        tuple(r for r in ONE_TABLE if r != "types"),
        "one table, types as read, no sum of tokens; no joins, no rollups",
    ),
)  # fmt: skip


# ── contenders ───────────────────────────────────────────────────────────────────────────


def command(contender: Contender, data: Path) -> list[str]:
    """How it is run on the tables in `data`."""
    python = str(environment(contender.name) if contender.peer else sys.executable)
    if contender.module is None:
        return [python, "-m", "analysis", "validate", "--data", str(data), "--format", "json"]
    return [python, "-m", f"benchmarks.validation_peers.{contender.module}", str(data)]


def broken_rules(contender: Contender, output: str) -> set[str]:
    """The rules that it reports as broken."""
    report = json.loads(output)
    if contender.module is None:
        return {violation["rule"] for violation in report["violations"]}
    return {rule for rule, n in report.items() if n}


def check(contender: Contender) -> None:
    """Ends the benchmark where a contender does not find what it claims to look for."""
    for end in FORMATS:
        data = CACHE / "data" / f"broken-{contender.name}-{end}"
        make("broken", end, data, contender.covers)
        done = subprocess.run(
            command(contender, data), cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if not done.stdout.strip():
            raise SystemExit(f"{contender.name} failed: {done.stderr[-800:]}")
        missed = set(contender.covers) - broken_rules(contender, done.stdout)
        if missed:
            raise SystemExit(f"{contender.name} misses in {end}: {', '.join(sorted(missed))}")


# ── measuring ────────────────────────────────────────────────────────────────────────────


def measure(contender: Contender, data: Path, limits: Limits) -> Cost:
    """One run. Raises Stopped above a limit; ends the benchmark where it finds anything wrong."""
    done = run(command(contender, data), limits)
    if done.status:
        raise SystemExit(
            f"{contender.name} failed on {data.name}: {(done.errors or done.output)[-800:]}"
        )
    if broken_rules(contender, done.output):
        raise SystemExit(f"{contender.name} finds violations in {data.name}: {done.output[:800]}")
    return done.cost


def measured(
    contenders: Sequence[Contender], data: Path, repeat: int, limits: Limits
) -> dict[str, Cost | str]:
    """Contender → its median, or why it was stopped."""
    costs: dict[str, list[Cost]] = {c.name: [] for c in contenders}
    stopped: dict[str, str] = {}
    for _ in range(repeat):
        for contender in contenders:
            if contender.name in stopped:
                continue
            try:
                costs[contender.name].append(measure(contender, data, limits))
            except Stopped as reason:
                stopped[contender.name] = str(reason)
    return {n: stopped.get(n) or median(runs) for n, runs in costs.items()}


# ── the table ────────────────────────────────────────────────────────────────────────────


def heading(contenders: Sequence[Contender], limits: Limits) -> str:
    """Where and with what it was measured, and the head of the table."""
    versions = "; ".join(f"{c.name}: {_versions(c)}" for c in contenders)
    return (
        f"{where(limits, versions)}\n\n"
        "| interactions | format | contender | wall s | CPU s | peak MiB | wall / floor | CPU / floor | rules |\n"
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    )


def _versions(contender: Contender) -> str:
    if not contender.peer:
        return ", ".join(f"{p} {metadata.version(p)}" for p in contender.packages)
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    python = str(environment(contender.name))
    found = subprocess.run(
        [python, "-c", ask, *contender.packages], capture_output=True, text=True, check=True
    ).stdout.split()
    return ", ".join(f"{p} {v}" for p, v in zip(contender.packages, found, strict=True))


def row(
    size: int, end: str, contender: Contender, cost: Cost | str, floor: Cost | str | None
) -> str:
    """One line of the table."""
    start = f"| {size:,} | {end} | {contender.name} |"
    if isinstance(cost, str):
        return f"{start} stopped: {cost} | – | – | – | – | {contender.rules} |"
    wall, cpu = (
        (f"{cost.wall / floor.wall:.1f}", f"{cost.cpu / floor.cpu:.1f}")
        if isinstance(floor, Cost)
        else ("–", "–")
    )
    return (
        f"{start} {cost.wall:.2f} | {cost.cpu:.2f} | {cost.peak:,.0f} | {wall} | {cpu} "
        f"| {contender.rules} |"
    )


# ── running ──────────────────────────────────────────────────────────────────────────────


def _arguments() -> argparse.Namespace:
    names = [c.name for c in CONTENDERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--max-gib", type=float, default=0.75 * machine_mib() / 1024)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Prints the table line by line, as the results come."""
    a = _arguments()
    contenders = [c for c in CONTENDERS if c.name in a.only]
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    for contender in contenders:
        say(f"checking {contender.name}")
        check(contender)
    lines = [heading(contenders, limits)]
    print(lines[0], flush=True)
    for size in a.sizes:
        for end in a.formats:
            say(f"{size:,} interactions as {end}")
            data = telemetry(size, end)
            repeat = min(a.repeat, 2) if size >= LARGE else a.repeat
            results = measured(contenders, data, repeat, limits)
            for contender in contenders:
                cost = results[contender.name]
                lines.append(row(size, end, contender, cost, results.get("floor")))
                print(lines[-1], flush=True)
    if a.out is not None:
        a.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
