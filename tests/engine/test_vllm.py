"""recaption.engine.vllm on the real vLLM; the tests that start an engine are slow and do much with each start."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption.engine import Completion, EngineSpec, Rendered, Request, build
from recaption.engine.completion import complete
from recaption.engine.environment import compiler
from recaption.engine.packing import unpack
from recaption.errors import ConfigError, EngineDead, ImageError, Interrupted, RequestError
from recaption.tasks.output import TEXT, Output, value_of
from recaption.types import Sampling

pytest.importorskip("vllm", reason="vllm is not installed")

MakeRequest = Callable[..., Request]
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]  # vLLM and what it imports warn at will


def spec(model: Path, **engine_args: Any) -> EngineSpec:
    return EngineSpec(
        engine="vllm", model=str(model), dtype="float32", max_model_len=512, engine_args=tuple(engine_args.items())
    )


def test_sampling_becomes_vllms() -> None:
    from vllm.sampling_params import RequestOutputKind

    from recaption.engine.vllm import sampling_params

    greedy = sampling_params(Sampling(max_tokens=7, seed=3, stop=("x",)))
    assert (greedy.max_tokens, greedy.temperature, greedy.seed, greedy.stop) == (7, 0.0, None, ["x"])
    assert greedy.output_kind == RequestOutputKind.FINAL_ONLY
    assert greedy.repetition_detection is not None
    drawn = sampling_params(Sampling(max_tokens=7, temperature=0.5, top_p=0.9, top_k=5, seed=3, ignore_eos=True))
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (0.5, 0.9, 5, 3)
    assert drawn.ignore_eos and drawn.repetition_detection is None


def test_variables_of_the_chat_template_are_in_the_rendered_prompt(tiny_text: Path) -> None:
    """Of a renderer: the engine is not started."""

    def rendered(**variables: Any) -> Any:
        variables_of = tuple(variables.items())
        engine = build(
            dataclasses.replace(spec(tiny_text), needs=frozenset({"text"}), chat_template_kwargs=variables_of)
        )
        renderer = engine.renderer()
        assert renderer is not None
        return renderer.build().render(
            Request(image=None, sha256="", prompt="Number 1", sampling=Sampling(max_tokens=4))
        )

    made = [rendered(), rendered(enable_thinking=False), rendered(enable_thinking=True)]
    plain, switched, thinking = (unpack(one.engine_input)["prompt_token_ids"] for one in made)
    assert switched[: len(plain)] == plain and len(switched) == len(plain) + 2
    assert thinking[: len(plain)] == plain and [one.in_thought for one in made] == [False, False, True]


def test_outputs_become_vllms() -> None:
    """Log-probabilities only as `logprob_token_ids`: an engine must not mix them with `logprobs`."""
    from recaption.engine.vllm import sampling_params

    sampling = Sampling(max_tokens=7, temperature=0.5, stop=("x",), ignore_eos=True)
    plain = sampling_params(sampling)
    assert plain.structured_outputs is None and plain.logprob_token_ids is None and plain.logprobs is None
    choice = sampling_params(sampling, Output(choices=("yes", "no")))
    schema = sampling_params(sampling, Output(json_schema=b'{"type":"integer"}', logprobs=True))
    assert choice.structured_outputs.choice == ["yes", "no"] and schema.structured_outputs.json == {"type": "integer"}
    for structured in (choice, schema):  # a stop string or `ignore_eos` would break the form
        assert not structured.stop and not structured.ignore_eos and structured.temperature == 0.5
        assert structured.repetition_detection is not None
    logged = sampling_params(sampling, Output(logprobs=True))
    assert logged.logprobs is None and logged.logprob_token_ids and logged.stop == ["x"]
    assert plain.skip_special_tokens and not sampling_params(sampling, Output(special_tokens=True)).skip_special_tokens
    first = sampling_params(sampling, Output(choices=("yes", "no"), logprobs=True), ((5, 6), (7,)))
    assert (first.max_tokens, first.temperature, first.logprob_token_ids) == (1, 0.0, [5, 6, 7])
    assert first.structured_outputs is None and first.logprobs is None


def test_unknown_settings_are_named(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_num_seq:.*AsyncEngineArgs"):
        asyncio.run(build(spec(tiny_model, max_num_seq=3)).start())


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="vLLM cannot run"):
        asyncio.run(build(spec(tmp_path)).start())


def test_a_model_that_takes_no_images(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaConfig(vocab_size=100, architectures=["LlamaForCausalLM"], **sizes).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="takes no images"):
        asyncio.run(build(spec(tmp_path)).start())


def test_a_rendered_prompt_is_what_transformers_makes_of_it(tiny_model: Path, request_for: MakeRequest) -> None:
    from transformers import AutoProcessor

    from recaption.decode import decode
    from recaption.engine.packing import unpack
    from recaption.types import ImageLimits

    question = request_for(3, "Describe this image in one sentence.")
    renderer = build(spec(tiny_model)).renderer().build()  # type: ignore[union-attr]
    rendered = renderer.render(question)
    found = unpack(rendered.engine_input)
    image = decode(question.image, ImageLimits())
    content = [{"type": "image", "image": image}, {"type": "text", "text": question.prompt}]
    expected = AutoProcessor.from_pretrained(tiny_model).apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt"},
    )
    assert list(found["prompt_token_ids"]) == expected["input_ids"][0].tolist()
    (item,) = found["mm_kwargs"]["image"]
    assert item["pixel_values"].data.reshape(-1).tolist() == expected["pixel_values"].reshape(-1).tolist()
    assert rendered.nbytes > expected["pixel_values"].nbytes
    for text in ("two <image> placeholders", "<end_of_utterance>", "word " * 1000):
        with pytest.raises(RequestError):
            renderer.render(dataclasses.replace(question, prompt=text))
    with pytest.raises(ImageError):
        renderer.render(dataclasses.replace(question, image=b"", sha256="0"))


def test_a_request_without_an_image_is_the_same_chat_without_it(
    tiny_model: Path, tiny_text: Path, request_for: MakeRequest
) -> None:
    from transformers import AutoTokenizer

    from recaption.engine.packing import unpack

    text = Request(prompt="Name a shape.", sampling=Sampling(max_tokens=4), output=Output(logprobs=True))
    chat = [{"role": "user", "content": text.prompt}]
    for model, needs in ((tiny_model, frozenset({"image"})), (tiny_text, frozenset({"text"}))):
        text_spec: Any = dataclasses.replace(spec(model), needs=needs)
        renderer = build(text_spec).renderer().build()  # type: ignore[union-attr]
        rendered = renderer.render(text)
        found = unpack(rendered.engine_input)
        expected = AutoTokenizer.from_pretrained(model).apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": text.prompt}]}] if model == tiny_model else chat,
            add_generation_prompt=True,
            return_dict=True,
        )
        assert list(found["prompt_token_ids"]) == list(expected["input_ids"])
        assert not found.get("mm_kwargs") and rendered.output == text.output
    with pytest.raises(RequestError, match="not a multimodal model"):
        renderer.render(request_for(1))


def test_a_crop_is_rendered_as_a_picture_of_that_part(tiny_model: Path, request_for: MakeRequest) -> None:
    """And has an id of its own, so that it does not share the work on the whole image."""
    import io

    from PIL import Image

    from recaption.engine.packing import unpack

    renderer = build(spec(tiny_model)).renderer().build()  # type: ignore[union-attr]
    whole = request_for(3)
    assert whole.image is not None
    with Image.open(io.BytesIO(whole.image)) as image:
        buffer = io.BytesIO()
        image.crop((36, 0, 108, 72)).save(buffer, "PNG")
    crop = dataclasses.replace(whole, crop=(0.25, 0.0, 0.75, 0.5))
    part = dataclasses.replace(whole, image=buffer.getvalue(), sha256="part")
    found = [unpack(renderer.render(request).engine_input) for request in (whole, crop, part)]
    pixels = [item["mm_kwargs"]["image"][0]["pixel_values"].data for item in found]
    assert pixels[1].equal(pixels[2]) and not pixels[1].equal(pixels[0])
    assert len({item["mm_hashes"]["image"][0] for item in found}) == 3
    assert found[0]["mm_hashes"]["image"] == [f"{whole.sha256}-None-1.0"]  # as without crops


def test_a_budget_is_the_models_own_setting(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "splitting"))
    file = folder / "processor_config.json"
    processor = json.loads(file.read_text())
    tile = processor["image_processor"]["max_image_size"]["longest_edge"]
    processor["image_processor"] |= {"do_image_splitting": True, "size": {"longest_edge": 4 * tile}}
    file.write_text(json.dumps(processor))
    for budget, edge in ((None, None), (9 * tile * tile, 3 * tile), (10**9, 4 * tile)):
        engine: Any = build(dataclasses.replace(spec(folder), max_pixels=budget))
        found = engine._config.model_config.multimodal_config.mm_processor_kwargs
        assert found == ({"size": {"longest_edge": edge}} if edge else None)
    one: Any = build(dataclasses.replace(spec(tiny_model), max_pixels=1000))  # it never splits: nothing to set
    assert one._config.model_config.multimodal_config.mm_processor_kwargs is None


def test_fewer_pixels_have_another_id(tiny_model: Path, request_for: MakeRequest) -> None:
    from recaption.engine.packing import unpack

    ids = set()
    for max_pixels in (None, 5000):
        renderer = build(dataclasses.replace(spec(tiny_model), max_pixels=max_pixels)).renderer().build()  # type: ignore[union-attr]
        for share in (1.0, 0.5, 0.25):
            question = dataclasses.replace(request_for(1), pixel_share=share)
            ids.update(unpack(renderer.render(question).engine_input)["mm_hashes"]["image"])
    assert len(ids) == 6


def render_elsewhere(pickled: bytes, requests: list[Request]) -> list[Any]:
    """In a process that knows nothing but the spec."""
    renderer = pickle.loads(pickled).build()
    results: list[Any] = []
    for request in requests:
        try:
            results.append(renderer.render(request))
        except (ImageError, RequestError) as error:
            results.append(error)
    return results


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_an_engine_from_start_to_death(tiny_model: Path, request_for: MakeRequest) -> None:
    import psutil

    good = [request_for(n, max_tokens=8 + n, ignore_eos=True) for n in range(24)]
    bad = [
        dataclasses.replace(good[0], image=b"<html>", sha256="1"),
        dataclasses.replace(good[0], prompt="word " * 1000),
        dataclasses.replace(good[0], prompt="two <image> placeholders <image>"),
    ]

    async def run() -> None:
        engine = build(spec(tiny_model, max_num_seqs=16))
        renderer = engine.renderer()  # before the start: renderers are built beside it
        assert renderer is not None
        await engine.start()
        assert engine.capacity == 32
        assert engine.provenance()["engine"] == "vllm"

        direct = await asyncio.gather(*(engine.generate(r) for r in [*good, *bad]), return_exceptions=True)
        answers = [a for a in direct if isinstance(a, Completion)]
        assert [(a.output_tokens, a.finish_reason) for a in answers] == [(8 + n, "length") for n in range(24)]
        assert isinstance(direct[24], ImageError)
        assert isinstance(direct[25], RequestError) and isinstance(direct[26], RequestError)

        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rendered = await asyncio.to_thread(
                pool.apply, render_elsewhere, (pickle.dumps(renderer), [*good[:4], *bad])
            )
        assert all(isinstance(item, Rendered) and item.nbytes > 100_000 for item in rendered[:4])
        assert [type(item) for item in rendered[4:]] == [ImageError, RequestError, RequestError]
        again = await asyncio.gather(*(engine.generate(item) for item in rendered[:4]))
        assert [a.text for a in again] == [a.text for a in answers[:4]]

        logged = [dataclasses.replace(request, output=Output(logprobs=True)) for request in good[:4]]
        by_text = [dataclasses.replace(request, image=None, sha256="") for request in logged]
        cropped = [dataclasses.replace(request, crop=(0.0, 0.0, 0.5, 0.5)) for request in logged]
        with_logprobs = await asyncio.gather(*(engine.generate(r) for r in (*logged, *by_text, *cropped)))
        assert [a.text for a in with_logprobs[:4]] == [a.text for a in answers[:4]]
        assert all(a.prompt_tokens < answers[0].prompt_tokens for a in with_logprobs[4:8])
        sums = [sum(a.logprobs.tokens) for a in with_logprobs if a.logprobs is not None]
        assert len(set(sums)) == len(sums) >= 6  # the image, its part and no image are different questions

        sampled = [request_for(1, temperature=1.0, seed=seed) for seed in (1, 2, 1)]
        one, two, three = await asyncio.gather(*(engine.generate(r) for r in sampled))
        assert one == three != two

        cores = [
            process
            for process in psutil.Process().children(recursive=True)
            if "EngineCore" in process.name() or "EngineCore" in " ".join(process.cmdline())
        ]
        endless = [request_for(n, max_tokens=300, ignore_eos=True) for n in range(24)]
        running = [asyncio.ensure_future(engine.generate(r)) for r in endless]
        while not engine.gauge().running and not all(request.done() for request in running):
            await asyncio.sleep(0.01)
        for process in cores:
            process.kill()
        results = await asyncio.gather(*running, return_exceptions=True)
        assert {type(r) for r in results} <= {EngineDead, Completion} and EngineDead in {type(r) for r in results}
        with pytest.raises(EngineDead):
            await engine.generate(rendered[0])
        await engine.stop()
        with pytest.raises(Interrupted):
            await engine.generate(rendered[0])

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_inside_a_ray_actor_it_answers_as_transformers_does(scene_model: Path, request_for: MakeRequest) -> None:
    """Greedy answers in float32 to 64 scenes: equal for 99%, one by one."""
    ray = pytest.importorskip("ray")
    from recaption.run.cluster import _start

    class Holder:
        def __init__(self, engine_spec: EngineSpec) -> None:
            self.engine = build(engine_spec)

        async def start(self) -> int:
            await self.engine.start()
            return self.engine.capacity

        async def ask(self, question: Request) -> Completion:
            return await self.engine.generate(question)

        async def stop(self) -> None:
            await self.engine.stop()

    requests = [request_for(1000 + n, max_tokens=192) for n in range(64)]

    async def by_transformers() -> list[Completion]:
        args = (("batch_size", 32), ("threads", 1))
        engine = build(EngineSpec(engine="transformers", model=str(scene_model), dtype="float32", engine_args=args))
        await engine.start()
        answers = await asyncio.gather(*(engine.generate(r) for r in requests))
        await engine.stop()
        return list(answers)

    expected = asyncio.run(by_transformers())
    _start({"address": "local", "num_cpus": 1, "include_dashboard": False, "log_to_driver": False})
    try:
        actor = ray.remote(num_cpus=1, max_concurrency=200)(Holder).remote(spec(scene_model))
        assert ray.get(actor.start.remote()) > 64
        found = ray.get([actor.ask.remote(r) for r in requests])
        ray.get(actor.stop.remote())
    finally:
        ray.shutdown()
    same = [a.text == b.text for a, b in zip(expected, found, strict=True)]
    assert sum(same) >= 0.99 * len(same), [
        (a.text, b.text) for a, b in zip(expected, found, strict=True) if a.text != b.text
    ][:3]
    assert [(a.prompt_tokens, a.finish_reason) for a in expected] == [(b.prompt_tokens, b.finish_reason) for b in found]
    assert [a.output_tokens for a in expected] == [b.output_tokens for b in found]


def hide_compilers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """PATH has all programs but compilers."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            if not any(name in program.name for name in ("g++", "gcc", "c++", "clang")) and program.name != "cc":
                with contextlib.suppress(FileExistsError):
                    (folder / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler() is None and shutil.which("ls")


PERSON = {
    "type": "object",
    "properties": {
        "present": {"type": "boolean"},
        "kind": {"enum": ["cat", "dog", "\U0001f600"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
    },
    "required": ["present", "kind", "count", "names"],
    "additionalProperties": False,
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_outputs_of_a_text_only_model(tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices, JSON and log-probabilities, all in flight together, on a machine without a C++ compiler."""
    hide_compilers(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    as_json = Output(json_schema=json.dumps(PERSON).encode())
    choices = Output(choices=("yes", "yes, two", "\U0001f600 \u2014 na\u00efve"))
    yes_no = Output(choices=("yes", "no"), logprobs=True)
    tokens = Output(logprobs=True)
    kinds = (TEXT, choices, as_json, dataclasses.replace(as_json, logprobs=True), tokens, yes_no)
    text_only = dataclasses.replace(spec(tiny_text, max_num_seqs=8), needs=frozenset({"text"}), outputs=kinds[1:])

    def requests(output: Output, n: int, **sampling: Any) -> list[Request]:
        return [
            Request(
                prompt=f"Tell me about number {seed}.",
                sampling=Sampling(**{"max_tokens": 100, "temperature": 1.0, "seed": seed, **sampling}),
                output=output,
            )
            for seed in range(n)
        ]

    greedy = [*requests(tokens, 4, temperature=0.0, max_tokens=24), *requests(yes_no, 4, temperature=0.0)]
    everything = [*(r for output in kinds for r in requests(output, 12)), *greedy]
    refused = [
        *requests(Output(json_schema=b'{"allOf":[{"type":"string"},{"enum":["a","b"]}]}'), 1),
        *requests(Output(choices=("yes, a", "yes, b"), logprobs=True), 1),
        *requests(Output(scores=True), 1),
    ]

    async def run() -> tuple[list[Completion], list[Any], list[Completion]]:
        engine = build(text_only)
        await engine.start()
        try:
            assert engine.accepts == frozenset({"text"})
            together = await asyncio.gather(*(complete(engine, request) for request in everything))
            failed = await asyncio.gather(*(complete(engine, r) for r in refused), return_exceptions=True)
            alone = [await complete(engine, request) for request in greedy]
            return list(together), list(failed), alone
        finally:
            await engine.stop()

    async def by_transformers() -> list[Completion]:
        args = (("threads", 1),)
        engine = build(dataclasses.replace(text_only, engine="transformers", engine_args=args, outputs=()))
        await engine.start()
        try:
            return list(await asyncio.gather(*(complete(engine, request) for request in greedy)))
        finally:
            await engine.stop()

    found, failed, alone = asyncio.run(run())
    expected = asyncio.run(by_transformers())
    by_kind = [found[12 * n : 12 * n + 12] for n in range(len(kinds))]
    assert {answer.text for answer in by_kind[1]} == set(choices.choices)
    for answer in (*by_kind[2], *by_kind[3]):
        if (
            answer.finish_reason == "stop"
        ):  # `complete` has checked it; one that was cut off is left to the retry ladder
            assert set(value_of(as_json, answer.text)) == set(PERSON["properties"])
    assert sum(answer.finish_reason == "stop" for answer in (*by_kind[2], *by_kind[3])) >= 12
    assert all(answer.logprobs is None for answer in (*by_kind[0], *by_kind[1], *by_kind[2]))
    for answer in (*by_kind[3], *by_kind[4]):  # of random bytes, many characters are broken
        assert answer.logprobs is not None or "\ufffd" in answer.text
        if answer.logprobs is not None:
            assert len(answer.logprobs.tokens) == len(answer.logprobs.nbytes) == answer.output_tokens
            assert sum(answer.logprobs.nbytes) == len(answer.text.encode())
            assert all(-50 < value <= 0 for value in answer.logprobs.tokens)
    assert all(answer.logprobs is not None for answer in by_kind[3])  # a grammar allows valid UTF-8 only
    for answer in by_kind[5]:
        assert answer.text in yes_no.choices and answer.output_tokens == 1 and answer.logprobs is not None
        assert 0 < sum(math.exp(value) for value in answer.logprobs.choices) < 1
    # What runs beside them changes nothing, and transformers gets the same.
    for answers in (found[-8:], alone):
        for answer, other in zip(answers, expected, strict=True):
            assert answer.text == other.text
            if answer.logprobs is not None and other.logprobs is not None:
                assert answer.logprobs.tokens == pytest.approx(other.logprobs.tokens, abs=1e-3)
                assert answer.logprobs.choices == pytest.approx(other.logprobs.choices, abs=1e-3)
                assert answer.logprobs.nbytes == other.logprobs.nbytes
    assert sum(answer.logprobs is not None for answer in alone) >= 5
    assert [type(error) for error in failed] == [RequestError] * 3
    assert "not supported by xgrammar" in str(failed[0]) and "no first token" in str(failed[1])
