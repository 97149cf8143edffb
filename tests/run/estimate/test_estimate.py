"""An estimate: a pilot whose answers are kept, and what it says about the whole source."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from samples import jpeg
from small_output import answer_all, pipeline_data, write_source
from toy_tasks import Words

from recaption import config
from recaption.errors import UserError
from recaption.generate.plan import make_plan
from recaption.io.store import open_store
from recaption.progress import Display
from recaption.run import RunResult
from recaption.run import estimate as module
from recaption.run.estimate import as_json, estimate, lines, print_estimate
from recaption.run.estimate.figures import Estimate, TokenPrice, Total
from recaption.source import open_source
from recaption.tasks.base import Parsed, Unit
from recaption.tasks.output import Output
from recaption.types import Completion


def display() -> Display:
    return Display()


def outcome(out: str, *, changed: bool) -> RunResult:
    return RunResult(
        store_url=out,
        build=None,
        changed=changed,
        answered=8,
        seconds=4.0,
        output_tokens=0,
        reject_share=0.0,
        sums=(),
    )


def put_report(folder: Path, number: int, **model: Any) -> None:
    """What a run on two H100 leaves, in which 8 images took 4 s."""
    data = {
        "seconds": 4.0,
        "engines": 2,
        "generations": {"long": {"answers": 8, "rejects": {}}},
        "engine": {"engine": "vllm", "engine_version": "0.32.0", "device": "NVIDIA H100"},
        "meter": {"share": 0.95, "lost": {"read": 0.05}},
    }
    report = {"run": f"run-{number:06d}", "models": {"moody": data | model}}
    open_store(str(folder / "out")).put(f"metrics/run-{number:06d}.json", orjson.dumps(report))


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two shards of four images with their answers and a report; `run` only notes how it was called."""
    write_source(tmp_path)
    (tmp_path / "moods").mkdir()
    (tmp_path / "moods" / f"refuse-{hashlib.sha256(jpeg(2)).hexdigest()}").touch()
    answer_all(pipeline_data(tmp_path))
    put_report(tmp_path, 1)
    seen: dict[str, Any] = {"folder": tmp_path, "changed": True}

    def run(pipeline: config.Pipeline, path: Path | None, display: Display, **options: Any) -> RunResult:
        seen["options"] = options
        return outcome(pipeline.output.path, changed=seen["changed"])

    monkeypatch.setattr(module, "run", run)
    return seen


def made(ran: dict[str, Any], **options: Any) -> tuple[Estimate, str]:
    pipeline = config.validate(pipeline_data(ran["folder"]))
    found = estimate(pipeline, None, display(), **options)
    return found, "\n".join(lines(found, pipeline))


def test_the_pilot_generates_for_the_first_images_only(ran: dict[str, Any]) -> None:
    made(ran, images=6)
    assert ran["options"] == {"half": "generate", "limit": 6}


def test_the_whole_source_is_extrapolated_from_the_rate_of_the_pilot(ran: dict[str, Any]) -> None:
    found, said = made(ran, price=3.0)
    assert found.total == Total(images=8, exact=True)
    assert found.gpu_hours == pytest.approx(8 * 2 / 2 / 3600)
    big = replace(found, total=Total(images=7_200_000, exact=False))
    said = "\n".join(lines(big, config.validate(pipeline_data(ran["folder"]))))
    for fact in (
        "moody: 8 images in 4 s with 2 engines (vllm 0.32.0 on NVIDIA H100)",
        "2.00 images/s, 1.00 per engine",
        "95 % of the engine's maximum rate: engine-bound",
        "a short pilot",
        "whole source: about 7,200,000 images",
        "2,000 GPU-hours: 41 d 16 h with 2 engines",
        "$6,000.00 at $3.00 per GPU-hour",
    ):
        assert fact in said


def test_lengths_of_answers_are_printed_as_a_histogram(ran: dict[str, Any]) -> None:
    found, said = made(ran)
    long, short = found.lengths
    assert (len(long.output_tokens), long.rejects, long.again) == (7, {"refusal": 1}, 1)
    assert set(long.output_tokens) == {14} and long.max_tokens == short.max_tokens == 320
    assert "long: 7 answers, tokens p50 14 · p95 14 · max 14 of 320 allowed" in said
    assert "12 % retried, 12 % rejected (refusal 1)" in said and "█" in said
    assert "$" not in said, "without a price there is no cost"


def test_answers_that_are_not_written_have_no_lengths(ran: dict[str, Any]) -> None:
    data = pipeline_data(ran["folder"])
    data["generate"][1] |= {"task": f"{__name__}:Mood", "prompt": "describe_short"}
    pipeline = config.validate(data)
    answer_all(data)
    (_, mood) = (found := estimate(pipeline, None, display())).lengths
    assert not mood.is_written and mood.output_tokens
    said = "\n".join(lines(replace(found, lengths=(mood,)), pipeline))
    assert "short: 8 answers\n  prompts take p50 20 tokens" in said
    assert "truncated" not in said and "█" not in said and "max_tokens" not in said


class Mood(Words):
    """One of the texts that the engine of these tests writes: they stand for choices."""

    def output(self, unit: Unit | None) -> Output:
        return Output(choices=("a mood",))

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return Parsed(finish="stop", value=[])


def test_only_the_shards_of_the_pilot_are_read(ran: dict[str, Any]) -> None:
    found, _ = made(ran, images=3)
    assert found.lengths[0].results == 4


def test_without_missing_answers_the_rate_is_that_of_an_earlier_run(ran: dict[str, Any]) -> None:
    put_report(ran["folder"], 2, seconds=0.0, generations={"long": {"answers": 0, "rejects": {}}})
    ran["changed"] = False
    found, said = made(ran)
    assert not found.asked and found.models[0].run == "run-000001"
    assert "all its answers were stored already; the rates are those of run-000001" in said


def test_without_any_measurement_there_is_no_estimate(ran: dict[str, Any]) -> None:
    put_report(ran["folder"], 1, seconds=0.0)
    ran["changed"] = False
    found, said = made(ran, price=2.0)
    assert found.models == () and found.unmeasured == ("moody",) and found.gpu_hours is None
    assert "moody: nothing to measure" in said and "hours" not in said and "whole source: 8 images" in said


def test_an_engine_without_a_gpu_has_hours_and_no_cost(ran: dict[str, Any]) -> None:
    put_report(ran["folder"], 1, engine={"engine": "openai"})
    _, said = made(ran, price=2.0)
    assert "engine-hours" in said and "there is no GPU cost" in said and "$" not in said


def served(ran: dict[str, Any], **of_run: Any) -> config.Pipeline:
    """The pipeline with its model on a server, and a report of it: 8 images, 4,800 tokens in and 800 out."""
    tokens = {"long": {"answers": 8, "rejects": {}, "prompt_tokens": 4800, "output_tokens": 800}}
    put_report(ran["folder"], 1, **{"engine": {"engine": "openai"}, "generations": tokens, **of_run})
    found = config.validate(pipeline_data(ran["folder"]))
    model = found.models["moody"].model_copy(update={"engine": "openai"})
    return found.model_copy(update={"models": {"moody": model}})


def test_a_server_is_priced_by_tokens(ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = served(ran)
    monkeypatch.setattr(module, "make_plan", lambda *given: make_plan(config.validate(pipeline_data(ran["folder"]))))
    for prices in ({"": TokenPrice(input=0.5, output=2.0)}, {"moody": TokenPrice(input=0.5, output=2.0)}):
        found = replace(
            estimate(pipeline, None, display(), token_prices=prices), total=Total(images=1_000_000, exact=True)
        )
        # Per image 600 tokens in and 100 out, so 600 M x $0.5 / M + 100 M x $2 / M.
        assert found.token_cost == pytest.approx(500.0) and found.cost is None
        said = "\n".join(lines(found, pipeline))
        assert "$500.00 for moody, at $0.5 in and $2 out per million tokens (600 + 100 tokens per image)" in said
        data = json.loads(json.dumps(as_json(found, pipeline)))
        assert data["token_cost"] == data["models"][0]["token_cost"] == pytest.approx(500.0)
        assert data["models"][0]["token_price"] == {"input": 0.5, "output": 2.0}
    assert estimate(pipeline, None, display()).token_cost is None
    pipeline = served(ran, generations={"long": {"answers": 8, "rejects": {}}})
    found = estimate(pipeline, None, display(), token_prices=prices)
    assert found.token_cost is None
    assert "moody: unknown cost, because the server reports no token counts" in "\n".join(lines(found, pipeline))


def test_a_price_per_token_of_another_model_is_an_error_before_the_pilot(ran: dict[str, Any]) -> None:
    price = TokenPrice(input=1.0, output=1.0)
    with pytest.raises(UserError, match=r"is for models with engine openai, and this pipeline has none\. For GPUs"):
        made(ran, token_prices={"": price})
    pipeline = served(ran)
    with pytest.raises(UserError, match=r"qwen is not one\. Models with engine openai: moody"):
        estimate(pipeline, None, display(), token_prices={"qwen": price})
    assert "options" not in ran


def test_the_json_has_histograms_and_no_single_tokens(ran: dict[str, Any]) -> None:
    found, _ = made(ran, price=2.0)
    pipeline = config.validate(pipeline_data(ran["folder"]))
    data = json.loads(json.dumps(as_json(found, pipeline)))
    assert data["total"] == {"images": 8, "exact": True} and data["models"][0]["images_per_second"] == 2.0
    assert data["lengths"][0]["output_tokens"]["p50"] == 14
    assert sum(data["lengths"][0]["output_tokens"]["histogram"]) == 7
    assert data["cost"] == pytest.approx(2.0 * data["gpu_hours"]) and data["suggestions"] == []


def test_shards_without_an_index_are_extrapolated_by_size(tmp_path: Path) -> None:
    write_source(tmp_path, shards=1, per_shard=4)
    answer_all(pipeline_data(tmp_path))
    write_source(tmp_path, shards=3, per_shard=4)
    pipeline = config.validate(pipeline_data(tmp_path))
    sizes = module._shard_sizes(open_store(str(tmp_path / "out")), open_source(pipeline.source))
    assert [images for images, _ in sizes] == [4, None, None]
    assert [nbytes for _, nbytes in sizes] == [p.stat().st_size for p in sorted((tmp_path / "source").iterdir())]


def test_a_parquet_source_is_counted_by_its_footers(tmp_path: Path) -> None:
    for name, rows in (("a", 3), ("b", 5)):
        table = pa.table({"jpg": [jpeg(i) for i in range(rows)], "caption": ["x"] * rows})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    source = open_source(config.Source(path=f"{tmp_path}/*.parquet"))
    sizes = module._shard_sizes(open_store(str(tmp_path / "out")), source)
    assert [images for images, _ in sizes] == [3, 5]


def test_names_from_a_pipeline_are_text_and_not_markup(ran: dict[str, Any]) -> None:
    found, _ = made(ran)
    sink = io.StringIO()
    shown = replace(found, out="/data/[red]x")
    print_estimate(shown, config.validate(pipeline_data(ran["folder"])), Console(file=sink, width=200))
    assert "/data/[red]x" in sink.getvalue()


@pytest.mark.usefixtures("ray_session")
def test_the_answers_of_a_pilot_are_kept_and_not_generated_again(tmp_path: Path) -> None:
    write_source(tmp_path)
    pipeline = config.validate(pipeline_data(tmp_path))
    with display() as shown:
        first = estimate(pipeline, None, shown, images=6)
    assert first.asked and first.total == Total(images=8, exact=True)
    (rate,) = first.models
    assert (rate.run, rate.images) == ("run-000001", 6) and rate.seconds > 0
    assert [of.results for of in first.lengths] == [6, 6]
    asked = (tmp_path / "moods" / "asked.txt").read_text().count("\n")
    assert asked == 12
    with display() as shown:
        second = estimate(pipeline, None, shown, images=6)
    assert not second.asked and second.models[0].run == "run-000001"
    assert (tmp_path / "moods" / "asked.txt").read_text().count("\n") == asked
