"""DreamLIP, LLaVA and the Parquet columns: read by readers as strict as the trainers', and every fault is found."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trainers

from recaption.errors import UserError
from recaption.export import columns, dreamlip, llava
from recaption.text import normalise

# DreamLIP


@pytest.mark.parametrize(("texts", "merged"), [(6, 1), (3, 2)])
def test_dreamlip_draws_from_every_row(
    texts: int, merged: int, without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    dest, done = exported("dreamlip", without_pixels([plain] * 12, per_shard=5))
    rows = trainers.dreamlip(dest / dreamlip.FILE, random.Random(0), texts, merged)
    assert [image for image, _ in rows] == [f"k{n:04d}.jpg" for n in range(12) if n != 9]
    assert {drawn[0] for _, drawn in rows} == {"red kite"} and all(len(drawn) == texts + 1 for _, drawn in rows)
    assert (done.samples, done.left_out) == (11, {}) and problems("dreamlip", dest) == {}
    assert problems("dreamlip", dest / dreamlip.FILE) == {}


def test_dreamlips_texts_are_whole_or_changed_as_declared(
    without_pixels: Any, hostile: Any, exported: Any, problems: Any
) -> None:
    # a second sentence, so that every row has the two that DreamLIP needs
    rows = [{**texts, "long": f"{texts['long']}. One. Two."} for texts in hostile]
    dest, done = exported("dreamlip", without_pixels(rows))
    assert done.left_out == {"a text of more than 131,072 characters, which Python's csv does not read": 1}
    frame = pd.read_csv(dest / dreamlip.FILE)  # with pandas' defaults, as FLAIR's preprocessing has it
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
def test_no_column_of_cells_is_anything_but_text_to_pandas(word: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b"], *[[dreamlip.cell(word), "x"]] * 3])
    (found,) = set(pd.read_csv(io.StringIO(out.getvalue()))["a"])
    assert isinstance(found, str) and found.strip(" .") == word.strip(" .")
    untouched = pd.read_csv(io.StringIO(f"a,b\n{word},x\n"))["a"][0]
    assert not isinstance(untouched, str), "the word would not have needed a change"


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
    trainers.dreamlip(dest / dreamlip.FILE, random.Random(0))


ROW = ["a.jpg", "raw", "One. Two.", *["Three."] * 5]


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({0: "https://example.org/a.jpg"}, "image is no relative path", "error"),
        ({0: "/data/a.jpg"}, "image is no relative path", "error"),
        ({2: "One", **dict.fromkeys(range(3, 8), ".")}, "fewer than two sentences", "error"),
        ({1: "NA"}, "read as null", "warning"),
        ({1: ""}, "read as null", "warning"),
        ({7: None}, "wrong number of cells", "error"),
        ({1: "x" * 131_073}, "broken csv", "error"),
        ({1: "a \0 b"}, "NUL character", "error"),
    ],
)
def test_what_kills_dreamlip_is_found(
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


def test_the_csvs_header_place_and_encoding_are_checked(tmp_path: Path, problems: Any, monkeypatch: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n")
    assert problems("dreamlip", path) == {"unexpected header": "error"}
    path.write_bytes(",".join(dreamlip.HEADER).encode() + b'\n"\xff",\n')
    assert problems("dreamlip", path) == {"broken csv": "error"}
    path.write_text(",".join(dreamlip.HEADER) + '\na.jpg,"never closed\n')
    assert problems("dreamlip", path) == {"broken csv": "error"}
    monkeypatch.setattr(dreamlip.files, "absolute", lambda path: "/a/b.csv")
    path.write_text(",".join(dreamlip.HEADER) + "\n")
    assert problems("dreamlip", path) == {"short path": "error"}
    for nothing in (tmp_path / "nowhere", tmp_path / "one"):
        with pytest.raises(UserError, match="cannot check"):
            problems("dreamlip", nothing)


# LLaVA


def test_llava_reads_a_question_and_the_caption(
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
        ({**SAMPLE, "image": "/a.jpg"}, "image is no relative path"),
        ({**SAMPLE, "image": "http://a/b.jpg"}, "image is no relative path"),
        ({**SAMPLE, "conversations": [HUMAN, {**GPT, "value": "An <image>."}]}, "wrong image marks"),
        ({**SAMPLE, "conversations": [{**HUMAN, "value": "What?"}, GPT]}, "wrong image marks"),
        ({"id": "b", "conversations": [HUMAN, GPT]}, "mark without image"),
    ],
)
def test_what_llava_cannot_read_is_found(row: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([SAMPLE, row]).replace('"id": "a"', '"id": "c"', 1))
    assert problems("llava", path) == {kind: "error"}
    path.write_text(json.dumps([SAMPLE, {**SAMPLE, "id": "b"}]))
    assert problems("llava", path) == {}
    path.write_text(json.dumps([SAMPLE, SAMPLE]))
    assert problems("llava", path) == {"id twice": "warning"}
    for broken in ("[{", '{"a": 1}'):
        path.write_text(broken)
        assert problems("llava", path) == {"no JSON list": "error"}
    with pytest.raises(UserError, match="cannot check"):
        problems("llava", tmp_path / "nowhere")


# Parquet


def test_recaps_columns(without_pixels: Any, plain: Any, exported: Any, problems: Any) -> None:
    rows = [plain, {"long": "Only long."}, {"raw": "only raw"}]
    dest, done = exported("recap", without_pixels([*rows, *[plain] * 3], per_shard=4))
    assert [p.name for p in sorted((dest / "data").iterdir())] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    table = pq.read_table(dest / "data")
    assert table.column_names == [
        *("url", "re_caption", "org_caption", "sha256", "key"),
        *("re_length", "org_length"),
    ]
    first, second, third = table.to_pylist()[:3]
    assert (first["re_caption"], first["org_caption"], first["re_length"]) == (plain["long"], "red kite", 15)
    assert (second["re_caption"], second["org_caption"], third["key"]) == ("Only long.", "", "k0003")
    assert len(first["sha256"]) == 64 and first["url"] == "https://example.org/0.jpg"
    assert (done.samples, done.left_out) == (5, {"no text of long": 1})
    assert problems("recap", dest) == problems("recap", dest / "data") == {}
    assert problems("recap", dest / "data" / "train-00000-of-00002.parquet") == {}


def test_pixelproses_columns(without_pixels: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("pixelprose", without_pixels([plain] * 2, kinds={"short": "short", "long": "region"}))
    (row, _) = pq.read_table(dest / "data").to_pylist()
    # no generation is long: the first one takes the place
    assert (row["vlm_caption"], row["original_caption"]) == (plain["short"], plain["raw"])
    assert (row["vlm_model"], row["status"], row["width"], row["height"]) == ("org/name", "success", 48, 40)
    assert row["uid"] == row["sha256"][:32]
    assert problems("pixelprose", dest) == {}


def test_what_must_be_mapped_is_said(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"add --map re_caption=ID, where ID is one of raw, short, long"):
        exported("recap", without_pixels([plain]), map={"org_caption": "short"})
    with pytest.raises(UserError, match="nothing is mapped to caption"):
        exported("llava", without_pixels([{"raw": "raw"}], kinds={}))


def test_datasets_loads_what_is_written(without_pixels: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    import datasets

    rows = [plain] * 12
    dest, _ = exported("recap", without_pixels(rows), split="val")
    loaded = datasets.load_dataset(str(dest), cache_dir=str(tmp_path / "cache"))
    assert {split: len(some) for split, some in loaded.items()} == {"validation": 1}


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ({"re_caption": ["a", None]}, "empty text"),
        ({"re_caption": ["a", " "]}, "empty text"),
        ({"key": ["same", "same"]}, "key twice"),
        ({"re_caption": [1, 2]}, "column re_caption"),
        ({"url": None}, "column url"),
    ],
)
def test_what_readers_of_recap_stumble_over_is_found(table: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    good = {name: ["a", "b"] for name in ("url", "re_caption", "org_caption", "sha256", "key")}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(good), path)
    assert problems("recap", path) == {}
    pq.write_table(pa.table({n: v for n, v in {**good, **table}.items() if v is not None}), path)
    assert problems("recap", path) == {kind: "error"}
    path.write_bytes(b"PAR1 not")
    assert problems("recap", path) == {"broken file": "error"}
    for nothing in (tmp_path / "nowhere", tmp_path / "one"):
        with pytest.raises(UserError, match="cannot check"):
            problems("recap", nothing)


def test_rows_are_written_group_by_group(
    without_pixels: Any, plain: Any, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_ROWS", 3)
    dest, done = exported("recap", without_pixels([plain] * 8))
    file = pq.ParquetFile(dest / "data" / "train-00000-of-00001.parquet")
    assert file.metadata.num_rows == done.samples == 8
    assert [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)] == [3, 3, 2]
