"""Builds: the same bytes whoever makes them in whatever order, and which revision is the newest."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_pool import LocalPool, build
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data, write_source

from recaption import config
from recaption.annotate import Annotator, Token
from recaption.build.builder import (
    _build_fingerprint,
    _task_settings,
    box_warnings,
    failure_warnings,
    log_failures,
    output_format,
    too_few_shards,
)
from recaption.build.pool import RayPool
from recaption.config import Trainer
from recaption.errors import ConfigError
from recaption.generate.plan import make_plan
from recaption.io.store import open_store
from recaption.output.locate import current_build
from recaption.tasks import registry
from recaption.types import Caption, CaptionFailure, SubCaption
from recaption.write import ShardEntry, entry, prune


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two outputs, out and other, that hold the same answers of the same source."""
    folder = tmp_path_factory.mktemp("builder")
    write_source(folder, shards=4, per_shard=5)
    answer_all(pipeline_data(folder))
    shutil.copytree(folder / "out", folder / "other")
    return folder


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("form", "size"),
    [("sidecar", "source"), ("webdataset", "source"), ("parquet", "source"), ("webdataset", 3), ("parquet", 7)],
)
def test_the_same_answers_make_the_same_bytes(answered: Path, form: str, size: int | str) -> None:
    output: dict[str, Any] = {"format": form, "samples_per_shard": size, "holdout": {"fraction": 0.2}}
    data = pipeline_data(answered)
    took: list[float] = []
    alone, _ = build(data | {"output": {"path": str(answered / "out"), **output}}, LocalPool(seed=5))
    many, _ = build(data | {"output": {"path": str(answered / "other"), **output}}, RayPool(took.append))
    assert len(took) >= 3 and min(took) > 0.0, "seconds of each task"
    assert alone.name == many.name
    one, other = files(alone), files(many)
    assert sorted(one) == sorted(other)
    assert [path for path in one if one[path] != other[path]] == []
    assert len(list(alone.glob("data/0*"))) >= 3


def test_after_pruning_the_newest_revision_is_still_found(tmp_path: Path) -> None:
    data = pipeline_data(tmp_path)
    data["annotate"] = {"splitter": "flair_regex"}
    write_source(tmp_path, shards=1)
    answer_all(data)
    names = []
    for images in (4, 5, 6):
        write_source(tmp_path, shards=1, per_shard=images)
        answer_all(data)
        made, new = build(data)
        names.append(made.name)
        assert new
    assert names == [names[0], f"{names[0]}-r1", f"{names[0]}-r2"]
    store = open_store(str(tmp_path / "out"))
    assert prune(store).builds == 2
    assert build(data) == (tmp_path / "out" / "builds" / names[2], False), "nothing has changed"
    write_source(tmp_path, shards=1, per_shard=7)
    answer_all(data)
    made, new = build(data)
    assert new and made.name == f"{names[0]}-r3" == current_build(store)


@pytest.mark.parametrize("size", ["source", 3])
@pytest.mark.parametrize("damaged", ["captions/*.parquet", "manifest.json"])
def test_a_damaged_build_is_written_again(tmp_path: Path, size: int | str, damaged: str) -> None:
    data = pipeline_data(tmp_path)
    data["output"] |= {"format": "webdataset", "samples_per_shard": size}
    write_source(tmp_path, shards=2)
    answer_all(data)
    first, _ = build(data)
    whole = files(first)
    for path in first.glob(damaged):
        path.write_bytes(path.read_bytes()[:50])
    second, new = build(data, again=True)
    assert new and second.name == f"{first.name}-r1" == current_build(open_store(str(tmp_path / "out")))
    data_files = {path: content for path, content in files(second).items() if "/" in path}
    assert data_files.keys() == {path for path in whole if "/" in path}
    assert [path for path, content in data_files.items() if content != whole[path]] == []
    assert build(data) == (second, False), "nothing has changed"


@pytest.mark.parametrize("form", ["sidecar", "webdataset", "parquet"])
def test_a_build_has_no_signatures_of_urls(tmp_path: Path, form: str) -> None:
    data = pipeline_data(tmp_path)
    data["output"] |= {"format": form, "card": {"license": "cc0", "source": "https://x.test/?token=SECRET9"}}
    url = "https://b.s3.test/a.jpg?X-Amz-Date=1&X-Amz-Signature=SECRET9"
    samples = [sample(f"k{i}", jpeg(i), f"alt of {url}", url=url) for i in range(3)]
    samples.append({"none.json": json.dumps({"url": url}).encode()})
    write_tar(tmp_path / "source" / "0.tar", samples)
    answer_all(data)
    made, _ = build(data)
    tables = {path: pq.read_table(path).to_pylist() for path in made.rglob("*.parquet")}
    assert len(tables) >= 5
    texts = {path: str(rows) for path, rows in tables.items()}
    texts |= {path: path.read_bytes().decode("latin-1") for path in made.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if "SECRET9" in text] == []
    images = pq.read_table(made / "images" / "0.parquet")["url"].to_pylist()
    assert images == ["https://b.s3.test/a.jpg?X-Amz-Date=1&X-Amz-Signature=***"] * 4
    assert pq.read_table(tmp_path / "out" / "index" / "0.parquet")["url"].to_pylist() == [url] * 4
    if form == "webdataset":
        assert b"X-Amz-Signature=***" in next((made / "data").glob("*.tar")).read_bytes()


@pytest.mark.parametrize(
    ("output", "kind", "found"),
    [
        ({}, "webdataset", "sidecar"),
        ({}, "folder", "parquet"),
        ({}, "classes", "sidecar"),
        ({"format": "sidecar"}, "classes", "sidecar"),
        ({"samples_per_shard": 5}, "parquet", "parquet"),
        ({"samples_per_shard": 5, "format": "webdataset"}, "webdataset", "webdataset"),
        ({"samples_per_shard": 5}, "webdataset", "auto \\(sidecar for a source of tars\\)"),
        ({"samples_per_shard": 5, "format": "sidecar"}, "folder", "sidecar \\(one row for each sample"),
    ],
)
def test_the_format_and_its_valid_shard_sizes(tmp_path: Path, output: dict[str, Any], kind: str, found: str) -> None:
    pipeline = config.validate(pipeline_data(tmp_path, output={"path": "out", **output}))
    if " " not in found:
        assert output_format(pipeline.output, kind) == found
        return
    with pytest.raises(ConfigError, match=f"output.samples_per_shard is 5, but output.format is {found}"):
        output_format(pipeline.output, kind)


def test_task_settings_that_only_choose_requests_are_part_of_the_name(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1, per_shard=1)
    plan = make_plan(config.validate(pipeline_data(tmp_path)))
    annotator = Annotator(plan.pipeline.annotate)

    def name(**settings: Any) -> str:
        questions = [replace(question, task=registry.load("score", settings)) for question in plan.questions]
        scored: Any = SimpleNamespace(pipeline=plan.pipeline, questions=questions)
        return _build_fingerprint(scored, annotator, frozenset(), None)

    names = {name(), name(of="objects"), name(embed="images"), name(embed=["images", "captions"])}
    assert len(names) == 4 and name() in names
    assert _task_settings(plan) == {}


@pytest.mark.parametrize(
    "change", [{"over": ("a",)}, {"over": ("a", "b")}, {"over": ("b", "a")}, {"model": "n"}, {"granularity": "short"}]
)
def test_what_a_build_takes_from_a_generation_is_part_of_its_name(tmp_path: Path, change: dict[str, Any]) -> None:
    """None of it changes an answer."""
    write_source(tmp_path, shards=1, per_shard=1)
    plan = make_plan(config.validate(pipeline_data(tmp_path)))
    (first, *_) = plan.questions

    def name(**change: Any) -> str:
        changed = replace(first, generation=replace(first.generation, **change))
        made: Any = SimpleNamespace(pipeline=plan.pipeline, questions=[changed])
        return _build_fingerprint(made, Annotator(plan.pipeline.annotate), frozenset(), None)

    others = [{}, {"over": ("a",)}, {"over": ("a", "b")}, {"over": ("b", "a")}]
    assert name(**change) == name(**change)
    assert name(**change) not in {name(**other) for other in others if other != change}


def test_unused_settings_keep_the_names_of_earlier_builds(tmp_path: Path) -> None:
    """Neither the default nor what is only said about the trainer makes an output be built again."""
    data = pipeline_data(tmp_path)
    write_source(tmp_path, shards=1)
    answer_all(data)
    first, _ = build(data)
    data["output"] = {**data["output"], "samples_per_shard": "source", "trainer": {"gpus": 8, "workers": 4}}
    assert build(data) == (first, False)


class Nouns:
    """A table of a pipeline's own that fails on one caption."""

    name = "nouns"
    version = "1"
    columns = pa.schema([pa.field("word", pa.string())])

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> list[dict[str, Any]]:
        if caption.caption_id.startswith("cat01"):
            raise RuntimeError("no nouns")
        return [{"word": word.text} for word in words if word.tag == "NN"]


@pytest.mark.parametrize("size", ["source", 3])
@pytest.mark.parametrize("form", ["sidecar", "webdataset", "parquet"])
def test_failed_captions_are_counted_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, size: int | str
) -> None:
    if form == "sidecar" and size != "source":
        pytest.skip("a sidecar is cut as its source is")
    write_source(tmp_path, shards=2, per_shard=5)
    data = pipeline_data(tmp_path)
    answer_all(data)
    module = ModuleType("own_nouns")
    module.Nouns = Nouns  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_nouns", module)
    data["annotate"] = {"tables": ["own_nouns:Nouns"]}
    data["output"] = {"path": str(tmp_path / "out"), "format": form, "samples_per_shard": size}
    sub_caption = Annotator._sub_caption

    def failing(self: Annotator, caption: Caption, *rest: Any) -> SubCaption:
        if caption.caption_id.startswith("cat13"):
            raise IndexError("list index out of range")
        return sub_caption(self, caption, *rest)

    told: list[dict[str, Any]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Annotator, "_sub_caption", failing)
        folder, _ = build(data, tell=lambda event, level="info", **fields: told.append({"event": event, **fields}))
    with duckdb.connect() as tables:
        subs, texts = f"read_parquet('{folder}/sub_captions/*.parquet')", f"read_parquet('{folder}/captions/*.parquet')"
        named = f"SELECT caption_id, text FROM {subs} WHERE is_unparsed"
        unparsed = sorted(tables.execute(named).fetchall())
        captions = tables.execute(f"SELECT caption_id, text FROM {texts}").fetchall()
        assert tables.execute(f"SELECT count(*) FROM {subs} WHERE is_unparsed IS NULL").fetchall() == [(0,)]
    assert unparsed == sorted(one for one in captions if one[0].startswith("cat13")) and unparsed
    manifest = json.loads((folder / "manifest.json").read_bytes())
    missing = {id for id, _ in captions if id.startswith("cat01")}
    assert manifest["counts"]["unparsed"] == len(unparsed) and manifest["table_failures"] == {"nouns": len(missing)}
    assert "RuntimeError" not in json.dumps(manifest)
    logged = [(line["event"], line["key"], line["caption_id"]) for line in told]
    assert sorted(logged) == sorted(
        [("caption_unparsed", id.partition("/")[0], id) for id, _ in unparsed]
        + [("table_failed", id.partition("/")[0], id) for id in missing]
    )
    shards = {shard["name"]: shard["counts"]["unparsed"] for shard in manifest["shards"]}
    assert all(shards[line["shard"]] for line in told if line["event"] == "caption_unparsed")
    said = failure_warnings(manifest)
    assert len(said) == 2 and said[0].startswith(f"{len(unparsed)} caption") and "nouns failed on" in said[1]


def test_captions_on_which_a_tokenizer_fails_are_logged_and_in_a_warning() -> None:
    failure = CaptionFailure(caption_id="k1/long/0", tokenizer="clip", error="ValueError: bad piece")
    shard = ShardEntry(
        name="00000", files=(), counts={"unparsed": 0}, splits={}, token_failures={"clip": 3}, failures=(failure,)
    )
    told: list[Any] = []
    log_failures(shard, lambda event, level="info", **fields: told.append((event, level, fields)))
    where = {"shard": "00000", "key": "k1", "caption_id": "k1/long/0"}
    assert told == [
        ("token_ids_failed", "warning", {"tokenizer": "clip", **where, "detail": "ValueError: bad piece"}),
        ("failures_not_named", "warning", {"shard": "00000", "count": 2}),
    ]
    (said,) = failure_warnings({"counts": {}, "token_failures": {"clip": 3}})
    assert said.startswith("output.token_ids: clip failed on texts of 3 captions")


def test_boxes_in_another_scale_are_a_warning() -> None:
    def tasks(beyond: int) -> dict[str, Any]:
        task = {"id": "boxes", "model": "qwen", "counts": {"boxes": 1000, "boxes_beyond": beyond}}
        return {"tasks": [{"id": "check", "model": "m"}, {**task, "id": "none", "counts": {"boxes": 0}}, task]}

    (said,) = box_warnings(tasks(300))
    assert said.startswith("generate boxes: of 1,000 boxes, 300 end beyond the image. The model qwen probably does not")
    assert box_warnings(tasks(299)) == [] and box_warnings({}) == []


def test_failures_beyond_the_logged_ones_are_counted() -> None:
    failures = tuple(CaptionFailure(caption_id=f"k{n}/raw/0", error="E") for n in range(entry.NAMED))
    counts = {"unparsed": entry.NAMED + 5}
    shard = ShardEntry(name="00000", files=(), counts=counts, splits={}, failures=failures)
    told: list[Any] = []
    log_failures(shard, lambda event, level="info", **fields: told.append((event, fields)))
    assert len(told) == entry.NAMED + 1 and told[-1] == ("failures_not_named", {"shard": "00000", "count": 5})


# too few shards for a trainer


def manifest_of(samples: list[int], form: str = "webdataset") -> dict[str, Any]:
    shards = [{"splits": {"train": count, "val": 1}} for count in samples]
    return {"format": form, "splits": {"train": sum(samples), "val": len(samples)}, "shards": shards}


def test_no_warning_with_enough_shards_or_without_a_trainer() -> None:
    assert too_few_shards(manifest_of([5]), None) is None
    assert too_few_shards(manifest_of([5] * 8), Trainer(gpus=2, workers=4)) is None


def test_a_shard_without_samples_does_not_count() -> None:
    warning = too_few_shards(manifest_of([5] * 7 + [0]), Trainer(gpus=2, workers=4))
    assert warning and warning.startswith("7 train shards are fewer than the trainer's 8 readers (2 GPUs x 4 workers)")


@pytest.mark.parametrize(("shards", "gpus", "workers"), [(3, 2, 4), (576, 32, 48), (1, 7, 3)])
def test_the_advice_makes_enough_shards(shards: int, gpus: int, workers: int) -> None:
    samples = 4901 * shards
    warning = too_few_shards(manifest_of([4901] * shards), Trainer(gpus=gpus, workers=workers))
    assert warning
    size = re.search(r"output\.samples_per_shard=(\d+)", warning)
    assert size and -(-samples // int(size[1])) >= gpus * workers


def test_with_too_few_samples_the_advice_is_fewer_workers() -> None:
    warning = too_few_shards(manifest_of([5, 5]), Trainer(gpus=8, workers=4))
    assert warning and "Train samples: only 10. Use fewer workers" in warning


def test_for_a_sidecar_the_advice_also_changes_the_format() -> None:
    warning = too_few_shards(manifest_of([500, 500], "sidecar"), Trainer(gpus=8, workers=4))
    assert warning and "--set output.samples_per_shard=31 --set output.format=webdataset" in warning


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_classes_have_no_images_to_write(tmp_path: Path, form: str) -> None:
    pipeline = config.validate(pipeline_data(tmp_path, output={"path": "out", "format": form}))
    with pytest.raises(ConfigError, match=f"output.format is {form}, which has images, but a source of classes has"):
        output_format(pipeline.output, "classes")
