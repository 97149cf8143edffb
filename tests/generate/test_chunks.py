"""Chunks: what is missing of a shard, cut up; and what is left of a chunk after somebody worked on it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest
import toy_tasks
from hypothesis import given
from hypothesis import strategies as st
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.errors import ShardError
from recaption.generate.chunks import (
    CHUNK_SIZE,
    Chunk,
    Job,
    ShardListing,
    list_one,
    list_shard,
    recheck,
    reject_poison,
)
from recaption.io.store import LocalStore
from recaption.output import answers as parts
from recaption.output.index import load_index
from recaption.output.units import ShardAnswers
from recaption.prompt import load
from recaption.source import Source, open_source
from recaption.tasks.question import Question, requests
from recaption.types import Answer, Attempt, Generation, Image, Reject, Sampling, SourceShard

SHARD = SourceShard(id="s", number=0, path="s.tar")


def question(name: str = "long", dedupe: bool = True) -> Question:
    generation = Generation(
        id=name, model="m", granularity="long", fingerprint="f" * 16, prompt=name, sampling=Sampling(max_tokens=8)
    )
    return Question(generation=generation, prompt=load(f"describe_{name}"), attempts=1, dedupe=dedupe)


def source_of(folder: Path) -> Source:
    return open_source(config.Source(path=f"{folder}/*.tar"))


@pytest.fixture
def source(make_source: Callable[..., Path]) -> Source:
    return source_of(make_source(shards=1, per_shard=10))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def listed(
    store: LocalStore, source: Source, *questions: Question, retry_reasons: Collection[str] = ()
) -> ShardListing:
    (shard,) = source.shards()
    return list_shard(store, source, shard, questions, frozenset(), retry_reasons=frozenset(retry_reasons))


def job(store: LocalStore, source: Source, epoch: int = 1, retry_reasons: frozenset[str] = frozenset()) -> Job:
    return Job(source=source, store_url=store.url, epoch=epoch, retry_reasons=retry_reasons)


def images_of(store: LocalStore, source: Source) -> list[Image]:
    (shard,) = source.shards()
    return load_index(store, source, shard)[0]


def settle(
    store: LocalStore,
    asked: Question,
    images: list[Image],
    *,
    reason: str | None = None,
    name: str = "000000.000001-0000-0_0",
) -> None:
    """Put answers for the images, or rejects."""
    answers, rejects = [], []
    for image in images:
        prompt = requests(asked, image)[0].prompt_sha256
        if reason is None:
            attempt = Attempt(seed=1, temperature=0.0, finish_reason="stop", output_tokens=3)
            answers.append(
                Answer(
                    key=image.key,
                    sha256=image.sha256,
                    row=image.row,
                    text="A dog.",
                    finish_reason="stop",
                    prompt_tokens=1,
                    output_tokens=3,
                    prompt_sha256=prompt,
                    attempts=(attempt,),
                )
            )
        else:
            why = {"stage": "generate", "generation": asked.id, "reason": reason, "detail": "", "attempts": 1}
            rejects.append(Reject.of(image, prompt_sha256=prompt, **why))  # type: ignore[arg-type]
    parts.put_part(store, asked, images[0].shard, name, answers, rejects)


# pure

masks = st.integers(0, 2**12 - 1)


def chunk(*missing: int, first: int = 0) -> Chunk:
    return Chunk(shard=SHARD, digest="d", number=first // CHUNK_SIZE, first=first, missing=missing)


@given(masks, masks, st.sets(st.integers(512, 523)))
def test_a_chunk_splits_into_some_rows_and_the_others(long: int, short: int, rows: set[int]) -> None:
    whole = chunk(long, short, first=512)
    some, others = whole.only(rows), whole.without(rows)
    assert some.requests + others.requests == whole.requests
    assert set(some.rows()) == rows & set(whole.rows())
    assert set(others.rows()) == set(whole.rows()) - rows
    assert (whole.minus(some), whole.minus(others)) == (others, some)
    assert whole.minus(whole).requests == 0


@given(masks, masks)
def test_a_chunk_counts_its_requests(long: int, short: int) -> None:
    whole = chunk(long, short, first=256)
    asked = [(row, question) for row in whole.rows() for question in (0, 1) if whole.lacks(row, question)]
    assert len(asked) == whole.requests
    assert whole.rows() == sorted({row for row, _ in asked})


def test_a_chunk_takes_little_memory() -> None:
    whole = chunk(2**256 - 1, 2**256 - 1)
    many = pickle.dumps([replace(whole, number=number) for number in range(1000)])
    assert len(many) / 1000 < 150


# listing


def test_a_new_shard_is_cut_into_chunks_and_all_of_it_is_missing(make_source: Callable[..., Path]) -> None:
    source = source_of(make_source(shards=1, per_shard=CHUNK_SIZE + 4))
    found = listed(LocalStore(make_source(shards=0).parent / "out"), source, question("long"), question("short"))
    assert [(c.number, c.first, len(c.rows()), c.requests) for c in found.chunks] == [
        (0, 0, CHUNK_SIZE, 2 * CHUNK_SIZE),
        (1, CHUNK_SIZE, 4, 8),
    ]
    assert (found.images, found.usable, found.done) == (CHUNK_SIZE + 4, CHUNK_SIZE + 4, (0, 0))


def test_stored_answers_are_not_missing(store: LocalStore, source: Source) -> None:
    long, short = question("long"), question("short")
    images = images_of(store, source)
    settle(store, long, images[:4])
    settle(store, short, images[2:3], reason="refusal")
    (found,) = listed(store, source, long, short).chunks
    assert [row for row in range(10) if not found.lacks(row, 0)] == [0, 1, 2, 3]
    assert [row for row in range(10) if not found.lacks(row, 1)] == [2]
    assert listed(store, source, long, short).done == (4, 1)


def test_a_prompt_that_fails_for_every_image_is_listed_for_every_image(
    store: LocalStore, source: Source, tmp_path: Path
) -> None:
    """It is rejected image by image when it is filled in, and the rejects settle it."""
    (tmp_path / "fails.md").write_text("---\nid: fails\nversion: 1\nkind: long\n---\n{{ 1 / 0 }}\n")
    fails = replace(question(), prompt=load(str(tmp_path / "fails.md")))
    assert sum(chunk.requests for chunk in listed(store, source, fails).chunks) == len(images_of(store, source))
    settle(store, fails, images_of(store, source), reason="request_error")
    assert not listed(store, source, fails).chunks


def test_a_limit_restricts_a_shard_to_its_first_images(store: LocalStore, source: Source) -> None:
    (shard,) = source.shards()
    found = list_shard(store, source, shard, [question()], frozenset(), limit=3)
    assert (found.images, [c.rows() for c in found.chunks]) == (3, [[0, 1, 2]])


def test_excluded_images_get_no_requests(store: LocalStore, source: Source) -> None:
    (shard,) = source.shards()
    excluded = frozenset({images_of(store, source)[3].sha256})
    found = list_shard(store, source, shard, [question()], excluded)
    assert (found.images, found.usable) == (10, 9)
    assert 3 not in found.chunks[0].rows()


# what is asked once, and what is asked each for itself


@pytest.fixture
def twins(tmp_path: Path) -> Source:
    """Images 0 and 2 are the same picture."""
    pictures = [jpeg(1), jpeg(2), jpeg(1)]
    write_tar(tmp_path / "twins" / "00000.tar", [sample(f"k{i}", picture) for i, picture in enumerate(pictures)])
    return source_of(tmp_path / "twins")


def test_equal_images_share_one_request(store: LocalStore, twins: Source) -> None:
    (found,) = listed(store, twins, question()).chunks
    assert found.rows() == [0, 1]
    settle(store, question(), images_of(store, twins)[:1])
    (found,) = listed(store, twins, question()).chunks
    assert found.rows() == [1]
    assert listed(store, twins, question()).done == (2,)


def test_without_deduplication_each_equal_image_has_a_request(store: LocalStore, twins: Source) -> None:
    each = question(dedupe=False)
    (found,) = listed(store, twins, each).chunks
    assert found.rows() == [0, 1, 2]
    settle(store, each, images_of(store, twins)[:1])
    (found,) = listed(store, twins, each).chunks
    assert found.rows() == [1, 2], "an answer is of the image that was asked about"
    assert recheck([each], job(store, twins), found, 0)[0].rows() == [1, 2]
    parts.compact(store, each, found.shard.id)
    (found,) = listed(store, twins, each).chunks
    assert found.rows() == [1, 2]


# narrowing


def test_a_recheck_returns_what_is_still_missing(store: LocalStore, source: Source) -> None:
    long, short = question("long"), question("short")
    (found,) = listed(store, source, long, short).chunks
    images = images_of(store, source)
    settle(store, long, images[:6])
    settle(store, short, images[4:], reason="repetition")
    left = recheck([long, short], job(store, source), found, 0)[0]
    assert [row for row in range(10) if left.lacks(row, 0)] == [6, 7, 8, 9]
    assert [row for row in range(10) if left.lacks(row, 1)] == [0, 1, 2, 3]
    part = recheck([long, short], job(store, source), found.only([3, 5]), 0)[0]
    assert (part.rows(), part.requests) == ([3], 1), "never more than was asked about"


def test_a_recheck_of_a_complete_chunk_returns_nothing(store: LocalStore, source: Source) -> None:
    (found,) = listed(store, source, question()).chunks
    settle(store, question(), images_of(store, source))
    assert recheck([question()], job(store, source), found, 0)[0].requests == 0


def test_a_recheck_of_a_changed_shard_raises(store: LocalStore, source: Source) -> None:
    (found,) = listed(store, source, question()).chunks
    with pytest.raises(ShardError, match="changed while it was being read"):
        recheck([question()], job(store, source), replace(found, digest="other"), 0)


# retry_reasons


@pytest.mark.parametrize("compacted", [False, True])
def test_rejects_for_retried_reasons_are_missing(store: LocalStore, source: Source, compacted: bool) -> None:
    images = images_of(store, source)
    settle(store, question(), images[:4], reason="refusal")
    settle(store, question(), images[4:6], reason="poison", name="000000.000001-0001-0_0")
    settle(store, question(), images[6:], name="000000.000001-0002-0_0")
    if compacted:
        parts.compact(store, question(), images[0].shard)
    assert listed(store, source, question()).chunks == ()
    (found,) = listed(store, source, question(), retry_reasons=["refusal"]).chunks
    assert found.rows() == [0, 1, 2, 3]
    (found,) = listed(store, source, question(), retry_reasons=["refusal", "poison"]).chunks
    assert found.rows() == [0, 1, 2, 3, 4, 5]


def test_a_reject_of_the_retry_itself_counts(store: LocalStore, source: Source) -> None:
    images = images_of(store, source)
    settle(store, question(), images, reason="refusal")
    retry_reasons = frozenset({"refusal"})
    (found,) = listed(store, source, question(), retry_reasons=retry_reasons).chunks
    assert len(recheck([question()], job(store, source, 2, retry_reasons), found, 0)[0].rows()) == 10
    settle(store, question(), images[:3], reason="refusal", name="000000.000002-0000-1_0")
    assert recheck([question()], job(store, source, 2, retry_reasons), found, 0)[0].rows() == [3, 4, 5, 6, 7, 8, 9]
    assert len(recheck([question()], job(store, source, 3, retry_reasons), found, 0)[0].rows()) == 10


def test_an_answer_from_a_retry_replaces_the_reject(store: LocalStore, source: Source) -> None:
    images = images_of(store, source)
    settle(store, question(), images, reason="refusal")
    parts.compact(store, question(), images[0].shard)
    settle(store, question(), images[:9], name="000000.000002-0000-1_0")
    (found,) = listed(store, source, question(), retry_reasons=["refusal"]).chunks
    assert found.rows() == [9]
    parts.compact(store, question(), images[0].shard)
    (found,) = listed(store, source, question(), retry_reasons=["refusal"]).chunks
    assert found.rows() == [9]


# poison


def test_poison_is_rejected_for_each_question_that_is_missing(store: LocalStore, source: Source) -> None:
    long, short = question("long"), question("short")
    settle(store, short, images_of(store, source)[7:8])
    (found,) = listed(store, source, long, short).chunks
    poison = found.only([6, 7])
    made, counters = reject_poison([long, short], job(store, source), poison, 0, "signal 11")
    assert [(each.generation, each.row) for each in made] == [("long", 6), ("long", 7), ("short", 6)]
    assert counters.rejects == {("long", "poison"): 2, ("short", "poison"): 1} and not counters.images
    left = recheck([long, short], job(store, source), found, 0)[0]
    assert left == found.without([6, 7])
    rejects = parts.finished(store, long, found.shard.id).rejects.values()
    assert [(r.row, r.reason, r.detail, r.stage) for r in rejects] == [
        (6, "poison", "signal 11", "generate"),
        (7, "poison", "signal 11", "generate"),
    ]


# units

WORDS = toy_tasks.words()
CHECK = toy_tasks.check(WORDS)
BELOW = toy_tasks.question(toy_tasks.Again, "below", "{{ word }} again?", CHECK)
STAGES = (WORDS, CHECK, BELOW)


def answer_missing(store: LocalStore, asked: Question, images: list[Image], *texts: str | None) -> None:
    """Store an answer for each missing request of each image, or a reject for None. Others stay missing."""
    for image in images:
        missing = ShardAnswers(store, image.shard).of(image).state(asked).missing
        items = [
            toy_tasks.reject(r) if text is None else toy_tasks.answer(r, text)
            for r, text in zip(missing, texts, strict=False)
        ]
        toy_tasks.put(store, asked, *items, shard=image.shard)


def lacks(chunk: Chunk, rows: int) -> list[list[int]]:
    """The rows that lack each question."""
    return [[row for row in range(rows) if chunk.lacks(row, i)] for i in range(len(chunk.missing))]


def test_an_image_is_missing_in_each_stage_until_all_of_its_units_are_answered(
    store: LocalStore, source: Source
) -> None:
    images = images_of(store, source)[:5]
    (found,) = listed(store, source, *STAGES).chunks
    assert lacks(found, 10) == [list(range(10))] * 3
    answer_missing(store, WORDS, images[:3], "cat dog")
    answer_missing(store, WORDS, images[3:4], None)
    answer_missing(store, WORDS, images[4:5], " ")
    answer_missing(store, CHECK, images[:1], "yes", "no")
    answer_missing(store, CHECK, images[1:2], "yes")
    listing = listed(store, source, *STAGES)
    assert listing.done == (5, 3, 2), "also of images without an upstream answer, and of those without units"
    left = [[5, 6, 7, 8, 9], [1, 2, 5, 6, 7, 8, 9], [0, 1, 2, 5, 6, 7, 8, 9]]
    assert lacks(listing.chunks[0], 10) == left
    rechecked, counters = recheck(STAGES, job(store, source), found, 0)
    assert lacks(rechecked, 10) == left
    assert (counters.answers, counters.rejects) == ({"words": 4, "check": 3}, {("words", "refusal"): 1})
    assert counters.images == {"check": 3, "below": 2}
    assert counters.skipped == {"check": 1, "below": 1}


def test_a_recheck_counts_units_of_its_actor_only(store: LocalStore, source: Source) -> None:
    """Units of earlier runs are none of this run; those of an actor that has reported them are counted already."""
    image = images_of(store, source)[0]
    answer_missing(store, WORDS, [image], "cat dog owl")
    missing = ShardAnswers(store, image.shard).of(image).state(CHECK).missing
    (found,) = listed(store, source, *STAGES).chunks
    stored = zip(("000001-0000-7_3", "000002-0000-1_3", "000002-0000-7_9"), missing, strict=True)
    for part, request in stored:
        made = [toy_tasks.answer(request, "yes")]
        parts.put_part(store, CHECK, image.shard, f"000000.{part}", made, [])
    left, counters = recheck(STAGES, job(store, source, epoch=2), found.only([0]), 7)
    assert counters.answers == {"check": 1} and counters.images == {"check": 1}
    assert lacks(left, 10) == [[], [], [0]]


def test_units_of_a_task_that_reads_nothing_are_found_one_by_one(store: LocalStore, source: Source) -> None:
    sides = toy_tasks.question(toy_tasks.Sides, "sides", "What is on the {{ side }}?")
    answer_missing(store, sides, images_of(store, source)[:1], "a cat")
    answer_missing(store, sides, images_of(store, source)[1:2], "a cat", None)
    (found,) = listed(store, source, sides).chunks
    assert found.rows() == [0, *range(2, 10)]


@pytest.fixture
def alike(tmp_path: Path) -> Source:
    """Three equal images; the second and the third have the same title."""
    samples = [sample(key, jpeg(1), title=title) for key, title in (("a", "A"), ("b", "B"), ("c", "B"))]
    write_tar(tmp_path / "alike" / "00000.tar", samples)
    return source_of(tmp_path / "alike")


def test_equal_images_are_asked_about_once_in_all_stages(store: LocalStore, alike: Source) -> None:
    listing = listed(store, alike, *STAGES)
    assert lacks(listing.chunks[0], 3) == [[0], [0], [0]] and listing.duplicates == (2, 2, 2)
    answer_missing(store, WORDS, images_of(store, alike)[:1], "cat dog")
    listing = listed(store, alike, *STAGES)
    assert lacks(listing.chunks[0], 3) == [[], [0], [0]] and listing.duplicates == (0, 2, 2)


def test_an_image_that_reads_an_answer_about_an_equal_one_gets_its_own(store: LocalStore, alike: Source) -> None:
    """Its row may be worked on before the row that has the answer, and nothing could be made of it."""
    titled = toy_tasks.question(toy_tasks.Words, "titled", "List words of {{ title }}.")
    both = toy_tasks.check(WORDS, titled)
    listing = listed(store, alike, WORDS, titled, both)
    assert lacks(listing.chunks[0], 3) == [[0, 1], [0, 1], [0, 1]] and listing.duplicates == (1, 1, 1)
    listing = listed(store, alike, WORDS, titled)
    assert lacks(listing.chunks[0], 3) == [[0], [0, 1]], "without a question that reads both"


def test_poison_rejects_only_missing_units_and_counts_the_images(store: LocalStore, source: Source) -> None:
    images = images_of(store, source)
    (found,) = listed(store, source, *STAGES).chunks
    answer_missing(store, WORDS, images[1:2], "cat dog")
    answer_missing(store, CHECK, images[1:2], "yes")
    poison = recheck(STAGES, job(store, source), found, 0)[0].only([0, 1])
    made, counters = reject_poison(STAGES, job(store, source), poison, 0, "signal 11")
    assert [(each.generation, each.row, each.unit) for each in made] == [
        ("words", 0, None),
        ("check", 1, "words#1"),
        ("below", 1, "check#0"),
    ]
    assert counters.images == {"check": 2, "below": 2} and counters.skipped == {"check": 1, "below": 1}
    assert recheck(STAGES, job(store, source), found, 0)[0].rows() == list(range(2, 10))


def test_answers_of_a_column_about_units_count_their_images(store: LocalStore, source: Source) -> None:
    sides = toy_tasks.question(toy_tasks.Sides, "sides", "")
    sides = replace(sides, prompt=None, generation=replace(sides.generation, column="caption"))
    (shard,) = source.shards()
    listing = list_one((sides,), job(store, source), shard, from_source=True)
    assert listing.counters.images == {"sides": 10} and listing.chunks == ()


def test_a_chunk_lists_its_rows() -> None:
    shard = SourceShard(id="s", number=0, path="s.tar")
    chunk = Chunk(shard=shard, digest="d", number=1, first=256, missing=(0b101, 0b100))
    assert chunk.rows() == [256, 258]
    assert chunk.requests == 3
    assert (chunk.lacks(256, 0), chunk.lacks(256, 1), chunk.lacks(258, 1)) == (True, False, True)
