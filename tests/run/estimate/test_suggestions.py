"""Suggested settings after a pilot."""

from __future__ import annotations

from typing import Any

from estimates import estimate, rate, some_lengths

from recaption import config
from recaption.run.estimate.figures import Estimate
from recaption.run.estimate.suggestions import suggestions


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


def advice(found: Estimate, **model: Any) -> str:
    return "\n".join(suggestions(found, pipeline(**model)))


def test_without_problems_there_are_no_suggestions() -> None:
    assert suggestions(estimate(models=(rate(share=0.97),), of=(some_lengths(),)), pipeline()) == []


def test_a_suggestion_has_the_limiting_stage_and_its_setting() -> None:
    said = advice(estimate(models=(rate(),)))
    assert said.startswith("qwen: 15 % of the engine's maximum rate is lost: render-bound")
    assert "more CPU cores" in said
    assert "models.qwen.renderers to auto, or above 2" in advice(estimate(models=(rate(),)), renderers=2)
    assert "faster storage" in advice(estimate(models=(rate(lost={"read": 0.2, "render": 0.05}),)))


def test_losses_at_the_start_and_end_of_a_pilot_give_no_suggestion() -> None:
    assert advice(estimate(models=(rate(share=0.6, lost={"queue": 0.4}),))) == ""
    assert advice(estimate(models=(rate(share=0.6, lost={"queue": 0.35, "read": 0.05}),))) == ""
    assert advice(estimate(models=(rate(share=None, lost={}),))) == ""


def test_truncated_answers_suggest_more_tokens() -> None:
    said = advice(estimate(of=(some_lengths(cut=7, output_tokens=(320,) * 7 + (200,) * 93),)))
    assert "7.0 % of the answers are truncated at" in said and "--set generate.0.sampling.max_tokens=480" in said
    assert "all answers are generated again" in said, "what changes the fingerprint says so"
    config.load("flair", ("generate.0.sampling.max_tokens=480",))


def test_unused_tokens_suggest_fewer() -> None:
    said = advice(estimate(of=(some_lengths(output_tokens=(100,) * 100),)))
    assert "no answer takes more than 100 of 320" in said and "max_tokens=160" in said
    assert advice(estimate(of=(some_lengths(output_tokens=(110,) * 100),))) == "", "half of it is room to spare"


def test_answers_that_are_not_written_suggest_no_tokens() -> None:
    """Probabilities of choices, scores and likelihoods: `max_tokens` has no effect on them."""
    for tokens in ((0,) * 100, (1,) * 100):
        of = some_lengths(output_tokens=tokens, is_written=False)
        assert advice(estimate(of=(of,)), max_model_len=max(of.prompt_tokens) + 1) == ""


def test_a_second_pass_has_the_settings_of_its_model() -> None:
    said = advice(estimate(models=(rate(name="qwen (pass 2)"),)), renderers=2)
    assert said.startswith("qwen (pass 2): 15 % of") and "Set models.qwen.renderers to auto, or above 2" in said


def test_few_answers_give_no_suggestion() -> None:
    assert advice(estimate(of=(some_lengths(output_tokens=(320,) * 5, prompt_tokens=(9,) * 5, cut=5),))) == ""


def test_suggestions_have_the_reasons_of_rejects_and_retries() -> None:
    said = advice(
        estimate(of=(some_lengths(rejects={"refusal": 20, "empty_answer": 1}, again=40, failed={"refusal": 60}),))
    )
    assert "17 % are rejected (refusal 20, empty_answer 1)" in said
    assert "33 % were retried (refusal 60)" in said


def test_long_prompts_suggest_a_pixel_budget() -> None:
    found = estimate(of=(some_lengths(prompt_tokens=(2500,) * 100),))
    assert "models.qwen.max_pixels is not set" in advice(found)
    assert "models.qwen.max_pixels is 1,003,520" in advice(found, max_pixels=1_003_520)


def test_a_prompt_without_room_for_the_answer_gives_a_suggestion() -> None:
    said = advice(estimate(of=(some_lengths(prompt_tokens=(700,) * 99 + (1800,)),)), max_model_len=2048)
    assert "do not fit together into models.qwen.max_model_len=2048: set it to 2304" in said
