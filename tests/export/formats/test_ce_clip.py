"""CE-CLIP reads exports, and files that would mislead its training are problems."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import ce_clip


def test_ce_clip_reads_four_negatives_and_their_flags(
    build: Any, plain: Any, exported: Any, problems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ce_clip, "ROWS", 3)
    dest, done = exported("ce_clip", build([plain] * 2, tables=tables("negatives")), images="jpg")
    rows = trainers.ce_clip(dest)
    image, texts, flags = rows[0]
    assert image == f"{dest}/images/k0000.jpg" and Path(image).is_file()
    assert texts[0] == "A red kite flies over dunes." and flags == [1, 1, 1, 1]
    assert texts[1:] == [f"A kite number {n} flies over Dunes." for n in (6, 0, 1, 5)], (
        "swap, attribute, object, action"
    )
    assert rows[1][1:] == (["The sky is grey.", "###", "The sky is blue.", "###", "###"], [0, 1, 0, 0])
    assert (done.samples, done.files, len(rows)) == (2, 2, 4)
    assert problems("ce_clip", dest, images=None) == {}


def test_negatives_that_are_true_are_left_out(without_pixels: Any, plain: Any, exported: Any) -> None:
    dest, done = exported("ce_clip", without_pixels([plain], tables=tables("negatives", "verified_negatives")))
    _, texts, flags = trainers.ce_clip(dest)[0]
    assert texts[1:] == [f"A kite number {n} flies over Dunes." for n in (6, 7, 1, 5)], "number 0 is true"
    assert flags == [1, 1, 1, 1]
    assert "left out: 1 negatives with a mean p_true of at least 0.5 in the table verified_negatives" in done.notes


def test_a_path_of_coco_and_a_build_without_negatives_are_refused(
    without_pixels: Any, plain: Any, exported: Any, tmp_path: Path
) -> None:
    from recaption.export.base import Options

    dataset = without_pixels([plain], tables=tables("negatives"))
    with pytest.raises(UserError, match='contains "coco"'):
        ce_clip.export(dataset, str(tmp_path / "coco_train"), Options())
    with pytest.raises(UserError, match="only name allowed in --map is negatives: all texts"):
        exported("ce_clip", dataset, map={"caption": "long"})
    with pytest.raises(UserError, match=r"(?s)has no negatives.*task: negatives"):
        exported("ce_clip", without_pixels([plain]))


ROW = {
    "caption": "A red kite.",
    "relation_aug_caption": "###",
    "adj_aug_caption": "A blue kite.",
    "noun_aug_caption": "###",
    "verb_aug_caption": "###",
    "valid_caption": [1, 0, 1, 0, 0],
    "image_path": "/a.jpg",
}


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"verb_aug_caption": None}, "missing text", None),
        ({"valid_caption": [0, 1, 0, 0]}, "wrong flags", ValueError),
        ({"valid_caption": [1, 1, 1, 0, 0]}, "placeholder is valid", None),
        ({"adj_aug_caption": "A <mask> kite."}, "placeholder is valid", None),
        ({"adj_aug_caption": "A red kite."}, "negative is the caption", None),
    ],
)
def test_rows_that_mislead_ce_clip_are_problems(
    change: dict[str, Any], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    np.save(tmp_path / "x.npy", np.array([ROW, {**ROW, **change}], dtype=object))
    assert problems("ce_clip", tmp_path) == {kind: "error"}
    if error is not None:
        with pytest.raises(error):
            trainers.ce_clip(tmp_path)


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_files_are_read_without_running_code(tmp_path: Path, problems: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array([ROW, Harmful()], dtype=object))
    assert problems("ce_clip", tmp_path) == {"broken file": "error"} and not Path("ran").exists()
    np.save("x.npy", np.zeros(3))
    assert problems("ce_clip", tmp_path) == {"broken file": "error"}
    Path("x.npy").write_bytes(pickle.dumps([ROW]))
    assert problems("ce_clip", tmp_path) == {"broken file": "error"}
    (tmp_path / "coco").mkdir()
    np.save("coco/x.npy", np.array([ROW], dtype=object))
    assert problems("ce_clip", tmp_path / "coco") == {"path of COCO": "error"}
