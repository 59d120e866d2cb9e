"""Writes the full tables behind an artifact as CSV files that a spreadsheet may open."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

TABLES = (
    "slo_burn.csv",
    "spend_drivers.csv",
    "hotspots.csv",
    "routing_policy.csv",
    "routing_backtest.csv",
    "drift_report.csv",
    "triage_threshold_curve.csv",
    "triage_actions.csv",
)

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_UNSAFE = {
    code: f"\\u{code:04x}"
    for code in [
        *range(0x20),
        0x7F,
        *range(0x80, 0xA0),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0xFEFF,
    ]
}


def write_tables(tables: Mapping[str, pd.DataFrame], directory: Path) -> None:
    """Writes every table of `TABLES`; one that no view filled holds its header only."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        frame = tables.get(name, pd.DataFrame())
        (directory / name).write_bytes(csv_bytes(frame))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as UTF-8 CSV: text that a spreadsheet would run is prefixed with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([safe_cell(str(c)) for c in frame.columns])
    for row in frame.itertuples(index=False, name=None):
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue().encode("utf-8", errors="replace")


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula, without control or bidirectional characters."""
    shown = text.translate(_UNSAFE)
    return (
        f"'{shown}"
        if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS)
        else shown
    )


def _cell(value: object) -> str:
    if (
        value is None
        or value is pd.NaT
        or (isinstance(value, float) and value != value)
        or value is pd.NA
    ):
        return ""
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    return safe_cell(str(value)) if not isinstance(value, int) else str(value)
