"""What an actor has on its hands: a chunk's rows from not begun to settled, and its finished items on their way out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recaption.engine.base import EngineSpec, Rendered
from recaption.errors import RecaptionError
from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.meter import Meter
from recaption.io.store import Store
from recaption.output import answers as parts
from recaption.source import Source
from recaption.tasks.question import Question
from recaption.types import Answer, Image, Reject

FLUSH_COUNT = 64  # answers
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HostSpec:
    """What an actor needs to know; plain picklable values."""

    engine: EngineSpec
    questions: tuple[Question, ...]
    source: Source
    store_url: str
    epoch: int
    actor: int
    renderers: int | None = None  # None: as many as are needed
    neighbours: int = 1  # engines on its node, itself included
    all_cores: bool = False  # compute on the node's cores, shared with the neighbours; else on those that Ray reserved
    hang_seconds: float = 300.0
    host_bytes: int | None = None  # memory that the replica may take; None: its share of 80% of the node


class Work:
    """One assignment. A row is in `todo` until it enters the engine, then in `begun` until it is settled."""

    def __init__(self, assignment: Assignment, questions: tuple[Question, ...], buffer: Buffer) -> None:
        self.assignment = assignment
        self.chunk: Chunk = assignment.chunk  # without what was given back
        self.todo = {row: [q for i, q in enumerate(questions) if self.chunk.asks(row, i)] for row in self.chunk.rows()}
        self.begun: dict[int, int] = {}  # row -> questions that are still in the engine
        self.keys: dict[int, str] = {}  # of the images begun
        self.unread = len(self.todo)
        self.buffer = buffer
        self.error: RecaptionError | None = None
        self.ended = asyncio.Event()
        self._end_if_done()

    @property
    def open(self) -> tuple[int, int]:
        """Requests not settled, and of them those not begun."""
        not_begun = sum(len(questions) for questions in self.todo.values())
        return not_begun + sum(self.begun.values()), not_begun

    @property
    def suspects(self) -> tuple[int, ...]:
        """Rows that are in the engine."""
        return tuple(row for row, questions in self.begun.items() if questions)

    def begin(self, row: int, key: str = "") -> None:
        self.begun[row] = len(self.todo.pop(row))
        self.keys[row] = key

    def answered(self, row: int) -> None:
        """A question of the row is answered or rejected; it still has to reach the buffer."""
        self.begun[row] -= 1

    def settle(self, row: int) -> None:
        """All questions of a row have their answers or rejects, in the buffer."""
        del self.begun[row], self.keys[row]
        self._end_if_done()

    def give_back(self, requests: int) -> Chunk | None:
        """Take out up to so many requests that have not begun, the last ones first. None: there are none."""
        rows: list[int] = []
        count = 0
        for row in sorted(self.todo, reverse=True):
            if rows and count + len(self.todo[row]) > requests:
                break
            rows.append(row)
            count += len(self.todo[row])
        if not rows:
            return None
        given = self.chunk.only(rows)
        self.chunk = self.chunk.minus(given)
        for row in rows:
            del self.todo[row]
        self._end_if_done()
        return given

    def skip(self, row: int, error: RecaptionError) -> None:
        """Leave a row unsettled; the work goes on, and ends with `error`."""
        del self.todo[row]
        self.error = self.error or error
        self._end_if_done()

    def fail(self, error: RecaptionError) -> None:
        """Begin nothing more; it ends with `error` when what has begun is settled."""
        self.error = self.error or error
        self.todo.clear()
        self._end_if_done()

    def abort(self, error: RecaptionError) -> None:
        """End now; what has begun stays unsettled. What has ended already stays as it is."""
        if self.ended.is_set():
            return
        self.error = error
        self.todo.clear()
        self.ended.set()

    def _end_if_done(self) -> None:
        if not self.todo and not self.begun:
            self.ended.set()


@dataclass(kw_only=True, slots=True, eq=False)
class Item:
    """An image of a work on its way into the engine."""

    work: Work
    image: Image
    data: bytes
    questions: list[Question]
    rendered: dict[str, Rendered | RecaptionError] = field(default_factory=dict)
    since: float = 0.0  # when it became ready

    @property
    def wanted(self) -> bool:
        """Not given back, and not settled another way."""
        return self.image.row in self.work.todo

    @property
    def nbytes(self) -> int:
        return len(self.data) + sum(r.nbytes for r in self.rendered.values() if isinstance(r, Rendered))


class Buffer:
    """Finished items of one assignment on their way into parts: put every 64 of a question, or after 5 s.

    While the store is slow they wait here, at most those of one chunk.
    """

    def __init__(
        self,
        store: Store,
        questions: tuple[Question, ...],
        chunk: Chunk,
        stem: str,
        writer: str,
        meter: Meter,
        counters: Sequence[Counters] = (),
    ) -> None:
        """What is put is counted in all `counters`, when the store has it."""
        self._store, self._questions, self._chunk = store, questions, chunk
        self._stem, self._writer, self._meter, self._counters = stem, writer, meter, counters
        self._items: dict[str, list[tuple[float, Answer | Reject]]] = {question.id: [] for question in questions}
        self._number = 0
        self._lock = asyncio.Lock()
        self._puts: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None  # of a put that nothing waited for
        self.on_unstorable: Callable[[Reject], None] = lambda made: None

    def add(self, question: Question, item: Answer | Reject) -> None:
        """Take a finished item. Does not wait for the store: a slow one must not stop the engine.

        Raises what the put of earlier items raised.
        """
        self._items[question.id].append((time.monotonic(), item))
        if self._failure is not None:
            raise self._failure
        if len(self._items[question.id]) >= FLUSH_COUNT and not self._puts:
            self._begin_put().add_done_callback(self._unobserved)

    async def flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Put what is there. A caller that is cancelled leaves the put running; the next flush waits for it."""
        await asyncio.shield(self._begin_put())

    def _begin_put(self) -> asyncio.Task[None]:
        put = asyncio.create_task(self._put())
        self._puts.add(put)
        put.add_done_callback(self._ended)
        return put

    def _unobserved(self, put: asyncio.Task[None]) -> None:
        if not put.cancelled():
            self._failure = put.exception()

    def _ended(self, put: asyncio.Task[None]) -> None:
        self._puts.discard(put)
        if not put.cancelled():
            put.exception()  # seen: if nobody waits for it any more, the next flush meets the same trouble

    async def _put(self) -> None:
        async with self._lock:
            for question in self._questions:
                items, self._items[question.id] = self._items[question.id], []
                if not items:
                    continue
                name = f"{self._stem}-{self._number:04d}-{self._writer}"
                self._number += 1
                answers = [item for _, item in items if isinstance(item, Answer)]
                rejects = [item for _, item in items if isinstance(item, Reject)]
                try:
                    unstorable = await asyncio.to_thread(
                        parts.put_part, self._store, question, self._chunk.shard.id, name, answers, rejects
                    )
                except BaseException:
                    self._items[question.id][:0] = items
                    raise
                stored = parts.stored((item for _, item in items), unstorable)
                for counters in self._counters:
                    counters.count(stored, question.id)
                for _, made in unstorable:
                    self.on_unstorable(made)
                now = time.monotonic()
                self._meter.spent("put", sum(now - since for since, _ in items), len(items))
