"""Addresses of engines: what they say, what they refuse, and that credentials are never shown."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import review as reviews
from analysis.__main__ import main
from analysis.errors import UsageError
from analysis.telemetry.address import address, is_address
from tests.telemetry.engines.odd import FIRST
from tests.telemetry.engines.servers import OWNER, Places, Postgres

USER, PASSWORD = "sidonie", "hush-hush"


@pytest.mark.parametrize(
    ("data", "kind", "shown", "schema", "path", "target"),
    [
        ("duckdb:///a/b.db", "duckdb", "duckdb:///a/b.db", None, None, "/a/b.db"),
        ("duckdb:///a%20b.db?schema=x", "duckdb", "duckdb:///a%20b.db?schema=x", "x", None, "/a b.db"),
        ("postgres://h/d", "postgres", "postgres://h/d", None, None, "postgresql://h/d"),
        ("postgresql://u:p@h:5/d?schema=s&sslmode=require", "postgres", "postgresql://h:5/d?schema=s",
         "s", None, "postgresql://u:p@h:5/d?sslmode=require"),
        ("postgres://u@/d?host=/sock", "postgres", "postgres:///d", None, None,
         "postgresql://u@/d?host=/sock"),
        ("spark:local", "spark", "spark:local", None, None, "local"),
        ("spark:local?path=/a/b", "spark", "spark:local?path=/a/b", None, "/a/b", "local"),
        ("spark://h:7077?schema=s", "spark", "spark://h:7077?schema=s", "s", None, "spark://h:7077"),
        ("spark:local?path=s3a://key:secret@bucket/x", "spark", "spark:local?path=s3a://bucket/x", None,
         "s3a://key:secret@bucket/x", "local"),
    ],
)  # fmt: skip
def test_an_address_is_read(
    data: str, kind: str, shown: str, schema: str | None, path: str | None, target: str
) -> None:
    assert is_address(data)
    found = address(data)
    assert (found.kind, found.shown, found.schema, found.path) == (kind, shown, schema, path)
    assert found.target == target
    assert str(found) == shown


@pytest.mark.parametrize(
    "data", ["data/sample", "/a/b", "C:\\tables", "mysql://h/d", "postgres", ""]
)
def test_a_directory_is_no_address(data: str) -> None:
    assert not is_address(data)


@pytest.mark.parametrize(
    "data",
    [
        f"duckdb://{USER}:{PASSWORD}@h/x.db",
        "duckdb:x.db",
        f"postgres://{USER}:{PASSWORD}@h/d?password={PASSWORD}",
        f"postgres://{USER}:{PASSWORD}/x@h/d",
        f"postgres://{USER}:12/{PASSWORD}@h/d",
        f"postgres://{USER}:12?{PASSWORD}@h/d",
        f"postgres://{USER}:12#{PASSWORD}@h/d",
        f"postgres://{USER}:{PASSWORD}@h:port/d",
        f"postgres://{USER}:{PASSWORD}%zz@/d?host=/nowhere",
        f"postgres://{USER}:{PASSWORD}@[::1/d",
        f"spark:cluster?user={USER}",
        f"spark://{USER}:{PASSWORD}@h?token={PASSWORD}",
        "spark:",
    ],
)
@pytest.mark.parametrize("command", ["validate", "review"])
def test_a_wrong_address_is_refused_and_no_credential_is_shown(
    data: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--data", data]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: --data ")
    assert "Traceback" not in told.err
    assert PASSWORD not in told.err
    assert USER not in told.err


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a server that refuses every password, and names the user as PostgreSQL does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    con, _ = listening.accept()
                except OSError:
                    return
                with con:
                    con.recv(1024)
                    fields = b"SFATAL\0VFATAL\0C28P01\0M" + (
                        f'password authentication failed for user "{USER}"'.encode() + b"\0\0"
                    )
                    con.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("command", ["validate", "review", "render"])
def test_a_refused_password_is_not_shown(
    command: str, refusing: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    data = f"postgres://{USER}:{PASSWORD}@127.0.0.1:{refusing}/db?sslmode=disable"
    out = [] if command == "validate" else ["--out", str(tmp_path / "out")]
    assert main([command, "--data", data, *out]) == 2
    told = capsys.readouterr()
    assert "password authentication failed" in told.err
    assert f"postgres://127.0.0.1:{refusing}/db" in told.err
    assert PASSWORD not in told.out + told.err
    assert USER not in told.out + told.err
    assert not (tmp_path / "out").exists()


def test_a_host_that_is_not_there_is_an_error_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    data = f"postgres://{USER}:{PASSWORD}@/db?host={tmp_path}/no-socket"
    assert main(["review", "--data", data]) == 2
    told = capsys.readouterr().err
    assert "error: --data postgres:///db" in told
    assert PASSWORD not in told
    assert USER not in told


def test_a_file_that_is_no_database_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.db").write_text("hello")
    for name in ("x.db", "absent.db"):
        assert main(["validate", "--data", f"duckdb://{tmp_path}/{name}"]) == 2
        assert name in capsys.readouterr().err


def test_nothing_that_is_written_holds_credentials(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = Places(FIRST.tables(tmp_path), tmp_path / "places")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setattr(reviews, "PROJECT", project)
    given = places.postgres(postgres).replace(f"{OWNER}@", f"{OWNER}:{PASSWORD}@")
    FIRST.review(places.parquet(), tmp_path)
    policy = tmp_path / "own.yml"
    settings = json.loads((tmp_path / "policy.yml").read_text())
    policy.write_text(json.dumps({**settings, "data": given}))
    out = tmp_path / "out"
    # The policy's own `data` is an address here.
    assert main(["review", "--policy", str(policy), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert PASSWORD not in told.out + told.err
    written = [p for top in (out, project) for p in top.rglob("*") if p.is_file()]
    assert any(p.name == "decision_artifact.json" for p in written)
    for path in written:
        held = path.read_bytes()
        assert PASSWORD.encode() not in held, path
        assert f"{OWNER}:".encode() not in held, path
    body = json.loads((out / "decision_artifact.json").read_text())
    assert body["policy"]["settings"]["data"] == address(given).shown
    capsys.readouterr()
    assert main(["verify", str(out / "decision_artifact.json"), "--data", given]) == 0
    told = capsys.readouterr()
    assert "computed again, the review gives the same decision" in told.out
    assert PASSWORD not in told.out + told.err
    files = FIRST.review(places.parquet(), tmp_path)
    assert body["evidence_digest"] == files["evidence_digest"]


def test_a_warehouse_is_reviewed_anew_each_time(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    places = Places(FIRST.tables(tmp_path), tmp_path / "places")
    (tmp_path / "project").mkdir()
    data = places.postgres(postgres)
    FIRST.review(places.parquet(), tmp_path)

    def reviewed() -> Path:
        wanted = reviews.request(data=data, policy=tmp_path / "policy.yml")
        return reviews.cached(wanted, None, project=tmp_path / "project")

    first = reviewed()
    assert reviewed() == first
    schema = address(data).schema
    postgres.run(f'UPDATE {schema}."llm_system_interactions" SET is_failure = true')
    assert reviewed() != first


def test_an_unknown_engine_of_a_proposal_is_refused() -> None:
    with pytest.raises(UsageError, match="no such directory"):
        reviews.request(data="mysql://h/d")
