"""What the benchmarks share: telemetry to measure on, and what one process costs.

Nothing large is imported: a child's peak memory is never below that of the process that starts it.
"""

from __future__ import annotations

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
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CACHE = PROJECT / ".cache" / "benchmarks"
FORMATS = ("parquet", "csv")
LARGE = 5_000_000  # from here on, at most two runs


@dataclass(frozen=True)
class Cost:
    """Of one process tree: seconds, and peak memory in MiB.

    peak: of its largest process, or of all that were alive at one time as far as that was seen.
    """

    wall: float
    cpu: float
    peak: float


class Stopped(Exception):
    """A process that was above a limit."""


@dataclass(frozen=True)
class Limits:
    """Seconds and MiB at which a run is stopped."""

    seconds: float
    mib: float


@dataclass(frozen=True)
class Run:
    """A finished process."""

    cost: Cost
    status: int
    output: str
    errors: str


def run(argv: Sequence[str], limits: Limits, cwd: Path = PROJECT) -> Run:
    """Runs a command to its end. Raises Stopped above a limit, and ends what it started."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(argv, cwd=cwd, stdout=out, stderr=err, start_new_session=True)
        try:
            usage, largest = _wait(process, start, limits)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        wall = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        cost = Cost(wall, usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss / 1024, largest))
        return Run(cost, process.returncode, out.read().decode(), err.read().decode())


def _wait(
    process: subprocess.Popen[bytes], start: float, limits: Limits
) -> tuple[resource.struct_rusage, float]:
    """What the kernel counted, and the most memory of all processes together that was seen."""
    largest = 0.0
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, largest
        if time.perf_counter() - start > limits.seconds:
            raise Stopped(f"above {limits.seconds:.0f} s")
        largest = max(largest, _resident_mib(process.pid))
        if largest > limits.mib:
            raise Stopped(f"above {limits.mib / 1024:.0f} GiB")
        time.sleep(0.01)


def _resident_mib(pid: int) -> float:
    """Of a process and those below it; pages that they share count in each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**20 + sum(_resident_mib(int(p)) for p in below)


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(*(statistics.median(getattr(c, f) for c in costs) for f in ("wall", "cpu", "peak")))


def where(limits: Limits, versions: str) -> str:
    """When, where and with what it was measured."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {machine_mib() / 1024:.0f} GiB, load "
        f"{os.getloadavg()[0]:.1f} at the start, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}. {versions}. Limits: {limits.seconds:.0f} s, "
        f"{limits.mib / 1024:.0f} GiB."
    )


def machine_mib() -> float:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def telemetry(size: int, end: str) -> Path:
    """Telemetry of so many interactions in the cache, read once so that it is in the page cache."""
    data = make(str(size), end, CACHE / "data" / f"{size}-{end}")
    for path in data.iterdir():
        with path.open("rb") as file:
            while file.read(2**20):
                pass
    return data


def make(what: str, end: str, out: Path, rules: Sequence[str] = ()) -> Path:
    """Telemetry (`validation_peers/data.py`), made by a process of its own: this one stays small."""
    module = "benchmarks.validation_peers.data"
    subprocess.run(
        [sys.executable, "-m", module, what, end, str(out), *rules], cwd=PROJECT, check=True
    )
    return out


def environment(name: str) -> Path:
    """A peer's own Python, with what `requirements-<name>.txt` pins; made on first use."""
    folder = CACHE / name / "venv"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    requirements = PROJECT / "benchmarks" / f"requirements-{name}.txt"
    wanted = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"making the environment of {name}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(requirements)], check=True)
        stamp.write_text(wanted)
    return python


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
