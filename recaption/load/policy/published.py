"""How FLAIR, DreamLIP, COSMOS and LoTLIP draw sentences.

Each is written anew from what the released code does. Their sentences end without a full stop and are joined by ". "
(`joined_bare`). Where a record has too little for a step that the released code would die at, the step takes what
there is, so that every record gives its K texts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recaption.errors import UserError
from recaption.load.policy.drawn import (
    Drawn,
    Policy,
    Sentence,
    chances,
    joined_bare,
    pick,
    preferred,
    sentences,
    tiled,
    usable,
    whole,
)
from recaption.load.policy.portable import portable
from recaption.types import Record

_GLOBALS, _MOST_IN_GLOBAL = 2, 5  # of COSMOS


@portable
def flair(k: int = 8, max_merge: int = 3, *, compat: bool = False) -> Policy:
    """K independent texts of 1 to `max_merge` sentences (each number equally likely) from the pool of all captions. Of
    the texts with two or more, half are a window of consecutive sentences, half are any sentences in random order.

    The pool is raw, then short and long in turn, and windows cross the borders of captions. That is FLAIR's
    diverse_sampling (ExplainableML/flair, src/flair/data.py, sample_dict and random_sample_from_list; K is
    --num-sampled-captions, 8, and max_merge --max-merged-num, 3) without two of its faults, which `compat` restores: it
    never draws the last window, and if the pool has fewer sentences than are to be merged, it may repeat a sentence
    within a text.
    """
    _at_least(1, k=k, max_merge=max_merge)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        pool = _pool(record, usable(record))
        chance = chances(rng, k * (2 + max_merge))
        return [joined_bare(_flair_text(pool, 1 + int(chance() * max_merge), chance, compat)) for _ in range(k)]

    return draw


@portable
def dreamlip(num_text: int = 6, merged_num: int = 1, *, compat: bool = False) -> Policy:
    """K = 1 + num_text texts: the raw caption whole, then windows of `merged_num` consecutive sentences of the others.

    Windows are different ones, or drawn with replacement where there are fewer than num_text. From DreamLIP
    (ant-research/DreamLIP, training/data.py, CsvDataset; defaults from params.py), whose released code never draws the
    last sentence, nor when it merges the last two windows: so `compat`. Without a raw caption the first text is a
    short caption, else any; with nothing but a raw caption its sentences are drawn.
    """
    _at_least(0, num_text=num_text)
    _at_least(1, merged_num=merged_num)
    missed = 0 if not compat else 1 if merged_num == 1 else 2

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        chance = chances(rng, 1 + num_text)
        pool = _pool(record, _generated(record))
        windows = max(1, len(pool) - merged_num + 1 - missed)
        if windows >= num_text:
            starts = pick(windows, num_text, chance)
        else:
            starts = [int(chance() * windows) for _ in range(num_text)]
        return [_raw(record, chance), *(joined_bare(pool[at : at + merged_num]) for at in starts)]

    return draw


@portable
def cosmos(k: int = 8) -> Policy:
    """Two global texts, each of 1 to 5 random sentences, then K - 2 local ones, single sentences without replacement.

    COSMOS's textcrop (ExplainableML/cosmos, src/training/data.py, sample_dict). Where the pool is too small for a
    draw, all of it is taken over and over, then a random rest.
    """
    _at_least(_GLOBALS, k=k)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        pool = _pool(record, usable(record))
        chance = chances(rng, _GLOBALS * (1 + _MOST_IN_GLOBAL) + k - _GLOBALS)
        sizes = [1 + int(chance() * _MOST_IN_GLOBAL) for _ in range(_GLOBALS)]
        chosen = [tiled(len(pool), size, chance) for size in sizes]
        chosen += [[at] for at in tiled(len(pool), k - _GLOBALS, chance)]
        return [joined_bare([pool[at] for at in some]) for some in chosen]

    return draw


@portable
def lotlip(num_text: int = 1, merged_num: int = 3) -> Policy:
    """K = 1 + num_text texts: the raw caption whole (the short text of its loss), then windows of `merged_num`
    consecutive sentences of one long caption, drawn anew for each text.

    LoTLIP trains on three consecutive sub-captions (arXiv 2410.05249); its training code is not released, and it
    is an open question (wuw2019/LoTLIP) whether windows cross from one long caption into the next. Here they do not.
    """
    _at_least(0, num_text=num_text)
    _at_least(1, merged_num=merged_num)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        chance = chances(rng, 1 + 2 * num_text)
        longs = [sentences(record, [n]) for n in preferred(record, "long", "fused", "short")]
        texts = [_raw(record, chance)]
        for _ in range(num_text):
            pool = longs[int(chance() * len(longs))]
            at = int(chance() * max(1, len(pool) - merged_num + 1))
            texts.append(joined_bare(pool[at : at + merged_num]))
        return texts

    return draw


def _flair_text(pool: list[Sentence], size: int, chance: Callable[[], float], compat: bool) -> list[Sentence]:
    n = len(pool)
    if size == 1:
        return [pool[int(chance() * n)]]
    if chance() < 0.5:
        if size >= n:
            return pool
        at = int(chance() * (n - size + (0 if compat else 1)))
        return pool[at : at + size]
    if compat and size > n:
        return [pool[int(chance() * n)] for _ in range(size)]
    return [pool[at] for at in pick(n, min(size, n), chance)]


def _pool(record: Record, captions: list[int]) -> list[Sentence]:
    """The sentences of these captions in FLAIR's order: raw, first short, first long, second short, …, others."""
    seen: dict[str, int] = {}
    places = []
    for n in captions:
        kind = record.captions[n].granularity
        seen[kind] = turn = seen.get(kind, -1) + 1
        rank = {"raw": 0, "short": 1 + 2 * turn, "long": 2 + 2 * turn}.get(kind, 2 * len(record.captions) + 1)
        places.append((rank, n))
    return sentences(record, [n for _, n in sorted(places)])


def _generated(record: Record) -> list[int]:
    """Captions that are not raw; all captions if there are none."""
    found = usable(record)
    return [n for n in found if record.captions[n].granularity != "raw"] or found


def _raw(record: Record, chance: Callable[[], float]) -> Drawn:
    raws = preferred(record, "raw", "short")
    return whole(record, raws[int(chance() * len(raws))])


def _at_least(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}")
