"""open_clip's training data module, `get_data`: no sample counts given, so that it has to find sizes.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(read_with: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = read_with("0.2.86")["open_clip"]
    return read


def wanted_of(found: dict[str, Any], expected: list[Any], split: str) -> list[tuple[tuple[int, ...], Any]]:
    """The tokens of each primary text, with its image."""
    return [(tuple(t), e) for t, e in zip(found["tokens"], expected, strict=True) if e.split == split]


def test_the_count_is_that_of_sizes_json(found: dict[str, Any], expected: list[Any]) -> None:
    assert found["train_size"] == sum(e.split == "train" for e in expected) == len(found["train"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_image_comes_once_with_its_primary_text(found: dict[str, Any], expected: list[Any], split: str) -> None:
    wanted = wanted_of(found, expected, split)
    assert Counter(tuple(s["tokens"]) for s in found[split]) == Counter(tokens for tokens, _ in wanted)
    pixels = {(tuple(s["tokens"]), s["pixels"]) for s in found[split]}
    assert pixels >= {(tokens, e.pixels) for tokens, e in wanted if e.jpeg}


def test_validation_keeps_the_order(found: dict[str, Any], expected: list[Any]) -> None:
    wanted = [list(tokens) for tokens, _ in wanted_of(found, expected, "val")]
    assert [s["tokens"] for s in found["val"]] == wanted and len(wanted) == 3
