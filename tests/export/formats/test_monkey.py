"""Monkey reads exports, and files that end its training are problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.export.formats import monkey


def test_monkey_reads_conversations_and_descriptions(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    odd = {"long": "A <img> sign.\n<|im_end|> Two lines.", "short": "s"}
    rows = [{**plain, "crop_0": "A kite in the wind."}, {**plain, **odd}]
    kinds = {"long": "long", "short": "short", "crop_0": "region"}
    dest, done = exported("monkey", build(rows, kinds=kinds, tables=tables("regions")), images="jpg")
    turns = trainers.monkey(dest / monkey.FILE)
    assert turns == [
        (f"<img>{dest}/images/k0000.jpg</img> {monkey.QUESTION}", plain["long"]),
        (f"<img>{dest}/images/k0001.jpg</img> {monkey.QUESTION}", "A sign. Two lines."),
    ]
    detailed = json.loads((dest / monkey.DETAILED).read_text())
    assert detailed[0] == {"img_id": "k0000.jpg", "detailed_caption": plain["long"]}
    one, two = json.loads((dest / monkey.ALL).read_text())
    assert one["grit"] == "Red kite: [0.1, 0.2, 0.3, 0.4]; dunes: [0.1, 0.2, 0.3, 0.4]; "
    assert one["sam_blip"] == "A kite in the wind.: [0.1, 0.2, 0.3, 0.4]; "
    assert trainers.monkey_question(two) == "s  ", "an image without regions has all texts"
    assert done.files == 3 and problems("monkey", dest, images=None) == {}


def test_without_regions_there_are_no_descriptions(without_pixels: Any, plain: Any, exported: Any) -> None:
    dest, done = exported("monkey", without_pixels([plain]))
    assert not (dest / monkey.ALL).exists() and done.files == 2


HUMAN, REPLY = {"value": f"<img>a.jpg</img> {monkey.QUESTION}"}, {"value": "A kite."}


@pytest.mark.parametrize(
    ("turns", "kind", "error"),
    [
        ([HUMAN], "no conversations", IndexError),
        ([HUMAN, {"value": None}], "turn without text", TypeError),
        ([{"value": "What? "}, REPLY], "wrong image tags", AssertionError),
        ([HUMAN, {"value": "An <img>."}], "token in the answer", AssertionError),
        ([{"value": "<img>a.jpg</img> Describe:"}, REPLY], "texts are joined", None),
    ],
)
def test_conversations_that_monkey_cannot_read_are_problems(
    turns: Any, kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([{"id": "b", "conversations": turns}]))
    assert problems("monkey", path) == {kind: "error" if error else "warning"}
    if error is not None:
        with pytest.raises(error):
            trainers.monkey(path)


def test_an_image_without_one_of_the_texts_is_a_problem(tmp_path: Path, problems: Any) -> None:
    row = {"img_id": "a.jpg", "blip2cap": "a kite", "grit": "", "ocr": "", "sam_blip": ""}
    (tmp_path / monkey.ALL).write_text(json.dumps([row]))
    assert problems("monkey", tmp_path) == {}
    del row["sam_blip"]
    (tmp_path / monkey.ALL).write_text(json.dumps([row]))
    assert problems("monkey", tmp_path) == {"missing text": "error"}
    with pytest.raises(KeyError):
        trainers.monkey_question(row)
    (tmp_path / monkey.ALL).unlink()
    (tmp_path / monkey.DETAILED).write_text(json.dumps([{"img_id": "a.jpg", "detailed_caption": ""}] * 2))
    assert problems("monkey", tmp_path) == {"empty text": "error", "duplicate img_id": "warning"}
