"""Replaces the flags of sub-captions that a generation with task `review` read, and computes their weights anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from recaption.tasks.question import Question
from recaption.tasks.review import ReviewTask
from recaption.types import Caption, Record, SubCaption

Weights = Callable[[Sequence[Caption]], Mapping[str, float]]
"""The weights of all sub-captions of an image, by sub_id: `Annotator.weights`."""
_COLUMNS: Final = ("generation", "sub_id", "is_meta", "dup_of")


class _Review(NamedTuple):
    generation: str
    is_meta: bool
    dup_of: str | None


@dataclass(frozen=True, slots=True)
class _Reviews:
    by_sub_id: dict[str, list[_Review]] = field(default_factory=lambda: defaultdict(list))
    read: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # generation -> sub_ids


def with_reviews(
    records: Sequence[Record], reviews: pa.Table | None, questions: Sequence[Question], weights: Weights
) -> list[Record]:
    """The records; `is_meta` and `dup_of` of each reviewed sub-caption are those of most of its reviews.

    `reviews` is the table of that name; None if the build has none. Reviews whose setting `apply` is false do not
    count. If as many count for a flag as against it, the flag of the rules stays. So it does in a review that could not
    judge it: the sub-caption that it repeats by the rules was not read in that review, or the one that the review names
    is not earlier in the record. `dup_of` is always a sub-caption that repeats no other, also for sub-captions without
    a review, which keep all other values. A sub-caption whose flags stay keeps its weight.
    """
    applied = [q.id for q in questions if isinstance(q.task, ReviewTask) and q.task.options.apply]
    found = _Reviews() if reviews is None else _found(reviews, applied)
    if not found.read:
        return list(records)
    return [replace(record, captions=_changed(record.captions, found, weights)) for record in records]


def _found(table: pa.Table, generations: Collection[str]) -> _Reviews:
    table = table.filter(pc.is_in(table["generation"], pa.array(generations, pa.string())))
    found = _Reviews()
    for generation, sub_id, is_meta, dup_of in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        found.by_sub_id[sub_id].append(_Review(generation, is_meta, dup_of))
        found.read[generation].add(sub_id)
    return found


def _changed(captions: tuple[Caption, ...], reviews: _Reviews, weights: Weights) -> tuple[Caption, ...]:
    originals: dict[str, str] = {}
    new = _mapped(captions, lambda sub: _with_flags(sub, reviews, originals))
    if new == captions:
        return captions
    old = {sub.sub_id: _flags(sub) for caption in captions for sub in caption.sub_captions}
    made = weights(new)
    return _mapped(new, lambda s: s if _flags(s) == old[s.sub_id] else replace(s, weight=made[s.sub_id]))


def _mapped(captions: tuple[Caption, ...], change: Callable[[SubCaption], SubCaption]) -> tuple[Caption, ...]:
    return tuple(replace(each, sub_captions=tuple(map(change, each.sub_captions))) for each in captions)


def _flags(sub: SubCaption) -> tuple[bool, bool]:
    """What the weight depends on."""
    return sub.is_meta, sub.dup_of is not None


def _with_flags(sub: SubCaption, reviews: _Reviews, originals: dict[str, str]) -> SubCaption:
    """The sub-caption with its new flags. `originals` has, for each earlier sub-caption of the image, the one that it
    repeats, or itself; this one is added."""
    found = reviews.by_sub_id.get(sub.sub_id, ())
    by_rules = originals.get(sub.dup_of, sub.dup_of) if sub.dup_of is not None else None

    def judged(review: _Review) -> str | None:
        if review.dup_of is not None:
            return originals.get(review.dup_of, by_rules)
        return None if sub.dup_of in reviews.read[review.generation] else by_rules

    named = Counter(map(judged, found))
    against = 2 * named.pop(None, 0) - len(found)
    dup_of = None if against > 0 else by_rules if against == 0 else named.most_common(1)[0][0]
    for_meta = 2 * sum(review.is_meta for review in found) - len(found)
    originals[sub.sub_id] = dup_of or sub.sub_id
    return replace(sub, is_meta=for_meta > 0 or (for_meta == 0 and sub.is_meta), dup_of=dup_of)
