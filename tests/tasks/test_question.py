"""recaption.tasks.question: the requests about an image and the identity of their answers.

The hashes are literals: if one of them changes, stored answers are lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recaption.prompt import Prompt, load
from recaption.tasks.base import Inputs, NoSettings, Task, Unit
from recaption.tasks.output import Output
from recaption.tasks.question import Question, UnitRequest, requests
from recaption.types import Generation, Image, Locator

IMAGE = Image(key="k", source_key="k", shard="s", row=3, sha256="a" * 64, locator=Locator(path="p", size=1))


def question(folder: Path, text: str | None, **changes: Any) -> Question:
    prompt = None
    if text is not None:
        path = folder / "p.md"
        path.write_text(f"---\nid: p\nversion: 1\ngranularity: long\n---\n{text}\n")
        prompt = load(str(path))
    generation = Generation(id="long", model="m", granularity="long", fingerprint="f", column="recap")
    return Question(generation=generation, prompt=prompt, attempts=1, **changes)


def one(question: Question, **changes: Any) -> UnitRequest:
    (request,) = requests(question, replace(IMAGE, **changes))
    return request


class Scoring(Task):
    def output(self, unit: Unit | None) -> Output:
        return Output(likelihood=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(id=text, variables={"text": "it"}, statement=text) for text in ("A kite.", "A dog.")]


class Embedding(Task):
    def output(self, unit: Unit | None) -> Output:
        return Output(scores=True, embeddings=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(id="image", embeds="image"), Unit(id="text", variables={"text": "it"}, embeds="text")]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_is_that_of_the_filled_in_prompt(tmp_path: Path) -> None:
    request = one(question(tmp_path, "About {{ title }}."), columns={"title": "cats", "other": 1})
    assert (request.prompt, request.error) == ("About cats.", None)
    assert request.prompt_sha256 == sha256("About cats.")
    assert request.identity == ("a" * 64, sha256("About cats."), "")


def test_the_orientation_of_a_rotated_image_is_part_of_the_hash(tmp_path: Path) -> None:
    request = one(question(tmp_path, "Describe it."), orientation=6)
    assert request.prompt == "Describe it."
    assert request.prompt_sha256 == sha256("Describe it.\0orientation 6")


def test_a_scored_statement_is_part_of_the_hash(tmp_path: Path) -> None:
    asked = question(tmp_path, "Is {{ text }} true?", task=Scoring(NoSettings()))
    one_request, other = requests(asked, IMAGE)
    assert one_request.prompt == other.prompt == "Is it true?"
    assert one_request.prompt_sha256 == sha256("Is it true?\0likelihood A kite.")
    assert other.prompt_sha256 == sha256("Is it true?\0likelihood A dog.")


class Places(Scoring):
    def output(self, unit: Unit | None) -> Output:
        return Output(special_tokens=unit is None or unit.id != "A dog.")


def test_the_form_of_the_answer_is_that_of_the_unit(tmp_path: Path) -> None:
    asked = question(tmp_path, "Locate {{ text }}.", task=Places(NoSettings()))
    kept, plain = requests(asked, IMAGE)
    assert kept.prompt_sha256 == sha256("Locate it.\0special_tokens") and plain.prompt_sha256 == sha256("Locate it.")
    assert [asked.output_of(request.unit).special_tokens for request in (kept, plain)] == [True, False]
    assert asked.output.special_tokens
    # An answer of a version without special_tokens, from a server that keeps them, stays valid.
    assert kept.earlier_identity() == plain.identity and plain.earlier_identity() is None


def test_an_image_is_embedded_without_a_prompt_and_a_text_without_its_score(tmp_path: Path) -> None:
    image, text = requests(question(tmp_path, "{{ text }}", task=Embedding(NoSettings())), IMAGE)
    assert [(r.prompt, r.error) for r in (image, text)] == [("", None), ("it", None)]
    assert [r.prompt_sha256 for r in (image, text)] == [sha256("\0embed image"), sha256("it\0embed text")]


def test_without_dedupe_the_key_is_part_of_the_identity(tmp_path: Path) -> None:
    assert one(question(tmp_path, "Describe it.", dedupe=False)).identity[2] == "k"


def test_a_prompt_that_cannot_be_filled_in_has_an_error_and_the_hash_of_its_columns(tmp_path: Path) -> None:
    asked = question(tmp_path, "About {{ title }} and {{ tags }}.")
    request = one(asked, columns={"tags": ["a"], "other": 1})
    assert asked.prompt is not None and request.prompt is None
    assert request.error is not None and request.error.startswith("prompt p cannot be filled in: title is null")
    assert request.prompt_sha256 == sha256(f"{asked.prompt.sha256}:{{'tags': ['a'], 'title': None}}")


def test_the_hash_of_a_column_is_that_of_its_name_and_value(tmp_path: Path) -> None:
    asked = question(tmp_path, None)
    assert one(asked, columns={"recap": "x"}).prompt_sha256 == sha256("column:recap:'x'")
    assert one(asked).prompt_sha256 == sha256("column:recap:None")
    assert len(one(asked, columns={"recap": "\ud800"}).prompt_sha256) == 64
    assert one(asked).prompt is None and one(asked).error is None


def test_the_earlier_identity_is_that_of_absent_values_as_text(tmp_path: Path) -> None:
    asked = question(tmp_path, "About {{ title or 'it' }}.{{ tags }}")
    request = one(asked, columns={"title": " ", "tags": "x"})
    assert request.prompt_sha256 == sha256("About it.x")
    assert request.earlier_identity() == ("a" * 64, sha256("About  .x"), "")
    assert one(asked, columns={"title": "cats", "tags": "x"}).earlier_identity() is None
    assert one(question(tmp_path, None)).earlier_identity() is None


@pytest.mark.parametrize(("text", "times"), [("Describe it.", 1), ("About {{ title or 'it' }}.", 3)])
def test_a_prompt_without_columns_is_filled_in_once(
    tmp_path: Path, text: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    real = Prompt._filled_in
    monkeypatch.setattr(Prompt, "_filled_in", lambda self, columns: calls.append(columns) or real(self, columns))
    asked = question(tmp_path, text)
    for row in range(3):
        one(asked, row=row, columns={"title": str(row)})
    assert len(calls) == times


class Fails(Scoring):
    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        raise ValueError(f"no units: {image.key}")


class Texts(Scoring):
    def units(self, image: Image, inputs: Inputs) -> Any:
        return ["A kite."]


@pytest.mark.parametrize("task", [Fails, Texts])
def test_a_task_that_fails_on_an_image_gives_one_request_with_the_error(tmp_path: Path, task: type[Task]) -> None:
    asked = question(tmp_path, "Is it {{ text }}?", task=task(NoSettings()))
    request, other = one(asked), one(asked, key="other")
    assert request.prompt is None and request.error is not None
    assert request.error.startswith("task caption finds no units: ")
    assert request.identity == other.identity, "the message is not part of the identity"
