"""recaption.engine.transformers on a real (tiny, random) model."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest
from engine_use import use_engine
from tiny_models import make_tiny_grounding

from recaption import prompt
from recaption.engine import Completion, Engine, EngineSpec, Rendered, Request, build
from recaption.engine.base import Gauge
from recaption.engine.completion import complete
from recaption.engine.micro_batch import Job
from recaption.errors import ConfigError, EngineDead, ImageError, Interrupted, RequestError
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE
from recaption.tasks.output import TEXT, Output
from recaption.types import ImageLimits, Sampling

pytest.importorskip("torch")
pytest.importorskip("transformers")

MakeRequest = Callable[..., Request]
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def spec(model: Path, **settings: Any) -> EngineSpec:
    args = {"threads": 1, "batch_size": 8, **settings.pop("engine_args", {})}
    return EngineSpec(
        engine="transformers", model=str(model), dtype="float32", engine_args=tuple(args.items()), **settings
    )


def ask(engine_spec: EngineSpec, requests: list[Request]) -> list[Any]:
    async def use(engine: Engine) -> list[Any]:
        return list(await asyncio.gather(*(engine.generate(r) for r in requests), return_exceptions=True))

    results: list[Any] = use_engine(engine_spec, use)
    return results


def test_it_is_an_engine(tiny_model: Path) -> None:
    engine = build(spec(tiny_model))
    assert isinstance(engine, Engine)
    assert engine.renderer() is None
    assert engine.capacity == 16
    with pytest.raises(EngineDead, match="not started"):
        asyncio.run(engine.generate(Request(image=b"", sha256="", prompt="", sampling=Sampling(max_tokens=1))))


def test_a_batch_answers_as_each_request_alone(tiny_model: Path, request_for: MakeRequest) -> None:
    requests = [request_for(n, "Describe." * (n + 1), max_tokens=6 + 3 * n) for n in range(4)]
    requests += [request_for(1, temperature=1.0, seed=seed, max_tokens=12) for seed in (5, 6, 5)]

    async def use(engine: Engine) -> tuple[list[Completion], list[Completion]]:
        together = await asyncio.gather(*(engine.generate(r) for r in requests))
        return list(together), [await engine.generate(r) for r in requests]

    together, alone = use_engine(spec(tiny_model), use)
    assert together == alone
    assert together[4] == together[6] != together[5]
    for request, answer in zip(requests, together, strict=True):
        assert answer.output_tokens <= request.sampling.max_tokens
        assert answer.finish_reason in ("length", "stop", "repetition")
    assert together[0].prompt_tokens < together[1].prompt_tokens < together[2].prompt_tokens  # no padding counted


def test_prompt_tokens_include_the_image(tiny_model: Path, request_for: MakeRequest) -> None:
    from transformers import AutoTokenizer

    from training.scene.build import prompt_text

    (answer,) = ask(spec(tiny_model), [request_for(1)])
    ids = AutoTokenizer.from_pretrained(tiny_model)(prompt_text("Describe this image in detail."))["input_ids"]
    assert answer.prompt_tokens == len(ids)


def test_ignore_eos_gives_as_many_tokens_as_asked(tiny_model: Path, request_for: MakeRequest) -> None:
    answers = ask(spec(tiny_model), [request_for(n, ignore_eos=True, max_tokens=20 + n) for n in range(3)])
    assert [(a.output_tokens, a.finish_reason) for a in answers] == [(20, "length"), (21, "length"), (22, "length")]


def test_stop_strings(tiny_model: Path, request_for: MakeRequest) -> None:
    plain = request_for(2, max_tokens=10)
    (whole,) = ask(spec(tiny_model), [plain])
    stop = whole.text[4:6]
    cut = whole.text.index(stop)
    (answer,) = ask(
        spec(tiny_model), [dataclasses.replace(plain, sampling=Sampling(max_tokens=10, stop=(stop, "never")))]
    )
    assert (answer.text, answer.finish_reason) == (whole.text[:cut], "stop")
    assert answer.output_tokens < whole.output_tokens


def test_one_bad_request_fails_alone(tiny_model: Path, request_for: MakeRequest) -> None:
    good = request_for(1)
    bad = dataclasses.replace(good, image=b"<html>", sha256="1")
    small = dataclasses.replace(request_for(2), sha256="2")
    confused = dataclasses.replace(good, prompt="two <image> placeholders <image>")
    endless = dataclasses.replace(good, prompt="word " * 3000)
    results = ask(spec(tiny_model), [good, bad, confused, endless, small])
    assert isinstance(results[0], Completion) and isinstance(results[4], Completion)
    assert isinstance(results[1], ImageError) and results[1].reason == "undecodable"
    assert isinstance(results[2], RequestError) and isinstance(results[3], RequestError)
    assert "'<image>'" in str(results[2]) and "tokens" in str(results[3])
    assert results[0] == ask(spec(tiny_model), [good])[0]


def test_limits_and_model_length(tiny_model: Path, request_for: MakeRequest) -> None:
    limited = spec(tiny_model, limits=ImageLimits(min_side=200), max_model_len=40)
    (refused,) = ask(limited, [request_for(1)])
    assert isinstance(refused, ImageError) and refused.reason == "too_small"
    (answer,) = ask(spec(tiny_model, max_model_len=40), [request_for(1, max_tokens=500, ignore_eos=True)])
    assert (answer.prompt_tokens + answer.output_tokens, answer.finish_reason) == (40, "length")


def test_several_prompts_of_an_image_decode_it_once(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Any) -> int:
        prompts = [request_for(1, prompt, max_tokens=2) for prompt in ("a", "b", "c")]
        await asyncio.gather(*(engine.generate(r) for r in prompts))
        return int(engine._decoder.decoded)

    assert use_engine(spec(tiny_model), use) == 1


def test_stop_ends_what_runs_at_once(tiny_model: Path, request_for: MakeRequest) -> None:
    async def run() -> list[Any]:
        engine = build(spec(tiny_model))
        await engine.start()
        running = [
            asyncio.ensure_future(engine.generate(request_for(n, max_tokens=1900, ignore_eos=True))) for n in range(12)
        ]
        await asyncio.sleep(0.5)
        await engine.stop()
        return list(await asyncio.gather(*running, return_exceptions=True))

    assert {type(result) for result in asyncio.run(run())} == {Interrupted}


def test_a_request_that_is_given_up_harms_no_other(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Engine) -> Completion:
        first = asyncio.ensure_future(engine.generate(request_for(1, max_tokens=30)))
        second = asyncio.ensure_future(engine.generate(request_for(2)))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert isinstance(use_engine(spec(tiny_model), use), Completion)


def test_a_dead_device_is_told_to_all(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Any) -> list[Any]:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("CUDA error: device-side assert triggered")

        engine._model.generate = broken
        results = await asyncio.gather(*(engine.generate(request_for(n)) for n in range(3)), return_exceptions=True)
        try:
            await engine.generate(request_for(1))
        except EngineDead as error:
            results.append(error)
        return list(results)

    results = use_engine(spec(tiny_model), use)
    assert len(results) == 4 and {type(r) for r in results} == {EngineDead}


def test_memory_that_suffices_for_one_only(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Any) -> list[Any]:
        real = engine._model.generate

        def hungry(**kwargs: Any) -> Any:
            if len(kwargs["input_ids"]) > 1:
                raise MemoryError("too much")
            return real(**kwargs)

        engine._model.generate = hungry
        return list(await asyncio.gather(*(engine.generate(request_for(n)) for n in range(4))))

    assert all(isinstance(answer, Completion) for answer in use_engine(spec(tiny_model), use))


def test_what_it_cannot_take(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        build(spec(tiny_model, engine_args={"batch_size": 0}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot load model"):
        asyncio.run(build(spec(tmp_path)).start())
    rendered = Rendered(engine_input=None, sampling=Sampling(max_tokens=1), nbytes=0)
    with pytest.raises(RequestError):
        asyncio.run(build(spec(tiny_model)).generate(rendered))


def test_the_gauge_shows_what_waits_and_that_a_long_batch_is_alive(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Any) -> tuple[list[Completion], list[Gauge]]:
        requests = [request_for(n, max_tokens=40, ignore_eos=True) for n in range(7)]
        seen, loop, real, others_wait = [engine.gauge()], asyncio.get_running_loop(), engine._model.generate, Event()

        async def look() -> bool:
            seen.append(engine.gauge())
            return False

        def generate(*, stopping_criteria: list[Any], **kwargs: Any) -> Any:
            """The first request, which is alone, waits for the others; then the gauge is seen after each token."""
            others_wait.wait()
            looks = [lambda *_: asyncio.run_coroutine_threadsafe(look(), loop).result()]
            return real(stopping_criteria=[*stopping_criteria, *looks], **kwargs)

        engine._model.generate = generate
        first = asyncio.ensure_future(engine.generate(requests[0]))
        while not engine._running:
            await asyncio.sleep(0.001)
        asked = asyncio.gather(first, *(engine.generate(r) for r in requests[1:]))
        while len(engine._waiting) < 6:
            await asyncio.sleep(0.001)
        others_wait.set()
        answers = list(await asked)
        return answers, [*seen, engine.gauge()]

    answers, seen = use_engine(spec(tiny_model, engine_args={"batch_size": 2}), use)
    assert seen[0] == Gauge(running=0, waiting=0, least_waiting=0, requests=0, prompt_tokens=0, output_tokens=0)
    assert max(gauge.running for gauge in seen) == 2 and max(gauge.waiting for gauge in seen) >= 4
    assert {gauge.least_waiting for gauge in seen} >= {0, 2, 4}
    tokens = [gauge.output_tokens for gauge in seen]
    assert tokens == sorted(tokens)
    assert {1, 40, 42, 120, 280} <= set(tokens)  # of each batch, before it was over
    last = seen[-1]
    assert (last.running, last.waiting, last.requests) == (0, 0, 7)
    assert last.output_tokens == 280 == sum(a.output_tokens for a in answers)
    assert last.prompt_tokens == sum(a.prompt_tokens for a in answers)


def test_fewer_pixels_are_another_picture(tiny_model: Path, request_for: MakeRequest) -> None:
    whole = request_for(1, max_tokens=2)
    fewer = dataclasses.replace(whole, pixel_share=0.25)

    async def use(engine: Any) -> int:
        await asyncio.gather(*(engine.generate(r) for r in (whole, fewer, whole, fewer)))
        return int(engine._decoder.decoded)

    assert use_engine(spec(tiny_model), use) == 2


def test_a_character_that_was_not_finished_is_no_text(tiny_model: Path, request_for: MakeRequest) -> None:
    async def use(engine: Any) -> Completion:
        tokenizer = engine._processor.tokenizer
        real = tokenizer.decode
        tokenizer.decode = lambda *args, **kwargs: real(*args, **kwargs) + "\ufffd\ufffd"
        return await engine.generate(request_for(1, max_tokens=3, ignore_eos=True))

    assert not use_engine(spec(tiny_model), use).text.endswith("\ufffd")


def test_provenance(tiny_model: Path) -> None:
    async def use(engine: Engine) -> dict[str, str]:
        return engine.provenance()

    found = use_engine(spec(tiny_model), use)
    assert found["engine"] == "transformers" and found["dtype"] == "float32"
    assert all(isinstance(value, str) and value for value in found.values())


def text_request(prompt: str, output: Output = TEXT, **sampling: Any) -> Request:
    return Request(prompt=prompt, sampling=Sampling(**{"max_tokens": 12, **sampling}), output=output)


def test_choices_yield_only_choices(tiny_model: Path, request_for: MakeRequest) -> None:
    """Whatever the sampling, and where one choice begins another; free requests of the same batch are not touched."""
    choices = ("a circle", "a circle and a square", "nothing", "\U0001f600")
    output = Output(choices=choices)
    free = [request_for(n, max_tokens=8) for n in range(3)]
    drawn = [
        dataclasses.replace(request_for(n, temperature=2.0, seed=n, stop=("c",), ignore_eos=True), output=output)
        for n in range(24)
    ]
    greedy = [dataclasses.replace(request, output=output) for request in free]
    answers = ask(spec(tiny_model), [*free, *greedy, *drawn])
    assert answers[:3] == ask(spec(tiny_model), free)
    assert {answer.text for answer in answers[3:6]} <= set(choices)
    assert {answer.text for answer in answers[6:]} == set(choices)
    assert all(answer.finish_reason == "stop" for answer in answers[3:])
    assert all(answer.logprobs is None for answer in answers)
    (cut,) = ask(
        spec(tiny_model),
        [dataclasses.replace(free[0], output=Output(choices=choices[3:]), sampling=Sampling(max_tokens=1))],
    )
    assert cut.text not in choices and cut.finish_reason == "length"  # `engine.completion` refuses it


def test_logprobs_of_tokens(tiny_model: Path, request_for: MakeRequest) -> None:
    """Those of the model, whatever the temperature; they do not change the answer."""
    torch = pytest.importorskip("torch")
    plain = request_for(1, max_tokens=6, ignore_eos=True)
    drawn = dataclasses.replace(plain, sampling=dataclasses.replace(plain.sampling, temperature=1.5, seed=4))
    logged = [dataclasses.replace(request, output=Output(logprobs=True)) for request in (plain, drawn)]

    async def use(engine: Any) -> tuple[list[Completion], list[list[float]]]:
        tokens: dict[int, list[int]] = {}
        real = engine._completion

        def recorded(output: Output, row: Any, *more: Any) -> Completion:
            answer: Completion = real(output, row, *more)
            tokens[id(answer)] = row.tokens  # by answer: the requests of a batch are in any order
            return answer

        engine._completion = recorded
        found = list(await asyncio.gather(*(engine.generate(request) for request in (plain, drawn, *logged))))
        content = [{"type": "image", "image": image}, {"type": "text", "text": plain.prompt}]
        inputs = engine._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"return_tensors": "pt"},
        )
        start = inputs["input_ids"].shape[1]
        expected = []
        for answer in found[2:]:
            generated = tokens[id(answer)]
            ids = torch.cat([inputs["input_ids"], torch.tensor([generated])], 1)
            with torch.inference_mode():
                logits = engine._model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=inputs["pixel_values"]
                ).logits[0]
            logprobs = logits.log_softmax(-1)
            expected.append([float(logprobs[start - 1 + n, token]) for n, token in enumerate(generated)])
        return found, expected

    from recaption.decode import decode

    assert plain.image is not None
    image = decode(plain.image, ImageLimits())
    found, expected = use_engine(spec(tiny_model), use)
    for answer, without, values in zip(found[2:], found[:2], expected, strict=True):
        assert dataclasses.replace(answer, logprobs=None) == without
        assert answer.logprobs is not None
        assert answer.logprobs.tokens == pytest.approx(values, abs=1e-4)
        assert len(answer.logprobs.nbytes) == answer.output_tokens == 6
        assert sum(answer.logprobs.nbytes) == len(answer.text.encode())


def test_a_text_only_model(tiny_text: Path) -> None:
    requests = [text_request(f"Number {n}", Output(logprobs=True), max_tokens=20) for n in range(6)]
    text_only = dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}))

    async def use(engine: Engine) -> list[Any]:
        assert engine.accepts == frozenset({"text"})
        image = dataclasses.replace(requests[0], image=b"GIF89a", sha256="1")
        results = await asyncio.gather(*(engine.generate(r) for r in [*requests, image]), return_exceptions=True)
        return list(results)

    *answers, refused = use_engine(text_only, use)
    assert isinstance(refused, RequestError) and "takes no images" in str(refused)
    assert len({answer.text for answer in answers}) == 6
    for answer in answers:  # random bytes, so that many characters are broken
        assert answer.logprobs is None or sum(answer.logprobs.nbytes) == len(answer.text.encode())
        assert answer.logprobs is not None or "\ufffd" in answer.text
    with pytest.raises(ConfigError, match="takes no images: name a vision-language model"):
        asyncio.run(build(spec(tiny_text)).start())


def test_variables_of_the_chat_template_reach_it(tiny_text: Path) -> None:
    plain = dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}))
    switched = dataclasses.replace(plain, chat_template_kwargs=(("enable_thinking", False),))
    request = text_request("Number 1", max_tokens=4)
    (before,), (after,) = ask(plain, [request]), ask(switched, [request])
    assert after.prompt_tokens == before.prompt_tokens + 2


def test_variables_of_the_chat_template_are_in_the_prompt_of_a_batch(tiny_text: Path) -> None:
    """Of an engine that is not started: it has a tokenizer and no model."""
    from transformers import AutoTokenizer

    def prompt(**variables: Any) -> str:
        variables_of = tuple(variables.items())
        engine: Any = build(
            dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}), chat_template_kwargs=variables_of)
        )
        engine.accepts, engine.device = frozenset({"text"}), "cpu"
        engine._processor = AutoTokenizer.from_pretrained(tiny_text)
        jobs = [Job(request=text_request("Number 1"), image=None, answer=Mock())]
        return str(engine._processor.decode(engine._inputs(jobs)["input_ids"][0]))

    assert prompt(enable_thinking=False).startswith(prompt())
    assert prompt(enable_thinking=False) != prompt() == prompt(enable_thinking=None)


def test_a_thought_that_the_prompt_opens_and_that_is_cut_off_is_no_caption(tiny_text: Path) -> None:
    plain = dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}))
    thinking = dataclasses.replace(plain, chat_template_kwargs=(("enable_thinking", True),))
    request = text_request("Number 1", max_tokens=8, ignore_eos=True)
    (before,), (within,) = ask(plain, [request]), ask(thinking, [request])
    assert (before.in_thought, within.in_thought) == (False, True)
    assert before.finish_reason == within.finish_reason == "length"
    caption_task = registry.load("caption", {})
    found = caption_task.parse(WHOLE_IMAGE, dataclasses.replace(within, text="Okay, I see"))
    assert found.finish == "empty" and "thought was cut off" in str(found.detail)
    ended = dataclasses.replace(within, text="Okay.</think>A red")
    assert caption_task.parse(WHOLE_IMAGE, ended).finish == "length"
    assert caption_task.parse(WHOLE_IMAGE, dataclasses.replace(before, text="Okay, I see")).finish == "length"


def test_special_tokens_are_kept_where_the_request_asks_for_them(tiny_text: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_text, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list("0123456789")})
    tokenizer.save_pretrained(folder)
    made = [text_request("?" * n, max_tokens=60) for n in range(1, 5)]
    kept = [dataclasses.replace(request, output=Output(special_tokens=True)) for request in made]
    text_only = dataclasses.replace(spec(folder), needs=frozenset({"text"}))
    answers = ask(text_only, [*made, *kept])
    for plain, special in zip(answers[:4], answers[4:], strict=True):
        assert not re.search("[0-9]", plain.text)
        assert "<|im_end|>" not in special.text and special.output_tokens == plain.output_tokens
        assert re.sub("[0-9\ufffd]|<.*?>", "", special.text) == plain.text.replace("\ufffd", "")
    assert any(re.search("[0-9]", answer.text) for answer in answers[4:])


def test_a_vision_language_model_takes_requests_without_an_image(tiny_model: Path, request_for: MakeRequest) -> None:
    requests = [request_for(1), text_request("Describe a circle."), request_for(2), text_request("Describe a square.")]
    together = ask(spec(tiny_model), requests)
    assert together == [ask(spec(tiny_model), [request])[0] for request in requests]
    assert together[1].prompt_tokens < together[0].prompt_tokens


def test_logprobs_of_choices_are_those_of_the_first_token(tiny_text: Path) -> None:
    """Over all spellings, of an unconstrained answer: what is neither choice is left out."""
    torch = pytest.importorskip("torch")
    output = Output(choices=("yes", "no"), logprobs=True)
    requests = [text_request(f"Is {n} a number?", output, max_tokens=9, temperature=1.0) for n in range(5)]
    text_only = dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}), outputs=(output,))

    async def use(engine: Any) -> tuple[list[Completion], list[Any]]:
        answers = await asyncio.gather(*(complete(engine, request) for request in requests))
        distributions = []
        for request in requests:
            inputs = engine._tokenizer.apply_chat_template(
                [{"role": "user", "content": request.prompt}],
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                distributions.append(engine._model(**inputs).logits[0, -1].softmax(-1))
        texts = [engine._tokenizer.decode([n]) for n in range(len(engine._tokenizer))]
        return list(answers), [(texts, d) for d in distributions]

    answers, distributions = use_engine(text_only, use)
    for answer, (texts, distribution) in zip(answers, distributions, strict=True):
        spelled = {
            name: [n for n, text in enumerate(texts) if text.strip().lower() in words]
            for name, words in (("yes", ("y", "ye", "yes")), ("no", ("n", "no")))
        }
        expected = [math.log(sum(float(distribution[n]) for n in spelled[name])) for name in ("yes", "no")]
        assert answer.logprobs.choices == pytest.approx(expected, abs=1e-3)
        assert answer.text == ("yes" if expected[0] > expected[1] else "no")
        assert (answer.finish_reason, answer.output_tokens) == ("stop", 1)
    unclear = dataclasses.replace(text_only, outputs=(Output(choices=("yes a", "yes b"), logprobs=True),))
    with pytest.raises(ConfigError, match="no first token that stands for"):
        asyncio.run(build(unclear).start())


def test_an_answer_that_is_no_json_is_refused_so_that_it_is_tried_again(tiny_text: Path) -> None:
    output = Output(json_schema=b'{"type":"object"}')
    text_only = dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}))

    async def use(engine: Engine) -> Completion:
        return await complete(engine, text_request("Say something.", output, max_tokens=4000, stop=("e",)))

    with pytest.raises(RequestError, match="is not JSON"):
        use_engine(text_only, use)


def test_a_crop_shows_a_part_of_the_image(tiny_model: Path, request_for: MakeRequest) -> None:
    """The answer is the one about a file of that part."""
    import io

    from PIL import Image

    whole = dataclasses.replace(request_for(3, max_tokens=10, ignore_eos=True), output=Output(logprobs=True))
    assert whole.image is not None
    with Image.open(io.BytesIO(whole.image)) as image:
        buffer = io.BytesIO()
        image.crop((36, 0, 108, 72)).save(buffer, "PNG")
    cropped = dataclasses.replace(whole, crop=(0.25, 0.0, 0.75, 0.5))
    part = dataclasses.replace(whole, image=buffer.getvalue(), sha256="part")
    bad = dataclasses.replace(whole, crop=(0.25, 0.0, 0.25, 0.5))
    answers = ask(spec(tiny_model), [whole, cropped, part, bad])
    values = [answer.logprobs.tokens for answer in answers[:3]]
    assert answers[1].text == answers[2].text and values[1] == pytest.approx(values[2], abs=1e-5)
    assert values[1] != pytest.approx(values[0], abs=1e-5)
    assert isinstance(answers[3], RequestError)


def test_scores_are_refused(tiny_model: Path, request_for: MakeRequest) -> None:
    (refused,) = ask(spec(tiny_model), [dataclasses.replace(request_for(1), output=Output(scores=True))])
    assert isinstance(refused, RequestError) and "dual_encoder" in str(refused)


@pytest.fixture(scope="module", params=["Florence2", "Kosmos2", "PaliGemma"])
def grounding(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind of grounding model, and a folder with a tiny one."""
    return request.param, make_tiny_grounding(tmp_path_factory.mktemp("grounding"), request.param)


def of_transformers(folder: Path, requests: list[Request]) -> list[str]:
    """The answers to requests by a model's processor and `generate`, one by one, with its own generation settings."""
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    answers = []
    for request in requests:
        shown = Image.open(io.BytesIO(request.image or b"")).convert("RGB")
        inputs = processor(text=[request.prompt], images=[shown], return_tensors="pt")
        most = request.sampling.max_tokens
        made = model.generate(**inputs, do_sample=False, max_new_tokens=most + 2)[0].tolist()  # Florence-2: <s>, </s>
        start = 2 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        text = str(processor.tokenizer.decode(made[start : start + most]))
        answers.append(text.rstrip("\ufffd"))  # as the engine: without an incomplete character
    return answers


def test_grounding_models_answer_as_in_transformers(grounding: tuple[str, Path], request_for: MakeRequest) -> None:
    kind, model = grounding
    question = prompt.load(f"regions_{kind.lower()}")
    phrases = ["dog", "a very long phrase about a kite", "x"]
    made = [
        request_for(n, question.fill_in({"phrases": [phrase]}), max_tokens=6, ignore_eos=True)
        for n, phrase in enumerate(phrases)
    ]
    made = [dataclasses.replace(request, output=Output(special_tokens=True)) for request in made]
    answers = [answer.text for answer in ask(spec(model), made)]
    assert any(re.search("<(loc|patch_index)_?[0-9]", answer) for answer in answers), "tokens of places are kept"
    assert answers == of_transformers(model, made)


def test_an_encoder_decoder_scores_no_statement(tmp_path: Path) -> None:
    model = make_tiny_grounding(tmp_path, "Florence2")
    wanted = (Output(likelihood=True),)
    with pytest.raises(ConfigError, match="is an encoder-decoder, which cannot score given texts"):
        ask(spec(model, outputs=wanted), [])
