"""recaption.inspect.nearness: near pairs are found without comparing all items."""

from __future__ import annotations

import numpy as np
import pytest

from recaption.inspect.nearness import different_bits, hash_tables, leaders, near_pairs, vector_tables


def flipped(codes: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """The codes with this number of bits flipped."""
    found = codes.copy()
    for n in range(len(found)):
        for bit in rng.choice(64, bits, replace=False):
            found[n] ^= np.uint64(1) << np.uint64(bit)
    return found


@pytest.mark.parametrize("bits", [0, 1, 4])
def test_codes_within_the_distance_have_a_key_in_common(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**64, 200, np.uint64)
    others = flipped(codes, bits, rng)
    pairs = zip(hash_tables(codes, 4), hash_tables(others, 4), strict=True)
    assert np.any([a == b for a, b in pairs], axis=0).all()
    assert np.diag(different_bits(codes, others)).tolist() == [bits] * 200


def test_pairs_of_codes_are_those_of_comparing_all() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**64, 300, np.uint64)
    codes = np.concatenate([base, flipped(base[:50], 3, rng), flipped(base[:20], 6, rng)])

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1 - different_bits(codes[a], codes[b]) / 64).astype(np.float32)

    a, b, _ = near_pairs(hash_tables(codes, 4), compare, 1 - 4 / 64)
    every = np.nonzero(np.triu(different_bits(codes, codes) <= 4, 1))
    assert {*zip(a.tolist(), b.tolist(), strict=True)} == {*zip(*map(np.ndarray.tolist, every), strict=True)}
    assert len(a) >= 50


def test_few_vectors_are_all_compared_and_most_near_ones_of_many_are_found() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((4000, 32)).astype(np.float32)
    vectors = np.concatenate([base, base[:200] + 0.15 * rng.standard_normal((200, 32)).astype(np.float32)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    compared = 0

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(a) * len(b)
        return vectors[a] @ vectors[b].T

    first, second, _ = near_pairs(vector_tables(vectors), compare, 0.95)
    every = np.nonzero(np.triu(vectors @ vectors.T >= 0.95, 1))
    found = {*zip(first.tolist(), second.tolist(), strict=True)}
    assert found <= {*zip(*map(np.ndarray.tolist, every), strict=True)}
    assert len(found) > 0.97 * len(every[0]) > 150
    assert compared < 32 * 4200 * 100, "each vector is compared with about 64 others in each of 32 tables"
    assert len({*next(vector_tables(vectors[:50])).tolist()}) == 1  # one bucket


def test_large_buckets_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.inspect.nearness._BLOCK", 3)

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        assert len(a) <= 3 and len(b) <= 3
        return (np.abs(a[:, None] - b[None]) <= 1).astype(np.float32)

    a, b, _ = near_pairs([np.zeros(10, np.uint64)], compare, 1.0)
    assert [*zip(a.tolist(), b.tolist(), strict=True)] == [(n, n + 1) for n in range(9)]


def test_a_leader_is_kept_and_chains_are_not_joined() -> None:
    pairs = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 4]), np.array([0.96, 0.99, 0.97, 0.95], np.float32)
    # 1 follows 0; 2 is near 1 alone, which is not kept, so it is kept; 3 follows 2
    assert {n: kept for n, (kept, _) in leaders(pairs, 5).items()} == {1: 0, 3: 2, 4: 0}
    two = np.array([0, 1]), np.array([2, 2]), np.array([0.96, 0.99], np.float32)
    assert leaders(two, 3) == {2: (1, pytest.approx(0.99))}


def test_a_pair_that_is_in_all_tables_is_found_once() -> None:
    codes = np.zeros(40, np.uint64)
    a, b, similar = near_pairs(hash_tables(codes, 4), lambda a, b: np.ones((len(a), len(b)), np.float32), 0.9)
    assert len({*zip(a.tolist(), b.tolist(), strict=True)}) == len(a) == len(b) == len(similar) == 40 * 39 // 2
