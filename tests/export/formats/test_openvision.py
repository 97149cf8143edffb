"""OpenVision reads exports, as examples of TensorFlow Datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trainers

from recaption.errors import UserError
from recaption.export.formats import openvision


def test_openvision_draws_a_sentence_and_predicts_them_all(
    build: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [{**plain, "long": plain["long"] + "  \n"}, {"long": "A boat!"}, {"raw": "no long one"}]
    dest, done = exported("openvision", build(rows, per_shard=2))
    read = trainers.openvision(dest)
    pieces = ["A red kite flies over dunes", " The sky is grey", " Waves break at the shore"]
    assert read == [((48, 40), "red kite", pieces, plain["long"]), ((48, 40), "A boat!", ["A boat"], "A boat!")]
    assert (done.samples, done.files, done.left_out) == (2, 4, {"no text of long": 1})
    assert problems("openvision", dest) == {}
    assert any(f"data_dir to {dest}" in note for note in done.notes)
    said = "samples without a raw caption: 1 of 2; txt has their caption of long instead, because the trainer reads"
    assert done.notes[-1].startswith(said)


def test_many_examples_take_several_row_groups(
    build: Any, plain: Any, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvision, "ROWS", 2)
    dest, _ = exported("openvision", build([plain] * 5))
    assert len(trainers.openvision(dest)) == 5
    assert pq.read_metadata(dest / "recaption-train.parquet-00000-of-00001").num_row_groups == 3


def test_an_export_without_samples_is_refused(build: Any, exported: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sample can be exported: 1 sample: no text of long"):
        exported("openvision", build([{"raw": "a kite"}]))
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file()]


VALUES = {"jpg": b"x" * 300, "txt": b"A kite", "llava_caption": b"A kite. It flies."}


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({}, "", ""),
        ({"llava_caption": b"A kite. "}, "empty piece", "warning"),
        ({"llava_caption": b" "}, "missing feature", "error"),
        ({"jpg": b""}, "missing feature", "error"),
    ],
)
def test_examples_that_train_on_nothing_are_problems(
    change: Any, kind: str, severity: str, build: Any, plain: Any, exported: Any, problems: Any
) -> None:
    dest, _ = exported("openvision", build([plain]))
    data = openvision.example(VALUES | change)
    assert openvision.features_in(data) == VALUES | change
    file = dest / "recaption-train.parquet-00000-of-00001"
    pq.write_table(pa.table({"data": [data]}), file)
    assert problems("openvision", dest) == ({kind: severity} if kind else {})


def test_files_that_disagree_are_problems(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("openvision", build([plain]))
    info = dest / openvision.INFO
    text = info.read_text()
    info.write_text(text.replace('"1"', '"2"'))
    assert problems("openvision", dest) == {"wrong length": "error"}
    info.write_text(json.dumps({**json.loads(text), "fileFormat": "tfrecord"}))
    assert problems("openvision", dest) == {"no splits": "error"}
    info.write_text(text)
    (dest / openvision.FEATURES).write_text("{")
    file = dest / "recaption-train.parquet-00000-of-00001"
    pq.write_table(pa.table({"data": [openvision.example(VALUES)[:-9]]}), file)
    assert problems("openvision", dest) == {"no feature": "error", "broken example": "error"}
    file.write_bytes(b"x")
    assert problems("openvision", dest) == {"no feature": "error", "broken file": "error"}
    info.unlink()
    found = list(openvision.validate(str(dest)))
    assert {one.what for one in found} == {"it is missing, or not a JSON object"} and len(found) == 2
    with pytest.raises(UserError, match="not a folder"):
        problems("openvision", info)
