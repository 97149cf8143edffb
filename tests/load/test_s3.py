"""Training data is read from a real S3 server: by ranges, by way of the cache, in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from loading import two_texts
from s3_server import S3Server, needs_s3

from recaption.errors import DatasetError
from recaption.load import CaptionDataset, loader, records

pytestmark = needs_s3


@pytest.fixture
def uploaded(s3: S3Server, built: Callable[[str], Path]) -> Callable[[str], str]:
    """A build as an object store has it, without links; beside it the source."""

    def upload(format: str) -> str:
        url, out = s3.bucket(), built(format)
        there, _ = fsspec.core.url_to_fs(url)
        there.put(str(out / "builds"), f"{url}/builds", recursive=True)
        if format == "sidecar":
            there.put(str(out / "index"), f"{url}/index", recursive=True)
            there.put(str(out.parent / "source"), f"{url}/source", recursive=True)
        there.pipe_file(f"{url}/CURRENT", b"builds/b\n")
        return url

    return upload


@pytest.fixture
def bucket(uploaded: Callable[[str], str]) -> str:
    return uploaded("webdataset")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_copy(
    built: Callable[[str], Path], bucket: str, tmp_path: Path, cached: bool, workers: int
) -> None:
    lanes = 0 if cached else 1
    here = CaptionDataset(built("webdataset"), policy=two_texts, batch_size=4, strings=True, lanes=lanes)
    there = CaptionDataset(
        bucket, policy=two_texts, batch_size=4, strings=True, cache=tmp_path if cached else None, epochs=1
    )
    batches = loader(there, num_workers=workers)
    for step, batch in zip(range(6), batches, strict=False):
        assert batch["strings"] == here.batch(step)["strings"]
        assert torch.equal(batch["images"], here.batch(step)["images"])
    batches.close()


def test_a_tar_that_is_gone_is_named(bucket: str) -> None:
    there = CaptionDataset(bucket, policy=two_texts, batch_size=4)
    store, _ = fsspec.core.url_to_fs(bucket)
    store.rm(f"{bucket}/builds/b/data/00001.tar")
    with pytest.raises(DatasetError, match=r"shard 00001"):
        for step in range(12):
            there.batch(step)


def test_samples_are_read_in_pieces_and_each_piece_by_one_reader(
    bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.load.pieces.PIECE_BYTES", 30_000)
    settings: dict[str, Any] = {"policy": two_texts, "batch_size": 1, "strings": True, "world_size": 2, "epochs": 1}
    ranks = [CaptionDataset(bucket, rank=rank, **settings) for rank in (0, 1)]
    pieces = len(ranks[0]._shards.units)
    assert 6 <= pieces <= 16
    s3.forget()
    keys = [batch["keys"][0] for dataset in ranks for batch in dataset]
    assert len(set(keys)) == len(keys) == 48
    # An offset table and a piece each; those at a boundary of the ranks' lanes are read by both.
    assert s3.operations["GET"] <= 2 * (pieces + 4)
    one_by_one = CaptionDataset(bucket, rank=0, lanes=0, **settings)
    s3.forget()
    one_by_one.batch(0)
    assert s3.operations["GET"] == 2
    monkeypatch.undo()


def test_consecutive_samples_of_a_batch_are_read_with_one_request(bucket: str, s3: S3Server) -> None:
    there = CaptionDataset(bucket, policy=two_texts, batch_size=2, split="val", strings=True)
    s3.forget()
    assert len({key for batch in there for key in batch["keys"]}) == 3
    assert s3.operations["GET"] == 2 * 3
    assert len(list(records(bucket, split="train"))) == 48


def test_the_images_of_a_sidecar_are_read_in_pieces_too(
    uploaded: Callable[[str], str], built: Callable[[str], Path], s3: S3Server
) -> None:
    url = uploaded("sidecar")
    settings: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "strings": True, "epochs": 1}
    s3.forget()
    there = CaptionDataset(url, source=f"{url}/source", **settings)
    keys = [batch["keys"] for batch in there]
    assert len({key for of_batch in keys for key in of_batch}) == 48
    assert s3.operations["GET"] < 48 / 2
    here = CaptionDataset(built("sidecar"), lanes=1, **settings)
    assert [batch["keys"] for batch in here] == keys
    assert {one.record.key: one.image for one in records(url, split="train", source=f"{url}/source")} == {
        one.record.key: one.image for one in records(built("sidecar"), split="train")
    }


def test_each_rank_reads_row_groups_of_its_own(uploaded: Callable[[str], str], s3: S3Server) -> None:
    settings: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "strings": True, "world_size": 3, "block": 1}
    ranks = [CaptionDataset(uploaded("parquet"), rank=rank, epochs=1, **settings) for rank in range(3)]
    assert ranks[0].state_dict()["lanes"] == 3
    shards_of = [{key[:5] for batch in dataset for key in batch["keys"]} for dataset in ranks]
    assert [len(names) for names in shards_of] == [1, 1, 1]
