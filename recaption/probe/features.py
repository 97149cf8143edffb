"""Image features, computed once and frozen."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recaption.errors import UserError
from recaption.probe.encoders import ImageEncoder, image_encoder
from recaption.probe.outputs import CaptionSet


def encoded(encode: ImageEncoder, images: Iterable[Any], *, batch: int = 64) -> Tensor:
    """The features of all images, float32 [images, F]."""
    with torch.inference_mode():
        return torch.cat([encode(some) for some in _batches(images, batch)])


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    some: list[Any] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def features_of(encoder: str, of: CaptionSet, images: Iterable[str]) -> Tensor:
    """The features of these images (by sha256) of an output, float32 [images, F]. Raises UserError for an encoder that
    does not exist or a file without these images."""
    if encoder.endswith(".npz"):
        return _stored(encoder, of, images)
    return encoded(image_encoder(encoder), (of.image(sha256).convert("RGB") for sha256 in images))


def check_encoder(encoder: str) -> None:
    """Raises UserError for an encoder that does not exist or cannot be loaded, and for a file that has no features."""
    if not encoder.endswith(".npz"):
        image_encoder(encoder)
        return
    try:
        with np.load(encoder, allow_pickle=False) as stored:
            lacking = [name for name in ("keys", "features") if name not in stored.files]
    except (OSError, ValueError) as error:
        raise UserError(_unreadable(encoder, error)) from error
    if lacking:
        raise UserError(_unreadable(encoder, f"it has no {' and '.join(lacking)}"))


def _unreadable(path: str, why: object) -> str:
    return f"--encoder {path} cannot be read; it needs arrays keys [N] and features [N, F]: {why}"


def _stored(path: str, of: CaptionSet, images: Iterable[str]) -> Tensor:
    """Rows of an .npz with `keys` (keys or sha256 of images) and `features` [N, F]."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, features = stored["keys"].astype(str).tolist(), stored["features"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(_unreadable(path, error)) from error
    if features.ndim != 2 or len(features) != len(keys):
        raise UserError(
            f"--encoder {path}: features are {features.shape} and keys {len(keys)}; features must be [N, F]"
        )
    row = {key: n for n, key in enumerate(keys)}
    rows, missing = array("q"), list[str]()
    for sha256 in images:
        found = row.get(sha256)
        if found is None and (found := row.get(key := of.key(sha256))) is None:
            missing.append(key)
        else:
            rows.append(found)
    if missing:
        raise UserError(f"--encoder {path} has no features of image {missing[0]!r}, and of {len(missing):,} in all")
    return torch.from_numpy(np.asarray(features[np.asarray(rows)], np.float32))
