"""A contract file: read strictly, and laid over the one that it extends.

Keys and values go over the extended contract's key by key; a list or a single value replaces the
one that stands there. So a file may hold one line, or a full copy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import strict_yaml
from analysis.contract_model import RULES, TABLES, Contract
from analysis.contract_problems import Refused, contradictions
from analysis.errors import PolicyError
from analysis.policy_problems import Checked, hint_for
from analysis.strict_yaml import join


def read(path: Path, *, extends: Contract | None) -> Contract:
    """The contract at `path`.

    Raises UsageError where the file cannot be read, PolicyError with every problem otherwise.
    """
    given, found = strict_yaml.document(strict_yaml.read(path, "contract"), str(path))
    base: dict[str, Any] = {}
    if extends is not None:
        base = extends.model_dump(mode="json", exclude_unset=True)
    given = _known(given, extends, found)
    data = _over(base, given)
    checked = Checked(Contract, data, found, ())
    problems = list(checked.problems)
    if checked.rest is not None:
        refused = Refused(checked.refused, _columns(data, found), checked.places("rules"))
        problems += contradictions(checked.rest, default=extends, refused=refused)
    if problems or checked.model is None:
        raise PolicyError(list(dict.fromkeys(problems)), str(path))
    return checked.model


def _over(base: Any, given: Any) -> Any:
    """`given` laid over `base`."""
    if not (isinstance(base, dict) and isinstance(given, dict)):
        return given
    laid = {key: _over(base[key], value) if key in base else value for key, value in given.items()}
    return base | laid


def _known(
    given: dict[str, Any], extends: Contract | None, found: dict[str, str]
) -> dict[str, Any]:
    """`given` without the names that the project fixes and that it misspells; `found` gets them."""
    out = dict(given)
    for key, what, names in (
        ("severities", "rule", RULES),
        ("descriptions", "rule", RULES),
        ("tables", "table", TABLES),
    ):
        if not isinstance(out.get(key), dict):
            continue
        for name in [name for name in out[key] if name not in names]:
            path = join(key, name)
            hint = hint_for(name, names)
            if key == "severities" and name in _own_names(given):
                hint = "; the severity of a rule of one's own stands with it, under rules"
            found[path] = f"{path}: is no {what} of the project{hint}"
        out[key] = {name: value for name, value in out[key].items() if name in names}
    if extends is not None and isinstance(out.get("tables"), dict):
        for name, table in out["tables"].items():
            columns = table.get("columns") if isinstance(table, dict) else None
            if isinstance(columns, dict):
                kept = _misspelt(columns, extends.tables[name].columns, join("tables", name), found)
                out["tables"][name] = {**table, "columns": kept}
    return out


def _own_names(given: Mapping[str, Any]) -> set[str]:
    rules = given.get("rules")
    found = (
        [rule.get("name") for rule in rules if isinstance(rule, dict)]
        if isinstance(rules, list)
        else []
    )
    return {name for name in found if isinstance(name, str)}


def _misspelt(
    columns: dict[str, Any], declared: Mapping[str, object], path: str, found: dict[str, str]
) -> dict[str, Any]:
    """The columns without those that only change keys of a column that is not there."""
    kept = {}
    for name, keys in columns.items():
        own = isinstance(keys, dict) and keys.keys() & {"type", "role", "known_at"}
        if name in declared or own or not isinstance(keys, dict):
            kept[name] = keys
            continue
        close = difflib.get_close_matches(name[:80].lower(), declared, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        where = join(f"{path}.columns", name)
        found[where] = (
            f"{where}: is not declared; a column of one's own needs type, role and known_at{meant}"
        )
    return kept


def _columns(data: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """By table, every name that the file meant as a column, whether or not it was refused."""
    out = {}
    for table in TABLES:
        prefix = f"{join('tables', table)}.columns."
        names = {path.removeprefix(prefix) for path in found if path.startswith(prefix)}
        node = data.get("tables")
        for key in (table, "columns"):
            node = node.get(key) if isinstance(node, dict) else None
        out[table] = frozenset(names | node.keys() if isinstance(node, dict) else names)
    return out
