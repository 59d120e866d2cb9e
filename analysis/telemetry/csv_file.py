"""Reads one CSV (RFC 4180, UTF-8, commas) as text: record by record, bounded in memory.

Line ends may be LF, CRLF or CR, also mixed, and may stand in quoted cells. What is no such file is
refused with the place at which it fails; no row is dropped on the way.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from analysis.telemetry.violations import clean, one_line

MAX_RECORD_BYTES = 16 * 2**20
MAX_CELL_BYTES = 8 * 2**20
ROW = "source_row"
_HEAD_BYTES = 2**20

# Arrow would take Ctrl-C for itself, and a file that was not read to its end for a broken one.
pa.enable_signal_handlers(False)


class NoCsv(Exception):
    """The file is not what it claims to be; the text says why."""


def header(path: Path, *, gzipped: bool) -> tuple[str, ...]:
    """The column names as they stand in the file. Raises NoCsv."""
    try:
        with gzip.open(path, "rb") if gzipped else path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise NoCsv(f"no complete gzip file ({clean(str(error), 80)})") from None
    whole = len(head) < _HEAD_BYTES
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 4:
            raise NoCsv(
                f"byte {error.start + 1} is not UTF-8; save the file as UTF-8{_which(head)}"
            ) from None
        text = head[: error.start].decode("utf-8-sig")
    lines = io.StringIO(text.lstrip("\r\n"), newline="")
    try:
        names = next(csv.reader(lines, strict=True), [])
    except csv.Error as error:
        raise NoCsv(f"the header cannot be read ({error})") from None
    if not any(n.strip() for n in names):
        raise NoCsv("the file holds no header")
    if len(names) == 1:
        other = next((d for d in ("\t", ";", "|") if d in names[0]), None)
        if other is not None:
            raise NoCsv(f"the header has one column; expected commas, found {other!r}")
    return tuple(names)


def _which(head: bytes) -> str:
    """What a file that is not UTF-8 seems to be."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " (it seems to be UTF-16)"
    if head.startswith(b"\x1f\x8b"):
        return " (it seems to be gzip; name it .csv.gz)"
    return ""


def readable(
    path: Path, names: tuple[str, ...], wanted: Mapping[str, pa.DataType], *, gzipped: bool
) -> dict[str, pa.DataType]:
    """Those of the wanted types that the first records can be read as; all else stays text.

    The last column stays text: its end tells whether the last cell's quotes are closed.
    """
    types = {name: kind for name, kind in wanted.items() if name != names[-1]}
    for _ in range(len(types)):
        try:
            next(_opened(path, names, gzipped, types, threads=False, block=_HEAD_BYTES)[1], None)
            return types
        except (pa.ArrowException, OSError) as error:
            column = _misread(error)
            if column is None or names[column] not in types:
                break
            del types[names[column]]
    return {}


def is_misread(error: Exception) -> bool:
    """Whether a cell was not of the type that its column was to be read as."""
    return _misread(error) is not None


def _misread(error: Exception) -> int | None:
    found = re.search(
        r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to (?!string)", str(error)
    )
    return int(found.group(1)) if found else None


def records(
    path: Path,
    names: tuple[str, ...],
    types: Mapping[str, pa.DataType] | None = None,
    *,
    gzipped: bool,
) -> pa.RecordBatchReader:
    """Every record: columns c0, c1, …, null where empty, and `source_row` from 1.

    types: columns to be read as something else than text. Raises NoCsv, or an Arrow error while it
    is read (see `reason`, and `is_misread`).
    """
    types = types or {}
    stream, batches = _opened(path, names, gzipped, types, threads=True)
    columns = [(f"c{i}", types.get(name, pa.string())) for i, name in enumerate(names)]
    schema = pa.schema([*columns, (ROW, pa.int64())])

    def numbered() -> Iterator[pa.RecordBatch]:
        first, last = 1, None
        for batch in batches:
            _refuse_large(batch, first, names)
            if batch.num_rows:
                rows = pa.array(np.arange(first, first + batch.num_rows))
                yield pa.RecordBatch.from_arrays([*batch.columns, rows], schema=schema)
                first, last = first + batch.num_rows, batch.column(len(names) - 1)[-1].as_py()
        if last is not None and stream.ends_in_quotes(last):
            raise pa.ArrowInvalid(f"Row #{first}: unterminated quote")

    return pa.RecordBatchReader.from_batches(schema, numbered())


def _opened(
    path: Path,
    names: tuple[str, ...],
    gzipped: bool,
    types: Mapping[str, pa.DataType],
    *,
    threads: bool,
    block: int | None = None,
) -> tuple[_Tail, Iterator[pa.RecordBatch]]:
    """The file as a stream, and the batches that are read from it."""
    stream = _Tail(pa.input_stream(str(path), compression="gzip" if gzipped else None))

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(
                    use_threads=threads, block_size=block or MAX_RECORD_BYTES
                ),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types={**dict.fromkeys(names, pa.string()), **types},
                    null_values=[""],
                    strings_can_be_null=True,
                    true_values=["true", "True", "TRUE", "1"],
                    false_values=["false", "False", "FALSE", "0"],
                ),
            )
        except pa.ArrowInvalid as error:
            if threads:
                _find_place(error, path, names, gzipped)
            raise

    return stream, batches()


def _find_place(error: Exception, path: Path, names: tuple[str, ...], gzipped: bool) -> None:
    """Raises the same error with its place, where Arrow does not tell it: the file is read again."""
    if "Expected" in str(error) and "Row #" not in str(error):
        for _ in _opened(path, names, gzipped, {}, threads=False)[1]:
            pass
    if "invalid UTF8" in str(error):
        decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
        with gzip.open(path, "rb") if gzipped else path.open("rb") as file:
            while block := file.read(_HEAD_BYTES):
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as broken:
                    byte = place - pending + broken.start + 1
                    raise pa.ArrowInvalid(f"byte {byte} is invalid UTF8") from None
                place += len(block)


def _refuse_large(batch: pa.RecordBatch, first: int, names: tuple[str, ...]) -> None:
    """Raises ArrowInvalid for a cell above `MAX_CELL_BYTES`; columns that are small in all cannot hold one."""
    for name, column in zip(names, batch.columns, strict=True):
        if column.nbytes > MAX_CELL_BYTES and pa.types.is_string(column.type):
            sizes = pc.binary_length(column)
            largest = pc.max(sizes).as_py()
            if largest is not None and largest > MAX_CELL_BYTES:
                row = first + pc.index(sizes, largest).as_py()
                raise pa.ArrowInvalid(
                    f"data row {row}: the cell of column {one_line(name, 60)!r} is longer than "
                    f"{MAX_CELL_BYTES} bytes; is a quote left open?"
                )


class _Tail:
    """A stream that remembers its end: the reader takes a quote that is still open for closed."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._tail = b""

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def close(self) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._stream.read(size)
        self._tail = (self._tail + block)[-_HEAD_BYTES:]
        return block

    def ends_in_quotes(self, last: str) -> bool:
        """Whether the quotes of the last cell, which was read as `last`, are still open."""
        tail, value = self._tail.rstrip(b"\r\n"), last.encode().rstrip(b"\r\n")
        return not tail.endswith(b'"') and tail.removesuffix(value).endswith(b'"')


def reason(error: Exception) -> str:
    """Why a file could not be read, in one line: which row, and what is wrong with it."""
    text = str(error)
    own = re.search(r"data row \d+: the cell .*? bytes; is a quote left open\?", text)
    if own:
        return clean(own.group(), 200)
    row, byte = re.search(r"Row #(\d+)", text), re.search(r"byte (\d+) is invalid", text)
    where = f"data row {int(row.group(1)) - 1}: " if row else ""
    where = f"byte {byte.group(1)}: " if byte else where
    known = (
        (
            "Expected",
            "the row has another number of columns than the header, or a quoted cell does not end",
        ),
        ("invalid UTF8", "not UTF-8; save the file as UTF-8"),
        ("unterminated quote", "a quoted cell does not end"),
        ("straddles", f"a row is longer than {MAX_RECORD_BYTES} bytes; is a quote left open?"),
        ("zlib", "no complete gzip file"),
        ("compressed stream", "no complete gzip file"),
        ("Empty CSV", "a header and no rows"),
    )
    for mark, why in known:
        if mark in text:
            return where + why
    return where + clean(text.splitlines()[0] if text else type(error).__name__, 160)
