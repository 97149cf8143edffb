"""Hugging Face `datasets`: by the card of a build, and by the builders on its files; streaming and not."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pixels import pixels_of
from samples import jpeg

from recaption import config
from recaption.source import open_source

FLAT = ("images", "captions", "sub_captions", "tags", "rejects")
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield
        datasets.enable_progress_bars()


@pytest.fixture
def load(tmp_path: Path) -> Any:
    from datasets import load_dataset

    def load(*args: Any, **options: Any) -> Any:
        return load_dataset(*args, cache_dir=str(tmp_path / "cache"), **options)

    return load


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    return list(dataset)


def check_splits(found: Any, expected: list[Any], image: str) -> list[tuple[Any, dict[str, Any]]]:
    """Every image of every split, in order, decoded. Returns pairs of what was expected and found."""
    pairs = []
    for hub, split in (("train", "train"), ("validation", "val")):
        rows, wanted = rows_of(found[hub]), [e for e in expected if e.split == split]
        for row, want in zip(rows, wanted, strict=True):
            assert pixels_of(row[image]) == want.pixels or not want.jpeg
            pairs.append((want, row))
    return pairs


@STREAMING
def test_tars_by_the_card(out: Path, expected: list[Any], load: Any, streaming: bool) -> None:
    found = load(str(out / "dataset"), streaming=streaming)
    for want, row in check_splits(found, expected, "jpg"):
        assert (row["__key__"], row["txt"]) == (want.key, want.primary)
        assert {c["generation"]: c["text"] for c in row["json"]["captions"]} == want.texts
        assert row["json"]["caption_short"] == want.texts.get("short")
        assert all(len(s["tags"]) >= len(s["tag_lemmas"]) for c in row["json"]["captions"] for s in c["sub_captions"])


@STREAMING
def test_tars_by_the_builder(out: Path, expected: list[Any], load: Any, streaming: bool) -> None:
    """Without a card, `datasets` guesses types from five samples, and what is null or empty in them is wrong later on;
    so it is given the card's features."""
    from datasets import load_dataset_builder

    files = {"train": str(out / "dataset/data/*.tar"), "validation": str(out / "dataset/data/val/*.tar")}
    features = load_dataset_builder(str(out / "dataset")).info.features
    found = load("webdataset", data_files=files, features=features, streaming=streaming)
    for want, row in check_splits(found, expected, "jpg"):
        assert (row["__key__"], row["txt"], row["json"]["key"]) == (want.key, want.primary, want.key)


@STREAMING
@pytest.mark.parametrize("by", ["card", "builder"])
def test_parquet_with_images(out: Path, expected: list[Any], load: Any, streaming: bool, by: str) -> None:
    build = out / "builds/parquet"
    files = {"train": str(build / "data/*.parquet"), "validation": str(build / "data/val/*.parquet")}
    args = {"path": str(build)} if by == "card" else {"path": "parquet", "data_files": files}
    found = load(**args, streaming=streaming)
    for want, row in check_splits(found, expected, "image"):
        assert row["key"] == want.key
        assert {c["generation"]: c["text"] for c in row["captions"]} == want.texts


@STREAMING
@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_flat_tables_by_the_card(out: Path, expected: list[Any], load: Any, streaming: bool, format: str) -> None:
    import pyarrow.parquet as pq

    build = out / "builds" / format
    for name in FLAT:
        rows = rows_of(load(str(build), name, split="full", streaming=streaming))
        assert rows == pq.read_table(build / name).to_pylist()
    wanted = sorted((e.key, n, t) for e in expected for n, t in e.texts.items())
    captions = load(str(build), "captions", split="full", streaming=streaming)
    assert sorted((row["key"], row["generation"], row["text"]) for row in captions) == wanted


@STREAMING
def test_flat_tables_beside_tars(out: Path, load: Any, streaming: bool) -> None:
    """As the card says: a card has one kind of files, so they are opened by their paths."""
    import pyarrow.parquet as pq

    for name in FLAT:
        folder = out / "dataset" / name
        rows = rows_of(load("parquet", data_files=f"{folder}/*.parquet", split="train", streaming=streaming))
        assert rows == pq.read_table(folder.resolve()).to_pylist()


def test_row_i_of_a_sidecar(out: Path, load: Any, golden: Any) -> None:
    rows = rows_of(load(str(out / "builds/sidecar"), split="full"))
    images = [image for pairs, _ in golden.sources().values() for image, _ in pairs]
    assert [(r["key"], r["sha256"]) for r in rows] == [(i.key, i.sha256) for i in images]


def test_the_card_s_features_are_those_of_parquet(out: Path, load: Any) -> None:
    """Tars and Parquet hold the same record: its types must not depend on the format, nor on who reads it."""
    from datasets import load_dataset_builder

    tars = load_dataset_builder(str(out / "dataset")).info.features
    parquet = load(str(out / "builds/parquet"), split="train").features
    assert {name: tars["json"][name] for name in parquet if name in tars["json"] and name != "image"} == {
        name: feature for name, feature in parquet.items() if name in tars["json"] and name != "image"
    }
    assert {"captions", "key", "split"} <= set(parquet) & set(tars["json"])


def test_the_image_column_keeps_its_bytes(out: Path, expected: list[Any], load: Any) -> None:
    from datasets import Image

    found = load(str(out / "builds/parquet")).cast_column("image", Image(decode=False))
    stored = {row["key"]: row["image"]["bytes"] for split in found.values() for row in split}
    assert all(stored[e.key] == e.source for e in expected if e.jpeg)
    assert all(io.BytesIO(data).read(2) == b"\xff\xd8" for data in stored.values())


def test_an_imagefolder_is_read_as_datasets_reads_it(load: Any, tmp_path: Path) -> None:
    """Which file has which caption: tables in splits and in folders below, names relative to them."""
    from datasets import Image as Picture

    folder, number = tmp_path / "photos", 0
    rows = {
        "train": [
            {"file_name": "1.jpg", "text": "one"},
            {"file_name": "deep/2.jpg", "text": "two"},
            {"file_name": "deep\\3.jpg", "text": "three"},
        ],
        "test": [{"file_name": "./1.jpg", "text": "four"}],
        "validation/more": [{"file_name": "1.jpg", "text": "five"}],
    }
    for place, table in rows.items():
        for row in table:
            path = folder / place / row["file_name"].replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number := number + 1))
        (folder / place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    theirs = {}
    for split in load("imagefolder", data_dir=str(folder)).values():
        for row in split.cast_column("image", Picture(decode=False)):
            data = row["image"]["bytes"] or Path(row["image"]["path"]).read_bytes()
            theirs[hashlib.sha256(data).hexdigest()] = row["text"]
    source = open_source(config.Source(path=str(folder)))
    ours = {image.sha256: image.raw_caption for shard in source.shards() for image in source.index(shard)}
    assert len(ours) == 5 and ours == theirs
