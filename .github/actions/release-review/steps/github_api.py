"""GitHub's REST API, as far as one sticky comment needs it, with the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import Any

TRIES = 5
LONGEST_WAIT = 60.0
PAGE = 100
MOST_PAGES = 100
ACTIONS_BOT = "github-actions[bot]"


class Denied(Exception):
    """The token may not do it: of a pull request from a fork, it only reads."""


class Refused(Exception):
    """The request is wrong, or nobody answers; asking again does not help."""


class Transient(Exception):
    """The server is busy, or limits requests. wait: seconds that it asked for, or None."""

    def __init__(self, text: str, wait: float | None) -> None:
        self.wait = wait
        super().__init__(text)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the API's own address, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Api:
    """url: GITHUB_API_URL. graphql: GITHUB_GRAPHQL_URL. sleep: waits so many seconds."""

    url: str
    graphql: str
    token: str
    sleep: Callable[[float], None]

    def patiently(self, ask: Callable[[], str]) -> str:
        """What `ask` gives, asked up to five times while the server is busy."""
        for tried in range(1, TRIES):
            try:
                return ask()
            except Transient as busy:
                self.sleep(min(busy.wait if busy.wait is not None else 2.0**tried, LONGEST_WAIT))
        return ask()

    def once(self, method: str, address: str, payload: object = None) -> Any:
        """One request: the JSON values of the answer. Raises Denied, Refused, Transient."""
        request = urllib.request.Request(
            address,
            method=method,
            data=None if payload is None else json.dumps(payload).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "User-Agent": "release-review",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise _meaning(method, error.code, error.headers, error.read(10_000)) from None
        except (OSError, HTTPException) as error:
            raise Transient(f"{method}: {error}", None) from None
        except ValueError:
            raise Refused(f"{method}: the answer is not JSON") from None


def _meaning(method: str, code: int, headers: Message, content: bytes) -> Exception:
    said = _said(content)
    text = f"{method}: {code} {said}"
    wait = headers.get("Retry-After")
    limited = wait is not None or headers.get("X-RateLimit-Remaining") == "0"
    limited = limited or "rate limit" in said.lower()
    if code >= 500 or code == 429 or (code == 403 and limited):
        seconds = float(wait) if wait is not None and wait.isdecimal() else None
        return Transient(text, seconds)
    if code in (401, 403, 404):
        return Denied(text)
    return Refused(text)


def _said(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@dataclass(frozen=True)
class Sticky:
    """One comment of a pull request. repository: owner/name. key line: the comment's first one."""

    api: Api
    repository: str
    number: int
    first_line: str

    def put(self, body: str) -> str:
        """Writes the comment: over the one that is there, or a new one. Says which.

        Each try looks first: a new comment whose answer was lost is found, and not made twice.
        """
        own = self.own_login()
        return self.api.patiently(lambda: self._put(body, own))

    def _put(self, body: str, own: str) -> str:
        found = self.find(own)
        at = f"{self.api.url}/repos/{self.repository}/issues"
        if found is None:
            self.api.once("POST", f"{at}/{self.number}/comments", {"body": body})
            return "created"
        self.api.once("PATCH", f"{at}/comments/{found}", {"body": body})
        return "updated"

    def find(self, own: str) -> int | None:
        """The id of our oldest comment with this first line; somebody else's is none of ours."""
        all_of_it = f"{self.api.url}/repos/{self.repository}/issues/{self.number}/comments"
        for page in range(1, MOST_PAGES + 1):
            listed = self.api.once("GET", f"{all_of_it}?per_page={PAGE}&page={page}")
            for comment in listed:
                text = str(comment.get("body") or "")
                lines = text.splitlines()
                if lines[:1] == [self.first_line] and _is_by(comment.get("user"), own):
                    return int(comment["id"])
            if len(listed) < PAGE:
                return None
        return None

    def own_login(self) -> str:
        """Who the token belongs to; of a runner's own token, where that cannot be asked, its bot."""
        question = {"query": "query { viewer { login } }"}
        try:
            answer = self.api.once("POST", self.api.graphql, question)
            return str(answer["data"]["viewer"]["login"])
        except (Denied, Refused, Transient, KeyError, TypeError):
            return ACTIONS_BOT


def _is_by(user: Any, own: str) -> bool:
    """REST calls a bot `name[bot]`; GraphQL may leave the ending out."""
    if not isinstance(user, dict):
        return False
    login = user.get("login")
    return login == own or (user.get("type") == "Bot" and login == f"{own}[bot]")
