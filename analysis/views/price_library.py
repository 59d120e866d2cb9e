"""List prices from the library genai-prices (`spend.prices: genai-prices`): dated, and as installed.

Only its bundled prices are read, and nothing of it that could fetch others. A model has a price where
the library lists its provider and its name, and where its prompt, cached and completion tokens alone
decide what it costs. All other models are without a price, with a reason: none is guessed.

Source: https://github.com/pydantic/genai-prices.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from types import ModuleType
from typing import Any

from analysis.errors import UsageError
from analysis.policy import PRICE_LIBRARY, Policy
from analysis.telemetry.windows import DAY, ResolvedWindows
from analysis.views.prices import ListPrice, PriceList

_PACKAGE = "genai_prices"
_NEEDED = "input_mtok", "output_mtok"
_TOKEN_PRICES = frozenset({*_NEEDED, "cache_read_mtok"})
"""The library's names of prices that the telemetry's tokens decide, in USD a million tokens."""
_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}
"""`gen_ai.provider.name` of OpenTelemetry's semantic conventions → the library's id, where they differ."""
_SNAPSHOT = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


def library_version(policy: Policy) -> str | None:
    """The version of the library that the policy's prices are from; None where they are not.

    Raises UsageError where the library is not installed.
    """
    if policy.spend.prices != PRICE_LIBRARY:
        return None
    try:
        version = importlib.metadata.version(PRICE_LIBRARY)
        found = importlib.util.find_spec(_PACKAGE) is not None
    except importlib.metadata.PackageNotFoundError:
        found = False
    if not found:
        raise UsageError(
            f"spend.prices: {PRICE_LIBRARY} is not installed; pip install '.[prices]', or give a list "
            "of prices"
        )
    return version


def open_library(policy: Policy, windows: ResolvedWindows) -> PriceLibrary | None:
    """The library's prices over both windows, where the policy asks for them.

    Raises UsageError where the library is not installed, or is one that cannot be read.
    """
    version = library_version(policy)
    if version is None:
        return None
    spans = [s for s in (windows.baseline, windows.candidate) if s is not None]
    # A session that begins in the window may go on after its end, and meet the next day's prices.
    start, end = min(s.start for s in spans), max(s.end for s in spans) + DAY
    try:
        return PriceLibrary(version, start, end, _providers())
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"spend.prices: {PRICE_LIBRARY} {version} cannot be read ({error}); "
            "pip install '.[prices]' has one that can"
        ) from None


@dataclass(frozen=True)
class _Dated:
    """What one model costs from a moment on."""

    start: datetime | None
    prompt: float
    cached: float | None
    completion: float


class PriceLibrary:
    """The library's prices in [start, end).

    moments: `start`, and each time within at which the price of any model changes, ascending.
    """

    def __init__(
        self, version: str, start: datetime, end: datetime, providers: Sequence[Any]
    ) -> None:
        self._called = f"{PRICE_LIBRARY} {version}"
        self._version = version
        self._models = {p.id: _by_name(p.models) for p in providers}
        self._aliases = {alias: p.id for p in providers for alias in _listed(p.provider_match)}
        changes = {c for p in providers for m in p.models for c in _changes(m)}
        self.moments = (start, *sorted(c for c in changes if start < c < end))

    def price_list(
        self, keys: Sequence[str], models: Collection[tuple[str | None, ...]]
    ) -> PriceList:
        """The prices of the telemetry's models (values of `keys`), and why others have none."""
        prices: list[ListPrice] = []
        without: dict[tuple[str | None, ...], str] = {}
        for model in sorted(models, key=lambda m: [v or "" for v in m]):
            named = dict(zip(keys, model, strict=True))
            provider, name = named.get("model_provider"), named.get("model_name")
            try:
                place, found = self._find(provider, name)
                dated = self._dated(found)
            except LookupError as error:
                without[model] = str(error.args[0])
                continue
            assert name is not None
            prices += [
                ListPrice(provider, name, d.start, d.prompt, d.cached, d.completion,
                          PRICE_LIBRARY, self._version, f"{place}/{found.id}")
                for d in dated
            ]  # fmt: skip
        return PriceList(tuple(prices), self.moments, without)

    def _find(self, provider: str | None, name: str | None) -> tuple[str, Any]:
        """The library's provider and model. Raises LookupError with why there is none.

        The library's patterns also take names that it does not know, such as a later model's whose name
        begins with an earlier one's. So a name counts where the library lists it, or lists it without
        its date and has a pattern for the dated one.
        """
        if not provider or not name:
            raise LookupError(
                f"the telemetry does not name its {'model' if provider else 'provider'}"
            )
        given = provider.strip().lower()
        place = next(
            (
                p
                for p in (given, _PROVIDERS.get(given), self._aliases.get(given))
                if p in self._models
            ),
            None,
        )
        if place is None:
            raise LookupError(f"{self._called} does not list its provider")
        lower = name.strip().lower()
        listed, undated = self._models[place], _SNAPSHOT.sub("", lower)
        found = listed.get(lower) or [m for m in listed.get(undated, ()) if m.is_match(lower)]
        if len(found) != 1:
            how = "lists several models of this name" if found else "does not list it"
            raise LookupError(f"{self._called} {how}")
        return place, found[0]

    def _dated(self, model: Any) -> list[_Dated]:
        """The prices of a model in force in the span. Raises LookupError where its tokens do not decide.

        Where several are in force at a time, the library's last one counts.
        """
        if any(_prices(v.prices) for v in model.price_variants or ()):
            raise LookupError("its price depends on the service tier or the kind of processing")
        entries = _entries(model)
        if any(c is not None and not hasattr(c, "start_date") for c, _ in entries):
            raise LookupError("its price depends on the time of day")
        out: dict[int, _Dated] = {}
        for moment in self.moments:
            place = max((i for i, (c, _) in enumerate(entries) if _begun(c, moment)), default=None)
            if place is not None and place not in out:
                out[place] = _by_tokens(*entries[place])
        if not out:
            raise LookupError(f"{self._called} knows no price of it by then")
        return list(out.values())


# ── what the library holds ───────────────────────────────────────────────────────────────


@functools.cache
def _providers() -> Sequence[Any]:
    """The providers that the installed library lists, with their models."""
    # The package itself imports what updates prices, and with it an HTTP client. Prices need neither:
    # so its parts are imported below a package that has not run, and put out of the way afterwards.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError("its package is missing")
    before = _out_of_the_way()
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return tuple(importlib.import_module(f"{_PACKAGE}.data").providers)
    finally:
        _out_of_the_way()
        sys.modules.update(before)


def _out_of_the_way() -> dict[str, ModuleType]:
    """The library's modules that are imported, which then are not any more."""
    names = [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]
    return {name: sys.modules.pop(name) for name in names}


def _by_name(models: Sequence[Any]) -> Mapping[str, list[Any]]:
    """Models by each name that the library lists for them."""
    named: dict[str, list[Any]] = defaultdict(list)
    for model in models:
        own = [model.id.lower()] if model.is_match(model.id) else []
        for name in dict.fromkeys([*own, *_listed(model.match)]):
            named[name].append(model)
    return dict(named)


def _listed(match: Any) -> Iterator[str]:
    """The names that a pattern holds in full."""
    if hasattr(match, "equals"):
        yield match.equals.lower()
    for one in getattr(match, "or_", ()):
        yield from _listed(one)


def _entries(model: Any) -> list[tuple[Any, Any]]:
    """(condition, prices) of a model; no condition: always."""
    if isinstance(model.prices, list):
        return [(one.constraint, one.prices) for one in model.prices]
    return [(None, model.prices)]


def _changes(model: Any) -> Iterator[datetime]:
    for constraint, _ in _entries(model):
        if hasattr(constraint, "start_date"):
            yield _midnight(constraint.start_date)


def _begun(constraint: Any, moment: datetime) -> bool:
    return constraint is None or _midnight(constraint.start_date) <= moment


def _midnight(day: Any) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _prices(prices: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(prices).items() if v is not None and not k.startswith("_")}


def _by_tokens(constraint: Any, prices: Any) -> _Dated:
    """Raises LookupError where the telemetry's tokens alone do not decide the price."""
    held = _prices(prices)
    if not held.keys() >= set(_NEEDED):
        raise LookupError("it has no price for both prompt and completion tokens")
    if any(hasattr(price, "tiers") for price in held.values()):
        raise LookupError("its price depends on the length of the request")
    more = sorted(held.keys() - _TOKEN_PRICES)
    if more:
        raise LookupError(
            f"it also charges for what the telemetry does not count: {', '.join(more)}"
        )
    cached = held.get("cache_read_mtok")
    return _Dated(
        None if constraint is None else _midnight(constraint.start_date),
        float(held["input_mtok"]),
        None if cached is None else float(cached),
        float(held["output_mtok"]),
    )
