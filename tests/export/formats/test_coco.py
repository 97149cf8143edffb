"""COCO captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROWS = [
    {"raw": "red kite", "short": "A kite.", "long": "A red kite flies.\nThe sky is grey."},
    {"raw": "blue boat", "short": "A boat.", "long": "A blue boat lies on the sand. It is old."},
    {"raw": "a dog"},
]


def test_coco_has_each_image_once_with_all_its_captions(without_pixels: Any, exported: Any, tmp_path: Path) -> None:
    dest, done = exported("coco", without_pixels(ROWS))
    body = json.loads((dest / "captions.json").read_text())
    assert done.samples == 3 and [image["file_name"] for image in body["images"]] == [f"k000{n}.jpg" for n in range(3)]
    by_image = {image["id"]: [a["caption"] for a in body["annotations"] if a["image_id"] == image["id"]]
                for image in body["images"]}  # fmt: skip
    assert [set(captions) for captions in by_image.values()] == [set(row.values()) for row in ROWS]
    assert len({a["id"] for a in body["annotations"]}) == 7
    dest, _ = exported("coco", without_pixels(ROWS), map={"x": "raw"})
    body = json.loads((dest / "captions.json").read_text())
    assert [a["caption"] for a in body["annotations"]] == ["red kite", "blue boat", "a dog"]


def test_what_readers_of_coco_cannot_join_is_a_problem(build: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("coco", build(ROWS), images="jpg")
    file = dest / "captions.json"
    good = json.loads(file.read_text())
    assert problems("coco", dest) == {}
    first = good["annotations"][0]
    for changed, kind in (
        ({**good, "annotations": [{**first, "image_id": 99}]}, "lost"),
        ({**good, "annotations": [first, first]}, "repeated id"),
        ({**good, "annotations": [{**first, "caption": " "}]}, "no caption"),
        ({**good, "images": [{**image, "file_name": None} for image in good["images"]]}, "no file_name"),
        ([], "not a COCO file"),
        ({"images": {}}, "not a COCO file"),
    ):
        file.write_text(json.dumps(changed))
        assert problems("coco", dest) == {kind: "error"}
    file.write_text("{")
    assert problems("coco", dest) == {"not a COCO file": "error"}
