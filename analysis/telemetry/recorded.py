"""What an earlier review recorded of its distributions, as later ones compare with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.telemetry.files import InputFile


@dataclass(frozen=True)
class RecordedColumn:
    """One column of a recorded release.

    is_number: whether its values were read as numbers. edges: rising, of a number in bins. values: the
    value of each bin that stands for one: a number, or the md5 of a text. counts: the candidate's rows
    by bin. design_effect: the variance of their shares over that of independent rows, days included.
    """

    kind: str
    is_number: bool
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    values: Mapping[float | str, int]
    rest: int
    counts: tuple[int, ...]
    design_effect: float

    def code(self, value: str, tag: str, parameters: dict[str, object]) -> str:
        """The bin of `value` as SQL, the last for missing ones; see `bin_cuts.Cut.code`."""
        cases = [f"WHEN {value} IS NULL THEN {len(self.labels) - 1}"]
        for index, edge in enumerate(self.edges):
            parameters[f"{tag}_{index}"] = edge
            cases.append(f"WHEN {value} <= ${tag}_{index} THEN {index}")
        for index, (held, place) in enumerate(self.values.items()):
            parameters[f"{tag}_{index}"] = held
            cases.append(f"WHEN {value} = ${tag}_{index} THEN {place}")
        rest = len(self.edges) if self.edges else self.rest
        return f"CASE {' '.join(cases)} ELSE {rest} END"


@dataclass(frozen=True)
class RecordedRelease:
    """A recorded release that the policy names.

    name: the policy's. release_id, start_utc, end_utc, n_interactions: its candidate's. columns: by
    the name as the table writes it. inputs: the files that were read, with their digests.
    """

    name: str
    release_id: str
    start_utc: str
    end_utc: str
    n_interactions: int
    columns: Mapping[str, RecordedColumn]
    inputs: Sequence[InputFile]
