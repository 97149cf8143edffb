"""recaption.validate.embeddings, on a build of which one file of embeddings is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_output import answer_all, build_all, pipeline_data, write_source

from recaption.engine.base import Completion, EngineSpec, Rendered, Request
from recaption.types import Modality
from recaption.validate import validate_output

FILE = "embeddings/similar/00000.npy"


class Encoder:
    """Two scores for an image and a text, four numbers for one of them. The protocol of engines, where it is needed."""

    capacity = 1
    accepts: frozenset[Modality] = frozenset({"image", "text"})
    outputs = frozenset({"scores", "embeddings"})

    def __init__(self, spec: EngineSpec) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request) and (work.image is not None or work.prompt)
        both = work.image is not None and bool(work.prompt)
        scores = (0.5, 5.0) if both else (0.5, 0.5, -0.5, 0.5)
        return Completion(text="", finish_reason="stop", prompt_tokens=1, output_tokens=0, scores=scores)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    write_source(tmp_path, shards=1, per_shard=2)
    data = pipeline_data(tmp_path)
    data["models"]["clip"] = {"engine": f"{__name__}:Encoder", "model": "scene"}
    task = {"task": "score", "over": "long", "of": ["captions"], "embed": ["images", "sub_captions"]}
    data["generate"].append({"id": "similar", "model": "clip", **task})
    return build_all(answer_all(data))


def renamed(rows: Any) -> Any:
    rows["id"][0] = b"other"
    return rows


def infinite(rows: Any) -> Any:
    rows["embedding"][1, 2] = np.inf
    return rows


def repeated(rows: Any) -> Any:
    rows["id"][0] = rows["id"][1]
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "ids of no image, caption or sub-caption of the shard: 1, such as other"),
        (infinite, "has numbers that are not finite"),
        (repeated, "rows of"),
        (lambda rows: rows[1:], "rows of"),
        (lambda rows: rows[::-1], "has rows of images that are not before all other rows"),
        (lambda rows: rows["embedding"], "has no embeddings"),
    ],
)
def test_faults_of_embeddings_are_found(build: Path, change: Callable[[Any], Any], message: str) -> None:
    assert list(validate_output(str(build))) == []
    np.save(build / FILE, change(np.load(build / FILE)))
    found = [problem for problem in validate_output(str(build)) if problem.kind not in ("size", "sha256")]
    assert [problem.kind for problem in found] == ["embeddings"]
    assert found[0].where == FILE and message in found[0].what


def test_a_missing_file_and_a_file_that_is_not_listed_are_found(build: Path) -> None:
    (build / FILE).rename(build / FILE.replace("00000", "00001"))
    assert {problem.kind for problem in validate_output(str(build))} == {"missing file", "unlisted file"}
