"""Blocks of a caption, and the text between spans."""

from __future__ import annotations

import pytest

from recaption.annotate.blocks import blocks, is_gap, trim

WRAPPED = "A man walks along the beach with his old\ndog and a ball."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog\n- A cat\n2. A cow", ["A dog", "A cat", "A cow"]),
        ("# Scene\n---\n**Sky:** Blue.", ["Scene", "Sky:", " Blue."]),
        (WRAPPED, [WRAPPED]),
        ("red car\nblue house", ["red car", "blue house"]),
    ],
)
def test_lines_items_headings_and_labels_are_blocks(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in blocks(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("  - A dog. ", "A dog."), ("**A dog.**", "A dog."), ("A **red** dog", "A **red** dog"), ("1. ", "")],
)
def test_a_span_is_trimmed_to_its_content(text: str, expected: str) -> None:
    start, end = trim(text, 0, len(text))
    assert text[start:end] == expected


def test_a_gap_has_no_words() -> None:
    assert is_gap("\n - 1. (a) ## ** \n")
    assert not is_gap(" and ")
    assert not is_gap("1990.")
