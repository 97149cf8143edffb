"""Writing a shard against the plain libraries on the same bytes, and a build against its slower half.

    tar       `tar_writer` from records and JPEG bytes (JSON, sha256 and index too), against `tarfile.open("w|")`
    parquet   the sidecar's nested table from records, against `pq.write_table` of the ready Arrow table; `light` is the
              same of records with at most eight sub-captions and one tag each, as the bar was once measured
    build     shards annotated and written as `recaption build` does it, against annotating alone and writing alone

Everything on one core, into memory where there is /dev/shm: a disk would hide the difference.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
from annotate import captions as texts
from annotate import resident
from samples import sample, write_tar

from recaption import config
from recaption.annotate import Annotator
from recaption.build.shard import BuildSpec, finish_shard
from recaption.config import Annotate
from recaption.generate.chunks import Job, ShardListing, list_one
from recaption.generate.plan import make_plan
from recaption.io.store import Store, open_store
from recaption.output.index import load_index
from recaption.source import open_source
from recaption.types import Caption, Record
from recaption.write import ShardContent, ShardEntry, ShardFormat, Stored, write_shard
from recaption.write.columns import Columns
from recaption.write.tables import NESTED_ROWS, write_sidecar, write_table
from recaption.write.webdataset import primary_text, sample_json, tar_writer

RECORDS, SHARDS = 2_000, 4
PRIMARY = ("long", "raw")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    records = annotated(images(RECORDS, 0))
    pictures = [_stored(_jpeg(seed)) for seed in range(64)]
    samples = [(record, pictures[i % len(pictures)]) for i, record in enumerate(records)]
    ready = Columns(records).nested()
    light = _light(records)
    light_ready = Columns(light).nested()
    members = [_members(record, picture) for record, picture in samples]
    runs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        build = _Build(Path(folder) / "whole", pictures, RECORDS // SHARDS)
        growth = _growth(_Build(Path(folder) / "small", pictures, 50))
        sides: dict[str, Callable[[Path], object]] = {
            "tar": lambda path: _our_tar(path, samples),
            "tarfile": lambda path: _tarfile(path, members),
            "parquet": lambda path: write_sidecar(open_store(str(path)), "x.parquet", Columns(records)),
            "write_table": lambda path: _write_table(path, ready),
            "light_parquet": lambda path: write_sidecar(open_store(str(path)), "x.parquet", Columns(light)),
            "light_write_table": lambda path: _write_table(path, light_ready),
            "arrow": lambda _: Columns(records).nested(),
            "annotate": build.annotate,
            "write": build.write,
            "build": build.build,
        }
        for pair in range(arguments.pairs):
            for name, side in sides.items():
                runs.setdefault(name, []).append(RECORDS / _seconds(side, Path(folder) / f"{name}{pair}"))
    rate = {name: statistics.median(values) for name, values in runs.items()}
    size = sum(len(data) for sample in members for _, data in sample) / RECORDS
    slower = min(rate["annotate"], rate["write"])
    return {
        **_sizes(records, ""),
        **_sizes(light, "light_"),
        "tar_mb_per_s": rate["tar"] * size / 1e6,
        "tarfile_mb_per_s": rate["tarfile"] * size / 1e6,
        "tar_to_tarfile": rate["tar"] / rate["tarfile"],
        "parquet_records_per_s": rate["parquet"],
        "records_to_arrow_per_s": rate["arrow"],
        "write_table_records_per_s": rate["write_table"],
        "parquet_to_write_table": rate["parquet"] / rate["write_table"],
        "light_parquet_records_per_s": rate["light_parquet"],
        "light_write_table_records_per_s": rate["light_write_table"],
        "light_parquet_to_write_table": rate["light_parquet"] / rate["light_write_table"],
        "annotate_records_per_s": rate["annotate"],
        "write_shard_records_per_s": rate["write"],
        "build_records_per_s": rate["build"],
        "build_to_slower_half": rate["build"] / slower,
        "mib_per_100_shards": growth,
        "runs": runs,
    }


def images(count: int, seed: int) -> list[tuple[Caption, ...]]:
    """A raw caption, a short one and a long one of a hundred words for each image."""
    return [
        tuple(
            Caption(caption_id=f"{i:09d}/{name}/0", generation=name, source=name, granularity=name, text=text)  # type: ignore[arg-type]
            for name, text in _three(long)
        )
        for i, long in enumerate(texts(count, seed))
    ]


def _three(long: str) -> list[tuple[str, str]]:
    short = " ".join(long.split()[:12])
    return [("raw", short.lower()), ("long", long), ("short", short)]


@lru_cache(maxsize=1)
def _annotator() -> Annotator:
    return Annotator(Annotate())


def annotated(captions: Sequence[Sequence[Caption]]) -> list[Record]:
    return [
        Record(key=f"{i:09d}", source_key=f"{i:09d}", shard="00000", row=i, sha256="0" * 64, status="ok", captions=done)
        for i, done in enumerate(_annotator().annotate(captions))
    ]


def _light(records: Sequence[Record]) -> list[Record]:
    """One caption of at most eight sub-captions, with the first tag of each."""
    made = []
    for record in records:
        long = max(record.captions, key=lambda caption: len(caption.sub_captions))
        subs = tuple(replace(sub, tags=sub.tags[:1]) for sub in long.sub_captions[:8])
        made.append(replace(record, captions=(replace(long, sub_captions=subs),)))
    return made


def _sizes(records: Sequence[Record], prefix: str) -> dict[str, float]:
    subs = [sub for record in records for caption in record.captions for sub in caption.sub_captions]
    return {
        f"{prefix}sub_captions_per_record": len(subs) / RECORDS,
        f"{prefix}tags_per_record": sum(len(sub.tags) for sub in subs) / RECORDS,
    }


def _jpeg(seed: int) -> bytes:
    """A noisy picture of 384 pixels, about 60 kB."""
    from PIL import Image as Picture

    sink = io.BytesIO()
    noise = random.Random(seed).randbytes(96 * 96 * 3)
    Picture.frombytes("RGB", (96, 96), noise).resize((384, 384), Picture.Resampling.BICUBIC).save(
        sink, "JPEG", quality=92
    )
    return sink.getvalue()


def _stored(data: bytes) -> Stored:
    digest = hashlib.sha256(data).hexdigest()
    return Stored(
        data=data, format="jpeg", sha256=digest, source_format="jpeg", source_sha256=digest, width=384, height=384
    )


def _our_tar(folder: Path, samples: Sequence[tuple[Record, Stored]]) -> None:
    with tar_writer(open_store(str(folder)), "x.tar", primary=PRIMARY) as (writer, _):
        for record, picture in samples:
            writer.add(record, picture)


def _members(record: Record, picture: Stored) -> list[tuple[str, bytes]]:
    return [
        (f"{record.key}.jpg", picture.data),
        (f"{record.key}.txt", primary_text(record, PRIMARY).encode()),
        (f"{record.key}.json", sample_json(record, picture, ())),
    ]


def _tarfile(folder: Path, samples: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    with open(folder / "x.tar", "wb") as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for members in samples:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _write_table(folder: Path, table: pa.Table) -> None:
    """As the sidecar's writer encodes it."""
    write_table(open_store(str(folder)), "x.parquet", table, rows=NESTED_ROWS)


class _Build:
    """Answers to `SHARDS` tars, and their shards built: all that `recaption build` does but Ray's start."""

    def __init__(self, folder: Path, pictures: Sequence[Stored], per_shard: int) -> None:
        for shard in range(SHARDS):
            samples = []
            for i, long in enumerate(texts(per_shard, shard)):
                said = dict(_three(long))
                columns = {"long": said["long"], "short": said["short"]}
                samples.append(sample(f"{shard:05d}{i:04d}", pictures[i % len(pictures)].data, said["raw"], **columns))
            write_tar(folder / "source" / f"{shard:05d}.tar", samples)
        settings = {
            "name": "bench",
            "source": {"path": f"{folder}/source/*.tar", "raw_caption": "caption"},
            "models": {"there": {"engine": "column"}},
            "generate": [{"id": name, "model": "there", "column": name, "kind": name} for name in ("long", "short")],
            "dedupe": "none",
            "output": {"path": f"{folder}/out", "format": "webdataset"},
        }
        pipeline = config.validate(settings)
        plan, source = make_plan(pipeline), open_source(pipeline.source)
        self._store = open_store(pipeline.output.path)
        self._spec = BuildSpec(
            pipeline=pipeline,
            questions=plan.questions,
            source=source,
            store_url=self._store.url,
            excluded=frozenset(),
            prefix="",
            format="webdataset",
        )
        job = Job(source=source, store_url=self._store.url, epoch=1)
        self._listings = [list_one(plan.questions, job, shard, None, True) for shard in source.shards()]
        self._built = 0
        self.build(folder)  # what the halves are made from
        self._records = [self._read_back(listing) for listing in self._listings]
        self._captions = [[[_plain(c) for c in record.captions] for record in records] for records in self._records]

    def build(self, _: Path) -> None:
        self._built += 1
        spec = replace(self._spec, prefix=f"builds/{self._built}")
        for listing in self._listings:
            finish_shard(spec, listing.shard, listing.images, None)

    def annotate(self, _: Path) -> None:
        for captions in self._captions:
            _annotator().annotate(captions)

    def write(self, folder: Path) -> None:
        store = open_store(str(folder))
        for listing, records in zip(self._listings, self._records, strict=True):
            found, _ = load_index(self._store, self._spec.source, listing.shard)
            images = partial(self._spec.source.read, found)
            content = ShardContent(name=listing.shard.id, records=records, images=images)
            write_shard(store, "b", content, ShardFormat(format="webdataset", primary=PRIMARY))

    def _read_back(self, listing: ShardListing) -> list[Record]:
        """The shard's records as they are before they are written."""
        kept: list[Record] = []

        def keep(store: Store, prefix: str, content: ShardContent, shape: ShardFormat) -> ShardEntry:
            kept.extend(content.records)
            return write_shard(store, prefix, content, replace(shape, format="sidecar"))

        with mock.patch("recaption.build.shard.write_shard", keep):
            finish_shard(replace(self._spec, prefix="builds/kept"), listing.shard, listing.images, None)
        return kept


def _plain(caption: Caption) -> Caption:
    """As a caption is before it is annotated."""
    return replace(caption, lang=None, sub_captions=())


def _growth(build: _Build) -> float:
    """Growth of the resident memory in MiB over 100 shards, measured over 200 of them after a warm-up of 20."""
    at = []
    for shards in range(0, 224, SHARDS):
        if shards in (20, 220):
            at.append(resident())
        build.build(Path())
    return (at[1] - at[0]) / 2


def _seconds(side: Callable[[Path], object], folder: Path) -> float:
    folder.mkdir()
    started = time.perf_counter()
    side(folder)
    return time.perf_counter() - started
