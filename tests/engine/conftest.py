"""What the engine tests share: a random captioner of a few hundred kilobytes, and requests about rendered scenes."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tiny_qwen, make_tiny_text

from recaption.engine import Request
from recaption.types import Sampling

MakeRequest = Callable[..., Request]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scene captioner's architecture, one layer of each kind, and random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from training.scene import build

    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    tokenizer = build.build_tokenizer()
    config = build.build_model(tokenizer).config
    for part in (config.text_config, config.vision_config):
        part.num_hidden_layers = 1
    model = transformers.Idefics3ForConditionalGeneration(config)
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    build.build_processor(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2.5-VL's architecture at a thousandth of its size, random weights; see `tiny_models`."""
    pytest.importorskip("transformers")
    pytest.importorskip("torchvision", reason="Qwen-VL's processors need torchvision", exc_type=Exception)
    return make_tiny_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-only model of the same size; see `tiny_models`."""
    pytest.importorskip("transformers")
    return make_tiny_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def scene_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the embedded captioner: two engines that are compared read the same bytes, even while it is trained."""
    from recaption.demo import model_path

    if not (model_path() / "model.safetensors").is_file():
        pytest.skip("the embedded model is not built yet")
    return Path(shutil.copytree(model_path(), tmp_path_factory.mktemp("scene") / "model"))


@pytest.fixture(scope="session")
def request_for() -> MakeRequest:
    """`request_for(scene number, prompt, **sampling)`."""
    from recaption.demo.scenes import render, sample_scene

    def make(scene: int, prompt: str = "Describe this image in detail.", **sampling: Any) -> Request:
        buffer = io.BytesIO()
        render(sample_scene(scene), 144).save(buffer, "PNG")
        data = buffer.getvalue()
        return Request(
            image=data,
            sha256=hashlib.sha256(data).hexdigest(),
            prompt=prompt,
            sampling=Sampling(**{"max_tokens": 16, **sampling}),
        )

    return make
