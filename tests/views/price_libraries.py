"""Whether the library of list prices is there: an extra, and so no test may need it silently."""

from __future__ import annotations

import importlib.util

import pytest

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("genai_prices") is None,
    reason="genai-prices is not installed: requirements-dev.txt has it",
)
