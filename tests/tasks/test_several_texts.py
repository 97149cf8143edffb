"""recaption.tasks.several_texts: exactly n of the texts of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from recaption.engine.grammar import unsupported
from recaption.tasks.output import value_of
from recaption.tasks.several_texts import SeveralTextsSettings, SeveralTextsTask, first_usable


def short_or_again(text: str, others: Sequence[str]) -> str | None:
    return "is short" if len(text) < 2 else "is there twice" if text in others else None


def test_the_first_usable_texts_are_used() -> None:
    assert first_usable(["a", "bb", "bb", "cc", "dd"], 2, short_or_again) == ["bb", "cc"]


def test_too_few_usable_texts_are_an_error_with_the_first_problem() -> None:
    with pytest.raises(ValueError, match=r"^1 of 2 texts can be used; is short: 'a'$"):
        first_usable(["a", "bb", "bb"], 2, short_or_again)


def test_the_form_is_a_list_of_so_many_texts() -> None:
    task = SeveralTextsTask(SeveralTextsSettings(n=2, spare=1))
    output = task.output(None)
    assert task.number == 3
    assert output.json_schema is not None and unsupported(output.json_schema) is None
    assert value_of(output, '["a", "b"]') == ["a", "b"]
    for text in ('["a"]', '["a", "b", "c", "d"]', '["a", 1]', "a, b"):
        with pytest.raises(ValueError, match="the answer"):
            value_of(output, text)
