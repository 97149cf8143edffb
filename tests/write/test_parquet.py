from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from writing import write_shard

from recaption import schema
from recaption.io.store import LocalStore
from recaption.write import parquet as module


def write(store: LocalStore, one: Any, format: Any = "parquet") -> Any:
    made = one.assembled()
    return write_shard(
        store,
        "b",
        one.name,
        one.records(),
        one.images,
        format=format,
        tokenizers=["clip"],
        primary=["long"],
        rejects=made.rejects,
        asked=made.asked,
    )


def test_rows_are_usable_samples_with_their_bytes(store: LocalStore, shard: Any) -> None:
    one = shard(6, formats=("JPEG", "PNG"))
    write(store, one)
    table = pq.read_table(store.root / "b/data/00000.parquet")
    schema.check_version(table.schema, "x")
    assert table.schema.equals(schema.records(["clip"], image=True))
    rows = table.to_pylist()
    assert [r["key"] for r in rows] == ["k000", "k002", "k003", "k004", "k005"]
    source = {image.key: data for image, data in one.pairs}
    for row in rows:
        data = row["image"]["bytes"]
        assert row["image"]["path"] == f"{row['key']}.jpg" and row["image_format"] == "jpeg"
        assert hashlib.sha256(data).hexdigest() == row["image_sha256"] and (row["width"], row["height"]) == (24, 16)
        assert (data == source[row["key"]]) == (row["source_format"] == "jpeg")
    assert {r["source_format"] for r in rows} == {"jpeg", "png"}


def test_row_groups_are_bounded_and_image_bytes_uncompressed(
    store: LocalStore, shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 3000)
    one = shard(20)
    write(store, one)
    file = pq.ParquetFile(store.root / "b/data/00000.parquet")
    sizes = [file.read_row_group(i, columns=["image"]).nbytes for i in range(file.num_row_groups)]
    assert file.num_row_groups > 2 and max(sizes) < 3000 + 1000
    columns = {}
    for i in range(file.metadata.num_columns):
        column = file.metadata.row_group(0).column(i)
        columns[column.path_in_schema] = column
    pixels, text = columns["image.bytes"], columns["captions.list.element.text"]
    assert pixels.compression == "UNCOMPRESSED" and text.compression == "ZSTD"
    assert not any("DICTIONARY" in e for e in (*pixels.encodings, *text.encodings))
    assert "RLE_DICTIONARY" in columns["captions.list.element.generation"].encodings
    assert columns["key"].has_offset_index and not pixels.is_stats_set
    assert pq.read_table(store.root / "b/data/00000.parquet")["key"].to_pylist() == [
        i.key for i, _ in one.pairs if i.row != 1
    ]


def test_an_image_larger_than_a_row_group_has_its_own(
    store: LocalStore, shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 1)
    write(store, shard(4))
    assert pq.ParquetFile(store.root / "b/data/00000.parquet").num_row_groups == 3


def test_a_sidecar_has_one_row_per_sample_in_order_and_reads_no_images(store: LocalStore, shard: Any) -> None:
    one = shard(6, holdout=0.5)
    one.images = lambda: pytest.fail("pixels were read")
    entry = write(store, one, "sidecar")
    table = pq.read_table(store.root / "b/data/00000.parquet")
    assert table.schema.equals(schema.records(["clip"]))
    assert table["row"].to_pylist() == list(range(6)) and table["sha256"].to_pylist() == [
        i.sha256 for i, _ in one.pairs
    ]
    rejected = table.slice(1, 1).to_pylist()[0]
    assert (rejected["status"], rejected["reason"], rejected["captions"]) == ("reject", "repetition", [])
    assert table["split"].to_pylist() == [r.split for r in one.records()] and entry.counts["images"] == 6
    assert not (store.root / "b/data/val").exists()


@pytest.mark.parametrize("format", ["parquet", "sidecar"])
def test_hugging_face_datasets_reads_a_shard_with_its_features(
    store: LocalStore, shard: Any, tmp_path: Path, format: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        write(store, shard(6), format)
        files = {"train": [str(store.root / "b/data/00000.parquet")]}
        loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "hf"))["train"]
        first = loaded[0]
    assert first["key"] == "k000"
    sub = first["captions"][1]["sub_captions"][1]
    assert sub["text"] == "It barks twice" and sub["tags"][0]["attributes"] == ["x"] and sub["n_tokens_clip"] == 5
    if format == "parquet":
        assert isinstance(loaded.features["image"], datasets.Image) and first["image"].size == (24, 16)


def test_equal_records_give_equal_bytes(store: LocalStore, shard: Any, tmp_path: Path) -> None:
    first, second = write(store, shard(6)), write(LocalStore(tmp_path / "again"), shard(6))
    assert first == second


def test_nested_and_flat_tables_agree(store: LocalStore, shard: Any) -> None:
    write(store, shard(6), "sidecar")
    nested = pq.read_table(store.root / "b/data/00000.parquet").to_pylist()
    flat = {t: pq.read_table(store.root / f"b/{t}/00000.parquet") for t in ("captions", "sub_captions", "tags")}
    captions = [(r, c) for r in nested for c in r["captions"]]
    subs = [(r, c, s) for r, c in captions for s in c["sub_captions"]]
    assert [c["caption_id"] for _, c in captions] == flat["captions"]["caption_id"].to_pylist()
    for (record, caption, sub), row in zip(subs, flat["sub_captions"].to_pylist(), strict=True):
        above = {"key": record["key"], "shard": record["shard"], "caption_id": caption["caption_id"]}
        above |= {name: caption[name] for name in ("generation", "source", "granularity")}
        assert row == {**{k: v for k, v in sub.items() if k != "tags"}, **above}
    tags = [{"sub_id": s["sub_id"], "key": r["key"], **t} for r, _, s in subs for t in s["tags"]]
    assert flat["tags"].to_pylist() == tags and len(tags) > 5


def test_flat_tables_are_sorted_by_key_and_marked_as_sorted(store: LocalStore, shard: Any, make: Any) -> None:
    one = shard(8)
    keys = ["m", "z9", "a", "K", "_", "b-1", "b0", "0"]
    one.pairs = [(make.image(i.row, d, key=keys[i.row]), d) for i, d in one.pairs]
    one.answers = {g: {keys[answer.row]: answer for answer in found.values()} for g, found in one.answers.items()}
    write(store, one, "sidecar")
    for name in ("captions", "sub_captions", "tags"):
        file = pq.ParquetFile(store.root / f"b/{name}/00000.parquet")
        found = file.read()["key"].to_pylist()
        assert found == sorted(found) and file.metadata.row_group(0).sorting_columns
    idx = pq.read_table(store.root / "b/sub_captions/00000.parquet").group_by("caption_id").aggregate([("idx", "list")])
    assert all(values == sorted(values) for values in idx["idx_list"].to_pylist())
    images = pq.read_table(store.root / "b/images/00000.parquet")
    assert images["key"].to_pylist() == keys and images["n_captions"].to_pylist()[:3] == [3, 0, 2]


def test_empty_tables_are_written(store: LocalStore, make: Any) -> None:
    image = make.image(0, b"", reason="missing_image")
    write(store, make.Shard(pairs=[(image, b"")], answers={}, rejects=[]), "sidecar")
    for name in ("captions", "sub_captions", "tags"):
        table = pq.read_table(store.root / f"b/{name}/00000.parquet")
        assert table.num_rows == 0 and isinstance(table.schema, pa.Schema)
    assert pq.read_table(store.root / "b/rejects/00000.parquet")["reason"].to_pylist() == ["missing_image"]
