"""recaption.build.shard: a source shard from answers to records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data

from recaption.build.shard import BuildSpec, load_answers
from recaption.io.store import open_store
from recaption.output.index import load_index
from recaption.prompt import Prompt
from recaption.source import open_source


def test_a_prompt_is_filled_in_once_per_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts").mkdir()
    prompt = tmp_path / "prompts" / "about.md"
    prompt.write_text("---\nid: about\nversion: 1\ngranularity: long\n---\nAbout {{ title }}.\n")
    write_tar(tmp_path / "source" / "0.tar", [sample(f"k{i}", jpeg(i), "alt", title=f"T{i}") for i in range(5)])
    data = pipeline_data(tmp_path)
    data["generate"] = [{**data["generate"][0], "prompt": str(prompt)}]
    plan = answer_all(data)
    store, source = open_store(plan.pipeline.output.path), open_source(plan.pipeline.source)
    spec = BuildSpec(
        pipeline=plan.pipeline,
        questions=plan.questions,
        source=source,
        store_url=store.url,
        excluded=frozenset(),
        prefix="builds/b",
        format="webdataset",
    )
    (shard,) = source.shards()
    images, _ = load_index(store, source, shard)
    calls: list[Any] = []
    real = Prompt._filled_in
    monkeypatch.setattr(Prompt, "_filled_in", lambda self, columns: calls.append(columns) or real(self, columns))
    stored = load_answers(store, spec, shard, images)
    assert len(stored.answers[plan.questions[0].id]) == 5 and stored.rejects == []
    assert sorted(columns["title"] for columns in calls) == [f"T{i}" for i in range(5)]
