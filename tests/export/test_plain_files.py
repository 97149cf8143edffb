"""Plain files: images with a text beside each, Hugging Face's imagefolder, COCO captions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from recaption.cli import main
from recaption.errors import UserError

ROWS = [
    {"raw": "red kite", "short": "A kite.", "long": "A red kite flies.\nThe sky is grey."},
    {"raw": "blue boat", "short": "A boat.", "long": "A blue boat lies on the sand. It is old."},
    {"raw": "a dog"},
]


def kohya(folder: Path) -> dict[str, list[str]]:
    """What sd-scripts reads: for each image the lines of the text of the same name; an image without one has none."""
    made = {}
    for image in sorted(folder.glob("*.jpg")):
        Image.open(image).load()
        text = image.with_suffix(".txt")
        made[image.stem] = text.read_text("utf-8").split("\n") if text.exists() else []
    assert {path.stem for path in folder.glob("*.txt")} <= set(made)
    return made


def test_a_caption_lies_beside_its_image(build: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("txt", build(ROWS))
    wanted = {"k0000": ["A red kite flies. The sky is grey."], "k0001": ["A blue boat lies on the sand. It is old."]}
    assert kohya(dest / "images") == wanted and done.left_out == {"no text for --captions one": 1}
    assert (done.samples, done.files) == (2, 2) and problems("txt", dest) == problems("txt", dest / "images") == {}
    dest, _ = exported("txt", build(ROWS), map={"caption": "raw"})
    assert [lines for lines in kohya(dest / "images").values()] == [["red kite"], ["blue boat"], ["a dog"]]


def test_lines_are_drawn_by_the_policy_and_the_same_each_time(build: Any, tmp_path: Path) -> None:
    out = build(ROWS).store.url
    for name in ("a", "b"):
        assert main(["export", out, str(tmp_path / name), "--to", "txt", "--captions", "lines"]) == 0
    made = kohya(tmp_path / "a" / "images")
    assert made == kohya(tmp_path / "b" / "images") and len(made) == 3
    for row, lines in zip(ROWS, made.values(), strict=True):
        assert len(set(lines)) == len(lines) and all(
            any(line.rstrip(".") in " ".join(text.split()) for text in row.values()) for line in lines
        )
    assert len(made["k0000"]) > 2 and made["k0002"] == ["a dog"]


def test_the_text_may_be_a_list_of_objects(exported: Any) -> None:
    from recaption.export.dataset import Dataset

    dataset = Dataset.open(str(Path(__file__).parent.parent / "golden" / "output" / "builds" / "webdataset"))
    dest, done = exported("txt", dataset, captions="tags")
    made = kohya(dest / "images")
    assert len(made) == done.samples > 5
    for (line,) in made.values():
        objects = line.split(", ")
        assert len(set(objects)) == len(objects) and all(objects)


def test_options_that_do_not_fit_are_refused(build: Any, exported: Any, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(UserError, match="--map is for --captions one"):
        exported("txt", build(ROWS), captions="tags", map={"caption": "long"})
    out = build(ROWS).store.url
    assert main(["export", out, str(tmp_path / "x"), "--to", "coco", "--captions", "lines"]) == 2
    assert "--captions lines is for --to txt" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_texts_without_images_and_images_without_texts_are_problems(build: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("txt", build(ROWS))
    (dest / "images" / "k0000.jpg").unlink()
    assert problems("txt", dest) == {"text without image": "error"}
    shutil.copy(dest / "images" / "k0001.jpg", dest / "images" / "k0000.jpg")
    (dest / "images" / "k0000.txt").unlink()
    assert problems("txt", dest) == {"image without text": "warning"}
    (dest / "images" / "k0000.txt").write_text(" \n")
    (dest / "images" / "k0001.txt").write_text("A boat.\n\nA sea.")
    assert problems("txt", dest) == {"empty text": "error", "empty line": "warning"}
    (dest / "images" / "k0000.txt").write_bytes(b"\xff\xfe")
    assert problems("txt", dest)["broken text"] == "error"


def test_imagefolder_is_loaded_by_datasets(build: Any, exported: Any, problems: Any, tmp_path: Path) -> None:
    from datasets import load_dataset

    dest, done = exported("imagefolder", build(ROWS))
    assert problems("imagefolder", dest) == {} and done.samples == 2
    loaded = load_dataset("imagefolder", data_dir=str(dest), cache_dir=str(tmp_path / "cache"), split="train")
    assert [row["key"] for row in loaded] == ["k0000", "k0001"] and loaded[0]["image"].size == (48, 40)
    assert loaded[1]["text"] == ROWS[1]["long"]
    nested = {caption["generation"]: caption["sub_captions"] for caption in loaded[1]["captions"]}
    assert nested["long"] == ["A blue boat lies on the sand.", "It is old."]


def test_rows_that_imagefolder_cannot_read_are_problems(build: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("imagefolder", build(ROWS))
    file = dest / "metadata.jsonl"
    lines = file.read_text().splitlines()
    for last, kind in (
        ("{", "broken line"),
        ('{"text": "A."}', "no file_name"),
        ('{"file_name": "images/k0001.jpg", "extra": 1}', "other fields"),
        (lines[1].replace("k0001.jpg", "gone.jpg"), "missing images"),
    ):
        file.write_text(f"{lines[0]}\n{last}\n")
        assert problems("imagefolder", dest, images=str(dest)) == {kind: "error"}


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
