"""The first complete sentence of a caption."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from relations import tables_annotator

from recaption.types import Caption

Make = Callable[..., Caption]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog sits. A cat runs.", ("A dog sits.", 0, True)),
        ("A dog sits.", ("A dog sits.", 0, False)),
        ("The image shows Dr. Smith at a desk. He smiles.", ("Dr. Smith at a desk.", 0, True)),
        ("**Description:**\nA dog sits on a mat. It sleeps.", ("A dog sits on a mat.", 1, True)),
        ("The photo is well composed. A man reads a book.", ("A man reads a book.", 1, True)),
    ],
)
def test_the_first_sentence_with_content(make: Make, text: str, expected: tuple[str, int, bool]) -> None:
    made = tables_annotator("sheared").annotate_with_tables([[make(text)]])
    (row,) = made.tables["sheared"].to_pylist()
    assert (row["text"], int(row["sub_id"].partition("#")[2]), row["is_sheared"]) == expected
    assert text[row["char_start"] : row["char_end"]] == row["text"] and row["caption_id"] == "k/long/0"


@pytest.mark.parametrize("text", ["red kite", "A dog on a mat, its", "The image is blurry."])
def test_a_caption_without_a_complete_sentence_has_no_row(make: Make, text: str) -> None:
    made = tables_annotator("sheared").annotate_with_tables([[make(text, finish="length")]])
    assert made.tables["sheared"].num_rows == 0
