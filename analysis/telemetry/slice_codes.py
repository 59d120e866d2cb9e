"""The dimensions of a row as bit fields of one or a few integers, so that cells compare quickly.

Each dimension is a field of a 64-bit word: its value's code, below a bit that is the mark of a
dimension on which two cells differ. A word keeps 60 bits for dimensions; the window lies above those
of the first. Fields are compared all at once, by sums, `&` and `>>` alone, which every engine has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier

MAX_CATEGORIES = 50
_WORD_BITS = 60
WINDOW = 1 << _WORD_BITS
# The window's mark: of pairs between the windows.
BETWEEN = WINDOW << 1
WINDOW_MASK = WINDOW | BETWEEN


@dataclass(frozen=True)
class Dimension:
    """A dimension with its values in code order: sorted, null last."""

    name: str
    values: tuple[str | None, ...]


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
) -> tuple[tuple[Dimension, ...], tuple[str, ...]]:
    """Dimensions with more than one value and at most `MAX_CATEGORIES`, and those with too many."""
    if not names:
        return (), ()
    types = engine.types("fact")
    parts = []
    for index, name in enumerate(names):
        # Texts are grouped as they are held; equal numbers may have two texts.
        held = identifier(name)
        if not types[name].startswith(("VARCHAR", "ENUM")):
            held = f"CAST({held} AS VARCHAR)"
        parts.append(
            f"SELECT {index} AS i, CAST(t{index}.v AS VARCHAR) AS v FROM (SELECT {held} AS v "
            f"FROM fact WHERE win IS NOT NULL GROUP BY 1 LIMIT {MAX_CATEGORIES + 2}) AS t{index}"
        )
    found: list[list[str | None]] = [[] for _ in names]
    for index, value in engine.rows(" UNION ALL ".join(parts)):
        found[int(index)].append(value)
    coded, left_out = [], []
    for name, rows in zip(names, found, strict=True):
        values: list[str | None] = [*sorted(v for v in rows if v is not None)]
        if len(values) > MAX_CATEGORIES:
            left_out.append(name)
            continue
        if len(rows) > len(values):
            values.append(None)
        if len(values) > 1:
            coded.append(Dimension(name, tuple(values)))
    return tuple(coded), tuple(left_out)


def put_values(engine: Engine, coding: Coding) -> tuple[list[str], str]:
    """Makes the tables that give each value its bits: word expressions over `fact` f, and the joins."""
    words = [[f"CASE WHEN f.win = 1 THEN {WINDOW} ELSE 0 END"], *([] for _ in coding.words[1:])]
    joins = []
    for index, dimension in enumerate(coding.dimensions):
        word, offset = coding.places[index]
        texts = [v for v in dimension.values if v is not None]
        engine.put(
            f"slice_values_{index}",
            pd.DataFrame(
                {
                    f"slice_value_{index}": pd.array(texts, dtype="string"),
                    f"slice_bits_{index}": np.arange(len(texts), dtype=np.int64) << offset,
                }
            ),
        )
        unknown = (len(dimension.values) - 1) << offset
        words[word].append(f"coalesce(v{index}.slice_bits_{index}, {unknown})")
        joins.append(
            f"LEFT JOIN slice_values_{index} AS v{index} "
            f"ON CAST(f.{identifier(dimension.name)} AS VARCHAR) = v{index}.slice_value_{index}"
        )
    return [f"CAST({' + '.join(parts)} AS BIGINT)" for parts in words], " ".join(joins)


def drop_values(engine: Engine, coding: Coding) -> None:
    """Removes what `put_values` made."""
    engine.drop(*(f"slice_values_{index}" for index in range(len(coding.dimensions))))
