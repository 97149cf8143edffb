"""An engine that gives usable answers to the prompts of the shipped text tasks: a pure function of (image, prompt)."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from typing import Any

from recaption.engine.base import Completion, EngineSpec, Logprobs, Rendered, Request

CHINESE = "一只红色的杯子放在木桌上。旁边有一只狗！"


class TaskEngine:
    """`asked` has the prompt, and whether there was an image, of every request to any instance."""

    accepts = frozenset({"image", "text"})
    outputs = frozenset({"text", "choices", "json_schema", "logprobs", "likelihood", "scores"})
    asked: list[tuple[str, bool]] = []  # noqa: RUF012 - cleared by the tests

    def __init__(self, spec: EngineSpec | None = None) -> None:
        self.capacity = 8

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.asked.append((work.prompt, work.image is not None))
        await asyncio.sleep(0.001)
        number = zlib.crc32((work.sha256 + work.prompt).encode())
        more: dict[str, Any] = {}
        if work.output.scores:
            more["scores"] = (number % 1000 / 1000, 1.0)
        if work.output.likelihood:
            sizes = [len(word.encode()) for word in re.findall(r"\s*\S+", work.statement)]
            more["logprobs"] = Logprobs(tokens=tuple(-float(size) for size in sizes), nbytes=tuple(sizes))
        text = "" if more else _answer(work.prompt, number)
        return Completion(text=text, finish_reason="stop", prompt_tokens=9, output_tokens=9, **more)

    async def stop(self) -> None:
        return None

    def gauge(self) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "tasks"}


def _answer(prompt: str, number: int) -> str:
    if "Translate this" in prompt:
        return CHINESE
    if "each of these aspects" in prompt:
        return json.dumps({"look": "The cup is red.", "kind": ["kite"] if number % 2 else ["[none]"]})
    if found := re.search(r"what (.+) looks like in a photo", prompt):
        if found[1] == "nothing":  # a class that the model knows nothing about
            return json.dumps(["I do not know."] * 4)
        parts = ("wings", "tail", "head", "feet")
        return json.dumps([f"The {part} of a {found[1]} with {n} marks." for n, part in enumerate(parts)])
    if "Sentences without content" in prompt:  # of each caption, the last sentence; it does not see repetitions
        sentences = re.findall(r"^(\d+): (.+)$", prompt, re.MULTILINE)
        return json.dumps({"empty": [int(n) for n, text in sentences if "dog" in text], "repeats": []})
    if "List what this image shows" in prompt:
        return json.dumps(["cup", "table", "cup"])
    return f"A red cup, number {number}, stands on a table. A dog sits on the left."
