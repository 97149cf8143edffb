"""recaption.engine.dual_encoder on the architectures of CLIP, SigLIP and SigLIP 2, tiny and random."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_use import use_engine
from tiny_models import make_tiny_dual_encoder

from recaption.decode import decode
from recaption.engine import Completion, Engine, EngineSpec, Request, build
from recaption.engine.completion import complete
from recaption.engine.micro_batch import Job
from recaption.errors import ConfigError, ImageError, RequestError
from recaption.tasks.output import TEXT, Output
from recaption.types import ImageLimits, Sampling

pytest.importorskip("torch")
pytest.importorskip("transformers")

MakeRequest = Callable[..., Request]
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
SCORES = Output(scores=True)
PROMPTS = ("a red kite", "dog", "a red kite", "caf\u00e9")


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dual_encoder(tmp_path_factory.mktemp(request.param), request.param)


def with_engine(folder: Path, use: Callable[[Any], Awaitable[Any]], **args: Any) -> Any:
    settings = tuple({"threads": 1, "batch_size": 8, **args}.items())
    engine_spec = EngineSpec(engine="dual_encoder", model=str(folder), dtype="float32", engine_args=settings)
    return use_engine(engine_spec, use)


def ask(folder: Path, requests: list[Request]) -> list[Any]:
    async def use(engine: Engine) -> list[Any]:
        return list(await asyncio.gather(*(complete(engine, request) for request in requests), return_exceptions=True))

    results: list[Any] = with_engine(folder, use)
    return results


def pair(request_for: MakeRequest, scene: int, prompt: str) -> Request:
    return dataclasses.replace(request_for(scene, prompt), output=SCORES)


def test_scores_are_those_of_the_models_own_forward_pass(model: Path, request_for: MakeRequest) -> None:
    import torch
    from transformers import AutoModel, AutoProcessor

    requests = [pair(request_for, scene, prompt) for scene in (1, 2) for prompt in PROMPTS]
    found = ask(model, requests)
    processor, reference = AutoProcessor.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    images = [decode(request_for(scene).image or b"", ImageLimits()) for scene in (1, 2)]
    inputs = {
        **processor.image_processor(images=images, return_tensors="pt"),
        **processor.tokenizer(list(PROMPTS), padding="max_length", max_length=16, return_tensors="pt"),
    }
    with torch.inference_mode():
        expected = reference(**inputs)
    assert [item.scores[1] for item in found] == pytest.approx(expected.logits_per_image.flatten().tolist(), abs=1e-4)
    cosines = (
        torch.nn.functional.normalize(expected.image_embeds) @ torch.nn.functional.normalize(expected.text_embeds).T
    )
    assert [item.scores[0] for item in found] == pytest.approx(cosines.flatten().tolist(), abs=1e-5)
    assert all(isinstance(item, Completion) and item.finish_reason == "stop" and item.text == "" for item in found)
    assert [item.prompt_tokens for item in found[:4]] == [len(prompt.encode()) + 2 for prompt in PROMPTS]


def test_an_image_or_a_text_alone_gets_its_embedding(model: Path, request_for: MakeRequest) -> None:
    both = pair(request_for, 1, "dog")
    image = dataclasses.replace(both, prompt="")
    text = dataclasses.replace(both, image=None, sha256="")
    scored, of_image, of_text = (np.array(item.scores) for item in ask(model, [both, image, text]))
    assert np.linalg.norm(of_image) == pytest.approx(1, abs=1e-5) == np.linalg.norm(of_text)
    assert of_image @ of_text == pytest.approx(scored[0], abs=1e-5)


def test_a_batch_encodes_each_image_and_each_text_once(model: Path, request_for: MakeRequest) -> None:
    requests = [pair(request_for, scene, prompt) for scene in (1, 2) for prompt in PROMPTS]
    requests.append(dataclasses.replace(requests[0], crop=(0.0, 0.0, 0.5, 0.5)))

    async def use(engine: Any) -> tuple[list[Completion], list[int], list[int]]:
        images, texts = [], []
        image_features, text_features = engine._model.get_image_features, engine._model.get_text_features

        def of_images(**inputs: Any) -> Any:
            images.append(len(inputs["pixel_values"]))
            return image_features(**inputs)

        def of_texts(**inputs: Any) -> Any:
            texts.append(len(inputs["input_ids"]))
            return text_features(**inputs)

        engine._model.get_image_features, engine._model.get_text_features = of_images, of_texts
        decoder, nobody = engine._decoder, asyncio.get_running_loop().create_future()
        jobs = [
            Job(request=request, image=decoder.decode(request.image, request.sha256, crop=request.crop), answer=nobody)
            for request in requests
        ]
        return engine._batch(jobs), images, texts

    found, images, texts = with_engine(model, use)
    assert (images, texts) == ([3], [3])
    assert found[0] == found[2] != found[8]


def test_a_long_text_is_cut_and_the_finish_reason_says_so(model: Path, request_for: MakeRequest) -> None:
    exact, long, longer = (pair(request_for, 1, "x" * n) for n in (14, 15, 40))
    found = ask(model, [exact, long, longer])
    assert [item.finish_reason for item in found] == ["stop", "length", "length"]
    assert [item.prompt_tokens for item in found] == [16, 16, 16]
    assert found[1].scores == pytest.approx(found[2].scores, abs=1e-6)


def test_a_request_that_it_cannot_answer_fails_alone(model: Path, request_for: MakeRequest) -> None:
    good = pair(request_for, 1, "dog")
    bad = [
        dataclasses.replace(good, output=TEXT),
        dataclasses.replace(good, image=None, prompt=""),
        dataclasses.replace(good, prompt="dog<|endoftext|>"),
        dataclasses.replace(good, image=b"<html>", sha256="1"),
    ]
    *failed, answer = ask(model, [*bad, good])
    assert [type(error) for error in failed] == [RequestError, RequestError, RequestError, ImageError]
    assert "returns scores, not text" in str(failed[0]) and "neither an image nor a text" in str(failed[1])
    assert isinstance(answer, Completion)


def test_other_models_are_refused(tiny_text: Path) -> None:
    with pytest.raises(ConfigError, match="no embeddings of images and texts"):
        asyncio.run(build(EngineSpec(engine="dual_encoder", model=str(tiny_text))).start())


def test_it_is_an_engine(model: Path) -> None:
    async def use(engine: Engine) -> dict[str, str]:
        assert isinstance(engine, Engine) and engine.renderer() is None
        assert engine.accepts == frozenset({"image", "text"}) and engine.capacity == 16
        gauge = engine.gauge()
        assert gauge is not None and (gauge.waiting, gauge.output_tokens) == (0, 0)
        return engine.provenance()

    assert with_engine(model, use)["engine"] == "dual_encoder"
    request = Request(prompt="a", sampling=Sampling(max_tokens=1), output=SCORES)
    assert ask(model, [request])[0].scores
