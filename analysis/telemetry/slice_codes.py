"""The dimensions of a row as bit fields of one or a few integers, so that cells compare quickly.

Each dimension is a field of a 64-bit word: its value's code, or the field's largest number, the
mark, which no value has. A word keeps 60 bits for dimensions; the window lies above those of the
first. Fields are read with a bitwise `and` alone, which every engine has.
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
WINDOW_MASK = 3 << _WORD_BITS


@dataclass(frozen=True)
class Dimension:
    """A dimension with its values in code order: sorted, null last."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class _Field:
    word: int
    offset: int
    bits: int

    @property
    def mark(self) -> int:
        return (1 << self.bits) - 1

    @property
    def mask(self) -> int:
        return self.mark << self.offset


@dataclass(frozen=True)
class Coding:
    """Where each dimension lies: words in columns `k0`, `k1`, …; the first dimension weighs most."""

    dimensions: tuple[Dimension, ...]
    fields: tuple[_Field, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(f"k{w}" for w in range(max((f.word for f in self.fields), default=0) + 1))

    def masks(self, group: Sequence[int]) -> tuple[int, ...]:
        """For each word the bits of these dimensions."""
        masks = [0] * len(self.words)
        for index in group:
            masks[self.fields[index].word] |= self.fields[index].mask
        return tuple(masks)

    def key(self, codes: np.ndarray) -> tuple[tuple[int, int], ...]:
        """(mask, value) for each word of a slice with these codes, −1 where it is free."""
        values = [0] * len(self.words)
        for field, code in zip(self.fields, codes.tolist(), strict=True):
            if code >= 0:
                values[field.word] |= code << field.offset
        return tuple(zip(self.masks(np.flatnonzero(codes >= 0).tolist()), values, strict=True))

    def codes(self, words: np.ndarray) -> np.ndarray:
        """(rows, D) codes of (rows, W) words, −1 for the mark."""
        out = np.empty((len(words), len(self.fields)), dtype=np.int16)
        for index, field in enumerate(self.fields):
            code = (words[:, field.word] >> field.offset) & field.mark
            out[:, index] = np.where(code == field.mark, -1, code)
        return out

    def meet(self, a: str, b: str) -> list[str]:
        """Expressions of the words of what two cells have in common; the mark where they differ."""
        fields = [(f.word, f.mask) for f in self.fields] + [(0, WINDOW_MASK)]
        out = []
        for place, word in enumerate(self.words):
            parts = [
                f"CASE WHEN ({a}.{word} & {mask}) = ({b}.{word} & {mask}) "
                f"THEN {a}.{word} & {mask} ELSE {mask} END"
                for at, mask in fields
                if at == place
            ]
            out.append(" + ".join(f"({part})" for part in parts))
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
    fields: list[_Field] = []
    word, free = 0, _WORD_BITS
    for dimension in dimensions:
        # One number more than there are values: the mark.
        bits = len(dimension.values).bit_length()
        if bits > free:
            word, free = word + 1, _WORD_BITS
        free -= bits
        fields.append(_Field(word, free, bits))
    return Coding(tuple(dimensions), tuple(fields))


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
    for index, (dimension, field) in enumerate(zip(coding.dimensions, coding.fields, strict=True)):
        texts = [v for v in dimension.values if v is not None]
        engine.put(
            f"slice_values_{index}",
            pd.DataFrame(
                {
                    f"slice_value_{index}": pd.array(texts, dtype="string"),
                    f"slice_bits_{index}": np.arange(len(texts), dtype=np.int64) << field.offset,
                }
            ),
        )
        unknown = (len(dimension.values) - 1) << field.offset
        words[field.word].append(f"coalesce(v{index}.slice_bits_{index}, {unknown})")
        joins.append(
            f"LEFT JOIN slice_values_{index} AS v{index} "
            f"ON CAST(f.{identifier(dimension.name)} AS VARCHAR) = v{index}.slice_value_{index}"
        )
    return [f"CAST({' + '.join(word)} AS BIGINT)" for word in words], " ".join(joins)


def drop_values(engine: Engine, coding: Coding) -> None:
    """Removes what `put_values` made."""
    engine.drop(*(f"slice_values_{index}" for index in range(len(coding.dimensions))))
