"""Images of a published build that have another key now: whoever kept keys of that build must be told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import DatasetError
from recaption.run.shard import KeyTable
from recaption.store import Store, open_store
from recaption.write import current_build, read_manifest
from recaption.write.assemble import published_source_key

_COLUMNS = ("key", "source_key", "sha256")


def changed_keys(store_url: str, shards: Sequence[KeyTable]) -> tuple[str, int, int]:
    """The published build, how many of its images are in the source still, and how many of them have another key.

    `shards` are the indexes of the source. An image is the same where its source key and its bytes are. Sixteen bytes
    per image are held. Shards that have not changed are compared as they are. A published build that cannot be read has
    nothing to compare with.
    """
    store = open_store(store_url)
    try:
        build = current_build(store)
        return (build, *_compared(store, build, shards)) if build else ("", 0, 0)
    except (FileNotFoundError, DatasetError, pa.ArrowException):
        return "", 0, 0


def _compared(store: Store, build: str, shards: Sequence[KeyTable]) -> tuple[int, int]:
    shared, tables = 0, []
    new = {shard.name: shard for shard in shards}
    for name in (shard["name"] for shard in read_manifest(store, f"builds/{build}")["shards"]):
        table = _read(store, f"builds/{build}/images/{name}.parquet")
        if name in new and table.equals(_read(store, new[name].path).slice(0, new[name].rows)):
            shared += table.num_rows
            del new[name]
        else:
            tables.append(table)
    images, keys = _sorted_hashes(tables)
    changed = 0
    for shard in new.values() if tables else ():
        found_images, found_keys = _hashes(_read(store, shard.path).slice(0, shard.rows))
        known = _contains(images, found_images)
        shared += int(known.sum())
        changed += int((known & ~_contains(keys, found_keys)).sum())
    return shared, changed


def words(build: str, shared: int, changed: int) -> str | None:
    """What to say of changed keys; None where there are none."""
    if not changed:
        return None
    return (
        f"{changed:,} of {shared:,} images that build {build} has are in the source under other keys now: keys are "
        "positions where the source has no plain unique ones, so files that come or go change those of the files "
        f"behind them. What refers to keys of build {build} does not fit the new build. Answers are kept. A new output "
        "over a folder has keys that follow from paths alone"
    )


def _read(store: Store, path: str) -> pa.Table:
    # As plain tables: what was written by an earlier version has other metadata.
    table = pq.read_table(pa.BufferReader(store.get(path)), columns=list(_COLUMNS))
    return pa.table({name: table[name].combine_chunks() for name in _COLUMNS})


def _sorted_hashes(tables: Iterable[pa.Table]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    found = [_hashes(table) for table in tables]
    images, keys = (np.concatenate([np.empty(0, np.uint64), *(each[i] for each in found)]) for i in range(2))
    return np.unique(images), np.unique(keys)


def _hashes(table: pa.Table) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Of each image: a hash of what it is, and one of that and its key."""
    rows = [
        (key, published_source_key(source_key), sha256)
        for key, source_key, sha256 in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)
    ]
    images = np.fromiter((_hash(source_key, sha256) for _, source_key, sha256 in rows), np.uint64)
    return images, np.fromiter((_hash(source_key, sha256, key) for key, source_key, sha256 in rows), np.uint64)


def _hash(*texts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest(), "little")


def _contains(values: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """For each wanted value whether it is among the sorted values."""
    if not len(values):
        return np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.asarray(values[at] == wanted)
