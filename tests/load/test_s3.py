"""Training data is read from a real S3 server: by ranges, by way of the cache, in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch
from loading import two_texts
from s3_server import S3Server, needs_s3

from recaption.errors import DatasetError
from recaption.load import CaptionDataset, loader

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
    here = CaptionDataset(built("webdataset"), policy=two_texts, batch_size=4, strings=True)
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
