"""JSON of a schema from the real vLLM with a random model: it always fits, unless the answer was cut off."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recaption.engine import EngineSpec, build
from recaption.engine.capabilities import check_capable
from recaption.engine.completion import complete
from recaption.generate.retry import answer_with_retries, first_attempt
from recaption.tasks.base import NoSettings, Parsed, Task, Unit
from recaption.tasks.output import Output, value_of
from recaption.tasks.question import Question, UnitRequest
from recaption.types import Answer, Completion, Generation, Image, Locator, Reason, Reject, Sampling

pytest.importorskip("vllm", reason="vllm is not installed")
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("default")]

IMAGE = Image(key="k", source_key="k", shard="s", row=0, sha256="a" * 64, locator=Locator(path="p", size=1))
# Without minLength and maxLength: a random model writes lone surrogates, which a grammar counts as one character and
# a text has as three.
SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "bbox_2d": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 1000},
                "minItems": 4,
                "maxItems": 4,
            },
            "label": {"type": "string", "pattern": "^[A-Za-z ]{1,12}$"},
        },
        "required": ["bbox_2d", "label"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"enum": ["cat", "dog", "caf\u00e9 \U0001f600", 3, None]}, "minItems": 1, "maxItems": 6},
    {
        "type": "object",
        "properties": {
            "present": {"type": "boolean"},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "of": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-z]{1,8}$"}]},
        },
        "required": ["present", "score", "of"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"first": {"type": "string", "pattern": "^[a-z ]{0,80}$"}, "rest": {"type": "string"}},
        "required": ["first", "rest"],
        "additionalProperties": False,
    },
)


class JsonTask(Task):
    """A task whose answers are JSON of `schema`. One that was cut off is asked again."""

    needs = frozenset({"text"})
    schema: dict[str, Any]

    def output(self, unit: Unit | None) -> Output:
        return Output(json_schema=json.dumps(self.schema).encode())

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        try:
            return Parsed(finish="stop", value=value_of(self.output(unit), completion.text))
        except ValueError:
            reason: Reason | None = "truncated_answer" if completion.finish_reason != "stop" else None
            return Parsed(finish="invalid", reason=reason, detail=completion.finish_reason)


def units(number: int) -> list[UnitRequest]:
    made = []
    for at in range(number):
        task = JsonTask(NoSettings())
        task.schema = SCHEMAS[at % len(SCHEMAS)]
        sampling = Sampling(max_tokens=96, temperature=1.0, seed=at)
        generation = Generation(id="json", model="m", granularity=None, fingerprint="f", sampling=sampling)
        question = Question(generation=generation, prompt=None, attempts=2, task=task)
        prompt = f"Tell me about number {at}."
        made.append(UnitRequest(question=question, image=IMAGE, prompt=prompt, prompt_sha256=str(at)))
    return made


def answered(spec: EngineSpec, requests: Sequence[UnitRequest]) -> list[Answer | Reject]:
    async def run() -> list[Answer | Reject]:
        engine = build(spec)
        await engine.start()
        try:
            answers = (
                answer_with_retries(request, first_attempt(request, b""), lambda sent: complete(engine, sent))
                for request in requests
            )
            return list(await asyncio.gather(*answers))
        finally:
            await engine.stop()

    return asyncio.run(run())


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.soak)])
def test_no_answer_that_was_not_cut_off_is_invalid(tiny_text: Path, count: int) -> None:
    outputs = tuple(Output(json_schema=json.dumps(schema).encode()) for schema in SCHEMAS)
    spec = EngineSpec(
        engine="vllm",
        model=str(tiny_text),
        dtype="float32",
        max_model_len=512,
        engine_args=(("max_num_seqs", 64),),
        needs=frozenset({"text"}),
        outputs=outputs,
    )
    check_capable(spec)
    found = answered(spec, units(count))
    kinds = Counter[str]()
    for item, request in zip(found, units(count), strict=True):
        if isinstance(item, Answer):
            assert item.value is not None
            assert value_of(request.question.output, item.text) == json.loads(item.value)
            kinds["answers"] += 1
            kinds["retried"] += len(item.attempts) > 1
            cut = item.attempts[:-1]
        else:
            assert (item.reason, item.attempts) == ("truncated_answer", 2)
            kinds["rejects"] += 1
            cut = ()
        # The only reason for another attempt is that the one before was cut off, by its length or as a loop.
        assert {attempt.detail for attempt in cut} <= {"length", "repetition"}
    assert kinds["answers"] + kinds["rejects"] == count
    assert kinds["answers"] >= 0.75 * count and kinds["retried"] + kinds["rejects"] > 0
