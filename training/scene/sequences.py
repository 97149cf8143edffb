"""Sequences of an image and several blocks after it, and their tables.

Each block attends to the image and to itself alone, and its positions continue the image's, so that each is computed
independently of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.scene.batches import IGNORE


@dataclass(kw_only=True, slots=True)
class BlockSequence:
    """One image with its blocks, being written. All lists have one entry for each token."""

    prefix: int  # tokens of the image
    ids: list[int]
    targets: list[int] = field(init=False)  # the token that follows, IGNORE where nothing is learnt
    roles: list[int] = field(init=False)  # what a target teaches; 0: nothing
    positions: list[int] = field(init=False)
    blocks: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.targets, self.roles = [IGNORE] * self.prefix, [0] * self.prefix
        self.positions, self.blocks = [*range(self.prefix)], [0] * self.prefix

    def add(self, ids: list[int], targets: list[int], roles: list[int]) -> None:
        block = self.blocks[-1] + 1
        self.ids += ids
        self.targets += targets
        self.roles += roles
        self.positions += range(self.prefix, self.prefix + len(ids))
        self.blocks += [block] * len(ids)


def table(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """int64 [B, T]: the rows, filled up on the right."""
    filled = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for row, values in zip(filled, rows, strict=True):
        row[: len(values)] = values
    return filled


def mask(blocks: np.ndarray) -> np.ndarray:
    """bool [B, 1, T, T]: what a token may attend to, for its block's number [B, T] (0: image, -1: padding)."""
    same = (blocks[:, :, None] == blocks[:, None, :]) | (blocks[:, None, :] == 0)
    return np.tril(same)[:, None]
