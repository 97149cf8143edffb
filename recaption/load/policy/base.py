"""The types of sampling policies, and how texts are made of sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from recaption.errors import DatasetError, UserError
from recaption.text import fold
from recaption.types import Record, SubCaption

_P = ParamSpec("_P")

Sentence = tuple[int, SubCaption]
"""A sub-caption and the position of its caption in `record.captions`."""

WHOLE = -1
"""Stands for a sub-caption's idx if the text is the whole caption."""

_NOTHING = " .\t\n"  # a sentence of these characters alone is empty; so are other white space characters
_ENDS = frozenset(".!?…:;,。！？：；，、।")
_CLOSERS = "\"')]}”’»"


class DrawnText(NamedTuple):
    """A text to train on, and its origin."""

    text: str
    parts: tuple[tuple[int, int], ...]  # (caption, idx of the sub-caption; -1: the whole caption), in joined order
    weight: float = 1.0  # the smallest of its parts; 1 for whole captions

    @property
    def caption(self) -> int:
        """Position in `record.captions`; -1 if the parts belong to several captions."""
        captions = {caption for caption, _ in self.parts} if len(self.parts) != 1 else self.parts[0][:1]
        return next(iter(captions)) if len(captions) == 1 else -1


Policy = Callable[[Record, np.random.Generator, int], list[DrawnText]]
"""(record, generator, global step) -> the K texts of this record in this step.

The generator is the only source of randomness: equal generators give equal texts. The step is for curricula; most
policies ignore it. Any function of this form is a policy; it must give equally many texts for every record.
"""


def usable(record: Record) -> list[int]:
    """Positions of the captions with a text. Raises DatasetError if there are none."""
    found = [n for n, caption in enumerate(record.captions) if caption.text.strip()]
    if not found:
        raise DatasetError("the record has no text to draw", key=record.key, shard=record.shard)
    return found


def preferred(record: Record, *kinds: str) -> list[int]:
    """Positions of the captions of one granularity, the first of these that the record has; of all captions if it has
    none."""
    found = usable(record)
    for kind in kinds:
        if of_kind := [n for n in found if record.captions[n].granularity == kind]:
            return of_kind
    return found


def sentences(record: Record, captions: Sequence[int]) -> list[Sentence]:
    """The sub-captions of these captions in order. A caption without sub-captions is one sentence with idx -1."""
    found: list[Sentence] = []
    for n in captions:
        cut = [
            (n, sub) for sub in record.captions[n].sub_captions if sub.text.strip(_NOTHING) and not sub.text.isspace()
        ]
        found += cut or [(n, _uncut(record, n))]
    return found


def whole(record: Record, caption: int) -> DrawnText:
    """The caption as it is stored."""
    return DrawnText(text=record.captions[caption].text, parts=((caption, WHOLE),))


def without_full_stop(text: str) -> str:
    """The text on one line, without full stops at the end, as FLAIR, DreamLIP and COSMOS use sentences and as
    `output.profile: flair` writes them. A text of full stops only is unchanged."""
    line = text.strip() if text.isprintable() and "  " not in text else fold(text)  # nearly all are one line already
    return line.rstrip(".").rstrip() or line


def joined_without_stop(chosen: Sequence[Sentence]) -> DrawnText:
    """The sentences joined by ". ", without a full stop at the end, as FLAIR, DreamLIP and COSMOS join them."""
    return _drawn(". ".join([without_full_stop(sub.text) for _, sub in chosen]), chosen)


def joined(chosen: Sequence[Sentence]) -> DrawnText:
    """The stored sentences joined by one space, with a full stop after sentences that lack punctuation."""
    *others, (_, last) = chosen
    pieces = [sub.text if ends(sub.text) else sub.text + "." for _, sub in others]
    return _drawn(" ".join([*pieces, last.text]), chosen)


def _drawn(text: str, chosen: Sequence[Sentence]) -> DrawnText:
    parts = tuple([(caption, sub.idx) for caption, sub in chosen])
    return DrawnText(text, parts, min([sub.weight for _, sub in chosen]))


def ends(text: str) -> bool:
    """Whether the text ends with punctuation, apart from closing quotes and brackets."""
    return text[-1:] in _ENDS or text.rstrip(_CLOSERS)[-1:] in _ENDS


def pick(n: int, m: int, uniform: Callable[[], float]) -> list[int]:
    """m different numbers of range(n) in random order, m <= n; `uniform` gives numbers in [0, 1), called m times."""
    left = list(range(n))
    for at in range(m):
        other = at + int(uniform() * (n - at))
        left[at], left[other] = left[other], left[at]
    return left[:m]


def pick_with_repeats(n: int, m: int, uniform: Callable[[], float]) -> list[int]:
    """m numbers of range(n); if n < m, all of them repeated, and a random selection of the rest. See `pick`.

    COSMOS minimises repetitions in this way (ExplainableML/cosmos, src/training/data.py, random_sample_from_list).
    """
    return pick(n, m, uniform) if m <= n else list(range(n)) * (m // n) + pick(n, m % n, uniform)


def uniforms(rng: np.random.Generator, most: int) -> Callable[[], float]:
    """A function that gives up to `most` numbers in [0, 1), drawn in one call: separate calls take most of the time."""
    return iter(rng.random(most).tolist()).__next__


def _uncut(record: Record, n: int) -> SubCaption:
    text = record.captions[n].text
    return SubCaption(
        sub_id=f"{record.captions[n].caption_id}#{WHOLE}",
        idx=WHOLE,
        text=text,
        char_start=0,
        char_end=len(text),
        n_words=len(text.split()),
        content_start=0,
        is_first=True,
        is_last=True,
    )


def at_least(least: int, **given: int) -> None:
    """Raises UserError for a value below `least`."""
    for name, value in given.items():
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}")


def picklable(make: Callable[_P, Policy]) -> Callable[_P, Policy]:
    """Make the policies of `make` picklable, as workers started by spawn or forkserver need (default in 3.14)."""

    @wraps(make)
    def made(*args: _P.args, **kwargs: _P.kwargs) -> Policy:
        return _PicklablePolicy(made, args, kwargs)

    return made


class _PicklablePolicy:
    """The policy `make(*args, **kwargs)`, for a function `make` that `picklable` has wrapped."""

    __slots__ = ("_draw", "_made")

    def __init__(self, make: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._draw, self._made = make.__wrapped__(*args, **kwargs), (make, args, kwargs)

    def __call__(self, record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        drawn: list[DrawnText] = self._draw(record, rng, step)
        return drawn

    def __repr__(self) -> str:
        make, args, kwargs = self._made
        given = [repr(arg) for arg in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
        return f"{make.__name__}({', '.join(given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _PicklablePolicy, self._made
