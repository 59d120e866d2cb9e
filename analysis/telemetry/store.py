"""Keeps encoded telemetry in a file, so that the next review of the same input skips the scan.

A file holds the tables of `telemetry.encode`; beside it stands what validation said, as JSON. Both
depend on the bytes of the input, the contract, what the policy needs of validation, and this code.
What broke the contract is never kept, and neither is a file that cannot be written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.running import is_running
from analysis.telemetry.files import InputFile
from analysis.telemetry.violations import ContractSection, Violation

KEPT = 3
"""How many encoded inputs are kept; those not used for longest go first."""
_DATA, _TOLD = "encoded.duckdb", "told.json"


@dataclass(frozen=True)
class Told:
    """What is known of an input without reading it again.

    columns: of the interactions table, in its order.
    """

    inputs: tuple[InputFile, ...]
    columns: tuple[str, ...]
    validation: ContractSection


@dataclass(frozen=True)
class Store:
    """One place in the cache, for an input of these (file, sha256). `root` holds all places."""

    root: Path
    key: str
    inputs: frozenset[tuple[str, str]]

    @property
    def data(self) -> Path:
        """The file with the tables."""
        return self.root / self.key / _DATA

    def read(self) -> Told | None:
        """What is kept here; None where nothing whole is."""
        try:
            if not self.data.is_file():
                return None
            told = json.loads((self.root / self.key / _TOLD).read_text(encoding="utf-8"))
            os.utime(self.root / self.key)
            return Told(
                tuple(InputFile(**one) for one in told["inputs"]),
                tuple(told["columns"]),
                _section(told["validation"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_of(self, inputs: Sequence[InputFile]) -> bool:
        """Whether these are the files that this place is for: they may have changed since."""
        return {(one.file, one.sha256) for one in inputs} <= self.inputs

    def building(self) -> Path | None:
        """A directory to write into, next to its place; None where the cache cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for path in self.root.glob(".building-*"):
                number = path.name.split("-")[1]
                if not (number.isdigit() and is_running(int(number))):
                    shutil.rmtree(path, ignore_errors=True)
            return Path(tempfile.mkdtemp(dir=self.root, prefix=f".building-{os.getpid()}-"))
        except OSError:
            return None

    def keep(self, building: Path, told: Told) -> Path:
        """Puts what was built in its place; returns where the data are now.

        Where another process was first, or nothing can be moved, they stay in `building`.
        """
        place = self.root / self.key
        try:
            text = json.dumps(dataclasses.asdict(told), sort_keys=True)
            (building / _TOLD).write_text(text, encoding="utf-8")
            os.chmod(building, 0o755)
            if place.exists() and self.read() is None:
                shutil.rmtree(place, ignore_errors=True)
            os.rename(building, place)
        except OSError:
            return building / _DATA
        self._forget()
        return self.data

    def _forget(self) -> None:
        places = [p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")]
        with suppress(OSError):
            places.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        for old in places[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


def data_file(directory: Path) -> Path:
    """Where the tables stand in a directory that is being built."""
    return directory / _DATA


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of a place: a digest of all that its content depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _section(told: Mapping[str, Any]) -> ContractSection:
    def violation(one: Mapping[str, Any]) -> Violation:
        return Violation(
            **{
                **one,
                "first_rows": tuple(one["first_rows"]),
                "examples": tuple(one["examples"]),
            }
        )

    return ContractSection(
        told["n_rules"],
        told["n_errors"],
        told["n_warnings"],
        tuple(map(violation, told["violations"])),
        tuple(map(violation, told["below"])),
    )
