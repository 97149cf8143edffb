"""Rules that stand for a text model in demos: they answer the shipped prompts of their tasks as these tasks require."""

from __future__ import annotations

import json

import pytest

from recaption.demo.described import ONTOLOGY
from recaption.demo.scenes import SHAPES
from recaption.engine import text_rules
from recaption.engine.base import Completion
from recaption.errors import RequestError
from recaption.prompt import load as load_prompt
from recaption.tasks import registry
from recaption.tasks.base import Parsed, Task, Unit

CAPTION = "The picture shows two objects. A small solid red circle is at the top left. It is late."


def answered(task: Task, variables: dict[str, object]) -> Parsed:
    """What a task makes of the rules' answer to its own prompt."""
    assert task.prompt is not None
    text = text_rules.answer(load_prompt(task.prompt).fill_in(variables))
    completion = Completion(text=text, finish_reason="stop", prompt_tokens=0, output_tokens=1)
    return task.parse(Unit(variables=variables), completion)


@pytest.mark.parametrize(
    ("lang", "language"),
    [
        ("zh", "Chinese"),
        ("fr", "French"),
        ("es", "Spanish"),
        ("ru", "Russian"),
        ("ja", "Japanese"),
        ("ar", "Arabic"),
        ("hi", "Hindi"),
    ],
)
def test_translations_are_in_their_language(lang: str, language: str) -> None:
    task = registry.load("translate", {"lang": lang})
    parsed = answered(task, {"caption": CAPTION, "language": language})
    assert parsed.finish == "stop", parsed.detail


@pytest.mark.parametrize("name", ["any", "required", "forbidden"])
@pytest.mark.parametrize("shape", SHAPES)
def test_texts_about_a_class_differ(shape: str, name: str) -> None:
    task = registry.load("class_texts", {"n": 8, "name": name, "most_words": 20})
    parsed = answered(task, {"class_name": shape, "number": 10, "name": name, "most_words": 20})
    assert parsed.finish == "stop", parsed.detail


def test_aspects_are_what_the_caption_says(tmp_path) -> None:
    (tmp_path / "ontology.yaml").write_text(ONTOLOGY)
    task = registry.load("aspects", {"ontology": str(tmp_path / "ontology.yaml")})
    aspects = [
        {"name": "visual", "description": "what it looks like", "values": [], "none": "[none]"},
        {"name": "ontology", "description": "words", "values": ["circle", "star", "red"], "none": "[none]"},
    ]
    parsed = answered(task, {"caption": CAPTION, "aspects": aspects})
    assert parsed.finish == "stop", parsed.detail
    assert parsed.value == {"visual": "A small solid red circle is at the top left.", "ontology": ["circle", "red"]}
    assert answered(task, {"caption": "It is late.", "aspects": aspects}).value == {"visual": None, "ontology": None}


@pytest.mark.parametrize(
    "prompt",
    [
        "Describe this image.",
        "Translate this description of an image into Chinese. Keep all facts.\n\nIt is late.",
        "Translate this description of an image into German. Keep all facts.\n\nA red circle.",
        "This text describes an image:\nIt is late.\nWrite 6 texts with the same meaning.",
        "Write 11 different sentences that describe what star looks like in a photo",
    ],
)
def test_other_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(RequestError, match="no rule"):
        text_rules.answer(prompt)


def test_an_answer_is_json_where_the_task_wants_it() -> None:
    prompt = load_prompt("class_texts").fill_in({"class_name": "star", "number": 3, "name": "any"})
    assert len(json.loads(text_rules.answer(prompt))) == 3
