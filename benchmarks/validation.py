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
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CACHE = PROJECT / ".cache" / "benchmarks"
LARGE = 5_000_000  # from here on, at most two runs
FORMATS = ("parquet", "csv")
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


@dataclass(frozen=True)
class Cost:
    """Of one process tree: seconds, and the peak memory of its largest process in MiB."""

    wall: float
    cpu: float
    peak: float


class Stopped(Exception):
    """A contender that was above a limit."""


@dataclass(frozen=True)
class Limits:
    """Seconds and MiB at which a run is stopped."""

    seconds: float
    mib: float


# ── contenders ───────────────────────────────────────────────────────────────────────────


def command(contender: Contender, data: Path) -> list[str]:
    """How it is run on the tables in `data`."""
    python = str(_environment(contender) if contender.peer else sys.executable)
    if contender.module is None:
        return [python, "-m", "analysis", "validate", "--data", str(data), "--format", "json"]
    return [python, "-m", f"benchmarks.validation_peers.{contender.module}", str(data)]


def _environment(contender: Contender) -> Path:
    """The peer's own Python, with what its requirements pin."""
    folder = CACHE / contender.name / "venv"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = (PROJECT / "benchmarks" / f"requirements-{contender.name}.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        _say(f"making the environment of {contender.name}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        requirements = PROJECT / "benchmarks" / f"requirements-{contender.name}.txt"
        subprocess.run([*install, "-r", str(requirements)], check=True)
        stamp.write_text(wanted)
    return python


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
        _make("broken", end, data, contender.covers)
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
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        argv = command(contender, data)
        start = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=PROJECT, stdout=out, stderr=err, start_new_session=True
        )
        try:
            status, usage = _wait(process, start, limits)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        wall = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        output, errors = out.read().decode(), err.read().decode()
    if status:
        raise SystemExit(f"{contender.name} failed on {data.name}: {(errors or output)[-800:]}")
    if broken_rules(contender, output):
        raise SystemExit(f"{contender.name} finds violations in {data.name}: {output[:800]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _wait(
    process: subprocess.Popen[bytes], start: float, limits: Limits
) -> tuple[int, resource.struct_rusage]:
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, usage
        if time.perf_counter() - start > limits.seconds:
            raise Stopped(f"above {limits.seconds:.0f} s")
        if _resident_mib(process.pid) > limits.mib:
            raise Stopped(f"above {limits.mib / 1024:.0f} GiB")
        time.sleep(0.01)


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**20


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(*(statistics.median(getattr(c, f) for c in costs) for f in ("wall", "cpu", "peak")))


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
    """Where and with what it was measured."""
    versions = "; ".join(f"{c.name}: {_versions(c)}" for c in contenders)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {_machine_mib() / 1024:.0f} GiB, load "
        f"{os.getloadavg()[0]:.1f} at the start, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}. {versions}. Limits: {limits.seconds:.0f} s, "
        f"{limits.mib / 1024:.0f} GiB.\n\n"
        "| interactions | format | contender | wall s | CPU s | peak MiB | wall / floor | CPU / floor | rules |\n"
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    )


def _versions(contender: Contender) -> str:
    if not contender.peer:
        return ", ".join(f"{p} {metadata.version(p)}" for p in contender.packages)
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    python = str(_environment(contender))
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


def _machine_mib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


# ── running ──────────────────────────────────────────────────────────────────────────────


def _make(what: str, end: str, out: Path, rules: Sequence[str] = ()) -> Path:
    """Telemetry, made by a process of its own: this one must stay small.

    A child's peak memory is never below that of the process that starts it.
    """
    module = "benchmarks.validation_peers.data"
    subprocess.run(
        [sys.executable, "-m", module, what, end, str(out), *rules], cwd=PROJECT, check=True
    )
    return out


def _warm(data: Path) -> None:
    """Reads the files once, into the page cache."""
    for path in data.iterdir():
        with path.open("rb") as file:
            while file.read(2**20):
                pass


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    parser.add_argument("--max-gib", type=float, default=0.75 * _machine_mib() / 1024)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Prints the table line by line, as the results come."""
    a = _arguments()
    contenders = [c for c in CONTENDERS if c.name in a.only]
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    for contender in contenders:
        _say(f"checking {contender.name}")
        check(contender)
    lines = [heading(contenders, limits)]
    print(lines[0], flush=True)
    for size in a.sizes:
        for end in a.formats:
            _say(f"{size:,} interactions as {end}")
            data = _make(str(size), end, CACHE / "data" / f"{size}-{end}")
            _warm(data)
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
