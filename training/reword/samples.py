"""Questions to the text model about captions of scenes, with their true answers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recaption import prompt
from recaption.demo.scenes import COLOURS, SHAPES, Scene, sample_scene
from recaption.tasks.changes import CATEGORIES
from training.reword.negatives import NOUN_BACKGROUNDS, negatives
from training.reword.rewrites import STYLES, facts, rewrites
from training.scene.batches import IGNORE
from training.scene.build import END, START
from training.scene.captions import (
    BACKGROUND_TEXT,
    COUNTS,
    NEGATIONS,
    ONLY,
    OPENERS,
    PLACES,
    RELATIONS,
    SHORT_BACKGROUND,
    VERBS,
    article,
    describe_long,
    describe_short,
    phrase,
)
from training.scene.pool import TRAIN_SEEDS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

FIRST_SEED = TRAIN_SEEDS + 40_000_000
# The kinds of sentences that negatives are made of, with the weight of each in training.
SENTENCES = {"object": 0.35, "relation": 0.25, "background": 0.05, "short": 0.35}
TEN, SIX = 12, 6  # negatives and rewrites that the tasks ask for by default
FEWER = 0.15  # share of the questions that ask for fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    prompt: str
    answer: str


def negatives_prompt(sentence: str, number: int = TEN) -> str:
    values = {"statement": sentence, "number": number, "categories": list(CATEGORIES)}
    return prompt.load("negatives").fill_in(values)


def rewrite_prompt(caption: str, number: int = SIX) -> str:
    return prompt.load("rewrite").fill_in({"caption": caption, "number": number, "facts": words(caption)})


def words(caption: str) -> list[str]:
    """The words of the objects of a caption, as `recaption.tasks.wording.fact_words` finds them."""
    nouns = {"tablecloth": "checkered tablecloth", "wood": "wooden table top"}
    found = []
    for fact in facts(caption) or ():
        values = [str(value) for value in fact[1:]]
        if fact[0] == "background":
            found += nouns.get(values[0], "").split()
        elif fact[0] == "object":
            found += values[1:]
        elif fact[0] == "listed":
            found += values
    return list(dict.fromkeys(found))


def pairs(caption: str) -> list[tuple[str, str]]:
    """The attributes of the objects of a caption with their nouns, as `recaption.tasks.wording.attribute_pairs`."""
    found = [("checkered", "tablecloth"), ("wooden", "top")]
    for fact in facts(caption) or ():
        if fact[0] in ("object", "listed"):
            *attributes, noun = (str(value) for value in fact[2 if fact[0] == "object" else 1 :])
            found += [(attribute, noun) for attribute in attributes]
    return found


def sentence(kind: str, scene: Scene, rng: random.Random) -> str:
    """A sentence of a caption of `scene`; of other objects where the scene has too few."""
    if kind == "object":
        item = rng.choice(scene.objects)
        return f"{PLACES[item.cell]} {VERBS[item.cell]} {article(phrase(item))}."
    if kind == "relation":
        first, second = rng.sample([f"{colour} {shape}" for colour in COLOURS for shape in SHAPES], 2)
        return f"The {first} is {rng.choice(RELATIONS)} the {second}."
    if kind == "background":
        return f"The background is {rng.choice(list(NOUN_BACKGROUNDS))}."
    return describe_short(scene)


def negatives_sample(scene: Scene, rng: random.Random) -> Sample:
    (kind,) = rng.choices(list(SENTENCES), list(SENTENCES.values()))
    text = sentence(kind, scene, rng)
    number = rng.randint(3, TEN) if rng.random() < FEWER else TEN
    items = [{"text": text, "category": category} for text, category in negatives(text)[:number]]
    return Sample(prompt=negatives_prompt(text, number), answer=json.dumps(items))


def rewrite_sample(scene: Scene, rng: random.Random) -> Sample:
    caption = describe_short(scene) if rng.random() < 0.2 else describe_long(scene)
    number = rng.randint(2, SIX) if rng.random() < FEWER else SIX
    return Sample(prompt=rewrite_prompt(caption, number), answer=json.dumps(rewrites(caption)[:number]))


MAKERS = {"negatives": (negatives_sample, 96), "rewrites": (rewrite_sample, 48)}
"""The kinds of questions: how each is made, and how many are sorted by length together."""


def chat(text: str) -> str:
    """What the chat template makes of a prompt."""
    return f"{START}user\n{text}{END}\n{START}assistant\n"


def pieces() -> list[str]:
    """What is one token each: the fixed parts of prompts, captions and answers."""
    fixed = ["This text describes an image:", "user\n", "assistant\n"]
    template = prompt.load("rewrite").fill_in({"caption": "#", "number": "#", "facts": ["#"]})
    fixed += [*re.split("#", template), *re.split("#|12", negatives_prompt("#"))]
    fixed += [f"{place} {verb} a" for place in PLACES for verb in {*VERBS}]
    fixed += [*OPENERS.values(), *NEGATIONS.values(), ONLY, "The background is"]
    fixed += [f" {text}" for text in (*COUNTS, *BACKGROUND_TEXT.values(), *SHORT_BACKGROUND.values())]
    fixed += [f" is {where} the" for where in RELATIONS]
    for style in STYLES:
        for text in (style.count, style.background, style.around, style.thing, style.listed):
            fixed += re.split(r"{\w*}", text)
        before, behind = style.place
        fixed += [f"{before} {place}{'' if behind == ':' else ' '}{behind}" for place in style.places]
        fixed += [*style.relation[1].values(), style.relation[0], style.only, style.text, style.people]
    fixed += ['[{"text": "', '.", "category": "', '"}, {"text": "', '"}]', '["', '.", "', '."]', '", "', '"]']
    found = {text.rstrip(" ") for text in fixed if len(text.strip()) > 1}
    return sorted(found | {f" {text}" for text in found if text[0].isupper()})


def texts(n: int = 300) -> Iterator[str]:
    """Prompts and answers that have all words."""
    rng = random.Random(0)
    for seed in range(FIRST_SEED - n, FIRST_SEED):
        for make in (negatives_sample, rewrite_sample):
            sample = make(sample_scene(seed), rng)
            yield f"{chat(sample.prompt)}{sample.answer}"
    for number in range(2, 21):
        yield f"Write {number} different"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B sequences of at most T tokens."""

    input_ids: torch.Tensor  # int64 [B, T], padded on the right
    labels: torch.Tensor  # int64 [B, T], IGNORE but for the answer and its end


class Sampler:
    """Endless batches of questions of the `kinds` in turn, each of about `tokens` tokens, sorted by length."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, *, tokens: int, seed: int, kinds: Sequence[str] = tuple(MAKERS)
    ) -> None:
        self.tokenizer, self.tokens, self.rng = tokenizer, tokens, random.Random(seed)
        self.makers = [MAKERS[kind] for kind in kinds]
        self.seeds = iter(range(FIRST_SEED + 1_000_000 * (seed % 9), FIRST_SEED + 10_000_000))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            for make, window in self.makers:
                yield from self._batches([make(sample_scene(next(self.seeds)), self.rng) for _ in range(window)])

    def _batches(self, samples: list[Sample]) -> Iterator[Batch]:
        import torch

        def encoded(made: list[str]) -> list[list[int]]:
            return self.tokenizer(made, add_special_tokens=False)["input_ids"]

        prompts, answers = encoded([chat(s.prompt) for s in samples]), encoded([s.answer + END for s in samples])
        pairs = sorted(zip(prompts, answers, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
        while pairs:
            longest = len(pairs[-1][0]) + len(pairs[-1][1])
            some, pairs = pairs[-max(1, self.tokens // longest) :], pairs[: -max(1, self.tokens // longest)]
            ids = np.full((len(some), longest), self.tokenizer.pad_token_id, dtype=np.int64)
            labels = np.full((len(some), longest), IGNORE, dtype=np.int64)
            for row, (asked, answer) in enumerate(some):
                ids[row, : len(asked) + len(answer)] = asked + answer
                labels[row, len(asked) : len(asked) + len(answer)] = answer
            yield Batch(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels))
