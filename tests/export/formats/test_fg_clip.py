"""FG-CLIP reads exports, and samples that break its training are problems."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import fg_clip
from recaption.text import normalise


def test_fg_clip_reads_a_long_and_a_short_caption_of_an_export(
    without_pixels: Any, plain: Any, hostile: Any, exported: Any, problems: Any
) -> None:
    rows = [plain, {"raw": "r", "long": "Only long."}, {"short": "only short"}, *hostile]
    dest, done = exported("fg_clip", without_pixels(rows, per_shard=4))
    for path in (dest, dest / fg_clip.FILE):
        read = trainers.fg_clip(path, random.Random(0))
        assert problems("fg_clip", path) == {}
    first = {"image": "k0000.jpg", "long": plain["long"], "short": f"a photo of {plain['short']}"}
    assert read[0] == first and len(read) == done.samples
    assert done.left_out == {"no text of short": 1, "no text of long": 1}
    kept = [row["long"] for n, row in enumerate(rows) if n not in (1, 2) and n % 10 != 9]
    assert [sample["long"] for sample in read] == [normalise(text) for text in kept]
    assert "--add_box_loss False --use_hard_neg False" in done.usage[0].arguments


def test_an_export_has_no_boxes(without_pixels: Any, plain: Any, exported: Any) -> None:
    dest, _ = exported("fg_clip", without_pixels([plain]))
    (row,) = json.loads((dest / fg_clip.FILE).read_bytes())
    assert list(row) == ["f_path", "caption", "short_caption"]
    for flags in ({"boxes": True}, {"negatives": True}):
        with pytest.raises(KeyError, match="bbox_info"):
            trainers.fg_clip(dest, random.Random(0), **flags)


def test_fg_clip_reads_boxes_with_ten_negatives(without_pixels: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("fg_clip", without_pixels([plain] * 2, tables=tables("regions", "negatives")))
    one, two = trainers.fg_clip(dest, random.Random(0), boxes=True, negatives=True)
    sentence = "a red kite flies over dunes."
    assert set(one["boxes"]) <= {sentence, "dunes"} and "boxes" not in two
    assert one["hard"] == [[sentence, *(f"a kite number {n} flies over dunes." for n in range(10))]]
    rows = json.loads((dest / fg_clip.FILE).read_bytes())
    first, second = rows[0]["bbox_info"]
    assert first["bbox"] == [0.1, 0.2, 0.3, 0.4] and first["long_expr"] == first["short_expr"] == sentence
    assert (second["short_expr"], second["long_expr"], second["flag_short_neg"]) == ("dunes", sentence, 0)
    assert rows[1]["bbox_info"] == [] and "is_cn" not in rows[0]
    assert "--add_box_loss True --use_hard_neg True" in done.usage[0].arguments
    assert problems("fg_clip", dest) == {}


def test_a_box_with_fewer_than_ten_false_negatives_has_none(without_pixels: Any, plain: Any, exported: Any) -> None:
    dataset = without_pixels([plain], tables=tables("regions", "negatives", "verified_negatives"))
    dest, done = exported("fg_clip", dataset)
    (row,) = json.loads((dest / fg_clip.FILE).read_bytes())
    assert [box["flag_short_neg"] for box in row["bbox_info"]] == [0, 0]
    assert "--add_box_loss True --use_hard_neg False" in done.usage[0].arguments
    assert any("no box has 10 negatives" in note for note in done.notes)
    assert "left out: 1 negatives with a mean p_true of at least 0.5 in the table verified_negatives" in done.notes


def test_captions_of_regions_are_the_texts_of_their_boxes(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    kinds = {"long": "long", "short": "short", "wide_0": "region", "tight_0": "region"}
    rows = [{**plain, "wide_0": "A red Kite in the wind.", "tight_0": "A Kite."}]
    dataset = without_pixels(rows, kinds=kinds, tables=tables("regions", "negatives"))
    dest, _ = exported("fg_clip", dataset)
    first, second = json.loads((dest / fg_clip.FILE).read_bytes())[0]["bbox_info"]
    assert (first["short_expr"], first["long_expr"]) == ("a kite.", "a red kite in the wind.")
    assert first["short_expr_negs"] == {str(n): f"a kite {n}." for n in range(10)}
    assert second["flag_short_neg"] == 1 and second["short_expr"] == "a red kite flies over dunes.", "of the sentence"
    (row,) = trainers.fg_clip(dest, random.Random(0), boxes=True, negatives=True)
    assert len(row["hard"]) == 2 and problems("fg_clip", dest) == {}
    _, done = exported("mllms_augmented", dataset)
    assert done.notes[0] == "texts: long = long, short = short", "a caption of a region is none of the image"


def test_an_export_without_negatives_names_the_generation_to_add(
    without_pixels: Any, plain: Any, exported: Any
) -> None:
    dest, done = exported("fg_clip", without_pixels([plain], tables=tables("regions")))
    assert "--add_box_loss True --use_hard_neg False" in done.usage[0].arguments
    assert any("no negatives" in note and "task: negatives" in note for note in done.notes)
    (row,) = trainers.fg_clip(dest, random.Random(0), boxes=True)
    assert len(row["boxes"]) == 2
    with pytest.raises(UserError, match="map regions=nosuch"):
        exported("fg_clip", without_pixels([plain], tables=tables("regions")), map={"regions": "nosuch"})


def test_few_boxes_with_negatives_are_a_warning(tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.json"
    rows = [{**SAMPLE, "f_path": f"{n}.jpg", "bbox_info": [HARD if n == 0 else BOX]} for n in range(11)]
    path.write_text(json.dumps(rows))
    assert problems("fg_clip", path) == {"few boxes with negatives": "warning"}


def test_without_a_short_generation_the_short_caption_needs_a_map(
    without_pixels: Any, plain: Any, exported: Any
) -> None:
    del plain["short"]
    dataset = without_pixels([plain], kinds={"long": "long"})
    with pytest.raises(UserError, match=r"no generation is mapped to short_caption; add --map short_caption=ID"):
        exported("fg_clip", dataset)
    dest, _ = exported("fg_clip", dataset, map={"caption": "long", "short_caption": "raw"})
    assert trainers.fg_clip(dest, random.Random(0))[0]["short"] == "a photo of red kite"


BOX = {"bbox": [0.1, 0.2, 0.3, 0.4, 0.9], "short_expr": "a dog", "long_expr": "a big dog", "flag_short_neg": 0}
NEGATIVES = {str(n): f"a cat {n}" for n in range(10)}
HARD = {**BOX, "flag_short_neg": 1, "short_expr_negs": NEGATIVES}
SAMPLE = {"f_path": "a.jpg", "caption": "A dog. It runs.", "short_caption": "a dog", "bbox_info": [BOX, HARD]}


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"caption": None}, "missing text", ValueError),
        ({"short_caption": None}, "missing text", TypeError),
        ({"f_path": None}, "image is not a relative path", AttributeError),
        ({"bbox_info": [{**BOX, "bbox": [0.3, 0.2, 0.1, 0.4]}]}, "swapped corners", ValueError),
        ({"bbox_info": [{**BOX, "bbox": [0.3, 0.2]}]}, "broken box", ValueError),
        ({"bbox_info": [{**BOX, "long_expr": None, "short_expr": None}]}, "box without text", ValueError),
        ({"bbox_info": [{**HARD, "short_expr_negs": {"a": "b"}}]}, "wrong number of negatives", RuntimeError),
        ({"bbox_info": [{n: v for n, v in BOX.items() if n != "flag_short_neg"}]}, "box without flag", KeyError),
        # read silently, and wrong
        ({"caption": " "}, "empty text", None),
        ({"f_path": "/data/a.jpg"}, "image is not a relative path", None),
        ({"f_path": "http://example.org/a.jpg"}, "image is not a relative path", None),
        ({"is_cn": False}, "is_cn of a text that is not Chinese", None),
        ({"bbox_info": [{**BOX, "bbox": [10, 20, 30, 40]}]}, "box in pixels", None),
    ],
)
def test_samples_that_break_fg_clips_training_are_problems(
    change: dict[str, Any], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([SAMPLE, {**SAMPLE, "f_path": "b.jpg", **change}]))
    assert problems("fg_clip", path) == {kind: "error"}
    if error is None:
        trainers.fg_clip(path, random.Random(0), boxes=True, negatives=True)
        return
    with pytest.raises(error):
        trainers.fg_clip(path, random.Random(0), boxes=True, negatives=True)


def test_fields_that_the_trainer_ignores_are_not_checked(tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.json"
    chinese = {"f_path": "b.jpg", "caption": "狗", "short_caption": "狗", "is_cn": True}
    path.write_text(json.dumps([{**SAMPLE, "bbox_info": [BOX] * 4 + ["broken"]}, chinese]))
    assert problems("fg_clip", path) == {}


def test_every_file_has_to_be_one_json_list(tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(SAMPLE)}\n{json.dumps(SAMPLE)}\n")
    with pytest.raises(json.JSONDecodeError):
        trainers.fg_clip(path, random.Random(0))
    assert problems("fg_clip", tmp_path) == {"not a JSON list": "error"}
    path.write_text("{}")
    assert problems("fg_clip", path) == {"not a JSON list": "error"}
    plain = {name: text for name, text in SAMPLE.items() if name != "bbox_info"}
    path.write_text(json.dumps([SAMPLE, plain, "text"]))
    expected = {"duplicate f_path": "warning", "some samples without boxes": "warning", "not an object": "error"}
    assert problems("fg_clip", path) == expected
    with pytest.raises(UserError, match=r"there is no \.json or \.jsonl"):
        problems("fg_clip", tmp_path / "nothing")
