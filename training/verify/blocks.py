"""Batches in which one image serves several questions.

A sequence is the image and, after it, blocks (`training.scene.sequences`): a caption with its prompt in some
sequences, and questions about statements. Sharing the image saves about a third of the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recaption.demo.scenes import BACKGROUNDS, Scene
from training.scene.batches import IGNORE, SHORT_SHARE, cell_classes, to_float
from training.scene.build import AROUND, END, GLOBAL, IMAGE, IMAGE_TOKENS, START
from training.scene.captions import describe_long, describe_short
from training.scene.pool import mirrored
from training.scene.prompts import EXACT_SHARE, LONG_PROMPTS, SHORT_PROMPTS
from training.scene.sequences import BlockSequence, mask, table
from training.verify.build import ASK, NO, QUESTION, YES
from training.verify.statements import Claim, sample_claim, true_sentences

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

# What a target teaches: a caption, a yes or no, the tokens of a statement.
CAPTION, ANSWER, SAY = 1, 2, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """B sequences of at most T tokens."""

    pixels: torch.Tensor  # float [B, 3, S, S], in -1..1
    input_ids: torch.Tensor  # int64 [B, T], padded on the right
    targets: torch.Tensor  # int64 [B, T], the token that follows, IGNORE where nothing is learnt
    roles: torch.Tensor  # int64 [B, T], CAPTION, ANSWER or SAY; 0 where nothing is learnt
    positions: torch.Tensor  # int64 [B, T]
    mask: torch.Tensor  # bool [B, 1, T, T], True: may attend
    cells: torch.Tensor  # int64 [B, 9, 5]
    background: torch.Tensor  # int64 [B]
    claims: tuple[tuple[Claim, ...], ...]  # B; in the order of the ANSWER targets


@dataclass(kw_only=True, slots=True)
class _Sequence(BlockSequence):
    claims: list[Claim] = field(default_factory=list)


class Continuations:
    """For each beginning of a true sentence about a scene, the tokens that may follow."""

    def __init__(self, sentences: list[list[int]]) -> None:
        self._next: dict[tuple[int, ...], list[int]] = {}
        for ids in sentences:
            for k, token in enumerate(ids):
                self._next.setdefault(tuple(ids[:k]), []).append(token)

    def targets(self, ids: list[int], otherwise: int, rng: random.Random) -> list[int]:
        """What to expect at each token of a statement, given those before it.

        The token itself while a true sentence begins so; where the statement becomes false, a token that would be true;
        `otherwise` after that. The probability of a false statement's tokens then falls to zero where it gets false.
        """
        expected: list[int] = []
        for k, token in enumerate(ids):
            allowed = self._next.get(tuple(ids[:k]))
            if allowed is None:
                expected.append(otherwise)
            else:
                expected.append(token if token in allowed else rng.choice(allowed))
        return expected


class BlockSampler:
    """Endless batches from a pool of scenes, half of them mirrored."""

    def __init__(
        self,
        pool: np.ndarray,
        scenes: list[Scene],
        tokenizer: PreTrainedTokenizerFast,
        *,
        batch_size: int,
        seed: int,
        caption_share: float = 0.4,
        length: int = 132,
    ) -> None:
        self.pool, self.scenes, self.tokenizer = pool, scenes, tokenizer
        self.batch_size, self.caption_share, self.length = batch_size, caption_share, length
        self.rng = random.Random(seed)
        self._cache: dict[str, list[int]] = {}
        self.prefix = self._ids(f"{START}user\n{AROUND}{GLOBAL}{IMAGE * IMAGE_TOKENS}{AROUND}")
        self.turn = self._ids(f"{END}\n{START}assistant\n")
        (self.end,), (self.yes,), (self.no,) = self._ids(END), self._ids(YES), self._ids(NO)
        self.question, self.ask = self._ids(QUESTION), self._ids(ASK)
        self.pad = tokenizer.pad_token_id

    def _ids(self, text: str) -> list[int]:
        """The tokens of a text that occurs again and again."""
        found = self._cache.get(text)
        if found is None:
            found = self._cache[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def __iter__(self) -> Iterator[Blocks]:
        while True:
            samples = []
            for _ in range(self.batch_size):
                i, flip = self.rng.randrange(len(self.scenes)), self.rng.random() < 0.5
                scene = mirrored(self.scenes[i]) if flip else self.scenes[i]
                pixels = self.pool[i][:, ::-1] if flip else self.pool[i]
                samples.append((pixels, scene, self._sequence(scene)))
            yield self._collate(samples)

    def _caption(self, sequence: _Sequence, scene: Scene) -> None:
        short = self.rng.random() < SHORT_SHARE
        wordings = SHORT_PROMPTS if short else LONG_PROMPTS
        prompt = wordings[0] if self.rng.random() < EXACT_SHARE else self.rng.choice(wordings)
        text = describe_short(scene) if short else describe_long(scene)
        answer = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end]
        asked = [*self._ids(prompt), *self.turn]
        before = len(asked) - 1
        sequence.add([*asked, *answer[:-1]], [IGNORE] * before + answer, [0] * before + [CAPTION] * len(answer))

    def _claim(self, claim: Claim, truths: Continuations) -> tuple[list[int], list[int], list[int]]:
        said = self._ids(f" {claim.text}")
        expected = truths.targets(said, self.no, self.rng)
        answer = self.no if claim.change else self.yes
        rest = len(self.ask) + len(self.turn) - 1
        ids = [*self.question, *said, *self.ask, *self.turn, answer]
        targets = [IGNORE] * (len(self.question) - 1) + expected + [IGNORE] * (rest + 1) + [answer, self.end]
        roles = [0] * (len(self.question) - 1) + [SAY] * len(expected) + [0] * (rest + 1) + [ANSWER, CAPTION]
        return ids, targets, roles

    def _sequence(self, scene: Scene) -> _Sequence:
        sequence = _Sequence(prefix=len(self.prefix), ids=[*self.prefix])
        if self.rng.random() < self.caption_share:
            self._caption(sequence, scene)
        sentences = true_sentences(scene)
        truths = Continuations([self._ids(f" {s}") for kind in sentences.values() for s in kind])
        while True:
            claim = sample_claim(scene, sentences, self.rng)
            ids, targets, roles = self._claim(claim, truths)
            if len(sequence.ids) + len(ids) > self.length:
                return sequence
            sequence.add(ids, targets, roles)
            sequence.claims.append(claim)

    def _collate(self, samples: list[tuple[np.ndarray, Scene, _Sequence]]) -> Blocks:
        import torch

        sequences = [s for *_, s in samples]
        return Blocks(
            pixels=to_float(np.stack([p for p, *_ in samples])),
            input_ids=torch.from_numpy(table([s.ids for s in sequences], self.pad)),
            targets=torch.from_numpy(table([s.targets for s in sequences], IGNORE)),
            roles=torch.from_numpy(table([s.roles for s in sequences], 0)),
            positions=torch.from_numpy(table([s.positions for s in sequences], 0)),
            mask=torch.from_numpy(mask(table([s.blocks for s in sequences], -1))),
            cells=torch.from_numpy(np.stack([cell_classes(scene) for _, scene, _ in samples])),
            background=torch.tensor([BACKGROUNDS.index(scene.background) for _, scene, _ in samples]),
            claims=tuple(tuple(s.claims) for s in sequences),
        )
