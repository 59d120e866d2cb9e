"""A CSV is read record by record, exactly, or refused with the place at which it fails."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.telemetry import csv_file
from analysis.telemetry.csv_file import NoCsv

PLAIN = b"a,b,c\n1,x,y\n2,x,y\n3,x,y\n"
ROWS = [["1", "x", "y"], ["2", "x", "y"], ["3", "x", "y"]]


def rows_of(data: bytes, gzipped: bool = False) -> list[list[str | None]]:
    """Every record of a CSV, without its number."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(data)
        names = csv_file.header(path, gzipped=gzipped)
        table = csv_file.records(path, names, gzipped=gzipped).read_all()
    found = [list(r.values()) for r in table.to_pylist()]
    assert [r[-1] for r in found] == list(range(1, len(found) + 1))
    return [r[:-1] for r in found]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("line feeds", PLAIN),
        ("CRLF", PLAIN.replace(b"\n", b"\r\n")),
        ("CR", PLAIN.replace(b"\n", b"\r")),
        ("mixed, first CRLF", PLAIN.replace(b"\n", b"\r\n", 2)),
        ("mixed, first LF", PLAIN[:6] + PLAIN[6:].replace(b"\n", b"\r\n")),
        ("a byte order mark", b"\xef\xbb\xbf" + PLAIN),
        ("a byte order mark and CRLF", b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n")),
        ("no final line end", PLAIN.rstrip(b"\n")),
        ("blank lines at the end", PLAIN + b"\n\n"),
        ("a blank line in the middle", PLAIN.replace(b"2,", b"\n2,")),
        ("blank lines at the start", b"\n\n" + PLAIN),
        ("everything quoted", PLAIN.replace(b"x", b'"x"').replace(b"a", b'"a"')),
        ("a quoted last cell", PLAIN.replace(b"y", b'"y"')),
    ],
)
def test_line_ends_marks_and_quotes_do_not_change_what_is_read(name: str, data: bytes) -> None:
    assert rows_of(data) == ROWS
    assert rows_of(gzip.compress(data, mtime=0), gzipped=True) == ROWS


@pytest.mark.parametrize(
    "cell",
    ["a\nb", "a\r\nb", "a\rb", "a,b", 'a"b', '"', "\\", '\\"', " padded ", "\t", "\u2028", "\x00"]
    + ["'); DROP TABLE fact;--", "\x1b[31m", "\u202e", "=1+1", "🎉", "z" * 3_000_000],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_cell_comes_back_as_it_is(cell: str, end: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b", "c"], ["1", cell, "y"], ["2", "x", cell]])
    assert rows_of(file.getvalue().encode()) == [["1", cell, "y"], ["2", "x", cell]]


def test_a_quote_within_an_unquoted_cell_is_text() -> None:
    assert rows_of(PLAIN.replace(b"x", b'5" screen'))[0] == ["1", '5" screen', "y"]


def test_empty_cells_are_null_quoted_or_not() -> None:
    assert rows_of(b'a,b\n,""\n1,\n') == [[None, None], ["1", None]]


def test_a_file_of_one_column_is_a_table() -> None:
    assert rows_of(b"user_id\nu1\nu2\n") == [["u1"], ["u2"]]


def test_a_header_may_hold_a_line_feed() -> None:
    assert rows_of(b'"a\nz",b\n1,2\n') == [["1", "2"]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.text(max_size=8), min_size=2, max_size=2),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_text_survives_being_written_and_read(cells: list[list[str]], end: str) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *cells])
    expected = [[c or None for c in row] for row in cells]
    assert rows_of(file.getvalue().encode()) == expected


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("tabs", PLAIN.replace(b",", b"\t"), "expected commas, found '\\t'"),
        ("semicolons", PLAIN.replace(b",", b";"), "expected commas, found ';'"),
        ("pipes", PLAIN.replace(b",", b"|"), "expected commas, found '|'"),
        ("latin-1", PLAIN.replace(b"x", b"\xf6", 1), "byte 9 is not UTF-8"),
        ("latin-1 in the header", PLAIN.replace(b"b", b"\xf6", 1), "byte 3 is not UTF-8"),
        ("UTF-16", PLAIN.decode().encode("utf-16"), "seems to be UTF-16"),
        ("gzip under another name", gzip.compress(PLAIN, mtime=0), "name it .csv.gz"),
        ("nothing but a mark", b"\xef\xbb\xbf", "no header"),
        ("nothing but line feeds", b"\n\n", "no header"),
        ("an open quote in the header", b'"a,b\n1,2\n', "the header cannot be read"),
    ],
)
def test_what_is_no_csv_is_refused_at_its_head(name: str, data: bytes, words: str) -> None:
    with pytest.raises(NoCsv) as refused:
        rows_of(data)
    assert words in str(refused.value)


OTHER = "another number of columns than the header"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a short row", PLAIN.replace(b"2,x,y", b"2,x"), f"data row 2: the row has {OTHER}"),
        ("a long row", PLAIN.replace(b"2,x,y", b"2,x,y,z"), f"data row 2: the row has {OTHER}"),
        ("a short last row", PLAIN + b"4", f"data row 4: the row has {OTHER}"),
        ("an open quote", PLAIN.replace(b"2,x", b'2,"x'), f"data row 2: the row has {OTHER}"),
        (
            "an open quote in the last cell",
            PLAIN[:-2] + b'"y\n',
            "data row 3: a quoted cell does not end",
        ),
        ("a file cut within a cell", PLAIN[:-2] + b'"some te', "row 3: a quoted cell does not end"),
        (
            "latin-1 after the first MB",
            b"a,b\n" + b"1,x\n" * 300_000 + b"2,\xf6\n",
            "byte 1200007: not UTF-8",
        ),
        (
            "latin-1 behind a letter that lies across two MB",
            b"a,b\n" + b"x" * (2**20 - 5) + "ü".encode() + b",\xf6\n",
            f"byte {2**20 + 3}: not UTF-8",
        ),
    ],
)
def test_a_broken_row_is_never_dropped(name: str, data: bytes, words: str) -> None:
    with pytest.raises((pa.ArrowException, OSError)) as broken:
        rows_of(data)
    assert words in csv_file.reason(broken.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut", gzip.compress(PLAIN, mtime=0)[:-12]),
        ("cut in its last byte", gzip.compress(PLAIN, mtime=0)[:-1]),
        ("not gzip", PLAIN),
        ("followed by something else", gzip.compress(PLAIN, mtime=0) + b"junk"),
        ("with a wrong checksum", gzip.compress(PLAIN, mtime=0)[:-8] + b"\0" * 8),
    ],
)
def test_a_broken_gzip_file_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(NoCsv, match="no complete gzip file"):
        rows_of(data, gzipped=True)


def test_a_gzip_file_that_breaks_late_is_refused() -> None:
    import random

    random.seed(1)
    rows = b"".join(b"%d,%d\n" % (i, random.getrandbits(60)) for i in range(120_000))
    with pytest.raises((pa.ArrowException, OSError)) as broken:
        rows_of(gzip.compress(b"a,b\n" + rows, 1, mtime=0)[:-100], gzipped=True)
    assert csv_file.reason(broken.value) == "no complete gzip file"


def test_gzip_files_may_be_joined() -> None:
    assert (
        rows_of(gzip.compress(PLAIN[:9], mtime=0) + gzip.compress(PLAIN[9:], mtime=0), gzipped=True)
        == ROWS
    )


def test_a_row_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(pa.ArrowException) as broken:
        rows_of(b"a,b\n" + b"1,x\n" * 500 + b"2," + b"z" * 5000 + b"\n")
    assert "a row is longer than 1000 bytes" in csv_file.reason(broken.value)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_cell_that_is_too_long_is_refused_with_its_place(
    gzipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "MAX_CELL_BYTES", 1000)
    data = b"a,b\n" + b"1,x\n" * 500 + b"2," + b"z" * 1000 + b"\n3," + b"z" * 1001 + b"\n"
    with pytest.raises(pa.ArrowException) as broken:
        rows_of(gzip.compress(data) if gzipped else data, gzipped=gzipped)
    told = csv_file.reason(broken.value)
    assert told.startswith("data row 502: the cell of column 'b' is longer than 1000 bytes")
