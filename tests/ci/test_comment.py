"""One comment a pull request: found, written over, never somebody else's, and always text."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comment
import comment_text
import github_api
import pypandoc
import pytest
from comment_text import CHECKS, COMMENT_LIMIT, fitted, marker, of_decision, of_violations
from plain import markdown, message
from runner import Result, save

from analysis.review import Review
from tests.ci.fake_github import BOT, NUMBER, REPOSITORY, Comments, serving
from tests.test_gate_report import HOSTILE

KEY = "report/policy.yml"
FIRST = marker(KEY)
Body = dict[str, Any]


@pytest.fixture
def github() -> Iterator[Comments]:
    with serving() as comments:
        yield comments


@pytest.fixture
def body(tiny_review: Review) -> Body:
    return copy.deepcopy(dict(tiny_review.body))


@pytest.fixture
def waits() -> list[float]:
    return []


def sticky(github: Comments, waits: list[float], key: str = KEY) -> github_api.Sticky:
    api = github_api.Api(github.url, f"{github.url}/graphql", "token-of-the-run", waits.append)
    return github_api.Sticky(api, REPOSITORY, NUMBER, marker(key))


def text(word: str, key: str = KEY) -> str:
    return f"{marker(key)}\n{word}\n"


def test_the_first_run_creates_and_the_next_writes_over(
    github: Comments, waits: list[float]
) -> None:
    github.add("an opinion", {"login": "ada", "type": "User"})
    assert sticky(github, waits).put(text("one")) == "created"
    assert sticky(github, waits).put(text("two")) == "updated"
    assert [c["body"] for c in github.kept] == ["an opinion", text("two")]
    assert waits == []


def test_two_reviews_of_a_pull_request_have_a_comment_each(
    github: Comments, waits: list[float]
) -> None:
    for word in ("one", "two"):
        for key in ("a.yml", "b.yml"):
            sticky(github, waits, key).put(text(word, key))
    assert [c["body"] for c in github.kept] == [text("two", "a.yml"), text("two", "b.yml")]


@pytest.mark.parametrize("place", [0, 99, 100, 250])
def test_it_is_found_among_many(github: Comments, waits: list[float], place: int) -> None:
    for number in range(260):
        github.add(text("ours") if number == place else f"comment {number}")
    assert sticky(github, waits).put(text("new")) == "updated"
    assert github.kept[place]["body"] == text("new")
    assert len(github.kept) == 260


def test_what_somebody_else_wrote_stays(github: Comments, waits: list[float]) -> None:
    theirs = [
        github.add(text("forged"), {"login": "mallory", "type": "User"}),
        github.add(text("forged"), {"login": "other[bot]", "type": "Bot"}),
        github.add(text("forged"), {"login": "github-actions", "type": "User"}),
        github.add(text("forged"), None),
        github.add(f"> quoted\n{FIRST}", BOT),
        github.add(f"{FIRST[:-4]}x -->\nours of another key", BOT),
    ]
    before = copy.deepcopy(github.kept)
    assert sticky(github, waits).put(text("ours")) == "created"
    assert github.kept[: len(theirs)] == before


@pytest.mark.parametrize(
    ("viewer", "login"),
    [
        ("github-actions[bot]", "github-actions[bot]"),
        ("github-actions", "github-actions[bot]"),
        (None, "github-actions[bot]"),
        ("release-team", "release-team"),
    ],
)
def test_the_token_says_whose_comments_are_ours(
    github: Comments, waits: list[float], viewer: str | None, login: str
) -> None:
    github.viewer = viewer
    kind = "Bot" if login.endswith("[bot]") else "User"
    github.add(text("old"), {"login": login, "type": kind})
    assert sticky(github, waits).put(text("new")) == "updated"


@pytest.mark.parametrize(
    ("instead", "waited"),
    [
        ([("GET", 502, {}, False)], [2.0]),
        ([("POST", 500, {}, False), ("POST", 503, {}, False)], [2.0, 4.0]),
        ([("GET", 429, {"Retry-After": "7"}, False)], [7.0]),
        ([("POST", 403, {"Retry-After": "3600"}, False)], [60.0]),
        ([("GET", 403, {"X-RateLimit-Remaining": "0"}, False)], [2.0]),
        ([("POST", 403, {"said": "You have exceeded a secondary rate limit"}, False)], [2.0]),
    ],
)
def test_a_busy_server_is_asked_again(
    github: Comments, waits: list[float], instead: list[Any], waited: list[float]
) -> None:
    github.instead = instead
    assert sticky(github, waits).put(text("one")) == "created"
    assert waits == waited
    assert len(github.kept) == 1


def test_an_answer_that_was_lost_makes_no_second_comment(
    github: Comments, waits: list[float]
) -> None:
    github.instead = [("POST", 502, {}, True)]
    assert sticky(github, waits).put(text("one")) == "updated"
    assert [c["body"] for c in github.kept] == [text("one")]


def test_a_server_that_stays_busy_is_given_up(github: Comments, waits: list[float]) -> None:
    github.instead = [("GET", 502, {}, False)] * 9
    with pytest.raises(github_api.Transient, match="502"):
        sticky(github, waits).put(text("one"))
    assert len(waits) == github_api.TRIES - 1


def test_a_redirect_is_not_followed_with_the_token(github: Comments, waits: list[float]) -> None:
    github.instead = [("GET", 302, {"Location": f"{github.url}/elsewhere"}, False)]
    with pytest.raises(github_api.Refused, match="302"):
        sticky(github, waits).put(text("one"))
    assert "/elsewhere" not in [path for _, path in github.asked]


# The step as a whole


def step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], **more: str
) -> tuple[str, str]:
    """Runs the step in a work folder; the comment's text, and the summary."""
    summary = tmp_path / "step-summary.md"
    settings = {"WORK": str(tmp_path), "TOKEN": "token-of-the-run", **more}
    for name, value in settings.items():
        monkeypatch.setenv(f"RELEASE_REVIEW_{name}", value)
    for name, value in {"GITHUB_STEP_SUMMARY": str(summary), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    comment.main()
    return (tmp_path / "comment.md").read_text(), summary.read_text()


def decided(tmp_path: Path, body: Body) -> None:
    (tmp_path / "review").mkdir()
    path = tmp_path / "review" / "decision_artifact.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    save(Result(body["decision"]["outcome"], 3))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: Body) -> Path:
    monkeypatch.setenv("RELEASE_REVIEW_WORK", str(tmp_path))
    decided(tmp_path, body)
    return tmp_path


def test_the_comment_has_the_decision_the_checks_and_the_changes(
    github: Comments, monkeypatch: pytest.MonkeyPatch, work: Path, body: Body
) -> None:
    (work / "changes.md").write_text("### Up\n\nBeyond noise.\n\n| a |\n| --- |\n\nlast\n")
    told, summary = step(
        monkeypatch, work, github.environment, SITE_URL="https://github.com/o/r/artifacts/9"
    )
    assert [c["body"] for c in github.kept] == [told]
    lines = told.splitlines()
    assert lines[:2] == [FIRST, "## HOLD: release 2026.11.2"]
    rows = [line for line in lines if line.startswith(("| ✓", "| ✗", "| ?"))]
    assert len(rows) == len(body["checks"])
    # What decides comes first.
    for row, name in zip(rows, body["decision"]["holding"], strict=False):
        assert markdown(name) in row
    assert (
        "\n## What changed since the base\n\n### Up\n\nBeyond noise.\n\n"
        "<details><summary>All that changed</summary>\n\n| a |\n| --- |\n\nlast\n\n</details>\n"
    ) in told
    assert "[site, PDF and artifact](https://github.com/o/r/artifacts/9)" in told
    assert "[this run](https://github.com/o/r/actions/runs/7)" in told
    assert body["evidence_digest"] in told
    assert FIRST not in summary
    assert rows == [line for line in summary.splitlines() if line in rows]


def test_a_fork_reads_it_in_the_summary(
    github: Comments, monkeypatch: pytest.MonkeyPatch, work: Path, capsys: pytest.CaptureFixture
) -> None:
    github.writable = False
    _, summary = step(monkeypatch, work, github.environment)
    said = capsys.readouterr().out
    assert said.startswith("::notice title=release review::this token may not comment")
    assert "Resource not accessible by integration" in said
    assert "::error" not in said
    assert github.kept == []
    assert summary.startswith("## HOLD: release")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RELEASE_REVIEW_PULL_REQUEST": ""}, "this run is of no pull request"),
        ({"RELEASE_REVIEW_TOKEN": ""}, "no token, or no repository"),
        ({"GITHUB_REPOSITORY": "o/r/../x"}, "no token, or no repository"),
        ({"GITHUB_API_URL": "http://127.0.0.1:1"}, "the comment was not written"),
    ],
)
def test_no_comment_is_no_failure(
    github: Comments,
    monkeypatch: pytest.MonkeyPatch,
    work: Path,
    capsys: pytest.CaptureFixture,
    environment: dict[str, str],
    said: str,
) -> None:
    step(monkeypatch, work, {**github.environment, **environment})
    assert said in capsys.readouterr().out
    assert github.kept == []


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ({"pull_request": {"number": 12}}, 12),
        ({"release": {"id": 1}}, None),
        ({"pull_request": None}, None),
        ("not an object", None),
    ],
)
def test_the_event_says_which_pull_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, event: object, number: int | None
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(path))
    assert comment.pull_request() == number


def test_a_comment_that_would_be_too_long_says_what_it_leaves_out(
    github: Comments, monkeypatch: pytest.MonkeyPatch, work: Path, body: Body
) -> None:
    check = body["checks"][-1]
    for number in range(900):
        body["checks"].append({**check, "id": f"more.{number}", "sentence": "é\U0001f600 " * 40})
    (work / "review" / "decision_artifact.json").write_text(json.dumps(body))
    (work / "changes.md").write_text("paragraph of changes\n\n" * 5_000)
    told, summary = step(monkeypatch, work, github.environment)
    assert [c["body"] for c in github.kept] == [told]
    assert len(told.encode("utf-16-le")) // 2 <= COMMENT_LIMIT
    rows = told.count("\n| ")
    assert f"of {len(body['checks'])} rows are left out, the least important" in told
    for name in body["decision"]["holding"]:
        assert f"| {markdown(name)} |" in told
    assert "The rest is left out" in told
    assert body["digest"] in told
    assert summary.count("\n| ") > rows


def test_no_artifact_makes_a_comment_that_github_refuses(body: Body) -> None:
    worst = "@" * 5_000
    body["decision"].update(outcome="block", headline=worst)
    check = {**body["checks"][0], "sentence": worst, "action": worst}
    body["checks"] = [{**check, "id": f"{worst}{n}"[-5_000:]} for n in range(300)]
    body["decision"]["blocking"] = [c["id"] for c in body["checks"]]
    for changes in ("@" * 90_000, "é\n\n" * 30_000):
        told = fitted(of_decision(body, changes, []), CHECKS, COMMENT_LIMIT, FIRST)
        assert len(told.encode("utf-16-le")) // 2 <= COMMENT_LIMIT
        assert told.startswith(f"{FIRST}\n## BLOCK: release 2026.11.2\n\n&#64;")
        assert body["digest"] in told
        assert "is left out" in told


def test_the_table_goes_by_importance(body: Body) -> None:
    order = [c["id"] for c in comment_text.ordered(body["checks"], body["decision"])]
    deciding = [*body["decision"]["blocking"], *body["decision"]["holding"]]
    assert order[: len(deciding)] == deciding
    assert sorted(order) == sorted(c["id"] for c in body["checks"])


@pytest.mark.parametrize("hostile", [*HOSTILE, "--> <h1>out</h1>", "long " * 9_000])
def test_hostile_text_is_text(body: Body, hostile: str) -> None:
    release, decision = body["release"], body["decision"]
    release["id"] = hostile
    decision["headline"] = hostile
    decision["watch"] = [{"what": hostile, "limit": 0.1, "days": 7.0}]
    for check in body["checks"]:
        check.update(sentence=hostile, action=hostile)
    evil = "https://evil.example/) <img src=x>"
    told = fitted(
        of_decision(body, None, [("site", "javascript:alert(1)"), ("run", evil)]),
        CHECKS,
        COMMENT_LIMIT,
        FIRST,
    )
    told.encode("utf-8")
    assert told.count("<!--") == told.count("-->") == 1
    assert told.isprintable() or {c for c in told if not c.isprintable()} == {"\n"}
    assert "evil.example/)" not in told
    page = pypandoc.convert_text(told, "json", format="gfm")
    kinds = json.dumps(json.loads(page)["blocks"])
    for kind in ("Link", "Image", "Math", "CodeBlock"):
        assert f'"t": "{kind}"' not in kinds, kind
    # The mark, and the line break before what is to do, are all the HTML there is.
    assert kinds.count('"RawBlock"') == 1
    assert set(_raw(json.loads(page)["blocks"])) <= {"<br>"}


def _raw(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("t") == "RawInline":
            yield node["c"][1]
        for item in node.values():
            yield from _raw(item)
    elif isinstance(node, list):
        for item in node:
            yield from _raw(item)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_annotation_is_one_line_that_commands_nothing(hostile: str) -> None:
    told = message(f"{hostile} ##[error]x")
    assert "\n" not in told
    assert "\r" not in told
    assert "##[" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize("hostile", HOSTILE)
def test_violations_are_text_too(hostile: str) -> None:
    violation = {
        "severity": "error",
        "rule": hostile,
        "table": hostile,
        "column": hostile,
        "hint": hostile,
        "n_rows": 3,
    }
    found = {"n_errors": 1, "n_warnings": 0, "n_rules": 21, "violations": [violation]}
    told = fitted(of_violations(found), comment_text.VIOLATIONS, COMMENT_LIMIT, FIRST)
    row = told.splitlines()[-1]
    assert row.startswith("| ✗ error |")
    assert row.count("|") == 7


@pytest.mark.parametrize("key", ["a --> b", "x\ny", "<script>", "a---b", "é"])
def test_a_key_stays_in_its_mark(key: str) -> None:
    made = marker(key)
    assert made.startswith("<!-- release-review: ")
    assert made.endswith(" -->")
    inner = made[4:-3]
    assert "--" not in inner
    assert not set("<>\n") & set(inner)
