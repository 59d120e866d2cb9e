"""What each command does. Results go to stdout or `--out`, messages to stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis import contract as contracts
from analysis.errors import ReviewError, UsageError


def validate(a: Namespace) -> int:
    """0 valid, 1 violated."""
    from analysis.policy import Policy
    from analysis.telemetry import policy_columns, violations
    from analysis.telemetry.source import open_source
    from analysis.telemetry.validate import validate as run

    contract = contracts.load(a.contract) if a.contract else contracts.load()
    data = _existing(a.data)
    if a.quarantine is not None:
        _check_quarantine(a.quarantine, data, None)
    source = open_source(data, contract)
    try:
        # No policy is at hand: what a policy without any key uses must be there.
        section = run(source, contract, used_columns=policy_columns(Policy()))
        if a.quarantine is not None:
            _write_quarantine(a, source, section)
    finally:
        source.close()
    formats: dict[str, Callable[[Any], str]] = {
        "text": violations.as_text,
        "json": violations.as_json,
        "junit": violations.as_junit,
        "github": violations.as_github,
    }
    _emit(formats[a.format](section), a.out)
    return 1 if section.n_errors else 0


def sample(a: Namespace) -> int:
    """Writes the sample, whole or not at all."""
    from analysis.sample import generate, write

    try:
        world = generate(a.scenario, a.interactions, a.seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    write(world, a.out, a.format)
    _say(a, f"wrote {a.scenario} telemetry and truth.json to {a.out}")
    return 0


def review(a: Namespace) -> int:
    """Computes the review, from the cache where nothing has changed."""
    from analysis import review as reviews

    if a.out is not None:
        _check_directory(a.out)
    _quarantine(a, a.out)
    finished = reviews.cached(_request(a), None, project=reviews.PROJECT, progress=_progress(a))
    place = finished
    if a.out is not None:
        _publish(finished, a.out)
        place = a.out
    _print_decision(
        finished, {"artifact": place / "decision_artifact.json", "tables": place / "tables"}
    )
    return 0


def render(a: Namespace) -> int:
    """Review, site, PDF and sidecar."""
    from analysis import review as reviews
    from analysis.present import draw
    from analysis.render import render_site

    progress = _progress(a)
    out = a.out if a.out is not None else reviews.PROJECT / "_site"
    _quarantine(a, out)
    finished = reviews.cached(_request(a), draw, project=reviews.PROJECT, progress=progress)
    result = render_site(reviews.PROJECT, finished, out, engine=a.engine, report=progress)
    _say(a, f"rendered with {result.engine} {result.version}")
    _print_decision(
        finished,
        {
            "site": out / "index.html",
            "PDF": out / "review.pdf",
            "artifact": out / "decision_artifact.json",
        },
    )
    return 0


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
        _emit(gate_report.explain(body, a.explain), a.out)
    else:
        _emit(gate_report.FORMATS[a.format](body), a.out)
    return EXIT_CODES[body["decision"]["outcome"]]


def verify(a: Namespace) -> int:
    """0 all agrees, 1 something differs."""
    from analysis import artifact as artifacts

    problems = artifacts.verify_file(a.artifact)
    _print("\n".join(problems) or f"{a.artifact}: schema, evidence_digest and digest agree")
    return 1 if problems else 0


def schema(a: Namespace) -> int:
    """The JSON Schema from the models, or a first file from one's own data."""
    if a.propose:
        _emit(_proposal(a), a.out)
        return 0
    if a.data is not None or a.contract is not None:
        raise UsageError("--data and --contract go with --propose")
    from analysis import artifact as artifacts
    from analysis.policy import Policy

    schemas: dict[str, Callable[[], dict[str, Any]]] = {
        "policy": Policy.model_json_schema,
        "artifact": artifacts.json_schema,
        "contract": contracts.json_schema,
    }
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schemas[a.what]()}
    _emit(json.dumps(made, indent=2, sort_keys=True), a.out)
    return 0


def _proposal(a: Namespace) -> str:
    from analysis.propose import contract_text, policy_text

    if a.data is None:
        raise UsageError("--propose: needs --data, the directory with your three tables")
    if a.what == "artifact":
        raise UsageError("--propose: makes a policy or a contract; an artifact comes from a review")
    data = _existing(a.data)
    if a.what == "policy":
        return policy_text(data, a.contract)
    if a.contract is not None:
        raise UsageError(
            "--contract: is for `schema policy --propose`; a contract is what this makes"
        )
    return contract_text(data)


# ── quarantine ───────────────────────────────────────────────────────────────────────────


def _quarantine(a: Namespace, out: Path | None) -> None:
    """Writes the rows that a review sets aside, or would, before it is known whether it may."""
    if a.quarantine is None:
        return
    from analysis.telemetry import policy_columns
    from analysis.telemetry.source import open_source
    from analysis.telemetry.validate import validate as run

    wanted = _request(a)
    _check_quarantine(a.quarantine, wanted.data, out)
    policy = wanted.loaded.policy
    contract = contracts.load(wanted.contract_path)
    source = open_source(
        wanted.data, contract, threads=wanted.threads, memory_limit=wanted.memory_limit
    )
    try:
        section = run(
            source,
            contract,
            used_columns=policy_columns(policy),
            max_missing=policy.missing.max_rate,
        )
        _write_quarantine(a, source, section)
    finally:
        source.close()


def _check_quarantine(directory: Path, data: Path, out: Path | None) -> None:
    """Refuses a place that holds something else: what lies there would be replaced."""
    place = directory.resolve()
    if place == data.resolve() or data.resolve() in place.parents:
        raise UsageError(f"--quarantine {directory}: lies in --data; give a directory of its own")
    if out is not None and (
        place == out.resolve() or {place, out.resolve()} & {*place.parents, *out.resolve().parents}
    ):
        raise UsageError(
            f"--quarantine {directory}: meets the result in {out}; give a directory of its own"
        )
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"--quarantine {directory}: is a file; expected a directory, or none yet")
    other = sorted(p.name for p in directory.iterdir() if not _is_quarantined(p))
    if other:
        raise UsageError(
            f"--quarantine {directory}: holds {other[0]!r}; give a new or an empty directory"
        )


def _is_quarantined(path: Path) -> bool:
    """Whether an earlier run wrote this file: telemetry itself goes by the same names."""
    from analysis.contract import TABLES
    from analysis.telemetry.quarantine import OWN

    if path.is_symlink() or not path.is_file():
        return False
    if path.name == "violations.json":
        return True
    begin = ",".join(OWN).encode()
    with path.open("rb") as file:
        return path.name in {f"{table}.csv" for table in TABLES} and file.read(len(begin)) == begin


def _write_quarantine(a: Namespace, source: Any, section: Any) -> None:
    """Puts the rows that are set aside, and the violations, at `--quarantine`, whole or not at all."""
    from analysis.render.publish import put_in_place, staging
    from analysis.telemetry import quarantine, violations

    try:
        with staging(a.quarantine.resolve()) as building:
            held = quarantine.find_broken(source, section)
            quarantine.write(source, building)
            (building / "violations.json").write_text(
                violations.as_json(section) + "\n", encoding="utf-8"
            )
            put_in_place(building, a.quarantine.resolve())
    except OSError as error:
        raise UsageError(f"--quarantine {a.quarantine}: {error.strerror or error}") from None
    rows = ", ".join(f"{n:,} of {table}" for table, n in held.items() if n) or "none"
    _say(a, f"rows set aside in {a.quarantine}: {rows}")


def _check_directory(out: Path) -> None:
    for path, expected in (
        (out, "a directory"),
        (out / "tables", "a directory"),
        (out / "decision_artifact.json", "a file"),
    ):
        if path.exists() and path.is_dir() != (expected == "a directory"):
            raise UsageError(f"--out {out}: expected {path} to be {expected}, or absent")


def _publish(finished: Path, out: Path) -> None:
    """Puts artifact and tables at `out`; what else lies there stays.

    A directory of ours alone changes in one step. One that holds other files, is the working
    directory or is mounted cannot be exchanged: there the tables change in one step, and the
    artifact, which vouches for them, in the next.
    """
    from analysis import artifact as artifacts
    from analysis.render.publish import put_in_place, staging

    _check_directory(out)
    try:
        if not out.exists() or (_only_ours(out) and out.resolve() != Path.cwd()):
            try:
                with staging(out.resolve()) as building:
                    shutil.copytree(finished / "tables", building / "tables")
                    shutil.copyfile(finished / artifacts.FILE_NAME, building / artifacts.FILE_NAME)
                    put_in_place(building, out.resolve())
                return
            except OSError:
                if not out.is_dir():
                    raise
        with staging(out / "tables") as tables:
            if (out / "tables").is_dir():
                shutil.copytree(out / "tables", tables, symlinks=True, dirs_exist_ok=True)
            shutil.copytree(finished / "tables", tables, dirs_exist_ok=True)
            new = out / f".{artifacts.FILE_NAME}.new"
            try:
                shutil.copyfile(finished / artifacts.FILE_NAME, new)
                put_in_place(tables, out / "tables")
                os.replace(new, out / artifacts.FILE_NAME)
            finally:
                new.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror or error}") from None


def _only_ours(out: Path) -> bool:
    """Whether nothing would be lost with the directory; an empty one is not ours to replace."""
    from analysis import artifact as artifacts
    from analysis.tables import TABLES

    ours = {artifacts.FILE_NAME, "tables", *(f"tables/{name}" for name in TABLES)}
    empty = True
    for path in out.rglob("*"):
        empty = False
        if path.is_symlink() or path.relative_to(out).as_posix() not in ours:
            return False
    return not empty


# ── shared by the commands ───────────────────────────────────────────────────────────────


def _request(a: Namespace) -> Any:
    from analysis import review as reviews

    return reviews.request(
        data=a.data,
        policy=a.policy,
        release_id=a.release,
        as_of=_moment(a.as_of),
        threads=a.threads,
        memory_limit=_size(a.memory_limit),
        contract=a.contract,
        project=reviews.PROJECT,
    )


def _existing(data: str) -> Path:
    path = Path(data)
    try:
        there = bool(data) and path.exists()
    except OSError as error:
        raise UsageError(f"--data {data}: {error.strerror or 'cannot be read'}") from None
    if not there:
        raise UsageError(f"--data {data or repr(data)}: no such directory")
    return path


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of {text or repr(text)}: expected a date or a time such as 2026-11-16T00:00:00Z"
        ) from None
    if not 1970 <= moment.year <= 2999:
        raise UsageError(f"--as-of {text}: expected a year from 1970 to 2999")
    if moment.tzinfo is not None and moment.utcoffset() != UTC.utcoffset(None):
        raise UsageError(f"--as-of {text}: expected UTC (Z), found another offset")
    return moment.replace(tzinfo=UTC)


def _size(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d+(\.\d+)?\s*([KMGT]i?B|B)", text):
        raise UsageError(f"--memory-limit {text}: expected a size such as 4GB or 512MiB")
    return text


def _emit(text: str, out: Path | None) -> None:
    """Writes to stdout, or to a file whole or not at all."""
    if out is None:
        _print(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=".out-")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.chmod(name, 0o644)
        os.replace(name, out)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _print(text: str) -> None:
    """Writes to stdout at once. A reader that left early (`| head`) does not change the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(a: Namespace, text: str) -> None:
    if not a.quiet:
        print(text, file=sys.stderr)


def _progress(a: Namespace) -> Callable[[str], None]:
    """Progress lines with the seconds since the start, on a terminal only."""
    if a.quiet or not sys.stderr.isatty():
        return lambda _: None
    start = time.monotonic()
    return lambda text: print(f"{time.monotonic() - start:6.1f} s  {text}", file=sys.stderr)


def _print_decision(finished: Path, places: dict[str, Path]) -> None:
    from analysis import artifact as artifacts
    from analysis import gate_report

    body = artifacts.read(finished / artifacts.FILE_NAME)
    width = max(map(len, places))
    where = [f"{name:{width}}  {_nearby(path)}" for name, path in places.items()]
    _print("\n".join([gate_report.summary(body), *where]))


def _nearby(path: Path) -> str:
    """The path as a person in the working directory types it."""
    try:
        return os.path.relpath(path)
    except (ValueError, OSError):
        return str(path)


__all__ = ["ReviewError", "gate", "render", "review", "sample", "schema", "validate", "verify"]
