"""The published form of a share-safe review: the one that everything else is made of.

    review as computed → names masked → small cells hidden, the rest rounded → artifact, tables, pages

It is made once, before anything is written or drawn, so pages, PDF, figures, tables and artifact say the
same. What a view adds is treated as a cell until `published_values` says otherwise; a table or a figure's
series that is not named here is left out. The decision, the checks and the headline figures of whole
windows stay as they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from analysis.disclosure import STEP, Publication, Withheld, is_small
from analysis.masking import Names
from analysis.policy import Policy
from analysis.published_numbers import Row
from analysis.published_tables import published_result
from analysis.published_values import Publisher
from analysis.views.result import ViewResult

Results = Mapping[str, ViewResult[Any]]


def published(
    body: Mapping[str, Any], results: Results, policy: Policy, names: Names
) -> tuple[dict[str, Any], dict[str, ViewResult[Any]]]:
    """The artifact's values, not yet sealed, and the views' tables and series, as they may be published."""
    k = policy.publish.min_cell
    windows = body["windows"]
    sizes = {
        name: windows[name]["n_interactions"]
        for name in ("baseline", "candidate")
        if windows[name] is not None
    }
    publisher = Publisher(k, sizes, _usd_step(body, k))
    masked = {
        name: names.tree(body[name])
        for name in ("views", "checks", "decision", "release", "windows")
    }
    views = {name: publisher.view(name, held) for name, held in masked["views"].items()}
    left: list[Withheld] = []
    made = {
        view: published_result(result, view, views, publisher, names, left)
        for view, result in results.items()
    }
    if views["drift"].get("distributions_sha256") is not None:
        views["drift"]["distributions_sha256"] = None
    _contract(views["contract"])
    checks, flips = _checks(masked["checks"], masked["decision"]["flips"], publisher)
    said = Publication(k, STEP, publisher.told(), tuple(left), names.masked)
    return {
        **body,
        **masked,
        "views": views,
        "checks": checks,
        "decision": {**masked["decision"], "flips": flips},
        "inputs": [{**one, "file": file} for one, file in zip(
            body["inputs"], file_names([(i["table"], i["file"]) for i in body["inputs"]]), strict=True
        )],
        "publication": json.loads(json.dumps(dataclasses.asdict(said))),
    }, made  # fmt: skip


def file_names(inputs: Sequence[tuple[str, str]]) -> list[str]:
    """The names of input files (table, file) without the folders that they lie in."""
    parts: dict[str, int] = {}
    found = []
    for table, file in inputs:
        name = file.rsplit("/", 1)[-1]
        if "/" in file and not name.startswith(table):
            parts[table] = parts.get(table, 0) + 1
            name = f"part {parts[table]}"
        found.append(name)
    return found


def _usd_step(body: Mapping[str, Any], min_cell: int) -> float:
    """What `min_cell` interactions a window cost in a day."""
    window = body["windows"]["candidate"]
    start, end = (datetime.fromisoformat(window[name]) for name in ("start_utc", "end_utc"))
    mean = body["views"]["health"]["candidate"]["cost_usd_per_interaction"]["value"]
    days = (end - start).total_seconds() / 86_400
    return 0.0 if mean is None or days <= 0 else float(f"{min_cell * mean / days:.2g}")


# ── checks and violations ────────────────────────────────────────────────────────────────


def _checks(
    checks: Sequence[Mapping[str, Any]], flips: Sequence[Mapping[str, Any]], publisher: Publisher
) -> tuple[list[Row], list[Row]]:
    """Checks stay, but for figures of slices that are too small; what turns such a one would tell them."""
    made, hidden = [], set()
    for check in checks:
        if _tells_a_cell(check, publisher.min_cell):
            hidden.add(check["id"])
            publisher.values[f"checks.{check['id']}"] += 1
            made.append({
                **check, "value": None, "low": None, "high": None, "support": None,
                "sentence": f"The figures of {check['id']} are suppressed: fewer than "
                f"{publisher.min_cell} interactions stand behind them.",
            })  # fmt: skip
        else:
            made.append(dict(check))
    return made, [dict(one) for one in flips if one["check"] not in hidden]


def _tells_a_cell(check: Mapping[str, Any], min_cell: int) -> bool:
    support, value = check["support"], check["value"]
    if check["view"] not in ("gate", "contract") or not support or value is None:
        return False
    if check["view"] == "gate" and is_small(support, min_cell):
        return True
    share = check["unit"] in ("rate", "share of rows") and 0 < value < 1
    return share and check["comparison"] is not None and is_small(value * support, min_cell)


def _contract(section: Row) -> None:
    """Violations without examples; how far few unknown rows move a figure tells how many they are."""
    for name in ("violations", "below"):
        for one in section[name]:
            one["examples"] = []
    bounds = section["bounds"]
    if bounds is not None and bounds["n_interactions"] is None:
        bounds["figures"] = []
