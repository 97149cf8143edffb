"""Finds an image of an output by its key in the indexes of all shards, reading only the key columns."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from recaption.errors import UserError
from recaption.formatting import number_of
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.index import index_from_table
from recaption.output.stored_table import readable
from recaption.schema import check_version
from recaption.tablefile import read_table
from recaption.threads import each
from recaption.types import Image

_THREADS = 8  # indexes read in parallel
_SAMPLED = 200  # shards in which similar keys are searched for an unknown key
_NEIGHBOURS = 5  # keys before and after the place of the unknown key in each of these shards


def find_image(store: Store, key: str) -> Image:
    """The image with this key, or else with this source key.

    Raises UserError if there is none (the message lists similar keys), or if several images have the source key.
    """
    files = [path for path in store.list(paths.INDEX) if path.endswith(".parquet")]
    if not files:
        raise UserError(f"{store.url} has no index/: no source shard was listed yet. Run the pipeline first")
    by_source: list[tuple[str, int, str]] = []
    for path, rows in _matches(store, files, key):
        for row, own, _ in rows:
            if own == key:
                return _image(store, path, row)
            by_source.append((path, row, own))
    if len(by_source) == 1:
        path, row, _ = by_source[0]
        return _image(store, path, row)
    if by_source:
        keys = ", ".join(own for _, _, own in by_source[:10])
        raise UserError(f"{len(by_source)} images have the source key {key!r}; give one of their keys: {keys}")
    near = difflib.get_close_matches(key, _sample(store, files, key), n=5, cutoff=0.5)
    hint = f"Similar keys: {', '.join(near)}. " if near else ""
    raise UserError(
        f"{store.url} has no image with the key or source key {key!r} in {number_of(len(files), 'shard')}. {hint}"
        f'All keys: recaption inspect OUT "SELECT key, source_key FROM images"'
    )


def _matches(store: Store, files: Sequence[str], key: str) -> Iterator[tuple[str, list[tuple[int, str, str]]]]:
    """Each index that has this key or source key, with its rows."""

    def look(path: str) -> list[tuple[int, str, str]]:
        table = _columns(store, path)
        either = pc.or_(pc.equal(table["key"], key), pc.equal(table["source_key"], key))
        return [tuple(row.values()) for row in table.filter(either).to_pylist()]

    for start in range(0, len(files), 4 * _THREADS):
        some = files[start : start + 4 * _THREADS]
        yield from ((path, rows) for path, rows in zip(some, each(look, some, _THREADS), strict=True) if rows)


def _image(store: Store, path: str, row: int) -> Image:
    with readable(store, path):
        table = read_table(_open(store, path))
    check_version(table.schema, path)
    table = table.filter(pc.equal(table["row"], row))
    (image,) = index_from_table(table, paths.index_shard(path))
    return image


def _sample(store: Store, files: Sequence[str], key: str) -> list[str]:
    """Keys and source keys near `key` in sort order, from evenly spread shards."""
    step = max(1, len(files) // _SAMPLED)
    found: set[str] = set()
    for path in files[::step]:
        table = _columns(store, path)
        for column in ("key", "source_key"):
            names = sorted(table[column].to_pylist())
            at = bisect.bisect(names, key)
            found.update(names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS])
    return sorted(found)


def _columns(store: Store, path: str) -> pa.Table:
    with readable(store, path):
        return read_table(_open(store, path), columns=["row", "key", "source_key"])


def _open(store: Store, path: str) -> pa.NativeFile:
    file = store.local(path)
    return pa.OSFile(str(file)) if file is not None else pa.BufferReader(store.get(path))
