"""The stored texts that make up a drawn text, and the rest of it when sentences at its end are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from recaption.load.policy.drawn import WHOLE, Drawn, Sentence, joined, joined_bare
from recaption.tokenids import LOSES_STOP, TAKES_STOP, Piece
from recaption.types import Record


def numbered(record: Record) -> list[int]:
    """The number of each caption's first text among those that have ids (recaption.tokenids.texts_of), and behind them
    how many there are."""
    return [0, *accumulate(len(caption.sub_captions) or 1 for caption in record.captions)]


def compose(record: Record, drawn: Drawn, first: Sequence[int]) -> list[Piece] | None:
    """The stored texts which give the drawn text when joined by single spaces. `first` is `numbered(record)`. A whole
    caption consists of all its sub-captions.

    None if the text is not such a join, so it has to be tokenised. Compares the text itself, so that even a policy that
    changes its sentences never gets the ids of another text.
    """
    captions, said = record.captions, drawn.text
    parts: Sequence[tuple[int, int]] = drawn.parts
    if len(parts) == 1 and parts[0][1] == WHOLE:
        n = parts[0][0]
        parts = [(n, idx) for idx in range(len(captions[n].sub_captions))] or parts
    made: list[Piece] = []
    at = 0
    for n, idx in parts:
        subs = captions[n].sub_captions
        if 0 <= idx < len(subs):
            number, text = first[n] + idx, subs[idx].text
        elif idx == WHOLE and not subs:
            number, text = first[n], captions[n].text
        else:
            return None
        if made:
            if not said.startswith(" ", at):
                return None
            at += 1
        change = 0
        if said.startswith(text, at):
            at += len(text)
            if said.startswith(".", at):
                change = TAKES_STOP
                at += 1
        elif text[-1:] == "." and said.startswith(text[:-1], at):
            change = LOSES_STOP
            at += len(text) - 1
        else:
            return None
        made.append((number, change))
    return made if made and at == len(said) else None


def shorter(record: Record, drawn: Drawn) -> Iterator[Drawn]:
    """The text without its last sentence, without its last two, … down to the first alone. Nothing if it is one
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
