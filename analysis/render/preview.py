"""`preview`: the site on this machine alone, rendered again whenever what it is made of is saved.

Each rendering is a process of its own, so that it runs the code as it is now; the site that is there stays
until the next one is finished. Open pages load again by a few lines of script that the server adds to what
it sends: the files hold none of it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from analysis.errors import UsageError

EVERY_S = 0.5
"""How often the watched files are looked at."""
_STATE = "/-/state"
_RELOAD = f"""<script>(() => {{
  let known;
  setInterval(() => fetch("{_STATE}", {{cache: "no-store"}}).then(r => r.text()).then(now => {{
    if (known !== undefined && known !== now) location.reload();
    known = now;
  }}).catch(() => {{}}), {int(1000 * EVERY_S)});
}})();</script>"""
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NOT_WATCHED = frozenset({"__pycache__", "schemas"})

Seen = dict[Path, tuple[int, int]]


def preview(
    options: Sequence[str],
    site: Path,
    watched: Sequence[Path],
    port: int,
    report: Callable[[str], None],
) -> None:
    """Renders, serves and watches, until it is stopped.

    options: of `render`, which each rendering is started with. site: where it puts the site. watched:
    files and folders; one that is not there yet counts once it is. port: 0 takes any free one.

    Raises UsageError where the port cannot be had.
    """
    with _serving(site, port) as (server, state):
        report(f"http://127.0.0.1:{server.server_port}/ shows {site}; stop with Ctrl-C")
        seen: Seen | None = None
        while True:
            now = snapshot(watched)
            if now != seen:
                # What is saved while it renders counts for the next time.
                seen = now
                _render(options, report)
                state.next()
            time.sleep(EVERY_S)


def snapshot(watched: Iterable[Path]) -> Seen:
    """Each watched file with its time (ns) and size (bytes)."""
    seen: Seen = {}
    for root in watched:
        for path in root.rglob("*") if root.is_dir() else (root,):
            hidden = any(p.startswith(".") for p in path.relative_to(root).parts)
            if hidden or _NOT_WATCHED & set(path.parts):
                continue
            try:
                status = path.stat()
            except OSError:
                continue
            if path.is_file():
                seen[path] = (status.st_mtime_ns, status.st_size)
    return seen


def _render(options: Sequence[str], report: Callable[[str], None]) -> None:
    started = time.monotonic()
    report("rendering …")
    child = subprocess.Popen(
        [sys.executable, "-m", "analysis", "render", *options], stdout=subprocess.DEVNULL
    )
    try:
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    took = time.monotonic() - started
    report(f"rendered in {took:.0f} s" if code == 0 else "not rendered; the site stays as it was")


# ── the server ───────────────────────────────────────────────────────────────────────────


class State:
    """Which rendering the site is of; pages ask for it, and load again when it changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    def next(self) -> None:
        with self._lock:
            self._number += 1

    def __str__(self) -> str:
        return str(self._number)


@contextmanager
def _serving(site: Path, port: int) -> Iterator[tuple[ThreadingHTTPServer, State]]:
    state = State()
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, site, state))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--port {port}: {why}; give another, or 0 for any free one") from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="preview", daemon=True)
    thread.start()
    try:
        yield server, state
    finally:
        server.shutdown()
        server.server_close()


class Handler(SimpleHTTPRequestHandler):
    """Files of the site; pages get the script that loads them again."""

    def __init__(self, site: Path, state: State, *args: object) -> None:
        self._state = state
        super().__init__(*args, directory=str(site))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """One file, or the number of the rendering."""
        if not self._is_local():
            # A name of another host that leads here is a page elsewhere that wants to read the site.
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == _STATE:
            self._send(str(self._state).encode(), "text/plain")
        elif (page := self._page()) is not None:
            self._send(page, "text/html; charset=utf-8")
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        if self._is_local():
            super().do_HEAD()
        else:
            self.send_error(HTTPStatus.FORBIDDEN)

    def _is_local(self) -> bool:
        host = self.headers.get("Host", "")
        return (host if host.endswith("]") else host.rpartition(":")[0] or host) in _LOCAL

    def _page(self) -> bytes | None:
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.path.split("?")[0].endswith("/"):
            path = path / "index.html"
        if path.suffix != ".html":
            return None
        try:
            held = path.read_bytes()
        except OSError:
            return None
        return held.replace(b"</body>", f"{_RELOAD}</body>".encode(), 1)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal tells of renderings, not of requests."""
