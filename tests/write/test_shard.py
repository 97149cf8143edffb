from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from writing import write_shard

from recaption.errors import ConfigError, DatasetError, ImageError, StoreError
from recaption.io.store import LocalStore, ObjectStore
from recaption.types import Image
from recaption.write import written_shard


def write(store: Any, one: Any, format: Any = "webdataset", **more: Any) -> Any:
    made = one.assembled()
    records = more.pop("records", None) or one.records()
    return write_shard(
        store, "b", one.name, records, one.images, format=format, rejects=made.rejects, asked=made.asked, **more
    )


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_changed_and_broken_images_become_rejects_not_samples(store: LocalStore, make: Any, format: str) -> None:
    good, changed, broken = make.picture(0), make.picture(1), b"\x89PNG\r\n\x1a\n not really"
    datas = [good, changed, broken, make.picture(3)]
    images = [make.image(row, data) for row, data in enumerate(datas)]
    answers = {g: {i.key: make.answer(i) for i in images} for g in ("long", "short")}
    now = [good, ImageError("changed", "other bytes by now", key=images[1].key, shard="00000"), broken, b""]
    one = make.Shard(pairs=list(zip(images, now, strict=True)), answers=answers, rejects=[])
    entry = write(store, one, format, tokenizers=["clip"])
    assert entry.counts["ok"] == 1 and entry.rejects == {"changed": 1, "missing_image": 1, "truncated": 1}
    rows = pq.read_table(store.root / "b/images/00000.parquet").to_pylist()
    assert [r["status"] for r in rows] == ["ok", "reject", "reject", "reject"]
    assert [r["width"] for r in rows] == [24, None, None, None]
    rejects = pq.read_table(store.root / "b/rejects/00000.parquet").to_pylist()
    assert [(r["row"], r["stage"], r["reason"]) for r in rejects] == [
        (1, "build", "changed"),
        (2, "build", "truncated"),
        (3, "build", "missing_image"),
    ]
    assert set(pq.read_table(store.root / "b/captions/00000.parquet")["key"].to_pylist()) == {"k000"}


def test_rows_behind_a_rejected_image_have_their_own_captions(store: LocalStore, make: Any) -> None:
    datas = [make.picture(row) for row in range(4)]
    images = [make.image(row, data) for row, data in enumerate(datas)]
    answers = {g: {i.key: make.answer(i) for i in images} for g in ("long", "short")}
    gone = ImageError("changed", "other bytes by now", key=images[1].key, shard="00000")
    one = make.Shard(pairs=list(zip(images, [datas[0], gone, *datas[2:]], strict=True)), answers=answers, rejects=[])
    splits = ["train", "train", "val", "train"]
    records = [replace(r, split=split) for r, split in zip(one.records(), splits, strict=True)]
    entry = write(store, one, "parquet", records=records)
    found = {}
    for file in entry.files:
        if file.table == "data":
            rows = pq.read_table(store.root / "b" / file.path, partitioning=None).to_pylist()
            found[file.split] = {row["key"]: [c["caption_id"] for c in row["captions"]] for row in rows}
    own = {record.key: [c.caption_id for c in record.captions] for record in records}
    assert found == {"train": {k: own[k] for k in ("k000", "k003")}, "val": {"k002": own["k002"]}}


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_val_shards_have_no_gaps(store: LocalStore, shard: Any, format: str) -> None:
    """A build with a holdout has a val file for each shard, so that patterns of trainers find all of them."""
    one = shard(6)
    assert all(record.split == "train" for record in one.records())
    entry = write(store, one, format, holdout=True)
    (val,) = [file for file in entry.files if file.table == "data" and file.split == "val"]
    assert val.rows == 0 and (store.root / "b" / val.path).stat().st_size == val.bytes
    if format == "webdataset":
        with tarfile.open(store.root / "b" / val.path) as tar:
            assert tar.getnames() == []
    else:
        assert pq.read_table(store.root / "b" / val.path, partitioning=None).num_rows == 0


def test_missing_images_are_an_error_and_no_data_is_written(store: LocalStore, shard: Any) -> None:
    one = shard(6)
    one.pairs, records, gone = one.pairs[:-2], one.records(), one.pairs[-2][0].key
    with pytest.raises(DatasetError, match="no image for 2 usable records") as caught:
        write(store, one, records=records)
    assert (caught.value.key, caught.value.shard) == (gone, "00000") and files(store.root) == []


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_a_failed_shard_leaves_no_files(store: LocalStore, shard: Any, format: str) -> None:
    one = shard(6, holdout=0.5)
    pairs = one.pairs

    def images() -> Iterator[tuple[Image, bytes]]:
        yield from pairs[:4]
        raise StoreError("the source is gone")

    one.images = images
    with pytest.raises(StoreError):
        write(store, one, format)
    assert files(store.root) == [] and written_shard(store, "b", "00000") is None
    one.images = lambda: iter(pairs)
    assert write(store, one, format).counts["images"] == 6


def test_images_of_unusable_records_may_be_missing_and_others_are_ignored(
    store: LocalStore, shard: Any, make: Any
) -> None:
    one = shard(6)
    stranger = make.picture(99)
    pairs = [p for p in one.pairs if p[0].row != 1] + [(make.image(77, stranger), stranger)]
    one.images = lambda: iter(pairs)
    assert write(store, one).samples == 5


def test_without_usable_records_no_image_is_read(store: LocalStore, make: Any) -> None:
    image = make.image(0, b"", reason="missing_image")
    one = make.Shard(pairs=[(image, b"")], answers={}, rejects=[])
    one.images = lambda: pytest.fail("read")
    assert write(store, one).samples == 0


def test_bad_records_and_formats_are_refused(store: LocalStore, shard: Any) -> None:
    one = shard(4)
    good = one.records()
    with pytest.raises(DatasetError, match="duplicate key"):
        write(store, one, records=[*good, good[0]])
    with pytest.raises(DatasetError, match="the status is ok, with 0 captions"):
        write(store, one, records=[replace(good[0], captions=())])
    with pytest.raises(DatasetError, match="the status is reject, with 3 captions"):
        write(store, one, records=[replace(good[0], status="reject")])
    with pytest.raises(ConfigError, match="sidecar, webdataset and parquet"):
        write(store, one, "tar")


def test_memory_holds_one_sample_at_a_time(store: LocalStore, make: Any) -> None:
    """40 images of 1 MB each go through; Python never holds more than a few of them."""
    import tracemalloc

    def written(number: int) -> None:
        datas = [make.picture(row) + bytes(1_000_000) for row in range(number)]
        images = [make.image(row, data) for row, data in enumerate(datas)]
        answers = {"long": {i.key: make.answer(i) for i in images}}
        one = make.Shard(pairs=[(i, b"") for i in images], answers=answers, rejects=[], generations=[make.LONG])
        records = one.records()
        one.images = lambda: ((i, make.picture(i.row) + bytes(1_000_000)) for i in images)
        del datas
        tracemalloc.start()
        write(store, one, records=records)

    written(1)  # what it imports is not measured
    tracemalloc.stop()
    written(40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000


def test_an_object_store_gets_the_same_files(shard: Any, store: LocalStore) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    remote = ObjectStore("memory://bucket/out")
    try:
        assert write(remote, shard(6)) == write(store, shard(6))
        found = memory.find("/bucket/out")
        assert sorted(p.removeprefix("/bucket/out/") for p in found) == files(store.root)
        assert written_shard(remote, "b", "00000") is not None
    finally:
        memory.rm("/bucket", recursive=True)


def test_importing_write_is_light() -> None:
    code = "import sys, recaption.write; print([m for m in ('duckdb','torch','ray','spacy','PIL') if m in sys.modules])"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
