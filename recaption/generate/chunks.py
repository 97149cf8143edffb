"""Shards as the driver sees them: indexed on the cluster, and cut into chunks of what is still missing.

`list_one`, `recheck` and `reject_poison` run as tasks near the data. The driver holds only `Chunk` and `ShardListing`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice

import pyarrow as pa

from recaption.errors import ShardError
from recaption.generate.counters import Counters
from recaption.generate.retry import answer_from_column
from recaption.io.store import Store, open_store
from recaption.output.answers import put_part, stored, stored_by, table_bytes
from recaption.output.complete import identity as complete_identity
from recaption.output.complete import is_marked, mark
from recaption.output.index import load_index
from recaption.output.moved import MovedAnswers
from recaption.output.paths import source_rejects
from recaption.output.units import QuestionState, ShardAnswers, pending_identity
from recaption.schema import REJECTS
from recaption.source import Source
from recaption.tasks.question import Identity, Question, requests_about
from recaption.types import DECODE_REASONS, Answer, Image, Reject, SourceShard, stage_of

CHUNK_SIZE = 256  # images
NAMED = 16  # unusable images per shard that the log names


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The settings of one run that all its tasks and actors share."""

    source: Source
    store_url: str
    epoch: int
    excluded: frozenset[str] = frozenset()
    limit: int | None = None  # images, over all shards in listing order
    retry_reasons: frozenset[str] = frozenset()  # rejects for these reasons count as missing
    moved: bool = False  # the output has shards that the source does not list: images may have moved to other shards


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The unit of work: up to 256 consecutive images of one shard, and which answers of one model they lack.

    `missing` has one bit mask per question, in the order of the model's plan: bit i stands for row `first + i`. A set
    bit means that an answer about the image is missing. If the question has several units, requests are sent for those
    without an answer. A chunk takes about a hundred bytes when pickled, so the driver can hold many chunks.
    """

    shard: SourceShard
    digest: str
    number: int
    first: int
    missing: tuple[int, ...]

    @property
    def requests(self) -> int:
        return sum(mask.bit_count() for mask in self.missing)

    def rows(self) -> list[int]:
        """Rows that lack any answer, ascending."""
        union = 0
        for mask in self.missing:
            union |= mask
        return [self.first + i for i in range(union.bit_length()) if union >> i & 1]

    def lacks(self, row: int, question: int) -> bool:
        """Whether the row lacks the answer to this question, by its position in the plan."""
        return bool(self.missing[question] >> (row - self.first) & 1)

    def only(self, rows: Collection[int]) -> Chunk:
        """This chunk restricted to these rows."""
        mask = 0
        for row in rows:
            mask |= 1 << row - self.first
        return replace(self, missing=tuple(bits & mask for bits in self.missing))

    def minus(self, other: Chunk) -> Chunk:
        """This chunk without the requests of `other`, which is a part of it."""
        return replace(self, missing=tuple(a & ~b for a, b in zip(self.missing, other.missing, strict=True)))

    def without(self, rows: Collection[int]) -> Chunk:
        """This chunk without the requests of these rows."""
        return self.minus(self.only(rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardListing:
    """An indexed shard as the driver knows it: counts and chunks, no images."""

    shard: SourceShard
    digest: str
    images: int  # rows within the run's limit
    usable: int  # images that are not excluded and can be read
    done: tuple[int, ...]  # per question of the model: images answered or rejected by earlier runs
    duplicates: tuple[int, ...]  # per question: images without an answer that equal an earlier one of the shard
    first_key: str | None  # of the shard's first row: finds shards with equal keys early
    chunks: tuple[Chunk, ...]
    counters: Counters = field(default_factory=Counters)  # answers stored while listing, without an engine
    rejected: tuple[Reject, ...] = ()  # the first `NAMED` unusable images, for the log


def list_one(
    questions: tuple[Question, ...], job: Job, shard: SourceShard, limit: int | None = None, from_source: bool = False
) -> ShardListing:
    """Task: list one shard. With `from_source`, store the answers of engine `column` at once."""
    store = open_store(job.store_url)
    moved = _moved_answers(job.store_url, job.epoch, job.moved)
    listing = list_shard(store, job.source, shard, questions, job.excluded, limit, job.retry_reasons, moved)
    if not from_source or not listing.chunks:
        return listing
    images, _ = load_index(store, job.source, shard)
    counters = Counters()
    for chunk in listing.chunks:
        for i, question in enumerate(questions):
            missing = [images[row] for row in chunk.rows() if chunk.lacks(row, i)]
            items = [answer_from_column(request) for request in requests_about(question, missing)]
            answers = [item for item in items if isinstance(item, Answer)]
            rejects = [item for item in items if isinstance(item, Reject)]
            name = f"{chunk.number:06d}.{job.epoch:06d}-0000"
            unstorable = put_part(store, question, shard.id, name, answers, rejects)
            counters.count(stored(items, unstorable), question.id)
            for _ in missing:
                counters.finished(question, skipped=False)
    return replace(listing, chunks=(), counters=counters)


@lru_cache(maxsize=1)
def _moved_answers(store_url: str, epoch: int, unlisted: bool) -> MovedAnswers:
    """One per process and run, so that the locations of stored answers are read at most once."""
    return MovedAnswers(open_store(store_url), unlisted=unlisted)


def list_shard(
    store: Store,
    source: Source,
    shard: SourceShard,
    questions: Sequence[Question],
    excluded: frozenset[str],
    limit: int | None = None,
    retry_reasons: frozenset[str] = frozenset(),
    moved: MovedAnswers | None = None,
) -> ShardListing:
    """Index a shard, store the rejects of its source, and cut what is missing into chunks."""
    images, digest = load_index(store, source, shard, refresh=source.signature(shard) is None, moved=moved)
    images = images[:limit]
    _put_source_rejects(store, shard, digest, images)
    usable = [image for image in images if image.reason is None and image.sha256 not in excluded]
    answers = ShardAnswers(store, shard.id, retry_reasons)
    masks: list[dict[int, int]] = [{} for _ in questions]  # per question: chunk number -> bits
    missing: dict[str, set[Identity]] = {question.folder: set() for question in questions}
    done, duplicates = [0] * len(questions), [0] * len(questions)
    identities = [_identity(store, question, shard, usable, retry_reasons) for question in questions]
    marked = [i is not None and is_marked(store, q, shard.id, i) for q, i in zip(questions, identities, strict=True)]
    for image in usable:
        states = answers.of(image)
        asked: set[str] = set()
        for question, is_complete in zip(reversed(questions), reversed(marked), strict=True):  # from the last stage on
            state = None if is_complete else states.state(question)
            if state is None or state.complete:
                continue
            if question.folder in asked or not _wanted(state, image) <= missing[question.folder]:
                asked.add(question.folder)
                if state.status == "waiting":
                    asked.update(other.folder for other in question.over)
        for i, question in enumerate(questions):
            state = None if marked[i] else states.state(question)
            if state is None or state.complete:
                done[i] += 1
            elif question.folder in asked:
                missing[question.folder] |= _wanted(state, image)
                number, offset = divmod(image.row, CHUNK_SIZE)
                masks[i][number] = masks[i].get(number, 0) | 1 << offset
            else:
                duplicates[i] += 1  # equal images with equal prompts share one answer, which the build gives to each
    for i, (question, identity) in enumerate(zip(questions, identities, strict=True)):
        if identity is not None and not marked[i] and not masks[i]:
            mark(store, question, shard.id, identity)
    numbers = sorted({number for bits in masks for number in bits})
    chunks = tuple(
        Chunk(
            shard=shard,
            digest=digest,
            number=number,
            first=number * CHUNK_SIZE,
            missing=tuple(bits.get(number, 0) for bits in masks),
        )
        for number in numbers
    )
    return ShardListing(
        shard=shard,
        digest=digest,
        images=len(images),
        usable=len(usable),
        done=tuple(done),
        duplicates=tuple(duplicates),
        first_key=images[0].key if images else None,
        chunks=chunks,
        rejected=tuple(islice((source_reject(i) for i in images if i.reason in DECODE_REASONS), NAMED)),
    )


def _wanted(state: QuestionState, image: Image) -> set[Identity]:
    """The identities of what a question lacks. Images that lack the same ones are asked about once."""
    if state.status == "waiting":
        return {pending_identity(state.question, image)}
    return {request.identity for request in state.missing}


def _identity(
    store: Store, question: Question, shard: SourceShard, images: Sequence[Image], retry_reasons: frozenset[str]
) -> str | None:
    """See `complete.identity`. None for questions without `over`: looking up answers is as fast as reading a mark."""
    return None if retry_reasons or not question.over else complete_identity(store, question, shard.id, images)


def recheck(questions: Sequence[Question], job: Job, chunk: Chunk, actor: int) -> tuple[Chunk, Counters]:
    """Task: what is still missing of a chunk whose actor has failed, and the counts of what is stored of it.

    Only units that this actor has stored are counted: those of earlier runs do not belong to this run, and those of
    other actors are counted already. Raises ShardError if the shard has changed, StoreError.
    """
    store = open_store(job.store_url)
    images, digest = load_index(store, job.source, chunk.shard)
    if digest != chunk.digest:
        raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
    answers, counters = ShardAnswers(store, chunk.shard.id, job.retry_reasons, job.epoch), Counters()
    own = {q.id: stored_by(store, q, chunk.shard.id, job.epoch, actor) for q in questions if q.per_unit}
    missing = list(chunk.missing)
    for row in chunk.rows():
        states = answers.of(images[row])
        for i, question in enumerate(questions):
            if not chunk.lacks(row, i):
                continue
            state = states.state(question)
            found = state.found
            if question.per_unit:
                made = own[question.id]
                found = [item for item in found if question.identity(item, item.prompt_sha256 or "") in made]
            counters.count(found, question.id)
            if state.complete:
                counters.finished(question, skipped=state.status == "skipped")
                missing[i] &= ~(1 << row - chunk.first)
    return replace(chunk, missing=tuple(missing)), counters


def reject_poison(
    questions: Sequence[Question], job: Job, chunk: Chunk, number: int, detail: str
) -> tuple[list[Reject], Counters]:
    """Task: store a `poison` reject for each missing answer of `chunk`. Returns them with their counts. `number` is
    unique in the run."""
    store = open_store(job.store_url)
    images, _ = load_index(store, job.source, chunk.shard)
    name = f"{chunk.number:06d}.{job.epoch:06d}-{number:04d}-poison"
    answers = ShardAnswers(store, chunk.shard.id, job.retry_reasons, job.epoch)
    made: list[Reject] = []
    counters = Counters()
    for i, question in enumerate(questions):
        rejects = []
        for image in (images[row] for row in chunk.rows() if chunk.lacks(row, i)):
            state = answers.of(image).state(question)
            counters.finished(question, skipped=state.status == "skipped")
            rejects += [
                Reject.of(
                    image,
                    stage="generate",
                    generation=question.id,
                    reason="poison",
                    detail=detail[:500],
                    attempts=1,
                    prompt_sha256=request.prompt_sha256,
                    unit=request.unit.id or None,
                )
                for request in state.missing
            ]
        put_part(store, question, chunk.shard.id, name, [], rejects)
        answers.add(question, rejects)  # generations that read these have nothing to ask about
        counters.count(rejects, question.id)
        made += rejects
    return made, counters


def _put_source_rejects(store: Store, shard: SourceShard, digest: str, images: Sequence[Image]) -> None:
    rejects = [asdict(source_reject(image)) for image in images if image.reason is not None]
    path = source_rejects(shard.id)
    if rejects:
        store.put(path, table_bytes(pa.Table.from_pylist(rejects, schema=REJECTS)))
    else:
        store.delete(path)  # left by an earlier version of the shard


def source_reject(image: Image) -> Reject:
    """The reject of an image that cannot be used because of its source."""
    assert image.reason is not None
    return Reject.of(
        image, stage=stage_of(image.reason), generation=None, reason=image.reason, detail=image.detail or ""
    )
