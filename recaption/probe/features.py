"""Image features, computed once and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recaption.demo import model_path
from recaption.errors import MissingExtra, UserError
from recaption.probe.outputs import CaptionSet
from recaption.probe.tower import one_thread

Encoder = Callable[[list[Any]], Tensor]
"""A list of PIL images -> float32 [images, F]."""


def embedded() -> Encoder:
    """The vision encoder of the embedded scene captioner: nine image tokens, one per cell, [images, 9 * 192]."""
    transformers = _transformers()
    model = transformers.AutoModelForImageTextToText.from_pretrained(model_path(), dtype="float32").eval()
    processor = transformers.AutoProcessor.from_pretrained(model_path()).image_processor

    def encode(images: list[Any]) -> Tensor:
        inputs = processor(images=[[image] for image in images], return_tensors="pt")
        found = model.model.get_image_features(
            pixel_values=inputs["pixel_values"], pixel_attention_mask=inputs["pixel_attention_mask"]
        )
        tokens: Tensor = getattr(found, "pooler_output", found)
        return tokens.flatten(1).float()

    return encode


def encoded(encode: Encoder, images: Iterable[Any], *, batch: int = 64) -> Tensor:
    """The features of all images, float32 [images, F]."""
    with torch.inference_mode(), one_thread():
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


def features_of(encoder: str, of: CaptionSet, images: Sequence[str]) -> Tensor:
    """The features of these images (by sha256) of an output, float32 [images, F]. Raises UserError for an encoder that
    does not exist or a file without these images."""
    if encoder.endswith(".npz"):
        return _stored(encoder, of, images)
    return encoded(_encoder(encoder), (of.image(sha256).convert("RGB") for sha256 in images))


@cache
def _encoder(name: str) -> Encoder:
    if name == "scene":
        return embedded()
    if name.startswith("transformers:"):
        return of_transformers(name.partition(":")[2])
    raise UserError(f"--encoder {name}: it can be scene, transformers:MODEL (a folder or a hub id), or a .npz file")


def of_transformers(model: str) -> Encoder:
    """The image embeddings of a dual encoder such as CLIP or SigLIP, or the pooled output of a vision model."""
    transformers = _transformers()
    try:
        loaded = transformers.AutoModel.from_pretrained(model, dtype="float32").eval()
        processor = transformers.AutoImageProcessor.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(f"--encoder transformers:{model} cannot be loaded: {error}") from error
    call = getattr(loaded, "get_image_features", loaded)

    def encode(images: list[Any]) -> Tensor:
        found = call(**processor(images=images, return_tensors="pt"))
        pooled = getattr(found, "pooler_output", found)
        if pooled is None:
            raise UserError(f"--encoder transformers:{model} has no pooled output")
        made: Tensor = pooled.float()
        return made

    return encode


def _transformers() -> Any:
    """The module, without progress bars and warnings. Raises MissingExtra."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "transformers") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _stored(path: str, of: CaptionSet, images: Sequence[str]) -> Tensor:
    """Rows of an .npz with `keys` (keys or sha256 of images) and `features` [N, F]."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, features = stored["keys"].astype(str).tolist(), stored["features"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"--encoder {path} cannot be read; it needs arrays keys [N] and features [N, F]: {error}"
        ) from error
    if features.ndim != 2 or len(features) != len(keys):
        raise UserError(
            f"--encoder {path}: features are {features.shape} and keys {len(keys)}; features must be [N, F]"
        )
    row = {key: n for n, key in enumerate(keys)}
    rows = [row.get(sha256, row.get(of.key(sha256))) for sha256 in images]
    if None in rows:
        missing = of.key(images[rows.index(None)])
        raise UserError(f"--encoder {path} has no features of image {missing!r}, and of {rows.count(None):,} in all")
    return torch.from_numpy(np.asarray(features[rows], np.float32))
