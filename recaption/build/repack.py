"""Dataset shards of equal counts, cut out of the source's shards.

    survey, per source shard      how many samples a trainer will see, and their inputs: a hundred bytes
    cut                           which samples of which source shards make a dataset shard
    pack, per dataset shard       assemble, annotate and write them

Like `recaption.build.shard`, a pure function of its inputs, without Ray. Rows of samples never reach the driver: a cut
is a number of samples, and the packing task assembles the source shard again to find the row of the cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from recaption.build.assemble import Assembled
from recaption.build.shard import BuildSpec, assemble_images, compact_shard, load_answers, write_assembled
from recaption.build.unique import KeyHashes, key_hashes
from recaption.errors import DatasetError
from recaption.io.store import Store, open_store
from recaption.output.index import duplicate_keys
from recaption.types import Answer, CaptionFailure, Image, Record, Reject, SourceShard
from recaption.write import GenerationCounts, ShardEntry, written_shard

DIGITS = 5  # of a dataset shard's name, at least


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The counts and inputs of a finished source shard. `samples` are its usable images in train; None: not counted.

    `changed`: its answers are newer than every build that is published.
    """

    shard: SourceShard
    limit: int  # its rows within the run's scope
    inputs: str
    samples: int | None
    changed: bool = field(default=False, compare=False)
    keys: KeyHashes | None = field(default=None, compare=False)  # of its images; None: not counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Consecutive rows of a source shard that go into one dataset shard.

    The segment begins at the row of sample `first` (0: at the first row) and ends before the row of sample `stop`
    (None: at the end of the shard). Rows that are not train samples (rejects and held-out images) belong to the sample
    before them.
    """

    source: Survey
    first: int = 0
    stop: int | None = None

    @property
    def samples(self) -> int:
        assert self.source.samples is not None
        return (self.source.samples if self.stop is None else self.stop) - self.first


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """A dataset shard to be written."""

    name: str
    segments: tuple[Segment, ...]

    @property
    def inputs(self) -> str:
        """Identity of all inputs of the dataset shard."""
        return _digest((s.source.shard.id, s.source.inputs, s.first, s.stop) for s in self.segments)


def survey(spec: BuildSpec, shard: SourceShard, limit: int, count: bool) -> Survey:
    """Compact a finished source shard and, with `count` or new answers, assemble it to know how many samples it has."""
    store = open_store(spec.store_url)
    images, inputs, changed = compact_shard(store, spec, shard, limit)
    samples = keys = None
    if count or changed:
        keys = key_hashes(image.key for image in images)
        assembled = assemble_images(spec, shard, images, load_answers(store, spec, shard, images), name=shard.id)
        samples = sum(_is_sample(record) for record in assembled.records)
    return Survey(shard=shard, limit=limit, inputs=inputs, samples=samples, changed=changed, keys=keys)


def identity(surveys: Iterable[Survey]) -> str:
    """Identity of all source shards together: while it is the same, so is the build."""
    return _digest((survey.shard.id, survey.inputs) for survey in surveys)


class Cutter:
    """Cuts source shards, given in source order, into dataset shards of exactly `size` train samples each.

    Each row of each source shard is in exactly one dataset shard. A cut is always directly before a sample. At a cut
    between two source shards, source shards without samples stay with the shards before them, so that no dataset shard
    is without samples unless it is the only one.
    """

    def __init__(self, size: int) -> None:
        self._size = self._room = size
        self.rest: list[Segment] = []
        """Segments that are not in a complete dataset shard yet."""

    def add(self, source: Survey) -> list[list[Segment]]:
        """The segments of the dataset shards that are complete now: later source shards cannot change them."""
        assert source.samples is not None
        complete = []
        first: int | None = 0
        while first is not None:
            if self._room == 0 and source.samples:
                complete.append(self.rest)
                self.rest, self._room = [], self._size
            stop = first + self._room if first + self._room < source.samples else None
            self.rest.append(Segment(source=source, first=first, stop=stop))
            self._room -= self.rest[-1].samples
            first = stop
        return complete


def cut(surveys: Sequence[Survey], size: int) -> list[Packing]:
    """The dataset shards of all source shards, in source order; see `Cutter`. The last one has the remaining samples.

    Names are 00000, 00001, …, with more digits above 100,000 shards.
    """
    cutter = Cutter(size)
    shards = [shard for source in surveys for shard in cutter.add(source)]
    if cutter.rest:
        shards.append(cutter.rest)
    digits = max(DIGITS, len(str(len(shards) - 1)))
    return [Packing(name=f"{n:0{digits}d}", segments=tuple(segments)) for n, segments in enumerate(shards)]


class EarlyCuts:
    """Cuts dataset shards during generation. A cut is made once all source shards before it are counted.

    The names have `DIGITS` digits. If the build gets too many shards for that, they are all written again under their
    final, longer names.
    """

    def __init__(self, size: int) -> None:
        self._cutter = Cutter(size)
        self._waiting: dict[int, Survey] = {}  # by the number of the source shard
        self._next = self._made = 0

    def add(self, counted: Survey) -> Iterator[Packing]:
        """The dataset shards that are complete now."""
        self._waiting[counted.shard.number] = counted
        while (source := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            for segments in self._cutter.add(source):
                yield Packing(name=f"{self._made:0{DIGITS}d}", segments=tuple(segments))
                self._made += 1


def pack(spec: BuildSpec, packing: Packing) -> ShardEntry:
    """Write a dataset shard. If an interrupted run has written it from the same inputs, reuse it.

    Memory holds the shard's records and one source shard. Raises DatasetError if a source shard has changed since it
    was counted, or if a key occurs twice.
    """
    store = open_store(spec.store_url)
    entry = written_shard(store, spec.prefix, packing.name)
    if entry is not None and entry.inputs == packing.inputs:
        return entry
    images: list[list[Image]] = []
    shard_of: dict[str, str] = {}  # by key; this shard may be written before all keys are compared
    records: list[Record] = []
    rejects: list[Reject] = []
    asked: dict[str, GenerationCounts] = {}
    tables: dict[str, list[pa.Table]] = {}
    embeddings: dict[str, dict[str, Mapping[str, bytes]]] = {}
    failures: list[CaptionFailure] = []
    confident: dict[str, Answer] = {}
    for segment in packing.segments:
        of_source, assembled = _take(store, spec, packing.name, segment)
        shift = len(records) - (of_source[0].row if of_source else 0)
        images.append(of_source)
        of = segment.source.shard.id
        for image in of_source:
            if (other := shard_of.setdefault(image.key, of)) != of:
                raise duplicate_keys(image.key, other, of)
        records += [replace(record, row=record.row + shift) for record in assembled.records]
        rejects += [replace(reject, shard=packing.name, row=reject.row + shift) for reject in assembled.rejects]
        failures += assembled.failures
        confident.update(assembled.confident)
        for name, table in assembled.tables.items():
            tables.setdefault(name, []).append(table)
        for generation, by_key in assembled.embeddings.items():
            embeddings.setdefault(generation, {}).update(by_key)
        asked = {name: asked.get(name, GenerationCounts()) + counts for name, counts in assembled.asked.items()}
    whole = Assembled(
        records=tuple(records),
        rejects=tuple(rejects),
        asked=asked,
        tables={name: pa.concat_tables(of_sources) for name, of_sources in tables.items()},
        embeddings=embeddings,
        failures=tuple(failures),
        confident=confident,
    )
    return write_assembled(store, spec, packing.name, whole, images, packing.inputs)


def _take(store: Store, spec: BuildSpec, name: str, segment: Segment) -> tuple[list[Image], Assembled]:
    """The images of a segment and their assembled records; row numbers still refer to the source shard."""
    shard = segment.source.shard
    images, inputs, _ = compact_shard(store, spec, shard, segment.source.limit)
    stored = load_answers(store, spec, shard, images)
    assembled = assemble_images(spec, shard, images, stored, name=name)
    samples = [at for at, record in enumerate(assembled.records) if _is_sample(record)]
    if inputs != segment.source.inputs or len(samples) != segment.source.samples:
        raise DatasetError("it changed since its samples were counted; run the same command again", shard=shard.id)
    if segment.first or segment.stop is not None:  # assembled again, which takes 3 % of the time of annotation
        first = samples[segment.first] if segment.first else 0
        images = images[first : None if segment.stop is None else samples[segment.stop]]
        assembled = assemble_images(spec, shard, images, stored, name=name)
    return images, assembled


def _is_sample(record: Record) -> bool:
    return record.split == "train" and record.status in ("ok", "partial")


def _digest(parts: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]
