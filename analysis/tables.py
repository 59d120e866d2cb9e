"""Writes the full tables behind an artifact as CSV files that a spreadsheet may open."""

from __future__ import annotations

import csv
import io
import math
import numbers
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = (
    "health_by_model.csv",
    "slo_burn.csv",
    "slo_by_release.csv",
    "spend_drivers.csv",
    "spend_by_hour.csv",
    "hotspots.csv",
    "routing_policy.csv",
    "routing_backtest.csv",
    "routing_slices.csv",
    "drift_report.csv",
    "drift_references.csv",
    "drift_distributions.csv",
    "drift_consequence.csv",
    "triage_threshold_curve.csv",
    "triage_quality.csv",
    "triage_net_benefit.csv",
    "triage_queue.csv",
    "triage_actions.csv",
)
OF_ROWS = ("triage_actions.csv",)
"""The tables that name single rows: no recorded release holds them."""
FILES = ("triage_policy.json",)
"""What lies beside the tables and is none."""

# Excel in a Japanese or Chinese locale also takes the full-width signs for a formula's start.
_SIGNS = "=+\\-@＝＋－＠"
_FORMULA = re.compile(rf"\s*[{_SIGNS}\t\r]")
# Where the list separator is a semicolon, a spreadsheet also splits a cell of ours there; and quotes
# that open and close at once do not keep it from a formula behind them.
_AFTER_SEMICOLON = re.compile(rf'(;[\s"]*)(?=[{_SIGNS}])')
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def write_tables(
    tables: Mapping[str, pd.DataFrame], directory: Path, files: Mapping[str, str] | None = None
) -> None:
    """Writes every table of `TABLES`, one that no view filled empty, and the `FILES` that are given.

    Raises ValueError for a table or a file by another name: it would be lost.
    """
    unknown = sorted((set(tables) - set(TABLES)) | (set(files or {}) - set(FILES)))
    if unknown:
        raise ValueError(f"no table is called {', '.join(unknown)}; known: {', '.join(TABLES)}")
    directory.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        frame = tables.get(name, pd.DataFrame())
        (directory / name).write_bytes(csv_bytes(frame))
    for name, text in (files or {}).items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as UTF-8 CSV: text that a spreadsheet would run is prefixed with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([safe_cell(str(c)) for c in frame.columns])
    for row in frame.itertuples(index=False, name=None):
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue().encode()


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula, with nothing in it that cannot be seen."""
    shown = _AFTER_SEMICOLON.sub(r"\1'", "".join(map(_visible, text)))
    return f"'{shown}" if _FORMULA.match(text) else shown


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real | Decimal):
        number = float(value)
        if math.isnan(number):
            return ""
        return f"{number + 0.0:.12g}" if math.isfinite(number) else safe_cell(str(number))
    return safe_cell(str(value))
