"""recaption.generate.part_writer: finished items become parts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_tasks

from recaption.errors import StoreError
from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.part_writer import FLUSH_COUNT, PartWriter
from recaption.generate.utilisation import Meter
from recaption.io.store import LocalStore
from recaption.output import answers as parts
from recaption.tasks.question import Question
from recaption.types import Answer, Attempt, Generation, Reject, SourceShard

QUESTIONS = tuple(
    Question(
        generation=Generation(id=name, model="m", granularity="long", fingerprint="0123456789abcdef"),
        prompt=None,
        attempts=1,
    )
    for name in ("long", "short")
)
SHARD = SourceShard(id="00000", number=0, path="00000.tar")


def answer(row: int) -> Answer:
    attempt = Attempt(seed=1, temperature=0.5, finish_reason="stop", output_tokens=3)
    return Answer(
        key=f"{row:09d}",
        sha256=f"{row:064x}",
        row=row,
        text="A dog.",
        finish_reason="stop",
        prompt_tokens=9,
        output_tokens=3,
        prompt_sha256="p",
        attempts=(attempt,),
    )


def reject(row: int) -> Reject:
    fields = {"key": "k", "source_key": "k", "shard": "00000", "row": row, "sha256": f"{row:064x}"}
    return Reject(**fields, stage="decode", generation="long", reason="truncated", detail="ends early")  # type: ignore[arg-type]


class Puts:
    """Records what is put; waits or fails when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.calls, self.failures = parts.put_part, [], 0  # type: ignore[var-annotated]
        monkeypatch.setattr(parts, "put_part", self)

    def __call__(self, store: Any, question: Question, shard: str, name: str, answers: Any, rejects: Any) -> Any:
        self.calls.append((question.id, name, len(answers), len(rejects)))
        if self.failures:
            self.failures -= 1
            raise StoreError("No space left on device")
        return self.real(store, question, shard, name, answers, rejects)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def writer(store: LocalStore) -> PartWriter:
    chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
    return PartWriter(store, QUESTIONS, chunk, "000003.000001", "7_9", Meter())


def rows(store: LocalStore, question: Question) -> list[int]:
    return sorted(item.row for item in parts.finished(store, question, "00000").answers.values())


def test_enough_items_are_stored_at_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)

    async def fill() -> None:
        out = writer(store)
        out.add(QUESTIONS[1], answer(0))
        for row in range(FLUSH_COUNT - 1):
            out.add(QUESTIONS[0], answer(row))
        assert puts.calls == []
        out.add(QUESTIONS[0], reject(99))
        await asyncio.gather(*out._puts)

    asyncio.run(fill())
    assert puts.calls == [
        ("long", "000003.000001-0000-7_9", FLUSH_COUNT - 1, 1),
        ("short", "000003.000001-0001-7_9", 1, 0),
    ]
    assert rows(store, QUESTIONS[0]) == list(range(FLUSH_COUNT - 1))
    assert [r.row for r in parts.finished(store, QUESTIONS[0], "00000").rejects.values()] == [99]


def test_few_items_are_stored_after_a_while(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.part_writer.FLUSH_SECONDS", 0.001)

    async def fill() -> None:
        out = writer(store)
        out.add(QUESTIONS[0], answer(5))
        flusher = asyncio.create_task(out.flush_regularly())
        while rows(store, QUESTIONS[0]) != [5]:
            await asyncio.sleep(0.001)
        flusher.cancel()

    asyncio.run(asyncio.wait_for(fill(), 120))


def test_a_flush_without_items_stores_nothing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    asyncio.run(writer(store).flush())
    assert puts.calls == []


def test_items_of_a_failed_put_are_stored_in_order_by_the_next_flush(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    puts.failures = 1

    async def fill() -> None:
        out = writer(store)
        out.add(QUESTIONS[0], answer(0))
        with pytest.raises(StoreError):
            await out.flush()
        out.add(QUESTIONS[0], answer(1))
        await out.flush()

    asyncio.run(fill())
    assert rows(store, QUESTIONS[0]) == [0, 1]
    assert [name for _, name, _, _ in puts.calls] == ["000003.000001-0000-7_9", "000003.000001-0001-7_9"], "fresh name"


def test_items_are_counted_once_they_are_stored(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    puts.failures = 1
    of_chunk, of_actor = Counters(), Counters()

    async def fill() -> None:
        chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
        out = PartWriter(store, QUESTIONS, chunk, "000003.000001", "7_9", Meter(), (of_chunk, of_actor))
        out.add(QUESTIONS[0], answer(0))
        out.add(QUESTIONS[0], reject(1))
        assert of_actor.total == 0, "not stored yet"
        with pytest.raises(StoreError):
            await out.flush()
        assert of_actor.total == 0, "the store did not take them"
        await out.flush()

    asyncio.run(fill())
    for counters in (of_chunk, of_actor):
        assert counters.answers == {"long": 1} and counters.rejects.total() == 1


def test_a_slow_store_does_not_block_the_producer(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        loop, go, begun = asyncio.get_running_loop(), asyncio.Event(), []
        real = parts.put_part

        def slow(*args: Any) -> Any:
            begun.append(1)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        out = writer(store)
        for row in range(4 * FLUSH_COUNT):
            out.add(QUESTIONS[0], answer(row))
            await asyncio.sleep(0)
        assert len(out._puts) == 1, "what comes meanwhile waits for the put that is under way"
        go.set()
        await out.flush()
        assert rows(store, QUESTIONS[0]) == list(range(4 * FLUSH_COUNT)) and len(begun) == 2

    asyncio.run(asyncio.wait_for(fill(), 120))


def test_a_flush_waits_for_a_cancelled_one(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        loop, go = asyncio.get_running_loop(), asyncio.Event()
        real = parts.put_part

        def slow(*args: Any) -> Any:
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        out = writer(store)
        out.add(QUESTIONS[0], answer(0))
        first = asyncio.create_task(out.flush())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(out.flush())
        await asyncio.sleep(0)
        assert not second.done()
        go.set()
        await second
        assert rows(store, QUESTIONS[0]) == [0]

    asyncio.run(asyncio.wait_for(fill(), 120))


# what further requests are made from


def test_answers_that_others_are_made_from_share_a_put(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0)
    stored: list[tuple[str, list[int], list[int]]] = []

    async def fill() -> None:
        out = writer(store)
        out.on_stored = lambda question, items: stored.append(
            (question.id, [item.row for item in items], rows(store, question))
        )
        out.add(QUESTIONS[0], answer(0))
        first = asyncio.create_task(out.stored())
        await asyncio.sleep(0)
        out.add(QUESTIONS[0], answer(1))
        await asyncio.gather(first, out.stored())
        assert rows(store, QUESTIONS[0]) == [0, 1] and len(puts.calls) == 1
        out.add(QUESTIONS[0], answer(2))
        await out.stored()

    asyncio.run(asyncio.wait_for(fill(), 120))
    assert stored == [("long", [0, 1], [0, 1]), ("long", [2], [0, 1, 2])], "after the store has them"


def test_items_added_during_a_put_wait_for_the_next_one(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0)

    async def fill() -> None:
        loop, go, begun = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        real = parts.put_part

        def slow(*args: Any) -> Any:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        out = writer(store)
        out.add(QUESTIONS[0], answer(0))
        first = asyncio.create_task(out.stored())
        await begun.wait()
        out.add(QUESTIONS[0], answer(1))
        second = asyncio.create_task(out.stored())
        go.set()
        await second
        assert first.done() and rows(store, QUESTIONS[0]) == [0, 1]

    asyncio.run(asyncio.wait_for(fill(), 120))


def test_one_that_gives_up_leaves_the_put_to_the_others(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0)

    async def fill() -> None:
        out = writer(store)
        out.add(QUESTIONS[0], answer(0))
        first, second = asyncio.create_task(out.stored()), asyncio.create_task(out.stored())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled() and rows(store, QUESTIONS[0]) == [0]

    asyncio.run(asyncio.wait_for(fill(), 120))


def test_images_are_counted_with_the_put_of_their_units(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    puts.failures = 1
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0)
    check = toy_tasks.check(toy_tasks.words())
    counters = Counters()

    async def fill() -> None:
        chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
        out = PartWriter(store, (QUESTIONS[0], check), chunk, "000003.000001", "7_9", Meter(), (counters,))
        out.add(check, replace(answer(0), unit="words#0"))
        out.finished(check, skipped=False)
        out.finished(QUESTIONS[0], skipped=False)
        assert counters.images == {}
        with pytest.raises(StoreError):
            await out.stored()
        assert counters.images == {}, "the store did not take the units"
        out.finished(check, skipped=True)
        await out.flush()

    asyncio.run(asyncio.wait_for(fill(), 120))
    assert counters.images == {"check": 2} and counters.skipped == {"check": 1}, "captions are counted as answers"
    assert counters.answers == {"check": 1}


def test_a_closed_writer_has_stored_and_counted_what_others_put(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Counters()

    async def fill() -> None:
        loop, gates = asyncio.get_running_loop(), [asyncio.Event(), asyncio.Event()]
        begun, real, waiting = [asyncio.Event(), asyncio.Event()], parts.put_part, iter((0, 1))

        def slow(*args: Any) -> Any:
            number = next(waiting)
            loop.call_soon_threadsafe(begun[number].set)
            asyncio.run_coroutine_threadsafe(gates[number].wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
        out = PartWriter(store, QUESTIONS, chunk, "000003.000001", "0_0", Meter(), (counters,))
        out.add(QUESTIONS[0], answer(0))
        closing = asyncio.create_task(out.close())
        await begun[0].wait()
        out.add(QUESTIONS[0], answer(1))
        other = asyncio.create_task(out.flush())  # takes the second answer as soon as the first one is stored
        await asyncio.sleep(0)
        gates[0].set()
        await begun[1].wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done(), "the second answer is not stored yet"
        gates[1].set()
        await asyncio.gather(closing, other)
        assert rows(store, QUESTIONS[0]) == [0, 1] and counters.answers == {"long": 2}
        out.add(QUESTIONS[0], answer(2))
        await out.flush()
        assert rows(store, QUESTIONS[0]) == [0, 1] and counters.answers == {"long": 2}, "it is closed"

    asyncio.run(asyncio.wait_for(fill(), 120))


def test_an_image_that_finishes_while_the_writer_closes_is_not_counted(store: LocalStore) -> None:
    """Its last unit is dropped, so it is counted where it is answered again."""
    check, counters = toy_tasks.check(toy_tasks.words()), Counters()

    async def fill() -> None:
        chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
        out = PartWriter(store, (check,), chunk, "000003.000001", "0_0", Meter(), (counters,))
        closing = asyncio.create_task(out.close())
        while not out._closed:  # from here on, it waits for its second flush
            await asyncio.sleep(0)
        out.add(check, replace(answer(0), unit="words#0"))
        out.finished(check, skipped=False)
        await closing

    asyncio.run(asyncio.wait_for(fill(), 120))
    assert rows(store, check) == [] and counters == Counters()
