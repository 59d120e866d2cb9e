"""Tables are found, read in every format alike, and refused with the reason where they cannot be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.errors import UsageError
from analysis.telemetry.source import digest_inputs, open_source
from tests.telemetry.worlds import CONTRACT, World, tiny, validated

FORMATS = ("csv", "csv.gz", "parquet", "parts")


def read(folder: Path, table: str = INTERACTIONS) -> pd.DataFrame:
    """A table as it lies in the engine, in the order of its rows."""
    source = open_source(folder, CONTRACT)
    try:
        assert source.violations == ()
        return source.con.execute(f"SELECT * FROM {table} ORDER BY source_row").df()
    finally:
        source.close()


class TestFormats:
    @pytest.mark.parametrize("kind", FORMATS[1:])
    @pytest.mark.parametrize("table", TABLES)
    def test_every_format_holds_the_same_rows(
        self, tmp_path: Path, world: World, kind: str, table: str
    ) -> None:
        world.set(INTERACTIONS, "use_case", 2, 'a "quoted", cell\nof two lines')
        world.set(INTERACTIONS, "latency_ms", 3, None).set(INTERACTIONS, "use_case", 4, "")
        expected = read(world.write("csv"), table)
        world.folder = tmp_path / "other"
        pd.testing.assert_frame_equal(read(world.write(kind), table), expected)

    def test_namibia_is_a_country_and_a_cell_without_text_is_none(self, world: World) -> None:
        world.set(INTERACTIONS, "country_code", 1, None)
        rows = read(world.write())
        assert pd.isna(rows["country_code"][0])
        assert rows["country_code"][3] == "NA"

    @pytest.mark.parametrize("kind", FORMATS)
    def test_inputs_are_recorded_with_their_digests(self, world: World, kind: str) -> None:
        source = open_source(world.write(kind), CONTRACT)
        source.close()
        files = sorted(p for p in world.folder.rglob("*") if p.is_file())
        assert sorted(i.file for i in source.inputs) == [
            p.relative_to(world.folder).as_posix() for p in files
        ]
        for item in source.inputs:
            data = (world.folder / item.file).read_bytes()
            assert item.sha256 == hashlib.sha256(data).hexdigest()
            assert item.bytes == len(data)
            assert item.format == ("parquet" if kind == "parts" else kind)
        assert sum(i.rows for i in source.inputs if i.table == INTERACTIONS) == 8
        assert digest_inputs(world.folder) == [(i.file, i.sha256) for i in source.inputs]

    def test_parts_are_numbered_in_the_order_of_their_names(self, world: World) -> None:
        rows = read(world.write("parts"))
        assert rows["source_row"].tolist() == list(range(1, 9))
        assert rows["interaction_id"].tolist() == [f"i{k:05d}" for k in range(1, 9)]

    def test_what_a_writer_leaves_beside_the_parts_is_no_data(self, world: World) -> None:
        folder = world.write("parts") / INTERACTIONS
        (folder / "_SUCCESS").write_text("")
        (folder / ".part-0.parquet.crc").write_text("x")
        (folder / ".hidden.parquet").write_text("x")
        (folder / "_temporary").mkdir()
        (folder / "_temporary" / "part-7.parquet").write_text("x")
        (folder / "day=2026-09-07").mkdir()
        (folder / "part-1.parquet").rename(folder / "day=2026-09-07" / "part-1.parquet")
        assert len(read(world.folder)) == 8

    def test_a_folder_with_the_suffix_of_a_file_holds_parts_too(self, world: World) -> None:
        folder = world.write("parts")
        (folder / INTERACTIONS).rename(folder / f"{INTERACTIONS}.parquet")
        assert len(read(folder)) == 8

    def test_parts_may_differ_in_order_and_physical_types(self, world: World) -> None:
        expected = read(world.write("parts"))
        path = world.folder / INTERACTIONS / "part-0.parquet"
        part = pq.read_table(path)
        for name, kind in (
            ("prompt_tokens", pa.string()),
            ("is_failure", pa.int8()),
            ("timestamp_utc", pa.timestamp("ns", tz="UTC")),
        ):
            place = part.schema.get_field_index(name)
            part = part.set_column(place, name, part.column(name).cast(kind))
        pq.write_table(part.select(part.column_names[::-1]), path)
        found = read(world.folder)[list(expected.columns)]
        pd.testing.assert_frame_equal(found, expected)

    def test_an_empty_part_among_others_is_fine(self, world: World) -> None:
        folder = world.write("parts") / INTERACTIONS
        pq.write_table(pq.read_table(folder / "part-0.parquet").slice(0, 0), folder / "a.parquet")
        assert len(read(world.folder)) == 8

    @pytest.mark.parametrize(
        ("column", "kind"),
        [
            ("prompt_tokens", pa.int32()),
            ("prompt_tokens", pa.uint64()),
            ("prompt_tokens", pa.float64()),
            ("prompt_tokens", pa.string()),
            ("cost_usd", pa.decimal128(18, 6)),
            ("cost_usd", pa.string()),
            ("latency_ms", pa.float32()),
            ("is_failure", pa.int8()),
            ("is_failure", pa.string()),
            ("timestamp_utc", pa.timestamp("s")),
            ("timestamp_utc", pa.timestamp("ms")),
            ("timestamp_utc", pa.timestamp("ns")),
            ("timestamp_utc", pa.timestamp("us", tz="UTC")),
            ("timestamp_utc", pa.timestamp("ns", tz="UTC")),
            ("timestamp_utc", pa.timestamp("us", tz="Europe/Berlin")),
            ("timestamp_utc", pa.string()),
            ("use_case", pa.large_string()),
            ("use_case", pa.binary()),
            ("use_case", pa.string_view()),
            ("use_case", pa.dictionary(pa.int32(), pa.string())),
            ("session_id", pa.dictionary(pa.int32(), pa.string())),
            ("user_id", pa.binary()),
        ],
        ids=str,
    )
    def test_a_parquet_column_may_have_another_physical_type(
        self, world: World, column: str, kind: pa.DataType
    ) -> None:
        world.set(INTERACTIONS, "use_case", 1, "über")
        expected = read(world.write("parquet"))
        path = world.folder / f"{INTERACTIONS}.parquet"
        table = pq.read_table(path)
        place = table.schema.get_field_index(column)
        pq.write_table(table.set_column(place, column, table.column(column).cast(kind)), path)
        pd.testing.assert_frame_equal(read(world.folder), expected)

    def test_nested_and_all_null_columns_are_carried(self, world: World) -> None:
        path = world.write("parquet") / f"{INTERACTIONS}.parquet"
        table = pq.read_table(path)
        extra = {
            "region": pa.nulls(8),
            "settings": pa.array([{"a": [1, 2]}] * 8),
            "tags": pa.array([["x"]] * 8),
            "labels": pa.array([[("k", 1)]] * 8, pa.map_(pa.string(), pa.int64())),
        }
        for name, values in extra.items():
            table = table.append_column(name, values)
        pq.write_table(table, path)
        assert validated(world.folder).violations == ()


class TestColumns:
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_columns_of_any_name_are_carried(self, world: World, kind: str) -> None:
        names = [
            *(
                "win",
                "day",
                "weight",
                "cluster",
                "source_row",
                "Source_Hash",
                "select",
                "line",
                "filename",
            ),
            *("file_row_number", "k", "key", "t", "s", "c0", "rowid", "repeated", "null", "*", "1"),
            *('a"b', "{x}", "{{< env HOME >}}", "ü", "x\ny", "\u202ex", "'); DROP TABLE fact;--"),
            *("a,b", "name with space", "x" * 300, "<script>", "\x1b[31m", "=1+1", "\t"),
        ]
        own = {"source_row": "source_row (2)", "Source_Hash": "Source_Hash (2)"}
        for name in names:
            world.add(INTERACTIONS, name, [f"{name}{k}" for k in range(8)])
        own["\t"] = f"column {len(world.tables[INTERACTIONS].columns)}"
        rows = read(world.write(kind))
        for name in names:
            assert rows[own.get(name, name)].tolist() == [f"{name}{k}" for k in range(8)]
        assert rows["source_row"].tolist() == list(range(1, 9))
        assert validated(world.folder).violations == ()

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_a_declared_column_keeps_its_name_beside_one_in_another_case(
        self, world: World, kind: str
    ) -> None:
        frame = world.tables[INTERACTIONS]
        frame.insert(0, "USE_CASE", "other")
        rows = read(world.write(kind))
        assert rows["use_case"].tolist() == frame["use_case"].tolist()
        assert set(rows["USE_CASE (2)"]) == {"other"}

    def test_columns_without_a_name_are_carried(self, world: World) -> None:
        path = world.write() / f"{INTERACTIONS}.csv"
        world.tables[INTERACTIONS].to_csv(path)
        rows = read(world.folder)
        assert rows["column 1"].tolist() == [str(k) for k in range(8)]

    def test_sessions_and_users_need_nothing_but_their_keys(self, world: World) -> None:
        world.tables[SESSIONS] = world.tables[SESSIONS][["session_id"]]
        world.tables[USERS] = world.tables[USERS][["user_id"]]
        assert world.violations() == ()


Change = Callable[[Path], object]


def rewritten(change: Callable[[bytes], bytes], name: str = f"{INTERACTIONS}.csv") -> Change:
    """Changes the bytes of a file, and its name."""

    def apply(folder: Path) -> None:
        path = folder / f"{INTERACTIONS}.csv"
        data = change(path.read_bytes())
        path.unlink()
        (folder / name).write_bytes(data)

    return apply


def replaced(make: Callable[[Path], object]) -> Change:
    """Puts something else in the place of the interactions."""

    def apply(folder: Path) -> None:
        path = folder / f"{INTERACTIONS}.csv"
        path.unlink()
        make(path)

    return apply


def parquet(change: Callable[[bytes], bytes]) -> Change:
    """Interactions as Parquet, with other bytes."""

    def apply(folder: Path) -> None:
        path = folder / f"{INTERACTIONS}.parquet"
        pd.read_csv(folder / f"{INTERACTIONS}.csv").to_parquet(path)
        (folder / f"{INTERACTIONS}.csv").unlink()
        path.write_bytes(change(path.read_bytes()))

    return apply


def damage(path: Path, column: int) -> None:
    """The pages of one column become noise; the footer stays."""
    data = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(column)
    start = place.dictionary_page_offset or place.data_page_offset
    data[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(bytes(data))


def other_parts(folder: Path) -> None:
    (folder / f"{INTERACTIONS}.csv").unlink()
    (folder / INTERACTIONS).mkdir()
    for name, column in (("a", "use_case"), ("b", "scenario")):
        pq.write_table(pa.table({column: ["x"]}), folder / INTERACTIONS / f"{name}.parquet")


@pytest.mark.parametrize(
    ("name", "change", "rule", "words"),
    [
        ("absent", replaced(lambda p: None), "files", "no file llm_system_interactions.csv"),
        (
            "under a name in another case",
            replaced(lambda p: p.with_name("LLM_SYSTEM_INTERACTIONS.CSV").write_text("x")),
            "files",
            "found LLM_SYSTEM_INTERACTIONS.CSV",
        ),
        ("given twice", lambda f: (f / INTERACTIONS).mkdir(), "files", "more than once"),
        ("0 bytes", replaced(lambda p: p.write_bytes(b"")), "files", "is empty (0 bytes)"),
        ("a header", rewritten(lambda b: b[: b.index(b"\n") + 1]), "files", "no rows"),
        (
            "a header without a line end",
            rewritten(lambda b: b[: b.index(b"\n")]),
            "files",
            "no rows",
        ),
        ("a directory", replaced(lambda p: p.mkdir()), "files", "is a directory"),
        ("a FIFO", replaced(os.mkfifo), "files", "not a regular file"),
        ("a dangling link", replaced(lambda p: p.symlink_to("no")), "files", "No such file"),
        ("a link to itself", replaced(lambda p: p.symlink_to(p)), "files", "symbolic links"),
        (
            "a file in the place of a folder of parts",
            rewritten(lambda b: b, INTERACTIONS),
            "files",
            "expected a folder of Parquet parts",
        ),
        (
            "an empty folder of parts",
            replaced(lambda p: p.with_suffix("").mkdir()),
            "files",
            "holds no .parquet file",
        ),
        ("parts of different columns", other_parts, "files", "has other columns than"),
        ("not UTF-8", rewritten(lambda b: b.replace(b"DE", b"\xd6S")), "files", "not UTF-8"),
        ("tabs", rewritten(lambda b: b.replace(b",", b"\t")), "files", "expected commas"),
        ("a ragged row", rewritten(lambda b: b + b"x,y\n"), "files", "data row 9"),
        ("no gzip", rewritten(lambda b: b, f"{INTERACTIONS}.csv.gz"), "files", "gzip"),
        ("cut Parquet", parquet(lambda b: b[:-50]), "files", "no complete Parquet file"),
        ("Parquet that is text", parquet(lambda b: b"a,b\n1,2\n"), "files", "no complete Parquet"),
        (
            "one column twice",
            rewritten(lambda b: b.replace(b"use_case", b"country_code")),
            "columns",
            "more than one column named country_code",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_one_violation_and_the_others_are_read(
    world: World, name: str, change: Change, rule: str, words: str
) -> None:
    change(world.write())
    source = open_source(world.folder, CONTRACT)
    source.close()
    (violation,) = source.violations
    assert (violation.rule, violation.table, violation.severity) == (rule, INTERACTIONS, "error")
    assert (violation.n_rows, violation.share, violation.first_rows) == (0, 1.0, ())
    assert words in violation.hint
    assert set(source.columns) == {SESSIONS, USERS}


class TestDamagedPages:
    """A Parquet file is read where it lies: that its pages are noise shows when they are read."""

    @pytest.mark.parametrize("table", TABLES)
    def test_each_column_gives_one_violation_of_its_table(self, world: World, table: str) -> None:
        world.write("parquet")
        path = world.folder / f"{table}.parquet"
        whole = path.read_bytes()
        for column in range(pq.read_metadata(path).num_columns):
            path.write_bytes(whole)
            damage(path, column)
            (violation,) = validated(world.folder).violations
            assert (violation.rule, violation.table, violation.column) == ("files", table, None)
            assert f"{table}.parquet: cannot be read to its end" in violation.hint

    def test_they_hide_no_violation_of_the_other_tables(self, world: World) -> None:
        world.set(SESSIONS, "user_id", 2, "u9").write("parquet")
        damage(world.folder / f"{INTERACTIONS}.parquet", 3)
        assert [(v.rule, v.table) for v in validated(world.folder).violations] == [
            ("files", INTERACTIONS),
            ("foreign_key", SESSIONS),
        ]

    def test_a_review_of_them_ends_with_exit_1_and_writes_nothing(
        self, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.write("parquet")
        damage(world.folder / f"{INTERACTIONS}.parquet", 8)
        out = tmp_path / "out"
        code = main(["review", "--data", str(world.folder), "--out", str(out), "--quiet"])
        assert code == 1
        assert not out.exists()
        told = capsys.readouterr()
        assert "cannot be read to its end" in told.err + told.out
        assert "Traceback" not in told.err


class TestStaging:
    def test_it_is_there_while_the_source_is_open_and_gone_after(
        self, world: World, tmp_path: Path
    ) -> None:
        source = open_source(world.write(), CONTRACT, temp_dir=tmp_path)
        assert list(tmp_path.glob("release-review-*"))
        source.close()
        assert list(tmp_path.glob("release-review-*")) == []

    @pytest.mark.parametrize("options", [{"memory_limit": "lots"}, {"memory_limit": "1MB"}])
    def test_it_is_gone_after_an_error(
        self, world: World, tmp_path: Path, options: dict[str, str]
    ) -> None:
        with pytest.raises(UsageError):
            open_source(world.write(), CONTRACT, temp_dir=tmp_path, **options)
        assert list(tmp_path.glob("release-review-*")) == []

    def test_what_a_dead_process_left_is_removed_and_what_a_live_one_holds_stays(
        self, world: World, tmp_path: Path
    ) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        dead = tmp_path / f"release-review-{process.pid}-0123abcd"
        live = tmp_path / f"release-review-{os.getppid()}-0123abcd"
        for folder in (dead, live):
            folder.mkdir()
            (folder / "spill").write_text("x")
        open_source(world.write(), CONTRACT, temp_dir=tmp_path).close()
        assert not dead.exists()
        assert live.exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_changes_while_it_is_read_is_told(world: World, kind: str) -> None:
    source = open_source(world.write(kind), CONTRACT)
    source.check_unchanged()
    path = next(p for p in sorted(world.folder.rglob("*")) if p.is_file())
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match="changed while it was read"):
        source.check_unchanged()
    path.unlink()
    with pytest.raises(UsageError, match="changed while it was read"):
        source.check_unchanged()
    source.close()


def test_all_unreadable_tables_are_told_at_once(tmp_path: Path) -> None:
    assert [(v.rule, v.table) for v in validated(tmp_path).violations] == [
        ("files", t) for t in sorted(TABLES)
    ]


def test_a_file_that_may_not_be_read_is_a_violation(world: World) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file; run the tests as another user to see this one")
    (world.write() / f"{INTERACTIONS}.csv").chmod(0)
    (violation,) = validated(world.folder).violations
    assert violation.rule == "files"
    assert "Permission denied" in violation.hint


class TestPaths:
    @pytest.mark.parametrize("kind", ["csv", "parts"])
    @pytest.mark.parametrize("name", ["data[1]", "da*t?a", "o'brien", "día {x}", "x\\y", "a\nb"])
    def test_a_folder_of_any_name_is_read(self, world: World, name: str, kind: str) -> None:
        world.folder = world.folder.parent / name
        assert len(read(world.write(kind))) == 8

    def test_a_pattern_in_a_path_picks_no_other_folder(self, world: World) -> None:
        world.folder = world.folder.parent / "d[ab]"
        world.write("parquet")
        other = world.folder.parent / "da"
        shutil.copytree(world.folder, other)
        world.set(INTERACTIONS, "use_case", 1, "own")
        shutil.rmtree(world.folder)
        assert read(world.write("parquet"))["use_case"][0] == "own"

    def test_links_are_followed(self, world: World) -> None:
        links = world.folder.parent / "links"
        links.mkdir()
        for path in world.write().iterdir():
            (links / path.name).symlink_to(path)
        assert len(read(links)) == 8

    def test_a_folder_that_is_not_there_is_a_wrong_command_line(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="No such file"):
            open_source(tmp_path / "absent", CONTRACT)

    def test_a_file_in_its_place_too(self, world: World) -> None:
        with pytest.raises(UsageError, match="is a file; expected a directory"):
            open_source(world.write() / f"{INTERACTIONS}.csv", CONTRACT)

    def test_too_little_memory_is_told_as_such(self, world: World) -> None:
        with pytest.raises(UsageError, match="memory is too small"):
            open_source(world.write(), CONTRACT, memory_limit="1MB")

    def test_a_memory_limit_that_is_no_size_is_refused(self, world: World) -> None:
        with pytest.raises(UsageError, match="--memory-limit lots"):
            open_source(world.write(), CONTRACT, memory_limit="lots")


SPELLINGS = {
    "prompt_tokens": ["7", "007", "7.0", "7e0", " 7 ", "-0", "+7", "0x1F", "7.5", "1_0", "nan", "9007199254740993",
                      "9223372036854775807", "1e400", "", "  ", "٣"],
    "latency_ms": ["1.5", ".5", "5.", " 2.5", "+1", "1e3", "1e400", "1e-400", "inf", "NaN", "1,5", "0x10", "1d3",
                   "true", "", "\\t7"],
    "is_failure": ["true", "TRUE", "tRuE", "1", "0", "1.0", " false", "yes", "t", "", "no", "2"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cell"), [(c, v) for c, cells in SPELLINGS.items() for v in cells]
)
@pytest.mark.parametrize("row", [1, 8])
def test_cells_read_as_numbers_are_what_their_text_says(
    world: World, monkeypatch: pytest.MonkeyPatch, column: str, cell: str, row: int
) -> None:
    folder = world.set(INTERACTIONS, column, row, cell).write()

    def held() -> list[tuple[object, ...]]:
        source = open_source(folder, CONTRACT)
        try:
            texts = source.misfits[INTERACTIONS]
            listed = ", ".join(
                f'"{c}", {texts.get(c, "CAST(NULL AS VARCHAR)")}'
                for c in source.columns[INTERACTIONS]
            )
            found = source.con.execute(
                f"SELECT {listed} FROM cells_{INTERACTIONS} ORDER BY source_row"
            )
            return [tuple(r) for r in found.fetchall()]
        finally:
            source.close()

    as_numbers = held()
    monkeypatch.setattr("analysis.telemetry.csv_file.readable", lambda *a, **k: {})
    assert held() == as_numbers


def test_a_cell_far_down_is_read_as_text_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.telemetry.csv_file._HEAD_BYTES", 2000)
    world = tiny(tmp_path / "data")
    world.tables[INTERACTIONS] = pd.concat([world.tables[INTERACTIONS]] * 40, ignore_index=True)
    world.set(INTERACTIONS, "is_failure", 319, "yes").set(INTERACTIONS, "latency_ms", 318, "+9")
    source = open_source(world.write(), CONTRACT)
    try:
        assert source.violations == ()
        rows = source.con.execute(
            f"SELECT latency_ms, is_failure, {source.misfits[INTERACTIONS]['is_failure']} "
            f"FROM cells_{INTERACTIONS} WHERE source_row >= 318 ORDER BY source_row"
        ).fetchall()
        assert rows[0][0] == 9.0
        assert rows[1][1:] == (None, "yes")
    finally:
        source.close()
