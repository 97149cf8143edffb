"""FG-CLIP 2 reads exports in two languages."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import fgclip2

KINDS = {"long": "long", "short": "short", "long_zh": "long", "short_zh": "short", "long_fr": "long"}
LANGS = {"long_zh": "zh", "short_zh": "zh-Hans", "long_fr": "fr"}
CHINESE = {"long_zh": "红色风筝。", "short_zh": "风筝", "long_fr": "Un cerf-volant."}


def test_fgclip2_reads_boxes_in_english_and_captions_in_chinese(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [{**plain, **CHINESE}, {**plain, "long_zh": "红色风筝。"}]
    dataset = without_pixels(rows, kinds=KINDS, langs=LANGS, tables=tables("regions", "negatives"))
    dest, done = exported("fgclip2", dataset)
    one, two, chinese = trainers.fgclip2(dest, random.Random(0))
    assert chinese == {"group": "cn", "chinese": True, "long": "红色风筝。", "short": "风筝", "hard": []}
    assert (one["group"], one["chinese"], one["short"]) == ("en", False, f"a photo of {plain['short'].lower()}")
    (texts,) = one["hard"]
    assert len(texts) == 11 and texts == [text.lower() for text in texts], "the positive is in lower case, too"
    assert two["hard"] == [], "it has no regions"
    assert "samples with both Chinese captions: 1 of 2" in done.notes
    assert problems("fgclip2", dest) == {}


def test_without_translations_it_is_refused(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no translations.*task: translate.*lang: zh"):
        exported("fgclip2", without_pixels([plain]))


def test_rows_in_the_wrong_list_are_problems(tmp_path: Path, problems: Any) -> None:
    row = {"f_path": "a.jpg", "caption": "A kite.", "short_caption": "kite"}
    for folder in ("en", "cn"):
        (tmp_path / folder).mkdir()
    (tmp_path / fgclip2.ENGLISH).write_text(json.dumps([{**row, "is_cn": 1}]))
    (tmp_path / fgclip2.CHINESE).write_text(json.dumps([{**row, "is_cn": 1}]))
    assert problems("fgclip2", tmp_path) == {"Chinese row in the English list": "error"}
    (tmp_path / fgclip2.ENGLISH).write_text(json.dumps([row]))
    (tmp_path / fgclip2.CHINESE).write_text(json.dumps([row]))
    assert problems("fgclip2", tmp_path) == {"English row in the Chinese list": "error"}
    with pytest.raises(KeyError, match="bbox_info"):
        trainers.fgclip2(tmp_path, random.Random(0))
    (tmp_path / fgclip2.CHINESE).rename(tmp_path / "cn/x.jsonl")
    assert "unread file" in problems("fgclip2", tmp_path)
    (tmp_path / "cn").rename(tmp_path / "zh")
    with pytest.raises(UserError, match=r"there is no folder cn\. Give the folder with en and cn"):
        problems("fgclip2", tmp_path)
