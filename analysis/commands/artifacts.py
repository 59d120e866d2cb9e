"""`gate`, `verify` and `routes`: what is done with an artifact that is there."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.commands.output import emit, show
from analysis.errors import ArtifactError, UsageError


def gate(a: Namespace) -> int:
    """0 ship, 1 block, 3 hold; an artifact that does not verify is refused."""
    from analysis import gate_report
    from analysis.gate import EXIT_CODES

    # Exit 1 means *block* here, which is what an artifact that nobody vouches for deserves.
    body = _verified(a.artifact)
    if a.explain is not None:
        emit(gate_report.explain(body, a.explain), a.out)
    else:
        emit(gate_report.FORMATS[a.format](body), a.out)
    return EXIT_CODES[body["decision"]["outcome"]]


def verify(a: Namespace) -> int:
    """0 all agrees, 1 something differs."""
    from analysis import artifact as artifacts

    problems = artifacts.verify_file(a.artifact)
    show("\n".join(problems) or f"{a.artifact}: schema, evidence_digest and digest agree")
    return 1 if problems else 0


def routes(a: Namespace) -> int:
    """The rules of routing candidates for a router: of one by its name, or of those that are adopted."""
    from analysis import routes as forms

    body = _verified(a.artifact)
    chosen = _chosen(body["views"]["routing"]["candidates"], a.candidate)
    if a.format == "yaml":
        text = "\n\n".join(forms.as_yaml(candidate, body) for candidate in chosen)
    else:
        if len(chosen) > 1:
            raise UsageError(
                "several candidates are adopted, and a router follows one: choose it with --candidate\n"
                + _listed(chosen)
            )
        text = forms.as_litellm(chosen[0], body)
    emit(text, a.out)
    return 0


def _chosen(
    candidates: Sequence[Mapping[str, Any]], name: str | None
) -> Sequence[Mapping[str, Any]]:
    if not candidates:
        raise UsageError("the artifact holds no routing candidates: its policy names none")
    if name is not None:
        chosen = [c for c in candidates if c["name"] == name]
        if not chosen:
            raise UsageError(f"--candidate {name}: no such candidate\n{_listed(candidates)}")
        return chosen
    adopted = [c for c in candidates if c["recommendation"] == "adopt"]
    if not adopted:
        raise UsageError(
            "no routing candidate is adopted; --candidate NAME exports one all the same\n"
            + _listed(candidates)
        )
    return adopted


def _listed(candidates: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"  {c['name']}: {c['recommendation'].replace('_', ' ')}: {c['reason']}" for c in candidates
    )


def _verified(path: Path) -> dict[str, Any]:
    """The artifact's JSON values. Raises ArtifactError where they do not agree with their digests."""
    from analysis import artifact as artifacts

    body = artifacts.read(path)
    problems = artifacts.verify(body)
    if problems:
        raise ArtifactError(f"artifact {path} does not verify:\n  " + "\n  ".join(problems))
    return body
