"""Pairs of quotes and brackets."""

from __future__ import annotations

import pytest

from recaption.quotes import enclosed, quoted


def marked(inside: bytearray | None, text: str) -> str:
    return "".join(c for c, flag in zip(text, inside or bytes(len(text)), strict=True) if flag)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A sign says "No. Dogs" here', '"No. Dogs"'),
        ("It says “Open” and ‘Shut’", "“Open”‘Shut’"),
        ("The dogs' bowls and a 5' 3\" man", ""),
        ("A dog (old)", ""),
        ('It has windows."TREASURE ISLAND" is above', '"TREASURE ISLAND"'),
        ('A sign "STOP\nGo" here', ""),
    ],
)
def test_quoted_text_includes_its_marks(text: str, expected: str) -> None:
    assert marked(quoted(text), text) == expected


def test_enclosed_text_includes_brackets_without_the_closing_mark() -> None:
    text = 'A dog (it is "old") sits [here]'
    assert marked(enclosed(text), text) == '(it is "old"[here'
