from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from recaption.inspect.report.charts import bar, bins, histogram, line, positions, stack
from recaption.inspect.report.statistics import Distribution, Weights
from recaption.inspect.sql import Row


def spread(*values: int) -> Distribution:
    return Distribution.of((value, values.count(value)) for value in set(values))


@pytest.mark.parametrize(
    "values", [(5,), (0, 1, 2), tuple(range(500)), (3, 100_000), (*[10] * 999, 10_000), tuple(range(70, 90))]
)
def test_bars_are_few_and_include_all_values(values: tuple[int, ...]) -> None:
    made = spread(*values)
    bars, step = bins(made, (77, 248))
    assert sum(count for _, count in bars) == len(values)
    assert len(bars) <= 28
    assert all(b[0] - a[0] == step for a, b in pairwise(bars))
    assert bars[0][0] <= min(values)
    assert not any(mark <= max(values) and mark >= bars[-1][0] + step for mark in (77, 248))


def test_an_outlier_does_not_flatten_the_histogram() -> None:
    made = spread(*[v for v in range(10, 40) for _ in range(100)], 100_000)
    bars, step = bins(made)
    assert (bars[-1], step) == ((38, 201), 2)
    assert "<title>38 or more: 201</title>" in histogram(made, "words")


def test_marks_are_drawn_where_values_reach_them() -> None:
    assert histogram(spread(10, 20, 80, 300), "tokens", marks=(77, 248)).count('class="mark"') == 4
    assert histogram(spread(10, 20, 80), "tokens", marks=(77, 248)).count('class="mark"') == 2
    assert "mark" not in histogram(spread(10, 20), "tokens", marks=(77, 248))


def test_weights_by_position_have_a_text_and_bars_with_their_counts() -> None:
    rows = [Weights("long", None, "1", 0.5, (1, 2, 0, 0, 3)), Weights("long", None, "11+", 1.0, (0, 0, 0, 0, 4000))]
    svg = ElementTree.fromstring(str(positions(rows, "Weights, long")))
    first, rest = "position 1: mean 0.50, 3 of 6 at most 0.1", "position 11+: mean 1.00, 0 of 4,000 at most 0.1"
    assert svg.get("aria-label") == f"Weights, long. {first}; {rest}"
    bars = [(rect.get("class"), float(rect.attrib["height"]), rect[0].text) for rect in svg.iter("rect")]
    assert bars == [("bar", 53.0, first), ("bar low", 53.0, first), ("bar", 106.0, rest), ("bar low", 0.0, rest)]


def test_the_parts_of_a_stack_can_have_names() -> None:
    svg = ElementTree.fromstring(str(stack((("w0", 1), ("w1", 3)), "Weights", {"w0": "weight 0"})))
    assert svg.get("aria-label") == "Weights: weight 0 1, w1 3"
    assert [(rect.get("class"), rect[0].text) for rect in svg.iter("rect")] == [
        ("part w0", "weight 0: 1"),
        ("part w1", "w1: 3"),
    ]


def test_charts_are_well_formed_and_escape_texts() -> None:
    rates = [Row(at=1000.0 + 5 * i + (900 if i > 3 else 0), captions_per_second=i) for i in range(8)]
    hostile = '"><script>alert(1)</script>'
    for svg in (
        histogram(spread(1, 2, 3), hostile),
        stack((("ok", 3), ("partial", 0)), hostile),
        stack((("ok", 0),), hostile),
        stack((("w0", 3),), "weights", {"w0": hostile}),
        positions([Weights("long", None, hostile, 0.5, (1, 0, 0, 0, 1))], hostile),
        bar(0.5),
        line(rates),
    ):
        assert ElementTree.fromstring(str(svg)).tag == "svg"
        assert "<script" not in svg
    assert str(line(rates)).count("<polyline") == 2  # a pause of a quarter of an hour breaks it
    assert (line(rates[:1]), histogram(spread(), "x"), positions((), "x")) == ("", "", "")
