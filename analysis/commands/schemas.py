"""`schema`: JSON Schemas, or a first policy or contract."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis import contract as contracts
from analysis.commands.given import data_of
from analysis.commands.output import emit
from analysis.errors import UsageError


def schema(a: Namespace) -> int:
    """The JSON Schema from the models, or a first file from one's own data."""
    if a.propose:
        emit(_proposal(a), a.out)
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
    emit(json.dumps(made, indent=2, sort_keys=True), a.out)
    return 0


def _proposal(a: Namespace) -> str:
    from analysis.propose import contract_text, policy_text

    if a.data is None:
        raise UsageError("--propose: needs --data, the directory with your three tables")
    if a.what == "artifact":
        raise UsageError("--propose: makes a policy or a contract; an artifact comes from a review")
    data = data_of(a.data)
    if not isinstance(data, Path):
        raise UsageError(
            f"--propose: reads files; {data} is an engine: export some rows of each table as Parquet"
        )
    if a.what == "policy":
        return policy_text(data, a.contract)
    if a.contract is not None:
        raise UsageError(
            "--contract: is for `schema policy --propose`; a contract is what this makes"
        )
    return contract_text(data)
