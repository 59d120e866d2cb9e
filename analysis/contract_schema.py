"""The JSON Schema of a contract file: what an editor offers, and refuses, while one is written."""

from __future__ import annotations

import copy
from typing import Any

from analysis.contract_model import Contract, Table


def schema_of(default: Contract) -> dict[str, Any]:
    """What a file that extends `default` may hold: of its columns single keys, of others whole ones."""
    schema = Contract.model_json_schema()
    models = schema.pop("$defs")
    schema.pop("required")
    whole = models["Column"]
    changed = copy.deepcopy(whole)
    changed.pop("required")
    changed["description"] = "Changes of a declared column: a key that is left out stays as it is."
    for key in changed["properties"].values():
        key.pop("default", None)  # it is the declared column's
    table = models.pop("Table")
    table.pop("required")
    schema["properties"]["tables"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _table(table, declared) for name, declared in default.tables.items()},
    }
    schema["$defs"] = {**models, "ColumnChanges": changed}
    schema["description"] = "A contract file. It extends the project's; every key may be left out."
    return schema


def _table(table: dict[str, Any], declared: Table) -> dict[str, Any]:
    """The schema of one table, which knows its declared columns by name."""
    out = copy.deepcopy(table)
    for key, names in (("columns", declared.columns), ("patterns", declared.patterns)):
        out["properties"][key] = {
            "type": "object",
            "properties": {name: {"$ref": "#/$defs/ColumnChanges"} for name in names},
            "additionalProperties": {"$ref": "#/$defs/Column"},
        }
    return out
