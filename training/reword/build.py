"""The text model before training: the scene captioner without its vision encoder, and a tokenizer for text and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.reword.samples import pieces, texts
from training.scene.build import CHAT_TEMPLATE
from training.scene.pieces import tokenizer_of

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def build_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tokenizer_of(pieces(), texts())
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load(start: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The model to train, float32, and its tokenizer: new ones from a captioner, or those of an earlier text model."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    if AutoConfig.from_pretrained(start).model_type == "llama":
        return LlamaForCausalLM.from_pretrained(start, dtype=torch.float32), AutoTokenizer.from_pretrained(start)
    tokenizer = build_tokenizer()
    return build_model(tokenizer, start), tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast, start: Path) -> LlamaForCausalLM:
    """The text model of the captioner of `start` in float32, with the tokens of `tokenizer`.

    A token's vectors are the means of those of the captioner's tokens for the same text.
    """
    import torch
    from transformers import (
        AutoTokenizer,
        GenerationConfig,
        Idefics3ForConditionalGeneration,
        LlamaConfig,
        LlamaForCausalLM,
    )

    ids: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    old_tokenizer: Any = AutoTokenizer.from_pretrained(start)
    captioner = Idefics3ForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    known = captioner.config.text_config.to_dict()
    config = LlamaConfig(**{**known, **ids, "vocab_size": len(tokenizer), "architectures": None})
    model = LlamaForCausalLM(config)
    layers = captioner.model.text_model.state_dict()
    model.model.load_state_dict({k: v for k, v in layers.items() if k != "embed_tokens.weight"}, strict=False)
    told = [tokenizer.decode([k]) for k in range(len(tokenizer))]
    parts = [old_tokenizer(text, add_special_tokens=False)["input_ids"] or [0] for text in told]
    with torch.no_grad():
        for new, old in (
            (model.model.embed_tokens, captioner.model.text_model.embed_tokens),
            (model.lm_head, captioner.lm_head),
        ):
            new.weight.copy_(torch.stack([old.weight[some].mean(0) for some in parts]))
    model.generation_config = GenerationConfig(**ids, do_sample=False, max_new_tokens=768)
    return model
