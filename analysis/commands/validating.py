"""`validate`: every violation of the contract."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from analysis import contract as contracts
from analysis.commands.given import data_of, size
from analysis.commands.output import emit
from analysis.commands.setting_aside import check_place, write
from analysis.progress import progress


def validate(a: Namespace) -> int:
    """0 valid, 1 violated."""
    from analysis.policy import Policy
    from analysis.telemetry import policy_columns, violations
    from analysis.telemetry.source import reading
    from analysis.telemetry.validate import validate as run
    from analysis.telemetry.warehouse import open_data

    contract = contracts.load(a.contract) if a.contract else contracts.load()
    data = data_of(a.data)
    if a.quarantine is not None:
        check_place(a.quarantine, data, None)
    with progress(quiet=a.quiet) as told, reading():
        told.expect(2 if a.quarantine is None else 3)
        told.step("reading the telemetry")
        source = open_data(data, contract, threads=a.threads, memory_limit=size(a.memory_limit))
        try:
            told.step("validating the telemetry")
            # No policy is at hand: what a policy without any key uses must be there.
            section = run(source, contract, used_columns=policy_columns(Policy()))
            if a.quarantine is not None:
                told.step("setting rows aside")
                write(a, source, section, told)
        finally:
            source.close()
    formats: dict[str, Callable[[Any], str]] = {
        "text": violations.as_text,
        "json": violations.as_json,
        "junit": violations.as_junit,
        "github": violations.as_github,
    }
    emit(formats[a.format](section), a.out)
    return 1 if section.n_errors else 0
