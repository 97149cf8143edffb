"""vLLM and transformers say the same of a scene, greedily and in float32."""

from __future__ import annotations

import asyncio
import hashlib
import io

import pytest
from PIL import Image

from recaption.demo import model_path
from recaption.demo.scenes import render, sample_scene
from recaption.engine import EngineSpec, Request, build
from recaption.types import Sampling
from training.scene.evaluate import FIRST_SEED, transformers_captioner
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(1500)]

N = 100


def test_vllm_agrees_with_transformers():
    questions = (LONG_PROMPTS[0], SHORT_PROMPTS[0])
    jpegs = []
    for seed in range(FIRST_SEED + 200_000, FIRST_SEED + 200_000 + N):
        buffer = io.BytesIO()
        render(sample_scene(seed)).save(buffer, "JPEG", quality=90)
        jpegs.append(buffer.getvalue())
    requests = [
        Request(image=j, sha256=hashlib.sha256(j).hexdigest(), prompt=q, sampling=Sampling(max_tokens=192))
        for q in questions
        for j in jpegs
    ]

    async def ask():
        engine = build(EngineSpec(engine="vllm", model=str(model_path()), dtype="float32", max_model_len=512))
        await engine.start()
        try:
            return [c.text for c in await asyncio.gather(*map(engine.generate, requests))]
        finally:
            await engine.stop()

    by_vllm = asyncio.run(ask())
    caption = transformers_captioner(model_path())
    images = [Image.open(io.BytesIO(j)).convert("RGB") for j in jpegs]
    by_transformers = [text for q in questions for text in caption(images, q)]
    assert sum(a == b for a, b in zip(by_vllm, by_transformers, strict=True)) >= 0.99 * len(requests)
