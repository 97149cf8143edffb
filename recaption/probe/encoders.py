"""Frozen encoders of images and texts: the embedded encoder of scenes, and encoders of transformers and open_clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from recaption.demo import model_path
from recaption.errors import MissingExtra, UserError

ImageEncoder = Callable[[Sequence[Any]], Tensor]
"""PIL images -> float32 [images, F], on the CPU."""
TextEncoder = Callable[[Sequence[str]], Tensor]
"""Texts -> float32 [texts, F], on the CPU."""

SCENE: Final = "scene"
_FORMS: Final = "transformers:MODEL (a folder or a hub id) or open_clip:MODEL:TAG (or open_clip:FOLDER)"


@cache
def image_encoder(name: str) -> ImageEncoder:
    """The encoder of `--encoder`. Raises UserError for one that does not exist or cannot be loaded."""
    if name == SCENE:
        return embedded()
    return _of(name, "--encoder", f"{SCENE}, {_FORMS}, or a .npz file", _IMAGES)


@cache
def text_encoder(name: str) -> TextEncoder:
    """The encoder of `--text`. Raises UserError for one that does not exist or cannot be loaded."""
    return _of(name, "--text", f"trained, {_FORMS}", _TEXTS)


def _of(name: str, option: str, forms: str, makers: Mapping[str, Callable[[str, str], Any]]) -> Any:
    library, _, model = name.partition(":")
    if library not in makers or not model:
        raise UserError(f"{option} {name}: it can be {forms}")
    return makers[library](model, f"{option} {name}")


def embedded() -> ImageEncoder:
    """The vision encoder of the embedded scene captioner: nine image tokens, one per cell, [images, 9 * 192]."""
    transformers = _transformers()
    model = transformers.AutoModelForImageTextToText.from_pretrained(model_path(), dtype="float32").eval()
    processor = transformers.AutoProcessor.from_pretrained(model_path()).image_processor

    def encode(images: Sequence[Any]) -> Tensor:
        inputs = processor(images=[[image] for image in images], return_tensors="pt")
        found = model.model.get_image_features(
            pixel_values=inputs["pixel_values"], pixel_attention_mask=inputs["pixel_attention_mask"]
        )
        tokens: Tensor = getattr(found, "pooler_output", found)
        return tokens.flatten(1).float()

    return encode


def _images_of_transformers(model: str, given: str) -> ImageEncoder:
    """The image embeddings of a dual encoder such as CLIP or SigLIP, or the pooled output of a vision model."""
    loaded, processor = _loaded(model, given, "AutoImageProcessor")
    call = getattr(loaded, "get_image_features", loaded)

    def encode(images: Sequence[Any]) -> Tensor:
        found = call(**processor(images=list(images), return_tensors="pt").to(device()))
        pooled = getattr(found, "pooler_output", found)
        if pooled is None:
            raise UserError(f"{given} has no pooled output; give a model that embeds images, such as CLIP or SigLIP")
        made: Tensor = pooled.float().cpu()
        return made

    return encode


def _texts_of_transformers(model: str, given: str) -> TextEncoder:
    """The text embeddings of a dual encoder, or the mean of a text model's last hidden states over the tokens."""
    loaded, tokenizer = _loaded(model, given, "AutoTokenizer")
    config = getattr(loaded.config, "text_config", loaded.config)
    settings = {
        "padding": "max_length" if loaded.config.model_type.startswith("siglip") else "longest",  # as it was trained
        "truncation": True,
        "max_length": min(config.max_position_embeddings, tokenizer.model_max_length),
        "return_tensors": "pt",
    }

    def encode(texts: Sequence[str]) -> Tensor:
        inputs = tokenizer(list(texts), **settings).to(device())
        if hasattr(loaded, "get_text_features"):
            found = loaded.get_text_features(**inputs)
            made: Tensor = getattr(found, "pooler_output", found).float().cpu()
            return made
        mask = inputs["attention_mask"][..., None]
        states: Tensor = loaded(**inputs).last_hidden_state.float()
        return ((states * mask).sum(1) / mask.sum(1)).cpu()

    return encode


def _loaded(model: str, given: str, processor: str) -> tuple[Any, Any]:
    transformers = _transformers()
    try:
        loaded = transformers.AutoModel.from_pretrained(model, dtype="float32").eval().to(device())
        return loaded, getattr(transformers, processor).from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(f"{given} cannot be loaded: {error}") from error


def _images_of_open_clip(model: str, given: str) -> ImageEncoder:
    loaded, transform, _ = _open_clip(model, given)

    def encode(images: Sequence[Any]) -> Tensor:
        made: Tensor = loaded.encode_image(torch.stack([transform(image) for image in images]).to(device()))
        return made.float().cpu()

    return encode


def _texts_of_open_clip(model: str, given: str) -> TextEncoder:
    loaded, _, tokenizer = _open_clip(model, given)

    def encode(texts: Sequence[str]) -> Tensor:
        made: Tensor = loaded.encode_text(tokenizer(list(texts)).to(device()))
        return made.float().cpu()

    return encode


def _open_clip(model: str, given: str) -> tuple[Any, Any, Any]:
    """A model, its transform of images and its tokenizer. `model`: MODEL:TAG, hf-hub:ORG/NAME, or a folder with
    open_clip_config.json."""
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra("open_clip", "probe") from error
    if Path(model).is_dir():
        name, tag = f"local-dir:{model}", None
    elif model.startswith("hf-hub:"):
        name, tag = model, None
    else:
        name, _, tag = model.partition(":")
        if not tag:
            raise UserError(
                f"{given}: open_clip needs the tag of pretrained weights, open_clip:MODEL:TAG such as "
                "open_clip:ViT-B-32:laion2b_s34b_b79k, or a folder that exists"
            )
    try:
        loaded, _, transform = open_clip.create_model_and_transforms(name, pretrained=tag)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{given} cannot be loaded: {error}") from error
    return loaded.eval().to(device()), transform, tokenizer


_IMAGES: Final = {"transformers": _images_of_transformers, "open_clip": _images_of_open_clip}
_TEXTS: Final = {"transformers": _texts_of_transformers, "open_clip": _texts_of_open_clip}


@cache
def device() -> str:
    """Where encoders and models from scratch run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _transformers() -> Any:
    """The module, without progress bars and warnings. Raises MissingExtra."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "transformers") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
