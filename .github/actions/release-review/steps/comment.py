"""The job's summary, and the one comment of the pull request.

A comment that cannot be written changes no decision: it is told, and the summary has it all.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from comment_text import (
    CHECKS,
    COMMENT_LIMIT,
    SUMMARY_LIMIT,
    VIOLATIONS,
    fitted,
    marker,
    of_decision,
    of_failure,
    of_violations,
)
from github_api import Api, Denied, Refused, Sticky, Transient
from runner import artifact, load, output, policy, setting, summarise, tell, work


def main() -> None:
    """Leaves `comment.md`, adds to the summary, and comments where `comment` is true."""
    parts, table = _parts()
    first = marker(setting("KEY", policy()))
    text = fitted(parts, table, COMMENT_LIMIT, first)
    path = work() / "comment.md"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    summarise(fitted(parts, table, SUMMARY_LIMIT))
    output("comment", path)
    if setting("COMMENT", "true") != "true":
        return
    number = pull_request()
    token = setting("TOKEN") or os.environ.get("GITHUB_TOKEN", "")
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    if number is None:
        tell("notice", "this run is of no pull request: the job's summary has what a comment would")
    elif not token or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        tell("notice", "no token, or no repository: the job's summary has what a comment would")
    else:
        _write(repository, number, token, first, text)


def _write(repository: str, number: int, token: str, first: str, text: str) -> None:
    url = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    graphql = os.environ.get("GITHUB_GRAPHQL_URL", f"{url}/graphql")
    try:
        done = Sticky(Api(url, graphql, token, time.sleep), repository, number, first).put(text)
    except Denied as error:
        tell(
            "notice",
            f"this token may not comment ({error}), as of a pull request from a fork, or without "
            "`pull-requests: write`: the job's summary has the comment",
        )
    except (Refused, Transient) as error:
        tell("warning", f"the comment was not written ({error}): the job's summary has it")
    else:
        print(f"comment {done}")


def _parts() -> tuple[list[str], tuple[str, ...]]:
    result = load()
    if result is not None and result.decision is not None:
        body = json.loads(artifact().read_text(encoding="utf-8"))
        changes = work() / "changes.md"
        told = changes.read_text(encoding="utf-8") if changes.exists() else None
        rules = work() / "rules.txt"
        warning = rules.read_text(encoding="utf-8") if rules.exists() else None
        return of_decision(body, told, _links(), warning), CHECKS
    violations = work() / "violations.json"
    if result is not None and result.violated and violations.exists():
        return of_violations(json.loads(violations.read_text(encoding="utf-8"))), VIOLATIONS
    why = result.why if result is not None else "the review did not come to its end"
    return of_failure(why), ()


def _links() -> list[tuple[str, str]]:
    server, run = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_RUN_ID", "")
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    links = [("site, PDF and artifact", setting("SITE_URL"))]
    if server and run:
        links.append(("this run", f"{server}/{repository}/actions/runs/{run}"))
    return links


def pull_request() -> int | None:
    """The number of the pull request that this run is of."""
    given = setting("PULL_REQUEST")
    if given.isdecimal():
        return int(given)
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        event: Any = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
        return int(event["pull_request"]["number"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    main()
