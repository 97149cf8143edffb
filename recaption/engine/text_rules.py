"""An engine that answers questions about captions of scenes by rules, for demos of tasks that read text alone.

It replaces a large language model where no embedded model fits: translations (task `translate`), aspects
(`aspects`) and texts about classes (`class_texts`). It reads the shipped prompts of these tasks, and no others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from recaption.demo.foreign_words import translated
from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, RendererSpec, Request
from recaption.errors import RequestError
from recaption.language import LANGUAGES

_CODES: Final = {name: code for code, (name, _) in LANGUAGES.items()}
_LOOKS: Final = (
    "{A} in one bright colour on a plain background.",
    "The outline of {a}, filled with diagonal stripes.",
    "Seen from above, {a} lies flat on wooden boards.",
    "Several copies of {a} stand side by side.",
    "Spots of white cover the whole of {a}.",
    "Nothing but {a}, large and centred, is visible.",
    "A thick border surrounds {a} with an empty inside.",
    "Far up in a corner there is {a}.",
    "Both halves of {a} mirror each other.",
    "Soft grey shades run behind {a}.",
)
"""Sentences about a shape. Apart from its name, no two of them share three words in a row."""


def answer(prompt: str) -> str:
    """The answer to a prompt. Raises RequestError for a prompt without a rule."""
    for pattern, rule in _RULES.items():
        if found := re.search(pattern, prompt, re.DOTALL):
            try:
                return rule(found)
            except (ValueError, KeyError) as error:
                raise RequestError(f"no rule can answer the prompt: {error}") from error
    raise RequestError(f"no rule matches the prompt: {prompt[:100]!r}")


def _translate(found: re.Match[str]) -> str:
    return translated(found["text"], _CODES[found["language"]])


def _class_texts(found: re.Match[str]) -> str:
    name, number = found["name"], int(found["number"])
    if "No sentence contains the name" in found.string:
        name = "figure"
    article = "an" if name[0] in "aeiou" else "a"
    texts = [text.format(a=f"{article} {name}", A=f"{article.title()} {name}") for text in _LOOKS]
    if number > len(texts):
        raise ValueError(f"there are {len(texts)} texts about a class, and {number} are wanted")
    return json.dumps(texts[:number])


def _aspects(found: re.Match[str]) -> str:
    """The listed values that the text contains; for an aspect without listed values, the sentences about objects."""
    text, said = found["text"], dict[str, Any]()
    words = frozenset(re.findall(r"\w+", text.lower()))
    for line in re.finditer(r"^- (\w+): (.*)$", found["aspects"], re.MULTILINE):
        name, rest = line.groups()
        if listed := re.search(r'list of these values: (.*)\. If .* answer \["(.*)"\]', rest):
            values = [value for value in listed[1].split("; ") if value.lower() in words]
            said[name] = values[:5] or [listed[2]]
        else:
            sentences = re.findall(r"[^.]+\.", text)
            kept = [s.strip() for s in sentences if frozenset(re.findall(r"\w+", s)) & _OBJECT_WORDS]
            none = re.search(r'answer "(.*)"\.$', rest)
            said[name] = " ".join(kept[:2]) or (none[1] if none else "[none]")
    return json.dumps(said)


_OBJECT_WORDS: Final = frozenset((*COLOURS, *SHAPES, *FILLS, *SIZES))
_RULES: Final[dict[str, Callable[[re.Match[str]], str]]] = {
    r"^Translate this description of an image into (?P<language>\w+)\..*?\n\n(?P<text>.*)": _translate,
    r"^Write (?P<number>\d+) different sentences that describe what (?P<name>[\w ]+) looks like": _class_texts,
    r"^This text describes an image:\n(?P<text>.*?)\n\nSay what the text states (?P<aspects>.*)": _aspects,
}


class TextRules:
    """See `engine.base.Engine`. The model in the pipeline file has no meaning."""

    accepts: Final = frozenset({"text"})
    outputs: Final = frozenset({"text", "json_schema"})
    capacity = 16

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError("the rules read requests themselves; send them a Request")
        text = answer(work.prompt)
        return Completion(text=text, finish_reason="stop", prompt_tokens=0, output_tokens=len(text.split()))

    async def stop(self) -> None:
        return None

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "recaption.engine.text_rules"}
