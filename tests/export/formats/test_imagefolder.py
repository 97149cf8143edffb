"""Hugging Face's imagefolder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROWS = [
    {"raw": "red kite", "short": "A kite.", "long": "A red kite flies.\nThe sky is grey."},
    {"raw": "blue boat", "short": "A boat.", "long": "A blue boat lies on the sand. It is old."},
    {"raw": "a dog"},
]


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
