"""One shard from answers to dataset files: compact, assemble, annotate, write. Pure in its inputs; knows no Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from recaption.annotate import Annotator
from recaption.config import Annotate, Pipeline
from recaption.generate import parts
from recaption.generate.chunks import load_index, prompt_sha256
from recaption.generate.plan import Question
from recaption.source import Source
from recaption.store import Store, open_store
from recaption.types import Answer, Image, Reject, SourceShard
from recaption.write import Format, ShardEntry, assemble_shard, write_shard, written_shard


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSpec:
    """What the building of every shard shares; plain picklable values."""

    pipeline: Pipeline
    questions: tuple[Question, ...]
    source: Source
    store_url: str
    excluded: frozenset[str]
    prefix: str  # builds/<build>
    format: Format


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A shard of a build. `entry` is None where the published build already holds it made from the same inputs."""

    shard: SourceShard
    limit: int | None
    inputs: str
    entry: ShardEntry | None


def finish_shard(spec: BuildSpec, shard: SourceShard, limit: int | None, published_inputs: str | None) -> Built:
    """Compact a shard's parts and, unless a published build has it from the same inputs, annotate and write it.

    A shard already written into the unpublished build from the same inputs is taken as it is: that is the resume.
    """
    store = open_store(spec.store_url)
    images, digest = load_index(store, spec.source, shard)
    place = f"{shard.id}@{digest}"
    for question in spec.questions:
        parts.compact(store, question, shard.id, place)
    inputs = _inputs(store, spec, shard, digest, limit)
    if inputs == published_inputs:
        return Built(shard=shard, limit=limit, inputs=inputs, entry=None)
    entry = written_shard(store, spec.prefix, shard.id)
    if entry is None or entry.inputs != inputs:
        entry = _write(store, spec, images[:limit], shard, place, inputs)
    return Built(shard=shard, limit=limit, inputs=inputs, entry=entry)


def _write(
    store: Store, spec: BuildSpec, images: Sequence[Image], shard: SourceShard, place: str, inputs: str
) -> ShardEntry:
    pipeline = spec.pipeline
    answers: dict[str, dict[str, Answer]] = {}
    rejects: list[Reject] = []
    for question in spec.questions:
        stored = parts.finished(store, question, shard.id, place)
        asked = {image.key: (image.sha256, prompt_sha256(question, image)) for image in images}
        answers[question.id] = {key: stored.answers[what] for key, what in asked.items() if what in stored.answers}
        rejects.extend(stored.rejects.values())
    holdout = pipeline.output.holdout
    assembled = assemble_shard(
        images,
        answers,
        rejects,
        [question.generation for question in spec.questions],
        require=pipeline.require,
        holdout_fraction=holdout.fraction if holdout else 0.0,
        excluded=spec.excluded,
        shard_name=shard.id,
    )
    annotator = _annotator(pipeline.annotate)
    annotated = annotator.annotate([record.captions for record in assembled.records])
    records = [
        replace(record, captions=captions) for record, captions in zip(assembled.records, annotated, strict=True)
    ]
    usable = [image for image, record in zip(images, records, strict=True) if record.status in ("ok", "partial")]
    return write_shard(
        store,
        spec.prefix,
        shard.id,
        records,
        lambda: spec.source.read(usable),
        format=spec.format,
        tokenizers=annotator.tokenizers,
        primary=pipeline.primary,
        image_mode=pipeline.output.images,
        rejects=assembled.rejects,
        asked=assembled.asked,
        inputs=inputs,
    )


@lru_cache(maxsize=1)
def _annotator(settings: Annotate) -> Annotator:
    """Once per process: loading spaCy and a tagger takes about a second."""
    return Annotator(settings)


def _inputs(store: Store, spec: BuildSpec, shard: SourceShard, digest: str, limit: int | None) -> str:
    """Identity of all that a shard is built from. Compacted files are immutable, so their names stand for them."""
    names = [
        path
        for question in spec.questions
        for kind in ("answers", "rejects")
        for path in parts.compacted(store, kind, question, shard.id)
    ]
    return hashlib.sha256("\n".join([digest, str(limit), *names]).encode()).hexdigest()[:16]
