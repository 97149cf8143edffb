"""Maps generations to the texts that a trainer reads, and makes FLAIR's seven sentence lists.

FLAIR (ExplainableML/flair, src/flair/data.py, sample_dict) merges seven lists into one pool and draws sentences from
it. It joins sentences with ". ", so entries have no full stop at the end. If one of the lists is missing, null or a
string, the training fails; if all seven are strings, it trains on single characters. With an empty pool, the training
fails, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from recaption.errors import UserError
from recaption.text import fold
from recaption.types import Caption, FlairList

Fill = Literal["empty", "repeat"]
"""How to fill a list without a generation: leave it empty, or repeat the generations of its granularity."""

FLAIR_KINDS: Final[Mapping[str, str]] = {
    name: next(kind for kind in ("raw", "short", "long") if name.startswith(kind)) for name in get_args(FlairList)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FlairProfile:
    """The generation that fills each list; None for an empty list."""

    sources: Mapping[str, str | None]

    def lists(self, captions: Sequence[Caption]) -> dict[str, list[str]]:
        """The seven lists of an image with these captions: never null, and never all empty."""
        subs = {c.generation: [sub.text for sub in c.sub_captions] for c in reversed(captions)}  # first captions
        return self.lists_of(subs, captions[0].text if captions else "")

    def lists_of(self, sub_captions: Mapping[str, Sequence[str]], first: str) -> dict[str, list[str]]:
        """As `lists`, from the sub-captions' texts by generation and the first caption's text."""
        cut = {generation: sentences(texts) for generation, texts in sub_captions.items()}
        made = {name: cut.get(generation, []) if generation else [] for name, generation in self.sources.items()}
        if first and not any(made.values()):
            made["raw_caption"] = [fold(first)]
        return made


def sentences(sub_captions: Sequence[str]) -> list[str]:
    """The texts, each on one line and without the full stop at the end; empty ones are left out."""
    bare = (fold(text).rstrip(".").rstrip() for text in sub_captions)
    return [text for text in bare if text]


def flair_profile(kinds: Mapping[str, str], given: Mapping[str, str], fill: Fill = "empty") -> FlairProfile:
    """The profile of a dataset with generations of these granularities; see `places`."""
    return FlairProfile(sources=places(FLAIR_KINDS, kinds, given, fill))


def places(
    wanted: Mapping[str, str], kinds: Mapping[str, str], given: Mapping[str, str], fill: Fill
) -> dict[str, str | None]:
    """The generation for each text of a trainer, by the text's name.

    `wanted` has the granularity of each name, `kinds` that of each generation, in pipeline order. If `given` is not
    empty, it is the whole map. Otherwise raw fills raw, and generations fill the names of their granularity in order.
    Remaining names get None or, with fill repeat, the same generations again.
    Raises UserError for an unknown name or generation.
    """
    known = {"raw": "raw", **kinds}
    for name, generation in given.items():
        if name not in wanted:
            raise UserError(f"map {name}={generation}: unknown name {name!r}; allowed: {', '.join(wanted)}")
        if generation not in known:
            raise UserError(f"map {name}={generation}: unknown generation {generation!r}; allowed: {', '.join(known)}")
    made: dict[str, str | None] = {name: given.get(name) for name in wanted}
    for kind in dict.fromkeys(wanted.values()):
        names = [name for name, of in wanted.items() if of == kind]
        if given:
            generations = list(dict.fromkeys(given[name] for name in names if name in given))
        else:
            generations = [generation for generation, of in known.items() if of == kind]
            made |= dict(zip(names, generations, strict=False))
        if fill == "repeat" and generations:
            empty = [name for name in names if made[name] is None]
            made |= {name: generations[n % len(generations)] for n, name in enumerate(empty)}
    return made
