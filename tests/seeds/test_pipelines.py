"""The pipeline files of the systems: each is planned with and without its preset, and says what it is. No engine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from systems import FOLDER, NAMES, SYSTEMS, exporter, head, options

from recaption import config, models
from recaption.cli import command
from recaption.demo import EMBEDDED
from recaption.demo.shards import make_sample
from recaption.export import MODULES
from recaption.generate import plan

ISSUE = """
flair dreamlip cosmos sparc mllms_augmented recap_datacomp pixelprose fgclip fgclip2 grain umg_clip mmgic monkey lyrics
make gist adaptclipzs gpt4_prompts ce_clip concept_negatives structure_clip spec_text recaption_rewrites cocu beta_clip
vlv croc gpt4image prior oscar fiber cola centurio maya m2_encoder long_clip
"""


class Columns:
    """A source of which only the columns are known."""

    def columns(self) -> frozenset[str]:
        return frozenset(make_sample(0, "k", 32).meta)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the hub resolve without a network, and engines count as installed."""

    def resolve(model: str, revision: str | None) -> models.ResolvedModel:
        if model in EMBEDDED:
            return models.resolve(model, revision)
        return models.ResolvedModel(path_or_id=model, commit="0" * 40, chat_template_sha256=None, local=False)

    monkeypatch.setattr(plan, "resolve", resolve)
    monkeypatch.setattr(plan, "check_engine", lambda engine: None)


def test_there_is_a_file_and_a_test_of_each_system() -> None:
    assert sorted(ISSUE.split()) == NAMES == sorted(SYSTEMS)


@pytest.mark.parametrize("preset", [None, "demo"])
@pytest.mark.parametrize("name", NAMES)
def test_a_system_is_planned(name: str, preset: str | None) -> None:
    pipeline, path = config.load(f"seeds/{name}", preset=preset)
    made = plan.make_plan(pipeline, path, Columns())  # type: ignore[arg-type]
    assert pipeline.name == name
    assert pipeline.output.path == (f"out/seeds-demo/{name}" if preset else f"out/seeds/{name}")
    assert [question.id for question in made.questions] == [generation.id for generation in pipeline.generate]


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_needs_neither_gpu_nor_hub(name: str) -> None:
    pipeline, _ = config.load(f"seeds/{name}", preset="demo")
    for used in {generation.model for generation in pipeline.generate}:
        model = pipeline.models[used]
        assert model.engine != "vllm" and (model.engine == "column" or model.model in EMBEDDED), used


@pytest.mark.parametrize("name", NAMES)
def test_the_head_names_the_source_and_the_exporter(name: str) -> None:
    text = head(name)
    assert "arXiv" in text and "Paper: " in text, "what the paper uses, and where to find it"
    assert exporter(name) is None or exporter(name) in MODULES
    assert (exporter(name) is None) == (SYSTEMS[name].read is None)
    file = (FOLDER / f"{name}.yaml").read_text("utf-8")
    assert max(map(len, file.splitlines())) <= 130


def rows() -> dict[str, list[str]]:
    """The cells of the table in docs/systems.md, by the name of the pipeline."""
    text = (FOLDER.parent.parent / "docs" / "systems.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| [")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cell[1].strip("`"): cell for cell in cells}


def test_the_page_has_a_row_of_each_system() -> None:
    assert sorted(rows()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_command_on_the_page_is_the_one_that_is_tested(name: str) -> None:
    *_, said, reader = rows()[name]
    if exporter(name) is None:
        assert (said, reader) == ("none", "build")
        return
    words = shlex.split(said.strip("`"))
    assert words == ["recaption", "export", f"out/seeds/{name}", "DEST", *options(name)]
    command().commands["export"].make_context("export", words[2:])
    assert reader.split()[0] in ("loader", "columns")


def test_prompts_of_pipelines_are_shipped() -> None:
    prompts = {path.stem for path in (FOLDER.parent.parent / "prompts").glob("*.md")}
    for name in NAMES:
        generate: Any = config.load(f"seeds/{name}")[0].generate
        assert {each.prompt for each in generate if each.prompt} <= prompts, Path(name)
