"""Objects with one attribute each, and the place of the attribute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from annotation_scores import parts
from relations import tables_annotator

from recaption.annotate import Annotator
from recaption.types import Caption

Make = Callable[..., Caption]


@pytest.fixture(scope="module")
def made() -> Annotator:
    return tables_annotator("attribute_pairs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small red car.", [("car", "small", 2), ("car", "red", 8)]),
        ("The car is red and the red bus is old.", [("car", "red", 11), ("bus", "red", 23), ("bus", "old", 34)]),
        ("The door beside the blue car is blue.", [("door", "blue", 32), ("car", "blue", 20)]),
        ("A man with short dark hair and beard.",
         [("hair", "short", 11), ("hair", "dark", 17), ("beard", "short", 11), ("beard", "dark", 17)]),
        ("A red-and-white flag.", [("flag", "red-and-white", 2)]),
        ("A stainless steel sink.", [("sink", "stainless steel", 2)]),
        ("No red cars are there.", []),
    ],
)  # fmt: skip
def test_pairs_of_a_sentence(made: Annotator, make: Make, text: str, expected: list[tuple[str, str, int]]) -> None:
    rows = made.annotate_with_tables([[make(text)]]).tables["attribute_pairs"].to_pylist()
    assert [(row["object"], row["attribute"], row["attribute_start"]) for row in rows] == expected


def test_every_attribute_of_the_golden_set_has_its_place(made: Annotator, make: Make) -> None:
    texts = [caption.text for images in parts().values() for image in images for caption in image.captions]
    done = made.annotate_with_tables([[make(text, n) for n, text in enumerate(texts)]])
    assert not done.failures
    wanted = sum(len(tag.attributes) for c in done.images[0] for sub in c.sub_captions for tag in sub.objects)
    rows = done.tables["attribute_pairs"].to_pylist()
    assert len(rows) == wanted > 1000
    for row in rows:
        text = texts[int(row["caption_id"].rpartition("/")[2])]
        found = text[row["attribute_start"] : row["attribute_end"]].lower()
        assert " ".join(found.split()) == row["attribute"]
