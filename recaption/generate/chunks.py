"""A shard's index, and what of it is still to be asked, cut into chunks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice

import pyarrow as pa

from recaption.errors import ShardError
from recaption.generate.counters import Counters
from recaption.io.store import Store
from recaption.output.answers import finished, put_part, stored_item, table_bytes
from recaption.output.index import load_index
from recaption.output.moved import MovedAnswers
from recaption.output.paths import source_rejects
from recaption.schema import REJECTS
from recaption.source import Source
from recaption.tasks.question import Identity, Question, requests
from recaption.types import DECODE_REASONS, Image, Reject, SourceShard, stage_of

CHUNK_SIZE = 256  # images
NAMED = 16  # of a shard's images that cannot be used, those that the log names


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The unit of work: up to 256 consecutive images of one shard, with all questions of one model still missing.

    `missing` has a bit per image for each question, by position in the model's plan: bit i is row `first + i`.
    About a hundred bytes when pickled, so the driver can hold very many.
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
        """Rows with anything missing, ascending."""
        union = 0
        for mask in self.missing:
            union |= mask
        return [self.first + i for i in range(union.bit_length()) if union >> i & 1]

    def asks(self, row: int, question: int) -> bool:
        return bool(self.missing[question] >> (row - self.first) & 1)

    def only(self, rows: Collection[int]) -> Chunk:
        """The same chunk with nothing missing but what these rows miss."""
        mask = 0
        for row in rows:
            mask |= 1 << row - self.first
        return replace(self, missing=tuple(bits & mask for bits in self.missing))

    def minus(self, other: Chunk) -> Chunk:
        """The same chunk without what `other`, a part of it, misses."""
        return replace(self, missing=tuple(a & ~b for a, b in zip(self.missing, other.missing, strict=True)))

    def without(self, rows: Collection[int]) -> Chunk:
        """The same chunk without what these rows miss."""
        return self.minus(self.only(rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardListing:
    """What the driver learns of a shard: numbers and chunks, never images."""

    shard: SourceShard
    digest: str
    images: int  # rows of the shard within the run's scope
    usable: int  # of them, those that can be asked about
    done: tuple[int, ...]  # per question of the model: images answered or rejected before this run
    duplicates: tuple[int, ...]  # per question: images that are missing and equal to an earlier one of the shard
    first_key: str | None  # of the shard's first row: shards whose keys begin alike are told early
    chunks: tuple[Chunk, ...]
    counters: Counters = field(default_factory=Counters)  # of what was answered while listing, without an engine
    rejected: tuple[Reject, ...] = ()  # images that cannot be used, the first `NAMED`: for the log


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
    """Index a shard, put its source-level rejects, and cut what is still missing into chunks."""
    images, digest = load_index(store, source, shard, refresh=source.signature(shard) is None, moved=moved)
    images = images[:limit]
    _put_source_rejects(store, shard, digest, images)
    usable = [image for image in images if image.reason is None and image.sha256 not in excluded]
    masks: list[dict[int, int]] = []  # per question: chunk number -> bits
    done, duplicates = [], []
    for question in questions:
        stored = finished(store, question, shard.id, retry_reasons)
        pending: set[Identity] = set()
        bits: dict[int, int] = {}
        equal = settled = 0
        for request in chain.from_iterable(requests(question, image) for image in usable):
            identity = request.identity
            if identity in pending:
                equal += 1  # equal images with equal prompts share one answer; the build gives it to each of them
                continue
            if stored_item(stored, request) is not None:
                settled += 1
                continue
            pending.add(identity)
            number, offset = divmod(request.image.row, CHUNK_SIZE)
            bits[number] = bits.get(number, 0) | 1 << offset
        masks.append(bits)
        done.append(settled)
        duplicates.append(equal)
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


def recheck(
    store: Store,
    source: Source,
    chunk: Chunk,
    questions: Sequence[Question],
    retry_reasons: frozenset[str] = frozenset(),
    epoch: int | None = None,
) -> tuple[Chunk, Counters]:
    """What is still missing of a chunk, and the figures of what is stored of it. Raises ShardError, StoreError."""
    images, digest = load_index(store, source, chunk.shard)
    if digest != chunk.digest:
        raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
    missing, counters = [], Counters()
    for bits, question in zip(chunk.missing, questions, strict=True):
        stored = finished(store, question, chunk.shard.id, retry_reasons, epoch)
        for row in Chunk.rows(replace(chunk, missing=(bits,))):
            items = [stored_item(stored, request) for request in requests(question, images[row])]
            found = [item for item in items if item is not None]
            counters.count(found, question.id)
            if len(found) == len(items):
                bits &= ~(1 << row - chunk.first)
        missing.append(bits)
    return replace(chunk, missing=tuple(missing)), counters


def reject_poison(
    store: Store, source: Source, chunk: Chunk, questions: Sequence[Question], name: str, detail: str
) -> list[Reject]:
    """Put a `poison` reject for everything that `chunk` misses, and return them."""
    images, _ = load_index(store, source, chunk.shard)
    made: list[Reject] = []
    for i, question in enumerate(questions):
        missing = [images[row] for row in chunk.rows() if chunk.asks(row, i)]
        rejects = [
            Reject.of(
                request.image,
                stage="generate",
                generation=question.id,
                reason="poison",
                detail=detail[:500],
                attempts=1,
                prompt_sha256=request.prompt_sha256,
            )
            for request in chain.from_iterable(requests(question, image) for image in missing)
        ]
        put_part(store, question, chunk.shard.id, name, [], rejects)
        made += rejects
    return made


def _put_source_rejects(store: Store, shard: SourceShard, digest: str, images: Sequence[Image]) -> None:
    rejects = [asdict(source_reject(image)) for image in images if image.reason is not None]
    path = source_rejects(shard.id)
    if rejects:
        store.put(path, table_bytes(pa.Table.from_pylist(rejects, schema=REJECTS)))
    else:
        store.delete(path)  # of an earlier state of the shard


def source_reject(image: Image, excluded: bool = False) -> Reject:
    """The reject of an image that its source already rules out."""
    return Reject.of(
        image,
        stage="build" if excluded else stage_of(image.reason),
        generation=None,
        reason="decontaminated" if excluded else image.reason or "unreadable",
        detail="listed in source.exclude" if excluded else image.detail or "",
    )
