"""Exports of a build in each format, against writing the bytes of the export: tars with `tarfile`, files with `shutil`.

All formats are measured, those that name image files with `--images jpg`; recap, pixelprose and adaptclipzs have texts
alone, and Parquet files are written from their tables with `pyarrow`, compressed as they are. Every sample is exported.
Both sides in turns on one core, in memory where there is /dev/shm; times are those of the processor, which other
processes change less.

The other side has the finished bytes: it neither reads a build, nor makes texts, nor decodes images. So recap and
pixelprose, whose export is mostly reading, openvision, which copies each image into an example and that into a column,
and goal, which cuts out and encodes two crops of each image, cannot be as fast.
An image is copied within the kernel, for which `shutil` takes longer than an export takes to read and write it.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from annotate import captions as texts
from exported_tables import full_tables
from write import _jpeg
from written_build import write_build

from recaption.export import MODULES, WITHOUT_IMAGE_FILES, load
from recaption.export.base import Options
from recaption.export.dataset import Dataset

MAPS = {"make": {"visual_concept_caption": "look", "ontology_caption": "diagnosis"}}
TRANSLATIONS = {"long_zh": "zh", "short_zh": "zh"}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        dataset = _build(Path(folder) / "out", arguments.samples)
        times = {name: _times(name, dataset, Path(folder) / "a" / "b", arguments.pairs) for name in MODULES}
    ratios = {name: theirs / ours for name, (ours, theirs) in times.items()}
    micros = {name: [round(1e6 * time / arguments.samples, 1) for time in both] for name, both in times.items()}
    return {**ratios, "samples": arguments.samples, "microseconds_of_export_and_copy": micros}


def _times(name: str, dataset: Dataset, folder: Path, pairs: int) -> tuple[float, float]:
    """The seconds of the export and of writing its bytes: medians."""
    images = "none" if name in WITHOUT_IMAGE_FILES else "jpg"
    options = Options(images=images, split="all", map=MAPS.get(name, {}))  # type: ignore[arg-type]
    ours, theirs = [], []
    for _ in range(pairs):
        dest = folder / name
        started = time.process_time()
        done = load(name).export(dataset, str(dest), options)
        ours.append(time.process_time() - started)
        assert done.samples == dataset.samples("all"), f"{name}: {done.left_out}"
        tars = {path: _members(path) for path in dest.rglob("*.tar")}
        copy = partial(
            _copy, dest, folder / "copy", tars, {path: pq.read_table(path) for path in dest.rglob("*.parquet*")}
        )
        started = time.process_time()
        copy()
        theirs.append(time.process_time() - started)
        shutil.rmtree(folder)
    return statistics.median(ours), statistics.median(theirs)


def _copy(
    made: Path, to: Path, tars: dict[Path, Sequence[tuple[tarfile.TarInfo, bytes]]], tables: dict[Path, pa.Table]
) -> None:
    """Write the files of an export anew: its tars from their members, Parquet files from their tables."""
    for path in made.rglob("*"):
        target = to / path.relative_to(made)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path in tars:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(target, "w") as tar:
                for info, data in tars[path]:
                    tar.addfile(info, io.BytesIO(data))
        elif path in tables:
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                pq.write_table(tables[path], target, compression="zstd", compression_level=1)
            else:  # of openvision: images
                pq.write_table(tables[path], target, compression="none", use_dictionary=False, row_group_size=100)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _members(path: Path) -> Sequence[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(info, file.read()) for info in tar if (file := tar.extractfile(info)) is not None]


def _build(out: Path, samples: int) -> Dataset:
    """A build with all tables and translations that exporters read, for every sample, and pictures of about 60 kB."""
    pictures = [_jpeg(seed) for seed in range(64)]
    kinds = {"short": "short", "long": "long", "long_zh": "long", "short_zh": "short"}
    rows = []
    for long in texts(samples, 0):
        short = " ".join(long.split()[:12])
        rows.append({"raw": short.lower(), "short": short, "long": long, "long_zh": "风筝。", "short_zh": "风筝"})
    picture = partial(_picture, pictures)
    return write_build(
        out, rows, kinds=kinds, per_shard=samples, tables=full_tables(), langs=TRANSLATIONS, picture=picture
    )


def _picture(pictures: Sequence[bytes], row: int) -> bytes:
    return pictures[row % len(pictures)]
