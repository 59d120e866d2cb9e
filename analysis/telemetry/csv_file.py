"""Reads one CSV (RFC 4180, UTF-8, commas) as text: record by record, bounded in memory.

Line ends may be LF, CRLF or CR, also mixed, and may stand in quoted cells. What is no such file is
refused with the place at which it fails; no row is dropped on the way.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from analysis.telemetry.violations import clean

MAX_RECORD_BYTES = 16 * 2**20
ROW = "source_row"
_HEAD_BYTES = 2**20


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


def records(path: Path, names: tuple[str, ...], *, gzipped: bool) -> pa.RecordBatchReader:
    """Every record as text: columns c0, c1, …, null where empty, and `source_row` from 1.

    Raises NoCsv, or an Arrow error while it is read (see `reason`).
    """
    options = {
        "read_options": pa_csv.ReadOptions(use_threads=True, block_size=MAX_RECORD_BYTES),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    }
    stream = _Tail(pa.input_stream(str(path), compression="gzip" if gzipped else None))
    reader = pa_csv.open_csv(stream, **options)
    columns = [f"c{i}" for i in range(len(names))]
    schema = pa.schema([*((c, pa.string()) for c in columns), (ROW, pa.int64())])

    def numbered() -> Iterator[pa.RecordBatch]:
        first, last = 1, None
        for batch in reader:
            if batch.num_rows:
                rows = pa.array(np.arange(first, first + batch.num_rows))
                yield pa.RecordBatch.from_arrays([*batch.columns, rows], schema=schema)
                first, last = first + batch.num_rows, batch.column(len(names) - 1)[-1].as_py()
        if last is not None and stream.ends_in_quotes(last):
            raise pa.ArrowInvalid("unterminated quote in the last row")

    return pa.RecordBatchReader.from_batches(schema, numbered())


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
    row = re.search(r"Row #(\d+)", text)
    where = f"data row {int(row.group(1)) - 1}: " if row else ""
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
