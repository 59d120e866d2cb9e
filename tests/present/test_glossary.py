"""The glossary: every number has a definition, and every definition is led to."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import present
from analysis.policy import Policy, known_check_ids
from analysis.policy_gate import FIGURES
from analysis.policy_hotspots import QUANTILES
from analysis.present import glossary, glossary_page
from analysis.present.anchors import term_place
from analysis.present.drawing import PAGES
from analysis.present.glossary import definition, explained, of_check, of_heading
from analysis.present.glossary_terms import GROUPS, Term
from analysis.present.grid import Column, table, text
from analysis.review import PROJECT, Review

from .test_drawing import Parsed

TERMS = [term for group in GROUPS for term in group.terms]
SOURCES = sorted(Path(present.__file__).parent.glob("*.py"))
# Headings of numbers that say all there is to say: counts of what they name, times, ranks.
PLAIN = {
    "Rows", "Size", "Sessions", "Users", "From, UTC", "Until, UTC", "From, until, UTC", "Rank", "Order",
    "For, days", "Value",
}  # fmt: skip
# What means something of its own in each table: told apart by the table's title.
BY_TABLE = {"Share", "Before", "After", "Days"}


def headings() -> Iterator[tuple[str, str]]:
    """The module and label of every heading of numbers that is written out: `Column("…")`."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Column":
                given = node.args[0]
                if isinstance(given, ast.Constant) and given.value:
                    yield path.stem, str(given.value)


@pytest.mark.parametrize("term", TERMS, ids=lambda t: t.name)
def test_a_term_is_defined_where_it_is_computed(term: Term) -> None:
    told = definition(term)
    assert len(told.text) > 25
    assert told.text.endswith(".")
    assert "Source:" not in told.text
    assert not told.source.endswith(".")


def test_a_term_that_nothing_defines_is_a_fault() -> None:
    with pytest.raises(ValueError, match=r"stats\.multiple:holm: no paragraph .* begins “Luck:”"):
        definition(Term("Luck", "stats.multiple:holm"))


def test_every_heading_of_numbers_has_a_term() -> None:
    found = {label for _, label in headings()}
    assert len(found) > 70
    assert {h for h in found - PLAIN - BY_TABLE if of_heading("", h) is None} == set()
    assert {h for h in PLAIN if of_heading("", h) is not None} == set()


def test_every_heading_on_the_pages_of_a_review_has_a_term(sample: Review) -> None:
    """Headings that are put together, and those that mean something else in each table."""
    without = set()
    for name, draw in PAGES.items():
        parts = draw(sample)
        for block in (*parts.answer, *parts.evidence, *parts.actions):
            for classes, shown in re.findall(r'<th class="([^"]*)"[^>]*>(.*?)</th>', block):
                label = Parsed(shown).text
                if "gt_left" not in classes and label not in PLAIN and "rr-term" not in shown:
                    without.add((name, label))
    assert without == set()


def test_no_heading_of_a_term_is_one_that_no_table_has() -> None:
    written = "".join(
        path.read_text(encoding="utf-8") for path in SOURCES if "glossary" not in path.stem
    )
    policy = (*FIGURES, *QUANTILES, "failure", "latency_breach", "cost")
    drivers = ("Volume", "Retries", "Mix", "Tokens", "Price", "Unseen")
    known = {*policy, *drivers, "cost_share_of_dearest_1_percent", "cost_share_of_largest_cluster",
             "tokens_per_second", "Cost per interaction, USD"}  # fmt: skip
    stale = [
        heading
        for term in TERMS
        for heading in (*term.headings, *term.words)
        for title, _, label in [heading.rpartition(": ")]
        if heading not in known
        and f'"{heading}"' not in written
        and (f'"{label}"' not in written or not title)
    ]
    assert stale == []


def test_a_name_means_one_thing() -> None:
    assert Counter(term_place(t.name) for t in TERMS).most_common(1)[0][1] == 1
    assert Counter(h for t in TERMS for h in t.headings).most_common(1)[0][1] == 1
    assert Counter(h for t in TERMS for h in t.words).most_common(1)[0][1] == 1


def test_every_check_and_every_metric_of_a_policy_has_a_term(sample: Review) -> None:
    settings = {
        "release": {"id": "r"},
        "data": "data/sample",
        "slos": [{"name": "latency", "bad": {"column": "latency_ms", "above": 2200}, "target": 0.95,
                  "period_days": 30}],
        "routing": {"candidates": [{"name": "cheap", "learn": "cheapest_within_slo",
                                    "max_failure_rate": 0.05}]},
        "gate": {"thresholds": [{"name": "p95", "metric": "latency_ms_p95", "max": 2000}],
                 "baselines": {"last": 3, "allowed": {"failure_rate": 0.01}}},
    }  # fmt: skip
    ids = known_check_ids(Policy.model_validate(settings)) | {
        c["id"] for c in sample.body["checks"]
    }
    assert {"routing.cheap", "threshold.p95", "baseline.failure_rate", "gate.waivers"} <= ids
    assert {i for i in ids if of_check(i) is None} == set()
    metrics = {*FIGURES, *QUANTILES, "failure", "latency_breach", "cost"}
    assert {m for m in metrics if of_heading("", m) is None} == set()
    alerts, burn = of_check("budget.latency.alerts"), of_check("budget.latency")
    assert alerts is not None
    assert burn is not None
    assert (alerts.name, burn.name) == ("budget.SLO.alerts", "budget.SLO")
    assert of_check("unknown.check") is None


def test_every_term_stands_on_its_page_and_is_led_to(sample: Review) -> None:
    page = Parsed("".join(glossary_page.parts(sample).evidence))
    assert page.values("id") == [
        at for group in GROUPS
        for at in (f"terms-{group.title.lower().replace(' ', '-')}", *(term_place(t.name) for t in group.terms))
    ]  # fmt: skip
    prose = "".join(p.read_text(encoding="utf-8") for p in (PROJECT / "report").glob("*.qmd"))
    assert [
        t.name for t in TERMS
        if not (t.headings or t.words or t.checks) and f"(glossary.qmd#{term_place(t.name)})" not in prose
    ] == []  # fmt: skip
    named = re.findall(r"glossary\.qmd#([\w-]+)", prose)
    assert set(named) <= set(page.values("id"))


def test_a_heading_and_the_name_of_a_figure_lead_to_their_definition() -> None:
    html = table(
        "Since when",
        [text("Figure"), Column("Before"), Column("Rows"), Column("Burn, <b>", term="Burn rate")],
        [["Failure rate", 1, 2, 3], ["<i>", 1, 2, 3]],
        "A window.",
    )
    links = re.findall(r'<a class="rr-term" href="([^"]*)">(.*?)</a>', html)
    assert links == [
        ("glossary.html#term-since-when", "Before"),
        ("glossary.html#term-burn-rate", "Burn, &lt;b&gt;"),
        ("glossary.html#term-failure-rate", "Failure rate"),
    ]
    assert "<i>" not in html


def test_words_and_numbers_under_one_heading_are_told_apart() -> None:
    assert of_heading("", "Candidate") is not None
    assert of_heading("", "Candidate", of_words=True) is None
    assert explained("", "<b>") == "&lt;b&gt;"


def test_looking_a_term_up_imports_nothing_that_computes() -> None:
    source = Path(glossary.__file__).read_text(encoding="utf-8")
    imported = re.findall(r"^from (analysis[\w.]*) import", source, re.M)
    assert all(name.startswith("analysis.present") for name in imported)


def test_a_check_leads_to_its_definition_wherever_its_id_stands(sample: Review) -> None:
    def shown(page: str) -> str:
        parts = PAGES[page](sample)
        return "".join([*parts.answer, *parts.evidence, *parts.actions])

    table_of_checks = shown("index")
    for check in sample.body["checks"]:
        term = of_check(check["id"])
        assert term is not None
        named = f'{term_place(term.name)}" aria-label="definition of {check["id"]}"'
        assert f'href="glossary.html#{named}' in table_of_checks
    assert (
        '<a class="rr-term" href="glossary.html#term-triage-queue"><code>triage.queue</code></a>'
        in shown("triage")
    )
