"""Queries of published sets, from files of their formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from recaption.demo.scenes import render
from recaption.errors import UserError
from recaption.probe import adaptors
from recaption.probe.adaptors import load
from recaption.probe.scenes import Scenes


def facts(given: str, images: Path | None) -> list[tuple[str, str, str | None, str]]:
    found = load(given, images)
    assert all(query.in_file for query in found)
    return [(query.image, query.text, query.wrong, query.slice) for query in found]


def test_karpathy_reads_the_test_images(tmp_path: Path) -> None:
    def image(split: str, name: str, **more: str) -> dict:
        return {"split": split, "filename": name, "sentences": [{"raw": " A cat."}, {"raw": "Cat."}], **more}

    data = {"images": [image("test", "1.jpg", filepath="val2014"), image("train", "2.jpg"), image("test", "3.jpg")]}
    (tmp_path / "dataset_coco.json").write_text(json.dumps(data))
    found = facts(f"karpathy:{tmp_path}/dataset_coco.json", Path("coco"))
    assert found[:2] == [
        ("coco/val2014/1.jpg", "A cat.", None, "dataset_coco"),
        ("coco/val2014/1.jpg", "Cat.", None, "dataset_coco"),
    ]
    assert [image for image, *_ in found[2:]] == ["coco/3.jpg"] * 2


def test_urban1k_has_its_own_images(tmp_path: Path) -> None:
    (tmp_path / "caption").mkdir()
    (tmp_path / "caption" / "1.txt").write_text("A street.\n")
    assert facts(f"urban1k:{tmp_path}", None) == [(f"{tmp_path}/image/1.jpg", "A street.", None, "urban1k")]


def test_docci_reads_the_test_images(tmp_path: Path) -> None:
    lines = [{"split": s, "image_file": f"{s}.jpg", "description": "A dog."} for s in ("train", "test", "qual_dev")]
    (tmp_path / "d.jsonlines").write_text("\n".join(map(json.dumps, lines)))
    assert facts(f"docci:{tmp_path}/d.jsonlines", Path("i")) == [("i/test.jpg", "A dog.", None, "docci")]


def test_sugarcrepe_has_a_slice_per_file(tmp_path: Path) -> None:
    for name in ("swap_obj", "add_att"):
        one = {"filename": "1.jpg", "caption": "A cat.", "negative_caption": f"Not {name}."}
        (tmp_path / f"{name}.json").write_text(json.dumps({"0": one}))
    assert facts(f"sugarcrepe:{tmp_path}", Path("i")) == [
        ("i/1.jpg", "A cat.", "Not add_att.", "add_att"),
        ("i/1.jpg", "A cat.", "Not swap_obj.", "swap_obj"),
    ]


def test_scenes_have_the_queries_of_the_demo_and_write_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Scenes(held_out=3)
    monkeypatch.setattr(adaptors, "Scenes", lambda: of)
    found = facts(f"scenes:{tmp_path}/s", None)
    assert [(text, wrong, part) for _, text, wrong, part in found] == [(q.text, q.wrong, q.slice) for q in of.queries()]
    images = sorted((tmp_path / "s").iterdir())
    assert [image for image, *_ in found] == [str(path) for path in images for _ in range(4)]
    assert Image.open(images[2]).convert("RGB").tobytes() == render(of.test[2], 144).convert("RGB").tobytes()
    images[0].write_bytes(b"kept")
    assert facts(f"scenes:{tmp_path}/s", None) == found and images[0].read_bytes() == b"kept"


def test_other_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for given, images, message in (
        (
            "best:x",
            None,
            "give a .parquet file, or NAME:PATH, where NAME is one of karpathy, urban1k, docci, sugarcrepe, scenes",
        ),
        (f"karpathy:{tmp_path}/x.json", None, "--query-images DIR"),
        (f"karpathy:{tmp_path}/x.json", tmp_path, "does not have the format of karpathy: KeyError"),
        (f"karpathy:{tmp_path}/y.json", tmp_path, "cannot be read"),
        (f"sugarcrepe:{tmp_path}", tmp_path, "has no queries"),
    ):
        with pytest.raises(UserError, match=message):
            load(given, images)
