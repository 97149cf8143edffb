"""A configured question, the requests that it makes about an image, and the identity of their answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from recaption.config import Annotate, Retry
from recaption.errors import RequestError
from recaption.guard import Failed, attempt
from recaption.prompt import Prompt
from recaption.tasks.base import NO_INPUTS, WHOLE_IMAGE, Inputs, Task, Unit
from recaption.tasks.caption import CaptionTask
from recaption.tasks.output import Output
from recaption.text import sha256
from recaption.types import Answer, Generation, Image, Reject

Identity = tuple[str, str, str]
DEFAULT_RETRY = Retry()  # not part of a fingerprint
CAPTION_TASK = CaptionTask(CaptionTask.settings())


def form_of(task: Task, unit: Unit | None, *, logprobs: bool) -> Output:
    """The form of a task's answer about a unit. With `logprobs`, a text has its log-probabilities."""
    output = task.output(unit)
    return replace(output, logprobs=True) if logprobs and output.is_text else output


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A generation with its task, prompt and retry settings. It is pickled and sent to the actors."""

    generation: Generation
    prompt: Prompt | None  # None: the answers are in the source column `generation.column`
    attempts: int
    retry: Retry = DEFAULT_RETRY
    dedupe: bool = True  # equal images of a shard with equal prompts share one answer
    task: Task = CAPTION_TASK
    over: tuple[Question, ...] = ()  # the questions whose answers it reads
    logprobs: bool = False
    annotate: Annotate | None = None  # how captions of `over` are split and tagged; None: it reads none
    twins: tuple[Question, ...] = ()  # questions upstream with the same fingerprint; their answers are reused

    @property
    def id(self) -> str:
        return self.generation.id

    @property
    def output(self) -> Output:
        """The form that the engine has to support: see `Task.output`."""
        return self.output_of(None)

    def output_of(self, unit: Unit | None) -> Output:
        """The form of the answer about a unit, with log-probabilities if the pipeline asks for them."""
        return form_of(self.task, unit, logprobs=self.logprobs)

    @property
    def per_unit(self) -> bool:
        """Whether it makes several requests about an image, or reads other answers: its counts are then in units."""
        return bool(self.over) or type(self.task).units is not Task.units

    def identity(self, image: Image | Answer | Reject, prompt_sha256: str) -> Identity:
        """The key of an answer: sha256 of the image, sha256 of the request, and without dedupe the image's key."""
        return image.sha256, prompt_sha256, "" if self.dedupe else image.key

    @property
    def folder(self) -> str:
        """The name of the folder under `answers/` and `rejects/`."""
        return f"{self.generation.id}-{self.generation.fingerprint}"

    @property
    def source(self) -> str:
        """The `source` of captions from its answers."""
        return f"{self.generation.model}:{self.prompt.id if self.prompt else self.generation.column}"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRequest:
    """One request of a question about a unit of an image, before its first attempt. See `requests`.

    `prompt_sha256` is stored with the answer. It is the hash of the filled-in prompt and, where they are set, of the
    image's orientation, the crop, the form of the answer, the statement and `Unit.embeds`. Without a prompt, it is the
    hash of the columns that determine the answer or the error.
    """

    question: Question
    image: Image
    prompt: str | None  # filled in; None: the answer is in a column, or see `error`
    prompt_sha256: str
    error: str | None = None  # why the prompt cannot be filled in
    unit: Unit = WHOLE_IMAGE

    @property
    def identity(self) -> Identity:
        return self.question.identity(self.image, self.prompt_sha256)

    def earlier_identity(self) -> Identity | None:
        """The identity of the request in earlier versions. None if it is the same.

        They filled in prompts differently (`Prompt.fill_in_as_before`), and had no `Output.special_tokens`.
        """
        prompt = self.question.prompt
        if self.prompt is not None and (output := self.question.task.output(self.unit)).special_tokens:
            before = replace(output, special_tokens=False)
            return self.question.identity(self.image, _prompt_sha256(self.image, self.prompt, self.unit, before))
        if prompt is None or self.unit is not WHOLE_IMAGE:  # there were no units in earlier versions
            return None
        text = prompt.fill_in_as_before(self.image.columns, self.prompt)
        return None if text is None else self.question.identity(self.image, _prompt_sha256(self.image, text))


def requests(question: Question, image: Image, inputs: Inputs = NO_INPUTS) -> list[UnitRequest]:
    """The requests of a question about an image, one for each unit. Requests with equal identities share one answer.

    `inputs` has what the generations of `question.over` have for the image. Prompts are filled in here only. Never
    raises: `UnitRequest.error` has the reason if a prompt cannot be filled in, or if the task fails on the image.
    """
    made = attempt(lambda: [_request(question, image, unit) for unit in question.task.units(image, inputs)])
    if not isinstance(made, Failed):
        return made
    what = f"task {question.generation.task} finds no units"
    # The identity does not include the message, which may differ between processes.
    request = UnitRequest(question=question, image=image, prompt=None, prompt_sha256=sha256(what))
    return [replace(request, error=f"{what}: {made.error}")]


def requests_about(question: Question, images: Iterable[Image]) -> Iterator[UnitRequest]:
    """The requests of a question without `over` about several images, image by image."""
    for image in images:
        yield from requests(question, image)


def _request(question: Question, image: Image, unit: Unit) -> UnitRequest:
    prompt, columns = question.prompt, image.columns
    if unit.variables:
        columns = {**columns, **unit.variables}
    if prompt is None:
        # Equal images may have different captions, so the value is part of the identity.
        name = question.generation.column
        assert name is not None
        digest = sha256(f"column:{name}:{columns.get(name)!r}")
        return UnitRequest(question=question, image=image, prompt=None, prompt_sha256=digest, unit=unit)
    try:
        text = "" if unit.embeds == "image" else prompt.fill_in(columns)
    except RequestError as error:
        values = {name: columns.get(name) for name in sorted(prompt.columns)}
        return UnitRequest(
            question=question,
            image=image,
            prompt=None,
            prompt_sha256=sha256(f"{prompt.sha256}:{values!r}"),
            error=str(error),
            unit=unit,
        )
    digest = _prompt_sha256(image, text, unit, question.task.output(unit))
    return UnitRequest(question=question, image=image, prompt=text, prompt_sha256=digest, unit=unit)


def _prompt_sha256(image: Image, prompt: str, unit: Unit = WHOLE_IMAGE, output: Output | None = None) -> str:
    """What is not set is not hashed, so that answers of earlier versions stay valid."""
    parts = [prompt]
    if image.orientation is not None:
        parts.append(f"orientation {image.orientation}")
    if unit.crop is not None:
        parts.append(f"crop {','.join(f'{edge:.6f}' for edge in unit.crop)}")
    if output is not None and output.choices:
        parts.append(f"choices {orjson.dumps(output.choices).decode()}")
    if output is not None and output.json_schema is not None:
        parts.append(f"json_schema {hashlib.sha256(output.json_schema).hexdigest()}")
    if output is not None and output.likelihood:
        parts.append(f"likelihood {unit.statement}")
    if output is not None and output.special_tokens:
        parts.append("special_tokens")
    if unit.embeds is not None:
        parts.append(f"embed {unit.embeds}")
    return sha256("\0".join(parts))


def closure(questions: Sequence[Question]) -> list[Question]:
    """The questions and all that they read, each once, upstream first."""
    found: dict[str, Question] = {}

    def visit(question: Question) -> None:
        for other in question.over:
            visit(other)
        found.setdefault(question.folder, question)

    for question in questions:
        visit(question)
    return list(found.values())
