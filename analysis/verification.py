"""Verifies an artifact: its file, the site that it lies in, and, given the inputs, the whole review.

    bytes, schema, digests → files of the site → inputs' digests → policy → the review computed again

Nothing here changes anything. The parts are told one by one, each with all that differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis import attestation
from analysis import policy as policies
from analysis import review as reviews
from analysis.agreement import Difference, differences
from analysis.artifact_schema import projected
from analysis.contract import TABLES
from analysis.errors import ArtifactError, ContractError, PolicyError, WindowError
from analysis.policy import LoadedPolicy, Policy
from analysis.policy_problems import Checked
from analysis.progress import SILENT, Progress
from analysis.publication import file_names
from analysis.safe_text import line
from analysis.telemetry.files import digest_inputs

Body = Mapping[str, Any]
MAX_DIFFERENCES = 50
# Told apart from the review's values: what it was made by, from and under, and what follows from all.
_NOT_COMPARED = frozenset(
    {"schema", "revision", "migrated_from", "producer", "policy", "evidence_digest", "digest"}
)


@dataclass(frozen=True)
class Part:
    """One part of a verification. problems: in words; differences: the first ones of `n_differences`."""

    name: str
    problems: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    n_differences: int = 0

    @property
    def agrees(self) -> bool:
        return not self.problems and not self.n_differences


@dataclass(frozen=True)
class Verification:
    """What was verified, part by part; notes change nothing."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return all(part.agrees for part in self.parts)


@dataclass(frozen=True)
class Inputs:
    """What a review is computed again from. policy: None for the settings in the artifact; as_of:
    None for the artifact's own. data: a directory, or the address of an engine; None: the policy alone
    is compared."""

    data: str | None = None
    policy: Path | None = None
    contract: Path | None = None
    as_of: datetime | None = None
    threads: int | None = None
    memory_limit: str | None = None


def verify(path: Path, inputs: Inputs = Inputs(), progress: Progress = SILENT) -> Verification:
    """Verifies the artifact at `path`.

    Raises UsageError where it, its site or its inputs cannot be read, and PolicyError where the policy
    is none. Telemetry that violates the contract is a problem of the part `review`.
    """
    problems = artifacts.verify_file(path)
    parts = [Part("schema and digests", tuple(problems))]
    notes: list[str] = []
    body = None if problems else artifacts.read(path)
    if (path.parent / attestation.FILE_NAME).exists():
        parts.append(Part("site", tuple(attestation.site_problems(path.parent, body))))
    else:
        notes.append(f"no {attestation.FILE_NAME} lies beside it: no file of a site was checked")
    if body is None:
        return Verification(tuple(parts), tuple(notes))
    if inputs.data is None:
        if inputs.policy is not None:
            release = body["release"]["id"]
            parts.append(_policy_part(body, policies.load(inputs.policy, release_id=release)))
        notes.append("without --data the review was not computed again")
        return Verification(tuple(parts), tuple(notes))
    wanted = _request(body, inputs)
    if isinstance(wanted.data, Path):
        parts.append(Part("inputs", tuple(_input_problems(body, digest_inputs(wanted.data)))))
    if inputs.policy is not None:
        parts.append(_policy_part(body, wanted.loaded))
    try:
        again = reviews.compute(wanted, progress).body
    except (ContractError, WindowError) as error:
        parts.append(Part("review", (f"cannot be computed again: {error}",)))
        return Verification(tuple(parts), tuple(notes))
    told = any(part.name == "inputs" and not part.agrees for part in parts)
    parts.append(_review_part(body, again, without_tables=told))
    notes += _producer_notes(body["producer"], again["producer"])
    return Verification(tuple(parts), tuple(notes))


def _input_problems(body: Body, found: Sequence[tuple[str, str]]) -> list[str]:
    """Input files that are missing or changed; those of recorded releases come with the review."""
    if body.get("publication"):
        tables = [next((t for t in TABLES if name.startswith(t)), "") for name, _ in found]
        shown = file_names([(t, name) for t, (name, _) in zip(tables, found, strict=True)])
        found = [(name, sha256) for name, (_, sha256) in zip(shown, found, strict=True)]
    now = dict(found)
    problems = []
    for one in body["inputs"]:
        name, sha256 = one["file"], one["sha256"]
        if one["table"] not in TABLES:
            continue
        if name not in now:
            problems.append(f"{line(name)}: missing")
        elif now[name] != sha256:
            problems.append(f"{line(name)}: the artifact says {line(sha256)}, found {now[name]}")
    return problems


def _request(body: Body, inputs: Inputs) -> reviews.Request:
    """The review that the artifact is of: its release, as of its moment, under its policy."""
    return reviews.request(
        data=inputs.data,
        policy=inputs.policy,
        release_id=body["release"]["id"],
        as_of=inputs.as_of or _moment(body["windows"]["as_of"]),
        threads=inputs.threads,
        memory_limit=inputs.memory_limit,
        contract=inputs.contract,
        loaded=_own_policy(body) if inputs.policy is None else None,
    )


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise ArtifactError(f"windows.as_of: {line(text or '')[:80]} is no time") from None


def _own_policy(body: Body) -> LoadedPolicy:
    source = Path("policy.settings of the artifact")
    checked = Checked(Policy, dict(body["policy"]["settings"]), {}, ())
    if checked.model is None:
        raise PolicyError(checked.problems, str(source))
    return LoadedPolicy(checked.model, body["policy"]["sha256"], source)


def _policy_part(body: Body, loaded: LoadedPolicy) -> Part:
    """The file against the one that the artifact was made under, key by key."""
    # A key that is newer than the artifact is at its default where the file does not name it.
    said = {"sha256": body["policy"]["sha256"], **_with_defaults(body["policy"]["settings"])}
    found = {"sha256": loaded.sha256, **reviews.shown_settings(loaded.policy)}
    for settings in (said, found):
        settings.pop("data", None)
    return _part("policy", differences(said, found, "policy"))


def _with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    model = Checked(Policy, dict(settings), {}, ()).model
    return dict(settings) if model is None else reviews.shown_settings(model)


def _review_part(body: Body, again: Body, *, without_tables: bool) -> Part:
    """The artifact's values against the review computed again, as far as its revision knew them.

    without_tables: the files of the three tables were told already.
    """
    revision = artifacts.revision_of(body)
    if body.get("migrated_from"):
        revision = body["migrated_from"]["revision"]
    if revision != artifacts.REVISION:
        schema = artifacts.schema_of({"revision": revision})
        body, again = projected(body, schema), projected(again, schema)
    said, found = (
        {key: held for key, held in one.items() if key not in _NOT_COMPARED}
        for one in (body, again)
    )
    if without_tables:
        for one in (said, found):
            one["inputs"] = [i for i in one["inputs"] if i["table"] not in TABLES]
    return _part("review", differences(said, found))


def _part(name: str, found: Any) -> Part:
    listed = list(found)
    # What decides is told first.
    listed.sort(key=lambda d: (not d.path.startswith("decision"), not d.path.startswith("checks")))
    return Part(name, (), tuple(listed[:MAX_DIFFERENCES]), len(listed))


def _producer_notes(said: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    told = [
        f"{line(d.path)} {_plain(d.said)} there, {_plain(d.found)} here"
        for d in differences(said, found)
    ]
    if not told:
        return []
    return [f"made by other code, which may explain a difference: {'; '.join(told)}"]


def _plain(value: Any) -> str:
    return "none" if value is None else line(str(value))[:80]
