"""The arithmetic of an estimate: rates, totals, GPU-hours, and what is advised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption import config
from recaption.run.estimate.figures import (
    Estimate,
    Lengths,
    ModelRate,
    ShardSize,
    Total,
    lengths,
    model_rate,
    total_images,
)
from recaption.run.estimate.suggestions import suggestions
from recaption.types import Answer, Attempt, Reject


def report(**changes: Any) -> dict[str, Any]:
    """256 images and two questions each in 64 s with two engines."""
    model = {
        "seconds": 64.0,
        "engines": 2,
        "generations": {
            "long": {"answers": 250, "rejects": {"refusal": 6}},
            "short": {"answers": 256, "rejects": {}},
        },
        "engine": {"engine": "vllm", "engine_version": "0.32.0", "device": "NVIDIA H100"},
        "meter": {"share": 0.8, "lost": {"render": 0.15, "queue": 0.05, "read": 0.0}},
    }
    return {"run": "run-000004", "models": {"qwen": model | changes}}


def rate(**changes: Any) -> ModelRate:
    found = model_rate(report(), "qwen", 2)
    assert found is not None
    return replace(found, **changes)


def some_lengths(**changes: Any) -> Lengths:
    """A hundred answers of about 200 tokens, nothing wrong with any."""
    values: dict[str, Any] = {
        "id": "long",
        "model": "qwen",
        "max_tokens": 320,
        "output_tokens": tuple(range(150, 250)),
        "prompt_tokens": (700,) * 100,
        "cut": 0,
        "rejects": {},
        "again": 0,
        "failed": {},
    }
    return Lengths(**values | changes)


def pipeline(**model: Any) -> config.Pipeline:
    return config.validate(
        {
            "name": "p",
            "source": {"path": "x.tar"},
            "models": {"qwen": {"engine": "vllm", "model": "org/qwen"} | model},
            "generate": [{"id": "long", "model": "qwen", "prompt": "describe_long"}],
            "output": {"path": "out"},
        }
    )


def estimate(*, models: tuple[ModelRate, ...] = (), of: tuple[Lengths, ...] = (), **changes: Any) -> Estimate:
    values: dict[str, Any] = {
        "pipeline": "p",
        "out": "out",
        "pilot": 256,
        "asked": True,
        "total": Total(images=1_000_000, exact=True),
        "unmeasured": (),
        "price": 2.5,
    }
    return Estimate(models=models, lengths=of, **values | changes)


def advice(found: Estimate, **model: Any) -> str:
    return "\n".join(suggestions(found, pipeline(**model)))


def test_an_image_counts_once_however_many_questions_it_is_asked() -> None:
    found = rate()
    assert (found.images, found.images_per_second, found.per_engine) == (256, 4.0, 2.0)
    assert (found.run, found.engine, found.gpus) == ("run-000004", "vllm 0.32.0 on NVIDIA H100", 2)
    assert found.lost == {"render": 0.15, "queue": 0.05}


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"generations": {}}, {"generations": {"long": {"answers": 0}}}])
def test_a_model_that_was_asked_nothing_has_no_rate(changes: dict[str, Any]) -> None:
    assert model_rate(report(**changes), "qwen") is None
    assert model_rate(report(), "another") is None and model_rate({}, "qwen") is None


@pytest.mark.parametrize("engine", [{"engine": "transformers", "device": "cpu"}, {"engine": "openai"}, {}])
def test_an_engine_without_a_gpu_costs_no_gpu_hours(engine: dict[str, str]) -> None:
    found = model_rate(report(engine=engine), "qwen", 1)
    assert found is not None and found.gpus == 0
    assert estimate(models=(found,)).cost is None


def test_gpu_hours_do_not_depend_on_how_many_engines_measured_them() -> None:
    one = rate(engines=1, images=128)
    assert rate().gpu_hours(7200) == one.gpu_hours(7200) == pytest.approx(7200 / 2.0 / 3600 * 2)
    assert rate().seconds_for(7200) == pytest.approx(1800)


def test_models_run_one_after_another_and_all_are_paid_for() -> None:
    both = estimate(models=(rate(), rate(name="other", seconds=32.0, gpus=1)))
    assert both.seconds == pytest.approx(1e6 / 4 + 1e6 / 8)
    assert both.gpu_hours == pytest.approx(1e6 / 2 / 3600 * 2 + 1e6 / 4 / 3600)
    assert both.gpu_hours is not None and both.cost == pytest.approx(both.gpu_hours * 2.5)
    assert estimate(models=(rate(),), price=None).cost is None
    assert estimate(models=(rate(),), total=None).gpu_hours is None and estimate().seconds is None


def test_a_source_that_is_counted_is_exact() -> None:
    assert total_images([ShardSize(images=5000), ShardSize(images=12)]) == Total(images=5012, exact=True)


def test_shards_that_are_not_counted_are_taken_by_their_bytes() -> None:
    shards = [
        ShardSize(images=1000, nbytes=10_000),
        ShardSize(images=None, nbytes=10_000),
        ShardSize(images=None, nbytes=500),
    ]
    assert total_images(shards) == Total(images=2050, exact=False)


def test_without_sizes_they_are_taken_to_be_as_large_as_the_others() -> None:
    shards = [ShardSize(images=1000), ShardSize(images=500), ShardSize(images=None), ShardSize(images=None, nbytes=9)]
    assert total_images(shards) == Total(images=3000, exact=False)


def test_a_source_of_which_nothing_is_counted_has_no_total() -> None:
    assert total_images([ShardSize(images=None, nbytes=5)]) is None and total_images([]) is None


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 10_000)), st.integers(0, 10**9))))
def test_a_total_is_never_less_than_what_was_counted(shards: list[tuple[int | None, int]]) -> None:
    total = total_images(ShardSize(images=n, nbytes=size) for n, size in shards)
    counted = [n for n, _ in shards if n is not None]
    assert (total is None) == (not counted)
    assert total is None or (total.images >= sum(counted) and total.exact == (len(counted) == len(shards)))


def attempt(finish: Any) -> Attempt:
    return Attempt(seed=1, temperature=0.5, finish_reason=finish, output_tokens=9)


def test_lengths_count_attempts_cuts_and_reasons() -> None:
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
    assert (found.settled, found.cut, found.again) == (4, 1, 2)
    assert found.failed == {"repetition": 1, "empty": 1} and found.rejects == {"refusal": 1}
    assert (found.reject_share, found.again_share, found.cut_share) == (0.25, 0.5, 1 / 3)
    assert (found.output(0.5), found.output(0.99)) == (120, 320)


def test_what_is_well_gets_no_advice() -> None:
    assert suggestions(estimate(models=(rate(share=0.97),), of=(some_lengths(),)), pipeline()) == []


def test_the_stage_that_starves_the_engine_is_named_with_its_setting() -> None:
    said = advice(estimate(models=(rate(),)))
    assert said.startswith("qwen: 15 % of the engine's maximum rate is lost: render-bound")
    assert "more CPU cores" in said
    assert "models.qwen.renderers to auto, or above 2" in advice(estimate(models=(rate(),)), renderers=2)
    assert "faster storage" in advice(estimate(models=(rate(lost={"read": 0.2, "render": 0.05}),)))


def test_the_start_and_end_of_a_short_pilot_are_no_fault() -> None:
    assert advice(estimate(models=(rate(share=0.6, lost={"queue": 0.4}),))) == ""
    assert advice(estimate(models=(rate(share=0.6, lost={"queue": 0.35, "read": 0.05}),))) == ""
    assert advice(estimate(models=(rate(share=None, lost={}),))) == ""


def test_answers_that_are_cut_off_ask_for_more_tokens() -> None:
    said = advice(estimate(of=(some_lengths(cut=7, output_tokens=(320,) * 7 + (200,) * 93),)))
    assert "7.0 % of the answers are truncated at" in said and "--set generate.0.sampling.max_tokens=480" in said
    assert "all answers are generated again" in said, "what changes the fingerprint says so"
    config.load("flair", ("generate.0.sampling.max_tokens=480",))


def test_tokens_that_nobody_uses_are_too_many() -> None:
    said = advice(estimate(of=(some_lengths(output_tokens=(100,) * 100),)))
    assert "no answer takes more than 100 of 320" in said and "max_tokens=160" in said
    assert advice(estimate(of=(some_lengths(output_tokens=(110,) * 100),))) == "", "half of it is room to spare"


def test_few_answers_say_nothing_about_shares() -> None:
    assert advice(estimate(of=(some_lengths(output_tokens=(320,) * 5, prompt_tokens=(9,) * 5, cut=5),))) == ""


def test_rejects_and_attempts_are_said_with_their_reasons() -> None:
    said = advice(
        estimate(of=(some_lengths(rejects={"refusal": 20, "empty_answer": 1}, again=40, failed={"refusal": 60}),))
    )
    assert "17 % are rejected (refusal 20, empty_answer 1)" in said
    assert "33 % were retried (refusal 60)" in said


def test_long_prompts_speak_for_a_pixel_budget() -> None:
    found = estimate(of=(some_lengths(prompt_tokens=(2500,) * 100),))
    assert "models.qwen.max_pixels is not set" in advice(found)
    assert "models.qwen.max_pixels is 1,003,520" in advice(found, max_pixels=1_003_520)


def test_a_prompt_that_leaves_no_room_for_the_answer_is_told() -> None:
    said = advice(estimate(of=(some_lengths(prompt_tokens=(700,) * 99 + (1800,)),)), max_model_len=2048)
    assert "do not fit together into models.qwen.max_model_len=2048: set it to 2304" in said
