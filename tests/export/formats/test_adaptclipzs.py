"""AdaptCLIPZS reads exports: no word of a text is lost where it puts the name of the class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import adaptclipzs


def test_no_word_of_a_text_is_lost(without_pixels: Any, exported: Any, problems: Any) -> None:
    dataset = without_pixels([{"raw": "red kite"}], kinds={}, tables=tables("class_texts"))
    dest, done = exported("adaptclipzs", dataset)
    assert [path.name for path in dest.iterdir()] == ["k0000.txt"]
    read = trainers.adaptclipzs(dest, "k0000", "a photo of a {}, a type of bird")
    assert read == [
        "a photo of a k0000, a type of bird with a forked tail.",
        "a photo of a k0000, a type of bird showing rusty wings",
        "a photo of a k0000, a type of bird of prey",
    ]
    letters = trainers.adaptclipzs_cub(dest, "k0000")
    assert letters[0] == "a photo of a k0000 bird with a forked tail."
    assert letters[1] == "a photo of a k0000 photo showing rusty wings"
    assert (done.samples, done.left_out) == (1, {}) and problems("adaptclipzs", dest) == {}


def test_classes_without_texts_are_named(without_pixels: Any, exported: Any, tmp_path: Path) -> None:
    dataset = without_pixels([{"raw": "a kite"}] * 30, kinds={}, tables=tables("class_texts"))
    with pytest.raises(UserError, match=r"rejected or .*: 26 \(k0001, k0002, .*k0022, and 6 more\)\. .*retry"):
        exported("adaptclipzs", dataset)  # 27 of them are of split train
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file()]


def test_classes_without_an_answer_are_named(without_pixels: Any, exported: Any) -> None:
    dataset = without_pixels([{"raw": "a kite"}], kinds={}, tables=tables("class_texts"))
    (file,) = (Path(dataset.file(file.path)) for file in dataset.shards[0].files if file.table == "images")
    images = pq.read_table(file)
    rejected = images.set_column(images.column_names.index("status"), "status", pa.array(["reject"]))
    rejected = rejected.set_column(images.column_names.index("source_key"), "source_key", pa.array(["snowy owl"]))
    pq.write_table(pa.concat_tables([images, rejected.cast(images.schema)]), file)
    with pytest.raises(UserError, match=r"classes that were rejected or have no texts: 1 \(snowy owl\)\. .*retry"):
        exported("adaptclipzs", dataset)


def test_a_build_without_class_texts_is_refused(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)has no class_texts.*task: class_texts"):
        exported("adaptclipzs", without_pixels([plain]))


@pytest.mark.parametrize(
    ("text", "kind", "severity"),
    [
        ("Rusty wings and a tail.\n", "first words are lost", "error"),
        ("A bird\n", "nothing but a subject", "error"),
        ("\n", "no texts", "error"),
        (f"A bird with {'very ' * 50}long wings\n", "long text", "warning"),
    ],
)
def test_lines_that_lose_their_words_are_problems(
    text: str, kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    (tmp_path / "kite.txt").write_text(text)
    assert problems("adaptclipzs", tmp_path) == {kind: severity}
    (tmp_path / "kite.txt").write_bytes(b"\xff")
    assert problems("adaptclipzs", tmp_path) == {"not UTF-8": "error"}


def test_lines_begin_with_a_subject_that_can_be_replaced() -> None:
    lines = [adaptclipzs.line_of(text) for text in ("An owl with\nbig eyes", "The owl has eyes", "An orange beak")]
    assert lines == ["A owl with big eyes", "A photo showing the owl has eyes", "A photo showing an orange beak"]
