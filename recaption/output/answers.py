"""The answer store: small immutable parts while a shard is in progress, one sorted file when it is complete.

    answers/<generation>-<fingerprint>/.parts/<shard>/<chunk>.<epoch>-<n>.parquet
    answers/<generation>-<fingerprint>/<shard>.parquet        then <shard>.1.parquet, … for later answers
    rejects/…                                                 the same, of rejects

Parts are the only record of completed work. Their names contain the epoch of the run's lease, so a process of an older
run that is still alive can add parts but never change one. The first part in name order takes precedence.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.io.store import Store
from recaption.output import paths
from recaption.output.stored_table import read_stored, table_in
from recaption.schema import ANSWERS, REJECTS
from recaption.tasks.question import Identity, Question, UnitRequest
from recaption.text import storable
from recaption.threads import each
from recaption.types import Answer, Attempt, Reject

T = TypeVar("T", bound=Answer | Reject)
_READERS = 8  # files of a shard that are read at a time from an object store


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The stored answers and rejects of one shard for one question.

    Answers are found by (image sha256, filled-in prompt's sha256), not by row or key. So a source with new shards or
    keys reuses its answers, and a changed image never gets the answer of another image.
    """

    answers: dict[Identity, Answer]
    rejects: dict[Identity, Reject]  # the prompt's sha256 is "" if the image itself is unusable
    paths: set[str] = field(default_factory=set, compare=False)  # files that have been read

    def reject(self, identity: Identity) -> Reject | None:
        """Why the image under this prompt was rejected, if it was."""
        sha256, _, key = identity
        return self.rejects.get(identity) or self.rejects.get((sha256, "", key))

    def has(self, identity: Identity) -> bool:
        """Whether there is an answer or a reject."""
        return identity in self.answers or self.reject(identity) is not None

    def add(self, question: Question, items: Iterable[Answer | Reject]) -> None:
        """Add stored items; earlier ones take precedence. An answer takes precedence over the reject of its request."""
        for item in items:
            identity = _identity(question, item)
            if isinstance(item, Answer):
                self.answers.setdefault(identity, item)
                self.rejects.pop(identity, None)
            elif identity not in self.answers:
                self.rejects.setdefault(identity, item)


def load_libraries() -> None:
    """Import what the first part needs: pyarrow imports pandas for its first table, which takes half a second."""
    table_bytes(_table([], ANSWERS))


def put_part(
    store: Store, question: Question, shard: str, name: str, answers: Sequence[Answer], rejects: Sequence[Reject]
) -> list[tuple[Answer | Reject, Reject]]:
    """Put the items of one chunk; each file appears whole or not at all.

    An item that cannot be written becomes a reject `unstorable`; the others are put. Returns such items with their
    rejects.
    """
    table, bad_answers = _written(answers, ANSWERS)
    if table is not None:
        store.put(paths.part_file(paths.ANSWERS, question.folder, shard, name), table)
    _, bad_rejects = _written(rejects, REJECTS)
    failed: list[tuple[Answer | Reject, Exception]] = [*bad_answers, *bad_rejects]
    made = [(item, _unstorable(question, shard, item, error)) for item, error in failed]
    bad = {id(item) for item, _ in bad_rejects}
    kept = [*(item for item in rejects if id(item) not in bad), *(reject for _, reject in made)]
    if kept:
        store.put(paths.part_file(paths.REJECTS, question.folder, shard, name), table_bytes(_table(kept, REJECTS)))
    return made


def stored(
    items: Iterable[Answer | Reject], unstorable: Sequence[tuple[Answer | Reject, Reject]]
) -> list[Answer | Reject]:
    """The items as `put_part` stored them: unchanged, or replaced by a reject."""
    made = {id(item): reject for item, reject in unstorable}
    return [made.get(id(item), item) for item in items]


def _written(items: Sequence[T], schema: pa.Schema) -> tuple[bytes | None, list[tuple[T, Exception]]]:
    """A table of the items that can be written (None if there are none), and the other items with their errors.

    Splits a failing list in halves until each bad item is found.
    """
    try:
        return (table_bytes(_table(items, schema)) if items else None), []
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Arrow has many errors for invalid values
        if len(items) == 1:
            return None, [(items[0], error)]
    middle = len(items) // 2
    bad = [pair for half in (items[:middle], items[middle:]) for pair in _written(half, schema)[1]]
    gone = {id(item) for item, _ in bad}
    return _written([item for item in items if id(item) not in gone], schema)[0], bad


def _unstorable(question: Question, shard: str, item: Answer | Reject, error: Exception) -> Reject:
    what = "answer" if isinstance(item, Answer) else f"reject ({item.reason})"
    return Reject(
        key=item.key,
        source_key=storable(item.source_key) if isinstance(item, Reject) else item.key,
        shard=shard,
        row=item.row,
        sha256=item.sha256,
        stage="generate",
        generation=question.id,
        reason="unstorable",
        detail=storable(f"the {what} cannot be written: {type(error).__name__}: {error}")[:500],
        attempts=len(item.attempts) if isinstance(item, Answer) else 0,
        prompt_sha256=item.prompt_sha256,
        unit=item.unit,
    )


def finished(
    store: Store, question: Question, shard: str, retry_reasons: frozenset[str] = frozenset(), epoch: int | None = None
) -> Finished:
    """Everything stored for a shard: compacted files first, then parts in name order. The first of each is used.

    Rejects for a reason in `retry_reasons` are ignored unless the run of this `epoch` made them.
    """
    found = Finished(answers={}, rejects={})
    read_finished(found, store, question, shard, retry_reasons, epoch)
    return found


def read_finished(
    found: Finished,
    store: Store,
    question: Question,
    shard: str,
    retry_reasons: frozenset[str] = frozenset(),
    epoch: int | None = None,
) -> None:
    """Read the files that `found` does not include yet, and add their rows to it; see `finished`."""
    answers, rejects = found.answers, found.rejects
    for table in _tables(store, _unread(found, store, paths.ANSWERS, question, shard)):
        for answer in _answers(table):
            answers.setdefault(_identity(question, answer), answer)
    unread = _unread(found, store, paths.REJECTS, question, shard)
    # A copy, because the thread of the event loop may add answers (`Finished.add`) while this one reads files.
    answered = {(sha256, key) for sha256, _, key in list(answers)} if unread else set()
    for path, table in zip(unread, _tables(store, unread), strict=True):
        numbers = paths.part_numbers(path)
        mine = epoch is not None and numbers is not None and numbers[1] == epoch
        for reject in _rejects(table):
            identity = sha256, prompt, key = _identity(question, reject)
            if identity in answers or (not prompt and (sha256, key) in answered):
                continue  # retried and answered later: the answer takes precedence
            if reject.reason not in retry_reasons or mine:
                rejects.setdefault(identity, reject)


def stored_by(store: Store, question: Question, shard: str, epoch: int, actor: int) -> set[Identity]:
    """The identities of the items that an actor of the run of this `epoch` has stored in parts of the shard."""
    return {
        _identity(question, item)
        for kind, read in ((paths.ANSWERS, read_answers), (paths.REJECTS, read_rejects))
        for path in _parts(store, kind, question, shard)
        if paths.part_actor(path) == (epoch, actor)
        for item in read(store, path)
    }


def _unread(found: Finished, store: Store, kind: str, question: Question, shard: str) -> list[str]:
    """The files of a shard that `found` does not have, in the order in which they are read."""
    listed = [*compacted(store, kind, question, shard), *_parts(store, kind, question, shard)]
    unread = [path for path in listed if path not in found.paths]
    found.paths.update(unread)
    return unread


def stored_item(stored: Finished, request: UnitRequest) -> Answer | Reject | None:
    """The stored answer, or else the reject, of a request; None if the request must be sent.

    Answers with the identity of earlier versions (`UnitRequest.earlier_identity`) are found too.
    """
    identity = request.identity
    if (answer := stored.answers.get(identity)) is not None:
        return answer
    earlier = request.earlier_identity() if stored.answers or stored.rejects else None
    if earlier is not None and (answer := stored.answers.get(earlier)) is not None:
        return answer
    return stored.reject(identity) or (None if earlier is None else stored.reject(earlier))


def compact(store: Store, question: Question, shard: str) -> bool:
    """Merge a finished shard's parts into one sorted file each of answers and rejects, then delete the parts.

    Returns whether this made a new file: the stored answers or rejects of the shard have changed.
    Safe to repeat and to be killed at any point: the file is put if absent before any part is deleted, and items that
    are in it already are not put again.
    """
    changed = False
    for kind in paths.STORED:
        parts = _parts(store, kind, question, shard)
        made = None if parts else False
        while made is None:  # another process put the next file first: read it, and merge again
            made = _merge(store, kind, question, shard, parts)
        changed |= made
        store.delete_many(parts)
    return changed


def _merge(store: Store, kind: str, question: Question, shard: str, parts: list[str]) -> bool | None:
    """Put the items of the parts that no compacted file has. Returns whether there are any; None if another process has
    put a file of that name."""
    items_of = _answers if kind == paths.ANSWERS else _rejects
    earlier = compacted(store, kind, question, shard)
    known = {_identity(question, item) for table in _tables(store, earlier) for item in items_of(table)}
    fresh: dict[Identity, Answer | Reject] = {}
    for table in _tables(store, parts):
        for item in items_of(table):
            identity = _identity(question, item)
            if identity not in known:
                fresh.setdefault(identity, item)
    if not fresh:
        return False
    items = sorted(fresh.values(), key=lambda item: (item.row, *_identity(question, item)))
    table = _table(items, ANSWERS if kind == paths.ANSWERS else REJECTS)
    path = paths.compacted_file(kind, question.folder, shard, len(earlier))
    return _put(store, path, table, if_absent=True) or None


def compacted(store: Store, kind: str, question: Question, shard: str) -> list[str]:
    """Compacted files of a shard, oldest first."""
    found = []
    number = 0
    while store.exists(path := paths.compacted_file(kind, question.folder, shard, number)):
        found.append(path)
        number += 1
    return found


def read_answers(store: Store, path: str) -> list[Answer]:
    """The answers in a part or compacted file."""
    return _answers(read_stored(store, path))


def read_rejects(store: Store, path: str) -> list[Reject]:
    """The rejects in a part or compacted file."""
    return _rejects(read_stored(store, path))


def table_bytes(table: pa.Table) -> bytes:
    """A Parquet file of `table`; the same bytes for the same table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False)
    return sink.getvalue()


def _identity(question: Question, item: Answer | Reject) -> Identity:
    return question.identity(item, item.prompt_sha256 or "")


def _parts(store: Store, kind: str, question: Question, shard: str) -> list[str]:
    def order(path: str) -> tuple[int, ...]:
        return paths.part_numbers(path) or (1 << 62,)

    return sorted(store.list(paths.parts_folder(kind, question.folder, shard)), key=lambda path: (order(path), path))


def _table(items: Iterable[Answer | Reject], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([asdict(item) for item in items], schema=schema)


def _put(store: Store, path: str, table: pa.Table, *, if_absent: bool = False) -> bool:
    return store.put(path, table_bytes(table), if_absent=if_absent)


def _tables(store: Store, files: Sequence[str]) -> Iterator[pa.Table]:
    """The tables of parts or compacted files, in this order; on object stores, several files are read at a time."""
    remote = store.local("") is None
    read = each(store.get, files, _READERS) if remote else map(store.get, files)
    return (table_in(store, path, data) for path, data in zip(files, read, strict=True))


def _answers(table: pa.Table) -> list[Answer]:
    rows = table.to_pylist()
    for row in rows:
        row["attempts"] = tuple(Attempt(**attempt) for attempt in row["attempts"])
    return [Answer(**row) for row in rows]


def _rejects(table: pa.Table) -> list[Reject]:
    return [Reject(**row) for row in table.to_pylist()]
