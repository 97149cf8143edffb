from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.source.base import assign_keys
from recaption.source.columns import MAX_VALUE, bounded, clean, raw_captions

KEYS = st.sampled_from(
    ["a", "b", "", "ä", "000003_000000", "000003_000001", "000003_000002", "000003_000003", "x" * 129]
)


@given(st.lists(KEYS, max_size=8))
def test_keys_are_unique_and_plain_whatever_comes_in(source_keys: list[str]) -> None:
    keys = assign_keys(3, source_keys)
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key) for key in keys)
    for row, (key, own) in enumerate(zip(keys, source_keys, strict=True)):
        assert key in (own, f"000003_{row:06d}")


def test_plain_unique_keys_are_kept_and_others_are_positions() -> None:
    assert assign_keys(3, ["a", "b", "b", "ä", "a\n"]) == ["a", "000003_000001", "000003_000002", "000003_000003", "000003_000004"]  # fmt: skip  # noqa: E501
    assert assign_keys(0, ["000000_000001", "ä", "c"]) == ["000000_000000", "000000_000001", "c"]


@pytest.mark.parametrize(
    ("columns", "name", "expected"),
    [
        ({"caption": "x"}, "caption", ["x"]),
        ({"caption": "x"}, None, []),
        ({"caption": "", "txt": "y"}, "caption", ["y"]),
        ({"caption": None, "txt": " ", "text": "z"}, "caption", ["z"]),
        ({"alt": "", "txt": "y"}, "alt", []),
        ({"caption": [None, " ", "z", 7, "a\nb"]}, "caption", ["z", "7", "a\nb"]),
        ({"caption": 12}, "caption", ["12"]),
        ({"caption": True}, "caption", []),
        ({"caption": {"en": "x"}}, "caption", []),
        ({"caption": "a\nb"}, "caption", ["a\nb"]),
        ({"txt": "a\r\n\n b\rc\u2028d\n"}, "caption", ["a", " b", "c\u2028d"]),
        ({"txt": "a\n"}, "caption", ["a\n"]),
        ({"txt": ["a\nb"]}, "caption", ["a\nb"]),
        ({}, "caption", []),
    ],
)
def test_raw_captions(columns: dict[str, object], name: str | None, expected: list[str]) -> None:
    assert raw_captions(columns, name, frozenset({"txt"})) == tuple(expected)


def test_large_values_are_named_not_kept() -> None:
    kept = "ü" * (MAX_VALUE // 2)
    assert bounded({"a": kept, "b": kept + "x", "c": ["x" * 9] * 9000}, ["d"]) == {
        "a": kept,
        "_dropped": ["b", "c", "d"],
    }
    assert bounded({"a": 1}) == {"a": 1}


def test_values_become_strict_json() -> None:
    nested: list = []
    for _ in range(1000):
        nested = [nested]
    assert clean({"a": (1, b"x"), 2: float("-inf")}) == {"a": [1, None], "2": None}
    clean(nested)
