"""SAM 3 reads exports: a row for each image and phrase, with boxes, or of an object that the image does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import sa_co

BOAT = {"raw": "a boat", "short": "A boat.", "long": "A blue boat lies on the sand. A boat is old."}


def test_phrases_have_boxes_or_are_of_other_images(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    dataset = without_pixels([plain, BOAT, BOAT], tables=tables("regions"))
    dest, done = exported("sa_co", dataset)
    assert (done.samples, done.left_out) == (2, {"no region": 1})
    rows = trainers.sa_co(dest / sa_co.FILE)
    box = [0.1, 0.2, pytest.approx(0.2), pytest.approx(0.2)]
    assert rows == [
        ("k0000.jpg", "Red kite", 0, [box]),
        ("k0000.jpg", "dunes", 1, [box]),
        ("k0000.jpg", "boat", 2, []),
        ("k0002.jpg", "Red kite", 0, [box]),
        ("k0002.jpg", "dunes", 1, [box]),
        ("k0002.jpg", "sky", 3, []),
    ], "a kite is in both images, by a tag or a region"
    flags = [row["is_instance_exhaustive"] for row in json.loads((dest / sa_co.FILE).read_bytes())["images"]]
    assert flags == [0, 0, 1] * 2 and "phrases with boxes: 4; negative phrases: 2" in done.notes
    assert problems("sa_co", dest) == {}
    assert problems("sa_co", dest, images=None) == {"missing images": "error"}


def test_it_needs_regions(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no regions.*task: regions"):
        exported("sa_co", without_pixels([plain]))


def test_negative_phrases_share_no_word_and_differ_between_images() -> None:
    frequent = ["fire hydrant", "man", "dog", *(f"thing{n}" for n in range(20))]
    chosen = {tuple(sa_co.negatives(f"k{n}", {"Hydrant", "old man"}, frequent)) for n in range(20)}
    assert len(chosen) > 10 and all(len(set(one)) == sa_co.NEGATIVES for one in chosen)
    assert not {"fire hydrant", "man"} & {lemma for one in chosen for lemma in one}
    assert sa_co.negatives("k", set(), ["dog"]) == ["dog"]


ROW = {"id": 1, "file_name": "a.jpg", "text_input": "kite", "queried_category": "0", "is_instance_exhaustive": 1}
BOX = {"id": 1, "image_id": 1, "bbox": [0, 0, 0.5, 0.5]}
DOG = {**ROW, "id": 2, "text_input": "dog"}


@pytest.mark.parametrize(
    ("images", "annotations", "kind", "severity"),
    [
        ([ROW, DOG], [BOX], "", ""),
        ([ROW], [BOX], "no negatives", "warning"),
        ([ROW, DOG, {**DOG, "id": 1, "text_input": "cat"}], [BOX], "repeated id", "error"),
        ([ROW, {**DOG, "text_input": "kite"}], [BOX], "repeated phrase", "error"),
        ([ROW, {**DOG, "text_input": " "}], [BOX], "no phrase", "error"),
        ([ROW, {**DOG, "queried_category": "dog"}], [BOX], "no number", "error"),
        ([ROW, {**DOG, "is_instance_exhaustive": None}], [BOX], "no flag", "error"),
        ([ROW, DOG], [{**BOX, "bbox": [10, 10, 50, 50]}], "broken box", "error"),
        ([ROW, DOG], [{**BOX, "image_id": 9}], "lost", "error"),
        ({}, [], "not a COCO file", "error"),
    ],
)
def test_rows_that_its_readers_cannot_use_are_problems(
    images: Any, annotations: Any, kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    assert problems("sa_co", tmp_path) == ({kind: severity} if kind else {})
