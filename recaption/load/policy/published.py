"""How FLAIR, DreamLIP, COSMOS and LoTLIP draw sentences.

Each is a new implementation of what the released code does. Sentences lose their final full stop and are joined by
". " (`joined_without_stop`). Where the released code would fail because a record has too few sentences, the policy uses
those that exist, so that every record gives its K texts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recaption.load.policy.base import (
    DrawnText,
    Policy,
    Sentence,
    at_least,
    joined_without_stop,
    pick,
    pick_with_repeats,
    picklable,
    preferred,
    sentences,
    uniforms,
    usable,
    whole,
)
from recaption.types import Record

_GLOBALS, _MOST_IN_GLOBAL = 2, 5  # of COSMOS


@picklable
def flair(k: int = 8, max_merge: int = 3, *, compat: bool = False) -> Policy:
    """K independent texts of 1 to `max_merge` sentences (each number equally often) from the pool of all captions. A
    text of two or more sentences is a window of consecutive ones, or any sentences in random order, equally often.

    The pool has the raw captions, then short and long ones in turn, and windows cross the borders of captions. This is
    FLAIR's diverse_sampling (ExplainableML/flair, src/flair/data.py, sample_dict and random_sample_from_list; K is
    --num-sampled-captions, 8, and max_merge --max-merged-num, 3) without two faults, which `compat` restores: the
    released code never draws the last window, and in a pool with fewer sentences than are to be merged it may repeat
    a sentence within a text. Raises UserError for `k` or `max_merge` below 1.
    """
    at_least(1, k=k, max_merge=max_merge)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        pool = _pool(record, usable(record))
        uniform = uniforms(rng, k * (2 + max_merge))
        return [
            joined_without_stop(_flair_text(pool, 1 + int(uniform() * max_merge), uniform, compat)) for _ in range(k)
        ]

    return draw


@picklable
def dreamlip(num_text: int = 6, merged_num: int = 1, *, compat: bool = False) -> Policy:
    """K = 1 + num_text texts: the raw caption whole, then windows of `merged_num` consecutive sentences of the others.

    Windows differ, or are drawn with replacement if there are fewer than num_text. From DreamLIP
    (ant-research/DreamLIP, training/data.py, CsvDataset; defaults from params.py). Its released code, and `compat`,
    never draw the last sentence or, with merging, the last two windows. Without a raw caption the first text is a short
    caption, or any; a record with raw captions only has sentences of those. Raises UserError for `num_text` below 0
    or `merged_num` below 1.
    """
    at_least(0, num_text=num_text)
    at_least(1, merged_num=merged_num)
    missed = 0 if not compat else 1 if merged_num == 1 else 2

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        uniform = uniforms(rng, 1 + num_text)
        pool = _pool(record, _generated(record))
        windows = max(1, len(pool) - merged_num + 1 - missed)
        if windows >= num_text:
            starts = pick(windows, num_text, uniform)
        else:
            starts = [int(uniform() * windows) for _ in range(num_text)]
        return [_raw(record, uniform), *(joined_without_stop(pool[at : at + merged_num]) for at in starts)]

    return draw


@picklable
def cosmos(k: int = 8) -> Policy:
    """Two global texts of 1 to 5 random sentences, then k - 2 local texts: single sentences, drawn without replacement.

    COSMOS's textcrop (ExplainableML/cosmos, src/training/data.py, sample_dict). If the pool is too small for a draw,
    the whole pool is repeated, and a random selection fills the rest. Raises UserError for `k` below 2.
    """
    at_least(_GLOBALS, k=k)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        pool = _pool(record, usable(record))
        uniform = uniforms(rng, _GLOBALS * (1 + _MOST_IN_GLOBAL) + k - _GLOBALS)
        sizes = [1 + int(uniform() * _MOST_IN_GLOBAL) for _ in range(_GLOBALS)]
        chosen = [pick_with_repeats(len(pool), size, uniform) for size in sizes]
        chosen += [[at] for at in pick_with_repeats(len(pool), k - _GLOBALS, uniform)]
        return [joined_without_stop([pool[at] for at in some]) for some in chosen]

    return draw


@picklable
def lotlip(num_text: int = 1, merged_num: int = 3) -> Policy:
    """K = 1 + num_text texts: the raw caption whole (the short text of its loss), then windows of `merged_num`
    consecutive sentences of one long caption, drawn anew for each text.

    LoTLIP trains on three consecutive sub-captions (arXiv 2410.05249; wuw2019/LoTLIP). Its training code is not
    released, so it is unknown whether windows cross from one long caption into the next. Here they do not. Raises
    UserError for `num_text` below 0 or `merged_num` below 1.
    """
    at_least(0, num_text=num_text)
    at_least(1, merged_num=merged_num)

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        uniform = uniforms(rng, 1 + 2 * num_text)
        longs = [sentences(record, [n]) for n in preferred(record, "long", "fused", "short")]
        texts = [_raw(record, uniform)]
        for _ in range(num_text):
            pool = longs[int(uniform() * len(longs))]
            at = int(uniform() * max(1, len(pool) - merged_num + 1))
            texts.append(joined_without_stop(pool[at : at + merged_num]))
        return texts

    return draw


def _flair_text(pool: list[Sentence], size: int, uniform: Callable[[], float], compat: bool) -> list[Sentence]:
    n = len(pool)
    if size == 1:
        return [pool[int(uniform() * n)]]
    if uniform() < 0.5:
        if size >= n:
            return pool
        at = int(uniform() * (n - size + (0 if compat else 1)))
        return pool[at : at + size]
    if compat and size > n:
        return [pool[int(uniform() * n)] for _ in range(size)]
    return [pool[at] for at in pick(n, min(size, n), uniform)]


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
    """Captions that are not raw, or all if there are none."""
    found = usable(record)
    return [n for n in found if record.captions[n].granularity != "raw"] or found


def _raw(record: Record, uniform: Callable[[], float]) -> DrawnText:
    raws = preferred(record, "raw", "short")
    return whole(record, raws[int(uniform() * len(raws))])
