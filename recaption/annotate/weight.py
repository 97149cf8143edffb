"""One number in [0, 1] per sub-caption: how much a trainer should want to draw it.

The product of the factors below, rounded to four places. They are a stated opinion, not a fit: junk sentences are drawn
as often as good ones by uniform samplers, and every factor marks one kind of junk that is known to hurt.
"""

from __future__ import annotations

from collections.abc import Sequence

from recaption.types import Tag

DUPLICATE = 0.0  # says what another one says: sampled there
FRAGMENT = 0.1  # half a sentence
META = 0.1  # "The composition is balanced": true of many images, tells none apart
NEGATION = 0.1  # what is not there cannot be aligned to a patch
OPENER = 0.9  # a few tokens of the context go to "The image shows"
NO_TAGS = 0.4  # names no object
ONE_PLAIN_TAG = 0.8  # one object without an attribute or count
SHORT = {0: 0.0, 1: 0.2, 2: 0.4, 3: 0.7}  # words -> factor
LONG_WORDS, LONG = 55, 0.7  # beyond what fits CLIP's 77 tokens its end is cut off


def weight(
    *,
    n_words: int,
    tags: Sequence[Tag] | None,
    is_dup: bool,
    is_fragment: bool,
    is_negation: bool,
    is_meta: bool,
    is_boilerplate: bool,
) -> float:
    """The weight. `tags` None: the language has no tagger, so tags say nothing."""
    value = SHORT.get(n_words, 1.0)
    if n_words > LONG_WORDS:
        value *= LONG
    for flag, factor in (
        (is_dup, DUPLICATE),
        (is_fragment, FRAGMENT),
        (is_negation, NEGATION),
        (is_meta, META),
        (is_boilerplate, OPENER),
    ):
        if flag:
            value *= factor
    if tags is not None:
        if not tags:
            value *= NO_TAGS
        elif len(tags) == 1 and not tags[0].attributes and tags[0].count is None:
            value *= ONE_PLAIN_TAG
    return round(value, 4)
