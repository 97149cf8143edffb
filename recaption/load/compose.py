"""Which stored texts a drawn text is made of, and what is left of it when sentences at its end are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recaption.load.policy.drawn import WHOLE, Drawn, Sentence, joined, joined_bare
from recaption.types import Record


class Composition(NamedTuple):
    """A text as stored ones joined by one space: `texts` are their numbers among the record's (recaption.tokenids).

    At the positions `stops` of these a full stop was added, at those of `bare` the one at the end was taken away.
    """

    texts: list[int]
    stops: list[int]
    bare: list[int]


def compose(record: Record, drawn: Drawn) -> Composition | None:
    """None where the text is not so made of its parts: it has to be tokenised. Looks at the text itself, so that no
    policy, whatever it does to its sentences, gets the ids of another text."""
    found = _stored(record, drawn)
    if found is None:
        return None
    numbers, pieces = found
    said, at = drawn.text, 0
    stops, bare = [], []
    for n, piece in enumerate(pieces):
        if n:
            if said[at : at + 1] != " ":
                return None
            at += 1
        if said.startswith(piece, at):
            at += len(piece)
            if said[at : at + 1] == ".":
                stops.append(n)
                at += 1
        elif piece.endswith(".") and said.startswith(piece[:-1], at):
            bare.append(n)
            at += len(piece) - 1
        else:
            return None
    return Composition(numbers, stops, bare) if at == len(said) else None


def shorter(record: Record, drawn: Drawn) -> Iterator[Drawn]:
    """The text without its last sentence, without its last two, … down to the first alone. Nothing where it is one
    sentence, or is not made of its sentences in a way that is known here."""
    parts = drawn.parts
    if len(parts) == 1 and parts[0][1] == WHOLE:
        caption = record.captions[parts[0][0]]
        if caption.text == drawn.text:
            for sub in reversed(caption.sub_captions[:-1]):
                yield Drawn(text=caption.text[: sub.char_end], parts=parts, weight=drawn.weight)
        return
    chosen: list[Sentence] = []
    for n, idx in parts:
        if idx == WHOLE or idx >= len(record.captions[n].sub_captions):
            return
        chosen.append((n, record.captions[n].sub_captions[idx]))
    for join in (joined, joined_bare):
        if len(chosen) > 1 and join(chosen).text == drawn.text:
            for size in range(len(chosen) - 1, 0, -1):
                yield join(chosen[:size])
            return


def _stored(record: Record, drawn: Drawn) -> tuple[list[int], list[str]] | None:
    """Numbers and texts of the parts. A whole caption is all of its sub-captions."""
    captions = record.captions
    parts = drawn.parts
    if not parts:
        return None
    first, total = [], 0
    for caption in captions:
        first.append(total)
        total += len(caption.sub_captions) or 1
    if len(parts) == 1 and parts[0][1] == WHOLE and (subs := captions[parts[0][0]].sub_captions):
        start = first[parts[0][0]]
        return list(range(start, start + len(subs))), [sub.text for sub in subs]
    numbers, texts = [], []
    for n, idx in parts:
        subs = captions[n].sub_captions
        if idx == WHOLE and not subs:
            numbers.append(first[n])
            texts.append(captions[n].text)
        elif 0 <= idx < len(subs):
            numbers.append(first[n] + idx)
            texts.append(subs[idx].text)
        else:
            return None
    return numbers, texts
