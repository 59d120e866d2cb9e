"""The dimensions of a row as bit fields of one or a few integers, so that cells compare quickly.

Each dimension is a field of a 64-bit word: its value's code, below a bit that is the mark of a
dimension on which two cells differ. A word keeps 60 bits for dimensions; the window lies above those
of the first. Fields are compared all at once, by sums, `&` and `>>` alone, which every engine has.

A dimension is a column of few values, one of many whose rare values are grouped, or a number in bins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier

MAX_CATEGORIES = 50
"""Of a column with more values, so many are told apart, and the rest is grouped, or the column refused."""
MIN_TOLD_SHARE = 0.5
"""Of the interactions with a value, what those that are told apart have to hold."""
MIN_ROWS_A_VALUE = 2
"""On average; below that, values are mostly unique: ids, or free text."""
_WORD_BITS = 60
WINDOW = 1 << _WORD_BITS
# The window's mark: of pairs between the windows.
BETWEEN = WINDOW << 1
WINDOW_MASK = WINDOW | BETWEEN


@dataclass(frozen=True)
class Dimension:
    """A dimension with its values in code order, as they are shown: sorted, the rest of them after
    those, null last.

    texts: those of the column with a code of their own, in code order; None where `values` are they.
    rest: the code of its other texts; None where there are none. code: of a number in bins, the code as
    SQL over `fact f`.
    """

    name: str
    values: tuple[str | None, ...]
    texts: tuple[str, ...] | None = None
    rest: int | None = None
    code: str | None = None

    @property
    def joined(self) -> tuple[str, ...]:
        """The texts by which the column is joined with its codes."""
        return tuple(v for v in self.values if v is not None) if self.texts is None else self.texts


@dataclass(frozen=True)
class Crowded:
    """A column with more than `MAX_CATEGORIES` values.

    share: of the interactions with a value, what the most frequent ones hold; None where most values
    are unique, and nobody looked. grouped: the other values count as one; else it is no dimension.
    """

    name: str
    n_values: int
    share: float | None

    @property
    def grouped(self) -> bool:
        return self.share is not None and self.share >= MIN_TOLD_SHARE


@dataclass(frozen=True)
class Coding:
    """Where each dimension lies: words in columns `k0`, `k1`, …; the first dimension weighs most.

    places: (word, offset) of each. bits: of a value, in all fields; the mark is the next.
    """

    dimensions: tuple[Dimension, ...]
    places: tuple[tuple[int, int], ...]
    bits: int

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(f"k{w}" for w in range(max((word for word, _ in self.places), default=0) + 1))

    def masks(self, group: Sequence[int]) -> tuple[int, ...]:
        """For each word the bits of these dimensions."""
        masks = [0] * len(self.words)
        for index in group:
            word, offset = self.places[index]
            masks[word] |= ((1 << self.bits) - 1) << offset
        return tuple(masks)

    def words_of(self, codes: np.ndarray) -> np.ndarray:
        """(rows, W) words of the baseline's cells with (rows, D) codes."""
        out = np.zeros((len(codes), len(self.words)), dtype=np.int64)
        for index, (word, offset) in enumerate(self.places):
            out[:, word] |= codes[:, index].astype(np.int64) << offset
        return out

    def codes(self, words: np.ndarray) -> np.ndarray:
        """(rows, D) codes of (rows, W) words, −1 for the mark."""
        out = np.empty((len(words), len(self.places)), dtype=np.int16)
        for index, (word, offset) in enumerate(self.places):
            code = (words[:, word] >> offset) & ((2 << self.bits) - 1)
            out[:, index] = np.where(code >> self.bits, -1, code)
        return out

    def meet(self, a: str, b: str) -> list[str]:
        """Expressions of the words of what two cells, a before b, have in common.

        A field of their symmetric difference, plus the largest value, reaches the mark where it is
        not 0; the marks less their last bits' places cover the values that have to go.
        """
        out = []
        for place, word in enumerate(self.words):
            marks = sum(1 << (o + self.bits) for w, o in self.places if w == place)
            last = WINDOW if place == 0 else 0
            x, y = f"{a}.{word}", f"{b}.{word}"
            differ = f"({x} + {y} - 2 * ({x} & {y}) + {marks - (marks >> self.bits) + last})"
            found = f"({differ} & {marks + 2 * last})"
            # Of two windows the first is the baseline's: its bit is 0 already.
            gone = f"(({differ} & {marks}) - (({differ} & {marks}) >> {self.bits}))"
            out.append(f"{x} - ({x} & {gone}) + {found}")
        return out

    def before(self, a: str, b: str) -> str:
        """Whether cell a comes before b, the baseline first."""
        *rest, last = self.words
        text = f"{a}.{last} < {b}.{last}"
        for word in reversed(rest):
            text = f"{a}.{word} < {b}.{word} OR ({a}.{word} = {b}.{word} AND ({text}))"
        return f"({text})"


def coding_of(dimensions: Sequence[Dimension]) -> Coding:
    """Lays the fields out, the first dimension highest."""
    bits = max(((len(d.values) - 1).bit_length() for d in dimensions), default=1)
    fits = _WORD_BITS // (bits + 1)
    places = tuple(
        (k // fits, _WORD_BITS - (bits + 1) * (k % fits + 1)) for k in range(len(dimensions))
    )
    return Coding(tuple(dimensions), places, bits)


def read_dimensions(
    engine: Engine, names: Sequence[str]
) -> tuple[tuple[Dimension, ...], tuple[Crowded, ...]]:
    """Dimensions with more than one value, and the columns with more than `MAX_CATEGORIES` of them."""
    if not names:
        return (), ()
    types = engine.types("fact")
    held = [_held(name, types[name]) for name in names]
    parts = [
        f"SELECT {index} AS i, CAST(t{index}.v AS VARCHAR) AS v FROM (SELECT {text} AS v "
        f"FROM fact WHERE win IS NOT NULL GROUP BY 1 LIMIT {MAX_CATEGORIES + 2}) AS t{index}"
        for index, text in enumerate(held)
    ]
    found: list[list[str | None]] = [[] for _ in names]
    for index, value in engine.rows(" UNION ALL ".join(parts)):
        found[int(index)].append(value)
    coded, crowded = [], []
    for name, text, rows in zip(names, held, found, strict=True):
        values: list[str | None] = [*sorted(v for v in rows if v is not None)]
        if len(values) > MAX_CATEGORIES:
            dimension, told = _grouped(engine, name, text)
            crowded.append(told)
            if dimension is not None:
                coded.append(dimension)
            continue
        if len(rows) > len(values):
            values.append(None)
        if len(values) > 1:
            coded.append(Dimension(name, tuple(values)))
    return tuple(coded), tuple(crowded)


def _held(name: str, column_type: str) -> str:
    """Texts are grouped as they are held; equal numbers may have two texts."""
    if column_type.startswith(("VARCHAR", "ENUM")):
        return identifier(name)
    return f"CAST({identifier(name)} AS VARCHAR)"


def _grouped(engine: Engine, name: str, text: str) -> tuple[Dimension | None, Crowded]:
    """A column of many values: its most frequent ones, ties by bytes, and one for all the others."""
    values = f"SELECT {text} AS v, count(*) AS n FROM fact WHERE win IS NOT NULL GROUP BY 1"
    n_values, known, rows = (
        int(v)
        for v in engine.row(
            f"SELECT count(v), coalesce(sum(CASE WHEN v IS NULL THEN 0 ELSE n END), 0), sum(n) "
            f"FROM ({values}) AS counted"
        )
    )
    if known < MIN_ROWS_A_VALUE * n_values:
        return None, Crowded(name, n_values, None)
    shown = "CAST(v AS VARCHAR)"
    # The embedded engine compares bytes; others do where they are told to.
    ordered = shown if engine.name == "duckdb" else f"binary_text({shown})"
    most = engine.rows(
        f"SELECT {shown} AS told, n FROM ({values}) AS counted WHERE v IS NOT NULL "
        f"ORDER BY n DESC, {ordered} LIMIT {MAX_CATEGORIES}"
    )
    crowded = Crowded(name, n_values, sum(int(n) for _, n in most) / known)
    if not crowded.grouped:
        return None, crowded
    texts = tuple(sorted(str(told) for told, _ in most))
    labels: list[str | None] = [
        *(_as_text(text) for text in texts),
        other_label(n_values - len(texts)),
    ]
    if rows > known:
        labels.append(None)
    return Dimension(name, tuple(labels), texts, len(texts)), crowded


_RESERVED = re.compile(r'"*\(other: [0-9,]+ values?\)"*')


def other_label(n_values: int) -> str:
    """How so many values that count as one are shown."""
    return f"(other: {n_values:,} value{'' if n_values == 1 else 's'})"


def _as_text(value: str) -> str:
    """A value of the column as it is shown: one that looks like the label of the rest is quoted."""
    return f'"{value}"' if _RESERVED.fullmatch(value) else value


def put_values(engine: Engine, coding: Coding) -> tuple[list[str], str]:
    """Makes the tables that give each value its bits: word expressions over `fact` f, and the joins."""
    words = [[f"CASE WHEN f.win = 1 THEN {WINDOW} ELSE 0 END"], *([] for _ in coding.words[1:])]
    joins = []
    for index, dimension in enumerate(coding.dimensions):
        word, offset = coding.places[index]
        if dimension.code is not None:
            words[word].append(f"({dimension.code}) * {1 << offset}")
            continue
        texts = dimension.joined
        engine.put(
            f"slice_values_{index}",
            pd.DataFrame(
                {
                    f"slice_value_{index}": pd.array(list(texts), dtype="string"),
                    f"slice_bits_{index}": np.arange(len(texts), dtype=np.int64) << offset,
                }
            ),
        )
        column = f"f.{identifier(dimension.name)}"
        last = str((len(dimension.values) - 1) << offset)
        if dimension.rest is not None:
            rest = dimension.rest << offset
            last = f"CASE WHEN {column} IS NULL THEN {last} ELSE {rest} END"
        words[word].append(f"coalesce(v{index}.slice_bits_{index}, {last})")
        joins.append(
            f"LEFT JOIN slice_values_{index} AS v{index} "
            f"ON CAST({column} AS VARCHAR) = v{index}.slice_value_{index}"
        )
    return [f"CAST({' + '.join(parts)} AS BIGINT)" for parts in words], " ".join(joins)


def drop_values(engine: Engine, coding: Coding) -> None:
    """Removes what `put_values` made."""
    engine.drop(*(f"slice_values_{index}" for index in range(len(coding.dimensions))))
