"""Marks of complete shards: they spare splitting captions again, and hold while nothing that they rest on changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import jpeg, sample, write_tar
from test_crashes import one_pass, run, small_steps

from recaption import config
from recaption.generate.chunks import ShardListing, list_shard
from recaption.generate.plan import make_plan
from recaption.io.store import LocalStore
from recaption.output import units
from recaption.source import open_source


class NoCrashes:
    def __init__(self) -> None:
        self.crashed = False


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Pipeline:
    small_steps(monkeypatch)
    write_tar(tmp_path / "source" / "0.tar", [sample(f"{i}", jpeg(i), f"text {i}") for i in range(6)])
    made = one_pass(tmp_path / "source", tmp_path / "out")
    run(made, NoCrashes(), 0)  # type: ignore[arg-type]
    return made


def listed(pipeline: config.Pipeline, retry_reasons: frozenset[str] = frozenset()) -> ShardListing:
    plan, store, source = make_plan(pipeline), LocalStore(pipeline.output.path), open_source(pipeline.source)
    (shard,) = source.shards()
    return list_shard(store, source, shard, plan.questions, frozenset(), retry_reasons=retry_reasons)


def test_a_complete_shard_is_split_by_the_first_resume_only(
    pipeline: config.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    real = units.annotator
    monkeypatch.setattr(units, "annotator", lambda settings: calls.append(settings) or real(settings))
    first = listed(pipeline)
    assert calls and first.chunks == () and first.done == (6, 6, 6)
    calls.clear()
    assert listed(pipeline) == first and not calls
    listed(pipeline, frozenset({"refusal"}))
    assert calls, "rejects that count as missing are looked for"


def test_a_mark_does_not_hold_for_another_splitter(pipeline: config.Pipeline) -> None:
    assert listed(pipeline).done == (6, 6, 6)
    data = pipeline.model_dump(mode="json")
    data["annotate"]["splitter"] = "spacy"
    (chunk,) = listed(config.validate(data)).chunks
    assert chunk.missing[0] == 0 and chunk.requests, "other sentences, so other requests; the captions are the same"
    assert listed(pipeline).done == (6, 6, 6)
