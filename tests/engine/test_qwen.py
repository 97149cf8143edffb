"""Qwen2.5-VL's architecture through both engines: images of any size, positions in two dimensions, pixel budgets."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import QWEN_LARGEST, QWEN_PATCH, QWEN_SMALLEST

from recaption.engine import Completion, EngineSpec, Request, build
from recaption.engine.base import Gauge
from recaption.engine.packing import unpack
from recaption.tasks.output import Output
from recaption.types import Sampling

SIZES = [(28, 28), (30, 300), (100, 80), (224, 224), (640, 480), (1000, 200), (300, 1000)]
SIZES_SHOWN = [(56, 56), (28, 308), (112, 84), (224, 224), (252, 168), (476, 84), (112, 392)]
"""Sides of SIZES after the processor: multiples of 28 px, with 3,136 to 50,176 pixels together."""
BUDGET = 30 * QWEN_PATCH**2
ANY_WARNING = pytest.mark.filterwarnings("default")  # vLLM, transformers and what they import warn at will


def spec(engine: str, model: Path, max_pixels: int | None = None, **engine_args: Any) -> EngineSpec:
    args = tuple(engine_args.items())
    return EngineSpec(
        engine=engine, model=str(model), dtype="float32", max_model_len=1024, max_pixels=max_pixels, engine_args=args
    )


def question(
    size: tuple[int, int], prompt: str = "Describe.", noise: int = 0, share: float = 1.0, **sampling: Any
) -> Request:
    """About an image of smooth noise, another one for every `noise`."""
    coarse = np.random.default_rng(noise).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
    return Request(
        image=buffer.getvalue(),
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        prompt=prompt,
        sampling=Sampling(**{"max_tokens": 12, **sampling}),
        pixel_share=share,
    )


def image_tokens(width: int, height: int, largest: int = QWEN_LARGEST) -> int:
    """The formula of Qwen2.5-VL's processor (transformers, image_processing_qwen2_vl.py, smart_resize), from scratch.

    Sides are rounded to whole patches; if that is too much or too little, the area is brought to the bound first.
    """
    columns, rows = round(width / QWEN_PATCH), round(height / QWEN_PATCH)
    if columns * rows * QWEN_PATCH**2 > largest:
        scale = math.sqrt(largest / (width * height))
        columns = max(1, math.floor(width * scale / QWEN_PATCH))
        rows = max(1, math.floor(height * scale / QWEN_PATCH))
    elif columns * rows * QWEN_PATCH**2 < QWEN_SMALLEST:
        scale = math.sqrt(QWEN_SMALLEST / (width * height))
        columns, rows = math.ceil(width * scale / QWEN_PATCH), math.ceil(height * scale / QWEN_PATCH)
    return columns * rows


def text_tokens(model: Path, prompt: str) -> int:
    """Of the whole chat, the image's own left out."""
    from transformers import AutoTokenizer

    chat = f"<|im_start|>user\n<|vision_start|><|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return len(AutoTokenizer.from_pretrained(model)(chat)["input_ids"])


def ask(engine_spec: EngineSpec, requests: list[Request]) -> list[Completion]:
    async def run() -> list[Completion]:
        engine = build(engine_spec)
        await engine.start()
        try:
            return list(await asyncio.gather(*(engine.generate(request) for request in requests)))
        finally:
            await engine.stop()

    return asyncio.run(run())


def likelihoods(requests: list[Request]) -> list[Request]:
    """Of statements in the prompt, with P(yes) in the same request, and of statements as the answer."""
    made = []
    for n, request in enumerate(requests):
        statement = f"A caf\u00e9 with {n} \U0001f600, and a long row of chairs beside the wall."
        prompt = f"Is this true of the image: {statement} Answer yes or no."
        both = Output(choices=("yes", "no"), logprobs=True, likelihood=True)
        made.append(dataclasses.replace(request, prompt=prompt, statement=statement, output=both))
        made.append(dataclasses.replace(request, statement=statement, output=Output(likelihood=True)))
    return made


@ANY_WARNING
def test_a_likelihood_is_that_of_the_tokens_of_the_statement(tiny_qwen: Path) -> None:
    """Compared with a forward pass of the whole text, which is put together by hand."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    statement = "A caf\u00e9."
    in_prompt = Request(
        prompt=f"True? {statement} {statement} Yes or no?",
        sampling=Sampling(max_tokens=1),
        output=Output(choices=("yes", "no"), logprobs=True, likelihood=True),
        statement=statement,
    )
    as_answer = dataclasses.replace(in_prompt, prompt="Describe.", output=Output(likelihood=True))
    found = ask(spec("transformers", tiny_qwen, threads=1), [in_prompt, as_answer])
    tokenizer = AutoTokenizer.from_pretrained(tiny_qwen)
    model = AutoModelForImageTextToText.from_pretrained(tiny_qwen, dtype=torch.float32)
    begin, end = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    before = (f"{begin}True? {statement} ", f"{begin}Describe.{end}")
    texts = (f"{begin}{in_prompt.prompt}{end}", f"{before[1]}{statement}")
    length = len(statement.encode())  # a token per byte
    for completion, text, prefix in zip(found, texts, before, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        first = len(tokenizer(prefix)["input_ids"])
        with torch.inference_mode():
            logprobs = model(input_ids=ids).logits[0].float().log_softmax(-1)
        expected = [float(logprobs[at - 1, ids[0, at]]) for at in range(first, first + length)]
        assert completion.logprobs is not None and completion.prompt_tokens == ids.shape[1]
        assert completion.logprobs.tokens == pytest.approx(expected, abs=1e-4)
        assert completion.logprobs.nbytes == (1,) * length
    assert found[0].text in ("yes", "no") and len(found[0].logprobs.choices) == 2  # type: ignore[union-attr]
    assert (found[1].text, found[1].finish_reason, found[1].output_tokens) == (statement, "stop", 0)


@ANY_WARNING
def test_transformers_shows_as_many_patches_as_the_formula_says(tiny_qwen: Path) -> None:
    rest = text_tokens(tiny_qwen, "Describe.")
    requests = [question(size, max_tokens=1) for size in SIZES]
    for budget in (None, BUDGET):
        answers = ask(spec("transformers", tiny_qwen, budget, threads=1), requests)
        shown = [answer.prompt_tokens - rest for answer in answers]
        if budget is None:
            assert shown == [image_tokens(*size) for size in SIZES]
            assert [answer.shown for answer in answers] == SIZES_SHOWN
        else:
            assert max(shown) * QWEN_PATCH**2 <= budget
            assert all(n >= 9 for n in shown[3:]) and shown[:3] == [image_tokens(*size) for size in SIZES[:3]]
    halves = [question(size, share=0.5, max_tokens=1) for size in SIZES[4:]]
    shares = [a.prompt_tokens - rest for a in ask(spec("transformers", tiny_qwen, BUDGET, threads=1), halves)]
    assert all(0.3 * whole <= half <= 0.75 * whole for half, whole in zip(shares, shown[4:], strict=True))


@pytest.mark.vllm
@ANY_WARNING
def test_a_renderer_gives_vllm_what_the_formula_and_transformers_say(tiny_qwen: Path) -> None:
    pytest.importorskip("vllm", reason="vllm is not installed")
    from transformers import AutoProcessor

    from recaption.decode import decode
    from recaption.types import ImageLimits

    processor = AutoProcessor.from_pretrained(tiny_qwen)
    renderer = build(spec("vllm", tiny_qwen)).renderer().build()  # type: ignore[union-attr]
    for size in SIZES:
        asked = question(size)
        rendered = renderer.render(asked)
        found = unpack(rendered.engine_input)
        ids = list(found["prompt_token_ids"])
        assert ids.count(processor.image_token_id) == image_tokens(*size)
        content = [
            {"type": "image", "image": decode(asked.image, ImageLimits())},
            {"type": "text", "text": asked.prompt},
        ]
        expected = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"return_tensors": "pt"},
        )
        assert ids == expected["input_ids"][0].tolist()
        (item,) = found["mm_kwargs"]["image"]
        assert item["image_grid_thw"].data.tolist() == expected["image_grid_thw"][0].tolist()
        assert rendered.shown == SIZES_SHOWN[SIZES.index(size)]
        assert rendered.decode_seconds > 0 and rendered.render_seconds > 0


@pytest.mark.vllm
@ANY_WARNING
def test_a_budget_bounds_the_encoder_and_every_image(tiny_qwen: Path) -> None:
    pytest.importorskip("vllm", reason="vllm is not installed")
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.encoder_budget import MultiModalBudget

    engine: Any = build(spec("vllm", tiny_qwen, BUDGET))
    assert MultiModalBudget(engine._config, MULTIMODAL_REGISTRY).mm_max_toks_per_item == {"image": 30}
    renderer = engine.renderer().build()

    def shown(size: tuple[int, int], share: float = 1.0) -> int:
        found = unpack(renderer.render(question(size, share=share)).engine_input)
        return int(found["mm_placeholders"]["image"][0].length)

    assert all(shown(size) <= 30 for size in SIZES)
    assert (shown((640, 480)), shown((224, 224))) == (30, 25)  # 6 x 5 and 5 x 5 patches
    assert (shown((640, 480), 0.5), shown((224, 224), 0.5)) == (12, 16)  # 4 x 3 and 4 x 4
    given: Any = build(spec("vllm", tiny_qwen, BUDGET, mm_processor_kwargs={}, limit_mm_per_prompt={"image": 2}))
    multimodal = given._config.model_config.multimodal_config
    assert not multimodal.mm_processor_kwargs and multimodal.limit_per_prompt["image"].count == 2


@pytest.mark.vllm
@ANY_WARNING
def test_several_gpus_share_the_images_between_them(tiny_qwen: Path) -> None:
    pytest.importorskip("vllm", reason="vllm is not installed")

    def mode(**engine_args: Any) -> str:
        two: Any = build(dataclasses.replace(spec("vllm", tiny_qwen, **engine_args), tensor_parallel=2))
        return str(two._config.model_config.multimodal_config.mm_encoder_tp_mode)

    assert (mode(), mode(mm_encoder_tp_mode="weights")) == ("data", "weights")


@pytest.mark.vllm
@ANY_WARNING
def test_several_prompts_of_an_image_run_its_processor_once(tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each of them is whole: nothing has to be remembered by the engine."""
    pytest.importorskip("vllm", reason="vllm is not installed")
    from transformers import Qwen2VLImageProcessor

    runs: list[int] = []
    real = Qwen2VLImageProcessor.preprocess

    def counted(self: Any, images: Any, **kwargs: Any) -> Any:
        runs.append(1)
        return real(self, images, **kwargs)

    monkeypatch.setattr(Qwen2VLImageProcessor, "preprocess", counted)
    prompts = ("Describe.", "One sentence, please.", "Name its objects.")
    for several, expected in ((True, 4), (False, 12)):
        renderer = build(spec("vllm", tiny_qwen, enable_prefix_caching=several)).renderer().build()  # type: ignore[union-attr]
        runs.clear()
        found = {
            (noise, share): [
                unpack(renderer.render(question((224, 224), prompt, noise, share)).engine_input) for prompt in prompts
            ]
            for noise in (1, 2)
            for share in (1.0, 0.5)
        }
        assert len(runs) == expected
        pixels = {place: items[0]["mm_kwargs"]["image"][0]["pixel_values"].data for place, items in found.items()}
        for place, items in found.items():
            for item in items:
                assert item["mm_kwargs"]["image"][0]["pixel_values"].data.equal(pixels[place])
            assert len({tuple(item["prompt_token_ids"]) for item in items}) == 3
        assert len({item["mm_hashes"]["image"][0] for items in found.values() for item in items}) == 4
        assert not pixels[1, 1.0].equal(pixels[2, 1.0])


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(1500)
@ANY_WARNING
def test_vllm_answers_as_transformers_does_and_tells_what_it_is_doing(
    tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 images of all shapes x 2 prompts: none is taken for another, and what was computed before is found again."""
    pytest.importorskip("vllm", reason="vllm is not installed")
    prompts = ("Describe.", "One sentence, please, about all that is there.")
    requests = [question(SIZES[n % 7], prompt, noise=n, max_tokens=24) for n in range(24) for prompt in prompts]
    expected = ask(spec("transformers", tiny_qwen, BUDGET, threads=1), requests)
    assert len({answer.text for answer in expected}) > 40  # the answers do depend on image and prompt
    scored = likelihoods([request for request in requests[::6] if request.image])
    expected_scores = ask(spec("transformers", tiny_qwen, BUDGET, threads=1), scored)

    async def run() -> tuple[list[Completion], list[Completion], list[Completion], list[Gauge]]:
        args: dict[str, Any] = {"max_num_seqs": 4, "enable_prefix_caching": True, "block_size": 32}
        engine = build(spec("vllm", tiny_qwen, BUDGET, **args))
        assert engine.gauge() is None
        await engine.start()
        try:
            seen, record = [engine.gauge()], engine._tally.record  # type: ignore[attr-defined]

            def recorded(*stats: Any) -> None:
                record(*stats)
                seen.append(engine.gauge())  # after each step, however late this loop hears of it

            monkeypatch.setattr(engine._tally, "record", recorded)  # type: ignore[attr-defined]
            together = await asyncio.gather(*(engine.generate(request) for request in requests))
            again = [await engine.generate(request) for request in requests[:4]]
            monkeypatch.setattr(engine._tally, "record", record)  # type: ignore[attr-defined]
            seen.append(engine.gauge())
            scores = [await engine.generate(request) for request in [*scored, *scored]]
            return together, again, scores, [gauge for gauge in seen if gauge is not None]
        finally:
            await engine.stop()

    found, again, scores, seen = asyncio.run(run())
    same = [a.text == b.text for a, b in zip(expected, found, strict=True)]
    assert sum(same) >= 0.99 * len(same), [
        (a.text, b.text) for a, b in zip(expected, found, strict=True) if a.text != b.text
    ]
    assert [a.prompt_tokens for a in found] == [b.prompt_tokens for b in expected]
    assert [a.text for a in again] == [a.text for a in found[:4]]
    assert all(0 < a.cached_tokens < a.prompt_tokens for a in again)
    # The second time, the statements themselves are in the cache; their log-probabilities are the same.
    assert sum(score.cached_tokens > 0 for score in scores[: len(scored)]) >= len(scored) / 2
    for score, other, request in zip(scores, [*expected_scores, *expected_scores], [*scored, *scored], strict=True):
        assert score.logprobs is not None and other.logprobs is not None
        assert (score.text, score.prompt_tokens) == (other.text, other.prompt_tokens)
        assert sum(score.logprobs.nbytes) == len(request.statement.encode())
        assert score.logprobs.nbytes == other.logprobs.nbytes
        assert score.logprobs.tokens == pytest.approx(other.logprobs.tokens, abs=1e-3)
        assert score.logprobs.choices == pytest.approx(other.logprobs.choices, abs=1e-3)

    first, last = seen[0], seen[-1]
    assert first == Gauge(running=0, waiting=0, least_waiting=0, requests=0, prompt_tokens=0, output_tokens=0)
    everything = [*found, *again]
    assert (last.requests, last.running, last.waiting) == (len(everything), 0, 0)
    assert last.output_tokens == sum(a.output_tokens for a in everything)
    assert last.prompt_tokens == sum(a.prompt_tokens for a in everything)
    assert max(gauge.running for gauge in seen) == 4 and max(gauge.waiting for gauge in seen) > 4
    assert max(gauge.least_waiting for gauge in seen) > 0
    counts = [gauge.output_tokens for gauge in seen]
    assert counts == sorted(counts) and len(set(counts)) > 5
