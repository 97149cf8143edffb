"""What an actor has on its hands: rows from not begun to settled, and finished items on their way into parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import EngineDead, Interrupted, ShardError, StoreError
from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.meter import Meter
from recaption.generate.work import FLUSH_COUNT, Buffer, Work
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


def work_on(*missing: int, first: int = 0) -> Work:
    chunk = Chunk(shard=SHARD, digest="d", number=0, first=first, missing=missing)
    return Work(Assignment(id=1, actor=0, chunk=chunk), QUESTIONS, None)  # type: ignore[arg-type]


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


# rows


def test_a_row_is_asked_only_what_it_misses() -> None:
    work = work_on(0b011, 0b110, first=256)
    assert {row: [q.id for q in questions] for row, questions in work.todo.items()} == {
        256: ["long"],
        257: ["long", "short"],
        258: ["short"],
    }
    assert work.open == (4, 4)


def test_a_work_ends_when_its_last_row_is_settled() -> None:
    work = work_on(0b11, 0b10)
    work.begin(0)
    work.begin(1)
    assert (work.open, work.suspects) == ((3, 0), (0, 1))
    work.answered(1)
    work.answered(1)
    assert (work.open, work.suspects) == ((1, 0), (0,)), "a row whose answers are on their way out is no suspect"
    work.settle(1)
    work.answered(0)
    assert not work.ended.is_set()
    work.settle(0)
    assert work.ended.is_set() and work.error is None


def test_nothing_to_do_is_done() -> None:
    assert work_on(0, 0).ended.is_set()


def test_the_last_rows_that_have_not_begun_are_given_back() -> None:
    work = work_on(0b1111, 0b1111)
    work.begin(0)
    given = work.give_back(4)
    assert given is not None
    assert (given.rows(), given.requests) == ([2, 3], 4)
    assert (work.chunk.rows(), work.assignment.chunk.rows()) == ([0, 1], [0, 1, 2, 3])
    assert work.open == (4, 2)


@pytest.mark.parametrize(("requests", "rows"), [(1, [3]), (2, [3]), (3, [3]), (7, [1, 2, 3]), (99, [1, 2, 3])])
def test_rows_are_given_back_whole_and_at_least_one(requests: int, rows: list[int]) -> None:
    work = work_on(0b1111, 0b1111)
    work.begin(0)
    given = work.give_back(requests)
    assert given is not None and given.rows() == rows


def test_what_has_begun_is_not_given_back() -> None:
    work = work_on(0b1, 0b1)
    work.begin(0)
    assert work.give_back(10) is None


def test_a_work_that_gave_everything_back_is_done() -> None:
    work = work_on(0b111, 0)
    given = work.give_back(100)
    assert given is not None and given.requests == 3
    assert work.ended.is_set() and work.chunk.requests == 0


def test_a_skipped_row_ends_the_work_with_its_error_once_the_rest_is_settled() -> None:
    work = work_on(0b11, 0)
    first, second = ShardError("first"), ShardError("second")
    work.skip(0, first)
    work.skip(1, second)
    assert work.ended.is_set() and work.error is first


def test_a_failed_work_begins_nothing_more_but_waits_for_what_has_begun() -> None:
    work = work_on(0b11, 0)
    work.begin(0)
    work.fail(ShardError("the file is gone"))
    assert (work.todo, work.ended.is_set()) == ({}, False)
    work.answered(0)
    work.settle(0)
    assert work.ended.is_set() and isinstance(work.error, ShardError)


def test_an_aborted_work_ends_at_once_and_tells_what_was_in_the_engine() -> None:
    work = work_on(0b111, 0)
    work.skip(2, ShardError("unreadable"))
    work.begin(0)
    work.abort(EngineDead("gone"))
    assert work.ended.is_set() and isinstance(work.error, EngineDead)
    assert work.suspects == (0,)
    assert work.give_back(5) is None


def test_what_has_ended_stays_as_it_ended() -> None:
    work = work_on(0b1, 0)
    work.abort(EngineDead("gone"))
    work.abort(Interrupted("drained"))
    assert isinstance(work.error, EngineDead)
    done = work_on(0, 0)
    done.abort(EngineDead("gone"))
    assert done.error is None


# parts


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


def buffer(store: LocalStore) -> Buffer:
    chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
    return Buffer(store, QUESTIONS, chunk, "000003.000001", "7_9", Meter())


def rows(store: LocalStore, question: Question) -> list[int]:
    return sorted(item.row for item in parts.finished(store, question, "00000").answers.values())


def test_items_are_put_when_there_are_enough_of_them(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)

    async def fill() -> None:
        out = buffer(store)
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


def test_items_are_put_after_a_while_however_few(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.work.FLUSH_SECONDS", 0.001)

    async def fill() -> None:
        out = buffer(store)
        out.add(QUESTIONS[0], answer(5))
        flusher = asyncio.create_task(out.flush_regularly())
        while rows(store, QUESTIONS[0]) != [5]:
            await asyncio.sleep(0.001)
        flusher.cancel()

    asyncio.run(asyncio.wait_for(fill(), 20))


def test_a_flush_of_nothing_puts_nothing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    asyncio.run(buffer(store).flush())
    assert puts.calls == []


def test_items_whose_put_failed_are_put_by_the_next_flush_in_order(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    puts.failures = 1

    async def fill() -> None:
        out = buffer(store)
        out.add(QUESTIONS[0], answer(0))
        with pytest.raises(StoreError):
            await out.flush()
        out.add(QUESTIONS[0], answer(1))
        await out.flush()

    asyncio.run(fill())
    assert rows(store, QUESTIONS[0]) == [0, 1]
    assert [name for _, name, _, _ in puts.calls] == ["000003.000001-0000-7_9", "000003.000001-0001-7_9"], "fresh name"


def test_items_count_once_the_store_has_them(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    puts.failures = 1
    of_chunk, of_actor = Counters(), Counters()

    async def fill() -> None:
        chunk = Chunk(shard=SHARD, digest="d", number=3, first=0, missing=(1, 1))
        out = Buffer(store, QUESTIONS, chunk, "000003.000001", "7_9", Meter(), (of_chunk, of_actor))
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


def test_a_slow_store_does_not_stop_what_fills_the_buffer(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        loop, go, begun = asyncio.get_running_loop(), asyncio.Event(), []
        real = parts.put_part

        def slow(*args: Any) -> Any:
            begun.append(1)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        out = buffer(store)
        for row in range(4 * FLUSH_COUNT):
            out.add(QUESTIONS[0], answer(row))
            await asyncio.sleep(0)
        assert len(out._puts) == 1, "what comes meanwhile waits for the put that is under way"
        go.set()
        await out.flush()
        assert rows(store, QUESTIONS[0]) == list(range(4 * FLUSH_COUNT)) and len(begun) == 2

    asyncio.run(asyncio.wait_for(fill(), 20))


def test_a_flush_that_is_cut_off_is_waited_for_by_the_next(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        loop, go = asyncio.get_running_loop(), asyncio.Event()
        real = parts.put_part

        def slow(*args: Any) -> Any:
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(parts, "put_part", slow)
        out = buffer(store)
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

    asyncio.run(asyncio.wait_for(fill(), 20))
