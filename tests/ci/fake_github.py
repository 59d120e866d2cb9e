"""GitHub's comments as a server on this machine: enough of its API, and of its bad days."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

REPOSITORY = "o/r"
NUMBER = 12
BOT = {"login": "github-actions[bot]", "type": "Bot"}


@dataclass
class Comments:
    """The comments of one pull request, and what the server answers instead.

    instead: answers given before any other, in order: (method, status, headers, whether the write
    is done all the same).
    """

    url: str = ""
    kept: list[dict[str, Any]] = field(default_factory=list)
    instead: list[tuple[str, int, dict[str, str], bool]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    viewer: str | None = "github-actions[bot]"
    writable: bool = True

    def add(self, body: str, user: dict[str, str] | None = BOT) -> int:
        """Adds a comment of somebody."""
        number = 100 + len(self.kept)
        self.kept.append({"id": number, "body": body, "user": user})
        return number

    @property
    def environment(self) -> dict[str, str]:
        """What a runner would say of itself."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_GRAPHQL_URL": f"{self.url}/graphql",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "7",
            "RELEASE_REVIEW_PULL_REQUEST": str(NUMBER),
        }


@contextmanager
def serving() -> Iterator[Comments]:
    """A server on a free port of this machine, for as long as the block."""
    comments = Comments()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def _answer(self, status: int, value: object, headers: dict[str, str]) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            payload = json.loads(self.rfile.read(length) or b"null")
            path = urlparse(self.path)
            comments.asked.append((self.command, path.path))
            if self.headers["Authorization"] != "Bearer token-of-the-run":
                self._answer(401, {"message": "Bad credentials"}, {})
                return
            if path.path == "/graphql":
                viewer = {"viewer": {"login": comments.viewer}} if comments.viewer else None
                self._answer(200, {"data": viewer}, {})
                return
            for place, (method, status, headers, done) in enumerate(comments.instead):
                if method == self.command:
                    del comments.instead[place]
                    if done:
                        comments.add(payload["body"])
                    self._answer(status, {"message": headers.pop("said", "no")}, headers)
                    return
            self._usual(path.path, parse_qs(path.query), payload)

        def _usual(self, path: str, query: dict[str, list[str]], payload: Any) -> None:
            at = f"/repos/{REPOSITORY}/issues"
            if self.command == "GET" and path == f"{at}/{NUMBER}/comments":
                size, page = int(query["per_page"][0]), int(query["page"][0])
                self._answer(200, comments.kept[(page - 1) * size : page * size], {})
            elif not comments.writable:
                self._answer(403, {"message": "Resource not accessible by integration"}, {})
            elif len(payload["body"]) > 65_536:
                self._answer(422, {"message": "Body is too long (maximum is 65536 characters)"}, {})
            elif self.command == "POST" and path == f"{at}/{NUMBER}/comments":
                comments.add(payload["body"])
                self._answer(201, {"id": 1}, {})
            else:
                number = int(path.removeprefix(f"{at}/comments/"))
                next(c for c in comments.kept if c["id"] == number)["body"] = payload["body"]
                self._answer(200, {}, {})

        do_GET = do_POST = do_PATCH = _handle

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    comments.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield comments
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
