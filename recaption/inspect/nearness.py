"""Finds pairs of near items among many without comparing all of them. Pure functions of NumPy arrays.

Items with equal keys in one of several tables are compared; a key is a part of an item's code, so that near items
probably share a key. Time grows with the number of items times the size of a bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Compare = Callable[[Places, Places], npt.NDArray[np.float32]]
"""The similarities [A, B] of the items at A places and at B places."""
Pairs = tuple[Places, Places, npt.NDArray[np.float32]]
"""First and second item, the first below the second, and their similarity."""

_BLOCK: Final = 1024  # items of a bucket that are compared at a time
_TABLES: Final = 32
_PER_BUCKET: Final = 64  # items with an equal key in a table, if vectors were spread evenly
_MOST_BITS: Final = 16
_ONES: Final = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def near_pairs(tables: Iterable[Keys], compare: Compare, least: float) -> Pairs:
    """Pairs of items with the same key in any of the tables and a similarity of at least `least`; each pair once."""
    known: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    for keys in tables:
        found = [known]
        for bucket in _buckets(keys):
            for first in range(0, len(bucket), _BLOCK):
                for second in range(first, len(bucket), _BLOCK):
                    a, b = bucket[first : first + _BLOCK], bucket[second : second + _BLOCK]
                    similar = compare(a, b)
                    rows, columns = np.nonzero(np.triu(similar >= least, 1) if first == second else similar >= least)
                    if len(rows):
                        found.append((a[rows], b[columns], similar[rows, columns]))
        if len(found) > 1:  # a pair may be in many tables: keep it once
            a, b, similar = (np.concatenate(parts) for parts in zip(*found, strict=True))
            _, unique = np.unique(np.stack([a, b]), axis=1, return_index=True)
            known = a[unique], b[unique], similar[unique]
    return known


def _buckets(keys: Keys) -> Iterator[Places]:
    """The places of each key that occurs more than once, ascending."""
    order = np.argsort(keys, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(keys))
    starts = np.append(0, ends[:-1])
    several = ends - starts > 1
    for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
        yield order[start:end]


def leaders(pairs: Pairs, count: int) -> dict[int, tuple[int, float]]:
    """The items that are near an earlier kept item: item -> (the nearest kept one, similarity). Other items are kept.

    Each item is near its own kept item. There are no chains, unlike with connected components.
    """
    a, b, similar = pairs
    order = np.lexsort((a, -similar, b))
    found: dict[int, tuple[int, float]] = {}
    for first, second, value in zip(a[order].tolist(), b[order].tolist(), similar[order].tolist(), strict=True):
        assert first < second < count
        if second not in found and first not in found:
            found[second] = first, value
    return found


def vector_tables(vectors: npt.NDArray[Any]) -> Iterator[Keys]:
    """Keys of vectors [N, D]: the signs of random projections around the mean (Charikar 2002, SimHash)."""
    bits = int(np.clip(np.log2(max(1, len(vectors) / _PER_BUCKET)), 0, _MOST_BITS))
    rng = np.random.default_rng(0)
    mean = vectors.mean(0, dtype=np.float32)
    weights = np.uint64(1) << np.arange(bits, dtype=np.uint64)
    for _ in range(_TABLES if bits else 1):
        directions = rng.standard_normal((vectors.shape[1], bits)).astype(np.float32)
        keys = np.empty(len(vectors), np.uint64)
        for first in range(0, len(vectors), 1 << 14):
            some = vectors[first : first + (1 << 14)].astype(np.float32) - mean
            keys[first : first + (1 << 14)] = ((some @ directions) > 0).astype(np.uint64) @ weights
        yield keys


def hash_tables(codes: Keys, distance: int) -> Iterator[Keys]:
    """Keys of 64-bit codes. Two codes with at most `distance` different bits always have a key in common.

    A code is cut into `distance` + 2 bands. At least two bands of such codes are equal, and a key consists of two bands
    (Norouzi, Punjani and Fleet 2012, multi-index hashing).
    """
    edges = np.linspace(0, 64, distance + 3).astype(int)
    bands = [(codes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1) for low, high in pairwise(edges.tolist())]
    for first, second in combinations(range(len(bands)), 2):
        yield bands[first] << np.uint64(32) | bands[second]


def different_bits(a: Keys, b: Keys) -> npt.NDArray[np.int64]:
    """The Hamming distances [A, B] of codes."""
    different = np.ascontiguousarray(a[:, None] ^ b[None, :])
    return _ONES[different.view(np.uint8).reshape(*different.shape, 8)].sum(-1, dtype=np.int64)
