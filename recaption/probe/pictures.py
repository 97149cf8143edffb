"""The features of all images of a probe, in a file that its processes map into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recaption.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Features of the images that arms train on [N, F] and of those that queries are about [M, F]. No image is both."""

    train: Tensor
    queries: Tensor

    def standardised(self) -> Pictures:
        """Each column with mean 0 and standard deviation 1 over the training images."""
        mean, deviation = self.train.mean(0), self.train.std(0).clamp_min(1e-6)
        return Pictures(train=(self.train - mean) / deviation, queries=(self.queries - mean) / deviation)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFile:
    """Standardised features in a .npy file, float32 [N + M, F], with the N training images first.

    The file is computed when it is first needed, so that a probe that was stopped does not compute it again. Its name
    must contain the identity of the images and the encoder.
    """

    path: Path
    train: int

    def ensure(self, compute: Callable[[], Pictures]) -> None:
        """Write the file if it does not exist, as a whole or not at all. Raises UserError if it cannot be written."""
        if self.path.exists():
            return
        made = compute().standardised()
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            with part.open("wb") as file:
                np.save(file, torch.cat([made.train, made.queries]).numpy())
            part.replace(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}. Give another --out") from error

    def read(self) -> Pictures:
        """Memory-mapped: processes that read the same file share its memory. Raises UserError."""
        try:
            features = torch.from_numpy(np.load(self.path, mmap_mode="c"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} cannot be read: {error}. Delete it, and it is computed again") from error
        return Pictures(train=features[: self.train], queries=features[self.train :])
