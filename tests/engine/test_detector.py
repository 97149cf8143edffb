"""recaption.engine.detector on the architectures of OWLv2 and Grounding DINO, tiny and random."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_use import use_engine
from PIL import Image
from tiny_models import make_tiny_detector, make_tiny_dual_encoder

from recaption.engine import Completion, Engine, EngineSpec, Request, build
from recaption.engine.completion import complete
from recaption.engine.detector import _detections, phrases_of
from recaption.errors import ConfigError, ImageError, RequestError
from recaption.tasks.output import LEAST_SCORE, TEXT, Output
from recaption.types import Detection, Sampling

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
BOXES = Output(boxes=True)
SIZES = ((100, 60), (60, 100), (64, 64))


@pytest.fixture(scope="module", params=["Owlv2", "OwlViT"])
def owl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_detector(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def owlv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_detector(tmp_path_factory.mktemp("owlv2"), "Owlv2")


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_detector(tmp_path_factory.mktemp("dino"), "GroundingDino")


@pytest.fixture(scope="module")
def mm_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_detector(tmp_path_factory.mktemp("mm_dino"), "MMGroundingDino")


@pytest.fixture(scope="module", params=["owlv2", "dino"])
def model(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def about(size: tuple[int, int], *phrases: str, seed: int = 0) -> Request:
    data = io.BytesIO()
    picture(size, seed).save(data, "png")
    return Request(
        prompt="\n".join(phrases),
        sampling=Sampling(max_tokens=1),
        image=data.getvalue(),
        sha256=hashlib.sha256(data.getvalue()).hexdigest(),
        output=BOXES,
    )


def with_engine(folder: Path, use: Callable[[Any], Awaitable[Any]], **args: Any) -> Any:
    settings = tuple({"threads": 1, "batch_size": 8, "wait_ms": 200, **args}.items())
    spec = EngineSpec(engine="detector", model=str(folder), dtype="float32", engine_args=settings)
    return use_engine(spec, use)


def ask(folder: Path, requests: list[Request]) -> list[Any]:
    async def use(engine: Engine) -> list[Any]:
        return list(await asyncio.gather(*(complete(engine, request) for request in requests), return_exceptions=True))

    results: list[Any] = with_engine(folder, use)
    return results


def found(completion: Completion) -> dict[tuple[float, ...], dict[int, float]]:
    """Box -> phrase -> score."""
    assert completion.boxes is not None and completion.text == "" and completion.finish_reason == "stop"
    made: dict[tuple[float, ...], dict[int, float]] = {}
    for each in completion.boxes:
        made.setdefault(each.box, {})[each.phrase] = each.score
    return made


def clipped(pixels: Any, size: tuple[int, int]) -> tuple[float, ...]:
    return tuple(min(max(float(edge) / side, 0.0), 1.0) for edge, side in zip(pixels.tolist(), size * 2, strict=True))


def same(box: tuple[float, ...], boxes: Any) -> Any:
    """The box of `boxes` that is equal but for rounding."""
    (other,) = [one for one in boxes if one == pytest.approx(box, abs=1e-4)]
    return other


def test_boxes_of_owl_are_those_of_its_processor_without_the_padding(owl: Path) -> None:
    """Of OWLv2 and OWL-ViT; only the first pads images."""
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    lists = (["red kite", "a dog"], ["cat"], ["sky", "sea", "sun"])
    answers = ask(owl, [about(size, *phrases) for size, phrases in zip(SIZES, lists, strict=True)])
    processor = AutoProcessor.from_pretrained(owl)
    reference = AutoModelForZeroShotObjectDetection.from_pretrained(owl).eval()
    for size, phrases, answer in zip(SIZES, lists, answers, strict=True):
        inputs = processor(images=[picture(size)], text=[phrases], return_tensors="pt", padding="max_length")
        with torch.inference_mode():
            output = reference(**inputs)
        (expected,) = processor.post_process_grounded_object_detection(
            output, threshold=LEAST_SCORE, target_sizes=[size[::-1]]
        )
        made = found(answer)
        inside = [
            (clipped(box, size), float(score), int(label))
            for box, score, label in zip(expected["boxes"], expected["scores"], expected["labels"], strict=True)
        ]
        inside = [item for item in inside if item[0][0] < item[0][2] and item[0][1] < item[0][3]]
        assert len(inside) == len(made) > 0
        for box, score, label in inside:  # the best label of each box
            scores = made[same(box, made)]
            assert scores[label] == max(scores.values()) == pytest.approx(score, abs=1e-4)
        assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in made)


def test_a_phrase_of_grounding_dino_has_the_score_of_its_best_token(dino: Path) -> None:
    """The tokens are letters: [CLS] r e d k i t e . a d o g . [SEP]"""
    import torch
    from transformers import AutoProcessor, GroundingDinoForObjectDetection

    size = SIZES[0]
    (answer,) = ask(dino, [about(size, "Red Kite?", "a dog")])
    processor = AutoProcessor.from_pretrained(dino)
    reference = GroundingDinoForObjectDetection.from_pretrained(dino).eval()
    inputs = processor(images=[picture(size)], text=[["red kite", "a dog"]], return_tensors="pt", padding=True)
    assert inputs["input_ids"].shape[1] == 15 == answer.prompt_tokens
    with torch.inference_mode():
        output = reference(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=-1.0, target_sizes=[size[::-1]]
    )
    made, kept = found(answer), 0
    for place, pixels in enumerate(expected["boxes"]):
        scores = output.logits[0, place].sigmoid()
        by_phrase = {0: float(scores[1:8].max()), 1: float(scores[9:13].max())}
        by_phrase = {phrase: score for phrase, score in by_phrase.items() if score >= LEAST_SCORE}
        box = clipped(pixels, size)
        if by_phrase and box[0] < box[2] and box[1] < box[3]:
            kept += 1
            assert made[same(box, made)] == pytest.approx(by_phrase, abs=1e-4)
    assert kept == len(made) > 0


def test_mm_grounding_dino_is_a_grounding_dino(mm_dino: Path) -> None:
    (answer,) = ask(mm_dino, [about(SIZES[0], "kite", "dog")])
    assert {each.phrase for each in answer.boxes} == {0, 1}


def test_scores_that_are_no_numbers_are_left_out() -> None:
    import torch

    scores = torch.tensor([[math.nan, 0.5], [0.7, math.nan]])
    found = _detections(scores, torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, math.nan, 0.9, 0.9]]))
    assert found == (Detection(phrase=1, score=0.5, box=(0.1, 0.1, 0.4, 0.4)),)


def test_a_batch_answers_as_each_request_alone(model: Path) -> None:
    """Whatever the other lists of phrases are; of one size, because Grounding DINO's padding is seen at the edges."""
    lists = (["kite"], ["red kite", "a dog", "the sea"], ["dog", "kite"])
    requests = [about((64, 64), *phrases, seed=seed) for seed, phrases in enumerate(lists)]
    together = ask(model, requests)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = ask(model, [request])
        assert [each.phrase for each in answer.boxes] == [each.phrase for each in alone.boxes]
        assert answer.prompt_tokens == alone.prompt_tokens
        for one, other in zip(answer.boxes, alone.boxes, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box == pytest.approx(other.box, abs=1e-4)
    assert {each.phrase for each in together[1].boxes} == {0, 1, 2}


def test_boxes_are_ordered_by_phrase_and_score(model: Path) -> None:
    (answer,) = ask(model, [about(SIZES[0], "kite", "dog")])
    order = [(each.phrase, -each.score) for each in answer.boxes]
    assert order == sorted(order) and min(each.score for each in answer.boxes) >= LEAST_SCORE


def test_a_request_that_it_cannot_answer_fails_alone(model: Path) -> None:
    good = about(SIZES[0], "kite")
    bad = [
        dataclasses.replace(good, output=TEXT),
        dataclasses.replace(good, image=None, sha256=""),
        dataclasses.replace(good, prompt=" \n"),
        dataclasses.replace(good, prompt="[SEP]"),
        dataclasses.replace(good, image=b"<html>", sha256="1"),
    ]
    *failed, answer = ask(model, [*bad, good])
    assert [type(error) for error in failed] == [RequestError] * 4 + [ImageError]
    assert "returns boxes, not text" in str(failed[0]) and "with an image only" in str(failed[1])
    assert "has no phrase: write one in each line" in str(failed[2])
    assert isinstance(answer, Completion)


def test_more_phrases_than_grounding_dino_reads_are_refused(dino: Path) -> None:
    long, short = about(SIZES[0], *["a very long phrase"] * 20), about(SIZES[0], "kite")
    refused, answer = ask(dino, [long, short])
    assert isinstance(refused, RequestError) and "at most 256 are allowed: use fewer phrases" in str(refused)
    assert isinstance(answer, Completion)


def test_a_phrase_of_separators_alone_has_no_boxes(dino: Path) -> None:
    (answer,) = ask(dino, [about(SIZES[0], "?", "kite", ".")])
    assert {each.phrase for each in answer.boxes} == {1}


def test_the_phrases_are_the_lines_of_the_prompt() -> None:
    assert phrases_of(" red kite\n\n a dog \n") == ["red kite", "a dog"]


def test_other_models_are_refused(tiny_text: Path, tmp_path: Path) -> None:
    for folder in (tiny_text, make_tiny_dual_encoder(tmp_path / "clip", "clip")):
        with pytest.raises(ConfigError, match="cannot load model"):
            asyncio.run(build(EngineSpec(engine="detector", model=str(folder))).start())


def test_it_is_an_engine(model: Path) -> None:
    async def use(engine: Engine) -> dict[str, str]:
        assert isinstance(engine, Engine) and engine.renderer() is None
        assert engine.accepts == frozenset({"image"}) and engine.capacity == 16
        await complete(engine, about(SIZES[0], "kite"))
        gauge = engine.gauge()
        assert gauge is not None and (gauge.waiting, gauge.requests) == (0, 1) and gauge.prompt_tokens > 0
        return engine.provenance()

    assert with_engine(model, use)["engine"] == "detector"
