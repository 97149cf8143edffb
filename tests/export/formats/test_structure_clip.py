"""Structure-CLIP reads exports, and rows that end its training are problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import structure_clip


def test_structure_clip_reads_six_elements_and_a_false_text(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    made = tables("negatives", "triples", "attribute_pairs")
    dest, done = exported("structure_clip", without_pixels([plain], tables=made))
    ((image, text, elements, false),) = trainers.structure_clip(dest / structure_clip.FILE)
    assert (image, text) == ("k0000.jpg", "A red kite flies over dunes.")
    assert elements == [*(("kite", f"over {n}", "dune") for n in range(5)), ("red", "is", "kite")]
    assert false == "A kite number 6 flies over Dunes.", "a swap, if there is one"
    assert done.samples == 1 and problems("structure_clip", dest) == {}


def test_a_build_without_its_tables_is_refused(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"annotate: \{tables: \[triples, attribute_pairs\]\}"):
        exported("structure_clip", without_pixels([plain], tables=tables("negatives")))
    with pytest.raises(UserError, match="task: negatives"):
        exported("structure_clip", without_pixels([plain]))


ROW = {"image_path": "a.jpg", "true_caption": "A red kite.", "false_caption": "A blue kite.",
       "true_triples": [["kite", "in", "sky"]], "false_triples": []}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"true_caption": None}, "missing text", None),
        ({"true_triples": None}, "no true_triples", TypeError),
        ({"true_triples": [["kite", "in"]]}, "broken true_triples", IndexError),
        ({"true_triples": [["kite", "in", 1]]}, "broken true_triples", AssertionError),
        ({"false_triples": [["kite"]]}, "broken false_triples", IndexError),
        ({"false_caption": "A red kite."}, "negative is the text", None),
    ],
)
def test_rows_that_end_its_training_are_problems(
    change: dict[str, Any], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    path = tmp_path / structure_clip.FILE
    path.write_text(json.dumps([ROW, {**ROW, **change}]))
    assert problems("structure_clip", path) == {kind: "error"}
    if error is not None:
        with pytest.raises(error):
            trainers.structure_clip(path)
    path.write_text("[]")
    assert problems("structure_clip", path) == {"no rows": "error"}


def test_the_name_of_the_file_decides_what_the_training_reads(tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([ROW]))
    assert problems("structure_clip", path) == {"name of the file": "error"}
    with pytest.raises(AssertionError, match="Visual Genome"):
        trainers.structure_clip(path)
