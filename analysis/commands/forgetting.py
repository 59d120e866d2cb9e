"""`forget`: a person's rows, or rows that are past their time, leave the tables and the caches."""

from __future__ import annotations

import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.given import data_of, existing, moment
from analysis.commands.output import nearby, say, show
from analysis.errors import ContractError, UsageError

if TYPE_CHECKING:
    from analysis.contract import Contract
    from analysis.telemetry.files import Found
    from analysis.telemetry.forgetting import Gone, Pair


def forget(a: Namespace) -> int:
    """Rewrites the tables without these rows, then removes what was computed from them."""
    from analysis import caches
    from analysis import contract as contracts
    from analysis.review import PROJECT
    from analysis.telemetry import rewriting

    users = _users(a)
    days = _days(a) if a.expired else None
    contract = contracts.load(a.contract) if a.contract is not None else contracts.load()
    data = _directory(a.data)
    found = _files(data)
    aside = _files(existing(str(a.quarantine)), all_there=False) if a.quarantine else []
    gone = _gone(users, days, moment(a.as_of), _pairs(found, contract))
    for folder, files in ((data, found), (a.quarantine, aside)):
        try:
            taken = rewriting.take_out(files, gone, contract)
        except OSError as error:
            raise UsageError(
                f"{folder}: {error.strerror or error}; nothing was removed there"
            ) from None
        for one in taken:
            emptied = f", {one.n_emptied:,} with totals emptied" if one.n_emptied else ""
            show(f"{nearby(folder / one.table)}: {one.n_removed:,} removed{emptied}")
    n = caches.empty(PROJECT)
    show(f"{nearby(PROJECT / '.cache')}: {n:,} kept {'result' if n == 1 else 'results'} removed")
    _remove_site(a, PROJECT)
    return 0


def _users(a: Namespace) -> frozenset[str]:
    """The ids of the command line; `-` reads them from stdin, one a line. Raises UsageError."""
    named = [u for u in a.users if u != "-"]
    if "-" in a.users:
        named += [line.rstrip("\r\n") for line in sys.stdin]
    users = frozenset(u for u in named if u)
    if bool(users) == a.expired:
        raise UsageError(
            "forget: give the users to forget, or --expired, and not both"
            if users
            else "forget: give the users to forget (- reads them from stdin), or --expired"
        )
    if a.as_of is not None and not a.expired:
        raise UsageError("--as-of: counts only with --expired")
    return users


def _days(a: Namespace) -> int:
    from analysis import policy as policies
    from analysis.review import PROJECT

    path = a.policy if a.policy is not None else PROJECT / "report" / "policy.yml"
    days = policies.load(path).policy.retain.days
    if days is None:
        raise UsageError(f"--expired: {path} keeps rows for ever; set retain.days in it")
    return days


def _directory(data: str) -> Path:
    found = data_of(data)
    if not isinstance(found, Path):
        raise UsageError(
            f"--data {found}: forget rewrites files alone; delete the rows in the engine, then give "
            "--data a directory, or remove .cache/"
        )
    return found


def _files(directory: Path, all_there: bool = True) -> list[Found]:
    """The tables' files. Raises ContractError with every table that cannot be read."""
    from analysis.contract import TABLES
    from analysis.telemetry.files import Unreadable, find, listing

    names = listing(directory)
    found: list[Found] = []
    problems: list[str] = []
    for table in TABLES:
        try:
            found.append(find(directory, names, table))
        except Unreadable as error:
            problems.append(f"{table}: {error.hint}")
    if problems and all_there:
        raise ContractError(
            f"{directory}: nothing was removed\n" + "\n".join(f"  {p}" for p in problems)
        )
    return found


def _pairs(found: list[Found], contract: Contract) -> list[Pair]:
    from analysis.contract import INTERACTIONS
    from analysis.telemetry.files import Unreadable
    from analysis.telemetry.forgetting import pairs_of

    (interactions,) = (f for f in found if f.table == INTERACTIONS)
    try:
        return pairs_of(interactions, contract)
    except Unreadable as error:
        raise ContractError(f"{INTERACTIONS}: {error.hint}; nothing was removed") from None


def _gone(
    users: frozenset[str], days: int | None, as_of: datetime | None, pairs: list[Pair]
) -> Gone:
    from analysis.telemetry.forgetting import of_time, of_users

    return of_users(users, pairs) if days is None else of_time(pairs, days, as_of)


def _remove_site(a: Namespace, project: Path) -> None:
    """The site that was rendered from these rows: its tables name some. Releases that are recorded name none."""
    from analysis import leftovers
    from analysis.render.publish import check_target

    site = (a.out if a.out is not None else project / "_site").resolve()
    if not (site / "decision_artifact.json").is_file():
        return
    check_target(site, keep=(project,))
    leftovers.remove(site)
    say(a, f"{nearby(site)}: removed; render it again")
