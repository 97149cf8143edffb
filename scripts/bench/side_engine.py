"""The engines of `prefix`, `logprobs` and `verify`, in their own process. Prints seconds for each side and round."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import safe_open

from recaption.demo.scenes import render, sample_scene
from recaption.engine import Completion, Engine, EngineSpec, Request, build
from recaption.prompt import load
from recaption.tasks.output import Output
from recaption.types import Sampling

YES_NO = Output(choices=("yes", "no"), logprobs=True)
SIDE = 224  # pixels: 64 image tokens of the tests' Qwen-VL
CONTEXT = "The caption of this image is: a row of small boats lies on the sand below the old wall of the harbour. " * 3


async def main() -> None:
    settings = json.loads(sys.argv[1])
    found = await {"prefix": prefix, "logprobs": logprobs, "verify": verify}[settings["bench"]](settings)
    print(json.dumps(found), flush=True)


async def prefix(settings: dict[str, Any]) -> dict[str, Any]:
    """New images in each round. All requests of a round are sent at once."""
    engines = {
        side: await started(settings, enable_prefix_caching=side == "with", block_size=32)
        for side in ("with", "without")
    }
    seconds: dict[str, list[float]] = {side: [] for side in engines}
    tokens: list[Completion] = []
    for number in range(settings["rounds"] + 1):
        images = [picture(settings["images"] * number + n, SIDE) for n in range(settings["images"])]
        requests = [
            question(image, f"{CONTEXT} Is there {n} of {n + 1} in it? Answer yes or no.")
            for image in images
            for n in range(settings["questions"])
        ]
        for side in in_turn(engines, number):
            passed, answers = await timed(engines[side], requests)
            assert all(answer.prompt_tokens >= 330 for answer in answers), answers[0].prompt_tokens
            if number == 0:  # to warm up
                continue
            seconds[side].append(passed)
            tokens += answers if side == "with" else []
    await stop(engines.values())
    return {"captions": len(requests), "images": settings["images"], "seconds": seconds, **counts(tokens)}


async def logprobs(settings: dict[str, Any]) -> dict[str, Any]:
    engine = await started(settings, needs=frozenset({"text"}), max_num_seqs=settings["images"])
    sides = {"plain": Output(), "logprobs": Output(logprobs=True)}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(settings["rounds"] + 1):
        for side in in_turn(sides, number):
            sampling = Sampling(max_tokens=settings["max_tokens"], ignore_eos=True)
            requests = [
                Request(prompt=f"Describe number {n}.", sampling=sampling, output=sides[side])
                for n in range(settings["images"])
            ]
            passed, _ = await timed(engine, requests)
            seconds[side] += [passed] if number else []
    await stop([engine])
    return {"captions": len(requests), "seconds": seconds, "parameters": parameters(settings["model"])}


async def verify(settings: dict[str, Any]) -> dict[str, Any]:
    """Questions about each sentence of the captions, cut or repeated to as many as there are questions."""
    engine = await started(settings, enable_prefix_caching=True, block_size=32)
    describe, ask = load("describe_long"), load("is_it_true")
    seconds: dict[str, list[float]] = {"caption": [], "verify": []}
    lengths, tokens = list[int](), list[Completion]()
    for number in range(settings["rounds"] + 1):
        images = [picture(settings["images"] * number + n, 144) for n in range(settings["images"])]
        sampling = Sampling(max_tokens=settings["max_tokens"])
        captions = [Request(prompt=describe.fill_in({}), sampling=sampling, **image) for image in images]
        passed, answers = await timed(engine, captions)
        requests = []
        for image, answer in zip(images, answers, strict=True):
            sentences = [f"{text.strip('. ')}." for text in answer.text.split(". ")]
            statements = [sentences[n % len(sentences)] for n in range(settings["questions"])]
            requests += [question(image, ask.fill_in({"statement": statement})) for statement in statements]
        # A sentence that is asked about again would be in the cache, so it is changed.
        asked, judged = await timed(engine, numbered(requests))
        if number:
            seconds["caption"].append(passed)
            seconds["verify"].append(asked)
            lengths += [answer.output_tokens for answer in answers]
            tokens += judged
    await stop([engine])
    return {
        "captions": len(images),
        "images": len(images),
        "seconds": seconds,
        "caption_tokens": sum(lengths) / len(lengths),
        **counts(tokens),
    }


async def started(settings: dict[str, Any], needs: frozenset[Any] = frozenset({"image"}), **engine_args: Any) -> Engine:
    args = {**engine_args, **settings["engine_args"]}
    spec = EngineSpec(
        engine="vllm",
        model=settings["model"],
        dtype=args.pop("dtype", "float32"),
        max_model_len=1024,
        engine_args=tuple(args.items()),
        needs=needs,
    )
    engine = build(spec)
    await engine.start()
    return engine


async def stop(engines: Any) -> None:
    for engine in engines:
        await engine.stop()


async def timed(engine: Engine, requests: Sequence[Request]) -> tuple[float, list[Completion]]:
    began = time.perf_counter()
    answers = await asyncio.gather(*(engine.generate(request) for request in requests))
    return time.perf_counter() - began, list(answers)


def in_turn(sides: Any, number: int) -> list[str]:
    """The side that comes second finds a warmer machine."""
    return list(sides) if number % 2 == 0 else list(sides)[::-1]


def numbered(requests: Sequence[Request]) -> list[Request]:
    """The first of equal requests alone; later ones with another word in front of the question's end."""
    seen: dict[tuple[str, str], int] = {}
    made = []
    for request in requests:
        key = (request.sha256, request.prompt)
        seen[key] = seen.get(key, -1) + 1
        prompt = request.prompt.replace(" Answer", f" {'Again. ' * seen[key]}Answer") if seen[key] else request.prompt
        made.append(replace(request, prompt=prompt))
    return made


def question(image: dict[str, Any], prompt: str) -> Request:
    return Request(prompt=prompt, sampling=Sampling(max_tokens=1), output=YES_NO, **image)


def picture(number: int, side: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    drawn: Image.Image = render(sample_scene(number), side)
    drawn.save(buffer, "PNG")
    return {"image": buffer.getvalue(), "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}


def counts(answers: Sequence[Completion]) -> dict[str, int]:
    return {
        "prompt_tokens": sum(answer.prompt_tokens for answer in answers),
        "cached_tokens": sum(answer.cached_tokens for answer in answers),
    }


def parameters(model: str) -> int:
    total = 0
    for file in Path(model).glob("*.safetensors"):
        with safe_open(file, "np") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


if __name__ == "__main__":
    asyncio.run(main())
