"""The shipped dual encoder tells which texts fit a scene it has not seen, also through the engine."""

from __future__ import annotations

import asyncio
import hashlib
import io

import pytest

from recaption.demo import model_path
from recaption.demo.scenes import Scene, SceneObject, sample_scene
from recaption.engine import EngineSpec, Request, build
from recaption.engine.completion import complete
from recaption.tasks.output import Output
from recaption.types import Sampling
from training.scene.evaluate import photograph
from training.score.evaluate import AMONG, FIRST_SEED, evaluate, transformers_encoder

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODEL = model_path("scene-encoder")


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_model_is_small():
    assert sum(p.stat().st_size for p in MODEL.iterdir()) < 5_000_000


def test_unseen_scenes():
    scenes = [sample_scene(seed) for seed in range(FIRST_SEED + 100_000, FIRST_SEED + 100_000 + AMONG)]
    result = evaluate(transformers_encoder(MODEL), scenes)
    assert result["long_captions"]["image_of_text"] >= 0.5
    assert result["objects"]["name"]["auroc"] >= 0.6


def test_the_engine_scores():
    scene = Scene(
        seed=1,
        background="white",
        objects=(SceneObject(cell=4, size="large", colour="red", fill="solid", shape="star"),),
    )
    buffer = io.BytesIO()
    photograph(scene).save(buffer, "PNG")
    image = buffer.getvalue()
    sha256 = hashlib.sha256(image).hexdigest()

    def request(text):
        return Request(
            image=image, sha256=sha256, prompt=text, sampling=Sampling(max_tokens=1), output=Output(scores=True)
        )

    async def ask():
        engine = build(EngineSpec(engine="dual_encoder", model="scene-encoder", dtype="float32"))
        await engine.start()
        try:
            texts = ("a large solid red star", "a small striped green circle")
            return [(await complete(engine, request(text))).scores[0] for text in texts]
        finally:
            await engine.stop()

    right, wrong = asyncio.run(ask())
    assert right > wrong
