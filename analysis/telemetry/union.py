"""Several reductions of the same columns in one statement: each statement costs, most of all on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from analysis.telemetry.engine import Engine, Row

MAX_PARTS = 40  # of one statement


@dataclass(frozen=True)
class Part:
    """A query and its parameters, whose names no other part has."""

    sql: str
    parameters: Mapping[str, object] = field(default_factory=dict)


def union_rows(engine: Engine, parts: Sequence[Part]) -> Iterator[Row]:
    """The rows of all parts, in no order."""
    for begin in range(0, len(parts), MAX_PARTS):
        some = parts[begin : begin + MAX_PARTS]
        named = [f"SELECT * FROM ({part.sql}) AS part_{i}" for i, part in enumerate(some)]
        parameters = {name: value for part in some for name, value in part.parameters.items()}
        yield from engine.rows(" UNION ALL ".join(named), parameters)
