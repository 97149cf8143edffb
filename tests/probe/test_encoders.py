"""Encoders of transformers and open_clip out of a folder, with random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import make_tiny_dual_encoder, make_tiny_text

from recaption.errors import MissingExtra, UserError
from recaption.probe.encoders import image_encoder, text_encoder

IMAGES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dual_encoder(tmp_path_factory.mktemp("clip"), "clip")


@pytest.fixture(scope="module")
def open_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As open_clip's push_to_hf_hub writes it."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return folder


def check(name: str) -> None:
    """Images and texts have embeddings of one space; texts of a batch do not depend on each other."""
    with torch.inference_mode():
        images, texts = image_encoder(name)(IMAGES), text_encoder(name)(["a red kite", "cat"])
        alone = text_encoder(name)(["cat"])
    assert images.shape == texts.shape == (2, 24) and images.dtype == texts.dtype == torch.float32
    assert not torch.allclose(images[0], images[1]) and not torch.allclose(texts[0], texts[1])
    assert torch.allclose(texts[1], alone[0], atol=1e-5)


def test_transformers_from_a_folder(clip: Path) -> None:
    check(f"transformers:{clip}")


def test_open_clip_from_a_folder(open_clip_folder: Path) -> None:
    check(f"open_clip:{open_clip_folder}")


def test_a_text_model_gives_the_mean_over_tokens(tmp_path: Path) -> None:
    encode = text_encoder(f"transformers:{make_tiny_text(tmp_path, layers=1)}")
    with torch.inference_mode():
        both, alone = encode(["a", "a longer text"]), encode(["a"])
    assert both.shape == (2, 128) and torch.allclose(both[0], alone[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best", r"--text best: it can be trained, transformers:MODEL \(a folder or a hub id\) or open_clip:MODEL:TAG"),
        ("transformers:", "--text transformers:: it can be trained"),
        ("open_clip:ViT-B-32", "open_clip needs the tag of pretrained weights, open_clip:MODEL:TAG such as"),
        ("open_clip:no-such-model:tag", "--text open_clip:no-such-model:tag cannot be loaded"),
    ],
)
def test_other_encoders_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        text_encoder(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for library in ("transformers", "open_clip"):
        with pytest.raises(UserError, match=f"--encoder {library}:{tmp_path} cannot be loaded"):
            image_encoder(f"{library}:{tmp_path}")


def test_without_open_clip_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"pip install 'recaption\[probe\]'"):
        image_encoder("open_clip:ViT-B-32:openai")
