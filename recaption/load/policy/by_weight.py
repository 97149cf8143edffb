"""Our own policy: sentences by their weights, no text twice, the raw caption in a fixed share."""

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
    """K texts without a repetition, each the raw caption or 1 to `max_merge` consecutive sentences of one caption.

    - Raw: each of the K texts is the raw caption, whole, with probability `p_raw`, in every record that has a raw and
      a generated caption; and the number of raw ones among the K is `k * p_raw`, rounded up or down at random. With
      more of them than the record has raw captions, these repeat: the share goes before the rule against repetition.
    - The others: a number of sentences, each equally often, then a window of so many by weight. A window weighs as much
      as its weakest sentence. Texts of the same record are drawn on without replacement, so none comes twice.
    - Sentences with weight 0 (duplicates, by default), fragments and meta sentences are not drawn where there is any
      other text: not even where the others are too few. Then these repeat, each as often as the next.
    - A record with no good sentence gives its raw captions only; without those, what it has, each equally often.

    `weights` (caption source -> factor, as in the manifest's `sampling`) scales the sentences of a source; sources
    that it does not name have 1, and that of raw captions is `p_raw`.
    """
    if k < 1 or max_merge < 1:
        raise UserError(f"k is {k} and max_merge {max_merge}; both must be at least 1")
    if not 0 <= p_raw <= 1:
        raise UserError(f"p_raw is {p_raw}; it is the share of raw captions, from 0 to 1")
    factors = dict(weights or {})
    if wrong := [f"{source}: {factor}" for source, factor in factors.items() if not 0 <= factor < float("inf")]:
        raise UserError(f"weights has {', '.join(wrong)}; a weight is 0 or more")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        found = usable(record)
        raw_texts = {record.captions[n].text: n for n in found if record.captions[n].granularity == "raw"}
        raws = list(raw_texts.values())
        pool, wants = _best(record, found, factors)
        uniform = uniforms(rng, 1 + len(raws) + k)
        n_raw = 0 if not raws else k if not pool else min(k, int(k * p_raw + uniform()))
        order = pick(len(raws), len(raws), uniform)
        texts = [whole(record, raws[order[n % len(raws)]]) for n in range(n_raw)]
        if n_raw == k:
            return texts
        windows = _windows(pool, wants, max_merge)
        others = _without_repetition(pool, windows, k - n_raw, set(raw_texts), rng)
        places = pick(k, n_raw, uniform)  # anywhere among the K: a trainer may have a use of its own for the first
        for place, one in zip(sorted(places), texts, strict=True):
            others.insert(place, one)
        return others

    return draw


def _best(record: Record, captions: Sequence[int], factors: Mapping[str, float]) -> tuple[list[Sentence], list[float]]:
    """The best sentences that the record has and their weights; none where a raw caption is better than all of them."""
    generated = [n for n in captions if record.captions[n].granularity != "raw"]
    pool = sentences(record, generated)
    clean = [sentence for sentence in pool if not (sentence[1].is_fragment or sentence[1].is_meta)]
    wants = [sub.weight for _, sub in clean]
    if factors:
        wants = [w * factors.get(record.captions[n].source, 1.0) for w, (n, _) in zip(wants, clean, strict=True)]
    if good := [n for n, w in enumerate(wants) if w > 0]:
        return [clean[n] for n in good], [wants[n] for n in good]
    if len(generated) < len(captions):
        return [], []
    return (clean or pool), [1.0] * len(clean or pool)


def _windows(pool: Sequence[Sentence], wants: Sequence[float], max_merge: int) -> npt.NDArray[np.float64]:
    """How much each text is wanted: [i, n] that of the i + 1 sentences from n on, 0 where these are not consecutive
    ones of a caption. Each row that has any sums to 1."""
    one = np.array(wants)
    goes_on = np.array([a == b and s.idx + 1 == t.idx for (a, s), (b, t) in pairwise(pool)], bool)
    made = np.zeros((min(max_merge, len(pool)), len(pool)))
    made[0] = one
    for n in range(1, len(made)):
        made[n, :-n] = np.minimum(made[n - 1, :-n], one[n:]) * goes_on[n - 1 :]
    total = made.sum(axis=1, keepdims=True)
    return made / np.where(total > 0, total, 1)


def _without_repetition(
    pool: Sequence[Sentence], windows: npt.NDArray[np.float64], k: int, taken: set[str], rng: np.random.Generator
) -> list[DrawnText]:
    """k texts that are not among those taken, as far as there are so many; then the same again.

    Sorted by exponential numbers over what they are wanted, the windows come as if each were drawn by weight of those
    left (Efraimidis and Spirakis, Information Processing Letters 97, 2006).
    """
    wanted = windows.ravel()
    some = np.flatnonzero(wanted)
    late = rng.standard_exponential(len(some)) / wanted[some]
    drawn: list[DrawnText] = []
    for n in some[np.argsort(late)].tolist():
        more, start = divmod(n, len(pool))
        one = joined(pool[start : start + more + 1])
        if one.text not in taken:
            taken.add(one.text)
            drawn.append(one)
            if len(drawn) == k:
                return drawn
    drawn = drawn or [joined(pool[:1])]  # they say no more than the raw caption
    return [drawn[n % len(drawn)] for n in range(k)]
