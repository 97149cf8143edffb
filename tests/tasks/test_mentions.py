"""Markup that a caption writes about is recognised."""

from __future__ import annotations

import re

import pytest

from recaption.tasks.mentions import remove

BREAK = re.compile("<br>")


@pytest.mark.parametrize(
    "text", ['A screen shows "<br>".', "The <br> tag ends a line.", "It shows `a <br> b`.", "“<br>,” it reads."]
)
def test_markup_that_is_quoted_named_or_in_code_stays(text: str) -> None:
    assert remove(BREAK, text, lambda match: "") == text


def test_other_markup_is_replaced() -> None:
    assert remove(BREAK, "A cup.<br>A dog.", lambda match: "\n") == "A cup.\nA dog."
