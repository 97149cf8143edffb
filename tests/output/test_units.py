"""recaption.output.units: what is stored of the units of an image, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from task_units import IMAGE, caption
from toy_tasks import Again, EachWord, Words, answer, check, put, question, reject, words

from recaption.io.store import LocalStore
from recaption.output.units import QuestionState, ShardAnswers, pending_identity
from recaption.tasks.base import CAPTIONS, Inputs, Unit, sub_captions, unit_id
from recaption.tasks.caption import CaptionTask
from recaption.tasks.question import Question, UnitRequest
from recaption.types import Answer, Caption, Image

WORDS = words()
CHECK = check(WORDS)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def state(store: LocalStore, asked: Question, image: Image = IMAGE, **options: Any) -> QuestionState:
    return ShardAnswers(store, "s", **options).of(image).state(asked)


def settle(store: LocalStore, asked: Question, *texts: str | None, image: Image = IMAGE) -> list[UnitRequest]:
    """Store an answer for each missing request, or a reject for None. Requests without a text stay missing."""
    missing = state(store, asked, image).missing
    put(
        store, asked, *(reject(r) if text is None else answer(r, text) for r, text in zip(missing, texts, strict=False))
    )
    return missing


def units(found: Sequence[UnitRequest]) -> list[str]:
    return [request.unit.id for request in found]


def test_units_are_known_once_upstream_is_answered(store: LocalStore) -> None:
    waiting = state(store, CHECK)
    assert (waiting.status, waiting.complete, waiting.missing, waiting.found) == ("waiting", False, [], [])
    settle(store, WORDS, "cat dog")
    found = state(store, CHECK)
    assert (found.status, found.complete, found.has_answer) == ("units", False, False)
    assert units(found.missing) == ["words#0", "words#1"]
    assert [request.prompt for request in found.missing] == ["Is cat there?", "Is dog there?"]
    settle(store, CHECK, "yes", "no")
    found = state(store, CHECK)
    assert (found.complete, found.missing, found.has_answer) == (True, [], True)
    assert [answered.answer.text for answered in found.answers if answered.answer] == ["yes", "no"]
    assert {item.text for item in found.found if isinstance(item, Answer)} == {"yes", "no"}


def test_upstream_without_rows_leaves_nothing_to_ask_and_is_not_skipped(store: LocalStore) -> None:
    settle(store, WORDS, " ")
    found = state(store, CHECK)
    assert (found.status, found.items, found.complete, found.has_answer) == ("units", (), True, False)
    below = state(store, check(CHECK, id="below"))
    assert below.status == "units", "no answer and no reject: there was nothing to ask"


def test_without_an_upstream_answer_all_that_read_it_are_skipped(store: LocalStore) -> None:
    settle(store, WORDS, None)
    found = state(store, CHECK)
    assert (found.status, found.complete, found.missing) == ("skipped", True, [])
    assert state(store, check(CHECK, id="below")).status == "skipped"


def test_one_rejected_upstream_of_two_skips_an_image(store: LocalStore) -> None:
    more = question(Words, "more", "List more words.")
    both = check(WORDS, more)
    settle(store, WORDS, "cat")
    assert state(store, both).status == "waiting"
    settle(store, more, None)
    assert state(store, both).status == "skipped"


def test_partial_rejects_leave_the_answers_of_the_other_units(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog owl")
    settle(store, CHECK, "yes", None)
    found = state(store, CHECK)
    assert units(found.missing) == ["words#2"]
    settle(store, CHECK, "no")
    found = state(store, CHECK)
    assert found.complete and len(found.found) == 3
    assert [each.answer is None for each in found.answers] == [False, True, False]
    assert units(state(store, question(Again, "below", "{{ word }}", CHECK)).missing) == ["check#0", "check#1"]


def test_equal_units_are_asked_once_in_their_order_and_share_the_answer(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog cat owl")
    assert units(state(store, CHECK).missing) == ["words#0", "words#1", "words#3"]
    settle(store, CHECK, "yes", "no", "no")
    found = state(store, CHECK)
    assert found.complete and len(found.found) == 3
    assert [each.answer.text for each in found.answers if each.answer] == ["yes", "no", "yes", "no"]


# captions


class Sentences(EachWord):
    """One request for each sub-caption."""

    reads = frozenset({CAPTIONS})

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(id=unit_id(image.key, sub), variables={"word": sub.text}) for _, sub in sub_captions(inputs)]


class FullStops:
    """Instead of an `Annotator`: splits at full stops."""

    def annotate(self, images: Sequence[Sequence[Caption]]) -> list[tuple[Caption, ...]]:
        return [tuple(caption(*each.text.split(". "), name=each.generation) for each in texts) for texts in images]


def test_a_caption_that_is_split_anew_needs_only_its_new_sentences(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = question(CaptionTask, "long", "Describe it.")
    long = replace(long, generation=replace(long.generation, granularity="long"))
    asked = question(Sentences, "asked", "Is it true: {{ word }}", long, annotate=object())
    monkeypatch.setattr("recaption.output.units.annotator", lambda settings: FullStops())
    settle(store, long, "A cat sits. A dog runs. A cat sits")
    assert units(settle(store, asked, "yes", "no")) == ["long/0#0", "long/0#1"]
    monkeypatch.setattr(FullStops, "annotate", lambda self, images: [(caption("A dog runs", "A cat"),)])
    found = state(store, asked)
    assert [(request.unit.id, item is None) for request, item in found.items] == [
        ("long/0#0", False),
        ("long/0#1", True),
    ]
    below = check(asked, id="below")
    assert state(store, below).status == "waiting"
    assert state(store, below, final=True).status == "units", "a build reads what there is"


# twins


def test_an_answer_of_a_twin_is_not_asked_for_again_and_not_found_twice(store: LocalStore) -> None:
    second = check(WORDS, id="second", twins=(CHECK,))
    settle(store, WORDS, "cat dog")
    settle(store, CHECK, "yes", None)
    found = state(store, second)
    assert units(found.missing) == ["words#1"], "a reject of the twin is no answer"
    assert (found.has_answer, found.found) == (True, [])
    settle(store, second, None)
    found = state(store, second)
    assert found.complete and len(found.found) == 1
    put(store, CHECK, answer(requests_of(store, CHECK)[1], "no"))
    found = state(store, second)
    assert [each.answer.text for each in found.answers if each.answer] == ["yes", "no"], "an answer precedes a reject"


def requests_of(store: LocalStore, asked: Question) -> list[UnitRequest]:
    return [request for request, _ in state(store, asked).items]


# tasks that fail


def test_units_that_raise_cost_only_their_image(store: LocalStore) -> None:
    other = replace(IMAGE, key="other", sha256="b" * 64)
    settle(store, WORDS, "bomb")
    settle(store, WORDS, "cat", image=other)
    (failed,) = state(store, CHECK).missing
    assert failed.prompt is None and failed.error is not None and failed.error.endswith("ValueError: a bomb")
    assert units(state(store, CHECK, other).missing) == ["words#0"]
    put(store, CHECK, reject(failed, "request_error"))
    assert state(store, CHECK).complete


def test_rows_that_raise_leave_nothing_to_read(store: LocalStore) -> None:
    class Missing(EachWord):
        def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
            return [Unit(id=row["word"], variables=row) for row in inputs["words"].tables.get("words", ())]

    asked = question(Missing, "asked", "{{ word }}", WORDS)
    settle(store, WORDS, "broken")
    found = state(store, asked)
    assert (found.status, found.items) == ("units", ())


# files


def test_a_refresh_reads_only_new_files(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(store, WORDS, "cat dog")
    answers = ShardAnswers(store, "s")
    answers.refresh([WORDS, CHECK])
    read: list[str] = []
    real = LocalStore.get
    monkeypatch.setattr(LocalStore, "get", lambda self, path: read.append(path) or real(self, path))
    (first, second) = answers.of(IMAGE).state(CHECK).missing
    put(store, CHECK, answer(first, "yes"))
    assert len(answers.of(IMAGE).state(CHECK).missing) == 2 and read == []
    answers.refresh([WORDS, CHECK])
    assert len(read) == 1
    assert answers.of(IMAGE).state(CHECK).missing == [second]
    answers.refresh([WORDS, CHECK])
    assert len(read) == 1


def test_items_that_were_stored_just_now_are_added_without_reading(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog")
    answers = ShardAnswers(store, "s")
    first, second = answers.of(IMAGE).state(CHECK).missing
    answers.add(CHECK, [reject(first), answer(second, "no")])
    answers.add(check(WORDS, id="not_needed"), [reject(first)])
    assert answers.of(IMAGE).state(CHECK).complete
    answers.add(CHECK, [answer(first, "yes")])
    assert [each.answer.text for each in answers.of(IMAGE).state(CHECK).answers if each.answer] == ["yes", "no"]


def test_rejects_for_retried_reasons_are_missing_unless_this_run_made_them(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog")
    settle(store, CHECK, None, None)
    retry = {"retry_reasons": frozenset({"refusal"}), "epoch": 2}
    missing = state(store, CHECK, **retry).missing
    assert len(missing) == 2
    put(store, CHECK, reject(missing[0]), epoch=2)
    assert state(store, CHECK, **retry).missing == missing[1:]
    assert state(store, CHECK, retry_reasons=frozenset({"poison"})).complete


# equal images


def test_equal_images_with_equal_requests_upstream_have_one_pending_identity() -> None:
    twin = replace(IMAGE, key="twin", columns={"alt": "x"})
    assert pending_identity(CHECK, IMAGE) == pending_identity(CHECK, twin)
    below = check(CHECK, id="below")
    assert pending_identity(below, IMAGE) == pending_identity(below, twin)
    assert pending_identity(CHECK, IMAGE) != pending_identity(CHECK, replace(IMAGE, sha256="b" * 64))
    of_alt = question(Words, "words", "List words of {{ alt or 'it' }}.")
    assert pending_identity(check(of_alt), IMAGE) != pending_identity(check(of_alt), twin)
    each = replace(CHECK, dedupe=False, over=(replace(WORDS, dedupe=False),))
    assert pending_identity(each, IMAGE) != pending_identity(each, twin)
