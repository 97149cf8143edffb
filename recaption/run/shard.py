"""One shard from answers to dataset files: compact, assemble, annotate, write. Pure in its inputs; knows no Ray."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.annotate import Annotator
from recaption.config import Annotate, Pipeline
from recaption.errors import DatasetError
from recaption.generate import parts
from recaption.generate.chunks import duplicate_keys, load_index, prompt_sha256
from recaption.generate.plan import Question
from recaption.source import Source
from recaption.store import Store, open_store
from recaption.types import Answer, Image, Reject, SourceShard
from recaption.write import Encoder, Format, ShardEntry, assemble_shard, encoders, write_shard, written_shard
from recaption.write.profile import FlairProfile, flair_profile


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
    limit: int
    inputs: str
    entry: ShardEntry | None


def finish_shard(spec: BuildSpec, shard: SourceShard, limit: int, published_inputs: str | None) -> Built:
    """Compact a shard's parts and, unless a published build has it from the same inputs, annotate and write it.

    A shard already written into the unpublished build from the same inputs is taken as it is: that is the resume.
    """
    store = open_store(spec.store_url)
    images, _ = load_index(store, spec.source, shard)
    images = images[:limit]
    for question in spec.questions:
        parts.compact(store, question, shard.id)
    inputs = _inputs(store, spec, shard, images)
    if inputs == published_inputs:
        return Built(shard=shard, limit=limit, inputs=inputs, entry=None)
    entry = written_shard(store, spec.prefix, shard.id)
    if entry is None or entry.inputs != inputs:
        entry = _write(store, spec, images, shard, inputs)
    return Built(shard=shard, limit=limit, inputs=inputs, entry=entry)


def check_keys(spec: BuildSpec, shards: Sequence[str]) -> None:
    """Raises UserError when two shards of the build share a key. Eight bytes a key are kept, no key itself."""
    store = open_store(spec.store_url)
    hashes: list[np.ndarray] = []
    for shard in shards:
        keys = _keys(store, spec, shard)
        hashes.append(np.array([_hash(key) for key in keys], dtype=np.uint64))
    everything = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
    values, counts = np.unique(everything, return_counts=True)
    twice = set(values[counts > 1].tolist())
    seen: dict[str, str] = {}
    for shard, found in zip(shards, hashes, strict=True) if twice else ():
        if not twice.intersection(found.tolist()):
            continue
        for key in _keys(store, spec, shard):
            if _hash(key) in twice and (other := seen.setdefault(key, shard)) != shard:
                raise duplicate_keys(key, other, shard)


def _keys(store: Store, spec: BuildSpec, shard: str) -> list[str]:
    data = store.get(f"{spec.prefix}/images/{shard}.parquet")
    keys: list[str] = pq.read_table(pa.BufferReader(data), columns=["key"])["key"].to_pylist()
    return keys


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _write(store: Store, spec: BuildSpec, images: Sequence[Image], shard: SourceShard, inputs: str) -> ShardEntry:
    pipeline = spec.pipeline
    answers: dict[str, dict[str, Answer]] = {}
    rejects: list[Reject] = []
    for question in spec.questions:
        stored = parts.finished(store, question, shard.id)
        answers[question.id] = {}
        for image in images:
            asked = question.identity(image, prompt_sha256(question, image))
            if answer := stored.answers.get(asked):
                answers[question.id][image.key] = answer
            elif found := stored.reject(asked):
                named = replace(found, key=image.key, source_key=image.source_key, shard=shard.id, row=image.row)
                rejects.append(named)
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
    for generation, asked_of in assembled.asked.items():
        if missing := asked_of.asked - asked_of.answered - asked_of.rejected:
            raise DatasetError(f"{missing} images have neither answer nor reject of {generation}", shard=shard.id)
    annotator = _annotator(pipeline.annotate)
    annotated, own = annotator.annotate_with_tables([record.captions for record in assembled.records])
    records = [
        replace(record, captions=captions) for record, captions in zip(assembled.records, annotated, strict=True)
    ]
    usable = [image for image, record in zip(images, records, strict=True) if record.status in ("ok", "partial")]
    gc.freeze()  # the records live until all is written: the collector need not walk over them again and again
    try:
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
            own=own,
            profile=profile_of(pipeline, spec.questions),
            token_ids=token_encoders(pipeline.output.token_ids),
        )
    finally:
        gc.unfreeze()


def profile_of(pipeline: Pipeline, questions: Sequence[Question]) -> FlairProfile | None:
    """The lists that samples have for FLAIR, if the pipeline asks for them."""
    output = pipeline.output
    if output.profile is None:
        return None
    kinds = {question.id: question.generation.kind for question in questions}
    return flair_profile(kinds, {str(name): of for name, of in output.profile_map.items()}, output.profile_fill)


@lru_cache(maxsize=1)
def _annotator(settings: Annotate) -> Annotator:
    """Once per process: loading spaCy and a tagger takes about a second."""
    return Annotator(settings)


@lru_cache(maxsize=1)
def token_encoders(names: tuple[str, ...]) -> tuple[Encoder, ...]:
    """Those of `output.token_ids`, once per process. Raises ConfigError when one cannot be had."""
    return encoders(names)


def _inputs(store: Store, spec: BuildSpec, shard: SourceShard, images: Sequence[Image]) -> str:
    """Identity of all that a shard is built from. Compacted files are immutable, so their names stand for them."""
    digest = hashlib.sha256()
    for image in images:
        row = image.row, image.key, image.source_key, image.sha256, image.url, image.raw_caption, image.reason
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    for question in spec.questions:
        for kind in ("answers", "rejects"):
            digest.update("\n".join(parts.compacted(store, kind, question, shard.id)).encode())
    return digest.hexdigest()[:16]
