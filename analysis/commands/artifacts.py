"""`gate` and `verify`: what is done with an artifact that is there."""

from __future__ import annotations

from argparse import Namespace

from analysis.commands.output import emit, show


def gate(a: Namespace) -> int:
    """0 ship, 1 block, 3 hold; an artifact that does not verify is refused."""
    from analysis import artifact as artifacts
    from analysis import gate_report
    from analysis.errors import ArtifactError
    from analysis.gate import EXIT_CODES

    body = artifacts.read(a.artifact)
    problems = artifacts.verify(body)
    if problems:
        # Exit 1 means *block* here, which is what an artifact that nobody vouches for deserves.
        raise ArtifactError(f"artifact {a.artifact} does not verify:\n  " + "\n  ".join(problems))
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
