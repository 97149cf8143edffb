"""recaption.tasks.translate: captions in another language."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.translate import TranslateTask

TEXT = "A red kite flies over the wide beach."
LONG = caption(TEXT, lang="en")
FRENCH = "Un cerf-volant rouge vole sur la plage et un chien court."
CHINESE = "一只红色的风筝在宽阔的海滩上飞翔。"
UNIT = Unit(id="long/0", variables={"caption": TEXT, "language": "Chinese"})
MADE = generation("zh", granularity="long", prompt="translate")


def task(lang: str = "zh", **settings: Any) -> TranslateTask:
    made = registry.load("translate", {"lang": lang, **settings})
    assert isinstance(made, TranslateTask)
    return made


def test_each_caption_is_one_request_that_names_the_language() -> None:
    (unit,) = task().units(IMAGE, inputs(LONG))
    assert (unit.id, dict(unit.variables)) == ("long/0", dict(UNIT.variables))
    text = prompt.load("translate").fill_in(unit.variables)
    assert TEXT in text and "into Chinese" in text
    assert task().identity() == {"lang": "zh"} and task().needs == {"text"}


def test_raw_captions_are_translated_without_over() -> None:
    image = replace(IMAGE, raw_captions=("a kite ", " ", "\u200b\ufeff", "a dog"))
    made = task(raw=True)
    assert not made.reads
    units = made.units(image, {})
    assert [(u.id, u.variables["caption"]) for u in units] == [("raw/0", "a kite"), ("raw/1", "a dog")]
    short = replace(MADE, granularity="short")
    captions = made.rows(short, image, {}, answered(units, [None, {"text": "狗"}])).captions
    assert [(c.caption_id, c.granularity, c.text) for c in captions] == [("k/zh/0", "short", "狗")]
    assert captions[0].translated_from == "k/raw/1"


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("zh", CHINESE, CHINESE),
        ("zh", f"```\n{CHINESE}\n```", CHINESE),
        ("zh", f"<think>Translate it.</think>{CHINESE}", CHINESE),
        ("fr", FRENCH, FRENCH),
        ("fr", "Un chien.", "Un chien."),
    ],
)
def test_answers_in_the_language_are_used(lang: str, text: str, expected: str) -> None:
    found = parsed(task(lang), UNIT, completion(text))
    assert (found.finish, found.value) == ("stop", {"text": expected})


@pytest.mark.parametrize(
    ("lang", "text", "problem"),
    [
        ("zh", "A red kite in the sky above a beach.", "not in Chinese"),
        ("zh", FRENCH, "not in Chinese"),
        ("fr", CHINESE, "not in French"),
        ("fr", "Ein roter Drachen fliegt auf dem Strand und der Hund ist da.", "not in French"),
        ("fr", TEXT, "not in French"),
        ("pl", "kite flies beach", "repeats the caption"),
        ("zh", f"Here is the translation: {CHINESE}", "begins with a preface"),
        ("zh", f"Translation:\n{CHINESE}", "begins with a preface"),
        ("zh", CHINESE * 30, "characters, and the caption 37"),
        ("zh", "1234", "not in Chinese"),
    ],
)
def test_other_answers_are_invalid(lang: str, text: str, problem: str) -> None:
    unit = replace(UNIT, variables={"caption": "kite flies beach"}) if lang == "pl" else UNIT
    found = parsed(task(lang), unit, completion(text))
    assert found.finish == "invalid" and problem in str(found.detail)


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("", "stop", "empty"),
        ("N/A", "stop", "empty"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
        (CHINESE, "length", "invalid"),
        (CHINESE, "repetition", "repetition"),
    ],
)
def test_faults_of_the_answer(text: str, finish: str, expected: str) -> None:
    assert parsed(task(), UNIT, completion(text, finish)).finish == expected


def test_a_translation_names_its_language_and_its_caption() -> None:
    made, given = task(), inputs(LONG)
    (found,) = made.rows(MADE, IMAGE, given, answered(made.units(IMAGE, given), [{"text": CHINESE}])).captions
    assert (found.caption_id, found.generation, found.source) == ("k/zh/0", "zh", "judge:translate")
    assert (found.lang, found.translated_from, found.text) == ("zh", "k/long/0", CHINESE)
    assert (found.granularity, found.finish_reason, found.sub_captions) == ("long", "stop", ())
    assert made.rows(MADE, IMAGE, {}, answered([UNIT], [{"text": CHINESE}])).captions == ()


@pytest.mark.parametrize("settings", [{}, {"lang": "xx"}, {"lang": "en-GB"}, {"lang": "zh", "of": "long"}])
def test_settings_that_are_not_allowed(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="task translate: "):
        registry.load("translate", settings)
