"""Random numbers that depend only on the seed, the epoch and the sample."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from recaption.load.order import mix

_MASK: Final = (1 << 64) - 1


class SampleGenerators:
    """The generator of each sample: one Philox (Salmon et al. 2011) whose counter is set to (epoch, sample), so that
    the streams do not overlap. Creating a generator for each sample takes ten times as long."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(key=[mix(seed), 0])
        self._start = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def of(self, epoch: int, index: int) -> np.random.Generator:
        """The generator of a sample, valid until the next call."""
        self._start["state"]["counter"][:] = (0, 0, epoch & _MASK, index)
        self._bits.state = self._start
        return self._generator


def seed_globals(seed: int, epoch: int, index: int) -> None:
    """Seed the global generators that transforms use: `random`, `numpy.random` and torch's CPU generator."""
    import torch

    word = mix(seed, epoch, index)
    random.seed(word)
    np.random.seed(word & 0xFFFFFFFF)
    torch.default_generator.manual_seed(word)


@contextmanager
def preserved_globals(keep: bool) -> Iterator[None]:
    """With `keep`, restore these three generators afterwards: in the trainer's own process they belong to the
    trainer."""
    import torch

    kept = (random.getstate(), np.random.get_state(), torch.get_rng_state()) if keep else None
    try:
        yield
    finally:
        if kept:
            random.setstate(kept[0])
            np.random.set_state(kept[1])
            torch.set_rng_state(kept[2])
