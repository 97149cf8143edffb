"""recaption.tasks.boxes: overlaps, and the size of the image that a model was given."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recaption.decode import decode
from recaption.tasks.boxes import area, iou, shown_size, smart_resize, without_overlaps
from recaption.types import ImageLimits


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 0.5, 1), (0, 0, 0.5, 1), 1),
        ((0, 0, 0.5, 1), (0.5, 0, 1, 1), 0),
        ((0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1), 0),
        ((0, 0, 0.5, 1), (0, 0, 1, 1), 0.5),
        ((0, 0, 0.5, 0.5), (0.25, 0, 0.75, 0.5), 1 / 3),
    ],
)
def test_the_overlap_of_two_boxes(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    assert iou(one, other) == iou(other, one) == pytest.approx(expected)  # type: ignore[arg-type]


def test_of_overlapping_boxes_the_largest_stays() -> None:
    large, inner, other = (0, 0, 0.5, 0.5), (0.05, 0.05, 0.5, 0.5), (0.6, 0.6, 1, 1)
    assert without_overlaps([inner, other, large, large], 0.7) == [large, other]
    assert without_overlaps([inner, other, large], 0.9) == [large, inner, other]
    assert without_overlaps([large, large], 1.0) == [large]


def test_of_overlapping_boxes_with_scores_the_best_stays() -> None:
    large, inner, other = (0, 0, 0.5, 0.5), (0.05, 0.05, 0.5, 0.5), (0.6, 0.6, 1, 1)
    scores = {large: 0.3, inner: 0.4, other: 0.9}
    assert without_overlaps(scores, 0.7, scores) == [other, inner]
    assert without_overlaps(scores, 0.9, scores) == [other, inner, large]


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(0, 0.4)] * 2, *[st.floats(0.5, 1)] * 2), max_size=8), st.floats(0.1, 1))
def test_boxes_that_stay_overlap_little_and_are_sorted(boxes: list[tuple[float, ...]], threshold: float) -> None:
    kept = without_overlaps(boxes, threshold)  # type: ignore[arg-type]
    assert [area(box) for box in kept] == sorted(map(area, kept), reverse=True)
    assert all(iou(a, b) <= threshold for n, a in enumerate(kept) for b in kept[:n])
    assert bool(kept) == bool(boxes)


@settings(max_examples=200)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([3136, 10_000]), st.sampled_from([50_000, 12_845_056])
)
def test_the_resize_is_that_of_transformers(width: int, height: int, smallest: int, largest: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs

    if max(width, height) <= 200 * min(width, height):
        high, wide = theirs(height, width, 28, smallest, largest)
        assert smart_resize(width, height, smallest, largest) == (wide, high)


@pytest.mark.parametrize("budget", [None, 40_000])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_size_that_the_model_was_given_is_that_of_the_engine(budget: int | None, share: float) -> None:
    data = io.BytesIO()
    Image.new("RGB", (333, 211)).save(data, "png")
    given = decode(data.getvalue(), ImageLimits(), budget, share)
    largest = min(budget or 12_845_056, 12_845_056)
    expected = smart_resize(*given.size, 3136, largest)
    assert shown_size(333, 211, (3136, 12_845_056, budget), share) == expected


def test_a_budget_below_the_smallest_size_lowers_it() -> None:
    assert shown_size(280, 280, (3136, 12_845_056, 784)) == (28, 28)
