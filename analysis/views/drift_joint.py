"""Joint drift: can a classifier tell the windows apart by the context columns together?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.check import Check, Interval, Outcome, rounded
from analysis.policy import Policy
from analysis.stats.boosted_tables import Shape
from analysis.stats.clustered_auc import ClusteredAuc
from analysis.stats.giveaway import alone, cell_shares, from_margins, permutation_importance
from analysis.stats.two_sample import TwoSample, rows_of, two_sample
from analysis.telemetry import Telemetry
from analysis.telemetry.bins import is_numeric
from analysis.views.drift_features import LISTED_ONLY, short
from analysis.views.drift_joint_columns import ContextColumn, encode
from analysis.views.drift_joint_rows import JointRows, sampled_rows

MAX_CELLS = 6
WAIT = "Provide what is missing, or wait for more traffic, then review again."
MARGIN = 0.07
"""Above the policy's band: the test passes where so much can be ruled out (0.60 by default, which it
promises to find)."""


@dataclass(frozen=True)
class JointColumn:
    """A context column's part in the AUC.

    importance: how far the AUC falls when the column is shuffled, so that what it says together with
    others counts too. alone: the AUC of this column by itself; ½ where it says nothing alone.
    """

    name: str
    importance: float
    alone: float


@dataclass(frozen=True)
class JointCell:
    """A combination of values: its share of the baseline and of the candidate, on the scored half.

    expected: what the candidate's share would be had columns moved, but not what they say
    together.
    """

    values: tuple[str, ...]
    baseline: float
    candidate: float
    expected: float


@dataclass(frozen=True)
class Joint:
    """A classifier's power to tell the windows apart by the context columns together.

    auc, low, high: on rows that it was not fitted on, with a 95 % interval; ½ is chance. p_value: one-sided,
    against ½ or less. names: the columns that were compared. n_fitted, n_baseline, n_candidate: rows
    fitted on, and rows scored of either window.
    Where it is beyond chance: columns, by importance; giveaway: the columns that say most
    together, as few as say it; cells: of these, what moved most.
    """

    auc: float | None
    low: float | None
    high: float | None
    p_value: float | None
    reason: str | None
    names: tuple[str, ...] = ()
    n_fitted: int = 0
    n_baseline: int = 0
    n_candidate: int = 0
    columns: tuple[JointColumn, ...] = ()
    giveaway: tuple[str, ...] = ()
    cells: tuple[JointCell, ...] = ()


@dataclass(frozen=True)
class JointResult:
    """What the section holds, and its check."""

    joint: Joint
    check: Check


def assess_joint(
    telemetry: Telemetry, policy: Policy, names: Sequence[str], floor: str | None
) -> JointResult:
    """names: the columns that drift tests. floor: why the windows are too small, or None.

    AUC of a column: by itself, or how far the AUC of all falls when the column's values are dealt out anew,
    which also breaks what it says together with others. They rank columns, and have no interval.
    """
    used = context_columns(telemetry, names)
    if floor or len(used) < 2:
        reason = floor or (
            "the telemetry has no context column that can be compared"
            if not used
            else f"there is a single context column, “{short(used[0])}”, and nothing to combine it with"
        )
        return unknown(reason, used)
    rows = sampled_rows(telemetry, used)
    if isinstance(rows, str):
        return unknown(rows, used)
    encoded = [
        encode(n, rows.values[n], rows.halves.fitted, as_number=is_numeric(telemetry.types[n]))
        for n in used
    ]
    columns = [c for c in encoded if c.varies]
    if len(columns) < 2:
        return unknown("fewer than two context columns vary", used)
    coded = tuple(c.coded for c in columns)
    test = two_sample(
        coded, rows.late, rows.cluster, rows.day, rows.fold, rows.halves, by_days=telemetry.by_days
    )
    if test.auc is None:
        return unknown("the half that is scored has too few clusters or days", used)
    scored = rows.halves.scored
    low, high = test.auc.interval()
    joint = Joint(
        test.auc.value, low, high, float(test.auc.p_greater), None, tuple(used),
        int(rows.halves.fitted.sum()), int((scored & ~rows.late).sum()),
        int((scored & rows.late).sum()),
    )  # fmt: skip
    if _beyond_chance(test.auc, policy):
        joint = _told(joint, rows, columns, test)
    return JointResult(joint, judged(joint, test.auc, policy))


def context_columns(telemetry: Telemetry, names: Sequence[str]) -> list[str]:
    """Those of role context, known at the request, that no release is meant to change."""
    out = []
    for name in sorted(set(names) - LISTED_ONLY):
        declared = telemetry.contract.column(name)
        if declared is None or declared.role != "context":
            continue
        if telemetry.contract.knowable(name, "request"):
            out.append(name)
    return out


def unknown(reason: str, names: Sequence[str] = (), action: str = WAIT) -> JointResult:
    """Nothing was compared, and why."""
    check = Check.of(
        "drift.joint", "drift", "inconclusive", "note", Interval.unknown(),
        limit=None, unit="AUC", reason=reason,
        sentence=f"Joint drift of the context is not judged: {reason}.",
        action=action,
    )  # fmt: skip
    return JointResult(Joint(None, None, None, None, reason, tuple(names)), check)


# ── what gives it away ───────────────────────────────────────────────────────────────────


def _told(
    joint: Joint, rows: JointRows, columns: Sequence[ContextColumn], test: TwoSample
) -> Joint:
    coded = tuple(c.coded for c in columns)
    scored = np.flatnonzero(rows.halves.scored)
    late, weight = rows.late[scored], rows.halves.weight[scored]
    falls = permutation_importance(
        test.model, rows_of(coded, scored), late, weight, np.random.default_rng(0)
    )
    single = alone(coded, rows.late, rows.halves)
    listed = [
        JointColumn(c.name, float(fall), float(auc))
        for c, fall, auc in zip(columns, falls, single, strict=True)
    ]
    listed.sort(key=lambda c: (-rounded(c.importance), c.name))
    leading = test.model.tables[0].shape.columns
    return replace(
        joint,
        columns=tuple(listed),
        giveaway=tuple(columns[c].name for c in leading),
        cells=_cells(rows, columns, leading),
    )


def _cells(
    rows: JointRows, columns: Sequence[ContextColumn], leading: tuple[int, ...]
) -> tuple[JointCell, ...]:
    """What moved most on the fitted half, as it is on the scored half."""
    parts = tuple((c, _resolution(columns[c], len(leading))) for c in leading)
    shape = Shape(parts, tuple(columns[c].coded.sizes[level] for c, level in parts))
    cells = shape.cells([c.coded for c in columns])
    fitted, scored = (
        cell_shares(cells[part], shape.n_cells, rows.late[part], rows.halves.weight[part])
        for part in (rows.halves.fitted, rows.halves.scored)
    )
    expected = from_margins(scored[0].reshape(shape.sizes), scored[1].reshape(shape.sizes)).ravel()
    moved = np.round(np.abs(fitted[1] - fitted[0]), 12)
    out = []
    for cell in np.argsort(-moved, kind="stable")[:MAX_CELLS]:
        if moved[cell] == 0:
            continue
        place = np.unravel_index(int(cell), shape.sizes)
        values = tuple(
            short(columns[c].labels[level][int(code)])
            for (c, level), code in zip(parts, place, strict=True)
        )
        out.append(
            JointCell(values, float(scored[0, cell]), float(scored[1, cell]), float(expected[cell]))
        )
    return tuple(out)


def _resolution(column: ContextColumn, n_columns: int) -> int:
    """Few bins of numbers, more of categories: as many as a reader can take in."""
    last = len(column.labels) - 1
    if n_columns == 1:
        return min(last, 1)
    return last if column.is_number or n_columns > 2 else min(last, 1)


# ── the check ────────────────────────────────────────────────────────────────────────────


def _beyond_chance(auc: ClusteredAuc, policy: Policy) -> bool:
    """One-sided, at half of `drift.fdr`: the columns by themselves have their own errors, and of both
    together no more than `fdr` is to be flagged where nothing drifts. At 0.05 it is where the 95 %
    interval lies above ½."""
    return rounded(float(auc.p_greater)) < policy.drift.fdr / 2


def judged(joint: Joint, auc: ClusteredAuc, policy: Policy) -> Check:
    """Fails where the AUC is beyond chance and in the policy's band. Passes where it is below the
    band, and its one-sided 95 % bound less than `MARGIN` above the band. Else it is not decided.

    drift.joint: the AUC of the windows, held against the policy's band.
    """
    limit, p = policy.drift.joint.auc, float(auc.p_greater)
    value, beyond = rounded(auc.value), _beyond_chance(auc, policy)
    ruled_out = min(1.0, limit + MARGIN)
    outcome: Outcome = "inconclusive"
    reason = None
    if beyond and value >= limit:
        outcome = "fail"
    elif value < limit and rounded(auc.upper()) < ruled_out:
        outcome = "pass"
    else:
        reason = (
            f"an AUC of {limit:g} or more is not beyond chance"
            if value >= limit
            else f"an AUC of {ruled_out:g} cannot be ruled out with so few clusters or days"
        )
    hardly = outcome == "pass" and not beyond
    told = "hardly tell the windows apart:" if hardly else "tell the windows apart with"
    figure = (
        f"{len(joint.names)} context columns together {told} an AUC of "
        f"{auc.value:.3f} (95 % interval {joint.low:.3f} to {joint.high:.3f}; 0.5 is chance, and "
        f"{limit:g} or more counts)"
    )
    leads = _named(joint.giveaway)
    ends = {
        "fail": f"; what gives it away most is {leads}.",
        "pass": ".",
        "inconclusive": f"; not decided, because {reason}.",
    }
    actions = {
        "fail": (
            f"Compare {leads} before and after on the drift page"
            if len(joint.giveaway) == 1
            else f"See on the drift page which values of {leads} go together now and did not before"
        )
        + ", and say whether the change is meant.",
        "pass": "Nothing to do.",
        "inconclusive": "Wait for more traffic, then review again.",
    }
    check = Check.of(
        "drift.joint", "drift", outcome, "note",
        Interval.of(auc.value, joint.low, joint.high, joint.n_baseline + joint.n_candidate),
        limit=limit, unit="AUC", reason=reason,
        sentence=figure + ends[outcome], action=actions[outcome],
    )  # fmt: skip
    return replace(check, p_value=p)


def _named(columns: Sequence[str]) -> str:
    quoted = [f"“{short(c)}”" for c in columns]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} with {quoted[-1]}"


__all__ = ["Joint", "JointCell", "JointColumn", "JointResult", "assess_joint",
           "context_columns", "judged", "unknown"]  # fmt: skip
