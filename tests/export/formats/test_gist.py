"""GIST reads exports, and rows that end its training are problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import gist
from recaption.tasks.match import NO_TEXTS
from recaption.types import Reject


def test_gist_trains_with_the_texts_that_fit_best(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    rows = [plain] * 10  # the last one is of split val, those with an odd number have three texts
    dest, done = exported("gist", build(rows, tables=tables("matches")), images="jpg", split="all")
    read = trainers.gist(dest, f"{dest}/images/")
    assert [text for _, text in read[:4]] == [f"red kite: text {n}" for n in range(4)]
    assert all(Path(image).is_file() for image, _ in read) and len(read) == 5 * 4
    assert len(json.loads((dest / gist.TEXTS).read_text())["k0000.jpg"]) == 5
    assert done.left_out == {"fewer than 4 texts of at most 45 words": 5} and problems("gist", dest, images=None) == {}
    assert f"--image_folder {dest}/images/" in done.usage[0].arguments


def test_classes_without_texts_are_named(build: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    def reject(row: int, name: str) -> Reject:
        detail = f"task match finds no units: ValueError: texts {NO_TEXTS}{name!r}"
        return Reject(
            key=f"k000{row}", source_key="x", shard="00000", row=row, sha256="0" * 64, stage="generate",
            generation="my_matches", reason="error", detail=detail,
        )  # fmt: skip

    rejects = [reject(0, "red kite"), reject(1, "sea eagle"), reject(2, "red kite")]
    dataset = build([plain] * 4, tables=tables("matches"), rejects=rejects)
    with pytest.raises(UserError, match=r"rejected or have no texts: 2 \(red kite, sea eagle\)\. Add their texts"):
        exported("gist", dataset)
    assert not (tmp_path / "one").exists()


def test_a_build_without_matches_is_refused(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no matches.*task: match, texts: .*class_texts"):
        exported("gist", without_pixels([plain]))
    with pytest.raises(UserError, match="only name allowed in --map is matches"):
        exported("gist", without_pixels([plain], tables=tables("matches")), map={"caption": "long"})


@pytest.mark.parametrize(
    ("texts", "row", "kind", "error"),
    [
        (["a"] * 3, "a.jpg,train,0,kite", "too few texts", IndexError),
        (None, "a.jpg,train,0,kite", "no texts", TypeError),
        (["a"] * 4, "b.jpg,train,0,kite", "no texts", KeyError),
        (["a"] * 4, "a.jpg,train,0,", "no species", TypeError),
        (["word " * 60] * 4, "a.jpg,train,0,kite", "long text", None),
        (["a"] * 3, "a.jpg,test,0,kite", "", None),
    ],
)
def test_rows_that_end_its_training_are_problems(
    texts: Any, row: str, kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    (tmp_path / gist.TEXTS).write_text(json.dumps({"a.jpg": texts}))
    (tmp_path / gist.TABLE).write_text(f"{','.join(gist.HEADER)}\n{row}\n")
    assert [*problems("gist", tmp_path)] == [kind] * bool(kind)
    if error is not None:
        with pytest.raises(error):
            trainers.gist(tmp_path, "")
    (tmp_path / gist.TABLE).write_text("filename\na.jpg\n")
    assert problems("gist", tmp_path) == {"missing column": "error"}
    (tmp_path / gist.TEXTS).write_text("[]")
    assert problems("gist", tmp_path) == {"not a JSON object": "error"}
    with pytest.raises(UserError, match="not a folder"):
        problems("gist", tmp_path / gist.TEXTS)
