"""The places of a trainer that generations fill."""

from __future__ import annotations

from typing import Any

import pytest

from recaption.write.profile import FLAIR_KINDS, places


@pytest.mark.parametrize(
    ("kinds", "given", "fill", "expected"),
    [
        ({"s": "short", "l": "long"}, {}, "empty", "raw s l - - - -"),
        ({"s": "short", "l": "long"}, {}, "repeat", "raw s l s l s l"),
        ({"a": "long", "b": "long", "c": "long", "d": "long"}, {}, "repeat", "raw - a - b - c"),
        ({"a": "short", "b": "short"}, {}, "repeat", "raw a - b - a -"),
        ({"s": "short", "l": "long"}, {"shortSV_captions": "l"}, "empty", "- - - l - - -"),
        ({"s": "short", "l": "long"}, {"shortSV_captions": "l", "longIB_captions": "s"}, "repeat", "- l s l s l s"),
        ({}, {}, "repeat", "raw - - - - - -"),
    ],
)
def test_generations_fill_the_places_of_their_granularity(kinds: Any, given: Any, fill: Any, expected: str) -> None:
    assert [generation or "-" for generation in places(FLAIR_KINDS, kinds, given, fill).values()] == expected.split()
