"""open_clip reads exports, and texts that it cannot use are problems."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from foreign_tars import GOOD, foreign_tar

from recaption.errors import UserError


def test_open_clip_draws_every_text_with_the_printed_flags(
    build: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [plain, {"raw": "only raw"}, {"long": "Only long."}]
    dest, done = exported("open_clip", build(rows))
    flags = done.usage[0].arguments.split(" --json-text-key ")[1]
    assert flags == "'raw_caption;caption_short;caption_long' --json-text-key-probs 0.2 0.4 0.4"
    keys, weights = ["raw_caption", "caption_short", "caption_long"], [0.2, 0.4, 0.4]
    drawn = [
        {trainers.open_clip(sample, keys, weights, random.Random(seed)) for seed in range(200)}
        for sample in trainers.tar_samples(dest)
    ]
    assert drawn == [set(plain.values()), {"only raw"}, {"Only long."}]
    assert problems("open_clip", dest) == {}
    assert "the build's own tars" in done.notes[2]


def test_the_map_renames_fields_and_unused_fields_are_not_in_the_flags(build: Any, plain: Any, exported: Any) -> None:
    dest, done = exported("open_clip", build([plain]), map={"dense": "long"})
    body = json.loads(trainers.tar_samples(dest)[0]["json"])
    assert body["dense"] == plain["long"] and "raw_caption" not in body
    assert "--json-text-key dense --json-text-key-probs 1" in done.usage[0].arguments
    _, done = exported("open_clip", build([{"short": "Text."}]))
    assert "--json-text-key caption_short --json-text-key-probs 1" in done.usage[0].arguments
    for name, of in (("key", "long"), ("a;b", "long"), ("a", "nosuch")):
        with pytest.raises(UserError, match=f"map {name}={of}"):
            exported("open_clip", build([plain]), map={name: of})


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"txt": b"  \n"}, "empty txt"),
        ({"txt": b"\xff\xfe"}, "txt is not UTF-8"),
        ({"txt": None}, "no text"),  # GOOD has lists only
    ],
)
def test_texts_that_open_clip_cannot_use_are_problems(members: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    assert problems("open_clip", foreign_tar(tmp_path, GOOD, **members)) == {kind: "error"}
