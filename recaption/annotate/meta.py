"""Whether a sub-caption states nothing that can be seen in the picture. English only.

Such a sentence is about mood, style, composition, light as a whole, the description, or what is known of the place from
elsewhere. A logistic regression decides, on the words of the sentence, its pairs of neighbouring words, a few facts
about it, and what rules say (`meta_rules`). `training/meta/train.py` makes its weights, `data/meta_weights.txt`. The
rules alone find fewer such sentences in captions by other models than those that they were written on: docs,
"Sub-captions", has the figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Final, NamedTuple

from recaption.annotate.meta_rules import is_meta_by_rules
from recaption.annotate.tagged_words import Token

RULES: Final = "#rules"
BIAS: Final = "#bias"
_START: Final = "<s>"
_END: Final = "</s>"
_NUMBER: Final = "<n>"
_MOST_VISIBLE: Final = 4
_WORDS_PER_LENGTH: Final = 5
_LONGEST: Final = 8
_N_FACTS: Final = 5  # added to the number of words and pairs, for the facts
_UNKNOWN: Final[tuple[float, dict[str, float]]] = (0.0, {})
FILE: Final = Path(__file__).parent / "data" / "meta_weights.txt"


class Weights(NamedTuple):
    bias: float
    rules: float
    """Positive: `is_meta` asks the rules only where they can decide."""
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

    `words` are the words after an opener, outside quotes, `text` the sentence with both; `visible` has the offsets, in
    the caption, of the objects and events that the words name. Sentences that `flags.is_assistant` accepts are not
    covered. The sum of `features` times their weights decides.
    """
    weights = load()
    facts = facts_of(len(words), visible, has_opener=has_opener, is_fragment=is_fragment, is_negation=is_negation)
    total = sum([weights.facts.get(fact, 0.0) for fact in facts])
    known = weights.words
    _, pairs = known.get(_START, _UNKNOWN)
    for word in _tokens_of(words):
        total += pairs.get(word, 0.0)
        weight, pairs = known.get(word, _UNKNOWN)
        total += weight
    total += pairs.get(_END, 0.0)
    scale = _scale_of(len(words))
    if total / scale + weights.bias > 0:
        return True
    if (total + weights.rules) / scale + weights.bias <= 0:
        return False  # the usual case
    return is_meta_by_rules(words, text, visible=visible, has_opener=has_opener, is_fragment=is_fragment)


def features(words: Sequence[Token], facts: Iterable[str], *, by_rules: bool) -> dict[str, float]:
    """What `is_meta` multiplies with the weights: words, pairs of words and facts, each divided by the root of their
    number."""
    found = [_START, *_tokens_of(words), _END]
    counts = Counter[str](found[1:-1])
    counts.update(f"{a} {b}" for a, b in pairwise(found))
    for word in [feature for feature in counts if feature.startswith("#")]:
        del counts[word]  # the file has facts under such names
    counts.update(facts)
    if by_rules:
        counts[RULES] += 1
    return {feature: n / _scale_of(len(words)) for feature, n in counts.items()}


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


@cache
def load() -> Weights:
    """The weights from the file: in each line a word, a pair or a fact, a tab and its weight."""
    facts, single = dict[str, float](), dict[str, float]()
    pairs = defaultdict[str, dict[str, float]](dict)
    for line in FILE.read_text("utf-8").splitlines():
        feature, _, weight = line.partition("\t")
        first, _, second = feature.partition(" ")
        if feature.startswith("#"):
            facts[feature] = float(weight)
        elif second:
            pairs[first][second] = float(weight)
        else:
            single[feature] = float(weight)
    words = {word: (single.get(word, 0.0), pairs.get(word, {})) for word in single.keys() | pairs.keys()}
    return Weights(facts.pop(BIAS), facts.pop(RULES), facts, words)


def _tokens_of(words: Sequence[Token]) -> list[str]:
    """The words as the weights know them: all words with a digit are one word."""
    return [_NUMBER if not word.text.isalpha() and any(map(str.isdigit, word.text)) else word.text for word in words]


def _scale_of(n_words: int) -> float:
    """What the sum of the weights is divided by: the root of the number of words, pairs and facts."""
    return sqrt(2 * n_words + 1 + _N_FACTS)
