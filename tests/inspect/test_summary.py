from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from rich.console import Console

from recaption.errors import DatasetError, UserError
from recaption.inspect import GenerationSummary, print_summary, summarise
from recaption.resources import shipped


def manifest_of(dataset: Path) -> Path:
    return dataset / "dataset" / "manifest.json"


def change(dataset: Path, **parts: Any) -> None:
    path = manifest_of(dataset)
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_a_generation_by_rules_has_no_requests() -> None:
    rules = GenerationSummary(generation="hard", asked=0, answered=0, rejected=0, rejects=(), skipped=2)
    assert rules.sum == "hard: no requests; images skipped: 2"
    waiting = GenerationSummary(generation="check", asked=0, answered=0, rejected=0, rejects=(), unanswered=3)
    assert waiting.sum == "check: asked 0 = answered 0 + rejected 0; units without an answer: 3"


def test_the_fixture_is_as_the_contract_says(dataset: Path) -> None:
    documents = [json.loads(path.read_text("utf-8")) for path in shipped("schemas").glob("*.schema.json")]
    registry: Registry[Any] = Registry().with_resources(
        (document["$id"], Resource.from_contents(document)) for document in documents
    )
    top = next(document for document in documents if document["$id"] == "manifest.schema.json")
    jsonschema.Draft202012Validator(top, registry=registry).validate(json.loads(manifest_of(dataset).read_text()))


def test_numbers(dataset: Path) -> None:
    s = summarise(str(dataset))
    assert (s.name, s.build, s.format) == ("tiny", "0123456789abcdef", "sidecar")
    assert (s.images, s.ok, s.partial, s.rejected, s.excluded) == (6, 4, 0, 2, 0)
    assert (s.captions, s.sub_captions, s.tags) == (8, 12, 10)
    assert s.generations == (
        GenerationSummary(generation="long", asked=5, answered=4, rejected=1, rejects=(("repetition", 1),)),
    )
    assert s.rejects == (("missing_required", 1), ("truncated", 1))
    assert s.top_tags == (("dog", 4), ("ball", 1), ("cat", 1))
    assert sum(n for _, n in s.captions_of) == s.captions


def test_generations_without_captions_have_sums_too(verified: Path) -> None:
    summary = summarise(str(verified))
    *_, check = summary.generations
    assert [(name, rows) for name, rows, _ in summary.tables] == [("verifications", check.asked)]
    asked = check.asked
    assert check.sum == (
        f"check: asked {asked} = answered {asked} + rejected 0; images skipped: 2; units without an answer: 4"
    )


def test_what_is_printed(dataset: Path) -> None:
    file = io.StringIO()
    print_summary(
        summarise(str(dataset)),
        Console(file=file, width=52),
        ["recaption inspect out/demo  # look into it, as long as this"],
        (4, 2.0),
    )
    out = file.getvalue()
    assert [line.rstrip() for line in out.splitlines()] == [
        "tiny · sidecar build 0123456789abcdef",
        "images                6  4 usable",
        "captions              8  raw 4 · long 4",
        "sub-captions         12  3.0 per usable image",
        "objects              10  dog 4 · ball 1 · cat 1",
        "unusable images       2  missing_required 1 ·",
        "                         truncated 1",
        "rejected, long        1  repetition 1",
        "answers of this run   4  2.0 a second, in 2 s",
        "",
        "images in 6 = ok 4 + partial 0 + rejected 2 +",
        "excluded 0",
        "long: asked 5 = answered 4 + rejected 1",
        "",
        "next",
        "  recaption inspect out/demo  # look into it, as long as this",
    ]


def test_a_terminal_and_no_rates_and_no_next_steps(dataset: Path) -> None:
    file = io.StringIO()
    print_summary(summarise(str(dataset)), Console(file=file, width=80, color_system=None), [])
    assert "second" not in file.getvalue()
    assert "next" not in file.getvalue()


def test_sums_that_do_not_hold_are_no_dataset(dataset: Path) -> None:
    counts = json.loads(manifest_of(dataset).read_text())["counts"]
    change(dataset, counts=counts | {"images": 7})
    with pytest.raises(DatasetError, match="images in 7 = ok 4"):
        summarise(str(dataset))
    generations = json.loads(manifest_of(dataset).read_text())["generations"]
    change(dataset, counts=counts, generations=[generations[0] | {"asked": 9}])
    with pytest.raises(DatasetError, match="long: asked 9 = answered 4"):
        summarise(str(dataset))


def test_an_empty_dataset(dataset: Path) -> None:
    counts = dict.fromkeys(json.loads(manifest_of(dataset).read_text())["counts"], 0)
    change(dataset, counts=counts, generations=[], rejects={})
    file = io.StringIO()
    print_summary(summarise(str(dataset)), Console(file=file, width=80), [])
    assert "images in 0 = ok 0" in file.getvalue()


def test_no_build_and_broken_manifests(run_only: Path, dataset: Path) -> None:
    with pytest.raises(UserError, match="no build yet"):
        summarise(str(run_only))
    for text in ("{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": "1.0"}'):
        manifest_of(dataset).write_text(text)
        with pytest.raises(DatasetError):
            summarise(str(dataset))
    manifest_of(dataset).write_text('{"schema_version": "2.0"}')
    with pytest.raises(DatasetError, match="Upgrade"):
        summarise(str(dataset))
