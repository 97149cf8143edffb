"""recaption.build.reviewed: flags and weights of reviewed sub-captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import pyarrow as pa
import pytest

from recaption import schema
from recaption.annotate import Annotator
from recaption.build.reviewed import with_reviews
from recaption.build.support import by_verification
from recaption.config import Annotate, Weights
from recaption.prompt import load
from recaption.tasks import registry
from recaption.tasks.question import Question
from recaption.tasks.review import REVIEWS
from recaption.types import Caption, Generation, Record, SubCaption

ANNOTATOR = Annotator(Annotate())
Row = tuple[str, str, bool, str | None]  # generation, sub_id, is_meta, dup_of


def captions(**texts: str) -> tuple[Caption, ...]:
    """The annotated captions of an image `k`, one for each generation."""
    made = [
        Caption(caption_id=f"k/{name}/0", generation=name, source="m:p", granularity="long", text=text)
        for name, text in texts.items()
    ]
    return ANNOTATOR.annotate([made])[0]


def record(made: tuple[Caption, ...]) -> Record:
    return Record(key="k", source_key="k", shard="0", row=0, sha256="", status="ok", captions=made)


def question(id: str, *, apply: bool = True) -> Question:
    made = Generation(id=id, model="m", granularity=None, fingerprint="f", prompt="review")
    task = registry.load("review", {"apply": apply})
    return Question(generation=made, prompt=load("review"), attempts=1, task=task)


def table(*rows: Row) -> pa.Table:
    names = ("generation", "sub_id", "is_meta", "dup_of")
    made = [dict(zip(names, row, strict=True)) | {"key": "k", "model": "m", "prompt": None} for row in rows]
    return pa.Table.from_pylist(made, schema=schema.task_table("reviews", REVIEWS.columns))


def reviewed(made: tuple[Caption, ...], *rows: Row) -> dict[str, SubCaption]:
    """The sub-captions after these reviews, by sub_id without the key."""
    questions = [question(id) for id in dict.fromkeys(row[0] for row in rows)]
    (new,) = with_reviews([record(made)], table(*rows), questions, ANNOTATOR.weights)
    return by_id(new.captions)


def by_id(made: Sequence[Caption]) -> dict[str, SubCaption]:
    return {sub.sub_id.removeprefix("k/"): sub for caption in made for sub in caption.sub_captions}


def read(
    generation: str, ids: Sequence[str], *, empty: str = "", repeats: Mapping[str, str] | None = None
) -> list[Row]:
    """The rows of one review of these sub-captions, ids without the key."""
    originals = {f"k/{id}": f"k/{of}" for id, of in (repeats or {}).items()}
    return [(generation, f"k/{id}", id in empty.split(), originals.get(f"k/{id}")) for id in ids]


ONE = captions(
    long="A brown dog runs over a field. The mood is calm. The dog is brown and runs over a field. A red ball is there."
)
IDS = [*by_id(ONE)]


def test_the_rules_flag_what_the_tests_need() -> None:
    found = by_id(ONE)
    assert list(found) == [f"long/0#{n}" for n in range(4)]
    assert [sub.is_meta for sub in found.values()] == [False, True, False, False]
    assert [sub.dup_of for sub in found.values()] == [None, None, "k/long/0#0", None]


def test_flags_of_a_review_replace_those_of_the_rules() -> None:
    before, after = by_id(ONE), reviewed(ONE, *read("r", IDS, empty="long/0#3", repeats={"long/0#1": "long/0#0"}))
    assert [(s.is_meta, s.dup_of) for s in after.values()] == [
        (False, None),
        (False, "k/long/0#0"),
        (False, None),
        (True, None),
    ]
    assert after["long/0#0"] == before["long/0#0"]
    assert after["long/0#1"].weight == 0.0, "a repetition"
    assert before["long/0#2"].weight == 0.0 and after["long/0#2"].weight > 0.5, "the false flag is lifted"
    assert after["long/0#3"].weight == pytest.approx(before["long/0#3"].weight * 0.1, abs=1e-4)
    for id, sub in after.items():
        assert replace(sub, is_meta=False, dup_of=None, weight=0) == replace(
            before[id], is_meta=False, dup_of=None, weight=0
        ), "nothing else changes"


def test_a_lifted_flag_leaves_the_weight_that_the_rules_give_without_it() -> None:
    """Of the sentence that repeats, the factor for known words stays: it is computed from the texts."""
    after = reviewed(ONE, *read("r", IDS))
    assert after["long/0#2"].weight == 0.8, "all of its words are known"
    factors = Annotator(Annotate(weights=Weights(duplicate=1.0, meta=1.0)))
    bare = [replace(caption, sub_captions=()) for caption in ONE]
    expected = by_id(factors.annotate([bare])[0])
    assert {id: sub.weight for id, sub in after.items()} == {id: sub.weight for id, sub in expected.items()}


def test_without_reviews_records_stay_as_they_are() -> None:
    records = [record(ONE)]
    assert with_reviews(records, None, [question("r")], ANNOTATOR.weights) == records
    assert with_reviews(records, table(), [question("r")], ANNOTATOR.weights) == records
    rows = table(*read("r", IDS, empty=" ".join(IDS)))
    assert with_reviews(records, rows, [question("r", apply=False)], ANNOTATOR.weights) == records
    assert with_reviews(records, rows, [], ANNOTATOR.weights) == records


def test_sub_captions_without_a_review_keep_their_flags() -> None:
    after = reviewed(ONE, *read("r", IDS[:1], empty=IDS[0]))
    assert after[IDS[0]].is_meta
    assert {id: after[id] for id in IDS[1:]} == {id: sub for id, sub in by_id(ONE).items() if id in IDS[1:]}


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([True], True),
        ([False], False),
        ([True, False], None),
        ([True, True, False], True),
        ([True, False, False], False),
    ],
)
def test_most_reviews_decide_and_ties_keep_the_flags_of_the_rules(votes: list[bool], expected: bool | None) -> None:
    before, rows = by_id(ONE), list[Row]()
    for n, vote in enumerate(votes):
        repeats = {id: IDS[0] for id in IDS[1:]} if vote else {}
        rows += read(f"r{n}", IDS, empty=" ".join(IDS) if vote else "", repeats=repeats)
    after = reviewed(ONE, *rows)
    for id in IDS[1:]:
        assert after[id].is_meta == (before[id].is_meta if expected is None else expected)
        assert after[id].dup_of == (before[id].dup_of if expected is None else "k/long/0#0" if expected else None)


def test_the_original_is_the_one_that_most_reviews_name() -> None:
    rows = [row for n, of in enumerate((0, 1, 1)) for row in read(f"r{n}", IDS, repeats={IDS[3]: IDS[of]})]
    assert reviewed(ONE, *rows)[IDS[3]].dup_of == f"k/{IDS[1]}"
    assert reviewed(ONE, *rows[:8])[IDS[3]].dup_of == f"k/{IDS[0]}", "of two, the first"


def test_one_of_two_reviews_may_be_kept_from_the_build() -> None:
    rows = [*read("r", IDS), *read("kept", IDS, empty=IDS[0])]
    questions = [question("r"), question("kept", apply=False)]
    (new,) = with_reviews([record(ONE)], table(*rows), questions, ANNOTATOR.weights)
    assert not by_id(new.captions)[IDS[0]].is_meta


TWO = captions(raw="A brown dog runs.", long="A brown dog runs. A cat sleeps.", short="A cat sleeps. A brown dog runs.")


def test_a_repetition_of_what_was_not_read_stays() -> None:
    """The model cannot know it: raw captions are in no review."""
    assert [sub.dup_of for sub in by_id(TWO).values()] == [None, "k/raw/0#0", None, "k/long/0#1", "k/raw/0#0"]
    after = reviewed(TWO, *read("r", ["long/0#0", "long/0#1", "short/0#0", "short/0#1"]))
    assert [sub.dup_of for sub in after.values()] == [None, "k/raw/0#0", None, None, "k/raw/0#0"]


def test_a_repetition_of_a_repetition_names_the_first() -> None:
    ids = ["long/0#0", "long/0#1", "short/0#0", "short/0#1"]
    after = reviewed(TWO, *read("r", ids, repeats={"short/0#0": "long/0#0"}))
    assert after["short/0#0"].dup_of == "k/raw/0#0" and after["short/0#0"].weight == 0


def test_captions_outside_of_the_review_name_the_first_too() -> None:
    after = reviewed(TWO, *read("r", ["long/0#0", "long/0#1"], repeats={"long/0#1": "long/0#0"}))
    assert after["long/0#1"].dup_of == "k/raw/0#0", "`long/0#0` repeats it by the rules"
    assert after["short/0#0"].dup_of == "k/raw/0#0", "by the rules, it repeats long/0#1"


def test_a_repetition_of_a_later_sub_caption_does_not_count() -> None:
    """`over` names the generations in another order than the pipeline."""
    ids = ["short/0#0", "short/0#1", "long/0#0", "long/0#1"]
    after = reviewed(TWO, *read("r", ids, repeats={"long/0#1": "short/0#0"}))
    assert after["long/0#1"].dup_of is None
    rows = [*read("r", ids, repeats={"long/0#1": "short/0#0"}), *read("s", ids, repeats={"short/0#0": "long/0#1"})]
    after = reviewed(TWO, *rows)
    assert [after[id].dup_of for id in ("long/0#1", "short/0#0")] == [None, "k/long/0#1"], "no cycle"


def test_originals_are_earlier_and_repeat_nothing() -> None:
    ids, n = [*by_id(TWO)], 0
    for choice in product([None, *ids[:3]], repeat=len(ids) - 1):
        repeats = {id: of for id, of in zip(ids[1:], choice, strict=True) if of is not None and of != id}
        after, seen = reviewed(TWO, *read("r", ids[:4], repeats=repeats)), set[str]()
        for sub in after.values():
            assert sub.dup_of is None or (sub.dup_of in seen and sub.dup_of != sub.sub_id)
            assert sub.dup_of is None or after[sub.dup_of.removeprefix("k/")].dup_of is None
            seen.add(sub.sub_id)
        n += 1
    assert n == 4**4


def test_verifications_are_used_after_reviews() -> None:
    """A repetition found by the model takes the place of its unsupported original."""
    (new,) = with_reviews(
        [record(ONE)], table(*read("r", IDS, repeats={IDS[3]: IDS[0]})), [question("r")], ANNOTATOR.weights
    )
    p_true = pa.table({"sub_id": [f"k/{IDS[0]}", f"k/{IDS[2]}", f"k/{IDS[3]}"], "p_true": [0.0, 0.0, 1.0]})
    (made,) = by_verification([new], p_true, 0.1)
    before, after = by_id(new.captions), by_id(made.captions)
    assert after[IDS[0]].weight == pytest.approx(before[IDS[0]].weight * 0.1)
    assert after[IDS[2]].weight == pytest.approx(before[IDS[2]].weight * 0.1), "lifted, but not supported"
    assert (after[IDS[3]].dup_of, after[IDS[3]].weight) == (None, before[IDS[0]].weight)
