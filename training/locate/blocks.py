"""Batches in which one image serves several questions about places."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recaption.demo.draw import Box
from recaption.demo.scenes import BACKGROUNDS, Scene, render_with_boxes
from training.locate.build import LOCS, QUESTION, STEP
from training.locate.phrases import KINDS, WHOLE, asked
from training.scene.batches import IGNORE, cell_classes, to_float
from training.scene.build import AROUND, END, GLOBAL, IMAGE, IMAGE_TOKENS, START
from training.scene.pool import jittered, mirrored
from training.scene.sequences import BlockSequence, mask, table

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

# What a target teaches: a word of the answer, a coordinate.
SAY, PLACE = 1, 2
# Share of the images with objects of one size and shape. In the others, colours and fills are hardly needed.
ALIKE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """B sequences of at most T tokens, each about one image; A - B further images are only looked at."""

    pixels: torch.Tensor  # float [A, 3, S, S], in -1..1
    input_ids: torch.Tensor  # int64 [B, T], padded on the right
    targets: torch.Tensor  # int64 [B, T], the token that follows, IGNORE where nothing is learnt
    roles: torch.Tensor  # int64 [B, T], SAY or PLACE; 0 where nothing is learnt
    points: torch.Tensor  # int64 [B, T], the cell of what a phrase that ends here means; IGNORE elsewhere
    positions: torch.Tensor  # int64 [B, T]
    mask: torch.Tensor  # bool [B, 1, T, T], True: may attend
    cells: torch.Tensor  # int64 [A, 9, 5]
    boxes: torch.Tensor  # float [A, 9, 4], of the objects, 0 for empty cells
    background: torch.Tensor  # int64 [A]


@dataclass(kw_only=True, slots=True)
class _Sequence(BlockSequence):
    points: list[int] = field(init=False)

    def __post_init__(self) -> None:
        BlockSequence.__post_init__(self)
        self.points = [IGNORE] * self.prefix


def boxes_of(scene: Scene, *, flip: bool = False) -> dict[int, Box]:
    """The boxes of a scene of the pool by their cells; with `flip`, as seen in a mirror."""
    boxes = render_with_boxes(scene, 12, jitter=jittered(scene))[1]
    if not flip:
        return dict(zip((o.cell for o in scene.objects), boxes, strict=True))
    cells = (3 * o.row + 2 - o.column for o in scene.objects)
    return {cell: (1 - x1, y0, 1 - x0, y1) for cell, (x0, y0, x1, y1) in zip(cells, boxes, strict=True)}


def has_alike(scene: Scene) -> bool:
    """Whether two objects of the scene have the same size and shape."""
    return len({(o.size, o.shape) for o in scene.objects}) < len(scene.objects)


def loc(share: float) -> int:
    """The number of the coordinate's token: bins have their centres at half a thousandth above the written number."""
    return min(max(round((share * 1000 - 0.5) / STEP), 0), len(LOCS) - 1)


class BlockSampler:
    """Endless batches from a pool of scenes, half of them mirrored."""

    def __init__(
        self,
        pool: np.ndarray,
        scenes: list[Scene],
        tokenizer: PreTrainedTokenizerFast,
        *,
        batch_size: int,
        looked_at: int = 0,
        seed: int,
        length: int = 150,
    ) -> None:
        self.pool, self.scenes, self.tokenizer = pool, scenes, tokenizer
        self.batch_size, self.looked_at, self.length = batch_size, looked_at, length
        self.rng = random.Random(seed)
        self.alike = [i for i, scene in enumerate(scenes) if has_alike(scene)]
        self._cache: dict[str, list[int]] = {}
        self._boxes: dict[tuple[int, bool], dict[int, Box]] = {}
        self.prefix = self._ids(f"{START}user\n{AROUND}{GLOBAL}{IMAGE * IMAGE_TOKENS}{AROUND}")
        self.turn = self._ids(f"{END}\n{START}assistant\n")
        (self.end,), self.question, (self.comma,) = self._ids(END), self._ids(QUESTION), self._ids(",")
        self.first = tokenizer.convert_tokens_to_ids(LOCS[0])

    def _ids(self, text: str) -> list[int]:
        found = self._cache.get(text)
        if found is None:
            found = self._cache[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def __iter__(self) -> Iterator[Blocks]:
        while True:
            samples = []
            for n in range(self.batch_size + self.looked_at):
                among = self.alike if self.alike and self.rng.random() < ALIKE else range(len(self.scenes))
                i, flip = self.rng.choice(among), self.rng.random() < 0.5
                scene = mirrored(self.scenes[i]) if flip else self.scenes[i]
                pixels = self.pool[i][:, ::-1] if flip else self.pool[i]
                if (i, flip) not in self._boxes:
                    self._boxes[i, flip] = boxes_of(self.scenes[i], flip=flip)
                boxes = self._boxes[i, flip]
                sequence = self._sequence(scene, boxes) if n < self.batch_size else None
                samples.append((pixels, scene, boxes, sequence))
            yield self._collate(samples)

    def _block(self, scene: Scene, boxes: dict[int, Box]) -> tuple[list[int], list[int], list[int], list[int]]:
        (kind,) = self.rng.choices(list(KINDS), list(KINDS.values()))
        phrases = asked(scene, kind, self.rng)
        question, points = [*self.question], [IGNORE] * len(self.question)
        for n, (text, cells) in enumerate(phrases.items()):
            said = [*([self.comma] if n else []), *self._ids(f" {text}")]
            question += said
            points += [IGNORE] * (len(said) - 1) + [cells[0] if cells else IGNORE]
        question += self.turn
        points += [IGNORE] * len(self.turn)
        answer, roles = [], []
        for text, cells in phrases.items():
            if not cells:
                continue
            said = self._ids(f" {text}")
            answer += said
            roles += [SAY] * len(said)
            points += [IGNORE] * len(said)
            for cell in cells:
                points[-1] = cell
                box = (0.0, 0.0, 1.0, 1.0) if cell == WHOLE else boxes[cell]
                answer += [self.first + loc(share) for share in box]
                roles += [PLACE] * 4
                points += [IGNORE] * 4
        answer, roles = [*answer, self.end], [*roles, SAY]
        before = len(question) - 1
        ids = [*question, *answer[:-1]]
        return ids, [IGNORE] * before + answer, [0] * before + roles, points

    def _sequence(self, scene: Scene, boxes: dict[int, Box]) -> _Sequence:
        sequence = _Sequence(prefix=len(self.prefix), ids=[*self.prefix])
        while True:
            ids, targets, roles, points = self._block(scene, boxes)
            if sequence.blocks[-1] and len(sequence.ids) + len(ids) > self.length:
                return sequence
            sequence.add(ids, targets, roles)
            sequence.points += points

    def _collate(self, samples: list[tuple[np.ndarray, Scene, dict[int, Box], _Sequence | None]]) -> Blocks:
        import torch

        sequences = [s for *_, s in samples if s is not None]
        boxes = np.zeros((len(samples), 9, 4), dtype=np.float32)
        for row, (_, _, of_cells, _) in zip(boxes, samples, strict=True):
            for cell, box in of_cells.items():
                row[cell] = box
        return Blocks(
            pixels=to_float(np.stack([p for p, *_ in samples])),
            input_ids=torch.from_numpy(table([s.ids for s in sequences], self.tokenizer.pad_token_id)),
            targets=torch.from_numpy(table([s.targets for s in sequences], IGNORE)),
            roles=torch.from_numpy(table([s.roles for s in sequences], 0)),
            points=torch.from_numpy(table([s.points for s in sequences], IGNORE)),
            positions=torch.from_numpy(table([s.positions for s in sequences], 0)),
            mask=torch.from_numpy(mask(table([s.blocks for s in sequences], -1))),
            cells=torch.from_numpy(np.stack([cell_classes(scene) for _, scene, *_ in samples])),
            boxes=torch.from_numpy(boxes),
            background=torch.tensor([BACKGROUNDS.index(scene.background) for _, scene, *_ in samples]),
        )
