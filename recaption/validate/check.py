"""The checks, in the order in which they run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from recaption import schema
from recaption.io.store import Store
from recaption.output.locate import Build, find_build
from recaption.output.paths import EMBEDDINGS
from recaption.problems import Problem
from recaption.types import SCHEMA_VERSION
from recaption.validate import files, manifest
from recaption.validate.base import Manifest, Shard, problem
from recaption.validate.boxes import check_boxes
from recaption.validate.data import check_data, check_source, read_data
from recaption.validate.embeddings import check_embeddings, read_embeddings
from recaption.validate.tables import (
    Keys,
    Splits,
    check_counts,
    check_order,
    check_rejects,
    check_statuses,
    check_values,
)
from recaption.validate.tars import read_tar
from recaption.validate.texts import (
    check_answers,
    check_captions,
    check_custom_tables,
    check_sub_captions,
    check_table_spans,
    check_tags,
    check_task_tables,
    check_token_ids,
    read_tokens,
)

Check = Callable[[Shard], Iterator[Problem]]
_TEXTS: Final = ("images", "captions", "sub_captions", "tags")

CHECKS: Final[tuple[tuple[Check, tuple[str, ...]], ...]] = (
    (check_values, ()),
    (check_order, ("images",)),
    (check_captions, ("images", "captions")),
    (check_sub_captions, ("captions", "sub_captions")),
    (check_tags, ("captions", "sub_captions", "tags")),
    (check_custom_tables, ("sub_captions",)),
    (check_task_tables, ("images", "captions", "sub_captions")),
    (check_boxes, ()),
    (check_table_spans, ("captions", "sub_captions")),
    (check_statuses, _TEXTS),
    (check_counts, _TEXTS),
    (check_rejects, ("images", "captions", "rejects")),
    (check_data, _TEXTS),
    (check_answers, ("images", "captions")),
    (check_source, ("images",)),
    (check_token_ids, ()),
    (check_embeddings, ("images", "captions", "sub_captions")),
)
"""The checks of a shard, each with the flat tables that it needs. A check is skipped when one of its tables cannot be
read; the table's own problem is reported instead."""


def validate_output(path: str, *, pixels: bool = False) -> Iterator[Problem]:
    """Read all files of a finished build and yield their problems.

    `path` is an output (its published build is read), its `dataset`, or a build's folder; local or an fsspec URL.
    With `pixels` all images are decoded; without it, only their headers and ends are checked.
    Memory holds the manifest and one shard, without its pixels. Faults of the data are yielded, never raised.
    Raises UserError when there is no build at `path`, StoreError when the store fails.
    """
    build = find_build(path)
    for item in manifest.read(build.store):
        if isinstance(item, Problem):
            yield item
        else:
            yield from _validate(build, item, pixels)


def _validate(build: Build, read: Manifest, pixels: bool) -> Iterator[Problem]:
    yield from manifest.check_sums(read)
    yield from manifest.check_loader_files(build.store, read)
    yield from manifest.check_unlisted(build.store, read)
    if schema.minor(read["schema_version"]) < schema.minor(SCHEMA_VERSION):  # with fewer columns
        version = f"has schema version {read['schema_version']}; only the sizes and hashes of its files are checked"
        yield problem("version", manifest.MANIFEST, version, warning=True)
        yield from _check_bytes(build.store, read)
        return
    splits = Splits(read.get("holdout"))
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="recaption-keys-") as folder:
        keys = Keys(Path(folder))
        for entry in read["shards"]:
            shard = Shard(build=build, manifest=read, entry=entry, answers=answers, pixels=pixels)
            yield from _read(shard)
            for check, tables in CHECKS:
                if shard.tables.keys() >= set(tables):
                    yield from check(shard)
            if "images" in shard.tables:
                keys.add(shard)
                splits.add(shard)
        yield from keys.problems()
    yield from splits.problems()


def _check_bytes(store: Store, read: Manifest) -> Iterator[Problem]:
    for file in (file for entry in read["shards"] for file in entry["files"]):
        absent = list(files.missing(store, file["path"]))
        yield from absent
        if not absent:
            with files.stream(store, file["path"]) as source:
                yield from source.finish(file)


def _read(shard: Shard) -> Iterator[Problem]:
    """Read the shard's files into `shard`, and yield their problems."""
    store: Store = shard.build.store
    expected = schema.flat(shard.tokenizers)
    expected |= {name: spec.all_columns for name, spec in shard.specs.items()}
    for file in shard.entry["files"]:
        absent = list(files.missing(store, file["path"]))
        yield from absent
        if absent:
            continue
        table = file["table"]
        if table == "data":
            yield from (read_tar if shard.manifest["format"] == "webdataset" else read_data)(shard, file)
        elif table == "tar_index":
            yield from _read_index(store, file)
        elif table == "tokens":
            yield from read_tokens(shard, file)
        elif table == EMBEDDINGS:
            yield from read_embeddings(shard, file)
        else:
            target = expected.get(table) or schema.custom_table(table, pa.schema([]))
            for item in files.read_table(store, file, target, table if table in expected else "custom"):
                if isinstance(item, Problem):
                    yield item
                else:
                    shard.tables[table] = item


def _read_index(store: Store, file: dict[str, Any]) -> Iterator[Problem]:
    with files.stream(store, file["path"]) as source:
        yield from source.finish(file)
    if source.size != 8 * (file["rows"] + 1):
        what = f"has {source.size} bytes; expected {8 * (file['rows'] + 1)} for {file['rows']} samples"
        yield problem("tar index", file["path"], what)
