"""DreamLIP reads exports, and rows that end its training are problems."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trainers

from recaption.errors import UserError
from recaption.export.formats import dreamlip
from recaption.text import normalise


@pytest.mark.parametrize(("texts", "merged"), [(6, 1), (3, 2)])
def test_dreamlip_draws_from_every_row_of_an_export(
    texts: int, merged: int, without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    dest, done = exported("dreamlip", without_pixels([plain] * 12, per_shard=5))
    rows = trainers.dreamlip(dest / dreamlip.FILE, random.Random(0), texts, merged)
    assert [image for image, _ in rows] == [f"k{n:04d}.jpg" for n in range(12) if n != 9]
    assert {drawn[0] for _, drawn in rows} == {"red kite"} and all(len(drawn) == texts + 1 for _, drawn in rows)
    assert (done.samples, done.left_out) == (11, {}) and problems("dreamlip", dest) == {}
    assert problems("dreamlip", dest / dreamlip.FILE) == {}


def test_texts_are_complete_and_only_those_change_that_pandas_would_convert(
    without_pixels: Any, hostile: Any, exported: Any, problems: Any
) -> None:
    # a second sentence, so that every row has the two that DreamLIP needs
    rows = [{**texts, "long": f"{texts['long']}. One. Two."} for texts in hostile]
    dest, done = exported("dreamlip", without_pixels(rows))
    assert done.left_out == {"a text of more than 131,072 characters, the limit of Python's csv module": 1}
    frame = pd.read_csv(dest / dreamlip.FILE)  # with the defaults of pandas, as in FLAIR's preprocessing
    assert list(frame.columns) == list(dreamlip.HEADER) and not frame.isna().any().any()
    kept = [row for n, row in enumerate(rows) if n != 9 and len(row["raw"]) < dreamlip.LONGEST]
    changed = {"NA": "NA.", "None": "None.", "null": "null.", "1984": "1984 .", "12.": "12. .", "TRUE": "TRUE ."}
    assert len(frame) == len(kept) == done.samples
    for row, raw, short, long in zip(
        kept, frame["raw_caption"], frame["shortLLA_captions"], frame["longSV_captions"], strict=True
    ):
        text = normalise(row["raw"])
        assert raw == short == changed.get(text, text)
        assert long == normalise(row["long"])
    read = trainers.dreamlip(dest / dreamlip.FILE, random.Random(0))
    assert [drawn[0] for _, drawn in read] == list(frame["raw_caption"])
    assert problems("dreamlip", dest) == {}


@pytest.mark.parametrize(
    "word", sorted({*dreamlip._NULLS, "1", "-1.5", ".5", "1e5", "inf", "-Infinity", "True", "false"})
)
def test_pandas_reads_every_cell_as_text(word: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b"], *[[dreamlip.cell(word), "x"]] * 3])
    (found,) = set(pd.read_csv(io.StringIO(out.getvalue()))["a"])
    assert isinstance(found, str) and found.strip(" .") == word.strip(" .")
    untouched = pd.read_csv(io.StringIO(f"a,b\n{word},x\n"))["a"][0]
    assert not isinstance(untouched, str), "pandas reads this word as text anyway"


def test_rows_that_end_dreamlips_training_are_left_out_and_counted(
    without_pixels: Any, plain: Any, exported: Any
) -> None:
    rows = [plain, {"raw": "A. B. C."}, {"raw": "r", "short": "One sentence."}, {"short": "One. Two."}]
    dest, done = exported("dreamlip", without_pixels(rows), fill="empty")
    assert done.left_out == {"fewer than two sentences under DreamLIP's splitter": 2}
    with open(dest / dreamlip.FILE, newline="") as file:
        first, second = list(csv.reader(file))[1:]
    assert second == ["k0003.jpg", "One. Two.", "One. Two.", ".", ".", ".", ".", "."]
    assert first[4:] == ["."] * 4
    note = "samples without a raw caption: 1 of 2; raw_caption has their first caption instead, because the trainer "
    assert done.notes[-1].startswith(note)
    trainers.dreamlip(dest / dreamlip.FILE, random.Random(0))


ROW = ["a.jpg", "raw", "One. Two.", *["Three."] * 5]


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({0: "https://example.org/a.jpg"}, "image is not a relative path", "error"),
        ({0: "/data/a.jpg"}, "image is not a relative path", "error"),
        ({2: "One", **dict.fromkeys(range(3, 8), ".")}, "fewer than two sentences", "error"),
        ({1: "NA"}, "read as null", "warning"),
        ({1: ""}, "read as null", "warning"),
        ({7: None}, "wrong number of cells", "error"),
        ({1: "x" * 131_073}, "broken CSV", "error"),
        ({1: "a \0 b"}, "NUL character", "error"),
    ],
)
def test_rows_that_end_dreamlips_training_are_problems(
    change: dict[int, str | None], kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    def write(*rows: list[str]) -> Path:
        path = tmp_path / "captions.csv"
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([dreamlip.HEADER, *rows])
        return path

    changed = [cell for n, old in enumerate(ROW) if (cell := change.get(n, old)) is not None]
    assert problems("dreamlip", write(ROW, changed, ROW)) == {kind: severity}
    assert problems("dreamlip", write(ROW, ROW)) == {}


def test_header_path_and_encoding_of_the_csv_are_checked(tmp_path: Path, problems: Any, monkeypatch: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n")
    assert problems("dreamlip", path) == {"unexpected header": "error"}
    path.write_bytes(",".join(dreamlip.HEADER).encode() + b'\n"\xff",\n')
    assert problems("dreamlip", path) == {"broken CSV": "error"}
    path.write_text(",".join(dreamlip.HEADER) + '\na.jpg,"not closed\n')
    assert problems("dreamlip", path) == {"broken CSV": "error"}
    monkeypatch.setattr(dreamlip.files, "absolute", lambda path: "/a/b.csv")
    path.write_text(",".join(dreamlip.HEADER) + "\n")
    assert problems("dreamlip", path) == {"short path": "error"}
    for nothing in (tmp_path / "nowhere", tmp_path / "one"):
        with pytest.raises(UserError, match="cannot check"):
            problems("dreamlip", nothing)


def test_a_folder_that_is_not_deep_enough_is_refused_before_it_is_written(
    build: Any, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recaption.export import load
    from recaption.export.base import Options

    dataset = build([plain])
    with pytest.raises(UserError, match=r"not deep enough.*fifth part of /short/3long"):
        load("dreamlip").export(dataset, "/short", Options())
    assert not Path("/short").exists() and dreamlip._is_short("/a/b/c.csv") and not dreamlip._is_short("/a/b/c/d.csv")
