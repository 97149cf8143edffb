"""Checks that keys are unique over all shards, with hashes that are made where a shard is built.

No file is read again unless a hash is repeated, so the check takes seconds for 100 million images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recaption.io.store import Store
from recaption.output.index import duplicate_keys
from recaption.output.stored_table import read_stored

KeyHashes = npt.NDArray[np.uint64]
_RANGES: Final = 64  # of hashes; merged one after the other, so that memory holds one range


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyTable:
    """The file in the output that has the keys of a shard, in its first `rows` rows."""

    name: str
    path: str
    rows: int


def key_hashes(keys: Iterable[str]) -> KeyHashes:
    """A hash of each key, sorted; 8 bytes per key."""
    return np.sort(np.fromiter(map(_hash, keys), np.uint64))


def check_keys(store: Store, shards: Sequence[KeyTable], hashes: Sequence[KeyHashes]) -> None:
    """Raises UserError if two of the shards share a key. `hashes` has the `key_hashes` of each shard."""
    repeated = _repeated(hashes)
    seen: dict[str, str] = {}
    for shard, of_shard in zip(shards, hashes, strict=True) if len(repeated) else ():
        if not np.isin(repeated, of_shard).any():
            continue
        for key in _keys(store, shard):
            if _hash(key) in repeated and (other := seen.setdefault(key, shard.name)) != shard.name:
                raise duplicate_keys(key, other, shard.name)


def _repeated(hashes: Sequence[KeyHashes]) -> KeyHashes:
    """The values that occur more than once in these sorted arrays, sorted."""
    edges = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(58)
    cuts = [[0, *np.searchsorted(one, edges).tolist(), len(one)] for one in hashes]
    found = [np.empty(0, np.uint64)]
    for number in range(_RANGES):
        parts = [one[cut[number] : cut[number + 1]] for one, cut in zip(hashes, cuts, strict=True)]
        merged = np.sort(np.concatenate([np.empty(0, np.uint64), *parts]))
        found.append(np.unique(merged[1:][merged[1:] == merged[:-1]]))
    return np.concatenate(found)


def _keys(store: Store, shard: KeyTable) -> list[str]:
    table = read_stored(store, shard.path, ["key"])
    keys: list[str] = table["key"].slice(0, shard.rows).to_pylist()
    return keys


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
