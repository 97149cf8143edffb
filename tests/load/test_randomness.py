"""Random numbers of a sample."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from recaption.load.randomness import SampleGenerators, preserved_globals, seed_globals


def test_a_sample_has_the_same_numbers_whatever_was_drawn_before() -> None:
    one, other = SampleGenerators(5), SampleGenerators(5)
    expected = one.of(3, 7).random(4).tolist()
    other.of(0, 0).random(1000)
    assert other.of(3, 7).random(4).tolist() == expected


def test_samples_epochs_and_seeds_differ() -> None:
    numbers = {
        SampleGenerators(seed).of(epoch, index).random() for seed in (0, 1) for epoch in (0, 1) for index in (0, 1)
    }
    assert len(numbers) == 8


def drawn() -> tuple[float, float, float]:
    return random.random(), np.random.random(), float(torch.rand(()))


def test_transforms_draw_by_sample() -> None:
    with preserved_globals(True):
        seed_globals(1, 2, 3)
        first = drawn()
        drawn()
        seed_globals(1, 2, 3)
        assert drawn() == first
        seed_globals(1, 2, 4)
        assert not set(drawn()) & set(first)


@pytest.mark.parametrize("keep", [True, False])
def test_the_globals_of_the_trainer_are_restored_on_request(keep: bool) -> None:
    with preserved_globals(True):
        seed_globals(0, 0, 0)
        expected = drawn()
        seed_globals(0, 0, 0)
        with preserved_globals(keep):
            drawn()
        assert (drawn() == expected) == keep
