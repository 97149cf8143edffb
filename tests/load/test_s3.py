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
from recaption.load import CaptionDataset, loader, records, shards

pytestmark = needs_s3


@pytest.fixture
def bucket(s3: S3Server, built: Callable[[str], Path]) -> str:
    """A build in format webdataset as an object store has it, without links."""
    url = s3.bucket()
    there, _ = fsspec.core.url_to_fs(url)
    there.put(str(built("webdataset") / "builds"), f"{url}/builds", recursive=True)
    there.pipe_file(f"{url}/CURRENT", b"builds/b\n")
    return url


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
    monkeypatch.setattr(shards, "PIECE_BYTES", 30_000)
    settings: dict[str, Any] = {"policy": two_texts, "batch_size": 1, "strings": True, "world_size": 2, "epochs": 1}
    ranks = [CaptionDataset(bucket, rank=rank, **settings) for rank in (0, 1)]
    assert ranks[0]._shards.pieces is not None
    pieces = len(ranks[0]._shards.pieces.units)
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
