"""A configured question, the requests that it makes about an image, and the identity of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from recaption.config import Retry
from recaption.errors import RequestError
from recaption.prompt import Prompt
from recaption.text import sha256
from recaption.types import Answer, Generation, Image, Reject

Identity = tuple[str, str, str]
DEFAULT_RETRY = Retry()  # not part of a fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A generation with its prompt and retry settings. It is pickled and sent to the actors."""

    generation: Generation
    prompt: Prompt | None  # None: the answers are in the source column `generation.column`
    attempts: int
    retry: Retry = DEFAULT_RETRY
    dedupe: bool = True  # equal images of a shard with equal prompts share one answer

    @property
    def id(self) -> str:
        return self.generation.id

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
    """One request of a question about an image, before its first attempt. See `requests`.

    `prompt_sha256` is stored with the answer. It is the hash of the filled-in prompt and, for a rotated image,
    its orientation. Without a prompt, it is the hash of the columns that determine the answer or the error.
    """

    question: Question
    image: Image
    prompt: str | None  # filled in; None: the answer is in a column, or see `error`
    prompt_sha256: str
    error: str | None = None  # why the prompt cannot be filled in

    @property
    def identity(self) -> Identity:
        return self.question.identity(self.image, self.prompt_sha256)

    def earlier_identity(self) -> Identity | None:
        """The identity of the request in earlier versions (`Prompt.fill_in_as_before`). None if it is the same."""
        prompt = self.question.prompt
        text = None if prompt is None else prompt.fill_in_as_before(self.image.columns, self.prompt)
        return None if text is None else self.question.identity(self.image, _prompt_sha256(self.image, text))


def requests(question: Question, image: Image) -> list[UnitRequest]:
    """The requests of a question about an image: one, about the whole image.

    Prompts are filled in here only. Never raises: `UnitRequest.error` has the reason if a prompt cannot be filled in.
    """
    prompt, columns = question.prompt, image.columns
    if prompt is None:
        # Equal images may have different captions, so the value is part of the identity.
        name = question.generation.column
        assert name is not None
        digest = sha256(f"column:{name}:{columns.get(name)!r}")
        return [UnitRequest(question=question, image=image, prompt=None, prompt_sha256=digest)]
    try:
        text = prompt.fill_in(columns)
    except RequestError as error:
        values = {name: columns.get(name) for name in sorted(prompt.columns)}
        return [
            UnitRequest(
                question=question,
                image=image,
                prompt=None,
                prompt_sha256=sha256(f"{prompt.sha256}:{values!r}"),
                error=str(error),
            )
        ]
    return [UnitRequest(question=question, image=image, prompt=text, prompt_sha256=_prompt_sha256(image, text))]


def requests_about(question: Question, images: Iterable[Image]) -> Iterator[UnitRequest]:
    """The requests of a question about several images, image by image."""
    for image in images:
        yield from requests(question, image)


def _prompt_sha256(image: Image, prompt: str) -> str:
    """The orientation is hashed only if it is set, so that answers of earlier versions stay valid."""
    return sha256(prompt if image.orientation is None else f"{prompt}\0orientation {image.orientation}")
