"""The images that exporters read from a build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recaption.export.dataset import Dataset
from recaption.export.images import ImageFile, with_readers
from recaption.types import Record


def with_images(dataset: Dataset, shard: Any, split: Any = "train") -> Iterator[tuple[Record, ImageFile | None]]:
    """The shard's usable samples with their images, in source order."""
    for record, read in with_readers(dataset, shard, dataset.records(shard, split)):
        yield record, None if read is None else read()
