"""Detects images of a published build whose key has changed: files that refer to their old keys are out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recaption.build.unique import KeyTable
from recaption.errors import DatasetError
from recaption.formatting import number_of
from recaption.io.store import Store, open_store
from recaption.output import paths
from recaption.output.locate import current_build, read_manifest
from recaption.output.stored_table import read_stored
from recaption.source.keys import KeyRule
from recaption.threads import each

_COLUMNS = ("key", "sha256")
_THREADS = 16  # shards that are read at a time
_Hashes = npt.NDArray[np.uint64]


def changed_keys(store_url: str, shards: Sequence[KeyTable]) -> tuple[str, int, int]:
    """The published build, how many of its images are still in the source, and how many of these have another key.

    `shards` are the indexes of the source. Images are identified by their bytes. Among images with equal bytes, the
    number of changed keys is the smaller of the numbers of removed and of added keys. Holds 16 bytes per image, and
    none for shards that have not changed. If the published build cannot be read, all counts are 0.
    """
    store = open_store(store_url)
    try:
        build = current_build(store)
        return (build, *_compared(store, build, shards)) if build else ("", 0, 0)
    except (FileNotFoundError, DatasetError, pa.ArrowException):
        return "", 0, 0


def warning(build: str, shared: int, changed: int, rule: KeyRule) -> str | None:
    """A warning about changed keys; None if no key has changed."""
    if not changed:
        return None
    why = "the path of each has changed"
    if rule != "path":
        why = (
            "keys come from the source's own names or, where these are not plain and unique, from positions in the "
            "source, and an added or removed file changes the positions of all files after it. In a new output of a "
            "folder, keys come from paths alone"
        )
    return (
        f"of {number_of(shared, 'image')} of build {build}, {number_of(changed, 'has another key', 'have other keys')} "
        f"in the source now: {why}. Files that refer to keys of build {build} do not match the new build. Answers "
        "are kept"
    )


def _compared(store: Store, build: str, shards: Sequence[KeyTable]) -> tuple[int, int]:
    now = {shard.name: shard for shard in shards}

    def look(name: str) -> int | tuple[_Hashes, _Hashes]:
        """The number of rows of an unchanged shard; for any other shard, the hashes of its earlier version."""
        table = _read(store, f"{paths.build_folder(build)}/{paths.table_file('images', name)}")
        shard = now.get(name)
        same = shard is not None and table.equals(_read(store, shard.path).slice(0, shard.rows))
        return table.num_rows if same else _hashes(table)

    names = [shard["name"] for shard in read_manifest(store, paths.build_folder(build))["shards"]]
    found = dict(zip(names, each(look, names, _THREADS), strict=True))
    same = sum(rows for rows in found.values() if isinstance(rows, int))
    earlier = [hashes for hashes in found.values() if not isinstance(hashes, int)]
    if not earlier:
        return same, 0
    old_images, old_keys = _joined(earlier)
    changed = [shard for name, shard in now.items() if not isinstance(found.get(name), int)]
    new_images, new_keys = _joined(each(lambda s: _hashes(_read(store, s.path).slice(0, s.rows)), changed, _THREADS))
    shared = int(np.isin(old_images, new_images).sum())
    removed, removed_counts = np.unique(old_images[~np.isin(old_keys, new_keys)], return_counts=True)
    added, added_counts = np.unique(new_images[~np.isin(new_keys, old_keys)], return_counts=True)
    _, a, b = np.intersect1d(removed, added, assume_unique=True, return_indices=True)
    return same + shared, int(np.minimum(removed_counts[a], added_counts[b]).sum())


def _read(store: Store, path: str) -> pa.Table:
    # Compared as plain tables, because files of an earlier version have other metadata.
    table = read_stored(store, path, _COLUMNS)
    return pa.table({name: table[name].combine_chunks() for name in _COLUMNS})


def _hashes(table: pa.Table) -> tuple[_Hashes, _Hashes]:
    """For each image that has bytes: a hash of the bytes, and a hash of the bytes and the key."""
    rows = [row for row in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True) if row[1]]
    images = np.fromiter((int(sha256[:16], 16) for _, sha256 in rows), np.uint64)
    return images, np.fromiter((_hash(f"{sha256}\0{key}") for key, sha256 in rows), np.uint64)


def _joined(found: Iterable[tuple[_Hashes, _Hashes]]) -> tuple[_Hashes, _Hashes]:
    images, keys = zip(*[(np.empty(0, np.uint64), np.empty(0, np.uint64)), *found], strict=True)
    return np.concatenate(images), np.concatenate(keys)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
