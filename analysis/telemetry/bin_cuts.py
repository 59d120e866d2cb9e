"""How a column is read, and how its values are cut into bins, as SQL that every engine has."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MAX_CATEGORIES = 50
MIN_CATEGORY_SHARE = 0.001
MIN_CATEGORY_ROWS = 5
N_QUANTILES = 20  # deciles, and the medians between them
MAX_LABEL = 60

OTHER, ABSENT, MISSING = "(other)", "(not in the baseline)", "(missing)"
_NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
            "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip
_LARGEST = f"CAST({sys.float_info.max!r} AS DOUBLE)"

Value = float | str


def is_numeric(column_type: str) -> bool:
    """Whether a DuckDB type holds numbers."""
    return column_type.upper().startswith(_NUMERIC)


def is_moment(column_type: str) -> bool:
    """Whether a DuckDB type holds dates or times."""
    return column_type.upper().startswith(("TIMESTAMP", "DATE", "TIME", "INTERVAL"))


@dataclass(frozen=True)
class Reading:
    """A column as an expression to group by, and how a grouped value is shown: a number, or a text.

    raw: over `fact f`. shown: has {} for the grouped value.
    """

    raw: str
    shown: str
    is_number: bool

    def of(self, value: str) -> str:
        """What is compared and returned of a grouped value."""
        return self.shown.format(value)


def number(column: str, held: str) -> Reading:
    """A column as numbers, null where not finite. held: its DuckDB type; texts on DuckDB alone."""
    if is_numeric(held) and not held.upper().startswith(("FLOAT", "DOUBLE")):
        return Reading(f"CAST({column} AS DOUBLE)", "{}", is_number=True)
    value = f"{'CAST' if is_numeric(held) else 'TRY_CAST'}({column} AS DOUBLE)"
    # NaN is the largest of all or compares with nothing. Adding zero turns −0.0 into 0.0.
    finite = f"{value} >= -{_LARGEST} AND {value} <= {_LARGEST}"
    return Reading(f"CASE WHEN {finite} THEN {value} + 0.0 END", "{}", is_number=True)


def text(column: str, held: str, read_as: str) -> Reading:
    """A column as texts. held, read_as: DuckDB types; other booleans than BOOLEAN on DuckDB alone."""
    if held.upper() == "BOOLEAN":
        return Reading(column, "CASE WHEN {0} THEN 'true' WHEN NOT {0} THEN 'false' END", False)
    if read_as == "BOOLEAN":
        return Reading(f"CAST(TRY_CAST({column} AS BOOLEAN) AS VARCHAR)", "{}", False)
    if held.upper() == "VARCHAR" or held.upper().startswith("ENUM"):
        return Reading(column, "CAST({} AS VARCHAR)", False)
    return Reading(f"CAST({column} AS VARCHAR)", "{}", False)


@dataclass(frozen=True)
class Cut:
    """The bins of a column: `code` says as SQL into which one a value falls. The last is missing.

    edges: of a number, rising: (−∞, e₁], (e₁, e₂], …, (e_last, ∞). bins: of a category, the bin of
    each value that has one; other values fall into `rest`. points: (B − 1,) values that stand for
    the bins of a number.
    """

    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    points: tuple[float, ...] | None = None
    bins: Mapping[Value, int] = field(default_factory=dict)
    rest: int = 0

    @property
    def missing(self) -> int:
        """The bin of missing values."""
        return len(self.labels) - 1

    @property
    def is_categorical(self) -> bool:
        """Whether bins stand for values; else they lie between edges."""
        return not self.edges

    @property
    def frequent(self) -> tuple[str, ...]:
        """The labels of the categories that have a bin of their own."""
        return self.labels[:-3] if self.is_categorical else ()

    def code(self, value: str, tag: str, parameters: dict[str, object]) -> str:
        """The bin of `value`. tag: begins the names of the parameters that are added."""
        cases = [f"WHEN {value} IS NULL THEN {self.missing}"]
        for index, edge in enumerate(self.edges):
            parameters[f"{tag}_{index}"] = edge
            cases.append(f"WHEN {value} <= ${tag}_{index} THEN {index}")
        for index, (category, code) in enumerate(self.bins.items()):
            parameters[f"{tag}_{index}"] = category
            cases.append(f"WHEN {value} = ${tag}_{index} THEN {code}")
        rest = self.rest if self.is_categorical else len(self.edges)
        return f"CASE {' '.join(cases)} ELSE {rest} END"


def quantiles(ordered: np.ndarray, parts: int) -> list[float]:
    """The parts − 1 values between equal parts of rising values: exact order statistics; none of none."""
    n = len(ordered)
    return [float(ordered[-(-n * i // parts) - 1]) for i in range(1, parts)] if n else []


def twentieths(ordered: np.ndarray) -> tuple[list[float], list[float]]:
    """Distinct deciles, and all distinct twentieths, of rising values: exact order statistics."""
    values = quantiles(ordered, N_QUANTILES)
    return sorted(set(values[1::2])), sorted(set(values))


def below_atoms(ordered: np.ndarray) -> list[float]:
    """Of rising values, the next smaller one of each that is two deciles or more.

    Merged ties leave such a value in one bin with all that lies below it, down to the decile before:
    of a score that is mostly 1, every row, and what turns below 1 would not be seen.
    """
    deciles = quantiles(ordered, 10)
    atoms = {low for low, high in itertools.pairwise(deciles) if low == high}
    places = [int(np.searchsorted(ordered, atom, side="left")) for atom in atoms]
    return sorted({float(ordered[place - 1]) for place in places if place > 0})


def cut_numbers(edges: Sequence[float], points: Sequence[float]) -> Cut:
    """Bins between the edges. points: baseline values, of which some stand for bins."""
    shown = _shown(edges)
    labels = [f"≤ {shown[0]}"]
    labels += [f"{low} – {high}" for low, high in itertools.pairwise(shown)]
    labels += [f"> {shown[-1]}", MISSING]
    return Cut(tuple(labels), tuple(edges), tuple(_representatives(edges, points)))


def cut_categories(baseline: Mapping[Value, int], known: int, total: int) -> Cut:
    """A bin a frequent baseline category, then the other ones, those that it lacks, missing.

    baseline: rows of the categories that are frequent, or of all where there are few. known, total:
    how many there are, and their rows. Beyond `MAX_CATEGORIES` the vocabulary is open: new values
    are expected then, and count among the other ones. Numbers stand in their order, texts by their
    frequency.
    """
    least = max(MIN_CATEGORY_ROWS, MIN_CATEGORY_SHARE * total)
    frequent = [c for c in baseline if baseline[c] >= least]
    kept = sorted(frequent, key=lambda c: (-baseline[c], c))[:MAX_CATEGORIES]
    if kept and not isinstance(kept[0], str):
        kept = sorted(kept)
    bins = {category: index for index, category in enumerate(kept)}
    other = len(kept)
    if known > MAX_CATEGORIES:
        rest = other
    else:
        rest = other + 1
        bins |= dict.fromkeys(baseline.keys() - bins.keys(), other)
    return Cut((*map(_label, kept), OTHER, ABSENT, MISSING), bins=bins, rest=rest)


def _representatives(edges: Sequence[float], points: Sequence[float]) -> list[float]:
    """The middle one of the baseline's twentieths in each bin; an edge of the bin without any."""
    values = np.asarray(points)
    bins = np.searchsorted(np.asarray(edges), values, side="left")
    found = []
    for index in range(len(edges) + 1):
        inside = values[bins == index]
        found.append(
            float(inside[(len(inside) - 1) // 2]) if len(inside) else edges[max(index - 1, 0)]
        )
    return found


def _shown(edges: Sequence[float]) -> list[str]:
    """The edges with as few digits as tell them apart, at least four."""
    for digits in range(4, 17):
        shown = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(shown)) == len(shown):
            return shown
    return [repr(edge) for edge in edges]


def _label(value: Value) -> str:
    if not isinstance(value, str):
        return f"{value:.12g}"
    return value if len(value) <= MAX_LABEL else value[: MAX_LABEL - 1] + "…"
