"""recaption.tasks.tags: tags of an image by a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption import prompt
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE
from recaption.tasks.tags import TagsTask

WORDS = ("red kite", "Dog", "beach")


def task(**settings: Any) -> TagsTask:
    made = registry.load("tags", settings)
    assert isinstance(made, TagsTask)
    return made


@pytest.fixture
def large(tmp_path: Path) -> TagsTask:
    (tmp_path / "tags.txt").write_text("\n".join([*WORDS, "", *(f"tag {n}" for n in range(600))]))
    return task(vocabulary_file=str(tmp_path / "tags.txt"))


def test_the_prompt_lists_a_closed_vocabulary() -> None:
    (unit,) = task(vocabulary=WORDS, most=3).units(IMAGE, {})
    text = prompt.load("tags").fill_in(unit.variables)
    assert "at most 3 tags" in text and "Use only these tags: red kite, Dog, beach." in text
    assert "Use only" not in prompt.load("tags").fill_in(task().units(IMAGE, {})[0].variables)


def test_the_answer_is_json_that_grammars_support(large: TagsTask) -> None:
    anything = {"type": "string"}
    for made, items in ((task(), anything), (task(vocabulary=WORDS), {"enum": [*WORDS]}), (large, anything)):
        schema = made.output(None).json_schema
        assert schema is not None and unsupported(schema) is None
        assert json.loads(schema)["items"] == items and json.loads(schema)["maxItems"] == 20


@pytest.mark.parametrize(
    ("tags", "expected", "detail"),
    [
        (["red kite", "dog"], ["red kite", "dog"], None),
        (["Dog", "dog ", "DOG."], ["Dog"], None),
        ([" a\n b "], ["a b"], None),
        (["dog", " "], ["dog"], "dropped 1 of 2 tags, which are blank or have more than 5 words: ''"),
        (["dog", "a dog that runs along the beach"], ["dog"], "dropped 1 of 2 tags"),
        ([], [], None),
    ],
)
def test_open_tags(tags: Sequence[str], expected: Sequence[str], detail: str | None) -> None:
    found = parsed(task(), WHOLE_IMAGE, completion(json.dumps(tags)))
    assert (found.finish, found.value) == ("stop", {"tags": expected})
    assert (found.detail or "").startswith(detail or "") and (found.detail is None) == (detail is None)


def test_tags_of_a_large_vocabulary_are_checked_afterwards(large: TagsTask) -> None:
    found = parsed(large, WHOLE_IMAGE, completion('["dog", "Red  Kite", "cat", "tag 599"]'))
    assert found.value == {"tags": ["Dog", "red kite", "tag 599"]}
    assert found.detail == "dropped 1 of 4 tags, which are not in the vocabulary: 'cat'"
    assert parsed(large, WHOLE_IMAGE, completion('["cat"]')).finish == "invalid"


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("dog, kite", "stop", "invalid"),
        ('["cat"]', "stop", "invalid"),
        ('["dog"]', "stop", "invalid"),
        ('{"tags": ["Dog"]}', "stop", "invalid"),
        ('["Dog", 3]', "stop", "invalid"),
        ('["Dog"', "length", "invalid"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
        ('```json\n["Dog"]\n```', "stop", "stop"),
    ],
)
def test_answers_of_a_small_vocabulary_have_its_tags_only(text: str, finish: str, expected: str) -> None:
    assert parsed(task(vocabulary=WORDS), WHOLE_IMAGE, completion(text, finish)).finish == expected


def test_rows_have_the_tags_in_order() -> None:
    rows = task().rows(generation("seen"), IMAGE, {}, answered([WHOLE_IMAGE], [{"tags": ["a", "b"]}])).tables
    assert [(r["tag"], r["rank"], r["model"]) for r in rows["model_tags"]] == [("a", 0, "judge"), ("b", 1, "judge")]


def test_the_content_of_a_vocabulary_is_the_identity(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red kite\nDog\n\nbeach\n")
    assert task(vocabulary_file=str(tmp_path / "a.txt")).identity() == task(vocabulary=WORDS).identity()
    assert task(vocabulary=WORDS[:2]).identity() != task(vocabulary=WORDS).identity() != task().identity()


@pytest.mark.parametrize(
    "settings",
    [
        {"vocabulary": ["Dog", "dog"]},
        {"vocabulary": ["Dog", " "]},
        {"vocabulary_file": "nothing.txt"},
        {"vocabulary": ["a"], "vocabulary_file": "b.txt"},
        {"most": 0},
    ],
)
def test_settings_that_are_not_allowed(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="task tags: "):
        registry.load("tags", settings)
