"""Takes rows out of files of telemetry: all else stays as it stands, byte for byte in a CSV.

Every new file is finished beside its original before the first takes its place. Interactions are the last:
whoever starts again after a kill still finds in them what else has to go.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from analysis import leftovers, stopping
from analysis.contract import INTERACTIONS, SESSIONS, USERS, Contract
from analysis.telemetry.csv_file import MAX_CELL_BYTES
from analysis.telemetry.files import Found
from analysis.telemetry.forgetting import Gone, column_names

ORDER = (SESSIONS, USERS, INTERACTIONS)


@dataclass(frozen=True)
class Taken:
    """What was done to one table: rows removed, and rows whose totals were emptied."""

    table: str
    n_removed: int
    n_emptied: int


@dataclass(frozen=True)
class _Plan:
    """How rows of one table are judged. drop, empty: column → ids. totals: the columns that are emptied."""

    drop: dict[str, frozenset[str]]
    empty: dict[str, frozenset[str]]
    totals: frozenset[str]


def take_out(found: Sequence[Found], gone: Gone, contract: Contract) -> list[Taken]:
    """Rewrites the tables without the rows that go. Raises OSError; nothing is replaced then.

    found: the files of each table that is there. Returns one entry a table, in their order.
    """
    by_table = {f.table: f for f in found}
    out: dict[str, Taken] = {}
    with ExitStack() as stack:
        finished: list[tuple[Path, Path]] = []
        for table in ORDER:
            if table not in by_table:
                continue
            n_removed = n_emptied = 0
            for path in by_table[table].paths:
                # A link stays a link: what it leads to is rewritten.
                path = path.resolve()
                prefix = f".{path.name}.building-"
                leftovers.clean(path.parent, prefix)
                new = stack.enter_context(leftovers.later(path.parent, prefix))
                write = _parquet if by_table[table].format == "parquet" else _csv
                removed, emptied = write(path, new, _plan(table, gone, contract))
                if removed or emptied:
                    shutil.copymode(path, new)
                    finished.append((new, path))
                n_removed, n_emptied = n_removed + removed, n_emptied + emptied
            out[table] = Taken(table, n_removed, n_emptied)
        with stopping.deferred():
            for new, path in finished:
                os.replace(new, path)
    return [out[f.table] for f in found]


def _plan(table: str, gone: Gone, contract: Contract) -> _Plan:
    names = column_names(contract, table, ("user_id", "session_id"))
    drop = {names["user_id"]: gone.users, names["session_id"]: gone.sessions}
    empty = {
        SESSIONS: {names["session_id"]: gone.sessions_in_part},
        USERS: {names["user_id"]: gone.users_in_part},
    }.get(table, {})
    totals = column_names(contract, table, contract.tables[table].rollups)
    return _Plan(drop, empty, frozenset(totals.values()))


# ── CSV ──────────────────────────────────────────────────────────────────────────────────


def _csv(path: Path, new: Path, plan: _Plan) -> tuple[int, int]:
    gzipped = path.name.endswith(".gz")
    with _reading(path, gzipped) as source, _writing(new, gzipped) as target:
        records = _records(source)
        head, raw = next(records, ([], ""))
        target.write(raw)
        names = [name.removeprefix("\ufeff") for name in head]
        at = {name: place for place, name in enumerate(names)}
        drop = [(at[c], ids) for c, ids in plan.drop.items() if c in at and ids]
        empty = [(at[c], ids) for c, ids in plan.empty.items() if c in at and ids]
        totals = [at[c] for c in plan.totals if c in at]
        n_removed = n_emptied = 0
        for cells, raw in records:
            if _any(cells, drop):
                n_removed += 1
            elif totals and _any(cells, empty):
                n_emptied += 1
                target.write(_without(cells, totals, raw))
            else:
                target.write(raw)
    return n_removed, n_emptied


def _any(cells: Sequence[str], wanted: Sequence[tuple[int, frozenset[str]]]) -> bool:
    return any(place < len(cells) and cells[place] in ids for place, ids in wanted)


def _without(cells: list[str], places: Sequence[int], raw: str) -> str:
    """The record with these cells empty, and its own line end."""
    kept = ["" if i in places else cell for i, cell in enumerate(cells)]
    end = raw[len(raw.rstrip("\r\n")) :]
    line = io.StringIO()
    csv.writer(line, lineterminator=end).writerow(kept)
    return line.getvalue()


def _records(source: IO[str]) -> Iterator[tuple[list[str], str]]:
    """Each record as its cells and as it stands in the file."""
    read: list[str] = []

    def lines() -> Iterator[str]:
        for line in source:
            read.append(line)
            yield line

    # Cells may be as long as the reader of telemetry allows.
    csv.field_size_limit(MAX_CELL_BYTES)
    for cells in csv.reader(lines()):
        yield cells, "".join(read)
        read.clear()


def _reading(path: Path, gzipped: bool) -> IO[str]:
    # What is no UTF-8 passes through as it is: a file with a fault can be forgotten from too.
    kind: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    return gzip.open(path, "rt", **kind) if gzipped else path.open("r", **kind)


def _writing(path: Path, gzipped: bool) -> IO[str]:
    kind: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    if not gzipped:
        return path.open("w", **kind)
    # Without a time: the same rows give the same bytes.
    packed = gzip.GzipFile(path, "wb", mtime=0)
    return io.TextIOWrapper(packed, **kind)


# ── Parquet ──────────────────────────────────────────────────────────────────────────────


def _parquet(path: Path, new: Path, plan: _Plan) -> tuple[int, int]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def member(batch: Any, wanted: dict[str, frozenset[str]]) -> Any:
        mask = pa.array([False] * batch.num_rows)
        for name, ids in wanted.items():
            if ids and name in batch.schema.names:
                held = pc.cast(batch.column(name), pa.string())
                found = pc.is_in(held, value_set=pa.array(sorted(ids), pa.string()))
                mask = pc.or_(mask, pc.fill_null(found, False))
        return mask

    n_removed = n_emptied = 0
    with pq.ParquetFile(path) as file:
        packed = _compression(file)
        with pq.ParquetWriter(new, file.schema_arrow, compression=packed) as target:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                gone = member(rows, plan.drop)
                n_removed += pc.sum(gone).as_py() or 0
                rows = rows.filter(pc.invert(gone))
                partly = member(rows, plan.empty)
                n_emptied += pc.sum(partly).as_py() or 0
                for name in sorted(plan.totals & set(rows.schema.names)):
                    place = rows.schema.get_field_index(name)
                    kind = rows.schema.field(place)
                    held = pc.if_else(partly, pa.scalar(None, kind.type), rows.column(place))
                    rows = rows.set_column(place, kind, held)
                target.write_table(rows)
    return n_removed, n_emptied


def _compression(file: Any) -> str:
    meta = file.metadata
    if meta.num_row_groups == 0 or meta.num_columns == 0:
        return "snappy"
    return str(meta.row_group(0).column(0).compression)
