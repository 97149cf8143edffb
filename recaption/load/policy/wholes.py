"""Whole captions of one kind, the mix of raw and new ones, and captions sheared to their first sentence."""

from __future__ import annotations

import numpy as np

from recaption.errors import UserError
from recaption.load.policy.drawn import (
    Drawn,
    Policy,
    bare,
    chances,
    joined_bare,
    preferred,
    sentences,
    tiled,
    usable,
    whole,
)
from recaption.load.policy.portable import portable
from recaption.types import Record


@portable
def long(k: int = 1) -> Policy:
    """K whole long captions. If the record has none: its fused, aspect or short captions, else any captions.

    The captions are different if there are K of them; otherwise they repeat.
    """
    return _of_kinds(k, "long", "fused", "aspect", "short")


@portable
def short(k: int = 1) -> Policy:
    """K whole short captions. If the record has none: its raw captions, else any captions. Repeats as `long` does."""
    return _of_kinds(k, "short", "raw")


@portable
def raw(k: int = 1) -> Policy:
    """K whole raw captions. If the record has none: its short captions, else any captions. Repeats as `long` does."""
    return _of_kinds(k, "raw", "short")


@portable
def recap_mix(p: float, k: int = 1) -> Policy:
    """K independent texts: the raw caption with probability `p`, else one of the generated ones, each whole.

    Recap-DataComp-1B's mix of both (arXiv 2406.08478; it trains on one text an image). A record with only one of the
    two gives that one always.
    """
    _check(k)
    if not 0 <= p <= 1:
        raise UserError(f"p is {p}; it is the share of raw captions, from 0 to 1")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        found = usable(record)
        raws = [n for n in found if record.captions[n].granularity == "raw"]
        made = [n for n in found if record.captions[n].granularity != "raw"]
        chance = chances(rng, 2 * k)
        texts = []
        for _ in range(k):
            of = raws if chance() < p else made
            some = of or found
            texts.append(whole(record, some[int(chance() * len(some))]))
        return texts

    return draw


@portable
def shear(max_words: int | None = None, k: int = 1) -> Policy:
    """K different captions, as far as there are K: raw ones whole, generated ones cut to their first sentence, and
    that to `max_words` words.

    MLLMs-Augmented's text shearing, which makes generated captions as long as raw ones: everything up to the first
    full stop, of at most 30 tokens (Yanqing0327/MLLMs-Augmented, LLaVA/llava.py; arXiv 2311.18765). The sentence here
    is the annotation's, so a decimal or "Dr." does not end it; like theirs it has no full stop.
    """
    _check(k)
    if max_words is not None and max_words < 1:
        raise UserError(f"max_words is {max_words}; it must be at least 1, or None for whole sentences")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        found = usable(record)
        chosen = tiled(len(found), k, chances(rng, k))
        return [_sheared(record, found[at], max_words) for at in chosen]

    return draw


def _sheared(record: Record, caption: int, max_words: int | None) -> Drawn:
    if record.captions[caption].granularity == "raw":
        return whole(record, caption)
    drawn = joined_bare(sentences(record, [caption])[:1])
    words = drawn.text.split()
    if max_words is None or len(words) <= max_words:
        return drawn
    text = bare(" ".join(words[:max_words])) or " ".join(words[:max_words])
    return Drawn(text=text, parts=drawn.parts, weight=drawn.weight)


def _of_kinds(k: int, *kinds: str) -> Policy:
    _check(k)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        found = preferred(record, *kinds)
        return [whole(record, found[at]) for at in tiled(len(found), k, chances(rng, k))]

    return draw


def _check(k: int) -> None:
    if k < 1:
        raise UserError(f"k is {k}; it must be at least 1")
