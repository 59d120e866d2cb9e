"""Keeps encoded telemetry in a file, so that the next review of the same input skips the scan.

A file holds the tables of `telemetry.encode`; beside it stands what validation said, and the file's
digest, as JSON. All of it depends on the bytes of the input, the contract, what the policy needs of
validation, and this code. What broke the contract is never kept, and neither is a file that cannot be
written. A file that is not the one that was kept is as good as none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import leftovers
from analysis.telemetry.files import InputFile, sha256
from analysis.telemetry.violations import ContractSection, Violation

KEPT = 3
"""How many encoded inputs are kept; those not used for longest go first."""
MAX_BYTES = 5 * 10**9
"""What they may take together."""
_DATA, _TOLD, _BUILDING = "encoded.duckdb", "told.json", ".building-"


@dataclass(frozen=True)
class Told:
    """What is known of an input without reading it again.

    columns: of the interactions table, in its order. encoded: those of them that were encoded, but for
    ids: the declared ones, and what else a policy named.
    """

    inputs: tuple[InputFile, ...]
    columns: tuple[str, ...]
    encoded: tuple[str, ...]
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
        told = self._told()
        try:
            if told is None or told["sha256"] != sha256(self.data):
                return None
            found = _known(told)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        with suppress(OSError):
            os.utime(self.root / self.key)
        return found

    def with_known(self, usable: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
        """These columns, and those that were encoded here before: policies that take turns share them."""
        told = self._told() or {}
        before = told.get("encoded")
        known = set(before if isinstance(before, list) else [])
        return tuple(c for c in columns if c in usable or c in known)

    def forget(self) -> None:
        """Removes what is kept here: the engine cannot read it."""
        leftovers.remove(self.root / self.key)

    def _told(self) -> dict[str, Any] | None:
        try:
            told = json.loads((self.root / self.key / _TOLD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return told if isinstance(told, dict) else None

    def is_of(self, inputs: Sequence[InputFile]) -> bool:
        """Whether these are the files that this place is for: they may have changed since."""
        return {(one.file, one.sha256) for one in inputs} <= self.inputs

    def building(self) -> Path | None:
        """A directory to write into, next to its place; None where the cache cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            leftovers.clean(self.root, _BUILDING)
            return leftovers.new_directory(self.root, _BUILDING)
        except OSError:
            return None

    def keep(self, building: Path, told: Told) -> Path:
        """Puts what was built in its place; returns where the data are now.

        Where another process was first with as much, nothing can be moved, or they are larger than all
        that may be kept, they stay in `building`.
        """
        place = self.root / self.key
        try:
            if (building / _DATA).stat().st_size > MAX_BYTES:
                return building / _DATA
            body = {**dataclasses.asdict(told), "sha256": sha256(building / _DATA)}
            (building / _TOLD).write_text(json.dumps(body, sort_keys=True), encoding="utf-8")
            os.chmod(building, 0o755)
            first = self.read() if place.exists() else None
            if first is not None and set(told.encoded) <= set(first.encoded):
                return self.data
            if place.exists():
                # Out of the way in one step: who reads it holds the file open.
                aside = leftovers.named(self.root, _BUILDING)
                os.rename(place, aside)
                leftovers.remove(aside)
            os.rename(building, place)
        except OSError:
            return building / _DATA
        self._tidy()
        return self.data

    def _tidy(self) -> None:
        """Removes what was not used for longest, beyond what may be kept."""
        found: list[tuple[float, int, Path]] = []
        for place in self.root.iterdir():
            if place.is_dir() and not place.name.startswith("."):
                with suppress(OSError):
                    size = (place / _DATA).stat().st_size
                    found.append((place.stat().st_mtime, size, place))
        total = 0
        for n, (_, size, place) in enumerate(sorted(found, reverse=True)):
            total += size
            if n and (n >= KEPT or total > MAX_BYTES):
                shutil.rmtree(place, ignore_errors=True)


def data_file(directory: Path) -> Path:
    """Where the tables stand in a directory that is being built."""
    return directory / _DATA


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of a place: a digest of all that its content depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _known(told: Mapping[str, Any]) -> Told:
    return Told(
        tuple(InputFile(**one) for one in told["inputs"]),
        tuple(told["columns"]),
        tuple(told["encoded"]),
        _section(told["validation"]),
    )


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
