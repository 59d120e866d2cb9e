"""What an earlier review recorded of its distributions, as later ones compare with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.check import Interval
from analysis.policy import Window
from analysis.telemetry.bin_cuts import Cut
from analysis.telemetry.files import InputFile


@dataclass(frozen=True)
class RecordedColumn:
    """One column of a recorded release.

    is_number: whether its values were read as numbers. cut: its bins; a category's value is a number, or
    the md5 of a text. counts: the candidate's rows by bin. design_effect: the variance of their shares
    over that of independent rows, days included.
    """

    is_number: bool
    cut: Cut
    counts: tuple[int, ...]
    design_effect: float


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


@dataclass(frozen=True)
class RecordedFigures:
    """The headline figures of a recorded release's candidate window.

    release_id: the release's. outcome: what was decided of it. latency_rule: what counted as a latency
    breach, None without such an SLO; other rules give other rates. input: the artifact that was read.
    """

    release_id: str
    start_utc: str
    end_utc: str
    outcome: str
    figures: Mapping[str, Interval]
    latency_rule: Mapping[str, object] | None
    input: InputFile


@dataclass(frozen=True)
class RecordedBaseline:
    """The recorded release whose candidate is the baseline now. window: that candidate's, as a policy
    names one. input: the artifact that says so, with its digest."""

    window: Window
    input: InputFile
