"""Batches for training: scenes asked a question, bucketed by length so that padding stays under a few percent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from recaption.demo.scenes import BACKGROUNDS, COLOURS, FILLS, SHAPES, SIZES, Scene
from training.scene.build import END, IMAGE, prompt_text
from training.scene.captions import describe_long, describe_short
from training.scene.pool import mirrored
from training.scene.prompts import EXACT_SHARE, LONG_PROMPTS, SHORT_PROMPTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

SHORT_SHARE = 0.15
IGNORE = -100
WINDOW = 16  # batches sorted by length together
# Slices of a cell's logits: occupied or not, then what the object is.
HEADS = {"occupied": 2, "size": len(SIZES), "colour": len(COLOURS), "fill": len(FILLS), "shape": len(SHAPES)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B samples of at most T tokens."""

    pixels: torch.Tensor  # float [B, 3, S, S], in -1..1
    input_ids: torch.Tensor  # int64 [B, T], padded on the right
    labels: torch.Tensor  # int64 [B, T], IGNORE but for the answer and its end
    cells: torch.Tensor  # int64 [B, 9, 5], classes in the order of HEADS, IGNORE where a cell is empty
    background: torch.Tensor  # int64 [B]

    def every(self, n: int) -> Batch:
        """Every `n`-th sample: short and long ones alike, as samples are sorted by length."""
        return Batch(**{f.name: getattr(self, f.name)[::n] for f in fields(self)})


def cell_classes(scene: Scene) -> np.ndarray:
    """int64 [9, 5]: what stands in each cell."""
    classes = np.full((9, len(HEADS)), IGNORE, dtype=np.int64)
    classes[:, 0] = 0
    for o in scene.objects:
        classes[o.cell] = (
            1,
            SIZES.index(o.size),
            COLOURS.index(o.colour),
            FILLS.index(o.fill),
            SHAPES.index(o.shape),
        )
    return classes


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B, S, S, 3] to float [B, 3, S, S] in -1..1, as the processor's mean and deviation of 0.5 do it."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return tensor.float().div_(127.5).sub_(1.0)


class Sampler:
    """Endless batches from a pool, each scene asked the long or the short question, half of them mirrored."""

    def __init__(
        self, pool: np.ndarray, scenes: list[Scene], tokenizer: PreTrainedTokenizerFast, *, batch_size: int, seed: int
    ) -> None:
        self.pool, self.scenes, self.tokenizer = pool, scenes, tokenizer
        self.batch_size = batch_size
        self.rng = random.Random(seed)
        self.prompts = {p: self._encode([prompt_text(p)])[0] for p in (*LONG_PROMPTS, *SHORT_PROMPTS)}
        self.pad = tokenizer.pad_token_id
        self.image = tokenizer.convert_tokens_to_ids(IMAGE)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _question(self) -> tuple[str, bool]:
        short = self.rng.random() < SHORT_SHARE
        wordings = SHORT_PROMPTS if short else LONG_PROMPTS
        return wordings[0] if self.rng.random() < EXACT_SHARE else self.rng.choice(wordings), short

    def __iter__(self) -> Iterator[Batch]:
        while True:
            picks = [self.rng.randrange(len(self.scenes)) for _ in range(WINDOW * self.batch_size)]
            samples = []
            for i in picks:
                flip = self.rng.random() < 0.5
                scene = mirrored(self.scenes[i]) if flip else self.scenes[i]
                prompt, short = self._question()
                answer = (describe_short(scene) if short else describe_long(scene)) + END
                samples.append((i, flip, scene, prompt, answer))
            answers = self._encode([s[4] for s in samples])
            order = sorted(range(len(samples)), key=lambda k: len(answers[k]) + len(self.prompts[samples[k][3]]))
            groups = [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
            self.rng.shuffle(groups)
            for group in groups:
                yield self._collate([samples[k] for k in group], [answers[k] for k in group])

    def _collate(self, samples: list[tuple[int, bool, Scene, str, str]], answers: list[list[int]]) -> Batch:
        import torch

        prompts = [self.prompts[s[3]] for s in samples]
        length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = np.full((len(samples), length), self.pad, dtype=np.int64)
        labels = np.full((len(samples), length), IGNORE, dtype=np.int64)
        for row, (p, a) in enumerate(zip(prompts, answers, strict=True)):
            ids[row, : len(p) + len(a)] = p + a
            labels[row, len(p) : len(p) + len(a)] = a
        pixels = np.stack([self.pool[i][:, ::-1] if flip else self.pool[i] for i, flip, *_ in samples])
        return Batch(
            pixels=to_float(pixels),
            input_ids=torch.from_numpy(ids),
            labels=torch.from_numpy(labels),
            cells=torch.from_numpy(np.stack([cell_classes(s[2]) for s in samples])),
            background=torch.tensor([BACKGROUNDS.index(s[2].background) for s in samples]),
        )
