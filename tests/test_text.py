"""Normalisation on intake."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from recaption.text import fitted, fold, normalise


@given(st.text(alphabet=st.characters()))
def test_normalised_text_can_be_stored_and_counted(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once.encode("utf-8").decode("utf-8") == once
    assert "\0" not in once and "\r" not in once
    assert unicodedata.is_normalized("NFC", once)


def test_what_changes_and_what_stays() -> None:
    assert normalise(" a\r\nb\rc\0d\ud800e\u2028f ") == "a\nb\ncd\ufffde\nf"
    assert normalise("e\u0301") == "é"
    assert normalise("<b>tail…  two  spaces</b>") == "<b>tail…  two  spaces</b>"


def test_an_answer_that_is_too_long_loses_what_is_not_visible_first() -> None:
    assert fitted(" a ", 3) == (" a ", False)
    assert fitted(" \u200b ab\n", 3) == ("ab", False)
    assert fitted(" abcd ", 3) == ("abc", True)
    assert fitted(" \u00e9\u00e9 ", 3) == ("\u00e9", True)
    assert fitted("    ", 3) == ("", False)


def test_fold_makes_one_line() -> None:
    assert fold(" a\n\n b\tc ") == "a b c"
