"""recaption.engine.repetition: loops end an answer, texts do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.engine.repetition import MAX_PATTERN, MIN_COUNT, repeats, text_repeats


@pytest.mark.parametrize("size", [1, 2, 7, MAX_PATTERN])
def test_a_loop_is_seen_at_its_last_token_and_not_before(size: int) -> None:
    tokens = [9999, 9998, *list(range(size)) * MIN_COUNT]
    assert repeats(tokens)
    assert not repeats(tokens[:-1])


def test_a_loop_that_is_over_or_too_long_does_not_count() -> None:
    assert not repeats([*list(range(5)) * MIN_COUNT, 77])
    assert not repeats(list(range(MAX_PATTERN + 1)) * MIN_COUNT)
    assert not repeats([])
    assert not repeats(list(range(500)))


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("A cat. " + "It sits. " * 12, True),
        ("A cat. " + "It sits. " * 11, False),
        ("A cat" + "." * 48, True),
        ("A cat" + "." * 47, False),  # an ellipsis or a rule may be that long
        ("A cat. " + "It sits. " * 12 + "It goes.", False),
        ("A cat. " + ("x" * 255 + "y") * 12, True),
        ("A cat. " + ("x" * 256 + "y") * 12, False),
        ("", False),
    ],
)
def test_a_loop_of_a_text(text: str, loops: bool) -> None:
    assert text_repeats(text) is loops


@given(st.lists(st.integers(0, 2), max_size=120))
def test_as_the_definition_says(tokens: list[int]) -> None:
    slow = any(
        len(tokens) >= size * MIN_COUNT and tokens[-size * MIN_COUNT :] == tokens[-size:] * MIN_COUNT
        for size in range(1, MAX_PATTERN + 1)
    )
    assert repeats(tokens) == slow


@pytest.mark.vllm
@pytest.mark.filterwarnings("default")  # importing vLLM
@given(st.lists(st.integers(0, 1), max_size=60))
def test_as_vllm_decides_it(tokens: list[int]) -> None:
    utils = pytest.importorskip("vllm.v1.core.sched.utils")
    from vllm.sampling_params import RepetitionDetectionParams

    params = RepetitionDetectionParams(max_pattern_size=MAX_PATTERN, min_pattern_size=1, min_count=MIN_COUNT)
    assert repeats(tokens) == utils.check_sequence_repetition(tokens, params)
