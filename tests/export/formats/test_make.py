"""MAKE reads exports, and rows that mislead its training are problems."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import make

MAP = {make.VISUAL: "look", make.ONTOLOGY: "diagnosis"}


def test_make_reads_captions_and_masks_in_the_order_of_its_loader(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    many = {**plain, "long": " ".join(f"Sentence {n}." for n in range(10))}
    numbers = {**plain, "long": "1984. NA. The kite."}
    dataset = without_pixels([plain, many, numbers, {"short": "s"}], tables=tables("aspects"))
    dest, done = exported("make", dataset, map=MAP)
    one, two, three = trainers.make(dest / make.FILE)
    assert one["texts"][:3] == [plain["long"], "kite, bird", "It is red."]
    assert one["texts"][3:] == ["A red kite flies over dunes", "The sky is grey", "Waves break at the shore", *[""] * 5]
    assert one["mask"] == [1, 1, 1, *[1] * 3, *[0] * 5] and one["image"] == "k0000.jpg"
    assert two["mask"] == [1, 1, 0, *[1] * 8], "the second image has an ontology caption alone"
    assert two["texts"][2] == "nan" and two["texts"][3] == "Sentence 0"
    assert three["texts"][3:6] == ["1984 .", "NA.", "The kite"], "pandas reads them as texts"
    assert (done.samples, done.left_out) == (3, {"no text of long": 1}) and problems("make", dest) == {}


def test_unknown_aspects_are_refused_with_the_known_ones(
    without_pixels: Any, plain: Any, exported: Any, tmp_path: Path
) -> None:
    dataset = without_pixels([plain], tables=tables("aspects"))
    with pytest.raises(UserError, match=r"no aspect 'visual'; add --map visual_concept_caption=.* diagnosis, look"):
        exported("make", dataset)
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    with pytest.raises(UserError, match="unknown name 'caption'"):
        exported("make", dataset, map={"caption": "long"})
    with pytest.raises(UserError, match="task: aspects"):
        exported("make", without_pixels([plain]))


ROW = {
    **dict.fromkeys(make.HEADER, ""),
    **{"filename": "a.jpg", "caption": "A kite.", "truncated_caption": "A kite.", make.ONTOLOGY: "kite"},
    **{"sub_captions": "1", "subcaption_1": "A kite", "sub_caption_mask": "[1, 0, 0, 0, 0, 0, 0, 0]"},
    "knowledge_masks": "[1, 1, 0]",
}


def write(path: Path, *rows: dict[str, str]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"knowledge_masks": "[1, 0, 1]"}, "empty text is valid", None),  # the order of the document
        ({"knowledge_masks": "[1, 1]"}, "wrong mask", ValueError),
        ({"knowledge_masks": "print(1)"}, "wrong mask", None),
        ({"sub_caption_mask": "[1, 0]"}, "wrong mask", ValueError),
        ({"sub_caption_mask": "[0, 0, 0, 0, 0, 0, 0, 0]"}, "no valid sub-caption", ZeroDivisionError),
        ({"subcaption_1": ""}, "empty text is valid", None),
        ({"truncated_caption": ""}, "empty cell", None),
    ],
)
def test_rows_that_mislead_make_are_problems(
    change: dict[str, str], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    path = tmp_path / "x.csv"
    write(path, ROW, {**ROW, **change})
    assert problems("make", path) == {kind: "error"}
    if error is not None:
        with pytest.raises(error):
            trainers.make(path)


def test_columns_are_read_by_name(tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.csv"
    write(path, {name: ROW[name] for name in reversed(make.HEADER)} | {"source": "book"})
    assert problems("make", path) == {} and len(trainers.make(path)) == 1
    write(path, {name: text for name, text in ROW.items() if name != "subcaption_8"})
    assert problems("make", path) == {"missing column": "error"}
    with pytest.raises(KeyError):
        trainers.make(path)
    path.write_text(f'{",".join(make.HEADER)}\n"a')
    assert problems("make", path) == {"broken CSV": "error"}
