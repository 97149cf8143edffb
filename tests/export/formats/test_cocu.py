"""CoCu reads exports, and samples that it skips are problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables
from samples import jpeg, write_tar

from recaption.errors import UserError


def test_cocu_reads_three_concepts_by_score(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    lines = {**plain, "long": "A red kite\nflies."}
    dest, done = exported("cocu", build([lines, plain], tables=tables("concepts", "scores")))
    (sample,) = trainers.tar_samples(dest)
    assert trainers.cocu(sample) == [
        "A red kite flies.",
        "a photo of a red kite.",
        "a photo of a sky.",
        "a photo of a dunes.",
    ]
    assert json.loads(sample["txt"].decode().split("\n")[1]) == {"red kite": 0.3, "sky": 0.2, "dunes": 0.1}
    assert (done.samples, done.left_out) == (1, {"no concept with a score": 1}) and problems("cocu", dest) == {}


def test_a_build_without_concepts_or_scores_is_refused(build: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"annotate: \{tables: \[concepts\]\}"):
        exported("cocu", build([plain], tables=tables("scores")))
    with pytest.raises(UserError, match="task: score"):
        exported("cocu", build([plain]))


@pytest.mark.parametrize(
    ("text", "kind", "skipped"),
    [
        ("A kite.\nflies\n{}\n{}", "wrong number of lines", True),
        ('A kite.\n{"kite": 1}', "wrong number of lines", True),
        ("A kite.\nkite\n{}", "broken concepts", True),
        ('A kite.\n{"kite": "x"}\n{}', "broken concepts", False),
        ('A kite.\n{"kite": 1}\nkite', "broken clusters", False),
        ("A kite.\n{}\n{}", "no concepts", False),
    ],
)
def test_samples_that_cocu_skips_are_problems(
    text: str, kind: str, skipped: bool, tmp_path: Path, problems: Any
) -> None:
    write_tar(tmp_path / "00000.tar", [{"a.jpg": jpeg(0), "a.txt": text.encode()}])
    (tmp_path / "sizes.json").write_text('{"00000.tar": 1}')
    assert list(problems("cocu", tmp_path)) == [kind]
    (sample,) = trainers.tar_samples(tmp_path)
    assert (trainers.cocu(sample) is None) == skipped
    write_tar(tmp_path / "00000.tar", [{"a.webp": jpeg(0), "a.txt": b'A kite.\n{"kite": 1}\n{}'}])
    assert problems("cocu", tmp_path) == {"incomplete sample": "error"}
