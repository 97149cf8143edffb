"""Answers of images that are in another shard than they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.generate.chunks import ShardListing, list_shard
from recaption.io.store import LocalStore
from recaption.output import answers as parts
from recaption.output.moved import MovedAnswers
from recaption.prompt import load
from recaption.source import Source, open_source
from recaption.tasks.question import Question, requests
from recaption.types import Answer, Generation, Reject, Sampling


def question(dedupe: bool = True) -> Question:
    generation = Generation(
        id="long", model="m", granularity="long", fingerprint="f" * 16, prompt="long", sampling=Sampling(max_tokens=8)
    )
    return Question(generation=generation, prompt=load("describe_long"), attempts=1, dedupe=dedupe)


def source_of(folder: Path) -> Source:
    return open_source(config.Source(path=f"{folder}/*.tar"))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def tar(tmp_path: Path, name: str, numbers: dict[str, int]) -> None:
    write_tar(tmp_path / "s" / f"{name}.tar", [sample(key, jpeg(number)) for key, number in numbers.items()])


def list_all(store: LocalStore, source: Source, asked: Question, unlisted: bool = False) -> dict[str, ShardListing]:
    moved = MovedAnswers(store, unlisted=unlisted)
    return {shard.id: list_shard(store, source, shard, [asked], frozenset(), moved=moved) for shard in source.shards()}


def missing(listings: dict[str, ShardListing]) -> dict[str, int]:
    return {name: sum(chunk.requests for chunk in listing.chunks) for name, listing in listings.items()}


def answer(store: LocalStore, source: Source, asked: Question, *, compact: bool, refused: bool = False) -> None:
    for shard in source.shards():
        images = source.index(shard)
        rejects = [
            Reject.of(
                image,
                stage="generate",
                generation="long",
                reason="refusal",
                detail="no",
                prompt_sha256=requests(asked, image)[0].prompt_sha256,
            )
            for image in images
        ]
        answers = [
            Answer(
                key=image.key,
                sha256=image.sha256,
                row=image.row,
                text="A dog.",
                finish_reason="stop",
                prompt_tokens=3,
                output_tokens=3,
                prompt_sha256=requests(asked, image)[0].prompt_sha256,
            )
            for image in images
        ]
        parts.put_part(store, asked, shard.id, "000000.000001-0000", *(([], rejects) if refused else (answers, [])))
        if compact:
            parts.compact(store, asked, shard.id)


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("refused", [True, False])
def test_an_image_that_changes_its_shard_finds_its_answer(
    store: LocalStore, tmp_path: Path, compact: bool, refused: bool
) -> None:
    asked = question()
    tar(tmp_path, "a", {"k0": 0, "k1": 1})
    tar(tmp_path, "b", {"k2": 2})
    source = source_of(tmp_path / "s")
    list_all(store, source, asked)
    answer(store, source, asked, compact=compact, refused=refused)
    tar(tmp_path, "a", {"k1": 1})
    tar(tmp_path, "b", {"k2": 2, "renamed": 0, "new": 9})
    source = source_of(tmp_path / "s")
    assert missing(list_all(store, source, asked)) == {"a": 0, "b": 1}
    assert missing(list_all(store, source, asked)) == {"a": 0, "b": 1}
    if not refused:
        stored = parts.finished(store, asked, "b").answers.values()
        assert sorted((found.key, found.row) for found in stored) == [("k2", 0), ("renamed", 1)]
    else:
        rejects = parts.finished(store, asked, "b").rejects.values()
        assert sorted((found.key, found.shard) for found in rejects) == [("k2", "b"), ("renamed", "b")]
    parts.compact(store, asked, "b")
    assert missing(list_all(store, source, asked)) == {"a": 0, "b": 1}


def test_tars_packed_anew_keep_their_answers(store: LocalStore, tmp_path: Path) -> None:
    asked = question()
    tar(tmp_path, "a", {"k0": 0, "k1": 1})
    source = source_of(tmp_path / "s")
    list_all(store, source, asked)
    answer(store, source, asked, compact=True)
    shutil.move(tmp_path / "s" / "a.tar", tmp_path / "a.tar")
    tar(tmp_path, "c", {"k0": 0})
    tar(tmp_path, "d", {"k1": 1})
    source = source_of(tmp_path / "s")
    assert missing(list_all(store, source, asked, unlisted=True)) == {"c": 0, "d": 0}


def test_without_deduplication_each_copy_needs_an_answer_of_its_own(store: LocalStore, tmp_path: Path) -> None:
    asked = question(dedupe=False)
    tar(tmp_path, "a", {"k0": 0, "k1": 0, "k2": 2})
    tar(tmp_path, "b", {"k3": 3})
    source = source_of(tmp_path / "s")
    list_all(store, source, asked)
    answer(store, source, asked, compact=True)
    tar(tmp_path, "a", {"k2": 2})
    tar(tmp_path, "b", {"k3": 3, "x": 0, "k1": 0, "y": 0})
    source = source_of(tmp_path / "s")
    assert missing(list_all(store, source, asked)) == {"a": 0, "b": 1}
    assert {found.key for found in parts.finished(store, asked, "b").answers.values()} == {"k3", "x", "k1"}


def test_a_run_that_is_killed_before_the_new_index_looks_again(store: LocalStore, tmp_path: Path) -> None:
    asked = question()
    tar(tmp_path, "a", {"k0": 0, "k1": 1})
    tar(tmp_path, "b", {"k2": 2})
    source = source_of(tmp_path / "s")
    list_all(store, source, asked)
    answer(store, source, asked, compact=True)
    tar(tmp_path, "a", {"k1": 1})
    tar(tmp_path, "b", {"k2": 2, "renamed": 0})
    source = source_of(tmp_path / "s")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "put", lambda path, data, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list_all(store, source, asked)
    assert missing(list_all(store, source, asked)) == {"a": 0, "b": 0}
