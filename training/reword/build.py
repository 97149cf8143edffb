"""The text model before training: tokenizer and fresh model. It is transformers' Llama, very small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.reword.samples import pieces, texts
from training.scene.build import CHAT_TEMPLATE, MAX_LENGTH
from training.scene.pieces import tokenizer_of

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH, LAYERS, HEADS, INNER = 128, 3, 4, 384


def build_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tokenizer_of(pieces(), texts())
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model with fresh weights; seed torch first."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ids: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ids, do_sample=False, max_new_tokens=1024)
    return model
