"""recaption.tasks.aspects: what captions say about the aspects of an ontology."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt, schema
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.aspects import ASPECTS, AspectsTask
from recaption.tasks.base import Unit

FILE = """
aspects:
  look: {description: what the lesion looks like, none: "[No matching attributes]"}
  diagnosis:
    description: the skin condition
    values: {melanoma: [skin cancer], skin cancer: [neoplasm], neoplasm: [], eczema: []}
"""
LONG = caption("A dark, uneven spot that may be melanoma.")
UNIT = Unit(id="long/0", variables={"caption": LONG.text})
MADE = generation("parts", granularity="aspect", prompt="aspects")


@pytest.fixture
def task(tmp_path: Path) -> AspectsTask:
    (tmp_path / "o.yaml").write_text(FILE)
    made = registry.load("aspects", {"ontology": str(tmp_path / "o.yaml")})
    assert isinstance(made, AspectsTask)
    return made


def said(look: Any, diagnosis: Any) -> str:
    return json.dumps({"look": look, "diagnosis": diagnosis})


def test_each_caption_is_one_request_about_all_aspects(task: AspectsTask) -> None:
    (unit,) = task.units(IMAGE, inputs(LONG))
    text = prompt.load("aspects").fill_in(unit.variables)
    assert unit.id == "long/0" and LONG.text in text
    assert "- look: what the lesion looks like. Answer with one or two sentences." in text
    assert 'nothing about it, answer "[No matching attributes]".' in text
    assert "list of these values: melanoma; skin cancer; neoplasm; eczema." in text and 'answer ["[none]"]' in text
    assert task.needs == {"text"}


def test_the_answer_is_json_that_grammars_support(task: AspectsTask) -> None:
    made = task.output(None).json_schema
    assert made is not None and unsupported(made) is None


@pytest.mark.parametrize(
    ("look", "diagnosis", "expected"),
    [
        ("Dark and uneven.", ["melanoma"], {"look": "Dark and uneven.", "diagnosis": ["melanoma"]}),
        ("Dark.", ["melanoma", "eczema", "melanoma"], {"look": "Dark.", "diagnosis": ["melanoma", "eczema"]}),
        ("[No matching attributes]", ["[none]"], {"look": None, "diagnosis": None}),
        (" [no matching attributes] ", ["[none]", "[none]"], {"look": None, "diagnosis": None}),
    ],
)
def test_usable_answers(task: AspectsTask, look: Any, diagnosis: Any, expected: dict[str, Any]) -> None:
    found = parsed(task, UNIT, completion(said(look, diagnosis)))
    assert (found.finish, found.value) == ("stop", expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (said("Dark.", ["psoriasis"]), "does not fit the JSON schema"),
        (said("Dark.", ["Melanoma"]), "does not fit the JSON schema"),
        (said("Dark.", []), "does not fit the JSON schema"),
        (said("Dark.", "melanoma"), "does not fit the JSON schema"),
        (said(["Dark."], ["melanoma"]), "does not fit the JSON schema"),
        (said("Dark.", ["melanoma"] * 6), "does not fit the JSON schema"),
        (said("Dark.", ["melanoma", "[none]"]), "diagnosis has both '[none]' and values: melanoma, [none]"),
        (said(" ", ["melanoma"]), "look is empty; if nothing is stated, the answer must be '[No matching attributes]'"),
        (said("Dark. [No matching attributes]", ["melanoma"]), "look has both '[No matching attributes]' and a text"),
        ('{"look": "Dark."}', "does not fit the JSON schema"),
        ('{"look": "Dark.", "diagnosis": ["melanoma"], "cause": "sun"}', "does not fit the JSON schema"),
        ("look: dark", "is not JSON"),
    ],
)
def test_broken_answers_are_invalid(task: AspectsTask, text: str, problem: str) -> None:
    found = parsed(task, UNIT, completion(text))
    assert found.finish == "invalid" and found.value is None and problem in str(found.detail)


def test_a_cut_answer_is_invalid(task: AspectsTask) -> None:
    assert parsed(task, UNIT, completion('{"look": "Da', "length")).reason == "truncated_answer"


def test_each_aspect_has_a_row_and_each_valid_one_a_caption(task: AspectsTask) -> None:
    given = inputs(LONG)
    units = task.units(IMAGE, given)
    made = task.rows(MADE, IMAGE, given, answered(units, [{"look": None, "diagnosis": ["melanoma", "skin cancer"]}]))
    look, diagnosis = made.tables["aspects"]
    assert (look["is_valid"], look["text"], look["values"], look["made_caption"]) == (False, None, [], None)
    assert diagnosis == {
        "caption_id": "k/long/0",
        "aspect": "diagnosis",
        "is_valid": True,
        "text": "melanoma, skin cancer, neoplasm",
        "values": ["melanoma", "skin cancer"],
        "ancestors": ["neoplasm"],
        "made_caption": "k/parts/0",
    }
    (new,) = made.captions
    assert (new.caption_id, new.text) == ("k/parts/0", "melanoma, skin cancer, neoplasm")
    assert (new.granularity, new.aspect) == ("aspect", "diagnosis")
    table = schema.task_table("aspects", ASPECTS.columns)
    rows = [{**row, "key": "k", "generation": "parts"} for row in made.tables["aspects"]]
    assert pa.Table.from_pylist(rows, schema=table).num_rows == 2


def test_without_an_answer_there_is_nothing(task: AspectsTask) -> None:
    given = inputs(LONG)
    made = task.rows(MADE, IMAGE, given, answered(task.units(IMAGE, given), [None]))
    assert (made.captions, made.tables) == ((), {"aspects": []})


def test_the_content_of_the_ontology_is_the_identity_without_parents(task: AspectsTask, tmp_path: Path) -> None:
    def other(text: str) -> Any:
        (tmp_path / "p.yaml").write_text(text)
        return registry.load("aspects", {"ontology": str(tmp_path / "p.yaml")}).identity()

    assert other(FILE) == task.identity() == other(FILE.replace("[skin cancer]", "[neoplasm]"))
    assert other(FILE.replace("eczema", "acne")) != task.identity()


def test_a_broken_ontology_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text(FILE.replace("neoplasm: []", "neoplasm: [melanoma]"))
    with pytest.raises(ConfigError, match=r"task aspects: ontology: .*form a cycle"):
        registry.load("aspects", {"ontology": str(tmp_path / "o.yaml")})
