"""What becomes of a completion."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from recaption.engine.base import Completion, Request
from recaption.errors import EngineDead, ImageError, RequestError
from recaption.generate.plan import Question
from recaption.generate.retry import ask_until_answered
from recaption.prompt import load
from recaption.types import Answer, FinishReason, Generation, Image, Locator, Reject, Sampling

IMAGE = Image(
    key="k", source_key="k", shard="s", row=3, sha256="a" * 64, locator=Locator(path="p", size=1), columns={"a": 1}
)


def question(attempts: int = 3, temperature: float = 0.0) -> Question:
    sampling = Sampling(max_tokens=8, temperature=temperature, seed=5)
    generation = Generation(id="long", model="m", kind="long", fingerprint="f", sampling=sampling)
    return Question(generation=generation, prompt=load("describe_long"), attempts=attempts)


def completion(text: str, finish: FinishReason = "stop") -> Completion:
    return Completion(text=text, finish_reason=finish, prompt_tokens=10, output_tokens=4)


def put(outcomes: Sequence[Completion | Exception], ask: Question) -> tuple[Answer | Reject, list[Request]]:
    requests: list[Request] = []

    async def engine(request: Request) -> Completion:
        requests.append(request)
        outcome = outcomes[len(requests) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return asyncio.run(ask_until_answered(ask, IMAGE, b"jpeg", engine)), requests


def test_an_answer_keeps_what_was_said_and_asked() -> None:
    item, requests = put([completion(" A dog.\n")], question())
    assert isinstance(item, Answer)
    assert (item.text, item.row, item.sha256, item.finish_reason) == (" A dog.\n", 3, "a" * 64, "stop")
    assert item.prompt_sha256 == hashlib.sha256(requests[0].prompt.encode()).hexdigest()
    assert len(item.attempts) == 1


def test_a_truncated_answer_is_kept_as_such() -> None:
    item, _ = put([completion("A dog on a", "length")], question())
    assert isinstance(item, Answer)
    assert item.finish_reason == "length"


def test_an_empty_answer_is_asked_again_under_another_seed_and_temperature() -> None:
    item, requests = put([completion(" \n"), completion("A cat.")], question())
    assert isinstance(item, Answer)
    assert [a.finish_reason for a in item.attempts] == ["empty", "stop"]
    first, second = (request.sampling for request in requests)
    assert first.temperature == 0 and second.temperature > 0
    assert first.seed != second.seed


def test_seeds_are_a_function_of_the_image_and_the_pipeline() -> None:
    _, once = put([completion("x")], question())
    _, twice = put([completion("y")], question())
    assert once[0].sampling == twice[0].sampling


@pytest.mark.parametrize(
    ("outcomes", "reason", "stage", "attempts"),
    [
        ([completion("")] * 3, "empty_answer", "generate", 3),
        ([completion("a a a", "repetition")] * 3, "repetition", "generate", 3),
        ([RequestError("too long")] * 3, "request_error", "generate", 3),
        ([ImageError("truncated", "ends early")], "truncated", "decode", 0),
        ([ImageError("changed", "other bytes")], "changed", "source", 0),
    ],
)
def test_what_cannot_be_answered_becomes_a_typed_reject(
    outcomes: list[Completion | Exception], reason: str, stage: str, attempts: int
) -> None:
    item, requests = put(outcomes, question())
    assert isinstance(item, Reject)
    assert (item.reason, item.stage, item.attempts, item.generation) == (reason, stage, attempts, "long")
    assert item.detail
    assert len(requests) == len(outcomes)


def test_a_dead_engine_is_no_fault_of_the_image() -> None:
    with pytest.raises(EngineDead):
        put([EngineDead("gone")], question())
