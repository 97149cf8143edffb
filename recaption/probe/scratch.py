"""Both towers from scratch, with an objective of `recaption.objectives`: a probe for a GPU.

The number of samples seen is fixed for all arms, as in DataComp (arXiv 2304.14108). Its scale `small` sees 12.8 million
samples in batches of 4,096. Images are pixels without augmentation: a flip would make captions false.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from recaption import objectives
from recaption.errors import UserError
from recaption.probe.arms import Arm
from recaption.probe.encoders import device
from recaption.probe.settings import Training
from recaption.probe.tower import Step, Trained, steps, words_of

DEFAULTS: Final[Mapping[str, Any]] = {
    "seen": 12_800_000, "batch": 1_024, "rate": 5e-4, "width": 384, "context": 77, "buckets": 1 << 16
}  # fmt: skip
"""The settings of `Training` for this probe. 384 is the width of ViT-S."""
SPARC_WEIGHTS: Final = 1.0, 1.0  # of the global and the sequence-wise loss; a choice, not the paper's
_HEAD: Final = 64  # width of an attention head
_AT_ONCE: Final = 512  # images of queries that are encoded together


@dataclass(frozen=True, kw_only=True, slots=True)
class Scratch:
    """The towers' settings that `Training` does not have (it has `width`). The defaults are ViT-S/32 at 160 px."""

    objective: str
    side: int = 160  # pixels
    patch: int = 32
    layers: int = 12
    text_layers: int = 6

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UserError(f"--objective {self.objective}: it can be {', '.join(OBJECTIVES)}")
        if self.side % self.patch:
            raise UserError(f"--side {self.side}: it must be a multiple of {self.patch}, the side of a patch")


class Model(nn.Module):
    """A vision transformer and a text transformer over hashed words, both trained."""

    def __init__(self, training: Training, scratch: Scratch) -> None:
        super().__init__()
        width, patches = training.width, (scratch.side // scratch.patch) ** 2
        self._training, self.objective = training, scratch.objective
        self.patch = nn.Conv2d(3, width, scratch.patch, scratch.patch)
        self.whole = nn.Parameter(0.02 * torch.randn(1, 1, width))  # the token of the whole image
        self.place = nn.Parameter(0.02 * torch.randn(1, patches + 1, width))
        self.vision = _transformer(width, scratch.layers)
        self.words = nn.Embedding(training.buckets, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.02)
        self.order = nn.Parameter(0.02 * torch.randn(1, training.context, width))
        self.reading = _transformer(width, scratch.text_layers)
        self.of_image, self.of_text = (nn.Linear(width, width, bias=False) for _ in range(2))
        scale, bias = (10.0, -10.0) if scratch.objective == "siglip" else (1 / 0.07, -10.0)
        self.log_scale, self.bias = (nn.Parameter(torch.tensor(value)) for value in (np.log(scale), bias))
        self.log_local_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07)))  # of dreamlip
        self.pool = objectives.AttentionPool(width, _heads(width)) if scratch.objective == "flair" else None

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels, uint8 [B, S, S, 3] -> embeddings of the images [B, D] and of their patches [B, P, D]."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        patches = self.patch(scaled).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.whole.expand(len(pixels), -1, -1), patches], dim=1) + self.place
        seen = self.of_image(self.vision(tokens))
        return seen[:, 0], seen[:, 1:]

    def read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of words, 0 at padding [N, L] -> the embedding of each text [N, D], which is the projected mean over
        its words, and the text transformer's output at each word [N, L, D]."""
        real = words > 0
        read = self.reading(self.words(words) + self.order[:, : words.shape[1]], src_key_padding_mask=~real)
        mean = (read * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.of_text(mean), read

    def loss(self, pixels: Tensor, words: Tensor) -> Tensor:
        """pixels: uint8 [B, S, S, 3]; words: int64 [B, K, L]."""
        images, patches = self.see(pixels)
        texts, read = (made.unflatten(0, words.shape[:2]) for made in self.read(words.flatten(0, 1)))
        return OBJECTIVES[self.objective](self, _Batch(images, patches, texts, read, words > 0))

    def images(self, pixels: Tensor) -> Tensor:
        """float32 [M, D], on the CPU."""
        return torch.cat([self.see(some.to(self.bias.device))[0].float().cpu() for some in pixels.split(_AT_ONCE)])

    def text(self, texts: Sequence[str]) -> Tensor:
        """float32 [N, D], on the CPU."""
        words = padded(texts, self._training)
        return self.read(torch.from_numpy(words).to(self.bias.device))[0].float().cpu()

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=100)


class _Batch(NamedTuple):
    """Embeddings of a batch: B images with K texts of L words each."""

    images: Tensor  # [B, D]
    patches: Tensor  # [B, P, D]
    texts: Tensor  # [B, K, D]
    words: Tensor  # [B, K, L, D], before the projection of texts
    mask: Tensor  # bool [B, K, L], False at padding


def _siglip(model: Model, batch: _Batch) -> Tensor:
    return objectives.multi_positive_sigmoid(batch.images, batch.texts, scale=model.scale, bias=model.bias)


def _clip(model: Model, batch: _Batch) -> Tensor:
    return objectives.multi_positive_contrastive(batch.images, batch.texts, scale=model.scale)


def _flair(model: Model, batch: _Batch) -> Tensor:
    images, patches, texts, *_ = batch
    chosen = objectives.choose_texts(*texts.shape[:2], device=texts.device)
    pool = cast(nn.Module, model.pool)
    return objectives.flair(images, patches, texts, chosen, pool=pool, scale=model.scale, bias=model.bias)


def _dreamlip(model: Model, batch: _Batch) -> Tensor:
    local_scale = model.log_local_scale.exp().clamp(max=100)
    return objectives.dreamlip(batch.images, batch.patches, batch.texts, scale=model.scale, local_scale=local_scale)


def _sparc(model: Model, batch: _Batch) -> Tensor:
    """SPARC has one text per image; with several, the mean over them."""
    images, patches, *of_texts = batch
    each = [
        objectives.sparc(images, text, patches, model.of_text(words), mask, scale=model.scale, weights=SPARC_WEIGHTS)
        for text, words, mask in zip(*(made.unbind(1) for made in of_texts), strict=True)
    ]
    return torch.stack(each).mean()


OBJECTIVES: Final[Mapping[str, Callable[[Model, _Batch], Tensor]]] = {
    "siglip": _siglip,
    "clip": _clip,
    "flair": _flair,
    "dreamlip": _dreamlip,
    "sparc": _sparc,
}
"""The names of `--objective`."""


def train(pixels: Tensor, arm: Arm, seed: int, training: Training, scratch: Scratch) -> Trained:
    """Train on a part of the images; see `tower.train`. A GPU is used with bfloat16: results of equal seeds then differ
    slightly. pixels: uint8 [N, S, S, 3]."""
    on = device()
    with torch.random.fork_rng(devices=None if on == "cuda" else []):
        torch.manual_seed(seed)
        model = Model(training, scratch).to(on)
        optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.2, fused=True)
        losses: list[Tensor] = []
        for step, words in _loader(_Drawn(arm, seed, len(pixels), training)):
            optimiser.param_groups[0]["lr"] = step.rate
            optimiser.zero_grad()
            batch = pixels[torch.from_numpy(step.positions)].to(on)
            with torch.autocast(on, torch.bfloat16, enabled=on == "cuda"):
                loss = model.loss(batch, torch.from_numpy(words).to(on))
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
    return Trained.of(model.eval(), torch.stack(losses).tolist())


class _Drawn(IterableDataset[tuple[Step, Any]]):
    """The steps of a run, each with the words of its texts, int64 [B, K, L]."""

    def __init__(self, arm: Arm, seed: int, images: int, training: Training) -> None:
        self._arm, self._seed, self._images, self._training = arm, seed, images, training

    def __iter__(self) -> Iterator[tuple[Step, Any]]:
        worker, draw = get_worker_info(), self._arm.drawer(self._seed)
        number, of = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in steps(self._images, self._seed, self._training):
            if step.number % of == number:
                drawn = [draw(position, step.epoch, step.number) for position in step.positions.tolist()]
                words = padded([text for texts in drawn for text in texts], self._training)
                yield step, words.reshape(len(drawn), -1, words.shape[1])


def _loader(drawn: _Drawn) -> DataLoader[tuple[Step, Any]]:
    """With a GPU, other processes draw the texts."""
    workers = min(8, os.cpu_count() or 1) if device() == "cuda" else 0
    return DataLoader(drawn, batch_size=None, num_workers=workers, collate_fn=_as_it_is)


def _as_it_is(item: Any) -> Any:
    return item


def padded(texts: Sequence[str], training: Training) -> np.ndarray:
    """The numbers of the first `context` words of each text, from 1; 0 at padding: int64 [N, L]. A text without words
    has the number 1."""
    numbers = [[1 + number for number in words_of(text, training.buckets - 1, training.context)] for text in texts]
    made = np.zeros((len(texts), max(1, *map(len, numbers))), np.int64)
    for row, of_text in zip(made, numbers, strict=True):
        row[: max(1, len(of_text))] = of_text or 1
    return made


def _transformer(width: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, _heads(width), 4 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


def _heads(width: int) -> int:
    return max(1, width // _HEAD)
