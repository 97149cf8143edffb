"""Retry: counts the rejects, retries them, and reports the result."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from samples import damaged_png, jpeg, sample, write_tar
from small_output import answer_all, pipeline_data, write_source

from recaption import config
from recaption.errors import UserError
from recaption.generate.chunks import list_shard
from recaption.io.store import open_store
from recaption.output import answers as parts
from recaption.progress import Display
from recaption.run import retry_rejects as module
from recaption.run import run
from recaption.run.retry_rejects import RetryResult, count_answered, current_rejects
from recaption.source import open_source


def retry_rejects(out: str, reasons: list[str], shown: Display, **options: Any) -> RetryResult:
    """With the pipeline's file named: the engine is a class of the tests."""
    return module.retry_rejects(out, reasons, shown, path=Path(out) / "pipeline.yaml", **options)


def refuse(folder: Path, *seeds: int) -> list[Path]:
    """Images that the engine refuses to describe, until the file goes."""
    (folder / "moods").mkdir(exist_ok=True)
    files = [folder / "moods" / f"refuse-{hashlib.sha256(jpeg(seed)).hexdigest()}" for seed in seeds]
    for file in files:
        file.touch()
    return files


def display() -> Display:
    return Display()


@pytest.mark.parametrize("put_together", [True, False])
def test_rejects_are_counted_by_reason_until_they_have_an_answer(put_together: bool, tmp_path: Path) -> None:
    write_source(tmp_path, shards=2)
    files = refuse(tmp_path, 1, 2, 101)
    plan = answer_all(pipeline_data(tmp_path), put_together=put_together)
    store, shards = open_store(str(tmp_path / "out")), ["00000", "00001"]
    rejects = current_rejects(store, plan.questions, shards)
    assert rejects.by_reason() == Counter(refusal=6), "three images, two questions each"
    places = rejects.of(["refusal"])
    assert len(places) == 6 and rejects.of(["empty_answer"]) == []
    assert count_answered(store, plan.questions, places) == 0
    long = plan.questions[0]
    answered = parts.finished(store, long, "00000").answers.values()
    for file in files[:1]:
        sha256 = file.name.removeprefix("refuse-")
        late = replace(next(iter(answered)), key="cat01", sha256=sha256, row=1)
        parts.put_part(store, long, "00000", "000000.000002-0000", [late], [])
    assert current_rejects(store, plan.questions, shards).by_reason() == Counter(refusal=5)
    assert count_answered(store, plan.questions, places) == 1


def test_the_counts_are_the_rejects_of_a_run(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "source" / "a.tar",
        [sample(f"k{i}", jpeg(i % 5) if i != 6 else damaged_png(), f"alt {i}") for i in range(8)],
    )
    refuse(tmp_path, 1)
    plan = answer_all(pipeline_data(tmp_path))
    store = open_store(str(tmp_path / "out"))
    rejects = current_rejects(store, plan.questions, ["a"])
    finished = [parts.finished(store, question, "a").rejects for question in plan.questions]
    assert len(rejects.places) == sum(len(of) for of in finished) == 4
    assert rejects.by_reason() == Counter(refusal=2, undecodable=2)


def test_an_unknown_reason_lists_the_allowed_and_the_existing_ones(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    refuse(tmp_path, 3)
    answer_all(pipeline_data(tmp_path))
    with pytest.raises(UserError, match=r"unknown reason refusl\. Allowed: missing_image, .*by reason: refusal 2"):
        retry_rejects(str(tmp_path / "out"), ["refusl"], display())


def test_without_rejects_for_a_reason_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path, shards=1)
    refuse(tmp_path, 3)
    answer_all(pipeline_data(tmp_path))
    monkeypatch.setattr(module, "run", lambda *args, **options: pytest.fail("a run was started"))
    result = retry_rejects(str(tmp_path / "out"), ["poison", "repetition"], display())
    assert result.outcome is None and result.retried == 0 and result.before == Counter(refusal=2)


def test_rejects_of_the_source_are_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "source" / "a.tar", [sample("one", jpeg(1)), {"two.json": b"{}", "two.txt": b"x"}])
    plan = answer_all(pipeline_data(tmp_path))
    source = open_source(plan.pipeline.source)
    list_shard(open_store(str(tmp_path / "out")), source, next(source.shards()), plan.questions, frozenset())
    monkeypatch.setattr(module, "run", lambda *args, **options: pytest.fail("a run was started"))
    with pytest.raises(UserError, match=r"images rejected because of the source \(missing_image\): 1\. No"):
        retry_rejects(str(tmp_path / "out"), ["missing_image"], display())


@pytest.mark.parametrize(
    ("last", "given", "half", "limit"),
    [
        ({"command": "generate", "limit": 100}, None, "generate", 100),
        ({"command": "run", "limit": None}, None, "run", None),
        ({"command": "build"}, 7, "run", 7),
        (None, None, "run", None),
    ],
)
def test_a_retry_has_the_limit_of_the_last_run(
    last: dict[str, Any] | None,
    given: int | None,
    half: str,
    limit: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_source(tmp_path, shards=1)
    refuse(tmp_path, 3)
    answer_all(pipeline_data(tmp_path))
    if last is not None:
        open_store(str(tmp_path / "out")).put("metrics/run-000001.json", orjson.dumps(last))
    seen: dict[str, Any] = {}
    monkeypatch.setattr(module, "run", lambda pipeline, path, display, **options: seen.update(options))
    result = retry_rejects(str(tmp_path / "out"), ["refusal"], display(), limit=given, takeover=True)
    asked = {"half": half, "limit": limit, "takeover": True, "retry_reasons": frozenset({"refusal"}), "listeners": ()}
    assert seen == asked
    assert (result.retried, result.answered) == (2, 0)


@pytest.mark.usefixtures("ray_session")
def test_rejects_are_retried_and_new_answers_are_counted(tmp_path: Path) -> None:
    write_source(tmp_path, shards=2)
    files = refuse(tmp_path, 1, 2, 101)
    pipeline = config.validate(pipeline_data(tmp_path))
    with display() as shown:
        run(pipeline, None, shown)
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)  # an output may lie elsewhere than the first run was told
    for file in files[:2]:
        file.unlink()
    (tmp_path / "moods" / "asked.txt").unlink()
    with display() as shown:
        result = retry_rejects(str(moved), ["refusal"], shown)
    assert (result.retried, result.answered) == (6, 4)
    assert result.outcome is not None and result.outcome.answered == 4 and result.outcome.store_url == str(moved)
    asked = {line.split()[0] for line in (tmp_path / "moods" / "asked.txt").read_text().splitlines()}
    assert asked == {file.name.removeprefix("refuse-") for file in files}, "answers that are there are not asked again"
    assert not (tmp_path / "out").exists()
    with display() as shown:
        again = retry_rejects(str(moved), ["refusal"], shown)
    assert (again.retried, again.answered) == (2, 0)
