from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.inspect.terminal import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog", "a dog"),
        ("[bold]a dog[/bold]", "[bold]a dog[/bold]"),
        ("a \x1b[31mred\x1b[0m dog", "a red dog"),
        ("\x1b]0;owned\x07a dog", "a dog"),
        ("\x1b]8;;http://x\x1b\\a dog\x1b]8;;\x1b\\", "a dog"),
        ("\x9b2Ja dog", "a dog"),
        ("\x1bca dog", "a dog"),
        ("a\x00 d\x08og\x7f", "a dog"),
        ("a \u202egod\u202c \u2066dog\u2069", "a god dog"),
        ("a\u200b\ufeff \U000e0041dog", "a dog"),
        ("a\r\n\tdog\u2028here", "a dog here"),
        ("a lone \ud800 surrogate", "a lone  surrogate"),
        ("ein Hündchen, 犬, কুকুর", "ein Hündchen, 犬, কুকুর"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(codec=None)))
def test_nothing_that_moves_a_cursor_or_hides_survives(text: str) -> None:
    out = printable(text)
    assert len(out) <= len(text)
    assert printable(out) == out
    bad = {c for c in out if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert bad <= {"\u200c", "\u200d"}
