"""Holds telemetry against every rule of the contract (DESIGN section 4), in a few scans.

One scan a table decides the rules of its columns; one reduction of the interactions by session
serves all joins, times and rollups; two reductions by hour and day serve what is suspicious as a
whole. Rows are looked up only where a rule is broken. Every violation is reported, not the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import duckdb

from analysis.contract import INTERACTIONS, TABLES, Contract
from analysis.telemetry import clocks, suspicions
from analysis.telemetry.compiled_rules import own_rules
from analysis.telemetry.copies import NEAR_COPIES, copy_rules
from analysis.telemetry.faults import grouped, located
from analysis.telemetry.joins import join_rules
from analysis.telemetry.nulls import jumps
from analysis.telemetry.profile import profile as profile_of
from analysis.telemetry.rules import Rule, column_rules, key_unique
from analysis.telemetry.source import Source, unreadable_tables
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import ContractSection, Violation, section


def validate(
    source: Source,
    contract: Contract,
    *,
    used_columns: frozenset[str] = frozenset(),
    max_missing: float = 0.05,
) -> ContractSection:
    """Every violation of the contract.

    used_columns: interactions columns whose share of nulls must not exceed `max_missing`, or the
    cap that the contract gives them (`missing_rate`, a warning). A rule whose tables or columns are
    absent has nothing to say. Leaves the rows that break rules in the engine's table `faults`.
    """
    try:
        return _validated(source, contract, used_columns, max_missing)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        # A file that opens and breaks off later: its table is as good as absent.
        broken = unreadable_tables(source, contract)
        if not broken:
            raise
        gone = {v.table for v in broken}
        rest = dataclasses.replace(
            source,
            columns={t: c for t, c in source.columns.items() if t not in gone},
            violations=(*source.violations, *broken),
        )
        return _validated(rest, contract, used_columns, max_missing)


def _validated(
    source: Source, contract: Contract, used: frozenset[str], max_missing: float
) -> ContractSection:
    own = own_rules(source, contract)
    rules: list[Rule] = []
    for name in TABLES:
        if name in source.columns:
            members = [*column_rules(source, contract, name), *own.get(name, ())]
            rules += _broken(source, members)
            rules += key_unique(source, contract, name)
    whole = list(source.violations)
    below: list[Violation] = []
    profile = None
    if INTERACTIONS in source.columns:
        profile = profile_of(source, contract, used)
    known = {} if profile is None else profile.known
    rules += [_with_shift(source, rule) for rule in join_rules(source, contract, known)]
    if profile is not None:
        rules += copy_rules(source, contract)
        rules += clocks.mixed_zones(source, contract)
        rules += _broken(source, clocks.early_labels(source, contract))
        rules += clocks.stray_stamps(profile, contract)
        rules += clocks.doubled_hours(source, contract, profile)
        rules += jumps(source, contract, profile)
        rules += _missing(source, contract, profile.known, used, max_missing)
        whole += clocks.missing_days(profile, contract)
        whole += suspicions.explosions(source, contract, profile)
        strange, plausible = suspicions.constants(source, contract, profile)
        whole += strange
        below += plausible
    found = grouped(source, located(source, rules))
    below += [v for v in found if _is_below(v, contract, max_missing)]
    kept = [v for v in found if not _is_below(v, contract, max_missing)]
    return section([*whole, *kept], below, n_rules=_n_rules(contract))


def _n_rules(contract: Contract) -> int:
    return len(contract.severities) + len(contract.rules)


def _broken(source: Source, rules: Sequence[Rule]) -> list[Rule]:
    """Those of the rules that some row breaks: one scan a relation."""
    relations: dict[str, list[Rule]] = {}
    for rule in rules:
        relations.setdefault(rule.relation, []).append(rule)
    out = []
    for relation, members in relations.items():
        counts = source.engine.row(
            f"SELECT {', '.join(f'count(*) FILTER (WHERE {r.broken})' for r in members)} "
            f"FROM {relation}"
        )
        out += [r for r, n in zip(members, counts, strict=True) if n]
    return out


def _with_shift(source: Source, rule: Rule) -> Rule:
    """A rule on a session's times says so where a time zone explains it."""
    if rule.rule != "timestamp_in_session":
        return rule
    hours = clocks.zone_shift(source, rule)
    if hours is None:
        return rule
    return dataclasses.replace(
        rule,
        hint=f"{rule.hint}; most fit once they are moved by {-hours:+g} h: are local times among UTC?",
    )


def _cap(column: str, contract: Contract, max_missing: float) -> float:
    declared = contract.column(column)
    own = None if declared is None else declared.max_missing
    return max_missing if own is None else own


def _missing(
    source: Source,
    contract: Contract,
    known: Mapping[str, int],
    used: frozenset[str],
    max_missing: float,
) -> list[Rule]:
    """Columns with nulls that the policy uses or the contract caps, below their cap or above it."""
    total = source.rows(INTERACTIONS)
    rules = []
    for column, n in known.items():
        declared = contract.column(column)
        capped = declared is not None and declared.max_missing is not None
        if n == total or not (column in used or capped):
            continue
        cap = _cap(column, contract, max_missing)
        who = "the contract" if capped else "the policy uses the column and"
        above = total - n > cap * total
        so = "; checks that need it are inconclusive" if column in used and above else ""
        rules.append(
            Rule(
                "missing_rate",
                INTERACTIONS,
                column,
                f"t.{identifier(column)} IS NULL",
                f"{who} accepts {100 * cap:g} % missing{so}",
                contract.severities["missing_rate"],
                f"{INTERACTIONS} t",
            )
        )
    return rules


def _is_below(violation: Violation, contract: Contract, max_missing: float) -> bool:
    """Whether a count stays below what is worth a warning; it is shown all the same."""
    if violation.rule == "missing_rate" and violation.column is not None:
        return violation.share <= _cap(violation.column, contract, max_missing)
    return violation.rule == "near_duplicates" and violation.share < NEAR_COPIES
