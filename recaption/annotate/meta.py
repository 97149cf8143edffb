"""Whether a sub-caption states nothing that can be seen in the picture. English only.

It is about mood, style, composition, light as a whole, the description, or what is known of the place from elsewhere.

A logistic regression decides, on the words of the sentence, its pairs of neighbouring words, a few facts about it, and
what rules say (`meta_rules`). `training/meta/train.py` makes its weights, `data/meta_weights.txt`; the rules alone find
fewer such sentences in captions by models that nobody had looked at before (tests/annotate/real/README.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Final, NamedTuple

from recaption.annotate.meta_rules import is_meta_by_rules
from recaption.annotate.tagged_words import Token

START: Final = "<s>"
END: Final = "</s>"
NUMBER: Final = "<n>"
RULES: Final = "#rules"
BIAS: Final = "#bias"
_MOST_VISIBLE: Final = 4
_WORDS_PER_LENGTH: Final = 5
_LONGEST: Final = 8
_N_FACTS: Final = 5  # added to the number of words and pairs, as facts about the sentence weigh as much as words
_FILE: Final = Path(__file__).parent / "data" / "meta_weights.txt"


class _Weights(NamedTuple):
    bias: float
    rules: float
    facts: dict[str, float]
    words: dict[str, tuple[float, dict[str, float]]]
    """Word -> its weight, and those of the pairs that it begins."""


def is_meta(
    words: Sequence[Token],
    text: str,
    *,
    visible: Sequence[int],
    has_opener: bool,
    is_fragment: bool,
    is_negation: bool,
) -> bool:
    """Whether the sentence states nothing that can be seen.

    `words` are the words after an opener, outside quotes; `visible` has the offsets, in the caption, of the objects and
    events they name. Sentences that `flags.is_assistant` accepts are not covered.
    """
    weights = _weights()
    facts = facts_of(len(words), visible, has_opener=has_opener, is_fragment=is_fragment, is_negation=is_negation)
    known = weights.words
    total = sum([weights.facts.get(fact, 0.0) for fact in facts])
    _, pairs = known.get(START, _UNKNOWN)
    for word in tokens_of(words):
        total += pairs.get(word, 0.0)
        weight, pairs = known.get(word, _UNKNOWN)
        total += weight
    total += pairs.get(END, 0.0)
    scale = scale_of(len(words))
    if total / scale + weights.bias > 0:
        return True
    if (total + weights.rules) / scale + weights.bias <= 0:
        return False  # the usual case
    return is_meta_by_rules(words, text, visible=visible, has_opener=has_opener, is_fragment=is_fragment)


def tokens_of(words: Sequence[Token]) -> list[str]:
    """The words as the weights know them: all numbers are one word."""
    return [NUMBER if not word.text.isalpha() and any(map(str.isdigit, word.text)) else word.text for word in words]


def facts_of(
    n_words: int, visible: Sequence[int], *, has_opener: bool, is_fragment: bool, is_negation: bool
) -> Iterator[str]:
    """What counts beside the words: how many visible things are named, the length, and flags."""
    yield f"#visible{min(len(visible), _MOST_VISIBLE)}"
    yield f"#length{min(n_words // _WORDS_PER_LENGTH, _LONGEST)}"
    if has_opener:
        yield "#opener"
    if is_fragment:
        yield "#fragment"
    if is_negation:
        yield "#negation"


def scale_of(n_words: int) -> float:
    """What the sum of the weights is divided by: the root of the number of words, pairs and facts."""
    return sqrt(2 * n_words + 1 + _N_FACTS)


_UNKNOWN: Final[tuple[float, dict[str, float]]] = (0.0, {})


@cache
def _weights() -> _Weights:
    """From the file: in each line a word, a pair or a fact, a tab and its weight."""
    facts, words = dict[str, float](), dict[str, tuple[float, dict[str, float]]]()
    for line in _FILE.read_text("utf-8").splitlines():
        feature, _, weight = line.partition("\t")
        first, _, second = feature.partition(" ")
        if feature.startswith("#"):
            facts[feature] = float(weight)
        elif second:
            words.setdefault(first, (0.0, {}))[1][second] = float(weight)
        else:
            words[first] = (float(weight), words.get(first, _UNKNOWN)[1] or {})
    return _Weights(facts.pop(BIAS), facts.pop(RULES), facts, words)
