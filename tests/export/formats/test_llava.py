"""LLaVA reads exports, and samples that it cannot read are problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers

from recaption.errors import UserError
from recaption.export.formats import llava


def test_llava_reads_a_question_and_the_caption_of_an_export(
    without_pixels: Any, plain: Any, hostile: Any, exported: Any, problems: Any
) -> None:
    dest, done = exported("llava", without_pixels([plain, {"raw": "r", "short": "s"}, *hostile]))
    rows = trainers.llava(dest / llava.FILE)
    assert rows[0] == ("k0000.jpg", "<image>\nDescribe the image in detail.", plain["long"])
    assert len(rows) == done.samples and done.left_out == {"no text of long": 1}
    assert problems("llava", dest) == {}
    answers = [answer for _, _, answer in rows]
    assert any("A sign says   here" in answer for answer in answers)
    dest, _ = exported("llava", without_pixels([plain]), map={"caption": "short"})
    assert trainers.llava(dest / llava.FILE)[0][1:] == ("<image>\nDescribe the image briefly.", plain["short"])


HUMAN, GPT = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}


SAMPLE = {"id": "a", "image": "a.jpg", "conversations": [HUMAN, GPT]}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({**SAMPLE, "conversations": []}, "no conversations"),
        ("text", "no conversations"),
        ({**SAMPLE, "conversations": [HUMAN, {"from": "gpt", "value": None}]}, "turn without text"),
        ({**SAMPLE, "conversations": [{**HUMAN, "from": "gpt"}, GPT]}, "wrong turns"),
        ({**SAMPLE, "conversations": [HUMAN]}, "wrong turns"),
        ({**SAMPLE, "conversations": [HUMAN, {**GPT, "value": " "}]}, "empty turn"),
        ({**SAMPLE, "image": "/a.jpg"}, "image is not a relative path"),
        ({**SAMPLE, "image": "http://a/b.jpg"}, "image is not a relative path"),
        ({**SAMPLE, "conversations": [HUMAN, {**GPT, "value": "An <image>."}]}, "wrong image tokens"),
        ({**SAMPLE, "conversations": [{**HUMAN, "value": "What?"}, GPT]}, "wrong image tokens"),
        ({"id": "b", "conversations": [HUMAN, GPT]}, "token without image"),
    ],
)
def test_samples_that_llava_cannot_read_are_problems(row: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([SAMPLE, row]).replace('"id": "a"', '"id": "c"', 1))
    assert problems("llava", path) == {kind: "error"}
    path.write_text(json.dumps([SAMPLE, {**SAMPLE, "id": "b"}]))
    assert problems("llava", path) == {}
    path.write_text(json.dumps([SAMPLE, SAMPLE]))
    assert problems("llava", path) == {"duplicate id": "warning"}
    for broken in ("[{", '{"a": 1}'):
        path.write_text(broken)
        assert problems("llava", path) == {"not a JSON list": "error"}
    with pytest.raises(UserError, match="cannot check"):
        problems("llava", tmp_path / "nowhere")
