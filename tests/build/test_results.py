"""recaption.build.results: what a build has of generations about units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from task_units import IMAGE
from toy_tasks import Sides, Words, answer, check, put, question, reject, words

from recaption.build.results import Result, _arrow, is_whole, result_of, specs_of, task_tables
from recaption.io.store import LocalStore
from recaption.output.units import ShardAnswers
from recaption.tasks.base import Inputs, Rows, Unit, UnitAnswer
from recaption.tasks.caption import CaptionTask
from recaption.tasks.question import Question
from recaption.types import Caption, Generation, Image
from recaption.write.entry import GenerationCounts

WORDS = words()
CHECK = check(WORDS)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def settle(store: LocalStore, asked: Question, *texts: str | None) -> None:
    missing = ShardAnswers(store, "s").of(IMAGE).state(asked).missing
    put(
        store, asked, *(reject(r) if text is None else answer(r, text) for r, text in zip(missing, texts, strict=False))
    )


def result(store: LocalStore, asked: Question, *images: Image) -> Result:
    """The result for the first image, after the tables of all `images` were made."""
    images = images or (IMAGE,)
    stored = ShardAnswers(store, "s", final=True)
    results = {asked.id: {image.key: result_of(stored.of(image), asked, image) for image in images}}
    tables = task_tables([asked], results)
    for name, table in tables.items():
        rows = [row for found in results[asked.id].values() for row in found.rows.get(name, ())]
        assert table.num_rows == len(rows), "results and tables have the same rows"
    return results[asked.id][images[0].key]


def counts(found: Result) -> tuple[int, ...]:
    c = found.counts
    assert c.asked == c.answered + c.rejected and sum(c.reasons.values()) == c.rejected
    return c.asked, c.answered, c.rejected, c.skipped, c.unanswered


def test_only_generations_of_one_caption_per_image_are_whole() -> None:
    assert is_whole(question(CaptionTask, "long", "Describe it."))
    for asked in (WORDS, CHECK, question(Sides, "sides", "{{ side }}")):
        assert not is_whole(asked)


def test_rows_have_the_key_and_the_generation_and_counts_are_of_units(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog cat owl")
    settle(store, CHECK, "yes", None)
    found = result(store, CHECK)
    assert found.rows == {
        "checks": [
            {"key": "k", "generation": "check", "word": "cat", "verdict": "yes"},
            {"key": "k", "generation": "check", "word": "cat", "verdict": "yes"},
        ]
    }
    assert counts(found) == (3, 2, 1, 0, 1), "the last word has no answer"
    assert [(r.key, r.reason, r.unit) for r in found.rejects] == [("k", "refusal", "words#1")]
    assert (found.has_answer, found.failures) == (True, ())


def test_an_image_without_an_upstream_answer_is_skipped(store: LocalStore) -> None:
    settle(store, WORDS, None)
    assert counts(result(store, WORDS)) == (1, 0, 1, 0, 0)
    found = result(store, CHECK)
    assert counts(found) == (0, 0, 0, 1, 0)
    assert (found.has_answer, found.rows, found.rejects, found.failures) == (False, {}, (), ())


def test_what_reads_a_generation_with_missing_units_is_built_from_the_others(store: LocalStore) -> None:
    settle(store, WORDS, "cat dog")
    settle(store, CHECK, "yes")
    below = question(Reads, "below", "{{ word }} again?", CHECK)
    assert counts(result(store, below)) == (0, 0, 0, 0, 1)
    assert counts(result(store, question(Reads, "lower", "{{ word }}", below))) == (0, 0, 0, 1, 0)


class Reads(Words):
    """One request for each row of any table that it reads."""

    reads = frozenset({"checks", "words"})
    variables = frozenset({"word"})

    def units(self, image: Image, inputs: Inputs) -> Any:
        rows = [row for above in inputs.values() for table in above.tables.values() for row in table]
        return [Unit(id=str(n), variables={"word": row["word"]}) for n, row in enumerate(rows)]


class Gives(Words):
    """Gives the rows that a test sets."""

    made: ClassVar[Any] = None

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (ValueError("a bad answer"), "ValueError: a bad answer"),
        (Rows(tables={"others": []}), "rows of others, which is not one of its tables"),
        (Rows(tables={"words": [{"word": "a", "n": 1}]}), "table words: a row has n; its columns are"),
        (Rows(tables={"words": [{"word": 3}]}), "ArrowTypeError"),
        (
            Rows(tables={"words": [{"word": "a"}, {}]}),
            "a row has no word, and that column is not nullable",
        ),
        (None, "AttributeError"),
        (Rows(captions=("a text",)), "caption 0 is not a Caption of generation gives with id k/gives/0"),  # type: ignore[arg-type]
        (
            Rows(
                captions=(
                    Caption(caption_id="k/long/0", generation="long", source="m:p", granularity="long", text="A"),
                )
            ),
            "caption 0 is not a Caption of generation gives with id k/gives/0",
        ),
    ],
)
def test_rows_that_do_not_match_cost_this_image_and_are_a_failure(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, made: Any, error: str
) -> None:
    monkeypatch.setattr(Gives, "made", made)
    asked = question(Gives, "gives", "List words.")
    settle(store, asked, "cat")
    found = result(store, asked)
    assert (found.rows, found.captions, found.has_answer, counts(found)) == ({}, (), True, (1, 1, 0, 0, 0))
    (failure,) = found.failures
    assert (failure.caption_id, failure.table) == ("k/gives/0", "words") and error in failure.error


def test_a_task_cannot_give_the_key_of_another_image(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gives, "made", Rows(tables={"words": [{"word": "a", "key": "other", "generation": "x"}]}))
    asked = question(Gives, "gives", "List words.")
    settle(store, asked, "cat")
    assert result(store, asked).rows == {"words": [{"word": "a", "key": "k", "generation": "gives"}]}


def with_rows(generation: str, key: str, *words: Any) -> Result:
    rows = [{"key": key, "generation": generation, "word": word} for word in words]
    return Result(has_answer=True, counts=GenerationCounts(), rows={"words": rows})


def test_all_tables_of_tasks_are_written_also_without_rows() -> None:
    assert list(specs_of([WORDS, CHECK])) == ["words", "checks"]
    nothing = Result(has_answer=False, counts=GenerationCounts())
    tables = task_tables([WORDS, CHECK], {"words": {"k": with_rows("words", "k", "cat")}, "check": {"k": nothing}})
    assert tables["words"].to_pylist() == [{"key": "k", "generation": "words", "word": "cat"}]
    assert tables["checks"].num_rows == 0 and tables["checks"].column_names == ["key", "generation", "word", "verdict"]


def test_a_table_of_two_generations_has_its_rows_image_by_image() -> None:
    other = question(Words, "other", "List other words.")
    results = {id: {key: with_rows(id, key, f"{id} {key}") for key in "ab"} for id in ("words", "other")}
    table = task_tables([WORDS, other], results)["words"]
    assert table["word"].to_pylist() == ["words a", "other a", "words b", "other b"]


def test_rows_become_a_table_once_and_one_by_one_only_if_some_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(spec: Any, rows: Sequence[Any]) -> Any:
        calls.append(len(rows))
        return _arrow(spec, rows)

    monkeypatch.setattr("recaption.build.results._arrow", counted)
    of_images = {key: with_rows("words", key, "cat", "dog") for key in "abc"}
    assert task_tables([WORDS], {"words": of_images})["words"].num_rows == 6 and calls == [6]
    calls.clear()
    of_images["b"] = with_rows("words", "b", "cat", 3)
    assert task_tables([WORDS], {"words": of_images})["words"]["key"].to_pylist() == ["a", "a", "c", "c"]
    assert calls == [6, 2, 2, 2, 4]
    assert [(key, len(found.rows), len(found.failures)) for key, found in of_images.items()] == [
        ("a", 1, 0),
        ("b", 0, 1),
        ("c", 1, 0),
    ]


def test_a_task_decides_when_an_image_has_its_result(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(store, WORDS, "cat dog")
    monkeypatch.setattr(Words, "has_result", lambda self, answers, rows: len(rows.tables["words"]) > 2)
    assert not result(store, WORDS).has_answer
    monkeypatch.setattr(Words, "has_result", lambda self, answers, rows: len(answers) == 1 and bool(rows.tables))
    assert result(store, WORDS).has_answer
