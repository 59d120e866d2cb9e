"""Finds the files of the three tables, and digests them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from analysis import leftovers
from analysis.contract import TABLES, RuleId
from analysis.errors import UsageError
from analysis.telemetry.address import Address
from analysis.telemetry.violations import clean


@dataclass(frozen=True)
class InputFile:
    """One file that was read, relative to the data directory, or one table of an engine.

    Of a table, bytes are not known, and sha256 covers its rows whatever their order, as that engine
    writes them.
    """

    table: str
    file: str
    format: str
    bytes: int | None
    rows: int
    sha256: str


@dataclass(frozen=True)
class Found:
    """The files of one table."""

    table: str
    format: str
    paths: tuple[Path, ...]


class Unreadable(Exception):
    """A table that cannot be read: the rule that it breaks, and why."""

    def __init__(self, rule: RuleId, hint: str, column: str | None = None) -> None:
        self.rule, self.hint, self.column = rule, hint, column
        super().__init__(hint)


def listing(data: Path) -> frozenset[str]:
    """The names in the data directory. Raises UsageError where it cannot be read."""
    try:
        return frozenset(os.listdir(data))
    except NotADirectoryError:
        raise UsageError(
            f"--data {data}: is a file; expected a directory with the tables"
        ) from None
    except OSError as error:
        raise UsageError(f"--data {data}: {error.strerror or 'cannot be read'}") from None


def find(data: Path, names: frozenset[str], table: str) -> Found:
    """The files of one table. Raises Unreadable."""
    present = [e for e in ("csv", "csv.gz", "parquet") if f"{table}.{e}" in names]
    if table in names:
        present.append("")
    if not present:
        close = sorted(n for n in names if n.lower().startswith(table))
        seen = f"; found {', '.join(clean(n, 80) for n in close[:3])}" if close else ""
        raise Unreadable(
            "files",
            f"no file {table}.csv, .csv.gz or .parquet, and no folder of Parquet parts{seen}",
        )
    if len(present) > 1:
        files = ", ".join(f"{table}.{e}" if e else f"{table}/" for e in present)
        raise Unreadable("files", f"the table is there more than once ({files}); keep one")
    extension = present[0]
    path = data / (f"{table}.{extension}" if extension else table)
    try:
        if path.is_dir():
            parts = _parts(path)
            if extension in ("csv", "csv.gz"):
                raise Unreadable("files", f"{path.name} is a directory; expected a file")
            if not parts:
                raise Unreadable("files", f"the folder {path.name} holds no .parquet file")
            return Found(table, "parquet", parts)
        size = path.stat().st_size
    except OSError as error:
        raise Unreadable("files", f"{path.name}: {error.strerror or 'cannot be read'}") from None
    if not path.is_file():
        raise Unreadable("files", f"{path.name} is not a regular file")
    if size == 0:
        raise Unreadable("files", f"{path.name} is empty (0 bytes)")
    if not extension:
        raise Unreadable("files", f"{path.name} is a file; expected a folder of Parquet parts")
    return Found(table, extension, (path,))


def _parts(folder: Path) -> tuple[Path, ...]:
    """The Parquet parts; what begins with a dot or an underscore is a writer's own, not data."""
    return tuple(
        sorted(
            path
            for path in folder.rglob("*.parquet")
            if path.is_file()
            and not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts)
        )
    )


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_inputs(data: Path | Address) -> list[tuple[str, str]]:
    """(file, sha256) of every input in `data`, sorted: what a cached review depends on."""
    if isinstance(data, Address):
        path = Path(data.target)
        try:
            return [(path.name, sha256(path))]
        except OSError as error:
            return [(path.name, f"unreadable: {error.strerror}")]
    out = []
    for table in TABLES:
        for path in sorted(data.glob(f"{table}*")):
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for file in files:
                if file.exists() and not file.is_file():
                    # Reading a pipe waits for a writer, and a device has no end.
                    out.append((file.name, "not a regular file"))
                    continue
                try:
                    out.append((file.relative_to(data).as_posix(), sha256(file)))
                except OSError as error:
                    out.append((file.name, f"unreadable: {error.strerror}"))
    return out


@dataclass(frozen=True)
class Stamp:
    """What tells whether a file is still the one that was opened."""

    path: Path
    size: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        now = path.stat()
        return cls(path, now.st_size, now.st_mtime_ns, now.st_ino)

    @property
    def holds(self) -> bool:
        """Whether the file is still the same."""
        try:
            return Stamp.of(self.path) == self
        except OSError:
            return False


def staging_directory(temp_dir: Path | None) -> Path:
    """A private directory for what the engine spills and for typed CSVs.

    What killed runs left is removed; a run that is alive keeps its own.
    """
    root = temp_dir or Path(tempfile.gettempdir())
    leftovers.clean(root, "release-review-")
    return leftovers.new_directory(root, "release-review-")
