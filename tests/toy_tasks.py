"""Tasks of a few lines, their questions, and answers to them in a store: for tests of the frame around tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pyarrow as pa

from recaption.io.store import Store
from recaption.output.answers import put_part
from recaption.prompt import Prompt
from recaption.schema import column
from recaption.tasks.base import Inputs, NoSettings, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.question import Question, UnitRequest
from recaption.text import sha256
from recaption.types import Answer, Completion, Generation, Image, Reject, Sampling

_numbers = itertools.count()


def spec(name: str, *columns: str) -> TableSpec:
    fields = [column(each, pa.string(), each) for each in columns]
    return TableSpec(name=name, columns=pa.schema(fields), parent="image", description=name)


class Words(Task):
    """The words of an answer. `rows` fails on the answer "broken"."""

    tables: ClassVar = {"words": spec("words", "word")}

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return Parsed(finish="stop", value=completion.text.split())

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        words = [word for found in answers if found.answer for word in value_in(found.answer)]
        if words == ["broken"]:
            raise ValueError("a broken answer")
        return Rows(tables={"words": [{"word": word} for word in words]})


class EachWord(Task):
    """One request for each word. `units` fails on the word "bomb"."""

    reads = frozenset({"words"})
    variables = frozenset({"word"})
    tables: ClassVar = {"checks": spec("checks", "word", "verdict")}

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        words = [(id, n, row["word"]) for id, above in inputs.items() for n, row in enumerate(above.tables["words"])]
        if any(word == "bomb" for _, _, word in words):
            raise ValueError("a bomb")
        return [Unit(id=f"{id}#{n}", variables={"word": word}) for id, n, word in words]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return Parsed(finish="stop", value=completion.text)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        found = [(a.unit.variables["word"], value_in(a.answer)) for a in answers if a.answer is not None]
        return Rows(tables={"checks": [{"word": word, "verdict": verdict} for word, verdict in found]})


class Again(EachWord):
    """One request for each row of `checks`, so that it reads what `EachWord` makes."""

    reads = frozenset({"checks"})
    tables: ClassVar = {"agains": spec("agains", "word", "verdict")}

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        rows = [(id, n, row["word"]) for id, above in inputs.items() for n, row in enumerate(above.tables["checks"])]
        return [Unit(id=f"{id}#{n}", variables={"word": word}) for id, n, word in rows]


class Sides(Words):
    """Two requests about an image; it reads no other generation."""

    variables = frozenset({"side"})

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(id=side, variables={"side": side}) for side in ("left", "right")]


def prompt(template: str, id: str = "p") -> Prompt:
    return Prompt(
        id=id, version=1, granularity=None, stop=(), template=template, sha256=sha256(template), path=Path(f"{id}.md")
    )


def question(task: type[Task], id: str, template: str, *over: Question, **changes: Any) -> Question:
    generation = Generation(
        id=id,
        model="m",
        granularity=None,
        fingerprint=changes.pop("fingerprint", id * 2),
        prompt="p",
        sampling=Sampling(max_tokens=8),
        task=f"{task.__module__}:{task.__name__}",
        over=tuple(other.id for other in over),
    )
    made = {"attempts": 1, "task": task(NoSettings())} | changes
    return Question(generation=generation, prompt=prompt(template), over=over, **made)


def words(**changes: Any) -> Question:
    return question(Words, "words", "List words.", **changes)


def check(*over: Question, id: str = "check", **changes: Any) -> Question:
    return question(EachWord, id, "Is {{ word }} there?", *over, **changes)


def answer(request: UnitRequest, text: str) -> Answer:
    """The answer to a request, parsed by its task."""
    completion = Completion(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=1)
    value = request.question.task.parse(request.unit, completion).value
    return Answer(
        key=request.image.key,
        sha256=request.image.sha256,
        row=request.image.row,
        text=text,
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=1,
        prompt_sha256=request.prompt_sha256,
        unit=request.unit.id or None,
        value=None if value is None else orjson.dumps(value).decode(),
    )


def reject(request: UnitRequest, reason: Any = "refusal") -> Reject:
    return Reject.of(
        request.image,
        stage="generate",
        generation=request.question.id,
        reason=reason,
        detail="",
        attempts=1,
        prompt_sha256=request.prompt_sha256,
        unit=request.unit.id or None,
    )


def put(store: Store, question: Question, *items: Answer | Reject, shard: str = "s", epoch: int = 1) -> None:
    """Store the items as one part, of a run with this epoch."""
    name = f"000000.{epoch:06d}-{next(_numbers):04d}-0_0"
    answers, rejects = of_kind(items, Answer), of_kind(items, Reject)
    assert put_part(store, question, shard, name, answers, rejects) == []


def of_kind(items: Iterable[Any], kind: type) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]
