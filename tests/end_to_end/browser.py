"""A real browser on a site: what it shows, and every request that the page makes.

Chromium runs headless, with a profile of its own, and can reach no host but 127.0.0.1. Its network
log tells the page's requests from those that the browser makes for itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ABSENT = f"no Chromium: none of {', '.join(NAMES)} is on PATH (Debian package: chromium)"
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--disable-breakpad",
    "--disable-domain-reliability", "--metrics-recording-only", "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=2000", "--timeout=20000", "--dump-dom",
)  # fmt: skip
# What the log says of a request that no page asked for.
_NO_PAGE = "not an origin"


@dataclass
class Server:
    """A folder served on a free port of 127.0.0.1, and the paths that were asked for."""

    address: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serves a folder until the block ends."""

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            server.asked.append(self.path)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@dataclass(frozen=True)
class Visit:
    """A page after its scripts have run: its document, its title, and the addresses it asked for."""

    dom: str
    title: str
    ids: frozenset[str]
    requests: tuple[str, ...]


def chromium() -> str | None:
    """The browser on PATH, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def visit(browser: str, address: str, folder: Path) -> Visit:
    """Opens a page in a new profile in `folder`, and waits until it is at rest."""
    log = folder / "net.json"
    options = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        [browser, *OPTIONS, *options, address],
        capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False,
    )  # fmt: skip
    if done.returncode or not done.stdout:
        raise AssertionError(f"the browser ended with {done.returncode}: {done.stderr[-2000:]}")
    reader = _Document()
    reader.feed(done.stdout)
    reader.close()
    return Visit(done.stdout, reader.title, frozenset(reader.ids), tuple(_requests(log)))


def _requests(log: Path) -> list[str]:
    """What pages asked for, in order: the documents themselves, and all that any origin began."""
    held = json.loads(log.read_text(encoding="utf-8"))
    wanted = held["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    events: list[dict[str, Any]] = [e for e in held["events"] if e["type"] == wanted]
    starts = [e["params"] for e in events if "url" in e.get("params", {})]
    return [
        p["url"]
        for p in starts
        if p.get("request_type") == "main frame" or p.get("initiator", "") != _NO_PAGE
    ]


class _Document(HTMLParser):
    """The title and the ids of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.ids: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title" and not self.title
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
