"""recaption.generate.prefetch: images are read ahead, in order and within bounds. With an engine: test_actor.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

from samples import damaged_png, jpeg, sample, write_tar

from recaption import config
from recaption.errors import ImageError
from recaption.generate.chunk_state import ChunkState, QueuedImage
from recaption.generate.chunks import list_shard
from recaption.generate.engine_state import Assignment
from recaption.generate.prefetch import Bound, Prefetcher
from recaption.generate.utilisation import Meter
from recaption.io.store import LocalStore
from recaption.prompt import load
from recaption.source import open_source
from recaption.tasks.question import Question
from recaption.types import Generation, ImageLimits, Sampling


def test_a_bound_limits_images_and_bytes_but_one_image_always_fits() -> None:
    async def run() -> None:
        bound = Bound(2, 100)
        await asyncio.wait_for(bound.room(), 120)
        bound.take(500)
        assert bound.full, "too many bytes"
        waiting = asyncio.create_task(bound.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        await bound.free(500)
        await asyncio.wait_for(waiting, 120)
        bound.take(1)
        assert not bound.full
        bound.take(1)
        assert bound.full, "too many images"

    asyncio.run(run())


def test_images_become_ready_in_order_with_their_first_attempts(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("---\nid: p\nversion: 1\ngranularity: long\n---\nAbout {{ title }}.\n")
    write_tar(
        tmp_path / "source" / "a.tar",
        [
            sample("a", jpeg(1), title="A"),
            sample("b", damaged_png(), title="B"),
            sample("c", jpeg(2)),
            sample("d", jpeg(3), title="D"),
        ],
    )
    source = open_source(config.Source(path=f"{tmp_path}/source/*.tar"))
    store = LocalStore(tmp_path / "out")
    generation = Generation(
        id="long", model="m", granularity="long", fingerprint="f" * 16, prompt="p", sampling=Sampling(max_tokens=8)
    )
    questions = (Question(generation=generation, prompt=load(str(tmp_path / "p.md")), attempts=1),)
    (chunk,) = list_shard(store, source, next(iter(source.shards())), questions, frozenset()).chunks
    unusable: list[tuple[str, str]] = []

    async def run() -> list[QueuedImage]:
        prefetch = Prefetcher(store, source, ImageLimits(), 8, None, Meter())
        enough = asyncio.Event()
        prefetch.on_ready = lambda: enough.set() if len(prefetch.ready) == 2 else None

        def reject(item: QueuedImage, error: ImageError) -> None:
            unusable.append((item.image.key, error.reason))

        prefetch.on_unusable = reject
        prefetch.start()
        state = ChunkState(Assignment(id=1, actor=0, chunk=chunk), questions, None)  # type: ignore[arg-type]
        state.give_back(1)  # the last image
        prefetch.add(state)
        await asyncio.wait_for(enough.wait(), 120)
        ready = list(prefetch.ready)
        prefetch.stop()
        return ready

    first, second = asyncio.run(run())
    assert unusable == [("b", "undecodable")]
    (queued,) = first.requests
    assert queued.first is not None and queued.rendered is None
    assert (queued.first.prompt, queued.first.image) == ("About A.", jpeg(1))
    (queued,) = second.requests
    assert second.image.key == "c" and queued.first is None and queued.request.error is not None
