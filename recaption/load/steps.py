"""Maps a global step to the samples of one rank: the arithmetic of batches and epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recaption.errors import UserError

DropLast = Literal["global", "pad"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """How epochs of `samples` are cut into global batches. All ranks make the same number of steps.

    `drop_last` "global": the samples of an epoch that do not fill a global batch are left out, others in each epoch.
    "pad": they come in a last batch that is filled with samples from the start of the epoch, which its mask marks.
    """

    samples: int
    batch_size: int  # of one rank
    world_size: int
    drop_last: DropLast

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError("there is no sample to load: every one was rejected, or is in another split")
        if not self.per_epoch:
            raise UserError(
                f"batch_size {self.batch_size} on {self.world_size} ranks makes global batches of {self.global_batch}, "
                f"and there are {self.samples} samples, so an epoch has no whole batch. "
                'Give a smaller batch_size, or drop_last="pad"'
            )

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world_size

    @property
    def per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.global_batch)
        return whole + (rest > 0 and self.drop_last == "pad")

    def batch(self, step: int, rank: int) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The epoch of a global step, and of this rank's slots the positions in the epoch [B] and the mask [B]."""
        epoch, within = divmod(step, self.per_epoch)
        first = within * self.global_batch + rank * self.batch_size
        slots = np.arange(first, first + self.batch_size)
        return epoch, slots % self.samples, slots < self.samples
