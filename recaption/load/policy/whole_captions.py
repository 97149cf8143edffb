"""Whole captions of one granularity, mixes of raw and generated ones, and captions cut to their first sentence."""

from __future__ import annotations

import numpy as np

from recaption.errors import UserError
from recaption.load.policy.base import (
    DrawnText,
    Policy,
    at_least,
    joined_without_stop,
    pick_with_repeats,
    picklable,
    preferred,
    sentences,
    uniforms,
    usable,
    whole,
    without_full_stop,
)
from recaption.types import Record


@picklable
def long(k: int = 1) -> Policy:
    """K whole long captions; for a record without any, fused, aspect or short ones, or any caption.

    Captions repeat only if there are fewer than K. Raises UserError for `k` below 1.
    """
    return _whole_captions(k, "long", "fused", "aspect", "short")


@picklable
def short(k: int = 1) -> Policy:
    """K whole short captions; for a record without any, raw ones, or any caption. Repeats and errors as in `long`."""
    return _whole_captions(k, "short", "raw")


@picklable
def raw(k: int = 1) -> Policy:
    """K whole raw captions; for a record without any, short ones, or any caption. Repeats and errors as in `long`."""
    return _whole_captions(k, "raw", "short")


@picklable
def recap_mix(p: float, k: int = 1) -> Policy:
    """K independent whole texts: a raw caption with probability `p`, otherwise a generated one.

    The mix of Recap-DataComp-1B (arXiv 2406.08478), which trains on one text per image. A record with only one of the
    two kinds always gives that kind. Raises UserError for `k` below 1 or `p` outside [0, 1].
    """
    at_least(1, k=k)
    if not 0 <= p <= 1:
        raise UserError(f"p is {p}; it is the share of raw captions, from 0 to 1")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        found = usable(record)
        raws = [n for n in found if record.captions[n].granularity == "raw"]
        made = [n for n in found if record.captions[n].granularity != "raw"]
        uniform = uniforms(rng, 2 * k)
        texts = []
        for _ in range(k):
            of = raws if uniform() < p else made
            some = of or found
            texts.append(whole(record, some[int(uniform() * len(some))]))
        return texts

    return draw


@picklable
def shear(max_words: int | None = None, k: int = 1) -> Policy:
    """K captions, which repeat only if there are fewer: raw ones whole, generated ones cut to their first sentence, and
    that to `max_words` words.

    The text shearing of MLLMs-Augmented, which makes generated captions as long as raw ones: everything up to the first
    full stop, at most 30 tokens (Yanqing0327/MLLMs-Augmented, LLaVA/llava.py; arXiv 2311.18765). Here the annotation
    defines the sentence, so a decimal point or "Dr." does not end it. It has no final full stop, as in the original.
    Raises UserError for `k` or `max_words` below 1.
    """
    at_least(1, k=k)
    at_least(1, max_words=1 if max_words is None else max_words)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        found = usable(record)
        chosen = pick_with_repeats(len(found), k, uniforms(rng, k))
        return [_sheared(record, found[at], max_words) for at in chosen]

    return draw


def _sheared(record: Record, caption: int, max_words: int | None) -> DrawnText:
    if record.captions[caption].granularity == "raw":
        return whole(record, caption)
    drawn = joined_without_stop(sentences(record, [caption])[:1])
    words = drawn.text.split()
    if max_words is None or len(words) <= max_words:
        return drawn
    text = without_full_stop(" ".join(words[:max_words])) or " ".join(words[:max_words])
    return DrawnText(text=text, parts=drawn.parts, weight=drawn.weight)


def _whole_captions(k: int, *kinds: str) -> Policy:
    at_least(1, k=k)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        found = preferred(record, *kinds)
        return [whole(record, found[at]) for at in pick_with_repeats(len(found), k, uniforms(rng, k))]

    return draw
