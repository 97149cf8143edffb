"""recaption.tasks.ontology: aspects and their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.tasks import ontology

GOOD = """
aspects:
  look: {description: what it looks like}
  diagnosis:
    description: the skin condition
    most: 2
    none: "[No definitive diagnosis]"
    values:
      melanoma: [skin cancer, dark spot]
      skin cancer: neoplasm
      dark spot: []
      neoplasm: []
"""


def load(tmp_path: Path, text: str) -> ontology.Ontology:
    (tmp_path / "o.yaml").write_text(text)
    return ontology.load(str(tmp_path / "o.yaml"))


def test_the_values_above_a_value_are_in_order(tmp_path: Path) -> None:
    aspects = load(tmp_path, GOOD).aspects
    assert list(aspects) == ["look", "diagnosis"] and not aspects["look"].values
    diagnosis = aspects["diagnosis"]
    assert (diagnosis.most, diagnosis.none) == (2, "[No definitive diagnosis]")
    assert diagnosis.ancestors("melanoma") == ("skin cancer", "dark spot", "neoplasm")
    assert diagnosis.ancestors("neoplasm") == ()


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    text = """
aspects:
  one:
    description: x
    values: {a: [b], b: [c], c: [a], d: [e]}
  two:
    description: y
    none: Left
    values: {left: [], " up": []}
"""
    with pytest.raises(ValueError, match="ontology: ") as error:
        load(tmp_path, text)
    said = str(error.value)
    assert "aspects.one: the parents form a cycle: " in said and "has parent" in said
    assert "value 'd' has the unknown parent 'e'; add it to the values" in said
    assert "aspects.two: value ' up' is blank, or begins or ends with white space" in said
    assert "'left' occurs twice" in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "valid"),
        ("aspects: {}", "aspects"),
        ("aspects: {Look: {description: x}}", "Look"),
        ("aspects: {look: {}}", "aspects.look.description: Field required"),
        ("aspects: {look: {description: x, value: {}}}", "aspects.look.value: unknown key; allowed here: description"),
        ("aspects: {look: {description: x, values: {a: [a]}}}", "cycle"),
        ("aspects: [", "is not YAML"),
        ("aspects: {look: {description: x, values: {a: [], a: []}}}", "twice"),
    ],
)
def test_files_that_are_no_ontology(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        ontology.load(str(tmp_path / "o.yaml"))
