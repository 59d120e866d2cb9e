"""A verification as text or JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from analysis.agreement import Difference
from analysis.safe_text import json_text, line
from analysis.verification import Part, Verification

_AGREES = {
    "schema and digests": "bytes, schema, evidence_digest and digest agree",
    "site": "every file of the site is the one in the statement, and there is no other",
    "inputs": "the input files are those that were reviewed",
    "policy": "the policy is the one that the artifact was made under",
    "review": "computed again, the review gives the same decision, counts and figures",
}
_MAX_SHOWN = 120


def as_text(found: Verification, artifact: str) -> str:
    """One line a part, and below it whatever differs."""
    lines = [f"{line(artifact)}: {'all agrees' if found.agrees else 'something differs'}"]
    for part in found.parts:
        lines += _part_lines(part)
    lines += [f"note: {line(note)}" for note in found.notes]
    return "\n".join(lines)


def _part_lines(part: Part) -> list[str]:
    if part.agrees:
        return [f"✓ {_AGREES[part.name]}"]
    told = [text for problem in part.problems for text in problem.split("\n")]
    count = len(part.problems) + part.n_differences
    lines = [f"✗ {part.name}: {count:,} {'difference' if count == 1 else 'differences'}"]
    lines += [f"    - {line(text)}" for text in told]
    other = "the file says" if part.name == "policy" else "computed again"
    lines += [f"    - {_words(one, other)}" for one in part.differences]
    rest = part.n_differences - len(part.differences)
    return lines if not rest else [*lines, f"    - and {rest:,} more values"]


def _words(one: Difference, other: str) -> str:
    said = "nothing" if one.only == "found" else _value(one.said)
    found = "nothing" if one.only == "said" else _value(one.found)
    return f"{line(one.path)}: the artifact says {said}, {other} {found}"


def _value(value: Any) -> str:
    shown = line(json.dumps(value, ensure_ascii=False, sort_keys=True))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"


def as_json(found: Verification, artifact: str) -> str:
    """The same as JSON values."""
    parts = [{**dataclasses.asdict(part), "agrees": part.agrees} for part in found.parts]
    return json_text(
        {"artifact": artifact, "agrees": found.agrees, "parts": parts, "notes": list(found.notes)}
    )
