"""Maya reads exports: a file for each language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers

from recaption.errors import UserError

KINDS = {"long": "long", "long_zh": "long", "short": "short", "short_fr": "short"}
LANGS = {"long_zh": "zh", "short_fr": "fr"}


def test_maya_reads_a_caption_and_its_translations(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [{**plain, "long_zh": "风筝 <image>。", "short_fr": "Un cerf-volant."}, plain, {"short": "no long one"}]
    dest, done = exported("maya", without_pixels(rows, kinds=KINDS, langs=LANGS))
    assert sorted(path.name for path in dest.iterdir()) == ["en.json", "zh.json"], "fr is of another caption"
    chinese = [("k0000.jpg", "风筝  。")]
    assert trainers.maya(dest) == [("k0000.jpg", plain["long"]), ("k0001.jpg", plain["long"]), *chinese]
    assert trainers.maya(dest / "zh.json") == chinese
    assert (done.samples, done.files, done.left_out) == (2, 2, {"no text of long": 1})
    assert problems("maya", dest) == {}


def test_a_build_without_translations_is_refused(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no translations.*task: translate"):
        exported("maya", without_pixels([plain]))


def test_all_files_of_the_folder_are_checked(tmp_path: Path, problems: Any) -> None:
    human, gpt = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}
    row = {"id": "a", "image": "a.jpg", "conversations": [human, gpt]}
    (tmp_path / "en.json").write_text(json.dumps([row]))
    assert problems("maya", tmp_path) == {}
    more = {**row, "conversations": [human, gpt, {**human, "value": "Why?"}, gpt]}
    (tmp_path / "fr.json").write_text(json.dumps([more]))
    assert problems("maya", tmp_path) == {"more than two turns": "warning"}
    with pytest.raises(AssertionError):
        trainers.maya(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    assert problems("maya", tmp_path)["not a JSON list"] == "error"
