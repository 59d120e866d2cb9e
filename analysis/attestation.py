"""The in-toto Statement of a site: which files it holds, and the decision that they show.

`decision.intoto.json` lies beside the artifact: subject is every file of the site by its SHA-256, the
artifact among them, predicate the decision (in-toto attestation framework, Statement v1:
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md). It is not signed; its bytes are what
a tool signs, and a signature lies beside it under one of the names in `SIGNATURES`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from analysis import artifact_bytes as artifacts
from analysis.errors import ArtifactError, UsageError
from analysis.safe_text import line

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:release-review:decision:1"
"""Keys are added to the predicate under this name; for another meaning of one it ends in 2."""
FILE_NAME = "decision.intoto.json"
SIGNATURES = tuple(
    FILE_NAME + suffix for suffix in (".sig", ".pem", ".sigstore.json", ".bundle")
) + ("decision.intoto.jsonl", "decision.dsse.json")
"""What standard tools write beside the statement: no part of the site that it is about."""
OTHER_RELEASES = "releases"
"""The folder in which a site keeps other releases, each with a statement of its own."""
MAX_LISTED = 50

Body = Mapping[str, Any]


def statement(site: Path, body: Body) -> dict[str, Any]:
    """The statement of the files that are in `site` now; `body` is its artifact."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in digests(site).items()
        ],
        "predicateType": PREDICATE,
        "predicate": predicate(body),
    }


def predicate(body: Body) -> dict[str, Any]:
    """What the statement says: the decision, what it is about, and what it was made of and by."""
    kept = ("schema", "revision", "release", "decision", "windows", "producer")
    return {
        **{name: body[name] for name in kept if name in body},
        "policy": {key: held for key, held in body["policy"].items() if key != "settings"},
        "evidence_digest": body["evidence_digest"],
        "digest": body["digest"],
    }


def write_statement(site: Path) -> None:
    """Writes the statement, once nothing else of the site changes any more."""
    body = artifacts.read(site / artifacts.FILE_NAME)
    artifacts.write(statement(site, body), site / FILE_NAME)


def digests(site: Path) -> dict[str, str]:
    """Name → SHA-256 of every file of the site, sorted; names are relative, with `/`.

    Raises UsageError where one cannot be read.
    """
    return {name: _sha256(site / name) for name in sorted(_names(site))}


def _names(site: Path) -> Iterator[str]:
    """Files, and links to folders, which nobody looks into."""
    for at, folders, files in os.walk(site):
        place = Path(at)
        if place == site:
            folders[:] = [name for name in folders if name != OTHER_RELEASES]
            files = [name for name in files if name not in (FILE_NAME, *SIGNATURES)]
        links = [name for name in folders if (place / name).is_symlink()]
        for name in (*files, *links):
            path = (place / name).relative_to(site).as_posix()
            try:
                path.encode("utf-8")
            except UnicodeEncodeError:
                raise UsageError(f"{site}: the name of {line(path)} is not UTF-8") from None
            yield path


def _sha256(path: Path) -> str:
    try:
        if not path.is_file():
            # A link to a folder, a pipe: there is nothing that a digest could be of.
            return "no file"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or 'cannot be read'}") from None


# ── what verifies a site ─────────────────────────────────────────────────────────────────


def site_problems(site: Path, body: Body | None) -> list[str]:
    """What differs between the site and the statement in it: files that are missing, changed or not
    named, and a predicate that is not its artifact's. body: None where that cannot be read."""
    try:
        said = artifacts.json_object((site / FILE_NAME).read_bytes())
    except OSError as error:
        return [f"{FILE_NAME}: {error.strerror or 'cannot be read'}"]
    except ArtifactError as error:
        return [f"{FILE_NAME}: {error}"]
    problems = [
        f"{FILE_NAME}: {key} is {line(repr(said.get(key)))[:80]}; expected {expected!r}"
        for key, expected in (("_type", STATEMENT), ("predicateType", PREDICATE))
        if said.get(key) != expected
    ]
    if body is not None:
        problems += _predicate_problems(said.get("predicate"), predicate(body))
    try:
        named = _subject(said.get("subject"))
    except ArtifactError as error:
        return [*problems, f"{FILE_NAME}: {error}"]
    return [*problems, *_file_problems(named, digests(site))]


def _predicate_problems(said: Any, expected: Mapping[str, Any]) -> list[str]:
    if not isinstance(said, Mapping):
        return [f"{FILE_NAME}: no predicate"]
    return [
        f"{FILE_NAME}: predicate.{line(key)} is not that of {artifacts.FILE_NAME}"
        for key in sorted({*said, *expected})
        if key not in said or key not in expected or said[key] != expected[key]
    ]


def _subject(said: Any) -> dict[str, str]:
    """Name → SHA-256 of the subject. Raises ArtifactError where it is none."""
    named: dict[str, str] = {}
    for one in said if isinstance(said, list) else ():
        name = one.get("name") if isinstance(one, Mapping) else None
        digest = one.get("digest") if isinstance(one, Mapping) else None
        sha256 = digest.get("sha256") if isinstance(digest, Mapping) else None
        if not isinstance(name, str) or not isinstance(sha256, str) or not _HEX.match(sha256):
            raise ArtifactError("subject: expected name and digest.sha256 of every file")
        if not _is_inside(name) or name in named:
            raise ArtifactError(f"subject: {line(name)[:80]} stands twice, or is no file of a site")
        named[name] = sha256
    if artifacts.FILE_NAME not in named:
        raise ArtifactError(f"subject: does not name {artifacts.FILE_NAME}")
    return named


_HEX = re.compile(r"[0-9a-f]{64}\Z")


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name != "."


def _file_problems(named: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    told = [
        *(f"{line(name)}: missing" for name in sorted(named.keys() - found.keys())),
        *(
            f"{line(name)}: changed"
            for name in sorted(named.keys() & found.keys())
            if named[name] != found[name]
        ),
        *(f"{line(name)}: not in the statement" for name in sorted(found.keys() - named.keys())),
    ]
    rest = len(told) - MAX_LISTED
    return told if rest <= 0 else [*told[:MAX_LISTED], f"and {rest:,} more files"]
