"""Task `caption`: a text about the whole image. Tells which completions are usable, and makes captions of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from recaption.scrub import public_text
from recaption.tasks.base import Inputs, Parsed, Rows, Task, Unit, UnitAnswer
from recaption.tasks.cleaning import clean, ends_thought, published
from recaption.text import cut, normalise, trimmed
from recaption.types import Caption, Completion, FinishReason, Generation, Image

_REFUSAL = re.compile(
    r"(?:(?:i['’]m|i am|we['’]re|we are) (?:very |really |so )?(?:sorry|afraid)\b|sorry,? (?:but )?(?:i|we)(?:['’]m)? )"
    r".{0,60}?\b(?:can(?:no|['’])t|unable|not able)\b"
    r"|as an? (?:ai|(?:large )?language model)\b(?!-)"
    r"|(?:unfortunately,? |i apologi[sz]e,? (?:but )?)?"
    r"i(?: can(?:no|['’])t| won['’]t| will not| must decline to|(?: am|['’]m) (?:unable|not able) to) (?:\w+ly )?"
    r"(?:help|assist|describe|provide|comply|identify|process|view|see|do|answer|fulfil|fulfill|generate|create|discuss"
    r"|analy[sz]e|caption|fulfil)\b",
    re.IGNORECASE | re.DOTALL,
)
_CUT_THOUGHT: Final = (
    "the model's thought was cut off before the answer: turn thinking off (chat_template_kwargs), or raise max_tokens"
)
_QUOTED = re.compile(r"([\"'*“_]+)(.*)[\"'*”_]+", re.DOTALL)
_REFUSAL_WORDS = 60  # a longer text that begins like a refusal still holds a description


class CaptionTask(Task):
    """One caption per image, made of the cleaned answer."""

    makes_captions = True

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_text(completion)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        made = (caption_of(generation, image.key, n, found) for n, found in enumerate(answers))
        return Rows(captions=tuple(caption for caption in made if caption is not None))


def caption_of(generation: Generation, key: str, number: int, found: UnitAnswer) -> Caption | None:
    """The caption of an answer; None if there is none, or if nothing visible is left of it."""
    answer = found.answer
    cleaned = None if answer is None else published(answer.text)
    if answer is None or cleaned is None or not cleaned.text:
        return None
    assert generation.granularity is not None
    return Caption(
        caption_id=f"{key}/{generation.id}/{number}",
        generation=generation.id,
        source=f"{generation.model}:{generation.prompt or generation.column}",
        granularity=generation.granularity,
        text=cleaned.text,
        finish_reason="length" if "cut" in cleaned.removed else answer.finish_reason,
        cleaned=cleaned.removed or None,
    )


def raw_captions(image: Image) -> tuple[Caption, ...]:
    """The raw captions of an image, normalised and without signatures of URLs. They are not split yet.

    Those without a visible character, such as a zero-width space alone, are left out.
    """
    texts = [text for raw in image.raw_captions if trimmed(text := cut(normalise(public_text(raw))).rstrip())]
    return tuple(
        Caption(caption_id=f"{image.key}/raw/{n}", generation="raw", source="raw", granularity="raw", text=text)
        for n, text in enumerate(texts)
    )


def captions_by_unit(image: Image, inputs: Inputs, *, raw: bool = False) -> Mapping[str, Caption]:
    """The captions of `inputs`, or with `raw` those of the source, by the id of the unit about each: long/0."""
    found = raw_captions(image) if raw else [caption for each in inputs.values() for caption in each.captions]
    return {caption.caption_id.removeprefix(f"{image.key}/"): caption for caption in found}


def reworded(caption: Caption, generation: Generation, key: str, number: int, text: str) -> Caption:
    """The caption with another text, made by `generation`. It keeps its granularity and is not split yet."""
    return replace(
        caption,
        caption_id=f"{key}/{generation.id}/{number}",
        generation=generation.id,
        source=f"{generation.model}:{generation.prompt}",
        text=text,
        lang=None,
        translated_from=None,
        cleaned=None,
        sub_captions=(),
    )


def classify(completion: Completion) -> FinishReason:
    """The finish reason, but `empty` for a text that cleaning empties and for a thought that was cut off, and `refusal`
    for a refusal.

    The cleaned text only decides this. The model's own text is stored. `completion` has a `FinishReason`.
    """
    text, finish = clean(completion.text).text, cast(FinishReason, completion.finish_reason)
    if not text or is_cut_thought(completion):
        return finish if finish in ("refusal", "error") else "empty"
    if finish in ("stop", "length") and is_refusal(text):
        return "refusal"
    return finish


def parse_text(completion: Completion) -> Parsed:
    """A completion whose text is the answer."""
    return Parsed(finish=classify(completion), detail=_CUT_THOUGHT if is_cut_thought(completion) else None)


def is_cut_thought(completion: Completion) -> bool:
    """Whether the text is a thought that was cut off. Its opening tag is in the prompt, so cleaning cannot see it."""
    return completion.in_thought and completion.finish_reason == "length" and not ends_thought(completion.text)


def is_refusal(text: str) -> bool:
    """Whether a text is short and begins with the words of a refusal.

    A caption may contain such words ("a sign that says: I can't help falling in love") but does not begin with them.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):  # quotes around the whole text; others are quotes from the image
        text = quoted.group(2)
    return len(text.split()) <= _REFUSAL_WORDS and _REFUSAL.match(text) is not None
