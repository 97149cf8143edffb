"""What the store has for the units of an image, and what is missing.

A question with `over` reads the answers of other questions. Its units are known once these are answered or rejected.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from recaption.config import Annotate
from recaption.guard import Failed, attempt
from recaption.io.store import Store
from recaption.output.answers import Finished, read_finished, stored_item
from recaption.tasks.base import Inputs, Rows, UnitAnswer, Upstream
from recaption.tasks.question import Identity, Question, UnitRequest, requests
from recaption.types import Answer, Image, Reject

if TYPE_CHECKING:
    from recaption.annotate import Annotator


_ANNOTATING = threading.Lock()  # an Annotator is not thread-safe


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionState:
    """What a question has for an image.

    waiting: an answer of `over` is missing, so the units are not known. skipped: a generation of `over` has rejects and
    no answer, so there is nothing to ask about. units: `items` has each request with its answer or reject; None: it is
    missing.
    """

    question: Question
    status: Literal["waiting", "skipped", "units"]
    items: tuple[tuple[UnitRequest, Answer | Reject | None], ...] = ()
    inputs: Inputs = field(default_factory=dict)
    stored: Finished | None = None  # of the question

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.status == "skipped" or (self.status == "units" and all(item is not None for _, item in self.items))

    @property
    def missing(self) -> list[UnitRequest]:
        """The requests to send: those without an answer or reject, each identity once."""
        first: dict[Identity, UnitRequest] = {}
        for request, item in self.items:
            if item is None:
                first.setdefault(request.identity, request)
        return list(first.values())

    @property
    def found(self) -> list[Answer | Reject]:
        """What is stored of this question, each item once."""
        own = ((r, item) for r, item in self.items if item is not None)
        kept = [item for r, item in own if self.stored is not None and stored_item(self.stored, r) is item]
        return list({id(item): item for item in kept}.values())

    @property
    def answers(self) -> tuple[UnitAnswer, ...]:
        """The units with their answers."""
        return tuple(
            UnitAnswer(unit=request.unit, answer=item if isinstance(item, Answer) else None)
            for request, item in self.items
        )

    @property
    def has_answer(self) -> bool:
        return any(isinstance(item, Answer) for _, item in self.items)


class ShardAnswers:
    """The answers and rejects of a shard. The files of a question are read when it is first needed."""

    def __init__(
        self,
        store: Store,
        shard: str,
        retry_reasons: frozenset[str] = frozenset(),
        epoch: int | None = None,
        *,
        final: bool = False,
    ) -> None:
        """`retry_reasons` and `epoch`: see `answers.finished`. `final`: nothing more will be asked, so no question is
        waiting, and units are made from the existing answers."""
        self._store, self._shard, self._retry_reasons, self._epoch = store, shard, retry_reasons, epoch
        self.final = final
        self._stored: dict[str, Finished] = {}

    def stored(self, question: Question) -> Finished:
        found = self._stored.get(question.folder)
        if found is None:
            found = self._stored[question.folder] = Finished(answers={}, rejects={})
            read_finished(found, self._store, question, self._shard, self._retry_reasons, self._epoch)
        return found

    def refresh(self, questions: Iterable[Question]) -> None:
        """Read what was stored since the files of these questions were read."""
        for question in questions:
            known = self._stored.get(question.folder)
            if known is None:
                self.stored(question)
            else:
                read_finished(known, self._store, question, self._shard, self._retry_reasons, self._epoch)

    def add(self, question: Question, items: Iterable[Answer | Reject]) -> None:
        """Items that have been stored just now. No effect if the answers of this question are not needed."""
        if (found := self._stored.get(question.folder)) is not None:
            found.add(question, items)

    def of(self, image: Image) -> ImageAnswers:
        return ImageAnswers(self, image)


class ImageAnswers:
    """The state of each question for one image. States are kept: make a new one after answers were added."""

    def __init__(self, answers: ShardAnswers, image: Image) -> None:
        self._answers, self._image = answers, image
        self._states: dict[str, QuestionState] = {}
        self._upstreams: dict[str, Upstream] = {}

    def state(self, question: Question) -> QuestionState:
        found = self._states.get(question.folder)
        if found is None:
            found = self._states[question.folder] = self._resolved(question)
        return found

    def _resolved(self, question: Question) -> QuestionState:
        above = [self.state(other) for other in question.over]
        if not self._answers.final and any(not state.complete for state in above):
            return QuestionState(question=question, status="waiting")
        if any(state.status == "skipped" or (state.items and not state.has_answer) for state in above):
            return QuestionState(question=question, status="skipped")
        inputs = {state.question.id: self._upstream(state, question.annotate) for state in above}
        stored = self._answers.stored(question)
        items = tuple((request, self._item(stored, request)) for request in requests(question, self._image, inputs))
        return QuestionState(question=question, status="units", items=items, inputs=inputs, stored=stored)

    def _item(self, stored: Finished, request: UnitRequest) -> Answer | Reject | None:
        """The stored answer or reject of a request, or the answer of another generation to the same request."""
        item = stored_item(stored, request)
        if isinstance(item, Answer):
            return item
        answers = (self._answers.stored(twin).answers.get(request.identity) for twin in request.question.twins)
        return next((answer for answer in answers if answer is not None), item)

    def _upstream(self, state: QuestionState, settings: Annotate | None) -> Upstream:
        question = state.question
        found = self._upstreams.get(question.folder)
        if found is None:
            made = attempt(question.task.rows, question.generation, self._image, state.inputs, state.answers)
            rows = Rows() if isinstance(made, Failed) else made  # the build reports the failure
            captions = rows.captions
            if captions:
                assert settings is not None
                with _ANNOTATING:
                    captions = annotator(settings).annotate([captions])[0]
            found = self._upstreams[question.folder] = Upstream(
                generation=question.generation,
                answers=state.answers,
                captions=captions,
                tables=rows.tables,
                inputs=state.inputs,
            )
        return found


def pending_identity(question: Question, image: Image) -> Identity:
    """An identity for an image whose units are not known, because answers of `over` are missing.

    It is equal for images with equal requests of all generations of `over`, and only one of them is asked about. If the
    prompt uses columns in which they differ, the next run asks about the others: it knows the answers of `over`.
    """
    if not question.over:
        return question.identity(image, ",".join(request.prompt_sha256 for request in requests(question, image)))
    return question.identity(image, ",".join(pending_identity(other, image)[1] for other in question.over))


@lru_cache(maxsize=1)
def annotator(settings: Annotate) -> Annotator:
    """The annotator of `settings`, made once per process, because loading spaCy and a tagger takes about a second."""
    from recaption.annotate import Annotator

    return Annotator(settings)
