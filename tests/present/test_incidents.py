from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.present import budget, incidents


def incident(start: str, end: str, bad: int = 10, excluded: bool = False) -> dict[str, Any]:
    return {
        "start_utc": start, "end_utc": end, "n": 2 * bad, "bad": bad, "rate": 0.5,
        "budget_share": None if excluded else 0.125, "excluded": excluded, "alerted": True,
    }  # fmt: skip


def slo(name: str, *held: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "incidents": held, "budget_remaining": 0.4, "period_days": 30}


FIRST = incident("2026-10-05T03:00:00Z", "2026-10-05T03:30:00Z")
SECOND = incident("2026-10-09T12:00:00Z", "2026-10-11T12:00:00Z", 900, excluded=True)
LAST = incident("2026-10-20T00:00:00Z", "2026-10-20T06:00:00Z", 50)


def line(*names: str) -> pd.DataFrame:
    days = pd.date_range("2026-10-02", "2026-10-31", tz="UTC")
    return pd.DataFrame(
        [(n, d, 1 - 0.6 * i / len(days)) for n in names for i, d in enumerate(days)],
        columns=["slo", "day", "remaining"],
    )


def drawn(section: dict[str, Any]) -> tuple[str, str]:
    """The burn-down and the table."""
    shown = incidents.numbered(section)
    names = [s["name"] for s in section["slos"]]
    figure = "".join(budget._remaining(section, line(*names), shown))
    return figure, "".join(incidents.incidents(section, shown))


def test_figure_alt_text_and_table_number_the_same_incidents_by_time() -> None:
    section = {"slos": [slo("availability", SECOND, LAST), slo("<latency>", FIRST)]}
    figure, table = drawn(section)
    for told in (
        "1 &lt;latency&gt; 2026-10-05 03:00 to 2026-10-05 03:30, 50.0 % bad",
        "2 availability 2026-10-09 12:00 to 2026-10-11 12:00, 50.0 % bad, set aside by windows.exclude",
        "3 availability 2026-10-20 to 2026-10-20 06:00",
    ):
        assert told in figure
    assert "<latency>" not in figure + table
    assert "Bands: incidents" in figure
    for cell in (
        "(2)",
        "12.5 %",
        "1,800",
        "In brackets: known",
        "3 incidents of the candidate window",
        "fired",
    ):
        assert cell in table


def test_without_incidents_the_figure_is_as_it_was_and_there_is_no_table() -> None:
    figure, table = drawn({"slos": [slo("availability")]})
    assert table == ""
    assert "incident" not in figure.lower()
    assert drawn({"slos": [slo("availability", FIRST)]})[0] != figure


def test_excluded_bands_look_different() -> None:
    section = {"slos": [slo("availability", FIRST)]}
    aside = {"slos": [slo("availability", {**FIRST, "excluded": True})]}
    assert drawn(section)[0].split("<svg")[-1] != drawn(aside)[0].split("<svg")[-1]


def test_of_many_those_with_the_most_bad_are_shown() -> None:
    many = [
        incident(f"2026-10-{d:02}T00:00:00Z", f"2026-10-{d:02}T01:00:00Z", bad=d)
        for d in range(3, 23)
    ]
    shown = incidents.numbered({"slos": [slo("availability", *many)]})
    assert [(one.number, one.incident["bad"]) for one in shown] == [
        (i + 1, 15 + i) for i in range(incidents.MAX_INCIDENTS)
    ]
    _, table = drawn({"slos": [slo("availability", *many)]})
    assert "20 incidents" in table


@pytest.mark.parametrize(
    ("why", "start", "end", "left", "right"),
    [
        ("short ones are widened to be seen", "10-10T00:00", "10-10T00:05", "10-10T00:00", "10-10T04:10:33.6"),
        ("long ones are as they are", "10-10T00:00", "10-12T00:00", "10-10T00:00", "10-12T00:00"),
        ("what began before the line begins with it", "09-20T00:00", "10-03T00:00", "10-02T00:00", "10-03T00:00"),
    ],
)  # fmt: skip
def test_bands_lie_where_the_incident_was(
    why: str, start: str, end: str, left: str, right: str
) -> None:
    one = incidents.Numbered(1, "s", incident(f"2026-{start}:00Z", f"2026-{end}:00Z"))
    first, last = pd.Timestamp("2026-10-02"), pd.Timestamp("2026-10-31")
    layer = incidents.bands([one], first, last, 0, 100)[0]
    assert layer.data["left"][0] == pd.Timestamp(f"2026-{left}")
    assert layer.data["right"][0] == pd.Timestamp(f"2026-{right}")


def test_what_lies_outside_the_figure_has_no_band_but_a_row() -> None:
    old = incident("2026-09-01T00:00:00Z", "2026-09-01T02:00:00Z")
    figure, table = drawn({"slos": [slo("availability", old)]})
    assert "Bands" not in figure
    assert "2026-09-01" in table
