"""Numbers as people read them. The artifact holds the exact ones; nothing is computed from these."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

NONE = "–"
_MINUS = re.compile(r"(?<=[ (])-(?=\d)")
_UNITS = (" %", " pp", " ms", " USD", "×")
Format = Callable[[float | None], str]


def _grouped(value: float, digits: int) -> str:
    """Thousands separated, with a true minus.

    Small values get two significant digits, so that they are not shown as nothing; powers of ten
    stand beyond reading length.
    """
    if value and (abs(value) >= 1e12 or abs(value) < 1e-6):
        text = f"{value:.2e}"
    elif value and abs(value) < 0.5 * 10**-digits:
        text = f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"
    else:
        text = f"{value:,.{digits}f}"
    return text.replace("-", "−")


def number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else _grouped(value, digits)


def count(value: float | None) -> str:
    return NONE if value is None else _grouped(value, 0)


def percent(value: float | None, digits: int = 2) -> str:
    """A share of 1, as per cent."""
    return NONE if value is None else f"{_grouped(100 * value, digits)} %"


def points(value: float | None) -> str:
    """A difference of shares, as signed percentage points."""
    return NONE if value is None else f"{_signed(100 * value, 2)} pp"


def ratio(value: float | None) -> str:
    return NONE if value is None else f"{_grouped(value, 2)}×"


def psi(value: float | None) -> str:
    """A stability index: beyond three decimals it is chance."""
    return NONE if value is None else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def usd(value: float | None) -> str:
    """USD, with four decimals below one dollar."""
    if value is None:
        return NONE
    return _grouped(value, 4 if 0 < abs(value) < 1 else 2)


def signed_usd(value: float | None) -> str:
    if value is None:
        return NONE
    return f"+{usd(value)}" if value > 0 else usd(value)


def ms(value: float | None) -> str:
    return NONE if value is None else f"{_grouped(value, 0)} ms"


def small(value: float | None) -> str:
    """p-values and the like."""
    if value is None:
        return NONE
    return "< 0.0001" if 0 <= value < 0.0001 else f"{value:.4f}"


def signed(value: float | None) -> str:
    return NONE if value is None else _signed(value, 2)


def _signed(value: float, digits: int) -> str:
    return f"+{_grouped(value, digits)}" if value > 0 else _grouped(value, digits)


def between(low: float | None, high: float | None, form: Format) -> str:
    """An interval, its unit once; a side that is not bounded is said."""
    if low is None and high is None:
        return NONE
    if low is not None and high is not None:
        first, last = form(low), form(high)
        shared = next((u for u in _UNITS if first.endswith(u) and last.endswith(u)), "")
        return f"{first.removesuffix(shared)} to {last}"
    return f"{form(low) if low is not None else 'no lower limit'} to " + (
        form(high) if high is not None else "no upper limit"
    )


def tick(scale: float = 1.0, sign: bool = False) -> Format:
    """How an axis writes `scale` × its value: as short as it can be, the unit in the axis's title."""

    def written(value: float | None) -> str:
        shown = scale * (value or 0.0)
        return (
            f"{shown:+,.4g}".replace("-", "−")
            if sign and shown
            else f"{shown:,.4g}".replace("-", "−")
        )

    return written


def stated(figure: Mapping[str, Any], form: Format) -> str:
    """A figure of the artifact with its interval, as one cell."""
    if figure["value"] is None:
        return NONE
    if figure["low"] is None and figure["high"] is None:
        return form(figure["value"])
    return f"{form(figure['value'])} ({between(figure['low'], figure['high'], form)})"


def moment(value: object) -> str:
    """An ISO time as UTC date and time; midnight is shown as the date."""
    if value is None:
        return NONE
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    if (parsed.hour, parsed.minute, parsed.second) == (0, 0, 0):
        return f"{parsed:%Y-%m-%d}"
    return f"{parsed:%Y-%m-%d %H:%M}"


def hours(value: float | None) -> str:
    """A stretch of hours in its natural unit."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 60:.3g} min"
    return f"{value:g} h" if value < 48 else f"{value / 24:g} d"


def size(n_bytes: float | None) -> str:
    if n_bytes is None:
        return NONE
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def plural(n: int | None, one: str, many: str | None = None) -> str:
    """A count with its noun; a count that is hidden is said to be few."""
    if n is None:
        return f"few {many or one + 's'} (suppressed)"
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def sentence(words: str) -> str:
    """`words` with a capital and a full stop; a column's name that begins it stays as it is."""
    first = words.split(" ", 1)[0]
    begun = words if "_" in first or "." in first else words[:1].upper() + words[1:]
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


def typeset(sentence: str) -> str:
    """A check's sentence with a true minus before its numbers."""
    return _MINUS.sub("−", sentence)
