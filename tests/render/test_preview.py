"""`preview`: what is saved is rendered, shown on this machine alone, and open pages load again."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.errors import UsageError
from analysis.render import preview
from analysis.sample import generate, write

ROOT = Path(__file__).resolve().parents[2]
Get = Callable[..., tuple[int, str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "report").mkdir(parents=True)
    (site / "index.html").write_text("<body>first</body>")
    (site / "report" / "page.html").write_text("<body><p>page</p></body>")
    (site / "style.css").write_text("p {}")
    (tmp_path / "secret.txt").write_text("secret")
    return site


@pytest.fixture
def get(site: Path) -> Iterator[Get]:
    with preview._serving(site, 0) as (server, state):

        def got(path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request(method, path, headers={} if host is None else {"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        got.state = state  # type: ignore[attr-defined]
        yield got


def test_pages_are_sent_with_the_script_and_files_hold_none(get: Get, site: Path) -> None:
    for path, shown in (("/", "first"), ("/index.html", "first"), ("/report/page.html", "page")):
        status, text = get(path)
        assert status == 200
        assert shown in text
        assert text.count("<script>") == 1
    assert get("/style.css") == (200, "p {}")
    assert "script" not in (site / "index.html").read_text()


def test_the_number_changes_with_each_rendering(get: Get) -> None:
    first = get(preview._STATE)
    assert get(preview._STATE) == first
    get.state.next()  # type: ignore[attr-defined]
    assert get(preview._STATE) != first


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/report/../../secret.txt", "/none.html"]
)
def test_nothing_beside_the_site_is_sent(get: Get, path: str) -> None:
    status, text = get(path)
    assert status == 404
    assert "secret" not in text.replace("secret.txt", "")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:80", 200), ("127.0.0.1", 200), ("[::1]:4848", 200), ("[::1]", 200)]
    + [
        ("evil.example", 403),
        ("evil.example:4848", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
def test_a_name_of_elsewhere_gets_nothing(get: Get, host: str, status: int, method: str) -> None:
    assert get("/index.html", host, method)[0] == status


def test_a_port_that_is_taken_is_refused_in_one_line(site: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: .*give another"):
            preview.preview([], site, [], port, print)


def test_what_is_saved_is_seen_and_caches_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "page.qmd").write_text("one")
    later = tmp_path / "later.yml"
    first = preview.snapshot([folder, later])
    assert first.keys() == {folder / "page.qmd"}
    (folder / "__pycache__" / "page.pyc").write_text("")
    (folder / ".page.qmd.swp").write_text("")
    assert preview.snapshot([folder, later]) == first
    (folder / "page.qmd").write_text("other")
    assert preview.snapshot([folder, later]) != first
    later.write_text("")
    assert later in preview.snapshot([folder, later])


def test_a_saved_policy_is_rendered_and_a_broken_one_leaves_the_site(tmp_path: Path) -> None:
    """As a user: the whole command, until it is stopped."""
    data = write(generate("tiny", 1_500, 1), tmp_path / "data", "csv")
    policy = tmp_path / "policy.yml"
    text = (ROOT / "report" / "policy.yml").read_text()
    policy.write_text(text.replace("Sample release", "First title", 1))
    site = tmp_path / "site"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis", "preview", "--engine", "embedded", "--port", str(port)]
        + ["--data", str(data), "--policy", str(policy), "--out", str(site)],
        cwd=ROOT, text=True, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        told = iter(process.stderr.readline, "")
        assert f"http://127.0.0.1:{port}/" in next(told)
        _until(told, "rendered in")
        assert "First title" in _page(port)
        policy.write_text("release: {id: [}")
        _until(told, "not rendered; the site stays as it was")
        assert "First title" in _page(port)
        policy.write_text(text.replace("Sample release", "Second title", 1))
        _until(told, "rendered in")
        assert "Second title" in _page(port)
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest


def _until(told: Iterator[str], words: str) -> None:
    end = time.monotonic() + 400
    for line in told:
        if words in line:
            return
        assert time.monotonic() < end
    raise AssertionError(f"never said {words!r}")


def _page(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/report/index.html")
    return connection.getresponse().read().decode()
