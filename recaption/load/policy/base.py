"""What a sampling policy is, what it draws, and how texts are put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from recaption.errors import DatasetError
from recaption.text import fold
from recaption.types import Record, SubCaption

_P = ParamSpec("_P")

Sentence = tuple[int, SubCaption]
"""A sub-caption and the position of its caption in `record.captions`."""

WHOLE = -1
"""In place of a sub-caption's idx: the text of the caption itself."""

_NOTHING = " .\t\n"  # all that a sentence is made of that says nothing, but for rarer white space
_ENDS = frozenset(".!?…:;,。！？：；，、।")
_CLOSERS = "\"')]}”’»"


class DrawnText(NamedTuple):
    """A text to train on, and where it comes from."""

    text: str
    parts: tuple[tuple[int, int], ...]  # (caption, idx of the sub-caption; -1: the whole caption), in joined order
    weight: float = 1.0  # the least of its parts; 1 for whole captions

    @property
    def caption(self) -> int:
        """Position in `record.captions`; -1 where the parts are of several."""
        captions = {caption for caption, _ in self.parts} if len(self.parts) != 1 else self.parts[0][:1]
        return next(iter(captions)) if len(captions) == 1 else -1


Policy = Callable[[Record, np.random.Generator, int], list[DrawnText]]
"""(record, generator, global step) -> the K texts of this record in this step.

The generator is the only source of randomness: equal generators give equal texts. The step is for curricula; most
policies ignore it. Any function of this form is a policy; it must give equally many texts for every record.
"""


def usable(record: Record) -> list[int]:
    """Positions of the captions that say something. Raises DatasetError where there are none."""
    found = [n for n, caption in enumerate(record.captions) if caption.text.strip()]
    if not found:
        raise DatasetError("the record has no text to draw", key=record.key, shard=record.shard)
    return found


def preferred(record: Record, *kinds: str) -> list[int]:
    """Positions of the captions of the first of these kinds that the record has, else of all its captions."""
    found = usable(record)
    for kind in kinds:
        if of_kind := [n for n in found if record.captions[n].granularity == kind]:
            return of_kind
    return found


def sentences(record: Record, captions: Sequence[int]) -> list[Sentence]:
    """The sub-captions of these captions in order. A caption that is not cut is one sentence, of idx -1."""
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
    """On one line, without full stops at the end: as FLAIR, DreamLIP and COSMOS have their sentences, and as
    `output.profile: flair` writes them. A text of full stops alone stays as it is."""
    line = text.strip() if text.isprintable() and "  " not in text else fold(text)  # nearly all are one line already
    return line.rstrip(".").rstrip() or line


def joined_without_stop(chosen: Sequence[Sentence]) -> DrawnText:
    """The sentences joined by ". " with no full stop at the end, as those three join them."""
    return _drawn(". ".join([without_full_stop(sub.text) for _, sub in chosen]), chosen)


def joined(chosen: Sequence[Sentence]) -> DrawnText:
    """The sentences as they are stored, joined by one space; a full stop is added where one would run into the next."""
    *others, (_, last) = chosen
    pieces = [sub.text if ends(sub.text) else sub.text + "." for _, sub in others]
    return _drawn(" ".join([*pieces, last.text]), chosen)


def _drawn(text: str, chosen: Sequence[Sentence]) -> DrawnText:
    parts = tuple([(caption, sub.idx) for caption, sub in chosen])
    return DrawnText(text, parts, min([sub.weight for _, sub in chosen]))


def ends(text: str) -> bool:
    """Whether another sentence may follow the text: it has a mark at its end, closing quotes and brackets aside."""
    return text[-1:] in _ENDS or text.rstrip(_CLOSERS)[-1:] in _ENDS


def pick(n: int, m: int, uniform: Callable[[], float]) -> list[int]:
    """m different ones of range(n) in random order, m <= n; `uniform` gives numbers in [0, 1), and is asked m times."""
    left = list(range(n))
    for at in range(m):
        other = at + int(uniform() * (n - at))
        left[at], left[other] = left[other], left[at]
    return left[:m]


def pick_with_repeats(n: int, m: int, uniform: Callable[[], float]) -> list[int]:
    """m of range(n); where n is less, all of them over and over, then a random rest. `uniform` as in `pick`.

    COSMOS's way to have as few repetitions as there can be (ExplainableML/cosmos, src/training/data.py,
    random_sample_from_list).
    """
    return pick(n, m, uniform) if m <= n else list(range(n)) * (m // n) + pick(n, m % n, uniform)


def uniforms(rng: np.random.Generator, most: int) -> Callable[[], float]:
    """Gives up to `most` numbers in [0, 1), drawn in one call: a call for each would take most of a policy's time."""
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


def picklable(make: Callable[_P, Policy]) -> Callable[_P, Policy]:
    """Lets DataLoader start workers by spawn or forkserver, the default from Python 3.14 on."""

    @wraps(make)
    def made(*args: _P.args, **kwargs: _P.kwargs) -> Policy:
        return _PicklablePolicy(make(*args, **kwargs), made, args, kwargs)

    return made


class _PicklablePolicy:
    __slots__ = ("_args", "_draw", "_kwargs", "_make")

    def __init__(
        self, draw: Policy, make: Callable[..., Policy], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._draw, self._make, self._args, self._kwargs = draw, make, args, kwargs

    def __call__(self, record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        return self._draw(record, rng, step)

    def __repr__(self) -> str:
        given = [repr(arg) for arg in self._args] + [f"{name}={value!r}" for name, value in self._kwargs.items()]
        return f"{self._make.__name__}({', '.join(given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self._make, self._args, dict(self._kwargs))


def _unpickle(make: Callable[..., Policy], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:
    return make(*args, **kwargs)
