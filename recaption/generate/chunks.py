"""A shard's index, and what of it is still to be asked, cut into chunks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.engine import replay
from recaption.errors import RequestError, ShardError, SourceError
from recaption.generate.counters import Counters
from recaption.generate.moved import MovedAnswers
from recaption.generate.parts import Finished, finished, put_part, table_bytes
from recaption.generate.plan import Identity, Question
from recaption.generate.retry import request_sha256, unfilled_sha256
from recaption.schema import INDEX, REJECTS, check_version
from recaption.source import Source
from recaption.source.base import within_limits
from recaption.source.index import index_digest, index_from_table, index_to_table
from recaption.store import Store
from recaption.types import DECODE_REASONS, Answer, Image, Reject, SourceShard, stage_of

CHUNK_SIZE = 256  # images
NAMED = 16  # of a shard's images that cannot be used, those that the log names

_SIGNATURE = b"recaption.source_signature"
_DIGEST = b"recaption.index_digest"


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
class Listing:
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


def load_index(
    store: Store, source: Source, shard: SourceShard, *, refresh: bool = False, moved: MovedAnswers | None = None
) -> tuple[list[Image], str]:
    """The shard's images and the digest of its index, from `index/<shard>` or by reading the shard once.

    Headers and ends of files were checked when it was read; images outside of `source.limits` have a `reason` too.

    An index is used again while the source file's size and time of change are what they were. With `refresh` unset
    and no way to tell (folders), the index on disk is only used by those who come after the listing.
    What `moved` finds of images that are new in the shard is put before the index that names them: a run that is killed
    in between looks again.
    """
    path = f"index/{shard.id}.parquet"
    signature = source.signature(shard)
    earlier: pa.Table | None = None
    if (moved is not None or not refresh) and store.exists(path):
        earlier = pq.read_table(pa.BufferReader(store.get(path)))
        check_version(earlier.schema, path)
        metadata = earlier.schema.metadata or {}
        if not refresh and (signature is None or metadata.get(_SIGNATURE, b"").decode() == signature):
            images = index_from_table(earlier, shard.id)
            return within_limits(images, source.config.limits), metadata[_DIGEST].decode()
    images = source.index(shard)
    if moved is not None and (earlier is not None or moved.unlisted):
        known = frozenset(earlier["sha256"].to_pylist() if earlier is not None else ())
        moved.bring(shard.id, [image for image in images if image.reason is None and image.sha256 not in known])
    digest = index_digest(images)
    metadata = {**(INDEX.metadata or {}), _SIGNATURE: (signature or "").encode(), _DIGEST: digest.encode()}
    store.put(path, table_bytes(index_to_table(images).replace_schema_metadata(metadata)))
    return within_limits(images, source.config.limits), digest


def list_shard(
    store: Store,
    source: Source,
    shard: SourceShard,
    questions: Sequence[Question],
    excluded: frozenset[str],
    limit: int | None = None,
    redrive: frozenset[str] = frozenset(),
    moved: MovedAnswers | None = None,
) -> Listing:
    """Index a shard, put its source-level rejects, and cut what is still missing into chunks."""
    images, digest = load_index(store, source, shard, refresh=source.signature(shard) is None, moved=moved)
    images = images[:limit]
    _put_source_rejects(store, shard, digest, images)
    usable = [image for image in images if image.reason is None and image.sha256 not in excluded]
    masks: list[dict[int, int]] = []  # per question: chunk number -> bits
    done, duplicates = [], []
    for question in questions:
        stored = finished(store, question, shard.id, redrive)
        asked: set[Identity] = set()
        bits: dict[int, int] = {}
        equal = settled = 0
        for image in usable:
            identity = question.identity(image, prompt_sha256(question, image))
            if identity in asked:
                equal += 1  # the same image under the same prompt is asked once and fanned out when built
                continue
            if stored_item(stored, question, image, identity) is not None:
                settled += 1
                continue
            asked.add(identity)
            number, offset = divmod(image.row, CHUNK_SIZE)
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
    return Listing(
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


def narrow(
    store: Store,
    source: Source,
    chunk: Chunk,
    questions: Sequence[Question],
    redrive: frozenset[str] = frozenset(),
    epoch: int | None = None,
) -> tuple[Chunk, Counters]:
    """What is still missing of a chunk, and the figures of what is stored of it. Raises ShardError, StoreError."""
    images, digest = load_index(store, source, chunk.shard)
    if digest != chunk.digest:
        raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
    missing, counters = [], Counters()
    for bits, question in zip(chunk.missing, questions, strict=True):
        stored = finished(store, question, chunk.shard.id, redrive, epoch)
        for row in Chunk.rows(replace(chunk, missing=(bits,))):
            identity = question.identity(images[row], prompt_sha256(question, images[row]))
            if (item := stored_item(stored, question, images[row], identity)) is not None:
                bits &= ~(1 << row - chunk.first)
                counters.count((item,), question.id)
        missing.append(bits)
    return replace(chunk, missing=tuple(missing)), counters


def reject_poison(
    store: Store, source: Source, chunk: Chunk, questions: Sequence[Question], name: str, detail: str
) -> list[Reject]:
    """Put a `poison` reject for everything that `chunk` misses, and return them."""
    images, _ = load_index(store, source, chunk.shard)
    made: list[Reject] = []
    for i, question in enumerate(questions):
        rows = [row for row in chunk.rows() if chunk.asks(row, i)]
        rejects = [
            Reject.of(
                images[row],
                stage="generate",
                generation=question.id,
                reason="poison",
                detail=detail[:500],
                attempts=1,
                prompt_sha256=prompt_sha256(question, images[row]),
            )
            for row in rows
        ]
        put_part(store, question, chunk.shard.id, name, [], rejects)
        made += rejects
    return made


def prompt_sha256(question: Question, image: Image) -> str:
    """sha256 of the question as it is put for the image, or of what stands for it."""
    if question.prompt is None:
        assert question.generation.column is not None
        return replay.asked(image, question.generation.column)
    try:
        return request_sha256(image, question.prompt.fill_in(image.columns))
    except RequestError:
        return unfilled_sha256(question.prompt, image)


def stored_item(
    stored: Finished, question: Question, image: Image, identity: Identity | None = None
) -> Answer | Reject | None:
    """What is stored about the image under the question, an answer before a reject; None: it is still to be asked.

    Answers to a prompt with absent values as it was filled in before schema 1.3 count (`Prompt.fill_in_as_before`).
    """
    identity = identity or question.identity(image, prompt_sha256(question, image))
    if (answer := stored.answers.get(identity)) is not None:
        return answer
    before = None
    if question.prompt is not None and (stored.answers or stored.rejects):
        text = question.prompt.fill_in_as_before(image.columns)
        before = None if text is None else question.identity(image, request_sha256(image, text))
    if before is not None and (answer := stored.answers.get(before)) is not None:
        return answer
    return stored.reject(identity) or (None if before is None else stored.reject(before))


def _put_source_rejects(store: Store, shard: SourceShard, digest: str, images: Sequence[Image]) -> None:
    rejects = [asdict(source_reject(image)) for image in images if image.reason is not None]
    path = f"rejects/source/{shard.id}.parquet"
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


def duplicate_keys(key: str, shard: str, other: str) -> SourceError:
    """Two shards have the same key."""
    return SourceError(
        f"key {key!r} is in shard {shard} and in shard {other}; keys must be unique in a dataset. "
        "Set source.keys=positional to number them by shard and row; answers that exist are kept"
    )
