"""The state of an assignment in the actor: rows that are queued, in flight or finished, and images not yet sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from recaption.engine.base import Rendered, Request
from recaption.errors import RecaptionError
from recaption.generate.chunks import Chunk
from recaption.generate.engine_state import Assignment
from recaption.generate.part_writer import PartWriter
from recaption.output.units import ShardAnswers
from recaption.tasks.question import Question, UnitRequest
from recaption.types import Image


class ChunkState:
    """One assignment. A row is in `queued` until it enters the engine, then in `in_flight` until it is finished."""

    def __init__(self, assignment: Assignment, questions: tuple[Question, ...], writer: PartWriter) -> None:
        self.assignment = assignment
        self.chunk: Chunk = assignment.chunk  # without the rows that were given back
        self.queued = {
            row: [q for i, q in enumerate(questions) if self.chunk.lacks(row, i)] for row in self.chunk.rows()
        }
        self.in_flight: dict[int, int] = {}  # row -> requests that are still in the engine
        self.keys: dict[int, str] = {}  # of the images in flight
        self.unread = len(self.queued)
        self.writer = writer
        self.answers: ShardAnswers | None = None  # if a question asks about units
        self.error: RecaptionError | None = None
        self.ended = asyncio.Event()
        self._end_if_done()

    @property
    def open(self) -> tuple[int, int]:
        """Unfinished requests, and how many of them are queued."""
        queued = sum(len(questions) for questions in self.queued.values())
        return queued + sum(self.in_flight.values()), queued

    @property
    def suspects(self) -> tuple[int, ...]:
        """Rows with requests in the engine."""
        return tuple(row for row, requests in self.in_flight.items() if requests)

    def begin(self, row: int, key: str = "", requests: int | None = None) -> None:
        """The row enters the engine with `requests` requests; default: one per question."""
        questions = self.queued.pop(row)
        self.in_flight[row] = len(questions) if requests is None else requests
        self.keys[row] = key

    def more(self, row: int, requests: int) -> None:
        """Add further requests of a row that has begun."""
        self.in_flight[row] += requests

    def answered(self, row: int) -> None:
        """One request of the row is answered or rejected. The result still has to reach the writer."""
        self.in_flight[row] -= 1

    def finish(self, row: int) -> None:
        """The writer has the answers or rejects of all requests of the row."""
        del self.in_flight[row], self.keys[row]
        self._end_if_done()

    def give_back(self, requests: int) -> Chunk | None:
        """Remove the last queued rows: at most `requests` requests, but at least one row. None if none is queued."""
        rows: list[int] = []
        count = 0
        for row in sorted(self.queued, reverse=True):
            if rows and count + len(self.queued[row]) > requests:
                break
            rows.append(row)
            count += len(self.queued[row])
        if not rows:
            return None
        given = self.chunk.only(rows)
        self.chunk = self.chunk.minus(given)
        for row in rows:
            del self.queued[row]
        self._end_if_done()
        return given

    def skip(self, row: int, error: RecaptionError) -> None:
        """Leave a queued row unfinished. The other rows continue; the assignment ends with `error`."""
        del self.queued[row]
        self.error = self.error or error
        self._end_if_done()

    def fail(self, error: RecaptionError) -> None:
        """Drop the queued rows. The assignment ends with `error` when the rows in flight are finished."""
        self.error = self.error or error
        self.queued.clear()
        self._end_if_done()

    def abort(self, error: RecaptionError) -> None:
        """End now with `error`; rows in flight stay unfinished. No effect on an assignment that has ended."""
        if self.ended.is_set():
            return
        self.error = error
        self.queued.clear()
        self.ended.set()

    def _end_if_done(self) -> None:
        if not self.queued and not self.in_flight:
            self.ended.set()


@dataclass(kw_only=True, slots=True, eq=False)
class QueuedRequest:
    """A request with its first attempt. `rendered` is set once a renderer has processed that attempt."""

    request: UnitRequest
    first: Request | None  # None: the prompt cannot be filled in
    rendered: Rendered | RecaptionError | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class QueuedImage:
    """An image on its way into the engine, with the requests that are known from the start."""

    state: ChunkState
    image: Image
    data: bytes
    requests: list[QueuedRequest]
    later: tuple[Question, ...] = ()  # about units: sent for units without a stored answer
    since: float = 0.0  # when it became ready

    @property
    def wanted(self) -> bool:
        """False for an image that was given back or whose assignment has failed."""
        return self.image.row in self.state.queued

    @property
    def load(self) -> int:
        """Requests that enter the engine together, at least one, because later requests also need a place."""
        return max(1, len(self.requests))

    @property
    def nbytes(self) -> int:
        return len(self.data) + sum(q.rendered.nbytes for q in self.requests if isinstance(q.rendered, Rendered))
