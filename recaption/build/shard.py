"""Turns the answers of one shard into dataset files: compact, assemble, annotate, write. Pure and without Ray."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain

import pyarrow as pa

from recaption.annotate import Annotator
from recaption.annotate.confidence import with_confidence
from recaption.build.assemble import Assembled, RecordRules, assemble_shard
from recaption.build.results import Result, is_whole, result_of, task_tables
from recaption.build.reviewed import with_reviews
from recaption.build.support import weighed
from recaption.build.unique import KeyHashes, key_hashes
from recaption.config import Annotate, Pipeline
from recaption.errors import DatasetError
from recaption.io.store import Store, open_store
from recaption.output import answers as parts
from recaption.output.index import load_index
from recaption.output.paths import STORED
from recaption.output.units import ShardAnswers
from recaption.source import Source
from recaption.tasks.question import Question
from recaption.tasks.review import REVIEWS
from recaption.types import Answer, Caption, Image, Reject, SourceShard
from recaption.write import (
    Encoder,
    Format,
    ShardContent,
    ShardEntry,
    ShardFormat,
    encoders,
    write_shard,
    written_shard,
)
from recaption.write.profile import FlairProfile, flair_profile


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSpec:
    """The settings that all shards of a build share; plain picklable values."""

    pipeline: Pipeline
    questions: tuple[Question, ...]
    source: Source
    store_url: str
    excluded: frozenset[str]
    prefix: str  # builds/<build>
    format: Format


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A shard of a build. `entry` is None if the published build already has it, made from the same inputs."""

    shard: SourceShard
    limit: int
    inputs: str
    entry: ShardEntry | None
    keys: KeyHashes | None = field(default=None, compare=False)  # of its images; None without an entry


def finish_shard(spec: BuildSpec, shard: SourceShard, limit: int, published_inputs: str | None) -> Built:
    """Compact a shard's parts and, unless the published build has it with the same inputs, annotate and write it.

    A shard already written into the unpublished build from the same inputs is reused, so an interrupted build resumes.
    """
    store = open_store(spec.store_url)
    images, inputs, _ = compact_shard(store, spec, shard, limit)
    if inputs == published_inputs:
        return Built(shard=shard, limit=limit, inputs=inputs, entry=None)
    entry = written_shard(store, spec.prefix, shard.id)
    if entry is None or entry.inputs != inputs:
        assembled = assemble_images(spec, shard, images, load_answers(store, spec, shard, images), name=shard.id)
        entry = write_assembled(store, spec, shard.id, assembled, [images], inputs)
    keys = key_hashes(image.key for image in images)
    return Built(shard=shard, limit=limit, inputs=inputs, entry=entry, keys=keys)


def compact_shard(store: Store, spec: BuildSpec, shard: SourceShard, limit: int) -> tuple[list[Image], str, bool]:
    """Compact a finished source shard. Returns its images, the identity of all that is built from it, and whether
    compaction has changed this identity."""
    images, _ = load_index(store, spec.source, shard)
    images = images[:limit]
    changed = [parts.compact(store, question, shard.id) for question in spec.questions]
    return images, _inputs(store, spec, shard, images), any(changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResults:
    """The stored answers and rejects of images of a source shard. `results` are made by `results.result_of`; `tables`
    has the rows of these results."""

    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)  # generation -> key -> answer
    rejects: list[Reject] = field(default_factory=list)
    results: dict[str, dict[str, Result]] = field(default_factory=dict)  # generation -> key -> result
    tables: dict[str, pa.Table] = field(default_factory=dict)


def load_answers(store: Store, spec: BuildSpec, shard: SourceShard, images: Sequence[Image]) -> StoredResults:
    """The stored results of these images of a source shard."""
    found = StoredResults()
    stored = ShardAnswers(store, shard.id, final=True)
    whole = [question for question in spec.questions if is_whole(question)]
    others = [question for question in spec.questions if not is_whole(question)]
    found.answers.update((question.id, {}) for question in whole)
    found.results.update((question.id, {}) for question in others)
    for image in images:
        of_image = stored.of(image)
        for question in whole:
            for _, item in of_image.state(question).items:
                if isinstance(item, Answer):
                    found.answers[question.id][image.key] = item
                elif item is not None:
                    found.rejects.append(item.for_image(image))
        if image.reason is None and image.sha256 not in spec.excluded:
            for question in others:
                found.results[question.id][image.key] = result_of(of_image, question, image)
    found.tables.update(task_tables(others, found.results))
    return found


def assemble_images(
    spec: BuildSpec, shard: SourceShard, images: Sequence[Image], stored: StoredResults, *, name: str
) -> Assembled:
    """Records of some or all images of a source shard, for the dataset shard `name`, before annotation.

    The record of an image does not depend on the other images that are assembled with it. Raises DatasetError if an
    image has neither an answer nor a reject for a generation.
    """
    holdout = spec.pipeline.output.holdout
    rules = RecordRules(
        generations=[question.generation for question in spec.questions],
        require=frozenset(spec.pipeline.require),
        holdout_fraction=holdout.fraction if holdout else 0.0,
        excluded=spec.excluded,
    )
    assembled = assemble_shard(images, stored.answers, stored.rejects, rules, shard_name=name, results=stored.results)
    embeddings = {
        question.id: {key: result.embeddings for key, result in stored.results[question.id].items()}
        for question in spec.questions
        if question.output.embeddings
    }
    assembled = replace(assembled, tables=stored.tables, embeddings=embeddings)
    for generation, counts in assembled.asked.items():
        if missing := counts.asked - counts.answered - counts.rejected:
            raise DatasetError(f"{missing} images have neither an answer nor a reject for {generation}", shard=shard.id)
    return assembled


def write_assembled(
    store: Store,
    spec: BuildSpec,
    name: str,
    assembled: Assembled,
    images: Sequence[Sequence[Image]],
    inputs: str,
) -> ShardEntry:
    """Annotate and write a dataset shard. `images`: by source shard, those of its records, in their order."""
    pipeline = spec.pipeline
    annotator = _annotator(pipeline.annotate)
    annotated = annotator.annotate_with_tables([record.captions for record in assembled.records])
    records = [
        replace(record, captions=captions) for record, captions in zip(assembled.records, annotated.images, strict=True)
    ]
    if assembled.confident:
        records = [replace(r, captions=tuple(_confident(c, assembled) for c in r.captions)) for r in records]
    custom_tables = {**annotated.tables, **assembled.tables}
    records = with_reviews(records, assembled.tables.get(REVIEWS.name), spec.questions, annotator.weights)
    records = weighed(records, custom_tables, pipeline.annotate.weights)
    usable = {record.key for record in records if record.status in ("ok", "partial")}
    wanted = [[image for image in of_source if image.key in usable] for of_source in images]
    content = ShardContent(
        name=name,
        records=records,
        images=lambda: chain.from_iterable(spec.source.read(of_source) for of_source in wanted if of_source),
        rejects=assembled.rejects,
        asked=assembled.asked,
        inputs=inputs,
        custom_tables=custom_tables,
        embeddings=assembled.embeddings,
        failures=(*annotated.failures, *assembled.failures),
    )
    shape = ShardFormat(
        format=spec.format,
        image_mode=pipeline.output.images,
        tokenizers=annotator.tokenizers,
        primary=pipeline.primary,
        profile=profile_of(pipeline, spec.questions),
        token_ids=token_encoders(pipeline.output.token_ids),
        holdout=pipeline.output.holdout is not None,
    )
    gc.freeze()  # the records live until all is written, so the collector should not traverse them repeatedly
    try:
        return write_shard(store, spec.prefix, content, shape)
    finally:
        gc.unfreeze()


def _confident(caption: Caption, assembled: Assembled) -> Caption:
    answer = assembled.confident.get(caption.caption_id)
    return caption if answer is None else with_confidence(caption, answer)


def profile_of(pipeline: Pipeline, questions: Sequence[Question]) -> FlairProfile | None:
    """The lists for FLAIR in each sample, if the pipeline sets `output.profile`."""
    output = pipeline.output
    if output.profile is None:
        return None
    kinds = {q.id: q.generation.granularity for q in questions if q.generation.granularity is not None}
    return flair_profile(kinds, {str(name): of for name, of in output.profile_map.items()}, output.profile_fill)


@lru_cache(maxsize=1)
def _annotator(settings: Annotate) -> Annotator:
    """Made once per process, because loading spaCy and a tagger takes about a second."""
    return Annotator(settings)


@lru_cache(maxsize=1)
def token_encoders(names: tuple[str, ...]) -> tuple[Encoder, ...]:
    """The encoders of `output.token_ids`, once per process. Raises ConfigError if one is not available."""
    return encoders(names)


def _inputs(store: Store, spec: BuildSpec, shard: SourceShard, images: Sequence[Image]) -> str:
    """Identity of all inputs of a shard. Compacted files are immutable, so their names represent their contents."""
    digest = hashlib.sha256()
    for image in images:
        row = image.row, image.key, image.source_key, image.sha256, image.url, image.raw_caption, image.reason
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
        if len(image.raw_captions) > 1:  # else the identity is that of versions with one raw caption
            digest.update(repr(image.raw_captions).encode("utf-8", "surrogatepass"))
    for question in spec.questions:
        for kind in STORED:
            digest.update("\n".join(parts.compacted(store, kind, question, shard.id)).encode())
    return digest.hexdigest()[:16]
