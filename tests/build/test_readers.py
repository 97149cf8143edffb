"""Too few shards for a trainer, and whether the advice helps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from recaption.build.builder import too_few_shards
from recaption.config import Trainer


def manifest(samples: list[int], form: str = "webdataset") -> dict[str, Any]:
    shards = [{"splits": {"train": count, "val": 1}} for count in samples]
    return {"format": form, "splits": {"train": sum(samples), "val": len(samples)}, "shards": shards}


def test_enough_shards_or_nothing_known_of_the_trainer() -> None:
    assert too_few_shards(manifest([5]), None) is None
    assert too_few_shards(manifest([5] * 8), Trainer(gpus=2, workers=4)) is None


def test_a_shard_without_samples_feeds_nobody() -> None:
    said = too_few_shards(manifest([5] * 7 + [0]), Trainer(gpus=2, workers=4))
    assert said and said.startswith("7 train shards are fewer than the trainer's 8 readers (2 GPUs x 4 workers)")


@pytest.mark.parametrize(("shards", "gpus", "workers"), [(3, 2, 4), (576, 32, 48), (1, 7, 3)])
def test_the_advice_gives_enough(shards: int, gpus: int, workers: int) -> None:
    samples = 4901 * shards
    said = too_few_shards(manifest([4901] * shards), Trainer(gpus=gpus, workers=workers))
    assert said
    size = re.search(r"output\.samples_per_shard=(\d+)", said)
    assert size and -(-samples // int(size[1])) >= gpus * workers


def test_where_nothing_helps_it_says_so() -> None:
    said = too_few_shards(manifest([5, 5]), Trainer(gpus=8, workers=4))
    assert said and "only 10 train samples: take fewer workers" in said


def test_a_sidecar_has_to_change_its_format_too() -> None:
    said = too_few_shards(manifest([500, 500], "sidecar"), Trainer(gpus=8, workers=4))
    assert said and "output.samples_per_shard=31 and output.format=webdataset" in said
