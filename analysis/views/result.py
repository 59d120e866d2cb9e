"""The one shape that every view returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import pandas as pd

from analysis.check import Check, RegressionTest

Section = TypeVar("Section")


@dataclass(frozen=True)
class ViewResult(Generic[Section]):
    """What a view concluded.

    section: the frozen dataclass that the artifact publishes under `views.<view>`.
    checks: in the order in which they are shown; a `RegressionTest` is judged by the review.
    tables: file name in `tables/` → the full table behind the section.
    files: file name in `tables/` → the text of a file that is no table.
    series: name → the frame that a figure of the page draws.
    notes: what the reader must know (a missing column, a warning), one sentence each.
    """

    section: Section
    checks: tuple[Check | RegressionTest, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
