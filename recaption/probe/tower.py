"""The model that a run trains: for images, a linear head on frozen features; for texts, either a tower over hashed
words or a linear head on a frozen encoder."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recaption.objectives import multi_positive_sigmoid
from recaption.objectives.numeric import unit
from recaption.probe.encoders import TextEncoder
from recaption.probe.queries import Query
from recaption.probe.settings import Training

_WORDS: Final = re.compile(r"\w+")


def numbers_of(texts: Sequence[str], buckets: int, context: int) -> tuple[Tensor, Tensor]:
    """The first `context` words of each text, and all pairs of neighbouring words, as hashed numbers.

    Returns the numbers of all texts in one array, int32, and the position where each text begins, int32 [texts].
    """
    numbers = [_numbers(text, buckets, context) for text in texts]
    ends = np.cumsum([len(of) for of in numbers], dtype=np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    return torch.from_numpy(np.concatenate(numbers)), torch.from_numpy(starts)


@lru_cache(maxsize=1 << 16)
def _numbers(text: str, buckets: int, context: int) -> npt.NDArray[np.int32]:
    words = _words(text, context)
    return np.array(_hashed([*words, *map(" ".join, pairwise(words))], buckets), np.int32)


def words_of(text: str, buckets: int, context: int) -> list[int]:
    """The first `context` words of a text as hashed numbers below `buckets`."""
    return _hashed(_words(text, context), buckets)


def _words(text: str, context: int) -> list[str]:
    return _WORDS.findall(text.lower())[:context]


def _hashed(pieces: Sequence[str], buckets: int) -> list[int]:
    return [zlib.crc32(piece.encode()) % buckets for piece in pieces]


class Towers(Protocol):
    """A trained model: it embeds the images and texts of queries in one space."""

    def images(self, pictures: Tensor, /) -> Tensor: ...

    def text(self, texts: Sequence[str], /) -> Tensor: ...


class Embedded:
    """Embeddings of a frozen text encoder, each computed once and kept in half precision.

    Each run has its own instance: an embedding depends slightly on the other texts of its batch, and therefore on all
    earlier calls.
    """

    def __init__(self, encode: TextEncoder, batch: int = 256) -> None:
        self._encode, self._batch = encode, batch
        self._kept: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """float32 [texts, F]"""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        with torch.no_grad():
            for start in range(0, len(new), self._batch):
                some = new[start : start + self._batch]
                self._kept.update(zip(some, self._encode(some).half(), strict=True))
        return torch.stack([self._kept[text] for text in texts]).float()


class Model(nn.Module):
    """Image features [B, F] and texts, both in a space of `width` dimensions."""

    def __init__(self, features: int, training: Training, encode: TextEncoder | None = None) -> None:
        """encode: a frozen text encoder; without one, the text tower is trained from scratch."""
        super().__init__()
        width = training.width
        self._words = partial(numbers_of, buckets=training.buckets, context=training.context)
        self._embedded = Embedded(encode) if encode else None
        if self._embedded is None:
            self.table = nn.EmbeddingBag(training.buckets, width // 2, mode="mean")
            nn.init.normal_(self.table.weight, std=0.1)
            self.tower = nn.Sequential(nn.Linear(width // 2, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        else:
            of_text = self._embedded(["a"]).shape[1]
            self.tower = nn.Sequential(nn.LayerNorm(of_text), nn.Linear(of_text, width))
        self.head = nn.Linear(features, width)
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())
        self.bias = nn.Parameter(-torch.tensor(float(training.batch)).log())  # one text of a batch matches

    def images(self, features: Tensor) -> Tensor:
        """[B, width]"""
        made: Tensor = self.head(features)
        return made

    def text(self, texts: Sequence[str]) -> Tensor:
        """[texts, width]"""
        read = self.table(*self._words(texts)) if self._embedded is None else self._embedded(texts)
        made: Tensor = self.tower(read)
        return made


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: sums then have one order, so that numbers are equal on any number of cores. Small matrices gain
    nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


Draw = Callable[[int, int, int], list[str]]
"""(position, epoch, step) -> the texts of an image; the same number for all images."""
FROZEN_DRAWS: Final = 8
"""Texts of an image, at least, that a frozen text encoder embeds for each run."""


def repeated(draw: Draw) -> Draw:
    """The draws of the first epochs, again and again."""
    epochs = -(-FROZEN_DRAWS // len(draw(0, 0, 0)))
    return lambda position, epoch, step: draw(position, epoch % epochs, step)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    model: Towers
    loss: float  # mean of the last tenth of the steps

    @classmethod
    def of(cls, model: Towers, losses: Sequence[float]) -> Trained:
        tail = losses[-max(1, len(losses) // 10) :]
        return cls(model=model, loss=sum(tail) / len(tail))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    number: int
    epoch: int
    positions: npt.NDArray[np.int64]  # of the batch's images
    rate: float


def steps(images: int, seed: int, training: Training) -> Iterator[Step]:
    """The batches of a run. The part of the images and their order depend on the seed only."""
    rng = np.random.default_rng([seed, 0])
    part = _part(rng, images, training.share)
    batch = min(training.batch, len(part))
    epoch, left = -1, np.empty(0, np.int64)
    for number in range(training.steps):
        if len(left) < batch:
            epoch, left = epoch + 1, rng.permutation(part)
        positions, left = left[:batch], left[batch:]
        rate = training.rate * _share_of_rate(number, training.steps)
        yield Step(number=number, epoch=epoch, positions=positions, rate=rate)


def trained_on(images: int, seed: int, share: float) -> npt.NDArray[np.int64]:
    """The positions of the images that runs of this seed train on, ascending."""
    return _part(np.random.default_rng([seed, 0]), images, share)


def _part(rng: np.random.Generator, images: int, share: float) -> npt.NDArray[np.int64]:
    return np.sort(rng.permutation(images)[: max(1, round(share * images))])


def train(features: Tensor, draw: Draw, seed: int, training: Training, encode: TextEncoder | None = None) -> Trained:
    """Train on a part of the images. Weights, part and order depend on `seed` only.

    features: float32 [N, F], standardised. encode: a frozen text encoder. It embeds FROZEN_DRAWS texts of each
    image, which all epochs use; without it, each epoch draws new texts.
    """
    if encode:
        draw = repeated(draw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(features.shape[1], training, encode)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    losses: list[float] = []
    for step in steps(len(features), seed, training):
        optimiser.param_groups[0]["lr"] = step.rate
        optimiser.zero_grad()
        drawn = [draw(position, step.epoch, step.number) for position in step.positions.tolist()]
        texts = model.text([text for of in drawn for text in of]).unflatten(0, (len(drawn), -1))
        images = model.images(features[torch.from_numpy(step.positions)])
        loss = multi_positive_sigmoid(images, texts, scale=model.log_scale.exp(), bias=model.bias)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return Trained.of(model, losses)


def outcomes(model: Towers, features: Tensor, images: Sequence[int], queries: Sequence[Query]) -> np.ndarray:
    """For each query its margin (the cosine of the true text minus that of the wrong one), or, without a wrong text,
    1.0 if its image is the most similar one of all, else 0.0: float32 [queries].

    features: [M, F] of the queries' images; images: for each query its position in them.
    """
    made = np.empty(len(queries), np.float32)
    with torch.inference_mode():
        pictures = unit(model.images(features))
        for start in range(0, len(queries), 1024):
            some = queries[start : start + 1024]
            own = torch.tensor(images[start : start + 1024])
            scores = unit(model.text([query.text for query in some])) @ pictures.T
            wrong = unit(model.text([query.wrong or query.text for query in some]))
            true = scores.gather(1, own[:, None])[:, 0]
            found = (scores > true[:, None]).sum(1) == 0
            margin = true - (wrong * pictures[own]).sum(1)
            has_wrong = torch.tensor([query.wrong is not None for query in some])
            made[start : start + len(some)] = torch.where(has_wrong, margin, found.float()).numpy()
    return made


def _share_of_rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))
