"""What runs in tasks on the cluster, near the data: listing a shard, looking up what is still missing of a chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from recaption.generate.chunks import Chunk, ShardListing, list_shard, recheck, reject_poison
from recaption.generate.counters import Counters
from recaption.generate.retry import answer_from_column
from recaption.io.store import open_store
from recaption.output import answers as parts
from recaption.output.index import load_index
from recaption.output.moved import MovedAnswers
from recaption.source import Source
from recaption.tasks.question import Question, requests
from recaption.types import Answer, Reject, SourceShard


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every part of one run shares."""

    source: Source
    store_url: str
    epoch: int
    excluded: frozenset[str] = frozenset()
    limit: int | None = None  # images, over all shards in listing order
    retry_reasons: frozenset[str] = frozenset()  # rejects for these reasons are asked again
    moved: bool = False  # the output has shards that the source does not list: images may lie in others now


def list_one(
    questions: tuple[Question, ...], job: Job, shard: SourceShard, limit: int | None = None, stored: bool = False
) -> ShardListing:
    """List one shard; answers that exist in a column are stored at once."""
    store = open_store(job.store_url)
    moved = _moved_answers(job.store_url, job.epoch, job.moved)
    listing = list_shard(store, job.source, shard, questions, job.excluded, limit, job.retry_reasons, moved)
    if not stored or not listing.chunks:
        return listing
    images, _ = load_index(store, job.source, shard)
    counters = Counters()
    for chunk in listing.chunks:
        for i, question in enumerate(questions):
            missing = [images[row] for row in chunk.rows() if chunk.asks(row, i)]
            items = [answer_from_column(r) for r in chain.from_iterable(requests(question, image) for image in missing)]
            answers = [item for item in items if isinstance(item, Answer)]
            rejects = [item for item in items if isinstance(item, Reject)]
            name = f"{chunk.number:06d}.{job.epoch:06d}-0000"
            unstorable = parts.put_part(store, question, shard.id, name, answers, rejects)
            counters.count(parts.stored(items, unstorable), question.id)
    left = list_shard(store, job.source, shard, questions, job.excluded, limit)
    return replace(left, done=listing.done, duplicates=listing.duplicates, counters=counters)


@lru_cache(maxsize=1)
def _moved_answers(store_url: str, epoch: int, unlisted: bool) -> MovedAnswers:
    """Once per process and run: where answers lie is read at most once."""
    return MovedAnswers(open_store(store_url), unlisted=unlisted)


def recheck_one(questions: tuple[Question, ...], job: Job, chunk: Chunk) -> tuple[Chunk, Counters]:
    """What is still missing of a chunk whose actor is gone, and the figures of what is stored of it."""
    return recheck(open_store(job.store_url), job.source, chunk, questions, job.retry_reasons, job.epoch)


def poison_one(questions: tuple[Question, ...], job: Job, chunk: Chunk, number: int, detail: str) -> list[Reject]:
    """Reject an image that kills engines. Returns its rejects, one of each question that is missing."""
    name = f"{chunk.number:06d}.{job.epoch:06d}-{number:04d}-poison"
    return reject_poison(open_store(job.store_url), job.source, chunk, questions, name, detail)
