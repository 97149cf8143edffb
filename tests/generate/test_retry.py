"""What becomes of a completion."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recaption import config
from recaption.config import Retry
from recaption.engine.base import Completion, Request
from recaption.engine.completion import accept
from recaption.errors import EngineDead, ImageError, RequestError, RequestTimeout
from recaption.generate.plan import make_plan
from recaption.generate.retry import answer_from_column, answer_with_retries, first_attempt
from recaption.prompt import load
from recaption.tasks.base import NoSettings, Parsed, Task, Unit
from recaption.tasks.caption import is_refusal
from recaption.tasks.question import Question, requests
from recaption.types import Answer, FinishReason, Generation, Image, Locator, Reject, Sampling

IMAGE = Image(
    key="k", source_key="k", shard="s", row=3, sha256="a" * 64, locator=Locator(path="p", size=1), columns={"a": 1}
)


def question(attempts: int = 3, temperature: float = 0.0, retry: Retry | None = None) -> Question:
    sampling = Sampling(max_tokens=8, temperature=temperature, seed=5)
    generation = Generation(id="long", model="m", granularity="long", fingerprint="f", sampling=sampling)
    prompt = load("describe_long")
    return Question(generation=generation, prompt=prompt, attempts=attempts, retry=retry or Retry())


def completion(text: str, finish: FinishReason = "stop") -> Completion:
    return Completion(text=text, finish_reason=finish, prompt_tokens=10, output_tokens=4)


def first(asked: Question, image: Image) -> Request:
    (request,) = requests(asked, image)
    made = first_attempt(request, b"jpeg")
    assert made is not None
    return made


def put(outcomes: Sequence[Completion | Exception], ask: Question) -> tuple[Answer | Reject, list[Request]]:
    sent: list[Request] = []

    async def engine(attempt: Request) -> Completion:
        sent.append(attempt)
        outcome = outcomes[len(sent) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    (request,) = requests(ask, IMAGE)
    return asyncio.run(answer_with_retries(request, first_attempt(request, b"jpeg"), engine)), sent


def test_an_answer_has_the_models_text_and_the_hash_of_its_prompt() -> None:
    item, sent = put([completion(" A dog.\n")], question())
    assert isinstance(item, Answer)
    assert (item.text, item.row, item.sha256, item.finish_reason) == (" A dog.\n", 3, "a" * 64, "stop")
    assert item.prompt_sha256 == hashlib.sha256(sent[0].prompt.encode()).hexdigest()
    assert len(item.attempts) == 1


def test_the_reject_of_a_prompt_for_an_image_in_no_table_has_that_detail(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("---\nid: p\nversion: 1\ngranularity: long\n---\nAbout {{ title }}.\n")
    asked = replace(question(), prompt=load(str(tmp_path / "p.md")))

    async def never(request: Request) -> Completion:
        raise AssertionError("asked")

    unnamed = replace(IMAGE, columns={}, detail="no table names this image")
    for image, reason, begins in (
        (unnamed, "not_in_table", "no table names this image: prompt p cannot"),
        (IMAGE, "request_error", "prompt p cannot"),
    ):
        (request,) = requests(asked, image)
        item = asyncio.run(answer_with_retries(request, first_attempt(request, b"jpeg"), never))
        assert isinstance(item, Reject) and item.reason == reason and item.detail.startswith(begins)


def test_an_empty_prompt_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("---\nid: p\nversion: 1\nkind: long\n---\n{% if a > 1 %}What is it?{% endif %}\n")
    asked = replace(question(), prompt=load(str(tmp_path / "p.md")))

    async def never(request: Request) -> Completion:
        raise AssertionError("asked")

    (request,) = requests(asked, IMAGE)
    assert request.prompt is None and first_attempt(request, b"jpeg") is None
    item = asyncio.run(answer_with_retries(request, None, never))
    assert isinstance(item, Reject)
    assert (item.reason, item.stage, item.attempts) == ("request_error", "generate", 0)
    assert "the text is empty for this image" in item.detail and item.prompt_sha256


def test_a_truncated_answer_is_kept() -> None:
    item, _ = put([completion("A dog on a", "length")], question())
    assert isinstance(item, Answer)
    assert item.finish_reason == "length"


def test_an_empty_answer_is_retried_with_another_seed_and_temperature() -> None:
    item, sent = put([completion(" \n"), completion("A cat.")], question())
    assert isinstance(item, Answer)
    assert [a.finish_reason for a in item.attempts] == ["empty", "stop"]
    first, second = (request.sampling for request in sent)
    assert first.temperature == 0 and second.temperature > 0
    assert first.seed != second.seed


@pytest.mark.parametrize(
    "text", ["\u200b", ".", "N/A", "<think>\nThe user wants", "I see.\n</think>", '{"caption": null}', "<|im_end|>"]
)
def test_an_answer_that_is_empty_after_cleaning_is_retried(text: str) -> None:
    item, _ = put([completion(text), completion("<think>x</think>A cat.")], question())
    assert isinstance(item, Answer)
    assert [a.finish_reason for a in item.attempts] == ["empty", "stop"]
    assert item.text == "<think>x</think>A cat."  # the model's own string


def test_a_refusal_after_a_thought_is_a_refusal() -> None:
    item, _ = put([completion("<think>Hm.</think>I'm sorry, I can't help with that.")] * 3, question())
    assert isinstance(item, Reject) and item.reason == "refusal"


def test_the_engines_own_finish_reason_is_kept() -> None:
    item, _ = put(
        [accept(Completion(text="A cat.", finish_reason="eos", prompt_tokens=1, output_tokens=1))], question()
    )
    assert isinstance(item, Answer)
    assert (item.finish_reason, item.engine_finish) == ("stop", "eos")


def test_a_servers_message_is_made_storable_in_a_reject() -> None:
    item, _ = put([RequestError("bad \ud800 thing\0")] * 3, question())
    assert isinstance(item, Reject)
    assert item.detail == "bad \ufffd thing"


def test_seeds_are_a_function_of_the_image_and_the_pipeline() -> None:
    _, once = put([completion("x")], question())
    _, twice = put([completion("y")], question())
    assert once[0].sampling == twice[0].sampling


@pytest.mark.parametrize(
    ("outcomes", "reason", "stage", "attempts"),
    [
        ([completion("")] * 3, "empty_answer", "generate", 3),
        ([completion("a a a", "repetition")] * 3, "repetition", "generate", 3),
        ([RequestError("too long")] * 3, "request_error", "generate", 3),
        ([RequestTimeout("no answer within 120 s")], "request_error", "generate", 1),
        ([completion(""), RequestTimeout("no answer within 120 s")], "request_error", "generate", 2),
        ([ImageError("truncated", "ends early")], "truncated", "decode", 0),
        ([ImageError("changed", "other bytes")], "changed", "source", 0),
    ],
)
def test_what_cannot_be_answered_becomes_a_typed_reject(
    outcomes: list[Completion | Exception], reason: str, stage: str, attempts: int
) -> None:
    item, sent = put(outcomes, question())
    assert isinstance(item, Reject)
    assert (item.reason, item.stage, item.attempts, item.generation) == (reason, stage, attempts, "long")
    assert item.detail
    assert len(sent) == len(outcomes)


def test_a_dead_engine_rejects_no_image() -> None:
    with pytest.raises(EngineDead):
        put([EngineDead("gone")], question())


def test_later_attempts_have_another_seed_a_higher_temperature_and_fewer_pixels() -> None:
    item, sent = put([completion("")] * 5, question(attempts=5))
    assert isinstance(item, Reject)
    assert [request.sampling.temperature for request in sent] == [0.0, 0.7, 0.7, 0.7, 0.7]
    assert [request.pixel_share for request in sent] == [1.0, 1.0, 0.5, 0.25, 0.125]
    assert len({request.sampling.seed for request in sent}) == 5


def test_a_retry_does_not_lower_the_temperature() -> None:
    _, sent = put([completion(""), completion("A dog.")], question(temperature=1.2))
    assert [request.sampling.temperature for request in sent] == [1.2, 1.2]


def test_each_attempt_is_stored_with_its_settings() -> None:
    outcomes = [completion(""), RequestError("too long"), completion("A dog.")]
    item, sent = put(outcomes, question(retry=Retry(temperature=0.9, pixel_share=0.25)))
    assert isinstance(item, Answer)
    told = [(a.finish_reason, a.temperature, a.pixel_share, a.detail) for a in item.attempts]
    assert told == [("empty", 0.0, None, None), ("error", 0.9, None, "too long"), ("stop", 0.9, 0.25, None)]
    assert [a.seed for a in item.attempts] == [request.sampling.seed for request in sent]


def test_the_first_attempt_is_the_request_that_renderers_get() -> None:
    _, sent = put([completion("A dog.")], question())
    assert first(question(), IMAGE) == sent[0]


def test_an_image_and_a_text_are_embedded_alone() -> None:
    unit = Unit(embeds="image")
    (request,) = requests(question(), IMAGE)
    image = first_attempt(replace(request, prompt="", unit=unit), b"jpeg")
    text = first_attempt(replace(request, prompt="A dog.", unit=replace(unit, embeds="text")), b"jpeg")
    assert image is not None and (image.prompt, image.image) == ("", b"jpeg")
    assert text is not None and (text.prompt, text.image, text.sha256) == ("A dog.", None, "")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (completion(""), "empty_answer"),
        (completion("a a a", "repetition"), "repetition"),
        (completion("I'm sorry, but I can't help with that."), "refusal"),
        (RequestError("too long"), "request_error"),
    ],
)
def test_without_a_retry_for_its_reason_a_request_is_rejected_at_once(
    outcome: Completion | Exception, reason: str
) -> None:
    item, sent = put([outcome], question(retry=Retry(on=("length",))))
    assert isinstance(item, Reject)
    assert (item.reason, item.attempts, len(sent)) == (reason, 1, 1)


def test_truncated_answers_are_retried_if_the_pipeline_sets_it() -> None:
    ask = question(retry=Retry(on=("length",)))
    item, _ = put([completion("A dog on a", "length"), completion("A dog.")], ask)
    assert isinstance(item, Answer)
    assert [a.finish_reason for a in item.attempts] == ["length", "stop"]
    item, _ = put([completion("A dog on a", "length")] * 3, ask)
    assert isinstance(item, Reject)
    assert (item.reason, item.attempts) == ("truncated_answer", 3)


def test_a_refusal_is_retried_and_three_are_a_reject() -> None:
    refusal = completion("I'm sorry, but I can't assist with that.")
    item, _ = put([refusal, completion("A dog.")], question())
    assert isinstance(item, Answer)
    assert [a.finish_reason for a in item.attempts] == ["refusal", "stop"]
    item, _ = put([refusal] * 3, question())
    assert isinstance(item, Reject)
    assert item.reason == "refusal"


class Parses(Task):
    """Returns what the test gives, or raises it."""

    result: ClassVar[Any] = None

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("result", "part"),
    [
        (KeyError("x"), "the task failed: KeyError: 'x'"),
        (None, "parse returned NoneType, not Parsed"),
        (Parsed(finish="stop", value={"p": object()}), "not JSON serializable"),
        (Parsed(finish="stop", value="\ud800"), "surrogates not allowed"),
        (Parsed(finish="bad"), "unknown finish or reason: bad"),  # type: ignore[arg-type]
        (Parsed(finish="invalid", reason="odd"), "unknown finish or reason: invalid, odd"),  # type: ignore[arg-type]
    ],
)
def test_a_task_that_fails_on_a_completion_is_asked_again_and_then_rejects_it(
    result: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parses, "result", result)
    asked = replace(question(attempts=3), task=Parses(NoSettings()))
    made, sent = put([completion("a")] * 3, asked)
    assert isinstance(made, Reject) and (made.reason, made.attempts, len(sent)) == ("invalid_answer", 3, 3)
    assert part in made.detail
    monkeypatch.setattr(Parses, "result", Parsed(finish="stop", value=[1, None]))
    made, _ = put([completion("a")], asked)
    assert isinstance(made, Answer) and made.value == "[1,null]"


def test_seeds_of_equal_images_differ_only_without_deduplication() -> None:
    other = replace(IMAGE, key="other")
    once, each = question(), replace(question(), dedupe=False)
    assert first(once, IMAGE).sampling == first(once, other).sampling
    assert first(each, IMAGE).sampling.seed != first(each, other).sampling.seed


# columns


def from_column(**changes: Any) -> Answer | Reject:
    generation = Generation(id="long", model="m", granularity="long", fingerprint="f", column="recap")
    (request,) = requests(Question(generation=generation, prompt=None, attempts=1), replace(IMAGE, **changes))
    return answer_from_column(request)


def test_an_answer_from_a_column_has_no_attempts() -> None:
    item = from_column(columns={"recap": " Two dogs.\r\n"})
    assert isinstance(item, Answer)
    assert (item.text, item.key, item.row, item.sha256) == (" Two dogs.\r\n", "k", 3, "a" * 64)
    assert (item.finish_reason, item.engine_finish, item.attempts) == ("stop", None, ())
    assert (item.prompt_tokens, item.output_tokens) == (0, 0)
    assert item.prompt_sha256 == hashlib.sha256(b"column:recap:' Two dogs.\\r\\n'").hexdigest()


def test_a_column_may_hold_the_words_of_a_refusal() -> None:
    assert isinstance(from_column(columns={"recap": "I'm sorry, but I can't help with that."}), Answer)


@pytest.mark.parametrize(
    ("columns", "reason", "part"),
    [
        ({}, "empty_answer", "is missing"),
        ({"recap": None}, "empty_answer", "is null"),
        ({"recap": ""}, "empty_answer", "holds no caption"),
        ({"recap": "N/A"}, "empty_answer", "holds no caption"),
        ({"recap": " \n\t"}, "empty_answer", "holds no caption"),
        ({"recap": 3}, "request_error", "int"),
        ({"recap": ["a", "b"]}, "request_error", "list"),
        ({"recap": float("nan")}, "request_error", "float"),
    ],
)
def test_a_column_without_a_caption_is_a_reject(columns: dict[str, Any], reason: str, part: str) -> None:
    item = from_column(columns=columns)
    assert isinstance(item, Reject)
    assert (item.stage, item.generation, item.reason, item.row) == ("generate", "long", reason, 3)
    assert (item.key, item.source_key, item.shard, item.attempts) == ("k", "k", "s", 0)
    assert "'recap'" in item.detail and part in item.detail
    assert item.prompt_sha256 == hashlib.sha256(f"column:recap:{columns.get('recap')!r}".encode()).hexdigest()


def test_the_reject_of_an_image_in_no_table_has_that_detail() -> None:
    item = from_column(columns={}, detail="no table names this image")
    assert isinstance(item, Reject) and item.detail == "no table names this image, so it has no column 'recap'"
    assert (item.reason, item.stage) == ("not_in_table", "generate")
    item = from_column(columns={"other": "x"}, detail="no table names this image")
    assert isinstance(item, Reject) and item.detail == "column 'recap' is missing"


# refusals


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with this request.",
        "I am very sorry, but I'm not able to describe it.",
        "Sorry, I can't describe this image.",
        "Sorry, but I am unable to see it.",
        "We are sorry, the picture can't be shown.",
        "\"I'm sorry, but I can't assist with that.\"",
        "**I cannot help with that.**",
        "As an AI language model, I don't have eyes.",
        "As a language model, I see no images.",
        "I'm unable to view images.",
        "I am not able to identify people.",
        "I can't identify the people in this picture.",
        "I cannot accurately describe what is shown.",
        "Unfortunately, I cannot process this image.",
        "I apologize, but I can't provide a description.",
        "I'm afraid I can't do that.",
        "I won't describe this content.",
        "I must decline to answer.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "A sign that says: I can't help falling in love.",
        "A man in a T-shirt that reads \"I'm sorry, I can't hear you\".",
        '"I can\'t do this" is written in red on a white wall.',
        "“I’m sorry, I can’t come in” reads a note on a door.",
        "*I can't help it* is the title of a poster; a man laughs.",
        "Sorry, we're closed: a sign hangs in a window that can't be opened.",
        "As an airplane lands, a crowd watches.",
        "As an aid to ships that cannot see the rocks, a lighthouse stands on the cliff.",
        "As an AI-generated picture of a city, it shows towers that cannot stand.",
        "A dog that looks sorry and cannot reach its ball.",
        "An afraid cat hides; it cannot be seen clearly.",
        "I see a dog on a sofa.",
        "I am standing before a lake that I cannot name.",
        "It is not able to be identified.",
    ],
)
def test_captions_that_contain_such_words_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_a_long_text_that_begins_like_a_refusal_is_none() -> None:
    assert not is_refusal("I cannot identify the man, but this is what there is to see: " + "a dog on a lawn, " * 12)


@pytest.fixture
def data(make_source: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "x",
        "source": {"path": f"{make_source(shards=1, per_shard=1)}/*.tar"},
        "models": {"m": {"engine": "fake_engine:FakeEngine", "model": "scene"}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
        "output": {"path": str(tmp_path / "out")},
    }


def fingerprint_with(data: dict[str, Any], retry: dict[str, Any] | None = None, **more: Any) -> str:
    (ask,) = data["generate"]
    ask = ask if retry is None else {**ask, "retry": retry}
    (asked,) = make_plan(config.validate({**data, **more, "generate": [ask]})).questions
    return asked.generation.fingerprint


def test_the_default_retry_settings_keep_the_fingerprint(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is as it always was adds nothing to the closed list that is hashed."""
    hashed: list[dict[str, Any]] = []
    monkeypatch.setattr("recaption.generate.plan.fingerprint", lambda parts: hashed.append(parts) or "f")
    fingerprint_with(data)
    fingerprint_with(data, Retry().model_dump(mode="json"), dedupe="shard")
    assert hashed[0] == hashed[1]
    assert sorted(hashed[0]) == [
        *("attempts", "chat_template", "commit", "dtype", "max_model_len", "max_pixels", "model", "output_schema"),
        *("prompt", "quantization", "sampling"),
    ]
    assert sorted(hashed[0]["sampling"]) == ["max_tokens", "seed", "stop", "temperature", "top_k", "top_p"]


def test_other_retry_settings_change_the_fingerprint(data: dict[str, Any]) -> None:
    others = [{"on": ["empty"]}, {"temperature": 0.8}, {"pixel_share": 0.6}]
    found = {fingerprint_with(data), *(fingerprint_with(data, retry) for retry in others)}
    assert len(found) == 4
    assert fingerprint_with(data, dedupe="none") not in found


def test_the_order_of_retry_reasons_keeps_the_fingerprint(data: dict[str, Any]) -> None:
    on = ["refusal", "empty", "length", "error"]
    assert fingerprint_with(data, {"on": on}) == fingerprint_with(data, {"on": [*sorted(on), "empty"]})
    default = list(Retry().on)
    assert fingerprint_with(data, {"on": default[::-1]}) == fingerprint_with(data)
