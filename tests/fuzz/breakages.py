"""What breaks a triple: cells, rows, columns and files. Each breakage changes its argument in place.

What is in `ODD` keeps the contract, if it comes before the summaries are made.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from tests.fuzz.triples import Cell, Column, Grid, Triple

Change = Callable[[Triple, Random], None]
FileChange = Callable[[Path, Random], None]

NUMBERS = (
    *("-1", "-0.0", "1e308", "-1e308", "1e-320", "1e400", "9223372036854775807", "1e13"),
    *("9223372036854775808", "18446744073709551615", "123456789012345678901234567890", "1.5"),
    *("9007199254740993", "0.1e-7", "nan", "NaN", "inf", "-Infinity", "1_000", "1,000", "0x10"),
    *("١٢٣", "½", "1e", ".", "+", "٫5", "--1", "1 000", "$5", "5%", "0", "1"),
)
TIMES = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"),
    *("1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "2262-04-12T00:00:00Z"),
    *("1677-09-21T00:00:00Z", "2016-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "0000-01-01"),
    *("2026-09-07T24:00:00Z", "2026-09-07T12:00:00+02:00", "2026-09-07T12:00:00-23:59"),
    *("2026-09-07 12:00", "2026-09-07", "2026-W37-1", "1757246400", "20260907T120000Z"),
    *("10000-01-01T00:00:00Z", "-0044-03-15T00:00:00Z", "2026-09-07T12:00:00 CET", "soon"),
    *("2026-09-07T12:00:00.1234567891Z", "infinity", "epoch", "07/09/2026"),
)
TEXTS = (
    *("", " ", "\t", "\x00", "a\x00b", "\x1b[31mred\x1b[0m", "\x07\x08", "\u202eabc", "\u200b"),
    *("😀👩‍👩‍👧", "e\u0301", "\ufeff", "\ufffe", "\ud800", "\U000e0001", "\x85", "\u2028"),
    *("a\nb", "a\r\nb", "a\rb", '"', '""', '"x', 'a"b', "a,b", "a;b", "'", "\\", "\\N", "%s%n"),
    *("=cmd|'/c calc'!A1", "+1", "-1", "@x", "<script>alert(1)</script>", "{{< env HOME >}}"),
    *("]]>", "::error::x", "\n::error::y", "'); DROP TABLE fact;--", "$1", "${HOME}", "None"),
    *("null", "NULL", "NA", "nan", "true", "TRUE", "t", "yes", "0", "1", "-", "?", "🙂" * 300),
    *("x" * 5_000, "ñ" * 100_000, "../../etc/passwd", "|a|b|", "`x`", "![x](y)", "<!--", "ﷺ"),
)
NAMES = (
    *("source_row", "Source_Row", "source_hash", "misfit", "misfit0", "misfit3", "misfit0_zoned"),
    *("day", "win", "cluster", "session", "usr", "weight", "fact", "failure", "breach", "ts"),
    *("latency_us", "latency_bin", "cost_nano", "first_attempt", "use_case", "domain", "violation"),
    *("select", "from", "order", "null", "true", "table", "rowid", "file_row_number", "filename"),
    *("records", "files", "file", "t", "s", "f", "o", "k", "c0", "c1", "n", "made", "key", "unit"),
    *("h", "repeated", "started", "draw", "chosen", "reach", "edge", "bin", "rows", "y", "x"),
    *('a"b', "a'b", "", " ", "a b", "a,b", "a\nb", "\x1b[31m", "\u202e", "*", "1", "$limit", "?"),
    *("x" * 300, "😀", "SESSION_ID", "Is_Failure", "TIMESTAMP_UTC", "x_flag", "_flag", "Ünï"),
    *("split", "segment", "channel", "total_cost_usd", "value", "low", "high", "support", "%(x)s"),
)
KINDS = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint64(), pa.float32(), pa.float16()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()),
    *(pa.binary(4), pa.bool_(), pa.decimal128(18, 6), pa.decimal256(60, 9), pa.date32()),
    *(pa.date64(), pa.time32("s"), pa.time64("us"), pa.duration("us"), pa.timestamp("s")),
    *(pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.null()),
    *(pa.timestamp("ns", "UTC"), pa.timestamp("us", "America/New_York"), pa.list_(pa.string())),
    *(pa.struct([("a", pa.string())]), pa.map_(pa.string(), pa.string())),
    pa.dictionary(pa.int32(), pa.string()),
)
_KEYS = ("interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure")


def _grid(made: Triple, rng: Random) -> Grid:
    return made[rng.choice([INTERACTIONS, INTERACTIONS, SESSIONS, USERS])]


def _column(grid: Grid, rng: Random) -> Column | None:
    return rng.choice(grid.columns) if grid.columns else None


def _rows(grid: Grid, rng: Random) -> list[int]:
    """A few rows, or many, or all."""
    n = grid.n
    k = rng.choice([1, 1, 2, 5, n // 3, n])
    return sorted(rng.sample(range(n), min(n, max(1, k)))) if n else []


# ── cells ────────────────────────────────────────────────────────────────────────────────


def _cells(values: tuple[Cell, ...]) -> Change:
    def change(made: Triple, rng: Random) -> None:
        grid = _grid(made, rng)
        column = _column(grid, rng)
        several = rng.random() < 0.5
        value = rng.choice(values)
        for row in _rows(grid, rng):
            if column is not None:
                column.cells[row] = rng.choice(values) if several else value

    return change


def times_of_a_time(made: Triple, rng: Random) -> None:
    table, name = rng.choice(
        [
            (INTERACTIONS, "timestamp_utc"),
            (INTERACTIONS, "label_available_utc"),
            (SESSIONS, "start_timestamp_utc"),
            (SESSIONS, "end_timestamp_utc"),
        ]
    )
    column = made[table].column(name)
    for row in _rows(made[table], rng):
        if column is not None:
            column.cells[row] = rng.choice(TIMES)


def numbers_of_a_number(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    found = [c for c in grid.columns if any(w in c.name for w in ("tokens", "usd", "_ms", "total"))]
    if found:
        column = rng.choice(found)
        for row in _rows(grid, rng):
            column.cells[row] = rng.choice(NUMBERS)


def moved_by_hours(made: Triple, rng: Random) -> None:
    """Times written with an offset, or none."""
    column = made[INTERACTIONS].column("timestamp_utc")
    mark = rng.choice(["+02:00", "-05:30", "", "+00:00", " UTC", "z", "+14:00"])
    for row in _rows(made[INTERACTIONS], rng):
        if column is not None and column.cells[row] is not None:
            column.cells[row] = str(column.cells[row]).removesuffix("Z") + mark


def a_field_of_ten_megabytes(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    column = _column(grid, rng)
    if column is not None and grid.n:
        column.cells[rng.randrange(grid.n)] = rng.choice(["x", "9", "ü", '"', "\n"]) * 10_000_000


# ── rows ─────────────────────────────────────────────────────────────────────────────────


def rows_dropped(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    gone = set(_rows(grid, rng))
    grid.take([r for r in range(grid.n) if r not in gone])


def rows_twice(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    grid.take([*range(grid.n), *_rows(grid, rng)])


def rows_shuffled(made: Triple, rng: Random) -> None:
    for grid in made.values():
        grid.take(rng.sample(range(grid.n), grid.n))


def rows_orphaned(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    found = [c for c in grid.columns if c.name in ("session_id", "user_id")]
    if found:
        column = rng.choice(found)
        for row in _rows(grid, rng):
            column.cells[row] = f"{column.cells[row]}-of-nobody"


def keys_swapped(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    found = [c for c in grid.columns if c.name in _KEYS]
    if len(found) > 1:
        one, other = rng.sample(found, 2)
        one.cells, other.cells = other.cells, one.cells


def tables_swapped(made: Triple, rng: Random) -> None:
    one, other = rng.sample(list(TABLES), 2)
    made[one], made[other] = made[other], made[one]


def keys_null(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    found = [c for c in grid.columns if c.name in _KEYS]
    if found:
        column = rng.choice(found)
        for row in _rows(grid, rng):
            column.cells[row] = rng.choice([None, "", " "])


def one_row(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    grid.take([rng.randrange(grid.n)] if grid.n else [])


def no_row(made: Triple, rng: Random) -> None:
    _grid(made, rng).take([])


# ── columns ──────────────────────────────────────────────────────────────────────────────


def column_dropped(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    if len(grid.columns) > 1:
        grid.columns.remove(rng.choice(grid.columns))


def column_renamed(made: Triple, rng: Random) -> None:
    column = _column(_grid(made, rng), rng)
    if column is not None:
        column.name = rng.choice(
            [*NAMES, column.name.upper(), column.name.title(), column.name + " "]
        )


def column_twice(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    column = _column(grid, rng)
    if column is not None:
        name = rng.choice([column.name, column.name.upper(), f" {column.name}"])
        grid.columns.insert(
            rng.randint(0, len(grid.columns)), Column(name, list(column.cells), column.kind)
        )


def column_of_another_type(made: Triple, rng: Random) -> None:
    column = _column(_grid(made, rng), rng)
    if column is not None:
        column.kind = rng.choice(KINDS)


def column_empty(made: Triple, rng: Random) -> None:
    column = _column(_grid(made, rng), rng)
    if column is not None:
        column.cells = [rng.choice([None, ""])] * len(column.cells)


def column_constant(made: Triple, rng: Random) -> None:
    column = _column(_grid(made, rng), rng)
    if column is not None and column.cells:
        column.cells = [rng.choice([column.cells[0], *TEXTS, *NUMBERS])] * len(column.cells)


def columns_reordered(made: Triple, rng: Random) -> None:
    for grid in made.values():
        rng.shuffle(grid.columns)


def columns_added(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    for name in rng.sample(NAMES, rng.randint(1, 6)):
        values = rng.choice([("0", "1"), ("a", "b", None), TEXTS[:60], NUMBERS, TIMES])
        cells = [rng.choice(values) for _ in range(grid.n)]
        grid.columns.insert(
            rng.randint(0, len(grid.columns)), Column(name, cells, rng.choice([None, *KINDS]))
        )


def no_column(made: Triple, rng: Random) -> None:
    grid = _grid(made, rng)
    grid.columns = grid.columns[:1]


CELLS: tuple[Change, ...] = (
    _cells(NUMBERS),
    _cells(TIMES),
    _cells(TEXTS),
    _cells((None, "")),
    times_of_a_time,
    numbers_of_a_number,
    moved_by_hours,
)
ROWS: tuple[Change, ...] = (
    rows_dropped,
    rows_twice,
    rows_shuffled,
    rows_orphaned,
    keys_swapped,
    tables_swapped,
    keys_null,
    one_row,
    no_row,
)
COLUMNS: tuple[Change, ...] = (
    column_dropped,
    column_renamed,
    column_twice,
    column_of_another_type,
    column_empty,
    column_constant,
    columns_reordered,
    columns_added,
    no_column,
)

# ── what is odd and keeps the contract ───────────────────────────────────────────────────


def _optional(grid: Grid) -> list[Column]:
    return [c for c in grid.columns if c.name not in _KEYS]


def odd_texts(grid: Grid, rng: Random) -> None:
    names = ("use_case", "scenario", "account_tier", "region", "model_name", "release_id", "mood")
    found = [c for c in grid.columns if c.name in names]
    texts = [t for t in TEXTS if "\ud800" not in t and len(t) < 200]
    for column in rng.sample(found, min(len(found), rng.randint(1, 3))):
        few = rng.sample(texts, rng.choice([1, 2, 5, 30]))
        column.cells = [rng.choice(few) or None for _ in column.cells]


def odd_keys(grid: Grid, rng: Random) -> None:
    """Keys that hold anything but nothing."""
    for name in ("interaction_id", "session_id", "user_id"):
        column = grid.column(name)
        if column is not None and rng.random() < 0.6:
            mark = rng.choice([t for t in TEXTS if "\ud800" not in t and len(t) < 6_000])
            column.cells = [f"{c}{mark}." for c in column.cells]


def odd_nulls(grid: Grid, rng: Random) -> None:
    found = [c for c in grid.columns if c.name not in _KEYS[:4]]
    for column in rng.sample(found, min(len(found), rng.randint(1, 8))):
        share = rng.choice([0.02, 0.2, 0.9, 1])
        column.cells = [None if rng.random() < share else c for c in column.cells]


def odd_columns_missing(grid: Grid, rng: Random) -> None:
    found = _optional(grid)
    for column in rng.sample(found, rng.randint(0, len(found))):
        grid.columns.remove(column)


def odd_constants(grid: Grid, rng: Random) -> None:
    found = [c for c in _optional(grid) if "tokens" not in c.name]
    for column in rng.sample(found, min(len(found), rng.randint(1, 6))):
        column.cells = [column.cells[0]] * len(column.cells)


def odd_labels(grid: Grid, rng: Random) -> None:
    column = grid.column("is_failure")
    if column is not None:
        few = rng.choice([["true"], ["false"], ["false", None], ["true", "false", None]])
        column.cells = [rng.choice(few) for _ in column.cells]


def odd_numbers(grid: Grid, rng: Random) -> None:
    limits = {
        "latency_ms": ["0", "-0.0", "1e12", "1e-300", "0.0001"],
        "cost_usd": ["0", "-0.0", "1000000", "1e-12", "0.000001"],
        "routing_propensity": ["1e-300", "1", "0.5"],
        "retry_index": ["0", "1000000000000"],
        "response_quality_score": ["-1e12", "1e12", "0"],
    }
    for name in rng.sample(list(limits), rng.randint(1, 3)):
        column = grid.column(name)
        if column is not None:
            few = rng.sample(limits[name], rng.randint(1, 2))
            column.cells = [rng.choice([*few, c]) for c in column.cells]


def odd_times(grid: Grid, rng: Random) -> None:
    """Some sessions, or all, at the ends of time; or all calls at one moment."""
    column, keys = grid.column("timestamp_utc"), grid.column("session_id")
    if column is None or keys is None:
        return
    few = rng.choice(
        [
            ["0001-01-01T00:00:00Z"],
            ["9999-12-31T23:59:59.999999Z"],
            ["1970-01-01T00:00:00Z"],
            ["2026-09-10T00:00:00Z"],
            ["2262-04-12T00:00:00Z", "1677-09-20T00:00:00Z"],
            ["2999-12-31T00:00:00Z", "3001-01-01T12:00:00Z"],
        ]
    )
    names = sorted({str(k) for k in keys.cells})
    chosen = set(rng.sample(names, rng.choice([1, len(names)])))
    column.cells = [
        rng.choice(few) if k in chosen else c for k, c in zip(keys.cells, column.cells, strict=True)
    ]


def odd_groups(grid: Grid, rng: Random) -> None:
    """One user, or one session."""
    for name in rng.choice([("user_id",), ("session_id", "user_id")]):
        column = grid.column(name)
        if column is not None:
            column.cells = ["one"] * len(column.cells)


def odd_columns_added(grid: Grid, rng: Random) -> None:
    taken = {c.name.lower() for c in grid.columns}
    free = [n for n in NAMES if n.lower() not in taken and n.lower() not in _KEYS]
    free = [n for n in free if not n.endswith("_flag") and n not in ("total_cost_usd", "domain")]
    for name in rng.sample(free, rng.randint(1, 10)):
        values = rng.choice([("0", "1"), ("a", "b", None), ("1.5", "2"), (None,)])
        cells = [rng.choice(values) for _ in range(grid.n)]
        grid.columns.insert(
            rng.randint(0, len(grid.columns)), Column(name, cells, rng.choice([None, *KINDS]))
        )
        taken.add(name.lower())
    seen: set[str] = set()
    grid.columns = [
        c
        for c in grid.columns
        if not (c.name.strip() and (c.name in seen or seen.add(c.name)))  # type: ignore[func-returns-value]
    ]


def odd_types(grid: Grid, rng: Random) -> None:
    """Another physical type that holds the same values, or is not taken at all."""
    fine = {
        "use_case": [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.binary()],
        "session_id": [pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
        "timestamp_utc": [pa.timestamp("us", "UTC"), pa.timestamp("s"), pa.timestamp("ns")],
        "prompt_tokens": [pa.int32(), pa.float64(), pa.decimal128(18, 6), pa.uint64()],
        "cost_usd": [pa.decimal256(60, 9)],
        "is_failure": [pa.int8(), pa.string(), pa.null()],
        "mood": list(KINDS),
    }
    for name, kinds in fine.items():
        column = grid.column(name)
        if column is not None and rng.random() < 0.4:
            column.kind = rng.choice(kinds)


ODD = (
    odd_texts,
    odd_keys,
    odd_nulls,
    odd_columns_missing,
    odd_constants,
    odd_labels,
    odd_numbers,
    odd_times,
    odd_groups,
    odd_columns_added,
    odd_types,
)


# ── files ────────────────────────────────────────────────────────────────────────────────


def _own(folder: Path) -> list[Path]:
    """The files in the folder itself: a harm never reaches through a link to what lies elsewhere."""
    return sorted(p for p in folder.rglob("*") if not p.is_symlink() and p.is_file())


def _bytes(change: Callable[[bytes, Random], bytes]) -> FileChange:
    def apply(folder: Path, rng: Random) -> None:
        files = _own(folder)
        if files:
            path = rng.choice(files)
            path.write_bytes(change(path.read_bytes(), rng))

    apply.__name__ = change.__name__
    return apply


def cut(data: bytes, rng: Random) -> bytes:
    return data[
        : rng.choice([0, 1, 3, 7, len(data) // 2, rng.randint(0, len(data)), len(data) - 1])
    ]


def bits_flipped(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30]) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def bytes_put_in(data: bytes, rng: Random) -> bytes:
    place = rng.choice([0, len(data), rng.randint(0, len(data))])
    what = rng.choice(
        [b"\xef\xbb\xbf", b"\xff\xfe", b"\xd6sterreich", b"\x00" * 9, b'"', b"\r", b"PAR1"]
    )
    return data[:place] + what + data[place:]


def latin_1(data: bytes, rng: Random) -> bytes:
    return data.replace(rng.choice([b"a", b"e", b"1"]), b"\xe9")


def utf_16(data: bytes, rng: Random) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16-le", "utf-32"]))


def line_ends_mixed(data: bytes, rng: Random) -> bytes:
    ends = [b"\n", b"\r\n", b"\r", b"\n\n", b"\n\r"]
    return b"".join(line + rng.choice(ends) for line in data.splitlines())


def other_delimiter(data: bytes, rng: Random) -> bytes:
    other = rng.choice([b";", b"\t", b"|", b" ", b"\x1f"])
    lines = data.split(b"\n")
    which = rng.choice([range(len(lines)), range(1), [rng.randrange(len(lines))]])
    for row in which:
        lines[row] = lines[row].replace(b",", other)
    return b"\n".join(lines)


def quotes_unbalanced(data: bytes, rng: Random) -> bytes:
    places = [i for i, b in enumerate(data[:200_000]) if b in b",\n"]
    for _ in range(rng.choice([1, 1, 3]) if places else 0):
        place = rng.choice(places) + rng.choice([0, 1])
        data = data[:place] + b'"' + data[place:]
    return data


def ragged(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    for _ in range(rng.choice([1, 1, 5])):
        row = rng.randrange(len(lines))
        lines[row] = rng.choice(
            [lines[row] + b",", lines[row].rpartition(b",")[0], b"", b",", b"x", lines[row] * 2]
        )
    return b"\n".join(lines)


def members_joined(data: bytes, rng: Random) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data + data
    extra = rng.choice(
        [gzip.compress(b"", mtime=0), gzip.compress(b"x,y\n", mtime=0), b"rubbish", data]
    )
    return data + extra


def footer_cut(data: bytes, rng: Random) -> bytes:
    return data[: -rng.choice([1, 4, 8, 50])] + rng.choice([b"", b"PAR1", b"PARE"])


def other_magic(data: bytes, rng: Random) -> bytes:
    return (
        rng.choice([b"PARE", b"ARROW1", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"SQLite format 3\x00"])
        + data[4:]
    )


def blown_up(data: bytes, rng: Random) -> bytes:
    """A file that says little in many bytes."""
    filler = rng.choice([b"\n", b",", b" ", b"\x00", b'"\n"', b"a"])
    made = data + filler * 3_000_000
    return gzip.compress(made, 1, mtime=0) if data[:2] == b"\x1f\x8b" else made


BYTES: tuple[FileChange, ...] = tuple(
    map(
        _bytes,
        (
            *(cut, bits_flipped, bytes_put_in, latin_1, utf_16, line_ends_mixed, other_delimiter),
            *(quotes_unbalanced, ragged, members_joined, footer_cut, other_magic, blown_up),
        ),
    )
)


def _entry(folder: Path, rng: Random) -> Path:
    """One of the tables as it lies there, out of the way."""
    path = rng.choice(sorted(folder.iterdir()) or [folder / f"{INTERACTIONS}.csv"])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def file_missing(folder: Path, rng: Random) -> None:
    _entry(folder, rng)


def file_empty(folder: Path, rng: Random) -> None:
    _entry(folder, rng).write_bytes(b"")


def file_a_directory(folder: Path, rng: Random) -> None:
    path = _entry(folder, rng)
    path.mkdir()
    if rng.random() < 0.5:
        (path / rng.choice(["x.parquet", "x.csv", "_x", ".parquet"])).write_bytes(b"rubbish")


def file_a_loop(folder: Path, rng: Random) -> None:
    path = _entry(folder, rng)
    path.symlink_to(rng.choice([path.name, ".", "..", "nowhere", "/dev/null", "/dev/zero"]))


def file_a_fifo(folder: Path, rng: Random) -> None:
    os.mkfifo(_entry(folder, rng))


def file_closed(folder: Path, rng: Random) -> None:
    files = _own(folder)
    if files:
        rng.choice(files).chmod(0)


def file_twice(folder: Path, rng: Random) -> None:
    table = rng.choice(TABLES)
    other = folder / f"{table}{rng.choice(['.csv', '.csv.gz', '.parquet', ''])}"
    if not other.exists() and not other.is_symlink():
        other.write_bytes(rng.choice([b"", b"a,b\n1,2\n"]))


def file_in_another_case(folder: Path, rng: Random) -> None:
    for path in sorted(folder.iterdir())[:1]:
        path.rename(path.with_name(path.name.upper()))


def part_broken(folder: Path, rng: Random) -> None:
    """A folder of parts, one of which is another table, broken, a loop, or a FIFO."""
    path = _entry(folder, rng)
    table = path.name.partition(".")[0]
    parts = folder / table
    if parts.exists() or parts.is_symlink():
        return
    parts.mkdir()
    whole = pa.table({"session_id": ["s0", "s1"], "user_id": ["u0", "u1"]})
    pq.write_table(whole, parts / "a.parquet")
    kind = rng.randrange(7)
    odd = parts / "b.parquet"
    if kind == 0:
        pq.write_table(whole.rename_columns(["x", "y"]), odd)
    elif kind == 1:
        odd.write_bytes((parts / "a.parquet").read_bytes()[:-9])
    elif kind == 2:
        odd.symlink_to("b.parquet")
    elif kind == 3:
        os.mkfifo(odd)
    elif kind == 4:
        odd.symlink_to("..")
    elif kind == 5:
        (parts / "c").symlink_to(".")
    else:
        pq.write_table(whole.slice(0, 0), odd)
        pq.write_table(whole.set_column(0, "session_id", pa.array([1, 2])), parts / "c.parquet")


FILES: tuple[FileChange, ...] = (
    file_missing,
    file_empty,
    file_a_directory,
    file_a_loop,
    file_a_fifo,
    file_closed,
    file_twice,
    file_in_another_case,
    part_broken,
)
