"""recaption.engine.micro_batch: how requests become batches, on an engine without a model.

Life cycle, errors of a device, and the gauge are tested on a real model in test_transformers.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from recaption.engine import Completion, EngineSpec, Request
from recaption.engine.micro_batch import Job, MicroBatchEngine
from recaption.errors import RequestError
from recaption.types import Sampling

pytest.importorskip("torch")


class Echo(MicroBatchEngine):
    """Answers with the prompt. `sizes` are those of the batches that it was given."""

    name = "echo"

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self.batches: list[list[str]] = []

    def _load(self) -> None:
        self._tokenizer = SimpleNamespace(all_special_tokens=["<end>"])
        self.accepts = frozenset({"text"})

    def _check(self, request: Request) -> None:
        if request.prompt == "refused":
            raise RequestError("refused")

    def _kind(self, job: Job) -> str:
        return job.request.prompt[0]

    def _batch(self, jobs: Sequence[Job]) -> list[Completion]:
        prompts = [job.request.prompt for job in jobs]
        self.batches.append(prompts)
        if "a-broken" in prompts:
            raise ValueError("broken")
        return [Completion(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=1) for text in prompts]


def ask(*requests: Request) -> tuple[list[Any], list[list[str]]]:
    async def run() -> tuple[list[Any], list[list[str]]]:
        engine = Echo(EngineSpec(engine="echo", model="m", engine_args=(("batch_size", 3), ("wait_ms", 50))))
        await engine.start()
        try:
            found = await asyncio.gather(*(engine.generate(request) for request in requests), return_exceptions=True)
            return list(found), engine.batches
        finally:
            await engine.stop()

    return asyncio.run(run())


def text(prompt: str) -> Request:
    return Request(prompt=prompt, sampling=Sampling(max_tokens=1))


def test_a_batch_has_requests_of_one_kind_in_the_order_they_came() -> None:
    prompts = ["a1", "b1", "a2", "a3", "b2", "a4", "a5"]
    found, batches = ask(*map(text, prompts))
    assert [answer.text for answer in found] == prompts
    assert batches == [["a1", "a2", "a3"], ["b1", "b2"], ["a4", "a5"]]


def test_a_batch_that_fails_is_answered_one_by_one() -> None:
    found, batches = ask(text("a1"), text("a-broken"), text("a2"))
    assert batches == [["a1", "a-broken", "a2"], ["a1"], ["a-broken"], ["a2"]]
    assert [getattr(answer, "text", None) for answer in found] == ["a1", None, "a2"]
    assert isinstance(found[1], RequestError) and "ValueError: broken" in str(found[1])


def test_a_request_that_is_refused_reaches_no_batch() -> None:
    with_image = Request(prompt="a", sampling=Sampling(max_tokens=1), image=b"<html>", sha256="1")
    found, batches = ask(text("refused"), text("a <end>"), with_image, text("a1"))
    assert batches == [["a1"]]
    assert [type(answer) for answer in found] == [RequestError, RequestError, RequestError, Completion]
    assert "takes no images" in str(found[2])
