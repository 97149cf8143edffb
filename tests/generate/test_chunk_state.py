"""recaption.generate.chunk_state: the rows of an assignment from queued to finished."""

from __future__ import annotations

import pytest
from task_units import IMAGE

from recaption.errors import EngineDead, Interrupted, ShardError
from recaption.generate.chunk_state import ChunkState, QueuedImage, QueuedRequest
from recaption.generate.chunks import Chunk
from recaption.generate.scheduler import Assignment
from recaption.tasks.question import Question
from recaption.types import Generation, SourceShard

QUESTIONS = tuple(
    Question(
        generation=Generation(id=name, model="m", granularity="long", fingerprint="0123456789abcdef"),
        prompt=None,
        attempts=1,
    )
    for name in ("long", "short")
)
SHARD = SourceShard(id="00000", number=0, path="00000.tar")


def opened(*missing: int, first: int = 0) -> ChunkState:
    chunk = Chunk(shard=SHARD, digest="d", number=0, first=first, missing=missing)
    return ChunkState(Assignment(id=1, actor=0, chunk=chunk), QUESTIONS, None)  # type: ignore[arg-type]


def test_a_row_has_only_its_missing_questions() -> None:
    state = opened(0b011, 0b110, first=256)
    assert {row: [q.id for q in questions] for row, questions in state.queued.items()} == {
        256: ["long"],
        257: ["long", "short"],
        258: ["short"],
    }
    assert state.open == (4, 4)


def test_an_assignment_ends_when_its_last_row_is_finished() -> None:
    state = opened(0b11, 0b10)
    state.begin(0)
    state.begin(1)
    assert (state.open, state.suspects) == ((3, 0), (0, 1))
    state.answered(1)
    state.answered(1)
    assert (state.open, state.suspects) == ((1, 0), (0,)), "a row whose answers are being stored is not a suspect"
    state.finish(1)
    state.answered(0)
    assert not state.ended.is_set()
    state.finish(0)
    assert state.ended.is_set() and state.error is None


def test_an_assignment_without_rows_has_ended() -> None:
    assert opened(0, 0).ended.is_set()


def test_the_last_queued_rows_are_given_back() -> None:
    state = opened(0b1111, 0b1111)
    state.begin(0)
    given = state.give_back(4)
    assert given is not None
    assert (given.rows(), given.requests) == ([2, 3], 4)
    assert (state.chunk.rows(), state.assignment.chunk.rows()) == ([0, 1], [0, 1, 2, 3])
    assert state.open == (4, 2)


@pytest.mark.parametrize(("requests", "rows"), [(1, [3]), (2, [3]), (3, [3]), (7, [1, 2, 3]), (99, [1, 2, 3])])
def test_rows_are_given_back_whole_and_at_least_one(requests: int, rows: list[int]) -> None:
    state = opened(0b1111, 0b1111)
    state.begin(0)
    given = state.give_back(requests)
    assert given is not None and given.rows() == rows


def test_rows_in_flight_are_not_given_back() -> None:
    state = opened(0b1, 0b1)
    state.begin(0)
    assert state.give_back(10) is None


def test_an_assignment_that_gave_all_rows_back_has_ended() -> None:
    state = opened(0b111, 0)
    given = state.give_back(100)
    assert given is not None and given.requests == 3
    assert state.ended.is_set() and state.chunk.requests == 0


def test_a_skipped_row_ends_the_assignment_with_its_error_when_the_rest_is_finished() -> None:
    state = opened(0b11, 0)
    first, second = ShardError("first"), ShardError("second")
    state.skip(0, first)
    state.skip(1, second)
    assert state.ended.is_set() and state.error is first


def test_a_failed_assignment_drops_queued_rows_and_waits_for_rows_in_flight() -> None:
    state = opened(0b11, 0)
    state.begin(0)
    state.fail(ShardError("the file is gone"))
    assert (state.queued, state.ended.is_set()) == ({}, False)
    state.answered(0)
    state.finish(0)
    assert state.ended.is_set() and isinstance(state.error, ShardError)


def test_an_aborted_assignment_ends_at_once_and_lists_the_rows_in_flight() -> None:
    state = opened(0b111, 0)
    state.skip(2, ShardError("unreadable"))
    state.begin(0)
    state.abort(EngineDead("gone"))
    assert state.ended.is_set() and isinstance(state.error, EngineDead)
    assert state.suspects == (0,)
    assert state.give_back(5) is None


def test_an_assignment_that_has_ended_keeps_its_result() -> None:
    state = opened(0b1, 0)
    state.abort(EngineDead("gone"))
    state.abort(Interrupted("drained"))
    assert isinstance(state.error, EngineDead)
    done = opened(0, 0)
    done.abort(EngineDead("gone"))
    assert done.error is None


def test_a_row_that_begins_without_requests_is_a_suspect_once_it_has_some() -> None:
    state = opened(0b1, 0b1)
    state.begin(0, "k", 0)
    assert (state.open, state.suspects, state.ended.is_set()) == ((0, 0), (), False)
    state.more(0, 2)
    assert (state.open, state.suspects) == ((2, 0), (0,))
    state.answered(0)
    state.answered(0)
    assert state.suspects == () and not state.ended.is_set()
    state.finish(0)
    assert state.ended.is_set() and state.keys == {}


@pytest.mark.parametrize(("requests", "load"), [(0, 1), (1, 1), (3, 3)])
def test_an_image_takes_a_place_for_what_comes_later(requests: int, load: int) -> None:
    state = opened(0b1, 0b1)
    queued = [QueuedRequest(request=None, first=None) for _ in range(requests)]  # type: ignore[arg-type]
    item = QueuedImage(state=state, image=IMAGE, data=b"123", requests=queued, later=(QUESTIONS[1],))
    assert (item.load, item.nbytes) == (load, 3)
