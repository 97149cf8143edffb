"""The checks, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from recaption import schema
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.validate import files, manifest
from recaption.validate.across import Keys, Splits
from recaption.validate.answers import check_answers
from recaption.validate.counts import check_counts, check_order, check_rejects, check_statuses
from recaption.validate.data import read_data
from recaption.validate.join import check_source
from recaption.validate.kinds import problem
from recaption.validate.nested import check_data
from recaption.validate.shard import Shard
from recaption.validate.tars import read_tar
from recaption.validate.texts import check_captions, check_own, check_sub_captions, check_tags
from recaption.validate.tokens import check_token_ids, read_tokens
from recaption.validate.values import check_values
from recaption.write import Build, locate

Check = Callable[[Shard], Iterator[Problem]]
_TEXTS: Final = ("images", "captions", "sub_captions", "tags")

CHECKS: Final[tuple[tuple[Check, tuple[str, ...]], ...]] = (
    (check_values, ()),
    (check_order, ("images",)),
    (check_captions, ("images", "captions")),
    (check_sub_captions, ("captions", "sub_captions")),
    (check_tags, ("captions", "sub_captions", "tags")),
    (check_own, ("sub_captions",)),
    (check_statuses, _TEXTS),
    (check_counts, _TEXTS),
    (check_rejects, ("images", "captions", "rejects")),
    (check_data, _TEXTS),
    (check_answers, ("images", "captions")),
    (check_source, ("images",)),
    (check_token_ids, ()),
)
"""What is checked of a shard, each with the flat tables that it looks at; where one of them cannot be read, which is a
problem of its own, the check is left out."""


def validate_output(path: str, *, pixels: bool = False) -> Iterator[Problem]:
    """Read a finished build again, all of it, and yield what is wrong with it.

    `path` is an output (its published build is read), its `dataset`, or a build's folder; local or an fsspec URL.
    With `pixels` all images are decoded; without, their headers and ends are looked at.
    Memory holds the manifest and one shard, without its pixels. What is wrong with the data is yielded, never raised.
    Raises UserError when there is no build at `path`, StoreError when the store fails.
    """
    build = locate(path)
    for item in manifest.read(build.store):
        if isinstance(item, Problem):
            yield item
        else:
            yield from _validate(build, item, pixels)


def _validate(build: Build, read: manifest.Manifest, pixels: bool) -> Iterator[Problem]:
    yield from manifest.check_sums(read)
    yield from manifest.check_beside(build.store, read)
    yield from manifest.check_unlisted(build.store, read)
    if manifest.is_older(read):
        version = f"has schema version {read['schema_version']}: of its files only sizes and hashes are compared"
        yield problem("version", manifest.MANIFEST, version, warning=True)
        yield from _check_bytes(build.store, read)
        return
    splits = Splits(read.get("holdout"))
    answers: dict[str, Any] = {}
    with Keys() as keys:
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


def _check_bytes(store: Store, read: manifest.Manifest) -> Iterator[Problem]:
    for file in (file for entry in read["shards"] for file in entry["files"]):
        absent = list(files.missing(store, file["path"]))
        yield from absent
        if not absent:
            with files.stream(store, file["path"]) as source:
                yield from source.finish(file)


def _read(shard: Shard) -> Iterator[Problem]:
    """Take in the shard's files; what is wrong with one of them."""
    store: Store = shard.build.store
    expected = schema.flat(shard.tokenizers)
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
        else:
            target = expected.get(table) or schema.own(table, pa.schema([]))
            for item in files.read_table(store, file, target, table if table in expected else "own"):
                if isinstance(item, Problem):
                    yield item
                else:
                    shard.tables[table] = item


def _read_index(store: Store, file: dict[str, Any]) -> Iterator[Problem]:
    with files.stream(store, file["path"]) as source:
        yield from source.finish(file)
    if source.size != 8 * (file["rows"] + 1):
        what = f"has {source.size} bytes; {file['rows']} samples have {8 * (file['rows'] + 1)}"
        yield problem("tar index", file["path"], what)
