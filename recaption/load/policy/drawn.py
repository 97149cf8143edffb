"""The types of a sampling policy and of a drawn text, and functions that join sentences to texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from recaption.errors import DatasetError
from recaption.text import fold
from recaption.types import Record, SubCaption

Sentence = tuple[int, SubCaption]
"""A sub-caption and the position of its caption in `record.captions`."""

WHOLE = -1
"""In place of a sub-caption's idx: the text of the caption itself."""

_NOTHING = " .\t\n"  # the characters of a sentence without content, except for rarer white space
_ENDS = frozenset(".!?…:;,。！？：；，、।")
_CLOSERS = "\"')]}”’»"


class Drawn(NamedTuple):
    """A text to train on, and its origin."""

    text: str
    parts: tuple[tuple[int, int], ...]  # (caption, idx of the sub-caption; -1: the whole caption), in joined order
    weight: float = 1.0  # the least of its parts; 1 for whole captions

    @property
    def caption(self) -> int:
        """Position in `record.captions`; -1 if the parts are from several captions."""
        captions = {caption for caption, _ in self.parts} if len(self.parts) != 1 else self.parts[0][:1]
        return next(iter(captions)) if len(captions) == 1 else -1


Policy = Callable[[Record, np.random.Generator, int], list[Drawn]]
"""(record, generator, global step) -> the K texts of this record in this step.

The generator is the only source of randomness: equal generators give equal texts. The step is for curricula; most
policies ignore it. Any function of this form is a policy. It must return the same number of texts for every record.
"""


def usable(record: Record) -> list[int]:
    """Positions of the captions that are not blank. Raises DatasetError if there are none."""
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


def whole(record: Record, caption: int) -> Drawn:
    """The caption as it is stored."""
    return Drawn(text=record.captions[caption].text, parts=((caption, WHOLE),))


def bare(text: str) -> str:
    """On one line, without full stops at the end: as FLAIR, DreamLIP and COSMOS have their sentences, and as
    `output.profile: flair` writes them. A text of full stops alone stays as it is."""
    line = text.strip() if text.isprintable() and "  " not in text else fold(text)  # nearly all are one line already
    return line.rstrip(".").rstrip() or line


def joined_bare(chosen: Sequence[Sentence]) -> Drawn:
    """The sentences joined by ". " with no full stop at the end, as those three join them."""
    return _drawn(". ".join([bare(sub.text) for _, sub in chosen]), chosen)


def joined(chosen: Sequence[Sentence]) -> Drawn:
    """The stored sentences, joined by one space. A sentence without an end mark gets a full stop, except the last."""
    *others, (_, last) = chosen
    pieces = [sub.text if ends(sub.text) else sub.text + "." for _, sub in others]
    return _drawn(" ".join([*pieces, last.text]), chosen)


def _drawn(text: str, chosen: Sequence[Sentence]) -> Drawn:
    parts = tuple([(caption, sub.idx) for caption, sub in chosen])
    return Drawn(text, parts, min([sub.weight for _, sub in chosen]))


def ends(text: str) -> bool:
    """Whether another sentence may follow the text: it has a mark at its end, closing quotes and brackets aside."""
    return text[-1:] in _ENDS or text.rstrip(_CLOSERS)[-1:] in _ENDS


def pick(n: int, m: int, chance: Callable[[], float]) -> list[int]:
    """m different numbers of range(n) in random order, m <= n. `chance` is called m times for numbers in [0, 1)."""
    left = list(range(n))
    for at in range(m):
        other = at + int(chance() * (n - at))
        left[at], left[other] = left[other], left[at]
    return left[:m]


def tiled(n: int, m: int, chance: Callable[[], float]) -> list[int]:
    """m numbers of range(n). If n < m, all numbers are repeated, followed by a random remainder. `chance` as in `pick`.

    COSMOS minimises repetitions in this way (ExplainableML/cosmos, src/training/data.py, random_sample_from_list).
    """
    return pick(n, m, chance) if m <= n else list(range(n)) * (m // n) + pick(n, m % n, chance)


def chances(rng: np.random.Generator, most: int) -> Callable[[], float]:
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
