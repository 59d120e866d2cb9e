"""What other engines return, as frames and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Row


def frame_of(names: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as the embedded engine would return them: decimals as integers, or floats beyond 2⁶³."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pd.DataFrame(
        {name: _column(values) for name, values in zip(names, columns, strict=True)},
        columns=list(names),
    )


def _column(values: Sequence[Any]) -> Any:
    known = [v for v in values if v is not None]
    if not known:
        return pd.Series(list(values), dtype=object)
    first = known[0]
    if isinstance(first, Decimal):
        whole = all(v == v.to_integral_value() and abs(v) < 2**63 for v in known)
        if whole and len(known) == len(values):
            return np.array([int(v) for v in values], dtype=np.int64)
        return np.array([np.nan if v is None else float(v) for v in values])
    if isinstance(first, bool):
        full = len(known) == len(values)
        return np.array(values, dtype=bool if full else object)
    if isinstance(first, int):
        if len(known) == len(values):
            return np.array(values, dtype=np.int64)
        return np.array([np.nan if v is None else float(v) for v in values])
    if isinstance(first, float):
        return np.array([np.nan if v is None else v for v in values])
    if isinstance(first, str):
        return pd.Series(list(values), dtype="str")
    return pd.Series(list(values))


def plain(value: Any) -> Any:
    """A cell of a frame as a value that a database driver takes."""
    if (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and value != value)
    ):
        return None
    return value.item() if isinstance(value, np.generic) else value


def kind_of(values: pd.Series) -> str:
    """The type of a frame's column by DuckDB's names."""
    if pd.api.types.is_bool_dtype(values):
        return "BOOLEAN"
    if pd.api.types.is_integer_dtype(values):
        return "BIGINT"
    return "DOUBLE" if pd.api.types.is_float_dtype(values) else "VARCHAR"
