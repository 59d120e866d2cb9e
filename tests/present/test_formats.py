"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from analysis.present import formats as f


@pytest.mark.parametrize(
    ("form", "value", "shown"),
    [
        (f.number, None, "–"),
        (f.number, 1234.567, "1,234.57"),
        (f.number, -0.5, "−0.50"),
        (f.number, 0.00376, "0.0038"),
        (f.number, 3.2e-9, "3.20e−09"),
        (f.number, 4.5e13, "4.50e+13"),
        (f.number, 0.0, "0.00"),
        (f.count, 20000, "20,000"),
        (f.percent, 0.0739747, "7.40 %"),
        (f.percent, 0.00003, "0.0030 %"),
        (f.points, 0.0420713, "+4.21 pp"),
        (f.points, -0.0049, "−0.49 pp"),
        (f.points, 0.0, "0.00 pp"),
        (f.ratio, 1.1984, "1.20×"),
        (f.usd, 0.1067306, "0.1067"),
        (f.usd, 46.5385, "46.54"),
        (f.signed_usd, 0.2399, "+0.2399"),
        (f.signed_usd, -7.893, "−7.89"),
        (f.ms, 2023.2, "2,023 ms"),
        (f.small, 0.00000001, "< 0.0001"),
        (f.small, 0.04321, "0.0432"),
        (f.psi, -0.000282, "0.000"),
        (f.psi, 19.527, "19.527"),
        (f.hours, 1 / 12, "5 min"),
        (f.hours, 72, "3 d"),
        (f.size, 1392331, "1.4 MB"),
        (f.moment, "2026-11-02T00:00:00Z", "2026-11-02"),
        (f.moment, "2026-11-14T11:45:01Z", "2026-11-14 11:45"),
        (f.moment, None, "–"),
        (f.tick(100), 0.3, "30"),
        (f.tick(100, sign=True), 0.04, "+4"),
        (f.tick(sign=True), -0.6, "−0.6"),
        (f.tick(100, sign=True), 0.0, "0"),
    ],
)
def test_a_number_reads_as_people_write_it(form: Callable, value: object, shown: str) -> None:
    assert form(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "form", "shown"),
    [
        (0.0288, 0.0561, f.points, "+2.88 to +5.61 pp"),
        (0.0287, 0.0355, f.percent, "2.87 to 3.55 %"),
        (1.13, 1.27, f.ratio, "1.13 to 1.27×"),
        (None, 0.2, f.number, "no lower limit to 0.20"),
        (0.1, None, f.percent, "10.00 % to no upper limit"),
        (None, None, f.number, "–"),
    ],
)
def test_an_interval_has_its_unit_once_and_says_where_it_has_no_end(
    low: float | None, high: float | None, form: f.Format, shown: str
) -> None:
    assert f.between(low, high, form) == shown


def test_a_figure_without_a_value_claims_nothing() -> None:
    assert f.stated({"value": None, "low": 0.1, "high": 0.2}, f.percent) == "–"
    assert f.stated({"value": 0.1, "low": None, "high": None}, f.percent) == "10.00 %"


@pytest.mark.parametrize(("n", "told"), [(0, "0 days"), (1, "1 day"), (1200, "1,200 days")])
def test_a_count_agrees_with_its_noun(n: int, told: str) -> None:
    assert f.plural(n, "day") == told


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("from 4 % to 3 % (-1.14 points, 95 % interval -7.64 to +8.64)",
         "from 4 % to 3 % (−1.14 points, 95 % interval −7.64 to +8.64)"),
        ("in “gpt-4-0613” since 2026-11-02", "in “gpt-4-0613” since 2026-11-02"),
    ],
)  # fmt: skip
def test_a_sentence_has_true_minus_signs_and_names_keep_their_hyphens(
    sentence: str, shown: str
) -> None:
    assert f.typeset(sentence) == shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("no slice was tested", "No slice was tested."),
        ("is_failure is missing in 9 %", "is_failure is missing in 9 %."),
        ("Done.", "Done."),
    ],
)
def test_a_reason_becomes_a_sentence_and_a_column_keeps_its_name(words: str, shown: str) -> None:
    assert f.sentence(words) == shown
