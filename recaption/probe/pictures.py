"""The features or pixels of all images of a probe, in a file that its processes map into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from recaption.errors import UserError, in_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Features of the images that arms train on [N, F] and of those that queries are about [M, F], or their pixels,
    uint8 [N, S, S, 3]. No image is both."""

    train: Tensor
    queries: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFile:
    """A .npy file [N + M, ...], with the N training images first.

    The file is written when it is first needed, so that a probe that was stopped does not compute it again. Its name
    must contain the identity of the images and the encoder.
    """

    path: Path
    train: int

    def ensure(self, write: Callable[[Path], None]) -> None:
        """Write the file if it does not exist, as a whole or not at all. Raises UserError if it cannot be written."""
        if self.path.exists():
            return
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            write(part)
            part.replace(self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UserError(f"{self.path} cannot be written: {in_words(error)}. Give another --out") from error

    def read(self) -> Pictures:
        """Memory-mapped: processes that read the same file share its memory. Raises UserError."""
        try:
            found = torch.from_numpy(np.load(self.path, mmap_mode="c"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} cannot be read: {error}. Delete it, and it is computed again") from error
        return Pictures(train=found[: self.train], queries=found[self.train :])


def write_features(path: Path, pictures: Pictures) -> None:
    """Features, float32, each column with mean 0 and standard deviation 1 over the training images."""
    train, queries = pictures.train, pictures.queries
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    made = _new_file(path, np.float32, (len(train) + len(queries), *train.shape[1:]))
    for part, features in ((made[: len(train)], train), (made[len(train) :], queries)):
        torch.sub(features, mean, out=torch.from_numpy(part)).div_(deviation)
    made.flush()


def write_pixels(path: Path, images: Iterable[Image.Image], number: int, side: int) -> None:
    """Pixels of `number` images, uint8 [number, side, side, 3]: the middle square of each, scaled. Memory does not grow
    with the number."""
    made = _new_file(path, np.uint8, (number, side, side, 3))
    for row, image in zip(made, images, strict=True):
        row[:] = np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC))
    made.flush()


def _new_file(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory-mapped .npy file whose space is reserved. On a full disk, this raises OSError; without it, a later write
    to the sparse file would end the process."""
    made = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return made
