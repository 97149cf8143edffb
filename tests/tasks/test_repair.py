"""recaption.tasks.repair: which sentences are repaired, what an answer means, and the new captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed, with_sub

from recaption import prompt
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Unit, Upstream
from recaption.tasks.repair import RepairTask
from recaption.types import Caption

LONG = caption("A red kite flies.", "A boy runs.", "A dog sits on a mat.")
UNIT = Unit(id="long/0#0", variables={"statement": "A red kite flies over the sea.", "caption": LONG.text})
FIX = generation("fix", granularity="long", prompt="repair")


def task(**settings: Any) -> RepairTask:
    made = registry.load("repair", settings)
    assert isinstance(made, RepairTask)
    return made


def check(p_true: Mapping[str, float], *captions: Caption) -> Upstream:
    """A verification with these rows: probabilities by sub_id without the key."""
    rows = [{"sub_id": f"k/{sub}", "p_true": p, "coverage": 1.0} for sub, p in p_true.items()]
    tables = {"verifications": rows}
    return Upstream(generation=generation("check"), answers=(), tables=tables, inputs=inputs(*captions))


def repaired(sentences: Mapping[str, str | None], *captions: Caption) -> tuple[Caption, ...]:
    """The captions of a repair with these new sentences by unit."""
    made = task()
    given = {"check": check(dict.fromkeys(sentences, 0.1), *captions)}
    units = made.units(IMAGE, given)
    values = [{"sentence": sentences[unit.id]} for unit in units]
    rows = made.rows(FIX, IMAGE, given, answered(units, values))
    assert rows.tables == {}
    return rows.captions


def test_only_unsupported_sentences_are_repaired() -> None:
    given = {"check": check({"long/0#0": 0.49, "long/0#1": 0.5, "long/0#2": 0.0}, LONG)}
    units = task().units(IMAGE, given)
    assert [unit.id for unit in units] == ["long/0#0", "long/0#2"]
    assert dict(units[0].variables) == {"statement": "A red kite flies.", "caption": LONG.text}
    assert [unit.id for unit in task(threshold=1).units(IMAGE, given)] == ["long/0#0", "long/0#1", "long/0#2"]
    assert task(threshold=1).identity() == task().identity() == {}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"check": check({}, LONG)},
        {"check": check({"long/0#0": 0.9}, LONG)},
        {"check": check({"long/0#7": 0.1, "short/0#0": 0.1}, LONG)},  # of captions that were split differently
        {"check": Upstream(generation=generation("check"), answers=())},
    ],
)
def test_without_an_unsupported_sentence_there_are_neither_units_nor_captions(given: Any) -> None:
    made = task()
    assert list(made.units(IMAGE, given)) == []
    assert made.rows(FIX, IMAGE, given, []).captions == ()


def test_the_mean_of_several_verifications_counts() -> None:
    given = {
        "check": check({"long/0#0": 0.1, "long/0#1": 0.3}, LONG),
        "other": check({"long/0#0": 0.95, "long/0#1": 0.4, "long/0#2": 0.2}, LONG),
    }
    assert [unit.id for unit in task().units(IMAGE, given)] == ["long/0#1", "long/0#2"]


def test_a_repetition_of_an_unsupported_sentence_is_repaired_too() -> None:
    made = with_sub(with_sub(LONG, 1, dup_of="k/long/0#0"), 2, dup_of="k/long/0#1")
    given = {"check": check({"long/0#0": 0.1}, made)}
    assert [unit.id for unit in task().units(IMAGE, given)] == ["long/0#0", "long/0#1"]


def test_the_shipped_prompt_allows_to_delete_a_sentence() -> None:
    shipped = prompt.load("repair")
    text = shipped.fill_in({"statement": "A dog sits."})
    assert text.startswith("This sentence about the image is probably wrong: A dog sits.\n") and "NONE" in text
    assert not shipped.missing(task().variables)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A blue kite flies over the sea.", "A blue kite flies over the sea."),
        ("A blue kite flies over the sea", "A blue kite flies over the sea."),
        ('"A blue kite flies over the sea."', "A blue kite flies over the sea."),
        ("**A blue kite flies over the sea.**", "A blue kite flies over the sea."),
        ("<think>It is blue. So.</think>\nA blue kite flies.", "A blue kite flies."),
        ("Corrected sentence: A blue kite flies.", "A blue kite flies."),
        ("- A blue kite flies.", "A blue kite flies."),
        ("1. A blue kite flies.", "A blue kite flies."),
        ("A kite of St. Peter's Ave. School flies.", "A kite of St. Peter's Ave. School flies."),
        ("A sign reads “Open.”", "A sign reads “Open.”"),
        ("NONE", None),
        ("None.", None),
        ("**none**", None),
        ("Remove", None),
        ("<think>No kite.</think>\n\nNONE", None),
    ],
)
def test_an_answer_is_a_sentence_or_deletes_it(text: str, sentence: str | None) -> None:
    found = parsed(task(), UNIT, completion(text))
    assert (found.finish, found.value) == ("stop", {"sentence": sentence})


def test_a_statement_without_a_full_stop_gets_none() -> None:
    unit = Unit(id="long/0#0", variables={"statement": "A red kite"})
    assert parsed(task(), unit, completion("A blue kite")).value == {"sentence": "A blue kite"}


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("", "stop", "empty"),
        ("\u200b \n", "stop", "empty"),
        ("...", "stop", "empty"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
        ("A blue kite flies over", "length", "invalid"),
        ("A red kite flies over the sea.", "stop", "invalid"),
        ("a red kite flies over the sea", "stop", "invalid"),
        ("“A red kite flies over the sea!”", "stop", "invalid"),
        ("Sentence: A red kite flies over the sea.", "stop", "invalid"),
        ("A blue kite flies. A boy holds its string.", "stop", "invalid"),
        ("A blue kite flies.\nI changed the colour.", "stop", "invalid"),
        ("a very " * 80 + "blue kite", "stop", "invalid"),
        ("- ", "stop", "empty"),
        ("A blue kite", "error", "error"),
        ("NONE", "error", "error"),
        ("blue blue blue", "repetition", "repetition"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = task().parse(UNIT, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)
    assert expected != "invalid" or found.detail


def test_a_sentence_that_was_cut_off_is_rejected_as_such() -> None:
    assert task().parse(UNIT, completion("A blue kite flies over", "length")).reason == "truncated_answer"


def test_a_new_caption_has_the_new_sentences_and_the_original_stays() -> None:
    (made,) = repaired({"long/0#0": "A blue kite flies.", "long/0#2": "A cat sits on a mat."}, LONG)
    assert made == Caption(
        caption_id="k/fix/0",
        generation="fix",
        source="judge:repair",
        granularity="long",
        text="A blue kite flies. A boy runs. A cat sits on a mat.",
        finish_reason="stop",
    )


def test_only_captions_with_a_repaired_sentence_give_a_new_one() -> None:
    short = caption("A goat eats.", name="short", granularity="short", finish_reason="length", lang="en")
    (made,) = repaired({"short/0#0": "A sheep eats."}, LONG, short)
    assert (made.caption_id, made.granularity, made.text) == ("k/fix/0", "short", "A sheep eats.")
    assert (made.finish_reason, made.lang) == ("length", None)
    both = repaired({"short/0#0": "A sheep eats.", "long/0#1": None}, LONG, short)
    assert [(each.caption_id, each.text) for each in both] == [
        ("k/fix/0", "A red kite flies. A dog sits on a mat."),
        ("k/fix/1", "A sheep eats."),
    ]


@pytest.mark.parametrize(
    ("deleted", "left"),
    [
        ((0,), "A boy runs. A dog sits on a mat."),
        ((1,), "A red kite flies. A dog sits on a mat."),
        ((2,), "A red kite flies. A boy runs."),
        ((0, 1), "A dog sits on a mat."),
        ((1, 2), "A red kite flies."),
        ((0, 2), "A boy runs."),
    ],
)
def test_deleted_sentences_leave_no_gap(deleted: tuple[int, ...], left: str) -> None:
    (made,) = repaired({f"long/0#{idx}": None for idx in deleted}, LONG)
    assert made.text == left


def test_a_caption_of_which_nothing_is_left_is_none() -> None:
    assert repaired({f"long/0#{idx}": None for idx in range(3)}, LONG) == ()


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"long/0#0": None}, "- A boy runs.\n\n- A dog sits on a mat. ✿"),
        ({"long/0#1": None}, "- A red kite flies.\n\n- A dog sits on a mat. ✿"),
        ({"long/0#2": "A cat sits."}, "- A red kite flies.\n- A boy runs.\n\n- A cat sits. ✿"),
    ],
)
def test_what_is_between_sentences_stays(new: dict[str, str | None], text: str) -> None:
    whole = "- A red kite flies.\n- A boy runs.\n\n- A dog sits on a mat. ✿"
    subs = []
    for sub in LONG.sub_captions:
        start = whole.index(sub.text)
        subs.append(replace(sub, char_start=start, char_end=start + len(sub.text), content_start=start))
    (made,) = repaired(new, replace(LONG, text=whole, sub_captions=tuple(subs)))
    assert made.text == text


def test_sentences_without_an_answer_stay() -> None:
    made = task()
    given = {"check": check({"long/0#0": 0.1, "long/0#1": 0.1}, LONG)}
    units = made.units(IMAGE, given)
    rejected = made.rows(FIX, IMAGE, given, answered(units, [None, None]))
    assert rejected.captions == ()
    (some,) = made.rows(FIX, IMAGE, given, answered(units, [None, {"sentence": "A girl runs."}])).captions
    assert some.text == "A red kite flies. A girl runs. A dog sits on a mat."


def test_an_image_without_anything_to_repair_has_what_is_required() -> None:
    made = task()
    given = {"check": check({"long/0#0": 0.9, "long/0#1": 0.9}, LONG)}
    units = made.units(IMAGE, given)
    assert units == [] and made.has_result((), made.rows(FIX, IMAGE, given, ()))
    given = {"check": check({"long/0#0": 0.1}, LONG)}
    units = made.units(IMAGE, given)
    for value in (None, {"sentence": None}):
        found = answered(units, [value])
        assert made.has_result(found, made.rows(FIX, IMAGE, given, found)) == (value is not None)


def test_a_caption_that_two_generations_verified_is_repaired_once() -> None:
    made = task()
    given = {"check": check({"long/0#0": 0.1}, LONG), "other": check({"long/0#0": 0.2}, LONG)}
    units = made.units(IMAGE, given)
    rows = made.rows(FIX, IMAGE, given, answered(units, [{"sentence": "A blue kite flies."}]))
    assert [each.caption_id for each in rows.captions] == ["k/fix/0"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0}, "threshold: Input should be greater than 0"),
        ({"threshold": 1.1}, "threshold: Input should be less than or equal to 1"),
        ({"limit": 1}, "limit: unknown key; allowed here: threshold"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        registry.load("repair", settings)
    assert str(error.value).startswith(f"task repair: {message}")
