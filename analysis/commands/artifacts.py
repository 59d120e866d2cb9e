"""`gate`, `verify`, `migrate` and `routes`: what is done with an artifact that is there."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.commands.output import emit, say, show
from analysis.errors import ArtifactError, UsageError


def gate(a: Namespace) -> int:
    """0 ship, 1 block, 3 hold; an artifact that does not verify is refused."""
    from analysis import gate_report
    from analysis.gate import EXIT_CODES

    # Exit 1 means *block* here, which is what an artifact that nobody vouches for deserves.
    body = verified(a.artifact)
    if a.explain is not None:
        emit(gate_report.explain(body, a.explain), a.out)
    else:
        emit(gate_report.FORMATS[a.format](body), a.out)
    return EXIT_CODES[body["decision"]["outcome"]]


def verify(a: Namespace) -> int:
    """0 all agrees, 1 something differs."""
    from analysis.commands.given import moment, size
    from analysis.progress import progress
    from analysis.verification import Inputs
    from analysis.verification import verify as run
    from analysis.verification_report import as_json, as_text

    options = {"--contract": a.contract, "--as-of": a.as_of}
    lost = [name for name, given in options.items() if given is not None]
    if a.data is None and lost:
        raise UsageError(f"{' and '.join(lost)}: for a review that is computed again, with --data")
    inputs = Inputs(
        data=a.data,
        policy=a.policy,
        contract=a.contract,
        as_of=moment(a.as_of),
        threads=a.threads,
        memory_limit=size(a.memory_limit),
    )
    with progress(quiet=a.quiet or a.data is None) as told, readable_values():
        found = run(a.artifact, inputs, told)
        text = (as_json if a.format == "json" else as_text)(found, str(a.artifact))
    emit(text, a.out)
    return 0 if found.agrees else 1


def migrate(a: Namespace) -> int:
    """The artifact at the current revision of its schema, to stdout or `--out`."""
    from analysis import artifact as artifacts
    from analysis.migration import migrated

    body = verified(a.artifact, as_it_is=True)
    made = migrated(body)
    if a.out is None:
        show(artifacts.file_bytes(made).decode("utf-8"))
    else:
        try:
            artifacts.write(made, a.out)
        except OSError as error:
            raise UsageError(f"--out {a.out}: {error.strerror}") from None
    before, now = artifacts.revision_of(body), artifacts.REVISION
    say(
        a,
        f"revision {now} already: nothing was changed"
        if before == now
        else f"brought from revision {before} to {now}",
    )
    return 0


def routes(a: Namespace) -> int:
    """The rules of routing candidates for a router: of one by its name, or of those that are adopted."""
    from analysis import routes as forms

    body = verified(a.artifact)
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


@contextmanager
def readable_values() -> Iterator[None]:
    """Artifacts are made by whom they may be. Raises ArtifactError for nests and numbers without end."""
    try:
        yield
    except RecursionError:
        raise ArtifactError("artifact: nested too deeply") from None
    except OverflowError:
        raise ArtifactError("artifact: holds a number that is too large") from None


def verified(path: Path, *, as_it_is: bool = False) -> dict[str, Any]:
    """The artifact's JSON values, of an older revision with every key of today unless `as_it_is`.

    Raises ArtifactError where they do not agree with their schema and digests.
    """
    from analysis import artifact as artifacts
    from analysis.migration import readable, refuse_unverified

    body = artifacts.read(path)
    refuse_unverified(body, f"artifact {path}")
    return body if as_it_is else readable(body)
