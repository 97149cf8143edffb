"""The figures of an estimate: rates, totals, GPU-hours, lengths of answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from estimates import estimate, rate, report
from hypothesis import given
from hypothesis import strategies as st

from recaption.run.estimate.figures import (
    Total,
    lengths,
    model_rate,
    total_images,
)
from recaption.types import Answer, Attempt, Reject


def test_an_image_counts_once_with_several_generations() -> None:
    found = rate()
    assert (found.images, found.images_per_second, found.per_engine) == (256, 4.0, 2.0)
    assert (found.run, found.engine, found.gpus) == ("run-000004", "vllm 0.32.0 on NVIDIA H100", 2)
    assert found.lost == {"render": 0.15, "queue": 0.05}


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"generations": {}}, {"generations": {"long": {"answers": 0}}}])
def test_an_unused_model_has_no_rate(changes: dict[str, Any]) -> None:
    assert model_rate(report(**changes), "qwen") is None
    assert model_rate(report(), "another") is None and model_rate({}, "qwen") is None


@pytest.mark.parametrize("engine", [{"engine": "transformers", "device": "cpu"}, {"engine": "openai"}, {}])
def test_an_engine_without_a_gpu_costs_no_gpu_hours(engine: dict[str, str]) -> None:
    found = model_rate(report(engine=engine), "qwen", 1)
    assert found is not None and found.gpus == 0
    assert estimate(models=(found,)).cost is None


def test_an_image_without_anything_to_ask_in_a_later_pass_counts() -> None:
    """6 images are captioned and verified, and 2 of them have sentences to repair."""
    fixed = {"total": 6, "resumed": 4, "finished": 2, "answers": 4}
    passes = {"qwen (pass 2)": {"phase": "done", "seconds": 3.0, "engines": 1, "generations": {"fixed": fixed}}}
    above = {"long": {"answers": 5, "rejects": {"refusal": 1}}}
    of = {**report(generations=above)["models"], **passes}
    reads = {"fixed": {"long", "check"}}
    found = model_rate({"models": of}, "qwen (pass 2)", model="qwen", reads=reads)
    assert found is not None and (found.name, found.model) == ("qwen (pass 2)", "qwen")
    assert (found.images, found.requests) == (6, {"fixed": pytest.approx(4 / 6)})
    assert found.seconds_for(600) == pytest.approx(300)
    alone = model_rate({"models": passes}, "qwen (pass 2)", reads=reads)
    assert alone is not None and alone.images == 2, "what it reads was there before this run"


def test_an_interrupted_pass_has_not_covered_all_images_that_it_reads() -> None:
    """1,000 images are captioned, and the run is interrupted when 10 of them are repaired."""
    fixed = {"total": 1000, "finished": 10, "answers": 15}
    stopped = {"phase": "generating", "seconds": 3.0, "engines": 1, "generations": {"fixed": fixed}}
    of = report(generations={"long": {"answers": 1000}})["models"] | {"qwen (pass 2)": stopped}
    found = model_rate({"models": of}, "qwen (pass 2)", reads={"fixed": {"long"}})
    assert found is not None and (found.images, found.requests) == (10, {"fixed": 1.5})


def test_engines_that_were_released_before_the_end_count() -> None:
    found = model_rate(report(engines=1, engines_released=3), "qwen")
    assert found is not None and found.engines == 4


def test_gpu_hours_do_not_depend_on_the_number_of_engines() -> None:
    one = rate(engines=1, images=128)
    assert rate().gpu_hours(7200) == one.gpu_hours(7200) == pytest.approx(7200 / 2.0 / 3600 * 2)
    assert rate().seconds_for(7200) == pytest.approx(1800)


def test_times_and_costs_of_models_are_summed() -> None:
    both = estimate(models=(rate(), rate(name="other", seconds=32.0, gpus=1)))
    assert both.seconds == pytest.approx(1e6 / 4 + 1e6 / 8)
    assert both.gpu_hours == pytest.approx(1e6 / 2 / 3600 * 2 + 1e6 / 4 / 3600)
    assert both.gpu_hours is not None and both.cost == pytest.approx(both.gpu_hours * 2.5)
    assert estimate(models=(rate(),), price=None).cost is None
    assert estimate(models=(rate(),), total=None).gpu_hours is None and estimate().seconds is None


def test_a_counted_source_has_an_exact_total() -> None:
    assert total_images([(5000, None), (12, None)]) == Total(images=5012, exact=True)


def test_uncounted_shards_are_extrapolated_by_bytes() -> None:
    shards = [
        (1000, 10_000),
        (None, 10_000),
        (None, 500),
    ]
    assert total_images(shards) == Total(images=2050, exact=False)


def test_without_sizes_uncounted_shards_have_the_average_count() -> None:
    shards = [(1000, None), (500, None), (None, None), (None, 9)]
    assert total_images(shards) == Total(images=3000, exact=False)


def test_a_source_without_counted_shards_has_no_total() -> None:
    assert total_images([(None, 5)]) is None and total_images([]) is None


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 10_000)), st.integers(0, 10**9))))
def test_a_total_is_at_least_the_counted_images(shards: list[tuple[int | None, int]]) -> None:
    total = total_images(shards)
    counted = [n for n, _ in shards if n is not None]
    assert (total is None) == (not counted)
    assert total is None or (total.images >= sum(counted) and total.exact == (len(counted) == len(shards)))


def attempt(finish: Any) -> Attempt:
    return Attempt(seed=1, temperature=0.5, finish_reason=finish, output_tokens=9)


def test_lengths_count_retried_truncated_and_rejected_requests() -> None:
    base = Answer(
        key="a",
        sha256="s",
        row=0,
        text="t",
        finish_reason="stop",
        prompt_tokens=700,
        output_tokens=100,
        prompt_sha256="p",
    )
    answers = [
        replace(base, attempts=(attempt("stop"),)),
        replace(base, attempts=(attempt("repetition"), attempt("empty"), attempt("stop")), output_tokens=120),
        replace(base, finish_reason="length", output_tokens=320, attempts=(attempt("length"),)),
    ]
    reject = Reject(
        key="b",
        source_key="b",
        shard="0",
        row=1,
        sha256="s",
        stage="generate",
        generation="long",
        reason="refusal",
        detail="",
        attempts=3,
    )
    found = lengths("long", "qwen", 320, answers, [reject])
    assert (found.results, found.cut, found.again) == (4, 1, 2)
    assert found.failed == {"repetition": 1, "empty": 1} and found.rejects == {"refusal": 1}
    assert (found.reject_share, found.again_share, found.cut_share) == (0.25, 0.5, 1 / 3)
    assert (found.output(0.5), found.output(0.99)) == (120, 320)
