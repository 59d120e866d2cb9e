"""Writes a first policy for telemetry that keeps its contract: each key with what was seen.

The numbers start from the past; a policy is a promise about the future. Every comment therefore
says how its number was made, so that a person can put a better one there.
"""

from __future__ import annotations

from pathlib import Path

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, TABLES, Contract
from analysis.errors import ContractError
from analysis.propose import evidence
from analysis.propose.policy_sections import ACTIONS, Seen, chosen, sections
from analysis.propose.window_choice import choose
from analysis.telemetry.source import Source, open_source
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import as_text, section


def policy_text(data: Path, contract_path: Path | None = None) -> str:
    """A commented policy for the telemetry in `data`, as YAML that `analysis.policy.load` takes.

    Raises UsageError where the directory cannot be read, ContractError where a table or a required
    column is missing. Cells that violate the contract are left out of what is counted.
    """
    contract = contracts.load(contract_path) if contract_path else contracts.load()
    source = open_source(data, contract)
    try:
        _refuse_incomplete(source, contract)
        seen = _look(source, contract)
    finally:
        source.close()
    return "\n\n".join("\n".join(part) for part in sections(seen))


def _refuse_incomplete(source: Source, contract: Contract) -> None:
    lacking = any(
        rule.required and column not in source.columns.get(table, ())
        for table in TABLES
        for column, rule in contract.tables[table].columns.items()
    )
    if lacking:
        found = [v for v in source.violations if v.rule in ("files", "columns")]
        raise ContractError(
            f"{as_text(section(found))}\n"
            "a policy is proposed for telemetry whose required columns have the contract's names; "
            "begin with a contract: python -m analysis schema contract --propose --data DIR",
            found,
        )


def _look(source: Source, contract: Contract) -> Seen:
    overview = evidence.gather(source)
    if not overview.n_rows:
        raise ContractError(f"{INTERACTIONS}: no row has a readable timestamp_utc; run `validate`")
    windows = choose(source, overview)
    texts = evidence.text_columns(source, contract)
    dimensions = chosen(texts)
    columns = source.columns[INTERACTIONS]
    used = [*dimensions, "is_failure", "latency_ms", "cost_usd", *ACTIONS, "routing_propensity"]
    return Seen(
        columns=columns,
        overview=overview,
        windows=windows,
        level=evidence.level(source, windows.reference),
        volume=evidence.level(source, windows.volume),
        texts=texts,
        dimensions=dimensions,
        missing=evidence.missing(source, list(dict.fromkeys(used))),
        dearest=evidence.dearest_request(source) if "cost_usd" in columns else None,
        n_problems=validate(source, contract).n_errors,
    )
