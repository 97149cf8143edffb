"""Shards come from a thread: in order, with the error of their source, and without waiting for one that is silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from recaption.errors import SourceError
from recaption.generate.listing import AHEAD, ShardNames
from recaption.types import SourceShard


def shard(number: int) -> SourceShard:
    return SourceShard(id=f"{number:05d}", number=number, path=f"{number:05d}.tar")


def test_shards_are_listed_in_order() -> None:
    shards = ShardNames(shard(n) for n in range(3 * AHEAD))
    assert [shards.take(120).number for _ in range(3 * AHEAD)] == list(range(3 * AHEAD))  # type: ignore[union-attr]
    assert not shards.ended and shards.take(120) is None and shards.ended and shards.take(0) is None


def test_a_silent_source_does_not_block() -> None:
    go = threading.Event()

    def silent() -> Iterator[SourceShard]:
        yield shard(0)
        go.wait(120)
        yield shard(1)

    shards = ShardNames(silent())
    assert shards.take(120) == shard(0)
    assert shards.take(0.001) is None and not shards.ended
    go.set()
    assert shards.take(120) == shard(1)


def test_errors_of_the_source_are_raised() -> None:
    def broken() -> Iterator[SourceShard]:
        yield shard(0)
        raise SourceError("source.path: nothing matches")

    shards = ShardNames(broken())
    assert shards.take(120) == shard(0)
    with pytest.raises(SourceError, match="nothing matches"):
        shards.take(120)
    assert shards.ended
