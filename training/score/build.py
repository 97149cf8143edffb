"""The dual encoder for scenes before training: transformers' SigLIP, its vision encoder that of the scene captioner."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from training.scene.pool import SIDE
from training.verify.build import extend_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, SiglipModel, SiglipProcessor

TEXT_LENGTH = 64  # tokens; the longest caption has about 50


def build_tokenizer(captioner: Path) -> PreTrainedTokenizerFast:
    """The verifier's tokenizer; each text gets a space in front, so that its first word is the usual token."""
    from transformers import PreTrainedTokenizerFast

    raw = extend_tokenizer(json.loads((captioner / "tokenizer.json").read_text("utf-8")))
    raw["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Strip", "strip_left": True, "strip_right": True},
            {"type": "Prepend", "prepend": " "},
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(raw), encoding="utf-8")
        return PreTrainedTokenizerFast(
            tokenizer_file=str(path),
            pad_token="<|pad|>",
            eos_token="<end_of_utterance>",
            model_max_length=TEXT_LENGTH,
            padding_side="right",
            clean_up_tokenization_spaces=False,
        )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> SiglipProcessor:
    """Images are resized to a square of `SIDE` px."""
    from transformers import SiglipImageProcessor, SiglipProcessor

    images = SiglipImageProcessor(
        size={"height": SIDE, "width": SIDE}, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return SiglipProcessor(images, tokenizer)


def build_model(captioner: Path, tokenizer: PreTrainedTokenizerFast) -> SiglipModel:
    """A model with the vision encoder of `captioner` and fresh weights otherwise, float32; seed torch first."""
    import torch
    from transformers import Idefics3ForConditionalGeneration, SiglipConfig, SiglipModel

    source = Idefics3ForConditionalGeneration.from_pretrained(captioner, dtype=torch.float32).model.vision_model
    config = SiglipConfig(
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": source.config.patch_size,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": TEXT_LENGTH,
            "projection_size": 128,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
    )
    model = SiglipModel(config)
    found = model.vision_model.load_state_dict(source.state_dict(), strict=False)
    if found.unexpected_keys or any(not name.startswith("head.") for name in found.missing_keys):
        raise ValueError(f"{captioner} has another vision encoder: {found}")
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-6.0)
    return model
