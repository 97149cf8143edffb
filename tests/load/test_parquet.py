"""Parquet is read in the calling thread only, and spawn workers end cleanly."""

from __future__ import annotations

import io
import multiprocessing
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from loading import everything, golden, opened, two_texts
from PIL import Image

from recaption.errors import DatasetError, UserError
from recaption.io.files import REQUESTS
from recaption.load import CaptionDataset, loader
from recaption.load.files import Files

Built = Callable[[str], Path]


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_no_thread_of_pyarrow_reads(built: Built, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    class Spy(pq.ParquetFile):
        def read(self, *args: Any, use_threads: bool = True, **options: Any) -> Any:
            threads.append(use_threads)
            return super().read(*args, use_threads=use_threads, **options)

        def read_row_group(self, *args: Any, use_threads: bool = True, **options: Any) -> Any:
            threads.append(use_threads)
            return super().read_row_group(*args, use_threads=use_threads, **options)

    def refused(*args: Any, **options: Any) -> Any:
        raise AssertionError("read_table starts threads, whatever it is given")

    monkeypatch.setattr(pq, "ParquetFile", Spy)
    monkeypatch.setattr(pq, "read_table", refused)
    CaptionDataset(built(format), policy=two_texts, batch_size=4).batch(0)
    assert threads and not any(threads)


def _exit_codes(path: Path) -> list[int | None]:
    dataset = CaptionDataset(path, policy=two_texts, batch_size=4, epochs=1)
    workers: list[Any] = []
    for _ in loader(dataset, num_workers=2, multiprocessing_context="spawn"):
        workers = workers or multiprocessing.active_children()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_spawn_workers_end_cleanly(built: Built, format: str) -> None:
    assert _exit_codes(built(format)) == [0, 0]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_spawn_workers_end_cleanly_a_hundred_times(built: Built, format: str) -> None:
    assert [_exit_codes(built(format)) for _ in range(100)] == [[0, 0]] * 100


def test_a_sidecars_source(own_copy: Built, tmp_path: Path) -> None:
    out = own_copy("sidecar")
    shutil.move(tmp_path / "source", tmp_path / "moved")
    with pytest.raises(
        DatasetError, match=r"of the source is missing. Give the folder .* source=… \(shard \d+, key \d+\)"
    ):
        opened(out).batch(0)
    assert len(opened(out, source=tmp_path / "moved").batch(0)["keys"]) == 48
    tar = tmp_path / "moved" / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DatasetError, match=r"not the captioned one: its sha256 differs \(shard 00001, key"):
        opened(out, source=tmp_path / "moved").batch(0)
    shutil.rmtree(out / "index")
    with pytest.raises(UserError, match="copy index/ beside builds/"):
        opened(out)


def loose(out: Path, folder: str) -> None:
    """Make each image of a sidecar's source a file of its own, at `folder`, a URL or a local folder."""
    for path in (out / "index").glob("*.parquet"):
        table = pq.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            with open(row["path"], "rb") as tar:
                tar.seek(row["offset"])
                with fsspec.open(f"{folder}/{row['key']}.jpg", "wb") as file:
                    file.write(tar.read(row["size"]))
            row |= {"path": f"{folder}/{row['key']}.jpg", "offset": 0}
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def test_images_that_are_files_of_an_object_store_are_read_several_at_a_time(
    built: Built, own_copy: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = own_copy("sidecar")
    loose(out, "memory://loose")
    assert opened(out).state_dict()["lanes"] == 1, "a build on a disk, with the images of its source in a store"
    assert opened(out, source=out).state_dict()["lanes"] == 0
    together, pread = threading.Barrier(REQUESTS, timeout=120), Files.pread

    def read(self: Files, path: str, offset: int, size: int) -> bytes:
        if path.startswith("memory://"):
            together.wait()  # for the other 15 train images of the shard
        return pread(self, path, offset, size)

    monkeypatch.setattr(Files, "pread", read)
    there, here = opened(out, lanes=1), opened(built("sidecar"), lanes=1)
    assert there.batch(0)["strings"] == here.batch(0)["strings"]
    assert torch.equal(there.batch(0)["images"], here.batch(0)["images"])
    monkeypatch.undo()
    fsspec.filesystem("memory").rm("/loose/" + here.batch(0)["keys"][0] + ".jpg")
    with pytest.raises(DatasetError, match=r"memory://loose/\w+\.jpg of the source is missing"):
        opened(out, lanes=1).batch(0)


def test_local_files_are_read_by_one_thread_because_their_descriptors_are_closed_by_it(
    built: Built, own_copy: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = own_copy("sidecar")
    loose(out, str(tmp_path))
    threads, pread = set(), Files.pread

    def read(self: Files, path: str, offset: int, size: int) -> bytes:
        threads.add(threading.get_ident())
        return pread(self, path, offset, size)

    monkeypatch.setattr(Files, "pread", read)
    there, here = opened(out, lanes=1), opened(built("sidecar"), lanes=1)
    assert torch.equal(there.batch(0)["images"], here.batch(0)["images"])
    assert threads == {threading.get_ident()}


def test_an_index_that_was_made_again(own_copy: Built) -> None:
    out = own_copy("sidecar")
    shutil.copy(out / "index" / "00000.parquet", out / "index" / "00001.parquet")
    with pytest.raises(DatasetError, match="the source was indexed again"):
        opened(out).batch(0)


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_broken_parquet(own_copy: Built, format: str) -> None:
    out = own_copy(format)
    file = out / "dataset" / "data" / "00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"00001.parquet cannot be read.*\(shard 00001\)"):
        opened(out).batch(0)
    shutil.copy(out / "dataset" / "rejects" / "00000.parquet", file)
    with pytest.raises(DatasetError, match=r"00001.parquet"):
        opened(out).batch(0)


def test_a_sidecars_pixels_are_the_sources() -> None:
    beside, tars = everything(golden("sidecar")), everything(golden("webdataset"))
    for key, (_, data) in beside.items():
        if data[:2] == b"\xff\xd8":
            assert data == tars[key][1]
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
        other = np.asarray(Image.open(io.BytesIO(tars[key][1])).convert("RGB"), np.int16)
        assert pixels.shape == other.shape


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_rows_are_shuffled_within_blocks_unless_asked_otherwise(built: Built, format: str) -> None:
    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4}
    own, near = CaptionDataset(built(format), **options), CaptionDataset(built(format), block=1, **options)
    assert own.state_dict()["block"] == 4
    shards = [near.sample(index).record.shard for step in range(12) for index in near.batch(step)["index"].tolist()]
    assert sum(a != b for a, b in pairwise(shards)) == 2
