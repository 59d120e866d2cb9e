"""List prices from genai-prices: dated, exact names only, never fetched, never guessed.

Numbers are those of the version that requirements-dev.txt pins.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import socket
import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import review
from analysis.errors import UsageError
from analysis.policy import Policy, parse
from analysis.telemetry.windows import ResolvedWindows, Span
from analysis.views import budget, price_library
from analysis.views.price_library import PriceLibrary, library_version, open_library
from analysis.views.prices import PriceList, list_cost
from analysis.views.spend_drivers import DriversSection
from tests.views.price_libraries import needs_library
from tests.views.world import DAY, START, at, dated, opened, policy, traffic

KEYS = ("model_provider", "model_name")
FROM_LIBRARY = {"prices": "genai-prices"}
DEARER = ("baseten", "reflection/Beam-1.0")  # until 2026-11-02, day 42 of the world
OLD, NEW = (1.3, 0.13, 4.3), (0.4, 0.04, 1.2)


def moment(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def library(start: datetime | None = None, end: datetime | None = None) -> PriceLibrary:
    span = Span(start or moment(9, 21), end or moment(11, 16))
    windows = ResolvedWindows("before_after", span, None, None, (), (1,) * 7, ())
    found = open_library(policy(spend=FROM_LIBRARY), windows)
    assert found is not None
    return found


def priced(*models: tuple[str | None, ...], **span: datetime) -> PriceList:
    return library(**span).price_list(KEYS, models)


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the library."""

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)


class TestWithoutTheLibrary:
    def test_a_policy_may_name_it(self) -> None:
        rules = parse(b"spend: {prices: genai-prices}")
        assert rules.spend.prices == "genai-prices"
        assert Policy.model_validate(rules.settings()) == rules

    @pytest.mark.usefixtures("gone")
    def test_a_review_says_how_to_install_it_before_it_reads_anything(self, tmp_path: Path) -> None:
        written = tmp_path / "policy.yml"
        written.write_text("spend: {prices: genai-prices}", encoding="utf-8")
        with pytest.raises(
            UsageError, match=r"genai-prices is not installed; pip install '\.\[prices\]'"
        ):
            review.request(data=str(tmp_path / "nowhere"), policy=written)

    @pytest.mark.usefixtures("gone")
    @pytest.mark.parametrize("prices", [None, []])
    def test_policies_without_it_do_not_ask_for_it(self, prices: Any) -> None:
        rules = policy(spend={"prices": prices})
        assert library_version(rules) is None


@needs_library
class TestPrices:
    def test_each_dated_price_of_the_span_has_its_source(self) -> None:
        found = priced(DEARER)
        version = importlib.metadata.version("genai-prices")
        assert [
            (
                p.start,
                p.prompt_usd_per_million,
                p.cached_usd_per_million,
                p.completion_usd_per_million,
            )
            for p in found.prices
        ] == [(None, *OLD), (moment(11, 2), *NEW)]
        assert {(p.source, p.source_version, p.source_model) for p in found.prices} == {
            ("genai-prices", version, "/".join(DEARER))
        }
        assert found.without == {}
        assert moment(11, 2) in found.moments

    @pytest.mark.parametrize(
        ("when", "start", "end", "prompt"),
        [
            ("before the change", moment(9, 1), moment(11, 1), [OLD[0]]),
            ("before it, with sessions that go on", moment(9, 1), moment(11, 2), [OLD[0], NEW[0]]),
            ("from the change on", moment(11, 2), moment(11, 9), [NEW[0]]),
            ("across it", moment(11, 1), moment(11, 3), [OLD[0], NEW[0]]),
        ],
    )
    def test_a_span_meets_the_prices_of_its_own_days(
        self, when: str, start: datetime, end: datetime, prompt: list[float]
    ) -> None:
        found = priced(DEARER, start=start, end=end)
        assert [p.prompt_usd_per_million for p in found.prices] == prompt
        assert found.moments[0] == start
        assert all(start < m < end + DAY for m in found.moments[1:])

    @pytest.mark.parametrize(
        ("provider", "name", "model"),
        [
            ("openai", "gpt-4-32k", "openai/gpt-4-32k"),
            (" OpenAI", "GPT-4-32K-0613", "openai/gpt-4-32k"),
            ("openai", "computer-use-2025-03-11", "openai/computer-use"),
            ("mistral_ai", "mistral-large", "mistral/mistral-large"),
        ],
        ids=["as listed", "another name, in capitals", "a dated one", "OpenTelemetry's provider"],
    )
    def test_names_that_the_library_lists_are_found(
        self, provider: str, name: str, model: str
    ) -> None:
        (price,) = priced((provider, name)).prices
        assert price.source_model == model
        assert (price.model_provider, price.model_name) == (provider, name)

    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            ((None, "gpt-4-32k"), "does not name its provider"),
            (("openai", None), "does not name its model"),
            (("aurora", "gpt-4-32k"), "does not list its provider"),
            (("my-openai-proxy", "gpt-4-32k"), "does not list its provider"),
            (("openai", "no such model"), "does not list it"),
            (("openai", "computer-use-next"), "does not list it"),  # its pattern would take it
            (("azure", "gpt-4-32k"), "does not list it"),  # nor is another provider's price taken
            (("openai", "gpt-4o"), "the service tier or the kind of processing"),
            (("google", "claude-sonnet-4-5"), "the length of the request"),
            (("deepseek", "deepseek-chat"), "the time of day"),
            (("anthropic", "claude-3-haiku-20240307"), "does not count: cache_write"),
            (("openai", "x\x00<b>'; --"), "does not list it"),
        ],
    )
    def test_what_tokens_and_names_do_not_decide_has_no_price_and_a_reason(
        self, model: tuple[str | None, str | None], reason: str
    ) -> None:
        found = priced(model, DEARER)
        assert {p.model_name for p in found.prices} == {DEARER[1]}
        assert reason in found.without[model]

    def test_every_price_is_what_the_library_itself_computes(self) -> None:
        """The oracle is the library's own calculation, for every model that has a price here."""
        pytest.importorskip(
            "httpx2", reason="httpx2 is not installed: the library's calculator needs it"
        )
        genai_prices = importlib.import_module("genai_prices")
        held = library()
        every = {(p.id, m.id) for p in price_library._providers() for m in p.models}
        found = held.price_list(KEYS, every)
        names = {(p.model_provider, p.model_name) for p in found.prices}
        assert len(names) > 1_000
        assert len(names) + len(found.without) == len(every)
        rng = np.random.default_rng(1)
        for provider, name in sorted(names, key=str):
            era = int(rng.integers(1, len(found.moments) + 1))
            price = found.in_force({"model_provider": provider, "model_name": name}, era)
            if price is None:
                continue  # its first price begins later
            prompt, cached, completion = 5_000_000, 2_000_000, 3_000_000
            own = genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion
                ),
                name,
                provider_id=provider,
                genai_request_timestamp=found.moments[era - 1],
            )
            nano = sum(list_cost(price, prompt, cached, completion).values(), Fraction(0))
            assert float(nano / 10**9) == pytest.approx(float(own.total_price), rel=1e-12), name

    def test_nothing_that_goes_online_is_so_much_as_imported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("the network was asked for")

        mine = ModuleType("genai_prices")
        for name in [n for n in sys.modules if n.partition(".")[0] == "genai_prices"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "genai_prices.own", mine)
        for client in ("httpx", "httpx2", "requests", "urllib3"):
            monkeypatch.setitem(sys.modules, client, None)
        monkeypatch.setattr(socket, "socket", refused)
        price_library._providers.cache_clear()
        try:
            assert len(priced(DEARER).prices) == 2
        finally:
            price_library._providers.cache_clear()
        # Whoever else imports the library in this process has it as it was.
        left = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "genai_prices"}
        assert left == {"genai_prices.own": mine}

    def test_a_library_that_cannot_be_read_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> Any:
            raise ImportError("No module named 'genai_prices.data'")

        monkeypatch.setattr(price_library, "_providers", broken)
        with pytest.raises(UsageError, match="cannot be read"):
            library()


def late(rows: pd.DataFrame) -> pd.Series:
    return rows["timestamp_utc"] >= START + 42 * DAY


def world() -> pd.DataFrame:
    """Two models at their list prices, of which one changes with the candidate; one without a price."""
    rows = traffic(900)
    which = np.arange(len(rows)) % 3
    names = [DEARER, ("openai", "gpt-4-32k"), ("openai", "gpt-4o")]
    rows["model_provider"] = [names[k][0] for k in which]
    rows["model_name"] = [names[k][1] for k in which]
    dear = rows["model_name"] == DEARER[1]
    now = dear & late(rows)
    rows["cached_prompt_tokens"] = np.where(dear, rows["prompt_tokens"] // 4, 0)
    prompt = np.select([now, dear], [NEW[0], OLD[0]], 60.0)
    cached = np.select([now, dear], [NEW[1], OLD[1]], 60.0)
    completion = np.select([now, dear], [NEW[2], OLD[2]], 120.0)
    kept = rows["cached_prompt_tokens"]
    micro = prompt * (rows["prompt_tokens"] - kept) + cached * kept
    micro += completion * rows["completion_tokens"]
    return rows.assign(cost_usd=(micro / 1e6).round(9))


def drivers_of(rows: pd.DataFrame, folder: Path, prices: Any) -> DriversSection:
    rules = policy(windows=dated(0, 42, 56), spend={"prices": prices})
    with opened(rows, folder, rules) as telemetry:
        return budget.assess(telemetry, telemetry.policy).section.drivers


@needs_library
class TestDrivers:
    def test_the_prices_that_were_used_are_frozen_and_a_change_of_them_is_price(
        self, tmp_path: Path
    ) -> None:
        drivers = drivers_of(world(), tmp_path, "genai-prices")
        version = importlib.metadata.version("genai-prices")
        assert [
            (p.model_name, p.start_utc, p.prompt_usd_per_million, p.source, p.source_version)
            for p in drivers.prices
        ] == [
            (DEARER[1], None, OLD[0], "genai-prices", version),
            (DEARER[1], "2026-11-02T00:00:00Z", NEW[0], "genai-prices", version),
            ("gpt-4-32k", None, 60.0, "genai-prices", version),
        ]
        assert [s["model_name"] for s in drivers.unpriced] == ["gpt-4o"]
        assert ["service tier" in why for why in drivers.unpriced_reasons] == [True]
        held = {(e.token, e.driver): e.usd_per_day for e in drivers.by_token}
        assert sum(e.nano_usd_days for e in drivers.by_token) == drivers.change_nano_usd_days
        assert all(held[kind, "price"] < 0 for kind in ("prompt", "cached", "completion"))

    def test_they_give_what_the_same_prices_in_a_list_give(self, tmp_path: Path) -> None:
        rows = world()
        found = drivers_of(rows, tmp_path / "library", "genai-prices")
        listed = [
            {
                "model_provider": p.model_provider,
                "model_name": p.model_name,
                "start": p.start_utc or at(-90),
                "prompt_usd_per_million": p.prompt_usd_per_million,
                "cached_usd_per_million": p.cached_usd_per_million,
                "completion_usd_per_million": p.completion_usd_per_million,
            }
            for p in found.prices
        ]
        own = drivers_of(rows, tmp_path / "list", listed)
        assert found.by_token == own.by_token
        assert found.effects == own.effects
        assert found.unpriced == own.unpriced
        assert {p.source for p in own.prices} == {"policy"}

    def test_where_no_model_is_known_all_are_named_and_nothing_is_split(
        self, tmp_path: Path
    ) -> None:
        drivers = drivers_of(traffic(300), tmp_path, "genai-prices")
        assert {s["model_name"] for s in drivers.unpriced} == {"large", "small"}
        assert all("does not list its provider" in why for why in drivers.unpriced_reasons)
        assert {e.token for e in drivers.by_token} == {"all"}
        assert drivers.prices == ()

    def test_another_version_is_another_review(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = tmp_path / "policy.yml"
        written.write_text("spend: {prices: genai-prices}", encoding="utf-8")
        (tmp_path / "data").mkdir()
        wanted = review.request(data=str(tmp_path / "data"), policy=written)
        first = review.cache_key(wanted, [])
        monkeypatch.setattr(review, "library_version", lambda _: "0.2.999")
        assert review.cache_key(wanted, []) != first
