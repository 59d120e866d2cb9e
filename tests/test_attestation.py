from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import artifact as artifacts
from analysis.attestation import FILE_NAME, SIGNATURES, site_problems, statement, write_statement
from analysis.errors import UsageError
from analysis.review import Review


@pytest.fixture
def site(tiny_review: Review, tmp_path: Path) -> Path:
    """A site of a few files, with another release in it, and its statement."""
    folder = tmp_path / "site"
    (folder / "report" / "é").mkdir(parents=True)
    (folder / "releases" / "r1").mkdir(parents=True)
    artifacts.write(tiny_review.body, folder / "decision_artifact.json")
    for name in ("index.html", "report/index.html", "report/é/a b.css", "releases/r1/index.html"):
        (folder / name).write_text(name)
    (folder / "empty").write_bytes(b"")
    write_statement(folder)
    return folder


NAMES = ["decision_artifact.json", "empty", "index.html", "report/index.html", "report/é/a b.css"]


def test_the_statement_is_one_of_in_toto_v1(site: Path, tiny_review: Review) -> None:
    """The shape by the specification, written down here by hand."""
    said = json.loads((site / FILE_NAME).read_text())
    assert set(said) == {"_type", "subject", "predicateType", "predicate"}
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "urn:release-review:decision:1"
    assert [one["name"] for one in said["subject"]] == NAMES
    for one in said["subject"]:
        assert set(one) == {"name", "digest"}
        expected = hashlib.sha256((site / one["name"]).read_bytes()).hexdigest()
        assert one["digest"] == {"sha256": expected}
    body = tiny_review.body
    assert said["predicate"]["decision"] == body["decision"]
    for name in ("schema", "revision", "release", "windows", "producer", "digest"):
        assert said["predicate"][name] == body[name], name
    assert said["predicate"]["evidence_digest"] == body["evidence_digest"]
    assert said["predicate"]["policy"]["sha256"] == body["policy"]["sha256"]
    assert "settings" not in said["predicate"]["policy"]


def test_the_same_site_gives_the_same_bytes_whatever_lies_beside_the_statement(site: Path) -> None:
    before = (site / FILE_NAME).read_bytes()
    for name in SIGNATURES:
        (site / name).write_text("signed")
    (site / "releases" / "r2").mkdir()
    (site / "releases" / "index.html").write_text("all releases")
    write_statement(site)
    assert (site / FILE_NAME).read_bytes() == before


def test_a_site_as_it_was_written_agrees(site: Path, tiny_review: Review) -> None:
    assert site_problems(site, tiny_review.body) == []


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def edit(site: Path) -> None:
        said = json.loads((site / FILE_NAME).read_text())
        change(said)
        (site / FILE_NAME).write_text(json.dumps(said))

    return edit


def removed(site: Path) -> None:
    (site / "empty").unlink()
    (site / "report/index.html").unlink()


def named(name: str) -> Callable[[Path], Any]:
    one = {"name": name, "digest": {"sha256": "0" * 64}}
    return edited(lambda s: s["subject"].append(one))


# change → what is said of it
CHANGES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a page is changed": (
        lambda site: (site / "index.html").write_text("SHIP"),
        ["index.html: changed"],
    ),
    "files are missing": (removed, ["empty: missing", "report/index.html: missing"]),
    "a file is added": (
        lambda site: (site / "report" / "more.html").write_text("x"),
        ["report/more.html: not in the statement"],
    ),
    "a file with a hostile name is added": (
        lambda site: (site / "\x1b[2J##[x]\n").write_text("x"),
        ["\\u001b[2J#\\u0023[x]\\u000a: not in the statement"],
    ),
    "a folder of releases elsewhere is no other release": (
        lambda site: ((site / "report/releases").mkdir(), (site / "report/releases/a").touch()),
        ["report/releases/a: not in the statement"],
    ),
    "a statement elsewhere is a file like any other": (
        lambda site: (site / "report" / FILE_NAME).touch(),
        [f"report/{FILE_NAME}: not in the statement"],
    ),
    "a link to a folder is added": (
        lambda site: (site / "linked").symlink_to(site.parent),
        ["linked: not in the statement"],
    ),
    "a file is a link to another": (
        lambda site: ((site / "empty").unlink(), (site / "empty").symlink_to("index.html")),
        ["empty: changed"],
    ),
    "a file is a folder": (
        lambda site: ((site / "empty").unlink(), (site / "empty").mkdir()),
        ["empty: missing"],
    ),
    "the decision is another": (
        edited(lambda s: s["predicate"]["decision"].update(outcome="ship")),
        [f"{FILE_NAME}: predicate.decision is not that of decision_artifact.json"],
    ),
    "something is claimed beside": (
        edited(lambda s: s["predicate"].update(approved=True)),
        [f"{FILE_NAME}: predicate.approved is not that of decision_artifact.json"],
    ),
    "no predicate": (edited(lambda s: s.pop("predicate")), [f"{FILE_NAME}: no predicate"]),
    "another type of predicate": (
        edited(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")),
        [f"{FILE_NAME}: predicateType is 'https://slsa.dev/provenance/v1'; expected "
         "'urn:release-review:decision:1'"],
    ),
    "an older statement": (
        edited(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
        [f"{FILE_NAME}: _type is 'https://in-toto.io/Statement/v0.1'; expected "
         "'https://in-toto.io/Statement/v1'"],
    ),
    "no subject": (
        edited(lambda s: s.update(subject=[])),
        [f"{FILE_NAME}: subject: does not name decision_artifact.json"],
    ),
    "a subject without a digest": (
        edited(lambda s: s["subject"].append({"name": "x"})),
        [f"{FILE_NAME}: subject: expected name and digest.sha256 of every file"],
    ),
    "a name twice": (
        named("empty"),
        [f"{FILE_NAME}: subject: empty stands twice, or is no file of a site"],
    ),
    "a name out of the site": (
        named("../x"),
        [f"{FILE_NAME}: subject: ../x stands twice, or is no file of a site"],
    ),
    "an absolute name": (
        named("/etc/passwd"),
        [f"{FILE_NAME}: subject: /etc/passwd stands twice, or is no file of a site"],
    ),
    "no JSON": (
        lambda site: (site / FILE_NAME).write_text("x"),
        [f"{FILE_NAME}: not JSON in UTF-8 (Expecting value: line 1 column 1 (char 0))"],
    ),
    "a list": (
        lambda site: (site / FILE_NAME).write_text("[]"),
        [f"{FILE_NAME}: expected an object, found list"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_whatever_differs_from_the_statement_is_said(
    site: Path, tiny_review: Review, change: Callable[[Path], Any], expected: list[str]
) -> None:
    change(site)
    assert site_problems(site, tiny_review.body) == expected


def test_without_its_artifact_the_files_are_still_checked(site: Path) -> None:
    (site / "decision_artifact.json").write_text("{}")
    assert site_problems(site, None) == ["decision_artifact.json: changed"]


def test_very_many_differences_are_counted(site: Path, tiny_review: Review) -> None:
    for i in range(70):
        (site / f"{i:02}.html").touch()
    problems = site_problems(site, tiny_review.body)
    assert len(problems) == 51
    assert problems[-1] == "and 20 more files"


def test_a_name_that_is_no_text_is_refused(site: Path, tiny_review: Review) -> None:
    (site / os.fsdecode(b"\xff.html")).touch()
    with pytest.raises(UsageError, match="is not UTF-8"):
        statement(site, tiny_review.body)
