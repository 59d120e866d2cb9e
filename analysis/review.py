"""Runs the views over one telemetry and one policy, and keeps what they found.

    telemetry, policy → views → checks judged at one error rate → decision → artifact

A finished review lies in `.cache/review/<key>/`: the artifact, its tables, and what the pages show.
The key covers the inputs, the policy, the contract and this code, so a second run only loads.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import artifact as artifacts
from analysis import bounds, disk, gate, leftovers, registration
from analysis import contract as contracts
from analysis import policy as policies
from analysis.artifact import DecisionArtifact
from analysis.check import Check, RegressionTest
from analysis.errors import PolicyError, UsageError
from analysis.gate_flips import Evidence, flips
from analysis.gate_needs import check_needs
from analysis.gate_watch import watch_list
from analysis.masking import names_of, plain_settings
from analysis.policy import LoadedPolicy, Policy, utc
from analysis.progress import SILENT, Progress
from analysis.publication import published
from analysis.recorded import recorded_baseline, recorded_releases
from analysis.recorded_figures import recorded_figures
from analysis.share_safe import shown
from analysis.tables import write_tables
from analysis.telemetry import Telemetry, open_telemetry, policy_columns
from analysis.telemetry.address import Address, address, is_address
from analysis.telemetry.fact import restore
from analysis.telemetry.files import InputFile, digest_inputs
from analysis.telemetry.recorded import RecordedBaseline, RecordedFigures, RecordedRelease
from analysis.telemetry.source import reading
from analysis.telemetry.store import Store, key_of
from analysis.telemetry.windows import iso
from analysis.views import budget, contract, drift, gate_rules, health, hotspots, routing, triage
from analysis.views.looks import gate_error
from analysis.views.price_library import library_version
from analysis.views.result import ViewResult

VERSION = "0.1.0"
CODE = Path(__file__).resolve().parent
PROJECT = CODE.parent
VIEWS: Mapping[str, Callable[[Telemetry, Policy], ViewResult[Any]]] = {
    "health": health.assess,
    "budget": budget.assess,
    "hotspots": hotspots.assess,
    "routing": routing.assess,
    "drift": drift.assess,
    "triage": triage.assess,
}
_BUILDING = ".building-"
_BESIDE = ("hotspots", "drift")
_PACKAGES = (
    "duckdb",
    "interpret-core",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "scikit-learn",
    "scipy",
)


UNCHANGED = "the inputs have not changed: the finished review is used"


@dataclass(frozen=True)
class Review:
    """One finished review.

    body: the artifact's JSON values, digests included. results: each view's result, by name.
    """

    body: Mapping[str, Any]
    results: Mapping[str, ViewResult[Any]]
    warnings: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """File name in `tables/` → frame, from all views."""
        return {name: frame for r in self.results.values() for name, frame in r.tables.items()}

    @property
    def files(self) -> dict[str, str]:
        """File name in `tables/` → text of what is no table, from all views."""
        return {name: text for r in self.results.values() for name, text in r.files.items()}


@dataclass(frozen=True)
class Request:
    """What to review. `data` and `policy_path` are as given; nothing has been read but the policy, and the
    recorded releases that it names."""

    data: Path | Address
    loaded: LoadedPolicy
    contract_path: Path = contracts.DEFAULT_PATH
    as_of: datetime | None = None
    threads: int | None = None
    memory_limit: str | None = None
    recorded: tuple[RecordedRelease, ...] = ()
    earlier: tuple[RecordedFigures, ...] = ()
    registered: tuple[registration.Registered, ...] = ()
    baseline: RecordedBaseline | None = None

    @property
    def recorded_inputs(self) -> tuple[InputFile, ...]:
        """What was read of recorded releases."""
        baseline = () if self.baseline is None else (self.baseline.input,)
        return (
            *baseline,
            *(i for release in self.recorded for i in release.inputs),
        )


def request(
    *,
    data: str | None = None,
    policy: Path | None = None,
    release_id: str | None = None,
    as_of: datetime | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    contract: Path | None = None,
    project: Path = PROJECT,
    loaded: LoadedPolicy | None = None,
) -> Request:
    """The request that a command line or a project's policy makes.

    Without `data`, the policy's `data` counts, relative to the project. loaded: a policy that is
    there already, in the place of a file's. Raises UsageError and PolicyError.
    """
    if loaded is None:
        file = policy if policy is not None else project / "report" / "policy.yml"
        loaded = policies.load(file, release_id=release_id)
    path = loaded.path
    library_version(loaded.policy)  # refused before anything is read, as is a key that is none
    shown(loaded.policy)
    recorded = recorded_releases(loaded.policy, project, str(path))
    earlier = recorded_figures(loaded.policy, project, str(path))
    registered = registration.read(project / registration.FILE)
    baseline = recorded_baseline(loaded.policy, project, str(path))
    if data is None:
        if loaded.policy.data is None:
            raise PolicyError(["data: names no telemetry, and --data was not given"], str(path))
        named = loaded.policy.data
        folder = Path(named) if Path(named).is_absolute() else project / named
        given = f"policy {path}: data: {folder}"
    else:
        named = data
        folder = Path(data)
        given = f"--data {data or repr(data)}"
    where = address(named) if is_address(named) else None
    if where is None and (data == "" or not _exists(folder, given)):
        raise UsageError(f"{given}: no such directory")
    return Request(
        data=folder if where is None else where,
        loaded=loaded,
        contract_path=contract or contracts.DEFAULT_PATH,
        as_of=as_of,
        threads=threads,
        memory_limit=memory_limit,
        recorded=recorded,
        earlier=earlier,
        registered=registered,
        baseline=baseline,
    )


def _exists(path: Path, given: str) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"{given}: {error.strerror or 'cannot be read'}") from None


@reading()
def compute(wanted: Request, progress: Progress = SILENT, store: Store | None = None) -> Review:
    """Computes a review. store: where the encoded telemetry is kept.

    Raises ContractError, WindowError, UsageError.
    """
    policy = wanted.loaded.policy
    declared = contracts.load(wanted.contract_path)
    progress.expect(len(VIEWS) + 1)
    telemetry = open_telemetry(
        wanted.data,
        declared,
        _placed(policy, wanted.baseline),
        as_of=wanted.as_of,
        threads=wanted.threads,
        memory_limit=wanted.memory_limit,
        store=store,
        progress=progress,
    )
    # What is recorded later changes no review that was made: it can be computed again years after.
    start = iso(telemetry.windows.candidate.start)
    earlier = tuple(r for r in wanted.earlier if r.end_utc <= start)
    telemetry = dataclasses.replace(telemetry, recorded=wanted.recorded, earlier=earlier)
    try:
        results, extremes = _assessed(telemetry, policy, progress)
        body = artifacts.to_json(_artifact(telemetry, wanted, results, extremes))
        if policy.publish.share_safe:
            names = names_of(telemetry, policy.settings(), [c["id"] for c in body["checks"]])
            made, results = published(body, results, policy, names)
            body = artifacts.sealed(artifacts.rounded_tree(made))
    finally:
        telemetry.close()
    return Review(body=body, results=results, warnings=telemetry.warnings)


def _placed(policy: Policy, baseline: RecordedBaseline | None) -> Policy:
    """The policy with the window of a recorded release in the place of its name."""
    if baseline is None:
        return policy
    windows = policy.windows.model_copy(update={"baseline": baseline.window})
    return policy.model_copy(update={"windows": windows})


def _assessed(
    telemetry: Telemetry, policy: Policy, progress: Progress
) -> tuple[dict[str, ViewResult[Any]], bounds.Extremes | None]:
    """What each view found, and what health and budgets would be at the extremes.

    Where the engine can, `_BESIDE` are computed in a second thread: about half of the work.
    """
    found: dict[str, ViewResult[Any]] = {}

    def those(names: Sequence[str], of: Telemetry) -> None:
        for name in names:
            if of is telemetry:
                progress.step(f"assessing {name}")
            found[name] = VIEWS[name](of, policy)

    def at_extremes() -> bounds.Extremes | None:
        progress.step("bounding what is not known")
        return bounds.extremes(telemetry, policy)

    def rules() -> None:
        found["gate"] = gate_rules.assess(telemetry, policy, found["health"].section.candidate)

    engine = telemetry.engine.beside()
    if engine is None:
        those(tuple(VIEWS), telemetry)
        rules()
        return found, at_extremes()
    # Its own view of the rows: bounds put another one in the place of the first's.
    restore(engine)
    own = dataclasses.replace(telemetry, engine=engine)
    with ThreadPoolExecutor(max_workers=1) as beside:
        try:
            coming = beside.submit(those, _BESIDE, own)
            those([name for name in VIEWS if name not in _BESIDE], telemetry)
            rules()
            extremes = at_extremes()
            progress.step(f"assessing {' and '.join(_BESIDE)}")
            coming.result()
        finally:
            engine.close()
    return {name: found[name] for name in (*VIEWS, "gate")}, extremes


def _artifact(
    telemetry: Telemetry,
    wanted: Request,
    results: Mapping[str, ViewResult[Any]],
    extremes: bounds.Extremes | None,
) -> DecisionArtifact:
    loaded = wanted.loaded
    policy = loaded.policy
    first = telemetry.baseline is None
    hidden = bounds.judge(extremes, telemetry, policy, results)
    registered = registration.registration_of(loaded, wanted.registered, telemetry.windows.now)
    own = [
        contract.errors_check(telemetry),
        contract.bounds_check(hidden, telemetry),
        *(c for r in results.values() for c in r.checks),
        gate.waivers_check(policy.gate, telemetry.windows.now),
        registration.check(registered, policy.gate.registration),
    ]
    tests: list[Check | RegressionTest] = [c for c in own if c is not None]
    error = gate_error(policy, telemetry.windows)
    checks = gate.judge(tests, policy, error, first_release=first)
    decision = gate.decide(
        checks,
        tests,
        first_release=first,
        watch=watch_list(results, checks, telemetry.candidate_days),
        rules=policy.gate,
        now=telemetry.windows.now,
    )
    return DecisionArtifact(
        schema="decision-artifact/1",
        release=artifacts.ReleaseInfo(policy.release.id, policy.release.title, None),
        decision=_explained(decision, checks, tests, telemetry, results, error),
        windows=_windows(telemetry),
        checks=checks,
        views=artifacts.Views(
            contract=contract.section(telemetry, hidden),
            **{name: result.section for name, result in results.items()},
        ),
        inputs=(
            *telemetry.inputs,
            *wanted.recorded_inputs,
            *(r.input for r in telemetry.earlier),
        ),
        policy=artifacts.PolicyInfo(loaded.sha256, shown_settings(policy), registered),
        producer=producer(),
    )


def _explained(
    decision: gate.Decision,
    checks: Sequence[Check],
    tests: Sequence[Check | RegressionTest],
    telemetry: Telemetry,
    results: Mapping[str, ViewResult[Any]],
    error_rate: float,
) -> gate.Decision:
    """The decision with what would settle what is open, and what would turn it."""
    policy, rows = telemetry.policy, telemetry.candidate.n_interactions
    burns = results["budget"].section.slos
    needs = check_needs(
        decision.holding,
        checks,
        tests,
        policy,
        days=telemetry.candidate_days,
        rows=rows,
        known={f"budget.{b.name}": (b.needs.interactions, b.needs.days) for b in burns},
        unusable=telemetry.unusable,
    )
    moved = [f.psi for f in results["drift"].section.features if f.counted and f.psi is not None]
    evidence = Evidence(rows, error_rate, max(moved, default=None))
    return dataclasses.replace(
        decision,
        needs=dataclasses.replace(decision.needs, checks=needs),
        flips=flips(decision, checks, tests, policy, evidence),
    )


def shown_settings(policy: Policy) -> dict[str, Any]:
    """The policy as the artifact holds it: an address in it without credentials; share-safe, no address, no
    place of data and nobody's name."""
    settings = policy.settings()
    if policy.publish.share_safe:
        return plain_settings(settings)
    if policy.data is not None and is_address(policy.data):
        settings["data"] = address(policy.data).shown
    return settings


def _windows(telemetry: Telemetry) -> artifacts.WindowsInfo:
    windows = telemetry.windows
    sides: dict[str, artifacts.WindowInfo | None] = {"baseline": None}
    for name, span, counts in (
        ("baseline", windows.baseline, telemetry.baseline),
        ("candidate", windows.candidate, telemetry.candidate),
    ):
        if span is not None and counts is not None:
            sides[name] = artifacts.WindowInfo(
                iso(span.start),
                iso(span.end),
                counts.n_interactions,
                counts.n_sessions,
                counts.n_users,
                span.release_id,
            )
    candidate = sides["candidate"]
    assert candidate is not None
    return artifacts.WindowsInfo(
        comparison=windows.comparison,
        baseline=sides["baseline"],
        candidate=candidate,
        exclude=tuple(
            artifacts.ExclusionInfo(iso(e.start), iso(e.end), e.reason) for e in windows.exclude
        ),
        cluster=telemetry.cluster,
        as_of=None if windows.as_of is None else iso(windows.as_of),
        warnings=telemetry.warnings,
    )


def producer() -> artifacts.Producer:
    """What made the artifact. The commit is that of this code, null outside of a checkout."""
    return artifacts.Producer(
        version=VERSION,
        commit=_commit(),
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


@functools.cache
def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


# ── the cache ────────────────────────────────────────────────────────────────────────────


def cache_key(wanted: Request, inputs: Sequence[tuple[str, str]] | None = None) -> str:
    """A digest of all that a review depends on; `inputs` are those of `digest_inputs`."""
    parts = {
        "inputs": digest_inputs(wanted.data) if inputs is None else inputs,
        "policy": wanted.loaded.policy.settings(),
        "policy_file": wanted.loaded.sha256,
        "contract": _contract_digests(wanted),
        "as_of": None if wanted.as_of is None else utc(wanted.as_of).isoformat(),
        "code": _code_digest(),
        "producer": dataclasses.asdict(producer()),
        "prices": library_version(wanted.loaded.policy),
        "recorded": _recorded_digests(wanted),
        "registered": [
            dataclasses.astuple(r)
            for r in wanted.registered
            if r.release == wanted.loaded.policy.release.id
        ],
        "id_key": shown(wanted.loaded.policy).digest,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _recorded_digests(wanted: Request) -> list[tuple[str, str]]:
    """(file, sha256) of what was read of recorded releases."""
    read = (*wanted.recorded_inputs, *(r.input for r in wanted.earlier))
    return [(i.file, i.sha256) for i in read]


def _contract_digests(wanted: Request) -> list[str]:
    """A contract of one's own extends the project's: both count."""
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (contracts.DEFAULT_PATH, wanted.contract_path)
    ]


def _store(wanted: Request, root: Path, inputs: Sequence[tuple[str, str]]) -> Store:
    """Where the encoded telemetry is kept: windows, limits and gates of the policy do not move it."""
    policy = wanted.loaded.policy
    parts = {
        "inputs": inputs,
        "contract": _contract_digests(wanted),
        "columns": sorted(policy_columns(policy)),
        "missing": policy.missing.max_rate,
        "code": _code_digest(),
        "producer": dataclasses.asdict(producer()),
    }
    return Store(root, key_of(parts), frozenset(inputs))


@functools.cache
def _code_digest() -> str:
    total = hashlib.sha256()
    for path in sorted([*CODE.rglob("*.py"), *CODE.glob("*.yml")]):
        total.update(path.relative_to(CODE).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


Draw = Callable[[Review, Path], None]


def cached(
    wanted: Request,
    draw: Draw | None,
    project: Path = PROJECT,
    progress: Progress = SILENT,
    spare: Path | None = None,
) -> Path:
    """The directory of the finished review, computed where it is not there yet.

    draw: writes what the pages show (`pages/`) into the directory; without it only the artifact and
    the tables are there, and a later call with it adds the pages. spare: made and used in the place of
    a cache that cannot be written.
    """
    root = project / ".cache" / "review"
    if draw is not None:
        progress.expect(1)
    if isinstance(wanted.data, Address) and wanted.data.is_warehouse:
        # Tables that may change at any time: computed anew, and put in one place.
        review = compute(wanted, progress)
        key = hashlib.sha256(str(review.body["digest"]).encode()).hexdigest()[:24]
        return _kept(review, root, key, draw, progress, spare)
    inputs = digest_inputs(wanted.data)
    key = cache_key(wanted, inputs)
    if _finished(root / key, draw):
        with suppress(OSError):
            # When it was last of use: `caches.prune`.
            os.utime(root / key)
        progress.note(UNCHANGED)
        return root / key
    store = _store(wanted, project / ".cache" / "encoded", inputs)
    review = compute(wanted, progress, store)
    read = {(one["file"], one["sha256"]) for one in review.body["inputs"]}
    if not read <= {*inputs, *_recorded_digests(wanted)}:
        raise UsageError(f"{wanted.data}: the telemetry changed while it was read; review it again")
    return _kept(review, root, key, draw, progress, spare)


def _kept(
    review: Review,
    root: Path,
    key: str,
    draw: Draw | None,
    progress: Progress,
    spare: Path | None,
) -> Path:
    """Saves a review in the cache, or in `spare` where that cannot be written."""
    if draw is not None:
        progress.step("drawing figures and tables")
    try:
        return _built(review, root, key, draw)
    except OSError as error:
        if spare is None:
            raise
        why = disk.refusal(error) or error.strerror or str(error)
    progress.note(f"{root}: {why}; the review is not kept for the next run")
    with disk.writing(spare.parent, "free some, or set TMPDIR to another folder"):
        spare.mkdir(mode=0o700)
        return _built(review, spare, key, draw)


def _built(review: Review, root: Path, key: str, draw: Draw | None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    leftovers.clean(root, _BUILDING)
    with leftovers.directory(root, _BUILDING) as building:
        save(review, building)
        if draw is not None:
            draw(review, building)
        os.chmod(building, 0o755)
        _put(building, root / key, draw)
    return root / key


def _finished(place: Path, draw: Draw | None) -> bool:
    there = (place / artifacts.FILE_NAME).is_file() and (place / "tables").is_dir()
    return there and (draw is None or (place / "pages").is_dir())


def _put(building: Path, place: Path, draw: Draw | None) -> None:
    """Puts a finished review in its place. Where a second process was first, its result stays."""
    with suppress(OSError):
        os.rename(building, place)
        return
    if _finished(place, draw):
        return
    # Moved aside before it is deleted: a kill in between must not leave half a review in place.
    with leftovers.later(place.parent, _BUILDING) as aside:
        os.rename(place, aside)
        os.rename(building, place)


def save(review: Review, directory: Path) -> None:
    """Writes `tables/`, then `decision_artifact.json`, into `directory`."""
    write_tables(review.tables, directory / "tables", review.files)
    artifacts.write(review.body, directory / artifacts.FILE_NAME)
