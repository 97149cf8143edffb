"""recaption.engine.scene_judge: the truth as a judge of captions."""

from __future__ import annotations

import asyncio

import pytest

from recaption.demo.scenes import sample_scene
from recaption.demo.shards import FIRST_SEED, make_sample
from recaption.engine.base import EngineSpec, Request
from recaption.engine.scene_judge import SceneJudge
from recaption.errors import ConfigError, RequestError
from recaption.probe.scenes import record
from recaption.prompt import load
from recaption.types import Completion, Sampling


def judge(image: bytes, first: str, second: str) -> Completion:
    engine = SceneJudge(EngineSpec(engine="x", model="scene", engine_args=(("scenes", 2), ("side", 64))))
    prompt = load("better_caption").fill_in({"first": first, "second": second})

    async def ask() -> Completion:
        await engine.start()
        return await engine.generate(Request(prompt=prompt, image=image, sampling=Sampling(max_tokens=4)))

    return asyncio.run(ask())


def test_the_caption_with_more_true_claims_is_better() -> None:
    scene, image = sample_scene(FIRST_SEED), make_sample(FIRST_SEED, "", 64).jpeg
    true, false = (record(scene, 0, share).captions[2].text for share in (0, 1.0))
    for pair, choice in (((true, false), "1"), ((false, true), "2")):
        found = judge(image, *pair)
        assert found.text == choice and found.logprobs is not None
        assert max(found.logprobs.choices) == found.logprobs.choices[int(choice) - 1]
    even = judge(image, "A thing.", "Another thing.")
    assert even.logprobs is not None and even.logprobs.choices[0] == even.logprobs.choices[1]


def test_other_images_and_settings_are_refused() -> None:
    with pytest.raises(RequestError, match="not one of the demo's scenes"):
        judge(make_sample(1, "", 64).jpeg, "A star.", "A heart.")
    with pytest.raises(ConfigError, match="unknown engine_args seeds; allowed: scenes, side"):
        SceneJudge(EngineSpec(engine="x", model="scene", engine_args=(("seeds", 1),)))
