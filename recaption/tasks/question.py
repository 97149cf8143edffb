"""One configured question, and the identity of its answers: what is sent to a model, as a hash."""

from __future__ import annotations

from dataclasses import dataclass

from recaption.config import Retry
from recaption.errors import RequestError
from recaption.prompt import Prompt
from recaption.text import sha256 as text_sha256
from recaption.types import Answer, Generation, Image, Reject

Identity = tuple[str, str, str]
DEFAULT_RETRY = Retry()  # as it always was


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A generation with all that is needed to put it to an engine; travels to the actors."""

    generation: Generation
    prompt: Prompt | None  # None: from_column from `generation.column`
    attempts: int
    retry: Retry = DEFAULT_RETRY
    dedupe: bool = True  # equal images under equal prompts of a shard are asked once

    @property
    def id(self) -> str:
        return self.generation.id

    def identity(self, image: Image | Answer | Reject, prompt_sha256: str) -> Identity:
        """What an answer is found by: the image's and the filled-in prompt's sha256, and without dedupe its key."""
        return image.sha256, prompt_sha256, "" if self.dedupe else image.key

    @property
    def folder(self) -> str:
        """Where its answers lie, under `answers/` and `rejects/`."""
        return f"{self.generation.id}-{self.generation.fingerprint}"

    @property
    def source(self) -> str:
        """`source` of the captions made from its answers."""
        asked = self.prompt.id if self.prompt else self.generation.column
        return f"{self.generation.model}:{asked}"


def prompt_sha256(question: Question, image: Image) -> str:
    """sha256 of the question as it is put for the image, or of what stands for it."""
    if question.prompt is None:
        assert question.generation.column is not None
        return column_sha256(image, question.generation.column)
    try:
        return request_sha256(image, question.prompt.fill_in(image.columns))
    except RequestError:
        return unfilled_sha256(question.prompt, image)


def request_sha256(image: Image, prompt: str) -> str:
    """sha256 of what is asked about an image: the filled-in prompt and, where the image is turned, its orientation.

    Of all other images it is the prompt's, as before orientations were known: their answers stay.
    """
    return text_sha256(prompt if image.orientation is None else f"{prompt}\0orientation {image.orientation}")


def unfilled_sha256(prompt: Prompt, image: Image) -> str:
    """In place of a filled-in prompt where there is none: of the prompt and of the columns that did not fit it."""
    values = {name: image.columns.get(name) for name in sorted(prompt.columns)}
    return text_sha256(f"{prompt.sha256}:{values!r}")


def column_sha256(image: Image, column: str) -> str:
    """sha256 of the column's name and value, in place of a prompt's: equal images may have different captions."""
    value = image.columns.get(column)
    return text_sha256(f"column:{column}:{value!r}")
