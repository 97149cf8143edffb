"""One number in [0, 1] per sub-caption: how much a trainer should want to draw it.

The product of the factors that hold (`annotate.weights` in the pipeline, `Weights`), rounded to four places. The
defaults are a stated opinion, not a fit: uniform samplers draw junk sentences as often as good ones, and every factor
marks one kind of junk that is known to hurt.
"""

from __future__ import annotations

from collections.abc import Sequence

from recaption.config import Weights
from recaption.types import Tag


def weight(
    factors: Weights,
    *,
    n_words: int,
    objects: Sequence[Tag] | None,
    said_before: float,
    is_dup: bool,
    is_fragment: bool,
    is_negation: bool,
    is_meta: bool,
    is_boilerplate: bool,
) -> float:
    """The weight of a sub-caption. `objects` None: the language has no tagger, so objects are ignored. `said_before`:
    the share of its content words that occur in earlier sub-captions of the image, in [0, 1]."""
    value = 1.0
    if n_words < len(factors.short):
        value *= factors.short[n_words]
    if n_words > factors.long_words:
        value *= factors.long
    for flag, factor in (
        (is_dup, factors.duplicate),
        (is_fragment, factors.fragment),
        (is_negation, factors.negation),
        (is_meta, factors.meta),
        (is_boilerplate, factors.opener),
    ):
        if flag:
            value *= factor
    if objects is not None:
        if not objects:
            value *= factors.no_objects
        elif len(objects) == 1 and not objects[0].attributes and objects[0].count is None:
            value *= factors.one_plain_object
    value *= 1 - (1 - factors.repeated) * said_before
    return round(value, 4)
