"""The order of samples, computed: a position in an epoch -> the number of a sample, without a list.

It depends only on the seed, the epoch and the sizes of the data, not on workers, ranks or buffers. So a run can resume
anywhere at no cost, and memory does not grow with the dataset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
_Words = npt.NDArray[np.uint64]

_ROUNDS: Final = 8
_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB


class Permutation:
    """A bijection of range(n), drawn by a key of integers.

    A Feistel network over the next power of two, walked until the value is below n (Black and Rogaway 2002, "Ciphers
    with arbitrary finite domains"); its rounds mix with SplitMix64's finaliser (Steele, Lea and Flood 2014).
    """

    def __init__(self, n: int, *key: int) -> None:
        if n < 1:
            raise ValueError(f"n is {n}; a permutation needs at least one element")
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._low = np.uint64(bits // 2)
        self._low_mask = np.uint64((1 << (bits // 2)) - 1)
        self._high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
        self._keys = [np.uint64(mix(*key, number)) for number in range(_ROUNDS)]

    def __call__(self, positions: npt.ArrayLike) -> Integers:
        """The image of each position; int64, with the shape of `positions`, which are in [0, n)."""
        given = np.asarray(positions, np.uint64)
        values = self._once(np.atleast_1d(given))
        while (outside := values >= self.n).any():  # less than half of the domain is outside
            values[outside] = self._once(values[outside])
        return values.reshape(given.shape).astype(np.int64)

    def _once(self, values: _Words) -> _Words:
        high, low = values >> self._low, values & self._low_mask
        for number, key in enumerate(self._keys):
            if number % 2:
                low = low ^ (_mixed(high ^ key) & self._low_mask)
            else:
                high = high ^ (_mixed(low ^ key) & self._high_mask)
        return (high << self._low) | low


class Order:
    """The order of every epoch over the samples of `units` (shards, or row groups of Parquet files), given by size.

    `block` None: all samples are shuffled. `block` n: units are shuffled, then samples within each n consecutive units,
    so that few units are read at a time, for disks and networks with slow random access. `families` has a number for
    each unit: units with equal numbers stay together. `shuffle` False: the stored order.
    """

    def __init__(
        self,
        units: Sequence[int] | Integers,
        seed: int,
        *,
        block: int | None = None,
        shuffle: bool = True,
        families: Sequence[int] | None = None,
    ) -> None:
        if block is not None and block < 1:
            raise ValueError(f"block is {block}; give the number of units to shuffle among, at least 1")
        sizes = np.asarray(units, np.int64)
        self._families = (
            None if families is None else np.unique(np.asarray(families)[sizes > 0], return_inverse=True)[1]
        )
        self._sizes = sizes[sizes > 0]
        self.samples = int(self._sizes.sum())
        self._seed, self._block, self._shuffle = seed, block, shuffle
        self._tables: dict[int, tuple[Integers, Integers, Integers]] = {}

    def __call__(self, epoch: int, positions: npt.ArrayLike) -> Integers:
        """Numbers of the samples at these positions of an epoch; positions are in [0, samples)."""
        given = np.asarray(positions, np.int64)
        if not self._shuffle:
            return given
        if self._block is None or self._block >= len(self._sizes):
            return Permutation(self.samples, self._seed, epoch)(given)
        firsts, ends, block_ends = self._table(epoch)
        blocks = np.searchsorted(block_ends, given, side="right")
        places = np.empty_like(given)
        for block in np.unique(blocks).tolist():
            start = int(block_ends[block - 1]) if block else 0
            within = Permutation(int(block_ends[block]) - start, self._seed, epoch, 1, block)
            here = blocks == block
            places[here] = start + within(given[here] - start)
        units = np.searchsorted(ends, places, side="right")
        starts = np.where(units > 0, ends[units - 1], 0)
        return firsts[units] + places - starts

    def _table(self, epoch: int) -> tuple[Integers, Integers, Integers]:
        """For the units in this epoch's order: numbers of their first samples, their ends, and the ends of blocks."""
        if epoch not in self._tables:
            if len(self._tables) > 1:  # the current epoch and the next one, which workers prefetch
                del self._tables[min(self._tables)]
            if self._families is None:
                turned = Permutation(len(self._sizes), self._seed, epoch, 0)(np.arange(len(self._sizes)))
            else:
                families = int(self._families.max()) + 1
                places = Permutation(families, self._seed, epoch, 0)(np.arange(families))
                turned = np.argsort(places[self._families], kind="stable")
            firsts = (np.cumsum(self._sizes) - self._sizes)[turned]
            ends = np.cumsum(self._sizes[turned])
            assert self._block is not None
            self._tables[epoch] = firsts, ends, np.append(ends[self._block - 1 : -1 : self._block], ends[-1])
        return self._tables[epoch]


class _Groups:
    """The slots of a global batch in groups of equal size. A group reads `PHASES` lanes, one in each step."""

    PHASES: Final = 8

    def __init__(self, global_batch: int, groups: int) -> None:
        """Raises ValueError unless `groups` divides the global batch."""
        if groups < 1 or global_batch % groups:
            raise ValueError(f"lanes is {groups}; it has to divide batch_size x world_size, which is {global_batch}")
        self._slots = global_batch // groups  # of a group

    def seen(self, first: int, slots: int, workers: int) -> int:
        """The number of lanes that a worker reads if its rank has these slots of each global batch."""
        groups = (first + slots - 1) // self._slots - first // self._slots + 1
        return groups * self.PHASES // math.gcd(self.PHASES, workers)


class Lanes(_Groups):
    """Divides an epoch into lanes of consecutive places, so that ranks and workers read different places of the data.

    Slot j of the global batch at step s reads lane (s mod `PHASES`, j // (global batch / `groups`)). With as many
    groups as ranks and `PHASES` workers, each worker reads one lane. Other numbers of ranks and workers get the same
    samples in each step, but some read several lanes, or the same ones.
    """

    def __init__(self, samples: int, global_batch: int, groups: int) -> None:
        """Raises ValueError unless `groups` divides the global batch."""
        super().__init__(global_batch, groups)
        self._batch = global_batch
        steps = samples // global_batch  # samples that fill no global batch keep their places
        of_phase = (steps - np.arange(self.PHASES) + self.PHASES - 1) // self.PHASES  # steps
        self._phases = (np.cumsum(of_phase) - of_phase) * self._slots  # the start of each in the part of a group
        self._group = steps * self._slots
        self._end = steps * global_batch

    def __call__(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The places of these positions of an epoch, a bijection; int64."""
        given = np.asarray(positions, np.int64)
        step, slot = np.divmod(given, self._batch)
        turn, phase = np.divmod(step, self.PHASES)
        group, within = np.divmod(slot, self._slots)
        places = group * self._group + self._phases[phase] + turn * self._slots + within
        return np.where(given < self._end, places, given)


class LaneStreams(_Groups):
    """The lanes of `Lanes` as sequences without an end, for data whose epochs are not those of the steps.

    Slot and step lead to the same lane as in `Lanes`; within the slots of a group the order is random.
    """

    def __init__(self, global_batch: int, groups: int, seed: int) -> None:
        """Raises ValueError unless `groups` divides the global batch."""
        super().__init__(global_batch, groups)
        self._seed = seed
        self.lanes = groups * self.PHASES

    def __call__(self, step: int, slots: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For slots of a global batch: the lane, and the place in it, counted over all steps; int64."""
        turn, phase = divmod(step, self.PHASES)
        group, within = np.divmod(slots, self._slots)
        places = np.empty_like(within)
        for number in np.unique(group).tolist():
            here = group == number
            places[here] = Permutation(self._slots, self._seed, step, number)(within[here])
        return group * self.PHASES + phase, turn * self._slots + places


def mix(*key: int) -> int:
    """A 64-bit hash of some integers."""
    state = 0
    for part in key:
        state = (state ^ (part & _MASK)) + _GOLDEN & _MASK
        state = (state ^ state >> 30) * _FIRST & _MASK
        state = (state ^ state >> 27) * _SECOND & _MASK
        state ^= state >> 31
    return state


def uniform(words: _Words, *key: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each word, drawn by a key of integers."""
    return (_mixed(words ^ np.uint64(mix(*key))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: _Words) -> _Words:
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))
