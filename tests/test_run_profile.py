"""`output.profile: flair` from the pipeline to the tars."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from datasets import load_dataset
from small_output import answer_all, build_all, pipeline_data, write_source

from recaption import config
from recaption.build.builder import _build_fingerprint
from recaption.generate.plan import make_plan
from recaption.validate import validate_output


class NoAnnotator:
    """Stands in for the annotator where only its provenance is asked for."""

    def provenance(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("fill", ["empty", "repeat"])
def test_flair_trains_from_the_builds_own_tars(tmp_path: Path, fill: str) -> None:
    write_source(tmp_path, shards=1, per_shard=2)
    output = {"path": str(tmp_path / "out"), "format": "webdataset", "profile": "flair", "profile_fill": fill}
    plan = answer_all(pipeline_data(tmp_path, output=output))
    build = build_all(plan)
    first, second = trainers.tar_samples(build / "data")
    body = json.loads(first["json"])
    assert body["raw_caption"] == ["alt 0"] and json.loads(second["json"])["raw_caption"] == ["alt 1"]
    assert body["shortIB_captions"] and body["longIB_captions"]
    assert body["longLLA_captions"] == (body["longIB_captions"] if fill == "repeat" else [])
    assert trainers.flair(first, random.Random(0))
    lists = json.loads((build / "manifest.json").read_text("utf-8"))["provenance"]["profile"]["lists"]
    assert lists["longSV_captions"] == ("long" if fill == "repeat" else None)
    loaded = load_dataset(str(build), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["json"]["shortIB_captions"] for row in loaded] == [
        json.loads(sample["json"])["shortIB_captions"] for sample in (first, second)
    ], "the card tells Hugging Face's loader the types of the lists"
    assert list(validate_output(str(build))) == []
    manifest = json.loads((build / "manifest.json").read_text("utf-8"))
    manifest["provenance"]["profile"]["lists"]["shortIB_captions"] = "raw"
    (build / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert {problem.kind for problem in validate_output(str(build))} == {"sample"}


def test_a_profile_changes_the_identity_of_a_build_and_none_does_not(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1, per_shard=1)
    names = set()
    for more in ({}, {"profile_fill": "repeat"}, {"profile": "flair"}, {"profile": "flair", "profile_fill": "repeat"}):
        output = {"path": str(tmp_path / "out"), "format": "webdataset", **more}
        plan = make_plan(config.validate(pipeline_data(tmp_path, output=output)))
        names.add(_build_fingerprint(plan, NoAnnotator(), frozenset(), None))  # type: ignore[arg-type]
    assert len(names) == 3
