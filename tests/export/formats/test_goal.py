"""GOAL reads exports: crops and boxes of regions, and sentences that its loader finds in the caption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables
from PIL import Image

from recaption.errors import UserError
from recaption.export.formats import goal

SENTENCE = "A red kite flies over dunes."


def test_segments_are_crops_and_sentences(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("goal", build([plain] * 3, tables=tables("regions")))  # odd rows have no regions
    assert (done.samples, done.left_out) == (2, {"no region of a sentence of long": 1})
    (image, crop, span, patches), _ = trainers.goal(dest / goal.FILE)
    assert image == f"{dest}/images/k0000.jpg" and crop == f"{dest}/images/k0000.0.jpg"
    assert plain["long"][slice(*span)] == SENTENCE
    with Image.open(image) as whole, Image.open(crop) as part:
        assert whole.size == (48, 40) and part.size == (15 - 4, 16 - 8)
    assert patches == {row * 14 + column + 1 for row in range(2, 6) for column in range(1, 5)}
    row = json.loads((dest / goal.FILE).read_bytes())[0]
    assert row["original_caption"] == plain["long"]
    box = {"x1": 4, "y1": 8, "x2": 15, "y2": 16, "width": 48, "height": 40}
    assert [(one["caption"], one["bbox_coordinates"]) for one in row["segment"]] == [(SENTENCE, box)] * 2
    assert row["segment"][0]["similarity_score"] > row["segment"][1]["similarity_score"]
    assert {path.name for path in (dest / "images").iterdir()} == {
        f"k000{key}{crop}.jpg" for key in (0, 2) for crop in ("", ".0", ".1")
    }
    assert problems("goal", dest, images=None) == {}
    (dest / "images" / "k0002.1.jpg").unlink()
    assert problems("goal", dest, images=None) == {"missing images": "error"}


def test_it_needs_regions_and_pixels(build: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no regions.*task: regions"):
        exported("goal", build([plain]))
    for images in ("symlink", "none"):
        with pytest.raises(UserError, match=f"--images {images}: crops are new files"):
            exported("goal", build([plain], tables=tables("regions")), images=images)


BOX = {"x1": 0, "y1": 0, "x2": 4, "y2": 4, "width": 8, "height": 8}
SEGMENT = {"filename": "a.0.jpg", "caption": "a kite", "bbox_coordinates": BOX, "similarity_score": 1.0}


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({}, "", ""),
        ({"caption": "A kite"}, "text is not in the caption", "error"),
        ({"caption": 1}, "missing text", "error"),
        ({"similarity_score": None}, "no score", "error"),
        ({"bbox_coordinates": BOX | {"x1": 4}}, "broken box", "error"),
        ({"bbox_coordinates": BOX | {"x1": None}}, "broken box", "error"),
        ({"bbox_coordinates": BOX | {"x1": 2, "width": 2}}, "width is not that of the image", "warning"),
    ],
)
def test_segments_that_train_on_something_else_are_problems(
    change: Any, kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    row = {"original_filename": "a.jpg", "original_caption": "I see a kite.", "segment": [SEGMENT | change]}
    (tmp_path / "x.json").write_text(json.dumps([row]))
    assert problems("goal", tmp_path) == ({kind: severity} if kind else {})
    (tmp_path / "x.json").write_text(json.dumps([row | {"segment": []}, {"original_filename": "a.jpg"}, row]))
    found = problems("goal", tmp_path)
    assert {"no segments", "missing text", "duplicate original_filename"} <= set(found)
