"""The weight of a sub-caption: a number in [0, 1]; the sampling policy `weighted` draws in proportion to it.

The weight is the product of the factors that apply (`annotate.weights` in the pipeline, `Weights`), rounded to four
places. The default factors are a judgement, not fitted to data: a uniform sampler draws poor sentences as often as good
ones, and each factor marks one kind of sentence that is known to harm training.
"""

from __future__ import annotations

from collections.abc import Sequence

from recaption.annotate.duplicates import Repetition
from recaption.config import Weights
from recaption.types import Tag


def weight(
    factors: Weights,
    *,
    n_words: int,
    objects: Sequence[Tag] | None,
    repetition: Repetition,
    is_fragment: bool,
    is_negation: bool,
    is_meta: bool,
    is_boilerplate: bool,
) -> float:
    """The weight of a sub-caption with these properties.

    `objects` is None if there is no tagger for the language; then the factors for objects do not apply.
    """
    value = 1.0
    if n_words < len(factors.short):
        value *= factors.short[n_words]
    if n_words > factors.long_words:
        value *= factors.long
    if repetition.dup_of is not None:
        value *= factors.duplicate
    if is_fragment:
        value *= factors.fragment
    if is_negation:
        value *= factors.negation
    if is_meta:
        value *= factors.meta
    if is_boilerplate:
        value *= factors.opener
    if objects is not None:
        if not objects:
            value *= factors.no_objects
        elif len(objects) == 1 and not objects[0].attributes and objects[0].count is None:
            value *= factors.one_plain_object
    value *= 1 - (1 - factors.repeated) * repetition.known_share
    return round(value, 4)
