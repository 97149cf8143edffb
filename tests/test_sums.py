"""One figure has one value wherever it is shown: summary, --json, status, metrics, inspect, report and manifest."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.cli.summary import fields, print_outcome
from recaption.inspect import output_question, summarise
from recaption.inspect.paths import find
from recaption.inspect.report import write_report
from recaption.inspect.report.provenance import read_runs
from recaption.inspect.results import ResultFormat
from recaption.progress import display_on
from recaption.run import run
from recaption.run.monitor.prometheus import PrometheusExporter
from recaption.run.monitor.status import read_status

pytestmark = pytest.mark.usefixtures("ray_session")

Pipeline = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Of each generation: images asked, from earlier runs, duplicates, answered, rejected."""

    long: tuple[int, int, int, int, int]
    short: tuple[int, int, int, int, int] | None = None
    ok: int
    partial: int = 0
    rejected: int | None = None  # None: not stated


def pipeline(tmp_path: Path, images: list[bytes], **engine_args: Any) -> Pipeline:
    write_tar(tmp_path / "s" / "a.tar", [sample(f"k{i:04d}", data, "a cup") for i, data in enumerate(images)])
    return {
        "name": "test",
        "source": {"path": f"{tmp_path}/s/*.tar"},
        "models": {"fake": {"engine": "fake_engine:FakeEngine", "model": "scene", "engine_args": engine_args}},
        "generate": [
            {"id": "long", "model": "fake", "prompt": "describe_long"},
            {"id": "short", "model": "fake", "prompt": "describe_short"},
        ],
        "annotate": {"splitter": "flair_regex"},
        "output": {"path": str(tmp_path / "out"), "format": "webdataset", "max_reject_share": 1.0},
    }


def fresh(tmp_path: Path) -> tuple[Pipeline, Expected]:
    return pipeline(tmp_path, [jpeg(i) for i in range(9)]), Expected(long=(9, 0, 0, 9, 0), short=(9, 0, 0, 9, 0), ok=9)


def resumed(tmp_path: Path) -> tuple[Pipeline, Expected]:
    data = pipeline(tmp_path, [jpeg(i) for i in range(9)])
    execute(data, limit=4)
    return data, Expected(long=(9, 4, 0, 5, 0), short=(9, 4, 0, 5, 0), ok=9)


def with_rejects(tmp_path: Path) -> tuple[Pipeline, Expected]:
    """Three images are unusable, which is seen when the shard is listed: they are not asked about. Of the other five,
    the engine refuses three requests: one image has no answer, one has one, three have both."""
    images = [jpeg(0), jpeg(50)[:-400], b"<html></html>", jpeg(1), b"", jpeg(2), jpeg(3), jpeg(4)]
    data = pipeline(tmp_path, images)
    refused = {5: "refuse all", 6: "refuse long"}
    samples = [sample(f"k{i:04d}", image, refused.get(i, "a cup")) for i, image in enumerate(images)]
    write_tar(tmp_path / "s" / "a.tar", samples)
    for ask, only in zip(data["generate"], ("long", "all"), strict=True):
        words = "{% if 'all' in caption or '" + only + "' in caption %}{{ caption }}{% else %}What is it?{% endif %}"
        (tmp_path / f"{ask['id']}.md").write_text(
            f"---\nid: {ask['id']}\nversion: 1\nkind: {ask['id']}\n---\n{ask['id']} {words}\n"
        )
        ask["prompt"] = str(tmp_path / f"{ask['id']}.md")
    data["output"]["require"] = ["short"]
    return data, Expected(long=(5, 0, 0, 3, 2), short=(5, 0, 0, 4, 1), ok=3, partial=1, rejected=4)


def with_refusals(tmp_path: Path) -> tuple[Pipeline, Expected]:
    """A model that answers that it cannot help, after three attempts, and images that the source rejects."""
    data = pipeline(tmp_path, [jpeg(0), b"<html></html>", jpeg(1), jpeg(2)])
    data["models"]["refuser"] = {**data["models"]["fake"], "engine_args": {"refusals": True}}
    data["generate"][1]["model"] = "refuser"
    data["output"]["require"] = ["long"]
    return data, Expected(long=(3, 0, 0, 3, 0), short=(3, 0, 0, 0, 3), ok=0, partial=3, rejected=1)


def with_duplicates(tmp_path: Path) -> tuple[Pipeline, Expected]:
    images = [jpeg(i % 3) for i in range(9)]
    return pipeline(tmp_path, images), Expected(long=(9, 0, 6, 3, 0), short=(9, 0, 6, 3, 0), ok=9)


def with_two_models(tmp_path: Path) -> tuple[Pipeline, Expected]:
    data = pipeline(tmp_path, [jpeg(i) for i in range(5)])
    data["models"]["other"] = dict(data["models"]["fake"], dtype="float32")
    data["generate"][1]["model"] = "other"
    return data, Expected(long=(5, 0, 0, 5, 0), short=(5, 0, 0, 5, 0), ok=5)


def with_a_lost_engine(tmp_path: Path) -> tuple[Pipeline, Expected]:
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "die-150").touch()
    images = [jpeg(i) for i in range(120)]
    data = pipeline(tmp_path, images, faults=str(faults), latency=0.02, capacity=8)
    data["models"]["fake"]["replicas"] = 1
    return data, Expected(long=(120, 0, 0, 120, 0), short=(120, 0, 0, 120, 0), ok=120)


def from_a_column(tmp_path: Path) -> tuple[Pipeline, Expected]:
    data = pipeline(tmp_path, [])
    samples = [sample(f"k{i}", jpeg(i), recap=f"A cup. A table with {i} plates.") for i in range(4)]
    write_tar(tmp_path / "s" / "a.tar", [*samples, sample("none", jpeg(9))])
    data["models"] = {"column": {"engine": "column"}}
    data["generate"] = [{"id": "long", "model": "column", "column": "recap"}]
    return data, Expected(long=(5, 0, 0, 4, 1), ok=4)


def execute(data: Pipeline, limit: int | None = None) -> tuple[Any, dict[str, Any], PrometheusExporter]:
    """A run: its outcome, the summary line of --json, and the metrics that Prometheus gets."""
    said, exporter = io.StringIO(), PrometheusExporter(0)
    with display_on(Console(file=said), json=True) as display:
        outcome = run(config.validate(data), None, display, limit=limit, listeners=[exporter])
        display.summary({"exit_code": 0, **fields(outcome, "test")})
    return outcome, json.loads(said.getvalue().splitlines()[-1]), exporter


def scraped(exporter: PrometheusExporter, name: str, generation: str) -> int:
    (family,) = [family for family in exporter.collect() if family.name == name]
    return int(sum(s.value for s in family.samples if s.labels.get("generation") == generation))


def printed(data: Pipeline, name: str) -> dict[str, int]:
    """The rows of a named question, as JSON gives them."""
    sink = io.StringIO()
    output_question((data["output"]["path"],), [name], ResultFormat(format="json"), Console(file=sink, width=200))
    return {row["what"]: row["n"] for row in map(json.loads, sink.getvalue().splitlines())}


@pytest.mark.parametrize(
    "case",
    [
        fresh,
        resumed,
        with_rejects,
        with_refusals,
        with_duplicates,
        with_two_models,
        with_a_lost_engine,
        from_a_column,
    ],
)
def test_all_displays_of_a_figure_agree(case: Callable[[Path], tuple[Pipeline, Expected]], tmp_path: Path) -> None:
    data, expected = case(tmp_path)
    out = Path(data["output"]["path"])
    outcome, summary, exporter = execute(data)
    manifest = json.loads((out / "dataset" / "manifest.json").read_bytes())
    asked_of = {g["id"]: g for g in manifest["generations"]}
    status = {id: g for model in read_status(str(out)).models for id, g in model.generations.items()}
    newest = json.loads(sorted((out / "metrics").glob("run-*.json"))[-1].read_bytes())
    kept = {name: g for model in newest["models"].values() for name, g in model["generations"].items()}
    generations = {"long": expected.long} | ({"short": expected.short} if expected.short else {})
    assert set(generations) == set(asked_of) == set(status) == set(kept) == set(summary["generations"])

    for name, (asked, before, duplicates, answered, rejected) in generations.items():
        assert asked == before + duplicates + answered + rejected
        numbers = {
            "total": asked, "resumed": before, "duplicates": duplicates, "answers": answered, "rejects": rejected
        }  # fmt: skip
        assert outcome.generations[name] == summary["generations"][name] == numbers
        words = (
            f"{name}: asked {asked} = from earlier runs {before} + duplicate images {duplicates} "
            f"+ answered {answered} + rejected {rejected}"
        )
        assert words in outcome.sums and words in summary["sums"]
        assert {**kept[name], "rejects": sum(kept[name]["rejects"].values())} | numbers == {
            **kept[name],
            "rejects": rejected,
        }
        g = status[name]
        assert (g.total, g.resumed, g.duplicates, g.answers, sum(g.rejects.values())) == tuple(numbers.values())
        assert (g.done, g.share) == (asked, 1.0)
        metrics = ("recaption_images", "recaption_resumed_images", "recaption_duplicate_images", "recaption_answers")
        assert [scraped(exporter, metric, name) for metric in (*metrics, "recaption_rejects")] == [*numbers.values()]
        in_build = asked_of[name]
        assert in_build["asked"] == in_build["answered"] + in_build["rejected"] == asked
        assert in_build["rejected"] == rejected, "of this source each reject is of one image"

    total = sum(counts[3] for counts in generations.values())
    assert outcome.answered == summary["answered"] == total
    (*_, of_report) = read_runs(find(str(out)))
    assert (of_report.answers, of_report.rejects) == (total, sum(counts[4] for counts in generations.values()))
    assert of_report.captions_per_second == newest["captions_per_second"]

    s, overview = summarise(str(out)), printed(data, "overview")
    counts = manifest["counts"]
    assert s.ok == counts["ok"] == overview.get("images: ok", 0) == expected.ok
    if expected.rejected is not None:
        assert s.partial == counts["partial"] == overview.get("images: partial", 0) == expected.partial
        assert s.rejected == counts["reject"] == overview["images: reject"] == expected.rejected
        assert counts["images"] == expected.ok + expected.partial + expected.rejected
        assert sum(manifest["rejects"].values()) == expected.rejected
    assert s.images == counts["images"] == overview["images"] == summary["dataset"]["images"]
    assert s.captions == counts["captions"] == sum(n for what, n in overview.items() if what.startswith("captions: "))
    assert dict(s.captions_of) == {
        what.removeprefix("captions: "): n for what, n in overview.items() if what.startswith("captions: ")
    }
    assert s.sub_captions == counts["sub_captions"] == overview["sub-captions"]
    assert s.tags == counts["tags"] == overview["objects"] == summary["dataset"]["tags"]
    for name, (_, _, _, answered, _) in generations.items():
        earlier = 0 if case is not resumed else 4
        assert overview.get(f"stored answers: {name}", 0) == answered + earlier

    screen = io.StringIO()
    print_outcome(outcome, "test", Console(file=screen, width=200))
    figures = dict(re.findall(r"^(images|captions|objects|answers of this run) +([\d,]+)", screen.getvalue(), re.M))
    shown = {"images": s.images, "captions": s.captions, "objects": s.tags, "answers of this run": total}
    assert {what: int(n.replace(",", "")) for what, n in figures.items()} == shown
    page = write_report(str(out), tmp_path / "r.html").path.read_text()
    tiles = {what: int(n.replace(",", "")) for n, what in re.findall(r"<li><b>([\d,]+)</b> ([a-z-]+)<span", page)}
    assert tiles == {"images": s.images, "captions": s.captions, "sub-captions": s.sub_captions, "objects": s.tags}


def test_the_rate_in_the_summary_is_of_the_answers_beside_it() -> None:
    from recaption.inspect.summary import Summary, print_summary

    summary = Summary(
        name="demo", schema_version="1.2", build="b", format="webdataset",
        images=64, ok=64, partial=0, rejected=0, excluded=0, captions=192, sub_captions=609, tags=688,
        generations=(), rejects=(), top_tags=(), captions_of=(("raw", 64), ("long", 64), ("short", 64)),
    )  # fmt: skip
    sink = io.StringIO()
    print_summary(summary, Console(file=sink, width=100), (), (128, 8.0))
    assert re.search(r"captions +192  raw 64 · long 64 · short 64 *\n", sink.getvalue())
    assert re.search(r"answers of this run +128  16\.0 a second, in 8 s *\n", sink.getvalue())
