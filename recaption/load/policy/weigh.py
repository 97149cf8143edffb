"""recaption's own policy: draws sentences by weight, without repetition, and the raw caption with a fixed share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recaption.errors import UserError
from recaption.load.policy.drawn import Drawn, Policy, Sentence, chances, joined, pick, sentences, usable, whole
from recaption.load.policy.portable import portable
from recaption.types import Record


@portable
def weighted(
    k: int = 8, max_merge: int = 3, p_raw: float = 0.1, *, weights: Mapping[str, float] | None = None
) -> Policy:
    """K texts without a repetition, each the raw caption or 1 to `max_merge` consecutive sentences of one caption.

    - Raw: each of the K texts is the whole raw caption with probability `p_raw`, in every record that has a raw and a
      generated caption. The number of raw texts among the K is `k * p_raw`, randomly rounded up or down. If it exceeds
      the number of raw captions of the record, these repeat: the share takes precedence over the rule against
      repetition.
    - Others: the number of sentences is drawn uniformly, then a window of that size by weight. The weight of a window
      is that of its weakest sentence. Texts of a record are drawn without replacement, so none occurs twice.
    - Sentences with weight 0 (duplicates, by default), fragments and meta sentences are not drawn if there is any other
      text, even if there are too few others. In that case the others repeat, all equally often.
    - A record without a good sentence gives only its raw captions; without those, any sentences, equally often.

    `weights` (caption source -> factor, as in the manifest's `sampling`) scales the sentences of a source. Sources that
    it does not name have factor 1. For raw captions, `p_raw` applies instead.
    """
    if k < 1 or max_merge < 1:
        raise UserError(f"k is {k} and max_merge {max_merge}; both must be at least 1")
    if not 0 <= p_raw <= 1:
        raise UserError(f"p_raw is {p_raw}; it is the share of raw captions, from 0 to 1")
    factors = dict(weights or {})
    if wrong := [f"{source}: {factor}" for source, factor in factors.items() if not 0 <= factor < float("inf")]:
        raise UserError(f"weights has {', '.join(wrong)}; a weight is 0 or more")

    def draw(record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        found = usable(record)
        raw_texts = {record.captions[n].text: n for n in found if record.captions[n].granularity == "raw"}
        raws = list(raw_texts.values())
        pool, wants = _best(record, found, factors)
        chance = chances(rng, 1 + len(raws) + k)
        n_raw = 0 if not raws else k if not pool else min(k, int(k * p_raw + chance()))
        order = pick(len(raws), len(raws), chance)
        texts = [whole(record, raws[order[n % len(raws)]]) for n in range(n_raw)]
        if n_raw == k:
            return texts
        windows = _windows(pool, wants, max_merge)
        others = _without_repetition(pool, windows, k - n_raw, set(raw_texts), rng)
        places = pick(k, n_raw, chance)  # anywhere among the K, because a trainer may treat the first text differently
        for place, one in zip(sorted(places), texts, strict=True):
            others.insert(place, one)
        return others

    return draw


def _best(record: Record, captions: Sequence[int], factors: Mapping[str, float]) -> tuple[list[Sentence], list[float]]:
    """The best sentences of the record and their weights; none if a raw caption is better than all of them."""
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
    """The weight of each window: [i, n] is that of the i + 1 sentences from n on, 0 if these are not consecutive
    sentences of one caption. Each row with a positive weight sums to 1."""
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
) -> list[Drawn]:
    """k texts that are not in `taken`. If there are fewer, they repeat.

    Sorting windows by exponential random numbers divided by their weights is equivalent to drawing them by weight
    without replacement (Efraimidis and Spirakis, Information Processing Letters 97, 2006).
    """
    wanted = windows.ravel()
    some = np.flatnonzero(wanted)
    late = rng.standard_exponential(len(some)) / wanted[some]
    drawn: list[Drawn] = []
    for n in some[np.argsort(late)].tolist():
        more, start = divmod(n, len(pool))
        one = joined(pool[start : start + more + 1])
        if one.text not in taken:
            taken.add(one.text)
            drawn.append(one)
            if len(drawn) == k:
                return drawn
    drawn = drawn or [joined(pool[:1])]  # all windows equal texts already taken
    return [drawn[n % len(drawn)] for n in range(k)]
