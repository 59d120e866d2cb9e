"""Which cells stand alone, and which are pooled because they are small: judged in the engine.

A context is small under `least` rows in either window, an action of it under `least_action`. So no action
leaves its context, whose share stays what it is: in one pool for all cells, routing to or from small ones
would be told as a change of traffic. What one window lacks altogether, and is large enough in the other,
stands alone: it is a change of mix, which a pool would hide; small ones of that kind pool among themselves.
"""

from __future__ import annotations

MIN_ACTION_ROWS = 20
"""Rows from which an action stands alone in its context."""
SMALL, ALONE, OTHERS, ONLY_NEW, ONLY_GONE = range(5)
"""What a cell counts as: part of what is small, itself, or part of its context's small actions: those of
both windows, of the candidate alone, of the baseline alone."""


def kind_of_cell(alone: str = "", *, has_actions: bool = True) -> str:
    """The kind as SQL over rows0, rows1 of a cell and context0, context1 of its context.

    alone: further conditions of a cell that stands alone, each after AND. has_actions: whether a cell is
    less than its context. Reads $least and $least_action.
    """

    def large(rows: str, least: str) -> str:
        return " AND ".join(f"({rows}{w} >= ${least} OR {rows}{w} = 0)" for w in (0, 1))

    inside = (
        f"WHEN rows0 = 0 THEN {ONLY_NEW} WHEN rows1 = 0 THEN {ONLY_GONE} ELSE {OTHERS}"
        if has_actions
        else f"ELSE {SMALL}"
    )
    return (
        f"CASE WHEN rows0 + rows1 = 0 OR NOT ({large('context', 'least')}) THEN {SMALL} "
        f"WHEN {large('rows', 'least_action')} {alone} THEN {ALONE} {inside} END"
    )
