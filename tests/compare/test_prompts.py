"""`recaption estimate --prompts`: prompts on the same pilot images. One run in this process, without Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_run import local_runs
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.cli import main
from recaption.compare.prompts import with_prompts
from recaption.engine.base import Completion, EngineSpec, Rendered, Request
from recaption.errors import UserError
from recaption.prompt import load

LONG = "A red dog sits on a mat. It appears to be happy. A red dog sits on a mat."


class Captioner:
    """Long captions to the prompt describe_long, short ones to others, a refusal about one image; the judge doubts
    short captions."""

    capacity = 4
    outputs = frozenset({"text", "choices", "logprobs"})
    asked: list[str] = []  # noqa: RUF012 - cleared by the test

    def __init__(self, spec: EngineSpec) -> None:
        self.refused = dict(spec.engine_args).get("refused")

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.asked.append(work.prompt)
        if work.prompt.startswith("Is this true"):
            text = "no" if "blue" in work.prompt else "yes"
        elif work.prompt.startswith("Describe this image in detail"):
            text = LONG
        else:
            text = "I cannot help with that." if work.sha256 == self.refused else "A blue cat."
        return Completion(text=text, finish_reason="stop", prompt_tokens=50, output_tokens=len(text.split()))

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    def gauge(self) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "captioner", "device": "NVIDIA H200"}


def pipeline(folder: Path, **changes: Any) -> dict[str, Any]:
    engine = {"engine": f"{__name__}:Captioner", "model": "scene"}
    return {
        "name": "pilot",
        "source": {"path": f"{folder}/source/*.tar"},
        "models": {"m": engine},
        "generate": [
            {"id": "long", "model": "m", "prompt": "describe_long"},
            {"id": "check", "model": "m", "task": "verify", "over": "long"},
        ],
        "output": {"path": f"{folder}/out", "format": "webdataset", "profile": "flair", "require": ["long"]},
    } | changes


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    import hashlib

    write_tar(tmp_path / "source" / "0.tar", [sample(f"k{n}", jpeg(n), "A very red dog sits on it.") for n in range(6)])
    data = pipeline(tmp_path)
    data["models"]["m"]["engine_args"] = {"refused": hashlib.sha256(jpeg(2)).hexdigest()}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(data))
    with local_runs():
        yield path


def test_prompts_are_compared_side_by_side(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Captioner.asked.clear()
    words = ["estimate", str(file), "--prompts", "describe_long,describe_short", "--images", "4"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    long, short = found["prompts"]
    assert (long["prompt"], short["prompt"]) == ("describe_long", "describe_short")
    assert (long["captions"], short["captions"], short["rejected"], short["refused"]) == (4, 3, 1, 1)
    assert (long["words"], short["words"]) == (19, 3)
    assert (long["sub_captions"], long["objects"], short["objects"]) == (3, 2, 1)
    assert long["repeats"] == long["hedged"] == pytest.approx(33.3, abs=0.1)
    assert (long["unsupported"], short["unsupported"]) == (0, 100)
    assert long["output_tokens"] == 19 and short["output_tokens"] == 3
    assert long["gpu_hours"] > short["gpu_hours"] > 0
    assert not (file.parent / "out").exists(), "the pipeline's own output is not touched"

    sent = len(Captioner.asked)
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert len(Captioner.asked) == sent, "all answers are stored"
    assert "objects per caption" in printed and "unsupported, % (95 %)" in printed
    assert main(["report", f"{file.parent}/out-prompts"]) == 0
    capsys.readouterr()
    page = (file.parent / "out-prompts" / "report.html").read_text()
    assert 'id="generations"' in page and "describe_short" in page
    again = ["estimate", str(file), "--prompts", "describe_short,describe_long,describe_brief", "--images", "4"]
    assert main([*again, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["prompts"]
    assert len(Captioner.asked) == sent + 4 + 2, "four captions and two retries; its sentences are verified already"
    assert [one["repeats"] for one in found] == [0, pytest.approx(33.3, abs=0.1), 0], "not of another prompt's captions"


def made(data: dict[str, Any], *names: str) -> config.Pipeline:
    return with_prompts(config.validate(data), names, [load(name) for name in names])


def test_the_first_caption_generation_is_repeated_with_each_prompt(tmp_path: Path) -> None:
    found = made(pipeline(tmp_path), "describe_long", "describe_brief")
    assert [(one.id, one.prompt, one.task, one.over) for one in found.generate] == [
        ("describe_long", "describe_long", "caption", ()),
        ("describe_brief", "describe_brief", "caption", ()),
        ("check", None, "verify", ("describe_long", "describe_brief")),
    ]
    assert found.output.path == f"{tmp_path}/out-prompts"
    assert (found.output.format, found.output.profile, found.output.require) == ("auto", None, ())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["describe_long"], "at least two different prompts; given: describe_long"),
        (["describe_long", "describe_long"], "at least two different prompts"),
        ([], "given: none"),
        (["describe_long", "is_it_true"], "is_it_true has none. Its variables: statement"),
    ],
)
def test_prompts_that_cannot_be_compared_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(pipeline(tmp_path), *names)


def test_a_pipeline_without_a_prompt_is_refused(tmp_path: Path) -> None:
    data = pipeline(tmp_path, models={"c": {"engine": "column"}})
    data["generate"] = [{"id": "old", "model": "c", "column": "caption"}]
    with pytest.raises(UserError, match="has no generation with task caption and a prompt"):
        made(data | {"output": {"path": "out"}}, "describe_long", "describe_short")


def test_unknown_prompts_and_missing_columns_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(file), "--prompts", "describe_long,describe_lnog"]) == 2
    assert "describe_lnog" in capsys.readouterr().err
    own = file.parent / "own.md"
    own.write_text("---\nid: own\nversion: 1\ngranularity: long\n---\nDescribe {{ title }}.\n")
    assert main(["estimate", str(file), "--prompts", f"describe_long,{own}"]) == 2
    assert "title" in capsys.readouterr().err
