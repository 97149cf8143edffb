"""Numbers and texts as people read them."""

from __future__ import annotations

import ast
import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption import formatting
from recaption.formatting import (
    amount,
    bar,
    changes,
    duration,
    histogram,
    listed,
    number_of,
    percent,
    printable,
    printable_lines,
    quantile,
    sparks,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h"),
        (12_000, "3 h 20 min"),
        (90_000, "25 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_are_said_in_the_units_one_would_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.004, "0.4 %"), (0.61, "61 %"), (0.99999, "99.9 %"), (1, "100 %")],
)
def test_only_all_is_a_hundred_percent_and_only_nothing_is_none(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (1234, ("image",), "1,234 images"),
        (1, ("class is", "classes are"), "1 class is"),
        (2, ("class is", "classes are"), "2 classes are"),
    ],
)
def test_a_noun_and_its_verb_have_the_number_of_the_count(count: int, words: tuple[str, ...], text: str) -> None:
    assert number_of(count, *words) == text


def test_no_message_has_a_plural_verb_after_any_count() -> None:
    """It would be wrong for 1. `number_of` has both forms, or the count stands behind the noun."""
    plural = re.compile(r" ([\w-]+ ){0,3}[\w-]+s (have|has|are|is|were|was|lack|end|exist)\b")
    found = []
    for path in sorted(Path(formatting.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for count, text in pairwise(parts):
                if isinstance(count, ast.FormattedValue) and count.format_spec and isinstance(text, ast.Constant):
                    if isinstance(count.value, ast.Name) and count.value.id.isupper():  # a constant, never 1
                        continue
                    spec = ast.unparse(count.format_spec)
                    if "," in spec and plural.match(str(text.value)):
                        found.append(f"{path.name}, line {node.lineno}: {text.value}")
    assert found == []


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_bar_is_as_wide_as_it_is_told(share: float, width: int) -> None:
    assert len(bar(share, width)) == width


def test_a_bar_fills_with_the_share() -> None:
    assert (bar(0, 4), bar(0.5, 4), bar(1, 4)) == ("    ", "██  ", "████")


def test_a_quantile_is_one_of_the_values() -> None:
    values = [5, 1, 4, 2, 3]
    assert [quantile(values, q) for q in (0.0, 0.5, 0.9, 1.0)] == [1, 3, 5, 5]
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@given(st.lists(st.integers(0, 400)), st.integers(1, 30))
def test_a_histogram_counts_every_value_once(values: list[int], bins: int) -> None:
    assert sum(histogram(values, bins, 320)) == len(values)
    assert sum(histogram(values, bins)) == len(values)


def test_the_highest_spark_is_the_largest_count_and_none_is_blank() -> None:
    assert sparks(histogram([0, 1, 9, 9, 9, 9], bins=3)) == "▄ █"
    assert sparks([1, 1000]) == "▁█", "one is more than none"
    assert sparks([0, 0]) == "  "


def test_counts_are_listed_the_most_frequent_first() -> None:
    assert listed({"empty": 1, "refusal": 1200, "decode": 1}) == "refusal 1,200, decode 1, empty 1"


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
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(codec=None)))
def test_nothing_that_moves_a_cursor_or_hides_survives(text: str) -> None:
    out = printable(text)
    assert len(out) <= len(text)
    assert printable(out) == out
    bad = {c for c in out if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert bad <= {"\u200c", "\u200d"}


def test_lines_stay_where_a_text_has_several() -> None:
    assert printable_lines("a\x1b[31mb\u202ec\nd") == "abc\nd"


def test_amounts_keep_their_order_of_magnitude() -> None:
    assert [amount(n) for n in (0, 950, 12_345, 7_000_000, 2.5e9)] == ["0", "950", "12.3 k", "7.0 M", "2.5 G"]


def test_a_diff_keeps_every_word_of_both_texts() -> None:
    before, after = "A red cup stands  on a table.", "A dark red cup lies on a table."
    pieces = changes(before, after)
    assert "".join(text for kind, text in pieces if kind in ("same", "removed")) == before
    assert "".join(text for kind, text in pieces if kind in ("same", "added")) == after
    assert [piece for piece in pieces if piece[0] != "same"] == [
        ("added", " dark"),
        ("removed", " stands  on"),
        ("added", " lies on"),
    ]
