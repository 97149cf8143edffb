"""GRAIN reads exports, and files that end its training are problems."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import grain


def test_grain_reads_captions_and_boxes_in_pixels(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [plain, plain, {**plain, "raw": ""}]
    dest, done = exported("grain", without_pixels(rows, tables=tables("regions")))
    samples = trainers.grain(dest, random.Random(0))
    assert [sample["image"] for sample in samples] == ["k0000.jpg", "k0001.jpg", "k0002.jpg"]
    assert {trainers.grain(dest, random.Random(n))[0]["caption"] for n in range(9)} == {plain["raw"], plain["long"]}
    assert samples[2]["caption"] == plain["long"], "without a raw caption"
    said = "samples without a raw caption: 1 of 3; captions_pooled.csv has their caption of long instead, because"
    assert done.notes[-1].startswith(said)
    boxes = samples[0]["boxes"]
    assert [text for _, text in boxes] == ["Red kite", "dunes"], "in the order of their rank, without points"
    assert boxes[0][0] == pytest.approx([22.4, 44.8, 67.2, 89.6])
    assert "boxes" not in samples[1] and "k0001.jpg" not in json.loads((dest / grain.BOXES).read_text())
    assert done.samples == 3 and problems("grain", dest) == {}


def test_a_build_without_regions_is_refused_with_what_to_add(
    without_pixels: Any, plain: Any, exported: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"(?s)has no regions.*task: regions.*all answers are kept"):
        exported("grain", without_pixels([plain]))
    with pytest.raises(UserError, match="map regions=long: no generation 'long' makes this table; allowed: my_regions"):
        exported("grain", without_pixels([plain], tables=tables("regions")), map={"regions": "long"})
    assert not (tmp_path / "one").exists()


BOX = {"description": "a kite", "bbox": [96.0, 0, 480, 960], "score": 0.5}


@pytest.mark.parametrize(
    ("boxes", "kind", "error"),
    [
        ([], "empty list of boxes", RuntimeError),
        ([{**BOX, "bbox": [1, 2, 3]}, BOX], "broken box", RuntimeError),
        ([{**BOX, "score": None}], "no score", TypeError),
        ([{"bbox": BOX["bbox"], "score": 1}], "empty text", KeyError),
        ([{**BOX, "bbox": [0.1, 0.2, 0.3, 0.4]}], "box is not in pixels", None),
        ([{**BOX, "bbox": [480, 0, 96, 960]}], "box outside", None),
        ([{**BOX, "bbox": [0, 0, 96, 1024]}], "box outside", None),
    ],
)
def test_boxes_that_grain_cannot_use_are_problems(
    boxes: list[Any], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    write(tmp_path, boxes={"a.jpg": boxes})
    assert problems("grain", tmp_path) == {kind: "error"}
    if error is not None:
        with pytest.raises(error):
            trainers.grain(tmp_path, random.Random(0))


def write(folder: Path, table: str = "a.jpg,kite\n", long: Any = None, boxes: Any = None) -> None:
    (folder / grain.CAPTIONS).write_text(table)
    (folder / grain.LONG).write_text(json.dumps({} if long is None else long))
    (folder / grain.BOXES).write_text(json.dumps({} if boxes is None else boxes))


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        ({"table": "path,caption\na.jpg,kite\n"}, {"skipped row": "error"}),
        ({"table": "a.jpg\n"}, {"wrong number of cells": "error"}),
        ({"table": "a.jpg, \n"}, {"empty text": "error"}),
        ({"long": {"a.jpg": None}}, {"empty text": "error"}),
        ({"long": []}, {"not a JSON object": "error"}),
        ({"boxes": {"b.jpg": [BOX]}}, {"path is not in the CSV": "warning"}),
        ({"table": 'a.jpg,"kite\n'}, {"broken CSV": "error"}),
    ],
)
def test_files_of_grain_are_checked(
    files: dict[str, Any], kinds: dict[str, str], tmp_path: Path, problems: Any
) -> None:
    write(tmp_path, **files)
    assert problems("grain", tmp_path) == kinds
    with pytest.raises(UserError, match="it is not a folder"):
        problems("grain", tmp_path / grain.CAPTIONS)
