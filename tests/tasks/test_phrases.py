"""recaption.tasks.phrases: what is looked for, and which phrase a label means."""

from __future__ import annotations

from dataclasses import replace

import pytest
from task_units import caption, inputs, tag, with_sub

from recaption.tasks.phrases import named, phrase_of


def test_each_object_is_named_once_with_its_first_place() -> None:
    given = inputs(caption("A red kite.", "A kite.", "A dog."), caption("A Dog.", "A cat.", name="short"))
    assert list(named(given, "objects", 9).items()) == [
        ("kite", ("k/long/0#0", 0, 0)),
        ("dog", ("k/long/0#2", 0, 0)),
        ("cat", ("k/short/0#1", 0, 0)),
    ]
    assert list(named(given, "objects", 2)) == ["kite", "dog"]


def test_noun_phrases_are_as_written_and_other_nouns_are_left_out() -> None:
    red = replace(tag("kite"), text="red\nkite", char_start=2, char_end=10)
    given = inputs(with_sub(caption("A red kite."), 0, tags=(tag("left", "meta"), red, tag("people", "absent"))))
    assert named(given, "noun_phrases", 9) == {"red kite": ("k/long/0#0", 2, 10)}
    assert named(given, "objects", 9) == {"kite": ("k/long/0#0", 2, 10)}
    assert named({}, "objects", 9) == {}


@pytest.mark.parametrize(
    ("label", "phrases", "expected"),
    [
        ("kite", ["kite", "dog"], "kite"),
        ("The Kites", ["kite", "dog"], "kite"),
        ("red kite", ["kite", "dog"], "kite"),
        ("kite", ["red kite", "dog"], "red kite"),
        ("kite", ["red kite", "blue kite"], None),
        ("red kite", ["red kite", "kite"], "red kite"),
        ("bird", ["kite", "dog"], None),
        ("", ["kite", "dog"], None),
        ("kitesurfer", ["kite", "dog"], None),
        ("", ["kite"], "kite"),
        ("whatever", ["kite"], "kite"),
    ],
)
def test_a_label_means_a_phrase_if_it_is_clear(label: str, phrases: list[str], expected: str | None) -> None:
    assert phrase_of(label, phrases) == expected
