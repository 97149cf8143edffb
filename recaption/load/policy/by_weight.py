"""The policy `weighted`: sentences drawn by weight without repetition, and a fixed share of raw captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recaption.errors import UserError
from recaption.load.policy.base import (
    DrawnText,
    Policy,
    Sentence,
    at_least,
    joined,
    pick,
    picklable,
    sentences,
    uniforms,
    usable,
    whole,
)
from recaption.types import Record


@picklable
def weighted(
    k: int = 8, max_merge: int = 3, p_raw: float = 0.1, *, weights: Mapping[str, float] | None = None
) -> Policy:
    """K different texts, each the raw caption or 1 to `max_merge` consecutive sentences of one caption.

    - Raw captions: in a record that has raw and generated captions, each of the K texts is a whole raw caption with
      probability `p_raw`; the number of raw texts is `k * p_raw`, rounded up or down at random. If it exceeds the
      number of raw captions, these repeat: the share takes precedence over the rule against repetition.
    - Other texts: the number of sentences is drawn uniformly, then a window of that many sentences by weight. The
      weight of a window is the smallest of its sentences. Windows of a record are drawn without replacement.
    - Sentences with weight 0 (by default duplicates), fragments and meta sentences are not drawn if the record has any
      other text. If there are too few others, those repeat, equally often.
    - A record without a good sentence gives its raw captions only; without raw captions, any sentence with equal
      probability.

    `weights` (caption source -> factor, as in the manifest's `sampling`) scales the weights of a source's sentences.
    Other sources have factor 1; the share of raw captions is `p_raw`.

    Raises UserError for `k` or `max_merge` below 1, `p_raw` outside [0, 1], and negative or infinite `weights`.
    """
    at_least(1, k=k, max_merge=max_merge)
    if not 0 <= p_raw <= 1:
        raise UserError(f"p_raw is {p_raw}; it is the share of raw captions, from 0 to 1")
    factors = dict(weights or {})
    if wrong := [f"{source}: {factor}" for source, factor in factors.items() if not 0 <= factor < float("inf")]:
        raise UserError(f"weights has {', '.join(wrong)}; a weight is 0 or more")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        found = usable(record)
        raw_texts = {record.captions[n].text: n for n in found if record.captions[n].granularity == "raw"}
        raws = list(raw_texts.values())
        pool, weighed = _best(record, found, factors)
        uniform = uniforms(rng, 1 + len(raws) + k)
        n_raw = 0 if not raws else k if not pool else min(k, int(k * p_raw + uniform()))
        order = pick(len(raws), len(raws), uniform)
        texts = [whole(record, raws[order[n % len(raws)]]) for n in range(n_raw)]
        if n_raw == k:
            return texts
        windows = _windows(pool, weighed, max_merge)
        others = _without_repetition(pool, windows, k - n_raw, set(raw_texts), rng)
        places = pick(k, n_raw, uniform)  # at random places: a trainer may use the first text in a special way
        for place, one in zip(sorted(places), texts, strict=True):
            others.insert(place, one)
        return others

    return draw


def _best(record: Record, captions: Sequence[int], factors: Mapping[str, float]) -> tuple[list[Sentence], list[float]]:
    """The best sentences of the record and their weights; none if a raw caption is better than all of them."""
    generated = [n for n in captions if record.captions[n].granularity != "raw"]
    pool = sentences(record, generated)
    clean = [sentence for sentence in pool if not (sentence[1].is_fragment or sentence[1].is_meta)]
    weighed = [sub.weight for _, sub in clean]
    if factors:
        weighed = [w * factors.get(record.captions[n].source, 1.0) for w, (n, _) in zip(weighed, clean, strict=True)]
    if good := [n for n, w in enumerate(weighed) if w > 0]:
        return [clean[n] for n in good], [weighed[n] for n in good]
    if len(generated) < len(captions):
        return [], []
    return (clean or pool), [1.0] * len(clean or pool)


def _windows(pool: Sequence[Sentence], weights: Sequence[float], max_merge: int) -> npt.NDArray[np.float64]:
    """Probabilities of windows: [i, n] is that of the i + 1 sentences from n on; 0 if they are not consecutive
    sentences of one caption. Each row with a window sums to 1."""
    one = np.array(weights)
    continues = np.array([a == b and s.idx + 1 == t.idx for (a, s), (b, t) in pairwise(pool)], bool)
    made = np.zeros((min(max_merge, len(pool)), len(pool)))
    made[0] = one
    for n in range(1, len(made)):
        made[n, :-n] = np.minimum(made[n - 1, :-n], one[n:]) * continues[n - 1 :]
    total = made.sum(axis=1, keepdims=True)
    return made / np.where(total > 0, total, 1)


def _without_repetition(
    pool: Sequence[Sentence], windows: npt.NDArray[np.float64], k: int, taken: set[str], rng: np.random.Generator
) -> list[DrawnText]:
    """k texts that are not in `taken`; they repeat only if there are fewer.

    Sorting by exponential numbers divided by the weights draws without replacement in proportion to the weights
    (Efraimidis and Spirakis, Information Processing Letters 97, 2006).
    """
    weights = windows.ravel()
    some = np.flatnonzero(weights)
    ranks = rng.standard_exponential(len(some)) / weights[some]
    drawn: list[DrawnText] = []
    for n in some[np.argsort(ranks)].tolist():
        more, start = divmod(n, len(pool))
        one = joined(pool[start : start + more + 1])
        if one.text not in taken:
            taken.add(one.text)
            drawn.append(one)
            if len(drawn) == k:
                return drawn
    drawn = drawn or [joined(pool[:1])]  # all equal the raw caption
    return [drawn[n % len(drawn)] for n in range(k)]
