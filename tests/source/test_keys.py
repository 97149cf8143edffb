"""Keys are unique and plain."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from recaption.source.keys import assign_keys, path_key

KEYS = st.sampled_from(
    ["a", "b", "", "ä", "000003_000000", "000003_000001", "000003_000002", "000003_000003", "x" * 129]
)


@given(st.lists(KEYS, max_size=8))
def test_keys_are_unique_and_plain_for_all_source_keys(source_keys: list[str]) -> None:
    keys = assign_keys(3, source_keys)
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key) for key in keys)
    for row, (key, own) in enumerate(zip(keys, source_keys, strict=True)):
        assert key in (own, f"000003_{row:06d}")


def test_plain_unique_keys_are_kept_and_others_are_positions() -> None:
    assert assign_keys(3, ["a", "b", "b", "ä", "a\n"]) == ["a", "000003_000001", "000003_000002", "000003_000003", "000003_000004"]  # fmt: skip  # noqa: E501
    assert assign_keys(0, ["000000_000001", "ä", "c"]) == ["000000_000000", "000000_000001", "c"]


NAMES = st.lists(
    st.text(st.sampled_from("aB-_. 9ä/"), min_size=1, max_size=8).map(lambda text: f"{text}.jpg"), unique=True
)


@given(NAMES, st.sampled_from(["", ".hidden/", "x" * 200 + "/"]))
def test_keys_by_path_are_plain_and_differ(names: list[str], folder: str) -> None:
    keys = [path_key(f"{folder}{name}") for name in names]
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,127}", key) for key in keys)
    assert path_key("a.jpg") != path_key("a.png")
