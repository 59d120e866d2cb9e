"""The figure of cost against failures."""

from __future__ import annotations

import html
import itertools
import re

import pytest

from analysis.present.routing_frontier import MAX_DRAWN, frontier, places
from analysis.review import Review

from .test_routing import candidate, frontier_of, interval, of, unknown


def drawn(review: Review) -> str:
    section = review.body["views"]["routing"]
    return "".join(frontier(review.body, section, frontier_of(section)))


def alt(markup: str) -> str:
    (found,) = re.findall('alt="([^"]*)"', markup)
    return html.unescape(found)


def test_it_tells_today_and_each_candidate_in_words_and_names_what_is_not_drawn(
    sample: Review,
) -> None:
    page = drawn(of(sample, candidate("a"), unknown("b")))
    assert "today: " in alt(page)
    assert "a: 0.1200 USD (0.1100 to 0.1300), failures 4.00 % (3.00 to 5.00 %), adopt." in alt(page)
    assert "Not drawn: b." in page


@pytest.mark.parametrize(
    "failure", [interval(0.04), interval(0.04, None, 0.05), interval(0.0, 0.0, 1.0)]
)
def test_it_draws_without_intervals_and_with_wide_ones(sample: Review, failure: dict) -> None:
    assert "<figure" in drawn(of(sample, candidate("$x$ \\alpha", failure_rate=failure)))


def test_where_no_limit_is_known_at_all_points_are_drawn(sample: Review) -> None:
    """A single cluster: the series' columns of limits then hold None alone, and no number."""
    section = of(sample, candidate("a")).body["views"]["routing"]
    points = frontier_of(section)
    for end in ("cost_low", "cost_high", "failure_low", "failure_high"):
        points[end] = None
    (markup,) = frontier(sample.body, section, points)
    assert "<figure" in markup


def test_it_draws_without_today(sample: Review) -> None:
    review = of(sample, candidate("a"))
    section = review.body["views"]["routing"]
    points = frontier_of(section).iloc[1:]
    assert "<figure" in frontier(review.body, section, points)[0]


def test_of_too_many_those_on_the_frontier_stay(sample: Review) -> None:
    many = [candidate(f"c{k}", frontier=k >= MAX_DRAWN) for k in range(MAX_DRAWN + 2)]
    page = drawn(of(sample, *many))
    assert f"Not drawn: c{MAX_DRAWN - 2}, c{MAX_DRAWN - 1}." in page


def test_without_an_estimate_there_is_no_figure(sample: Review) -> None:
    assert drawn(of(sample, unknown("a"))) == ""


@pytest.mark.parametrize(
    "points",
    [
        [(0.5, 0.5)] * 9,
        [(0.1 * k, 0.9) for k in range(9)],
        [(0.99, 0.05 + 0.01 * k) for k in range(9)],
    ],
    ids=["all in one place", "along the top", "in a corner"],
)
def test_names_overlap_neither_each_other_nor_a_point(points: list[tuple[float, float]]) -> None:
    width, height = 0.4, 0.05
    found = places(points, [width] * len(points))
    for a, b in itertools.combinations(found, 2):
        assert abs(a.x - b.x) >= width or abs(a.y - b.y) >= height
    for place in found:
        assert width / 2 <= place.x <= 1 - width / 2
        assert 0 <= place.y <= 1
        assert not any(
            abs(place.x - x) < width / 2 and abs(place.y - y) < height / 2 for x, y in points
        )


def test_names_leave_bars_free_where_there_is_room_near() -> None:
    bar = ((0.0, 0.54), (1.0, 0.54))
    (without,) = places([(0.5, 0.5)], [0.3])
    (beside,) = places([(0.5, 0.5)], [0.3], [bar])
    assert abs(without.y - 0.54) < 0.03
    assert abs(beside.y - 0.54) > 0.02
