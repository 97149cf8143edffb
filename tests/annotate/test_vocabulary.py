"""A closed vocabulary: the forms of its file, and the labels of tags."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from recaption.annotate import Annotator
from recaption.annotate.vocabulary import Vocabulary
from recaption.config import Annotate
from recaption.errors import ConfigError
from recaption.types import Caption


def written(path: Path, data: Any) -> str:
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return str(path)


FORMS: dict[str, Any] = {
    "a list": ["person", "traffic light", "cup", "polar bear", "skis"],
    "labels with synonyms": {
        "person": ["man", "women"],
        "traffic light": ["stop light"],
        "cup": [],
        "polar bear": [],
        "skis": [],
    },
    "categories": {
        "info": {},
        "categories": [
            {"id": 1, "name": "person", "synonyms": ["man", "woman"]},
            {"id": 2, "name": "traffic_light", "synonyms": ["traffic_light", "stop_light"]},
            {"id": 3, "name": "cup"},
            {"id": 4, "name": "polar_bear_(animal)"},
            {"id": 5, "name": "skis"},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_every_form_of_the_file(form: str, tmp_path: Path) -> None:
    vocabulary = Vocabulary(written(tmp_path / "labels.json", FORMS[form]))
    light = "traffic_light" if form == "categories" else "traffic light"
    assert vocabulary.label("traffic light") == light
    assert vocabulary.label("coffee cup") == "cup", "the longest end that is a label"
    assert vocabulary.label("cup holder") is None
    assert vocabulary.label("ski") == "skis"
    bear = "polar_bear_(animal)" if form == "categories" else "polar bear"
    assert vocabulary.label("bear", ["white", "polar"]) == bear
    assert vocabulary.label("bear", ["brown"]) is None
    if form != "a list":
        assert vocabulary.label("woman") == "person"
        assert vocabulary.label("stop light") == light


def test_names_precede_synonyms_and_the_first_synonym_counts(tmp_path: Path) -> None:
    vocabulary = Vocabulary(written(tmp_path / "v.json", {"mug": ["cup"], "glass": ["cup", "tumbler"], "tumbler": []}))
    assert [vocabulary.label(name) for name in ("cup", "tumbler")] == ["mug", "tumbler"]


@pytest.mark.parametrize(
    "data", ["{", "[]", "{}", "3", '[""]', "[3]", '{"a": "b"}', '{"a": [1]}', '[{"id": 1}]', '["🐶"]']
)
def test_a_file_of_another_form_is_a_config_error(data: str, tmp_path: Path) -> None:
    path = written(tmp_path / "v.json", data)
    with pytest.raises(ConfigError, match=r"annotate.vocabulary: .*v\.json: .*allowed: a list of labels"):
        Vocabulary(path)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Annotator(Annotate(vocabulary=str(tmp_path / "none.json")))


def test_tags_have_labels_and_the_vocabulary_is_in_the_provenance(tmp_path: Path) -> None:
    path = written(tmp_path / "v.json", {"person": ["man", "people"], "dog": ["puppy"]})
    annotator = Annotator(Annotate(vocabulary=path))
    text = "A man with two puppies sits on a bench. There are no people in the background."
    caption = Caption(caption_id="k/l/0", generation="l", source="m:p", granularity="long", text=text)
    ((done,),) = annotator.annotate([[caption]])
    tags = [(tag.lemma, tag.kind, tag.label) for sub in done.sub_captions for tag in sub.tags]
    assert tags == [
        ("man", "object", "person"),
        ("puppy", "object", "dog"),
        ("bench", "object", None),
        ("person", "absent", "person"),
        ("background", "meta", None),
    ]
    assert len(annotator.provenance()["vocabulary"]) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": ["kitten"],\n "dog": [],\n "cat": ["tom"]}', "'cat' twice, in line 1 and line 3"),
        ('{"categories": [{"name": "a", "name": "b"}]}', "'name' twice, in line 1 and line 1"),
        ('{"a\\"b": [], "x": ["a:", "{"],\n"a\\"b" : []}', "twice, in line 1 and line 2"),
        ('{"cat": [], "\\u0063at": []}', "'cat' twice"),
    ],
)
def test_a_duplicate_key_is_named_with_both_lines(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "v.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        Vocabulary(str(file))


def test_equal_keys_in_different_objects_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "v.json"
    file.write_text('[{"name": "a", "synonyms": ["a", "name", "name"]}, {"name": "b"}]')
    vocabulary = Vocabulary(str(file))
    assert [vocabulary.label(name) for name in ("a", "name", "b")] == ["a", "a", "b"]


@pytest.mark.parametrize(("data", "message"), [("[]".encode("utf-16"), "UTF-16"), (b"[" * 100_000, "v.json: ")])
def test_another_encoding_and_deep_nesting_are_config_errors(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "v.json"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        Vocabulary(str(file))
