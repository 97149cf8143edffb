"""The pipeline files of the systems: each is planned with and without its preset, and says what it is. No engine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from systems import FOLDER, NAMES, SYSTEMS, exporter, head, options

from recaption import config, models
from recaption.cli import command
from recaption.demo import EMBEDDED
from recaption.demo.described import ONTOLOGY
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

    def __init__(self, settings: config.Source) -> None:
        self.has_images = settings.format != "classes"

    def columns(self) -> frozenset[str]:
        return frozenset(make_sample(0, "k", 32, described=True).meta) if self.has_images else frozenset({"name"})


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder with the files that tasks read when they are planned: ontologies, and texts about classes."""
    folder = tmp_path_factory.mktemp("files")
    for file in ("data/derm1m/ontology.yaml", "out/described-scenes/ontology.yaml"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text(ONTOLOGY)
    for out in ("seeds", "seeds-demo"):
        texts = folder / "out" / out / "gist-classes" / "dataset" / "class_texts"
        texts.mkdir(parents=True)
        pq.write_table(pa.table({"class_name": ["star"], "text": ["A star."]}), texts / "00000.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


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


def presets(name: str) -> list[str | None]:
    return [None, *yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))["presets"]]


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in NAMES for preset in presets(name)])
def test_a_system_is_planned(name: str, preset: str | None) -> None:
    pipeline, path = config.load(f"seeds/{name}", preset=preset)
    made = plan.make_plan(pipeline, path, Columns(pipeline.source))  # type: ignore[arg-type]
    is_demo = preset is not None and preset.startswith("demo")
    assert pipeline.name == name
    assert pipeline.output.path.startswith(f"out/{'seeds-demo' if is_demo else 'seeds'}/{name}")
    assert [question.id for question in made.questions] == [generation.id for generation in pipeline.generate]
    if is_demo:  # neither a GPU nor the hub
        used = [pipeline.models[generation.model] for generation in pipeline.generate]
        assert all(each.engine != "vllm" for each in used)
        assert all(each.engine == "column" or each.model in EMBEDDED for each in used)


def test_each_system_has_a_demo() -> None:
    assert [name for name in NAMES if "demo" not in presets(name)] == []


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
