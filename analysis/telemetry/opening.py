"""Opens telemetry to be reduced: files, a kept copy of them, or the tables of another engine.

    open → validate → encode → place in windows

What was encoded once is kept (`telemetry.store`), and read instead of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from analysis import disk, leftovers
from analysis.contract import INTERACTIONS, Contract
from analysis.errors import ContractError, DiskError, PolicyError, UsageError, WindowError
from analysis.policy import Bad, Policy
from analysis.policy_slos import by_problems
from analysis.progress import SILENT, Progress
from analysis.telemetry import fact as fact_table
from analysis.telemetry import quarantine
from analysis.telemetry.address import Address
from analysis.telemetry.encode import TABLES as ENCODED
from analysis.telemetry.encode import encode, encode_into
from analysis.telemetry.engine import DuckDB, Engine
from analysis.telemetry.fact import WindowCounts
from analysis.telemetry.files import staging_directory
from analysis.telemetry.source import Source, connect, open_source, reading
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.store import Store, Told, data_file
from analysis.telemetry.telemetry import MissingRate, Telemetry
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import ContractSection, as_text
from analysis.telemetry.warehouse import open_warehouse
from analysis.telemetry.windows import ResolvedWindows, Span, iso

KNOWN = "the telemetry is known: its encoded copy is read"
AT_ONCE_ROWS = 3_000_000
"""Up to here interactions are encoded while they are validated: files of few row groups keep one thread
busy each. More rows keep all threads busy, and memory."""


@reading()
def open_telemetry(
    data: Path | Address,
    contract: Contract,
    policy: Policy,
    *,
    as_of: datetime | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Telemetry:
    """Reads, validates and windows the telemetry in `data`.

    store: where the encoded input is kept, and read from where it is there already. Raises
    UsageError (no such path), ContractError (any violation of severity error, all of them listed),
    WindowError (a window without rows), PolicyError (an objective `by` what is no context or action).
    """
    refused = by_problems(policy.slos, contract.tables[INTERACTIONS].columns, contract.column)
    if refused:
        raise PolicyError(refused)
    opened = _from_store(store, contract, policy, threads, memory_limit)
    if opened is not None:
        progress.note(KNOWN)
    elif isinstance(data, Address) and data.is_warehouse:
        opened = _from_warehouse(data, contract, policy, threads, memory_limit, progress)
    else:
        opened = _from_files(data, contract, policy, threads, memory_limit, store, progress)
    progress.expect(1)
    progress.step("placing the telemetry in its windows")
    try:
        return _windowed(opened, contract, policy, as_of)
    except BaseException:
        opened.engine.close()
        raise


@dataclass(frozen=True)
class _Opened:
    """Encoded telemetry in an engine, and what is known of it."""

    engine: Engine
    told: Told
    aside: Mapping[str, int] | None = None
    source: Source | None = None


def _from_store(
    store: Store | None,
    contract: Contract,
    policy: Policy,
    threads: int | None,
    memory_limit: str | None,
) -> _Opened | None:
    told = None if store is None else store.read()
    if store is None or told is None:
        return None
    if not set(fact_table.carried(told.columns, contract, policy)) <= set(told.encoded):
        return None
    staging = staging_directory(None)
    engine = DuckDB(connect(threads, memory_limit, staging), staging)
    try:
        _attach(engine, store.data)
    except BaseException as error:
        engine.close()
        if isinstance(error, duckdb.Error) and disk.refusal(error) is None:
            store.forget()
            return None
        raise
    return _Opened(engine, told)


def _attach(engine: DuckDB, path: Path) -> None:
    """The encoded tables of a file, to be read."""
    engine.con.execute(f"ATTACH {literal(str(path))} AS store (READ_ONLY)")
    for name in ENCODED:
        engine.view(name, f"SELECT * FROM store.{name}")


def _from_files(
    data: Path | Address,
    contract: Contract,
    policy: Policy,
    threads: int | None,
    memory_limit: str | None,
    store: Store | None,
    progress: Progress,
) -> _Opened:
    progress.expect(2)
    progress.step("reading the telemetry")
    source = open_source(data, contract, threads=threads, memory_limit=memory_limit)
    building = None
    try:
        columns = source.columns.get(INTERACTIONS, ())
        wanted = fact_table.carried(columns, contract, policy)
        if store is not None and store.is_of(source.inputs):
            wanted = store.with_known(wanted, columns)
            building = store.building()
        progress.step("validating and encoding the telemetry")
        with ThreadPoolExecutor(max_workers=1) as beside:
            early = None
            if not source.violations and source.rows(INTERACTIONS) <= AT_ONCE_ROWS:
                early = beside.submit(_encoded, source, wanted, building, joined=True)
            validation = validated(source, contract, policy)
            # What failed early fails again below, after all that validation has to say.
            path = None if early is None or early.exception() is not None else early.result()
        aside = _set_aside(source, policy, validation) if validation.n_errors else None
        told = Told(source.inputs, columns, wanted, validation)
        joined = aside is None and not validation.losses
        if not joined:
            path = None
            if building is not None:
                leftovers.remove(building)  # what lacks rows is not kept
                building = None
        if path is None:
            path = _encoded(source, wanted, building, joined=joined)
        source.check_unchanged()
        if building is not None and store is not None and path == data_file(building):
            path = store.keep(building, told)
        assert source.staging is not None
        engine = DuckDB(source.con, source.staging, *([] if building is None else [building]))
        _attach(engine, path)
        return _Opened(engine, told, aside, source)
    except BaseException:
        source.close()
        if building is not None:
            leftovers.remove(building)
        raise


def _encoded(
    source: Source, columns: Sequence[str], building: Path | None, *, joined: bool
) -> Path:
    """Encodes into a directory of the cache, or where that takes no more into the staging directory."""
    if building is not None:
        try:
            with disk.writing(building, "the cache is full"):
                encode_into(source, columns, data_file(building), joined=joined)
            return data_file(building)
        except DiskError:
            data_file(building).unlink(missing_ok=True)
    assert source.staging is not None
    path = data_file(source.staging)
    path.unlink(missing_ok=True)
    encode_into(source, columns, path, joined=joined)
    return path


def _from_warehouse(
    data: Address,
    contract: Contract,
    policy: Policy,
    threads: int | None,
    memory_limit: str | None,
    progress: Progress,
) -> _Opened:
    """Validated and encoded where it lies: no row leaves the engine."""
    progress.expect(3)
    progress.step("opening the telemetry")
    source = open_warehouse(data, contract, threads=threads, memory_limit=memory_limit)
    try:
        progress.step("validating the telemetry")
        validation = validated(source, contract, policy)
        if validation.n_errors:
            # Rows are set aside in files alone: a warehouse has its own ways of mending a table.
            raise ContractError(as_text(validation), validation.violations)
        if validation.losses:
            # Bounds over interactions that totals count and that are not there are made of files.
            raise UsageError(
                f"--data {data}: the contract calls {', '.join(validation.losses)} a warning, and "
                "rows break it; such telemetry is reviewed from files alone"
            )
        progress.step("encoding the telemetry")
        columns = source.columns[INTERACTIONS]
        wanted = fact_table.carried(columns, contract, policy)
        told = Told(source.inputs, columns, wanted, validation)
        encode(source, wanted, joined=True)
        return _Opened(source.engine, told, None, source)
    except BaseException:
        source.close()
        raise


def _windowed(
    opened: _Opened, contract: Contract, policy: Policy, as_of: datetime | None
) -> Telemetry:
    engine, told = opened.engine, opened.told
    built = fact_table.build(engine, told.columns, contract, policy, as_of)
    _refuse_empty(engine, built.windows, built.counts)
    wanted = tuple(dict.fromkeys(policy.dimensions))
    warnings = list(built.windows.warnings)
    warnings += [
        f"the policy names the column {c!r}, a name that the review keeps for itself: left out; "
        "rename the column"
        if c.lower() in fact_table.DERIVED and c in told.columns
        else f"the policy names the column {c!r}, which the telemetry lacks: left out"
        for c in sorted(policy_columns(policy) - set(built.columns))
    ]
    return Telemetry(
        engine=engine,
        contract=contract,
        policy=policy,
        windows=built.windows,
        cluster=built.cluster,
        columns=built.columns,
        types=built.types,
        dimensions=tuple(c for c in wanted if c in built.columns),
        missing=_missing(engine, built.columns, built.counts),
        candidate=built.counts[1],
        baseline=built.counts[0] if built.windows.baseline is not None else None,
        inputs=told.inputs,
        validation=told.validation,
        aside=opened.aside,
        warnings=tuple(warnings),
        _source=opened.source,
    )


def validated(source: Source, contract: Contract, policy: Policy) -> ContractSection:
    """The telemetry held against the contract, as a review of this policy needs it."""
    return validate(
        source,
        contract,
        used_columns=policy_columns(policy),
        max_missing=policy.missing.max_rate,
    )


def _set_aside(source: Source, policy: Policy, report: ContractSection) -> Mapping[str, int]:
    """Takes the rows that break the contract away, where the policy lets that be done.

    Raises ContractError where it does not, where a table as a whole is broken, or too much is.
    """
    if not policy.quarantine.allow or not quarantine.can_be_set_aside(report):
        raise ContractError(as_text(report), report.violations)
    aside = quarantine.find_broken(source, report)
    share = aside[INTERACTIONS] / source.rows(INTERACTIONS)
    if share > policy.quarantine.max_share or share == 1:
        raise ContractError(
            f"{as_text(report)}\n{100 * share:.3g} % of the interactions would be set aside; the policy "
            f"accepts {100 * policy.quarantine.max_share:g} % (quarantine.max_share)",
            report.violations,
        )
    quarantine.set_aside(source)
    return aside


def policy_columns(policy: Policy) -> frozenset[str]:
    """Every interactions column that the policy names or its views need by default."""
    names = {
        "is_failure",
        *policy.dimensions,
        *policy.routing.action,
        *policy.routing.context,
        *policy.routing.protect,
        *(slo.rule.column for slo in policy.slos),
        *(column for slo in policy.slos for column in slo.by),
        policy.triage.label,
    }
    if policy.spend.budget_usd_per_day is not None:
        names.add("cost_usd")
    if isinstance(policy.drift.columns, tuple):
        names |= set(policy.drift.columns)
    names |= policy.hotspots.columns([slo.name for slo in policy.slos])
    names |= {c for k in policy.routing.candidates for r in k.rules or () for c in r.when}
    names |= {c for t in policy.gate.thresholds for c in t.when}
    rule = policy.triage.rule
    if rule is not None:
        names.add(rule.column if isinstance(rule, Bad) else rule)
    return frozenset(names)


def _refuse_empty(
    engine: Engine, windows: ResolvedWindows, counts: Mapping[int, WindowCounts]
) -> None:
    spans: list[tuple[str, Span, int]] = [("candidate", windows.candidate, 1)]
    if windows.baseline is not None:
        spans.append(("baseline", windows.baseline, 0))
    problems = [
        f"windows.{name}: no interaction lies in [{iso(span.start)}, {iso(span.end)})"
        + (f" of release {span.release_id!r}" if span.release_id else "")
        for name, span, win in spans
        if counts[win].n_interactions == 0
    ]
    if problems:
        first, last = engine.row("SELECT min(ts_us), max(ts_us) FROM encoded")
        problems.append(
            f"the data hold interactions from {iso(fact_table.moment(first))} "
            f"to {iso(fact_table.moment(last))}"
        )
        raise WindowError(problems, "windows")


def _missing(
    engine: Engine, columns: Sequence[str], counts: Mapping[int, WindowCounts]
) -> dict[str, MissingRate]:
    """Null shares by window. `failure` is read for `is_failure`, so late labels count as missing."""
    own = {"is_failure": "failure", "timestamp_utc": "ts_us", "session_id": "session",
           "user_id": "usr", "trace_id": "traced"}  # fmt: skip
    known = {c: f"count({identifier(own.get(c, c))})" for c in columns}
    rows = engine.rows(
        f"SELECT win, {', '.join(['count(*)', *known.values()])} FROM fact "
        "WHERE win IS NOT NULL GROUP BY win"
    )
    there = {int(r[0]): dict(zip(columns, map(int, r[2:]), strict=True)) for r in rows}

    def rate(column: str, win: int) -> float | None:
        n = counts[win].n_interactions
        return (n - there[win][column]) / n if n else None

    return {c: MissingRate(baseline=rate(c, 0), candidate=rate(c, 1)) for c in columns}
