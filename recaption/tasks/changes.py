"""One change in a sentence: applying it, and telling from two sentences what was changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, get_args

from recaption.tasks.change_words import category_of, names_a_number, plural

Category = Literal["attribute", "object", "number", "place", "relation", "action", "swap"]
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
Edit = tuple[int, int, str]
"""Start and end in the sentence, in code points, and the new text."""

WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_ARTICLES = frozenset({"a", "an"})
_NEGATIONS = frozenset({"no", "not", "never", "without", "none", "nothing", "nobody", "cannot"})
_LONGEST = 5  # words of a change
_ENDS = (".", "!", "?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A sentence with one change: the span of the new words in `text`, in code points, and what they replace."""

    text: str
    category: Category
    start: int
    end: int
    replaced: str


def changed(sentence: str, category: Category, edits: Sequence[Edit]) -> Change:
    """The sentence after these edits, which do not overlap. An article in front of a new word is adapted: a, an.

    The span begins with the first edit and ends with the last one.
    """
    made, at, start = "", 0, 0
    edits = sorted(_with_article(sentence, edit) for edit in edits)
    for number, (first, last, new) in enumerate(edits):
        made += sentence[at:first]
        start = start if number else len(made)
        made, at = made + _cased(new, sentence[first:last], first), last
    first, last = edits[0][0], edits[-1][1]
    return Change(
        text=made + sentence[at:], category=category, start=start, end=len(made), replaced=sentence[first:last]
    )


def difference(sentence: str, other: str, category: Category) -> Change:
    """What was changed in `sentence`, which gives `other`. Raises ValueError if it is not one change of the category.

    A swap keeps all words. Any other change replaces one to five words in a row, and not both an attribute or a number
    and the noun behind it. If `change_words` knows the class of
    the words, the category is that of the class, not `category`.
    """
    old, new = list(WORD.finditer(sentence)), list(WORD.finditer(other))
    before, after = _words(old), _words(new)
    if before == after:
        raise ValueError(f"{other!r} has the words of the sentence")
    head = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    tail = next((n for n, pair in enumerate(zip(before[::-1], after[::-1], strict=False)) if pair[0] != pair[1]), None)
    if head is None or tail is None or min(len(old), len(new)) <= head + tail:
        raise ValueError(f"{other!r} only adds or removes words")
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    is_swap = _counted(before) == _counted(after)
    if is_swap != (category == "swap"):
        found = "only swaps words" if is_swap else "does not only swap words"
        raise ValueError(f"{other!r} {found}, but its category is {category}"[:300])
    if not is_swap and max(len(gone), len(come)) > _LONGEST:
        raise ValueError(f"{other!r} changes more than {_LONGEST} words")
    if _NEGATIONS & (set(_words(come)) - set(before)):
        raise ValueError(f"{other!r} has a negation")
    if twice := {pair for pair in pairwise(after) if pair[0] == pair[1]} - set(pairwise(before)):
        raise ValueError(f"{other!r} has the word {min(twice)[0]!r} twice in a row")
    start, end = come[0].start(), come[-1].end()
    replaced = sentence[gone[0].start() : gone[-1].end()]
    if not is_swap:
        category = category_of(replaced, other[start:end]) or category
        if category == "number" and not (names_a_number(replaced) or names_a_number(other[start:end])):
            raise ValueError(f"{other!r} changes no number")
        if len(gone) == len(come) and _are_two_changes(_words(gone), _words(come)):
            raise ValueError(f"{other!r} changes more than one thing: {replaced!r}")
    return Change(text=other, category=category, start=start, end=end, replaced=replaced)


def formed_like(sentence: str, other: str) -> str:
    """`other` with the capital letter and the end mark of the sentence: the form must not show which one is false."""
    if sentence[:1].isupper():
        other = other[:1].upper() + other[1:]
    return f"{other}{sentence[-1]}" if sentence[-1:] in _ENDS and other[-1:].isalnum() else other


def _words(found: Sequence[re.Match[str]]) -> list[str]:
    return [match.group().casefold() for match in found]


def _are_two_changes(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether an attribute or a number is changed, and a later word, such as the noun, becomes another one.

    `old` and `new` have the same number of words. A noun may become plural with its number.
    """
    later = False
    for one, other in reversed([pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]]):
        kind = category_of(one, other)
        if kind in ("attribute", "number") and later:
            return True
        later |= (
            kind != "attribute" and other not in (plural(one), one + "s") and one not in (plural(other), other + "s")
        )
    return False


def _counted(words: Sequence[str]) -> Counter[str]:
    return Counter(word for word in words if word not in _ARTICLES)


def _with_article(sentence: str, edit: Edit) -> Edit:
    start, end, new = edit
    found = _ARTICLE.search(sentence, 0, start)
    wanted = "an" if new[:1].casefold() in "aeiou" else "a"
    if found is None or found[1].casefold() == wanted:
        return edit
    article = wanted.capitalize() if found[1][0].isupper() else wanted
    return found.start(), end, f"{article}{found[2]}{new}"


def _cased(new: str, old: str, start: int) -> str:
    return new[:1].upper() + new[1:] if start == 0 and old[:1].isupper() else new
