"""The order is a bijection, a function of seed and epoch, and no sample is more likely to come early than another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.load.order import Lanes, Order, Permutation, mix


@given(st.integers(1, 5_000), st.integers(0, 2**64 - 1), st.integers(0, 100))
def test_a_permutation_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    assert sorted(Permutation(n, seed, epoch)(np.arange(n)).tolist()) == list(range(n))


@given(st.integers(1, 2**40), st.data())
def test_one_position_goes_where_it_goes_among_others(n: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    turned = Permutation(n, 7)
    together = turned(positions)
    assert together.tolist() == [int(turned(position)) for position in positions]
    assert ((together >= 0) & (together < n)).all()


def test_every_place_is_equally_likely() -> None:
    n, draws = 13, 1_300
    places = np.array([Permutation(n, seed)(np.arange(n)) for seed in range(draws)])
    for position in (0, 5, 12):
        seen = np.bincount(places[:, position], minlength=n)
        assert ((seen - draws / n) ** 2 / (draws / n)).sum() < 42.0  # chi-square of 12 degrees: 1 in 30,000
    neighbours = np.bincount((places[:, 1] - places[:, 0]) % n, minlength=n)[1:]
    assert ((neighbours - draws / 12) ** 2 / (draws / 12)).sum() < 40.0  # 11 degrees


def test_a_million_in_order_are_not_near_each_other() -> None:
    turned = Permutation(1_000_003, 1, 2)(np.arange(1_000_003))
    assert abs(np.corrcoef(turned[:-1], turned[1:])[0, 1]) < 0.005
    assert len(np.unique(turned)) == 1_000_003


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), st.integers(1, 40), st.integers(0, 5))
def test_blocks_are_a_bijection_too(units: list[int], block: int, epoch: int) -> None:
    order = Order(units, 3, block=block)
    assert sorted(order(epoch, np.arange(sum(units))).tolist()) == list(range(sum(units)))


def test_a_block_reads_few_units_and_mixes_them() -> None:
    units = [10] * 40
    order = Order(units, 3, block=4)
    read = order(0, np.arange(400)).reshape(10, 40) // 10
    for block in read:
        assert len(np.unique(block)) == 4
        assert len(np.unique(block[:12])) > 2  # not one unit after the other
    assert {int(unit) for unit in read[0]} != {0, 1, 2, 3}


def test_units_of_a_family_stay_together() -> None:
    families = [9, 9, 9, 0, 0, 4, 4, 4, 7]
    units = [5, 5, 2, 5, 0, 5, 5, 5, 3]
    orders = [Order(units, seed, block=1, families=families) for seed in range(4)]
    starts = np.cumsum(units) - units
    seen = set()
    for order in orders:
        read = np.searchsorted(starts, order(0, np.arange(sum(units))), side="right") - 1
        of_sample = np.asarray(families)[read]
        changes = of_sample[np.flatnonzero(np.diff(of_sample, prepend=-1))].tolist()
        assert sorted(changes) == [0, 4, 7, 9], "each family comes once"
        seen.add(tuple(changes))
    assert len(seen) > 1


def test_epochs_and_seeds_differ_and_unshuffled_is_as_it_lies() -> None:
    for block in (None, 2):
        orders = [Order([20] * 5, seed, block=block)(epoch, np.arange(100)) for seed in (0, 1) for epoch in (0, 1)]
        assert len({tuple(order) for order in orders}) == 4
    assert Order([3, 4], 0, shuffle=False)(5, np.arange(7)).tolist() == list(range(7))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 900))
def test_lanes_are_a_bijection(groups: int, slots: int, samples: int) -> None:
    lanes = Lanes(samples, groups * slots, groups)
    assert sorted(lanes(np.arange(samples)).tolist()) == list(range(samples))


def test_each_worker_of_each_rank_reads_one_lane() -> None:
    ranks, size, steps = 4, 3, 40
    lanes = Lanes(ranks * size * steps + 5, ranks * size, ranks)
    read: set[int] = set()
    for rank in range(ranks):
        for worker in range(Lanes.PHASES):
            mine = [
                step * ranks * size + rank * size + slot
                for step in range(worker, steps, Lanes.PHASES)
                for slot in range(size)
            ]
            places = lanes(mine).tolist()
            assert places == list(range(places[0], places[0] + len(mine)))
            read.update(places)
        assert lanes.seen(rank * size, size, Lanes.PHASES) == 1
        assert [lanes.seen(rank * size, size, workers) for workers in (1, 2, 3, 12, 16)] == [8, 4, 8, 2, 1]
    assert read == set(range(ranks * size * steps))
    assert lanes.seen(0, 2 * size, 8) == 2  # half as many ranks
    with pytest.raises(ValueError, match="lanes is 5; it has to divide batch_size x world_size, which is 12"):
        Lanes(100, 12, 5)


def test_the_order_of_a_seed_never_changes() -> None:
    """Runs are resumed under newer versions of recaption, numpy and Python."""
    assert Permutation(13, 0, 0)(np.arange(13)).tolist() == FULL
    assert Order([5, 4, 4], 0, block=2)(1, np.arange(13)).tolist() == BLOCKS
    assert mix(1, 2) == MIXED
    assert Lanes(41, 4, 2)(np.arange(41)).tolist() == LANES


FULL = [8, 0, 11, 12, 5, 2, 1, 10, 9, 3, 6, 4, 7]


BLOCKS = [5, 10, 12, 7, 6, 9, 8, 11, 1, 0, 3, 2, 4]


MIXED = 13_608_149_317_741_381_227


LANES = [
    0,
    1,
    20,
    21,
    4,
    5,
    24,
    25,
    8,
    9,
    28,
    29,
    10,
    11,
    30,
    31,
    12,
    13,
    32,
    33,
    14,
    15,
    34,
    35,
    16,
    17,
    36,
    37,
    18,
    19,
    38,
    39,
    2,
    3,
    22,
    23,
    6,
    7,
    26,
    27,
    40,
]
