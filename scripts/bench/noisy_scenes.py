"""Captions of scenes as a simulated captioner, a simulated verifier and a web page would give them.

The noise model:

- Each sentence of the true caption is false with probability 0.2: one attribute, place, number or relation is changed.
- Each sentence is left out with probability 0.2.
- With probability 0.5 a sentence follows that fits any picture; with probability 0.2 an earlier sentence is repeated.
- The verifier is wrong about one sentence in ten.
- The raw caption is the noisy alt text of the demo: it is true, and two of its eight forms say nothing of the scene.

Flags and weights come from recaption's annotator, as in a build.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recaption.annotate import Annotator
from recaption.build.support import factor
from recaption.config import Annotate
from recaption.demo.scenes import Scene
from recaption.probe import scenes
from recaption.types import Caption, Record, SubCaption

FALSE, LEFT_OUT, EMPTY, REPEATED, MISJUDGED = 0.2, 0.2, 0.5, 0.2, 0.1
_EMPTY = (
    "The image has a clean and simple composition.",
    "The overall mood is calm and balanced.",
    "The picture is well composed.",
)
P_TRUE, P_FALSE = 0.95, 0.05  # the verifier's answers

SentenceErrors = Callable[[Scene, random.Random], list[tuple[str, bool]]]
"""The sentences of a caption, each with whether it is true."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A record with the weights of a build without verification, and the verifier's answer for each sentence of its
    generated caption."""

    record: Record
    p_true: Sequence[float]

    def weighed(self, weight: Callable[[SubCaption, float], float]) -> Record:
        """The record; `weight` gives the weight of a sub-caption with a given p_true."""
        raw, long = self.record.captions
        subs = tuple(replace(sub, weight=weight(sub, p)) for sub, p in zip(long.sub_captions, self.p_true, strict=True))
        return replace(self.record, captions=(raw, replace(long, sub_captions=subs)))


Weigh = Callable[[Described], Record]


def random_errors(scene: Scene, rng: random.Random) -> list[tuple[str, bool]]:
    """Each sentence is false with probability FALSE, independently."""
    pairs = scenes.pairs(scene, rng)
    return [(wrong, False) if rng.random() < FALSE else (true, True) for true, wrong in pairs]


def consistent_errors(scene: Scene, rng: random.Random) -> list[tuple[str, bool]]:
    """The captioner always calls purple blue and blue purple, and left right and right left."""
    return [(made := scenes.exchanged_words(true), made == true) for true in scenes.sentences(scene)]


def described(of: Sequence[Scene], errors: SentenceErrors) -> list[Described]:
    texts = [_sentences(scene, errors, random.Random(f"noisy/{scene.seed}")) for scene in of]
    annotated = Annotator(Annotate()).annotate(
        [[_long(n, " ".join(text for text, _ in some))] for n, some in enumerate(texts)]
    )
    made = []
    for n, (scene, some, (long,)) in enumerate(zip(of, texts, annotated, strict=True)):
        rng = random.Random(f"verifier/{scene.seed}")
        assert [sub.text for sub in long.sub_captions] == [text for text, _ in some]
        p_true = [P_TRUE if right != (rng.random() < MISJUDGED) else P_FALSE for _, right in some]
        base = scenes.record(scene, n)
        made.append(Described(record=replace(base, captions=(base.captions[0], long)), p_true=p_true))
    return made


def by_weight(described: Described) -> Record:
    """With the default weights of a build with verifications."""
    return described.weighed(lambda sub, p: sub.weight * factor(p, Annotate().weights.unsupported))


def unverified(described: Described) -> Record:
    """With the default weights of a build without verifications."""
    return described.record


def equal_weights(described: Described) -> Record:
    return described.weighed(lambda sub, p: 1.0)


def verified_only(described: Described) -> Record:
    """With `annotate.weights.unsupported: 0`."""
    return described.weighed(lambda sub, p: sub.weight * factor(p, 0.0))


def _sentences(scene: Scene, errors: SentenceErrors, rng: random.Random) -> list[tuple[str, bool]]:
    made = [one for one in errors(scene, rng) if rng.random() >= LEFT_OUT] or errors(scene, rng)[:1]
    if rng.random() < REPEATED:
        made.append(rng.choice(made))
    if rng.random() < EMPTY:
        made.append((rng.choice(_EMPTY), True))
    return made


def _long(number: int, text: str) -> Caption:
    return Caption(
        caption_id=f"{number:09d}/long/0", generation="long", source="simulated", granularity="long", text=text
    )
