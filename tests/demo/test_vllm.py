"""vLLM and transformers give the same answers about a scene, greedily and in float32."""

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
from training.scene.captions import describe_long
from training.scene.evaluate import FIRST_SEED, transformers_captioner
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS
from training.verify.build import question
from training.verify.evaluate import claims_of

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(1500)]

N = 100


@pytest.mark.parametrize("name", ["scene", "scene-verifier"])
def test_vllm_agrees_with_transformers(name):
    scenes = [sample_scene(seed) for seed in range(FIRST_SEED + 200_000, FIRST_SEED + 200_000 + N)]
    asked = [[prompt] * N for prompt in (LONG_PROMPTS[0], SHORT_PROMPTS[0])]
    if name == "scene-verifier":
        asked.append([question(claims_of(describe_long(scene), scene)[2][0].text) for scene in scenes])
    jpegs = []
    for scene in scenes:
        buffer = io.BytesIO()
        render(scene).save(buffer, "JPEG", quality=90)
        jpegs.append(buffer.getvalue())
    requests = [
        Request(image=j, sha256=hashlib.sha256(j).hexdigest(), prompt=q, sampling=Sampling(max_tokens=192))
        for prompts in asked
        for j, q in zip(jpegs, prompts, strict=True)
    ]

    async def ask():
        engine = build(EngineSpec(engine="vllm", model=name, dtype="float32", max_model_len=512))
        await engine.start()
        try:
            return [c.text for c in await asyncio.gather(*map(engine.generate, requests))]
        finally:
            await engine.stop()

    by_vllm = asyncio.run(ask())
    caption = transformers_captioner(model_path(name))
    images = [Image.open(io.BytesIO(j)).convert("RGB") for j in jpegs]
    by_transformers: list[str] = []
    for prompts in asked:
        if len({*prompts}) == 1:
            by_transformers += caption(images, prompts[0])
        else:
            by_transformers += [caption([image], prompt)[0] for image, prompt in zip(images, prompts, strict=True)]
    assert sum(a == b for a, b in zip(by_vllm, by_transformers, strict=True)) >= 0.99 * len(requests)
    if name == "scene-verifier":
        assert {*by_vllm[-N:]} == {"yes", "no"}
