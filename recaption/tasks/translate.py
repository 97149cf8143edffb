"""Task `translate`: captions in another language, by a text model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from recaption.language import LANGUAGES, guess_language, in_language
from recaption.section import Section
from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, Task, Unit, UnitAnswer, value_in
from recaption.tasks.caption import captions_by_unit, reworded
from recaption.tasks.cleaning import published
from recaption.tasks.faults import parse_whole
from recaption.tasks.wording import words_of
from recaption.types import Caption, Completion, Generation, Image

_LONGEST = 5  # times the characters of the caption
_PREFACE = re.compile(
    r"(?:sure|certainly|of course|here(?: is|['’]s)|(?:the |this )?(?:\w+ )?translation\b).{0,80}?(?::|\n)",
    re.IGNORECASE | re.DOTALL,
)


def _known(lang: str) -> str:
    if lang not in LANGUAGES:
        raise ValueError(f"language {lang!r} cannot be checked; allowed: {', '.join(LANGUAGES)}")
    return lang


class TranslateSettings(Section):
    """The language of the translations, and the captions that are translated."""

    lang: Annotated[str, AfterValidator(_known)] = Field(description="Language of the translations, as a BCP 47 tag")
    raw: bool = Field(False, description="Translate the raw captions of the source; must not have over")


class TranslateTask(Task):
    """One request for each caption. The value has the `text` of its translation.

    An answer in another language, or with a preface, is invalid. The language is checked by its script and function
    words (`recaption.language`). The meaning is not checked.
    """

    settings = TranslateSettings
    needs = frozenset({"text"})
    prompt = "translate"
    variables = frozenset({"caption", "language"})
    reads = frozenset({CAPTIONS})
    makes_captions = True
    keeps_granularity = True
    options: TranslateSettings

    def __init__(self, options: TranslateSettings) -> None:
        super().__init__(options)
        if options.raw:
            self.reads = frozenset()

    def identity(self) -> Mapping[str, Any]:
        """`raw` only decides which requests are sent."""
        return {"lang": self.options.lang}

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        language = LANGUAGES[self.options.lang][0]
        captions = captions_by_unit(image, inputs, raw=self.options.raw)
        return [Unit(id=id, variables={"caption": c.text, "language": language}) for id, c in captions.items()]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda answer: self._parsed(answer, unit.variables["caption"]))

    def _parsed(self, answer: str, caption: str) -> Parsed:
        text = published(answer).text
        if not text:
            return Parsed(finish="empty")
        if _PREFACE.match(text):
            raise ValueError(f"the answer begins with a preface: {text[:100]!r}")
        if not in_language(text, self.options.lang):
            raise ValueError(f"the answer is not in {LANGUAGES[self.options.lang][0]}: {text[:100]!r}")
        if words_of(text) == words_of(caption) and guess_language(caption) != LANGUAGES[self.options.lang][1]:
            raise ValueError(f"the answer repeats the caption: {text[:100]!r}")
        if len(text) > _LONGEST * len(caption) + 100:
            raise ValueError(f"the answer has {len(text)} characters, and the caption {len(caption)}")
        return Parsed(finish="stop", value={"text": text})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        captions, made = captions_by_unit(image, inputs, raw=self.options.raw), list[Caption]()
        for found in answers:
            if found.answer is not None and (caption := captions.get(found.unit.id)) is not None:
                new = reworded(caption, generation, image.key, len(made), value_in(found.answer)["text"])
                new = replace(new, finish_reason="stop", lang=self.options.lang, translated_from=caption.caption_id)
                made.append(replace(new, granularity=generation.granularity or "long") if self.options.raw else new)
        return Rows(captions=tuple(made))
