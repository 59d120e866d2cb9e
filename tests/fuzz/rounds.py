"""One round of the fuzz: a triple, a policy, the commands over them, and what must hold after each.

A round depends on its seed and number alone.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
import unicodedata
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NoReturn

from analysis import artifact as artifacts
from analysis import policy as policies
from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import RULES, TABLES
from analysis.errors import PolicyError, UsageError
from analysis.gate import EXIT_CODES
from tests.end_to_end.promises import broken as broken_promises
from tests.fuzz import breakages
from tests.fuzz import policies as made_policies
from tests.fuzz.triples import FORMS, Grid, interactions, summarised, write_triple

MAX_SECONDS = 60
VALIDATE_FORMATS = ("text", "json", "junit", "github")
GATE_FORMATS = (*VALIDATE_FORMATS, "markdown")


class Hang(BaseException):
    """A command that takes longer than any of these may."""


class Failed(Exception):
    """What a command did and must not do."""


@dataclass
class Outcome:
    """What came of a round: what was done to its inputs, and what failed."""

    number: int
    done: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    details: str = ""


@dataclass(frozen=True)
class Told:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def play(seed: int, number: int, folder: Path, *, only_validate: bool = False) -> Outcome:
    """Plays round `number` of `seed` in `folder`, whose content is left for the caller to look at."""
    rng = Random(f"{seed}/{number}")
    outcome = Outcome(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _watched(folder, outcome):
            _round(rng, folder, outcome, only_validate=only_validate)
    except Failed as failed:
        outcome.failures.append(str(failed))
    except (Exception, Hang) as error:
        outcome.failures.append(_named(error))
        outcome.details = "".join(traceback.format_exception(error))
    left = _open_files(folder)
    if left:
        gc.collect()
        left = _open_files(folder)
    if left and not outcome.failures:
        outcome.failures.append(f"left open: {', '.join(left[:5])}")
    return outcome


def _named(error: BaseException) -> str:
    """An exception by its type, the last line of ours on its way, and the first of its text."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/analysis/" in f.filename] or list(frames)
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__} at {where}: {text[:160]}"


def _open_files(folder: Path) -> list[str]:
    """Files of the folder that this process holds open."""
    out = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError, ValueError):
            target = Path(os.readlink(f"/proc/self/fd/{name}"))
            out.append(target.relative_to(folder).as_posix())
    return sorted(out)


@contextlib.contextmanager
def _watched(folder: Path, outcome: Outcome) -> Iterator[None]:
    """Warnings are errors, a hang ends the round, and project and temporary files are its own."""

    def stop(_: int, __: FrameType | None) -> NoReturn:
        raise Hang(f"more than {MAX_SECONDS} s")

    def unraisable(args: Any) -> None:
        outcome.failures.append(f"unraisable: {type(args.exc_value).__name__}: {args.exc_value}")

    project = folder / "project"
    project.mkdir()
    for name in ("report", "_extensions", "_environment", "_quarto.yml", "data"):
        (project / name).symlink_to(reviews.CODE.parent / name)
    (folder / "tmp").mkdir()
    held = reviews.PROJECT, tempfile.tempdir, sys.unraisablehook
    reviews.PROJECT, tempfile.tempdir = project, str(folder / "tmp")
    sys.unraisablehook = unraisable
    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        reviews.PROJECT, tempfile.tempdir, sys.unraisablehook = held


# ── what a round does ────────────────────────────────────────────────────────────────────


def _round(rng: Random, folder: Path, outcome: Outcome, *, only_validate: bool) -> None:
    data = folder / "data"
    kind = rng.choice(["sound", "sound", "sound", "one", "many", "many", "bytes", "files"])
    days = rng.choice([1, 2, 3, 8, 15, 30])
    build(rng, data, kind, days, outcome)
    contract = None
    if rng.random() < 0.05:
        contract = folder / "contract.yml"
        contract.write_bytes(made_policies.broken_contract(rng))
        outcome.done.append("contract")
    validated = _validate(rng, folder, data, contract, outcome)
    if rng.random() < 0.06:
        _propose(rng, folder, data, outcome)
    if only_validate or contract is not None or rng.random() > (0.9 if kind == "sound" else 0.4):
        return
    policy, fine = folder / "policy.yml", kind == "sound" or rng.random() < 0.5
    policy.write_bytes(
        made_policies.plain(made_policies.odd(rng, days))
        if fine and rng.random() < 0.8
        else made_policies.broken(rng)
    )
    _review(rng, folder, data, policy, validated, outcome)


def build(rng: Random, data: Path, kind: str, days: int, outcome: Outcome) -> None:
    """Writes the triple of a round: sound but odd, or broken in one or many ways."""
    n = rng.choice([1, 2, 3, 10, 40, 120, 400])
    n = 5_000 if rng.random() < 0.01 else n
    grid = Grid(interactions(rng, n, days))
    for odd in rng.sample(breakages.ODD, rng.choice([0, 0, 1, 1, 2, 3])):
        odd(grid, rng)
        outcome.done.append(odd.__name__)
    made = summarised(grid)
    if kind in ("one", "many"):
        pool = (*breakages.CELLS, *breakages.ROWS, *breakages.COLUMNS)
        for change in rng.choices(pool, k=1 if kind == "one" else rng.randint(2, 10)):
            change(made, rng)
            outcome.done.append(getattr(change, "__name__", "cells"))
        if rng.random() < 0.01:
            breakages.a_field_of_ten_megabytes(made, rng)
            outcome.done.append("10 MB")
    form = rng.choice([*FORMS, "mixed"])
    outcome.done.append(f"{n} as {form}")
    write_triple(made, data, form, rng)
    later = {"bytes": breakages.BYTES, "files": breakages.FILES}
    if kind in later:
        for harm in rng.sample(later[kind], rng.choice([1, 1, 2, 3])):
            harm(data, rng)
            outcome.done.append(harm.__name__)


def _run(argv: list[str], folder: Path, outcome: Outcome, codes: set[int]) -> Told:
    """Runs one command, and holds it against what every command promises."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as left:
            code = int(left.code or 0)
    if code == 130:
        raise KeyboardInterrupt
    told = Told(code, out.getvalue(), err.getvalue())
    outcome.codes.append(f"{argv[0]} {code}")
    if code not in codes:
        raise Failed(f"{argv[0]}: exit code {code}: {told.err[:200]}")
    if "Traceback" in told.err:
        raise Failed(f"{argv[0]}: a traceback: {told.err[-300:]}")
    for text in (told.out, told.err):
        odd = {
            c
            for c in text
            if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        }
        if odd:
            raise Failed(f"{argv[0]}: shows {sorted(map(ascii, odd))}")
    if (code == 2) != (not told.out and told.err.startswith("error: ")) and code == 2:
        raise Failed(f"{argv[0]}: exit code 2 with {told.out[:80]!r}, {told.err[:80]!r}")
    left = sorted(p.name for p in (folder / "tmp").iterdir())
    left += [p.name for p in (folder / "project").rglob(".building*")]
    if left:
        raise Failed(f"{argv[0]}: left behind {left[:3]}")
    return told


def _validate(
    rng: Random, folder: Path, data: Path, contract: Path | None, outcome: Outcome
) -> int:
    form = rng.choice(VALIDATE_FORMATS)
    report = folder / "out" / "report"
    argv = ["validate", "--data", str(data), "--format"]
    options = ["--contract", str(contract)] if contract else []
    to_file = ["--out", str(report)] if rng.random() < 0.2 else []
    run = _set_aside if rng.random() < 0.15 else _run
    told = run(
        [*argv, form, *to_file, *options], folder, outcome, {0, 1, *([2] if contract else [])}
    )
    text = told.out
    if told.code == 2:
        if (folder / "out").exists():
            raise Failed("validate: exit code 2 and a report")
        return 2
    if to_file:
        text = report.read_text(encoding="utf-8")
        if told.out or sorted(p.name for p in report.parent.iterdir()) != ["report"]:
            raise Failed("validate: --out and something else")
        shutil.rmtree(report.parent)
    if told.err:
        raise Failed(f"validate: stderr says {told.err[:200]!r}")
    if form == "junit":
        ElementTree.fromstring(text)
    again = told
    if form != "json":
        again = _run([*argv, "json", *options], folder, outcome, {told.code})
        text = again.out
    _check_report(text, told.code, own=contract is not None)
    return told.code


def _check_report(text: str, code: int, *, own: bool) -> None:
    """The JSON of `validate` against what it promises."""

    def refuse(constant: str) -> NoReturn:
        raise Failed(f"validate: JSON holds {constant}")

    body = json.loads(text, parse_constant=refuse)
    errors = [v for v in body["violations"] if v["severity"] == "error"]
    if (body["n_errors"] > 0) != (code == 1) or body["n_errors"] != len(errors):
        raise Failed(f"validate: exit code {code} and {body['n_errors']} errors")
    for v in body["violations"]:
        rows = v["first_rows"]
        fine = (
            v["table"] in TABLES
            and (own or v["rule"] in RULES)
            and v["hint"].strip()
            and 0 <= v["share"] <= 1
            and len(rows) == min(5, v["n_rows"])
            and rows == sorted(set(rows))
            and (not rows or rows[0] >= 1)
            and len(v["examples"]) <= 3
        )
        if not fine:
            raise Failed(f"validate: {str(v)[:300]}")


def _set_aside(argv: list[str], folder: Path, outcome: Outcome, codes: set[int]) -> Told:
    """Runs the command with `--quarantine`, and looks at what it put there."""
    place = folder / "aside"
    told = _run([*argv, "--quarantine", str(place), "--quiet"], folder, outcome, codes)
    if place.exists():
        json.loads((place / "violations.json").read_text(encoding="utf-8"))
        other = {p.name for p in place.iterdir()} - {
            "violations.json",
            *(f"{t}.csv" for t in TABLES),
        }
        if other or (told.code == 2 and argv[0] == "validate"):
            raise Failed(f"{argv[0]}: --quarantine holds {sorted(other)} after {told.code}")
        shutil.rmtree(place)
    elif told.code != 2 and argv[0] == "validate":
        raise Failed(f"{argv[0]}: exit code {told.code} and no quarantine")
    return told


def _propose(rng: Random, folder: Path, data: Path, outcome: Outcome) -> None:
    """A first policy and a first contract are ones that the commands take."""
    policy, contract = folder / "first-policy.yml", folder / "first-contract.yml"
    for what, path in (("policy", policy), ("contract", contract)):
        argv = ["schema", what, "--propose", "--data", str(data), "--out", str(path)]
        told = _run(argv, folder, outcome, {0, 1, 2})
        if (told.code == 0) != path.exists():
            raise Failed(f"schema {what}: exit code {told.code}, and written: {path.exists()}")
    if policy.exists():
        policies.load(policy)
    if contract.exists():
        _run(
            ["validate", "--data", str(data), "--contract", str(contract)], folder, outcome, {0, 1}
        )


def _review(
    rng: Random, folder: Path, data: Path, policy: Path, validated: int, outcome: Outcome
) -> None:
    render = rng.random() < 0.02
    # A site is put into an empty place alone.
    out, kept = folder / "out", rng.random() < 0.3 and not render
    if kept:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    argv = ["--data", str(data), "--policy", str(policy), "--out", str(out), "--threads", "1"]
    as_of = rng.choice(
        [None] * 6 + ["2026-09-12", "2026-09-20T12:00:00Z", "1970-01-01", "2999-12-31T23:59:59Z"]
    )
    argv += ["--as-of", as_of] if as_of else []
    argv += ["--release", rng.choice(["r9", "ü", " "])] if rng.random() < 0.2 else []
    command = "render" if render else "review"
    run = _set_aside if rng.random() < 0.1 else _run
    told = run(
        [command, *argv, *(["--engine", "embedded"] if render else [])], folder, outcome, {0, 1, 2}
    )
    sound, allows = _policy_is_sound(policy)
    if not sound and told.code != 2:
        raise Failed(f"{command}: exit code {told.code} with a policy that is none")
    if sound and (told.code == 1) != (validated == 1) and not (allows and told.code != 1):
        raise Failed(
            f"{command}: exit code {told.code} after {validated} of validate: {told.err[:200]}"
        )
    if sound and told.code == 2 and "windows" not in told.err:
        raise Failed(f"{command}: exit code 2 with a policy that is fine: {told.err[:200]}")
    if told.code == 2 and str(policy) not in told.err and "windows" not in told.err:
        raise Failed(f"{command}: the policy is not named: {told.err[:200]}")
    there = sorted(p.name for p in out.iterdir()) if out.exists() else []
    if told.code != 0:
        if there != (["notes.txt"] if kept else []):
            raise Failed(f"{command}: exit code {told.code} and {there[:5]} written")
        return
    if told.err and not render:
        raise Failed(f"{command}: stderr says {told.err[:200]!r}")
    beside = sorted(p.name for p in folder.iterdir() if p.name.startswith("."))
    if beside:
        raise Failed(f"{command}: left {beside[:3]} beside the result")
    path = out / artifacts.FILE_NAME
    body = artifacts.read(path)
    promises = broken_promises(body)
    if promises:
        raise Failed(f"{command}: promise broken: {promises[0][:200]} (of {len(promises)})")
    _run(["verify", str(path)], folder, outcome, {0})
    code = EXIT_CODES[body["decision"]["outcome"]]
    for form in GATE_FORMATS:
        shown = _run(["gate", str(path), "--format", form], folder, outcome, {code})
        if form == "json":
            json.loads(shown.out)
        elif form == "junit":
            ElementTree.fromstring(shown.out)
    if body["checks"]:
        check = rng.choice(body["checks"])["id"]
        _run(["gate", str(path), "--explain", check], folder, outcome, {code})


def _policy_is_sound(path: Path) -> tuple[bool, bool]:
    """Whether the policy is one, and whether it lets rows be set aside."""
    try:
        return True, policies.load(path).policy.quarantine.allow
    except (PolicyError, UsageError):
        return False, False
