"""`--quarantine`: the rows that break the contract, in a directory."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import contract as contracts
from analysis import disk
from analysis.errors import DiskError, UsageError
from analysis.progress import Progress

if TYPE_CHECKING:
    from analysis.telemetry.address import Address


def set_aside(a: Namespace, wanted: Any, out: Path | None, told: Progress) -> None:
    """Writes the rows that a review sets aside, or would, before it is known whether it may."""
    if a.quarantine is None:
        return
    from analysis.telemetry.opening import validated
    from analysis.telemetry.source import reading
    from analysis.telemetry.warehouse import open_data

    check_place(a.quarantine, wanted.data, out)
    contract = contracts.load(wanted.contract_path)
    told.expect(1)
    told.step("setting rows aside")
    with reading():
        source = open_data(
            wanted.data, contract, threads=wanted.threads, memory_limit=wanted.memory_limit
        )
        try:
            write(a, source, validated(source, contract, wanted.loaded.policy), told)
        finally:
            source.close()


def check_place(directory: Path, data: Path | Address, out: Path | None) -> None:
    """Refuses a place that holds something else: what lies there would be replaced."""
    if not isinstance(data, Path):
        if data.is_warehouse:
            raise UsageError(
                f"--quarantine {directory}: takes rows apart in files alone; in {data} mend the "
                "tables, or a view of them"
            )
        data = Path(data.target)
    place = directory.resolve()
    if place == data.resolve() or data.resolve() in place.parents:
        raise UsageError(f"--quarantine {directory}: lies in --data; give a directory of its own")
    if out is not None and (
        place == out.resolve() or {place, out.resolve()} & {*place.parents, *out.resolve().parents}
    ):
        raise UsageError(
            f"--quarantine {directory}: meets the result in {out}; give a directory of its own"
        )
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"--quarantine {directory}: is a file; expected a directory, or none yet")
    other = sorted(p.name for p in directory.iterdir() if not _is_quarantined(p))
    if other:
        raise UsageError(
            f"--quarantine {directory}: holds {other[0]!r}; give a new or an empty directory"
        )


def _is_quarantined(path: Path) -> bool:
    """Whether an earlier run wrote this file: telemetry itself goes by the same names."""
    from analysis.contract import TABLES
    from analysis.telemetry.quarantine import OWN

    if path.is_symlink() or not path.is_file():
        return False
    if path.name == "violations.json":
        return True
    begin = ",".join(OWN).encode()
    with path.open("rb") as file:
        return path.name in {f"{table}.csv" for table in TABLES} and file.read(len(begin)) == begin


def write(a: Namespace, source: Any, section: Any, told: Progress) -> None:
    """Puts the rows that are set aside, and the violations, at `--quarantine`, whole or not at all."""
    from analysis.in_place import put_in_place, staging
    from analysis.telemetry import quarantine, violations

    place = a.quarantine.resolve()
    try:
        with staging(place) as building, disk.writing(building, "free some, or name another"):
            held = quarantine.find_broken(source, section)
            quarantine.write(source, building)
            (building / "violations.json").write_text(
                violations.as_json(section) + "\n", encoding="utf-8"
            )
            put_in_place(building, place)
    except DiskError as error:
        raise DiskError(f"--quarantine {a.quarantine}: {error}") from None
    except OSError as error:
        raise UsageError(f"--quarantine {a.quarantine}: {error.strerror or error}") from None
    rows = ", ".join(f"{n:,} of {table}" for table, n in held.items() if n) or "none"
    told.note(f"rows set aside in {a.quarantine}: {rows}")
