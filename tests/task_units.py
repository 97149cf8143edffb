"""Images, captions with sub-captions, completions and answers for tests of tasks. Nothing here needs a tagger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from recaption.tasks.base import Parsed, Task, Unit, UnitAnswer, Upstream
from recaption.types import (
    Answer,
    Caption,
    Completion,
    Generation,
    Image,
    Locator,
    Logprobs,
    SubCaption,
    Tag,
)

IMAGE = Image(key="k", source_key="k", shard="s", row=3, sha256="a" * 64, locator=Locator(path="p", size=1))


def generation(name: str, **changes: Any) -> Generation:
    made = Generation(id=name, model="judge", granularity=None, fingerprint="f", prompt="p")
    return replace(made, **changes)


def tag(lemma: str, kind: Any = "object") -> Tag:
    return Tag(lemma=lemma, text=lemma, char_start=0, char_end=0, kind=kind)


def caption(*sentences: str, name: str = "long", opener: Mapping[int, str] | None = None, **changes: Any) -> Caption:
    """A caption of these sentences. Each has its last word as an object; `opener` has those of some sentences."""
    text, subs = "", list[SubCaption]()
    for idx, sentence in enumerate(sentences):
        start = len(text) + (idx > 0)
        text = f"{text} {sentence}".strip()
        subs.append(
            SubCaption(
                sub_id=f"k/{name}/0#{idx}",
                idx=idx,
                text=sentence,
                char_start=start,
                char_end=len(text),
                n_words=len(sentence.split()),
                content_start=start + len((opener or {}).get(idx, "")),
                tags=(tag(sentence.rstrip(".").split()[-1] if sentence.split() else "x"),),
            )
        )
    made = Caption(
        caption_id=f"k/{name}/0",
        generation=name,
        source="m:p",
        granularity="long",
        text=text,
        finish_reason="stop",
        sub_captions=tuple(subs),
    )
    return replace(made, **changes)


def with_sub(made: Caption, idx: int, **changes: Any) -> Caption:
    """The caption with changes in one sub-caption."""
    subs = [replace(sub, **changes) if sub.idx == idx else sub for sub in made.sub_captions]
    return replace(made, sub_captions=tuple(subs))


def inputs(*captions: Caption) -> dict[str, Upstream]:
    """The inputs of a task that reads these captions: one generation for each."""
    return {
        c.generation: Upstream(generation=generation(c.generation, granularity="long"), answers=(), captions=(c,))
        for c in captions
    }


def completion(text: str = "", finish: str = "stop", choices: Sequence[float] | None = None, **more: Any) -> Completion:
    """`choices` are log-probabilities."""
    logprobs = None if choices is None else Logprobs(tokens=(), nbytes=(), choices=tuple(choices))
    return Completion(text=text, finish_reason=finish, prompt_tokens=1, output_tokens=1, logprobs=logprobs, **more)


def answer(value: Any, text: str = "x") -> Answer:
    return Answer(
        key="k",
        sha256="a" * 64,
        row=3,
        text=text,
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=1,
        prompt_sha256="0" * 64,
        value=orjson.dumps(value).decode(),
    )


def answered(units: Sequence[Unit], values: Sequence[Any]) -> list[UnitAnswer]:
    """The units with these values; None is a reject."""
    return [
        UnitAnswer(unit=unit, answer=None if value is None else answer(value))
        for unit, value in zip(units, values, strict=True)
    ]


def parsed(task: Task, unit: Unit, given: Completion) -> Parsed:
    """`task.parse`, whose value has to survive the answer store."""
    found = task.parse(unit, given)
    assert orjson.loads(orjson.dumps(found.value)) == found.value
    return found
