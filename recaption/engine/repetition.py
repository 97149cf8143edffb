"""Detects loops in an answer. All engines that make tokens use the same rule, so that they end it at the same token.

A looping model otherwise fills the answer up to max_tokens (vLLM pull request 31690 measured a third of the throughput
on such inputs). Useful text also has repetitions, so the threshold is high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_PATTERN: Final = 64  # tokens of the longest pattern
MIN_COUNT: Final = 12  # repetitions at the end of the answer
_CHARACTERS: Final = 4  # of a token, about


def repeats(tokens: Sequence[int]) -> bool:
    """Whether `tokens` end in `MIN_COUNT` repetitions of a pattern of up to `MAX_PATTERN` tokens.

    As vLLM's `check_sequence_repetition` (vllm/v1/core/sched/utils.py).
    """
    for size in range(1, MAX_PATTERN + 1):
        span = size * MIN_COUNT
        if span > len(tokens):
            return False
        if tokens[-1] == tokens[-1 - size] and tokens[-span:-size] == tokens[-span + size :]:
            return True
    return False


def text_repeats(text: str) -> bool:
    """As `repeats`, for a text whose tokens are not known: patterns of up to 256 characters, and at least 48 characters
    in all."""
    for size in range(1, MAX_PATTERN * _CHARACTERS + 1):
        span = max(size, _CHARACTERS) * MIN_COUNT
        if span > len(text):
            return False
        if text[-span:-size] == text[-span + size :]:
            return True
    return False
