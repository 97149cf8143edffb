"""recaption.tasks.faults: completions whose text is not read."""

from __future__ import annotations

import pytest
from task_units import completion

from recaption.tasks.base import Parsed
from recaption.tasks.faults import fault, parse_whole


@pytest.mark.parametrize("finish", ["repetition", "empty", "refusal", "error"])
def test_the_finish_reason_of_the_engine_counts(finish: str) -> None:
    found = fault(completion("[]", finish))
    assert found is not None and found.finish == finish and found.value is None


def test_an_answer_that_was_cut_off_is_invalid() -> None:
    found = fault(completion('[{"bbox_2d": [1,', "length"))
    assert found is not None and (found.finish, found.reason) == ("invalid", "truncated_answer")


def test_a_refusal_is_one() -> None:
    found = fault(completion("I'm sorry, I can't help with that."))
    assert found is not None and found.finish == "refusal"


@pytest.mark.parametrize("text", ["[]", "", "A kite."])
def test_other_texts_are_read(text: str) -> None:
    assert fault(completion(text)) is None


def test_a_text_that_cannot_be_read_is_invalid() -> None:
    def read(text: str) -> Parsed:
        if not text:
            raise ValueError("no text")
        return Parsed(finish="stop", value=text)

    assert parse_whole(completion("A kite."), read) == Parsed(finish="stop", value="A kite.")
    assert parse_whole(completion(""), read) == Parsed(finish="invalid", detail="no text")
    assert parse_whole(completion("A kite.", "length"), read).reason == "truncated_answer"
