"""Reproduce: finds an image by key, sends its requests again, and shows the differences."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data, write_source

from recaption import config
from recaption.errors import ImageError, UserError
from recaption.generate.chunks import Job, list_one
from recaption.generate.plan import make_plan
from recaption.io.store import open_store
from recaption.output import answers as parts
from recaption.output.lookup import find_image
from recaption.run import reproduce as module
from recaption.run.reproduce import Reproduced, Shown, print_reproduced
from recaption.source import open_source
from recaption.types import Attempt


def reproduce(out: str, key: str, *, generation: str | None = None) -> list[Reproduced]:
    """With the pipeline's file named: the engine is a class of the tests."""
    return module.reproduce(out, key, generation=generation, path=Path(out) / "pipeline.yaml")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two shards of four images, two questions each, answered."""
    write_source(tmp_path)
    answer_all(pipeline_data(tmp_path))
    (tmp_path / "moods" / "asked.txt").unlink()
    return tmp_path


def asked(folder: Path) -> list[str]:
    return (folder / "moods" / "asked.txt").read_text().splitlines()


def shown(results: list[Reproduced], *, terminal: bool = False) -> str:
    sink = io.StringIO()
    print_reproduced(
        results, Console(file=sink, force_terminal=terminal, color_system="truecolor" if terminal else None, width=100)
    )
    return sink.getvalue()


def test_the_same_request_gets_the_same_answer_and_nothing_is_stored(output: Path) -> None:
    before = {p: p.read_bytes() for p in (output / "out").rglob("*") if p.is_file()}
    results = reproduce(str(output / "out"), "cat12")
    assert [result.generation for result in results] == ["long", "short"]
    assert all(result.equal for result in results)
    assert {p: p.read_bytes() for p in (output / "out").rglob("*") if p.is_file()} == before
    said = shown(results)
    assert "stored (stop, 14 tokens from a prompt of 20):" in said and "equal, character for character" in said


def test_the_request_has_the_seed_of_the_kept_attempt(output: Path) -> None:
    (stored,) = [
        row
        for path in (output / "out").glob("answers/long-*/00001.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["key"] == "cat12"
    ]
    reproduce(str(output / "out"), "cat12", generation="long")
    attempt = stored["attempts"][-1]
    assert asked(output) == [f"{stored['sha256']} {attempt['seed']} {attempt['temperature']} 1.0"]


def test_the_kept_attempt_may_be_a_later_one_with_fewer_pixels(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    plan = answer_all(pipeline_data(tmp_path))
    store, question = open_store(str(tmp_path / "out")), plan.questions[0]
    (path,) = parts.compacted(store, "answers", question, "00000")
    answers = parts.read_answers(store, path)
    attempts = (
        Attempt(seed=1, temperature=0.0, finish_reason="empty", output_tokens=0),
        Attempt(seed=77, temperature=0.9, finish_reason="stop", output_tokens=14, pixel_share=0.5),
    )
    store.delete(path)
    changed = [replace(answer, attempts=attempts) for answer in answers]
    parts.put_part(store, question, "00000", "000000.000001-0000", changed, [])
    (tmp_path / "moods" / "asked.txt").unlink()
    (result,) = reproduce(str(tmp_path / "out"), "cat01", generation="long")
    assert asked(tmp_path)[0].endswith(" 77 0.9 0.5")
    assert "attempt 2, seed 77, temperature 0.9" in result.sampling and "0.5 of its pixels" in result.sampling


def test_a_different_answer_is_shown_as_a_diff_and_is_no_error(output: Path) -> None:
    image = find_image(open_store(str(output / "out")), "cat00")
    (output / "moods" / f"other-{image.sha256}").touch()
    (result,) = reproduce(str(output / "out"), "cat00", generation="short")
    assert not result.equal
    assert "dark red" in (result.now.text or "") and "dark red" not in (result.stored.text or "")
    said = shown([result])
    assert "not an error" in said and "share a batch" in said and "\x1b" not in said
    picture = shown([result], terminal=True)
    assert "\x1b[32m dark" in picture and "stored" in picture and "\x1b[31m dark" not in picture


def test_answers_about_units_are_shown_with_their_units_and_values(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    data = pipeline_data(tmp_path)
    (tmp_path / "side.md").write_text("---\nid: side\nversion: 1\n---\nWhat is on the {{ side }}?\n")
    sides = {"id": "sides", "model": "moody", "task": "toy_tasks:Sides", "prompt": str(tmp_path / "side.md")}
    answer_all(data | {"generate": [data["generate"][0], sides]})
    left, right = reproduce(str(tmp_path / "out"), "cat00", generation="sides")
    assert (left.unit, right.unit) == ("left", "right") and left.equal and right.equal
    said = shown([left, right])
    head = said.splitlines()[0]
    assert (
        head.startswith("cat00 · sides · left  seed ")
        and head.endswith("max_tokens 320")
        and "What is on the right?" in said
    )
    assert f"value: {left.stored.value}" in said and left.stored.value == json.dumps(
        left.stored.text.split(), separators=(",", ":")
    )
    other = replace(left, now=replace(left.now, value='["blue"]'))
    assert not other.equal and re.search("\x1b\\[32m[^\x1b]*blue", shown([other], terminal=True))


def test_scores_and_embeddings_are_compared_by_their_values() -> None:
    scored = Shown(text="", how="stop", value='{"score":0.5}')
    embedded = Shown(text="", how="stop", embedding=np.array([0.5, 1, 2, 3, 4], "<f2").tobytes())
    for one, text in ((scored, 'value: {"score":0.5}'), (embedded, "embedding of 5 numbers: 0.5, 1, 2, 3, …")):
        same = Reproduced(
            key="k", generation="g", unit="", prompt="", sampling="", stored=one, now=replace(one, how="2")
        )
        assert same.equal and shown([same]).endswith(f"  {text}\nequal\n")
        assert not replace(same, now=Shown(text="", how="stop", value="{}")).equal


def test_a_reject_is_shown_with_its_reason_and_the_new_answer(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    data = pipeline_data(tmp_path)
    mood = tmp_path / "moods" / f"refuse-{hashlib.sha256(jpeg(2)).hexdigest()}"
    mood.touch()
    answer_all(data, put_together=False)
    (still,) = reproduce(str(tmp_path / "out"), "cat02", generation="long")
    assert "refusal" in still.stored.how and "after 3 attempts" in still.stored.how and "refusal" in still.now.how
    mood.unlink()
    (result,) = reproduce(str(tmp_path / "out"), "cat02", generation="long")
    assert result.stored.text is None and "red cup" in (result.now.text or "")
    said = shown([result])
    assert "rejected after 3 attempts: refusal" in said and "nothing to compare" in said


def test_a_missing_answer_is_generated(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    data = pipeline_data(tmp_path)
    plan = answer_all(data)
    folder = tmp_path / "out" / "answers" / plan.questions[1].folder
    (folder / "00000.parquet").rename(folder / "another.parquet")  # answers of some shard, but not of this one
    (result,) = reproduce(str(tmp_path / "out"), "cat00", generation="short")
    assert result.stored.how == "no answer yet" and result.now.text


def test_an_unknown_key_suggests_similar_ones(output: Path) -> None:
    with pytest.raises(UserError, match=r"no image with the key or source key 'cat1l' in 2 shards.*cat1[0-3]"):
        reproduce(str(output / "out"), "cat1l")


def test_an_unknown_generation_lists_the_existing_ones(output: Path) -> None:
    with pytest.raises(UserError, match=r"unknown generation 'medium'; .* has long, short"):
        reproduce(str(output / "out"), "cat00", generation="medium")


def test_a_changed_image_is_an_error(output: Path) -> None:
    write_tar(
        output / "source" / "00000.tar", [sample("cat00", jpeg(555)), *(sample(f"x{i}", jpeg(i)) for i in range(9))]
    )
    with pytest.raises(ImageError, match="sha256"):
        reproduce(str(output / "out"), "cat00")
    assert not (output / "moods" / "asked.txt").exists()


def test_an_image_rejected_by_its_source_has_no_answers(tmp_path: Path) -> None:
    write_tar(tmp_path / "source" / "a.tar", [sample("one", jpeg(1)), {"two.json": b"{}", "two.txt": b"x"}])
    answer_all(pipeline_data(tmp_path))
    with pytest.raises(UserError, match="no model has seen two: missing_image"):
        reproduce(str(tmp_path / "out"), "two")


def test_a_missing_prompt_is_an_error_with_advice(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    prompt = tmp_path / "mine.md"
    prompt.write_text("---\nid: mine\nversion: 1\ngranularity: short\n---\nOne sentence.\n")
    data = pipeline_data(tmp_path)
    data["generate"] = [{"id": "short", "model": "moody", "prompt": str(prompt)}]
    answer_all(data)
    prompt.unlink()
    with pytest.raises(UserError, match=r"(?s)mine.md.* not found.*run this command in that folder.*--pipeline"):
        reproduce(str(tmp_path / "out"), "cat00")


def test_a_changed_prompt_is_an_error(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1)
    prompt = tmp_path / "mine.md"
    prompt.write_text("---\nid: mine\nversion: 1\ngranularity: short\n---\nOne sentence.\n")
    data = pipeline_data(tmp_path)
    data["generate"] = [{"id": "short", "model": "moody", "prompt": str(prompt)}]
    answer_all(data)
    prompt.write_text("---\nid: mine\nversion: 2\ngranularity: short\n---\nOne short sentence.\n")
    with pytest.raises(UserError, match=r"no answers of generation short with the current prompt and model.*mine.md"):
        reproduce(str(tmp_path / "out"), "cat00")


def own_prompts(tmp_path: Path) -> list[Path]:
    """An output with two generations whose prompts are files of the user."""
    write_source(tmp_path, shards=1)
    data, prompts = pipeline_data(tmp_path), []
    for name in ("first", "second"):
        prompts.append(tmp_path / f"{name}.md")
        prompts[-1].write_text(f"---\nid: {name}\nversion: 1\nkind: short\n---\nOne sentence.\n")
    data["generate"] = [{"id": path.stem, "model": "moody", "prompt": str(path)} for path in prompts]
    answer_all(data)
    return prompts


def test_all_missing_files_are_in_one_message(tmp_path: Path) -> None:
    for prompt in own_prompts(tmp_path):
        prompt.unlink()
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(
        UserError, match=r"(?s)source.*first\.md.*second\.md.*run this command in that folder"
    ) as caught:
        reproduce(str(tmp_path / "out"), "cat00")
    assert len(str(caught.value).splitlines()) >= 4


def test_all_changed_prompts_are_in_one_message(tmp_path: Path) -> None:
    for prompt in own_prompts(tmp_path):
        prompt.write_text(prompt.read_text().replace("One", "Another"))
    with pytest.raises(UserError, match=r"no answers of generations first, second with the.*first\.md.*second\.md"):
        reproduce(str(tmp_path / "out"), "cat00")


def test_answers_from_a_column_cannot_be_reproduced(tmp_path: Path) -> None:

    write_source(tmp_path, shards=1)
    data = pipeline_data(tmp_path)
    data["models"] = {"column": {"engine": "column"}}
    data["generate"] = [{"id": "long", "model": "column", "column": "caption"}]
    pipeline = config.validate(data)
    plan, store, source = make_plan(pipeline), open_store(str(tmp_path / "out")), open_source(pipeline.source)
    store.put("pipeline.yaml", yaml.safe_dump(pipeline.model_dump(mode="json")).encode())
    for shard in source.shards():
        list_one(plan.questions, Job(source=source, store_url=store.url, epoch=1), shard, from_source=True)
        parts.compact(store, plan.questions[0], shard.id)
    with pytest.raises(UserError, match=r"nothing to reproduce: .* long \(column 'caption'\)"):
        reproduce(str(tmp_path / "out"), "cat00")


def test_a_folder_without_a_run_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pipeline\.yaml.*output\.path"):
        reproduce(str(tmp_path), "cat00")
