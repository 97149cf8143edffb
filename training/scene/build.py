"""The scene captioner's parts before training: tokenizer, processor, configuration, fresh model.

The architecture is transformers' Idefics3 at 1/2000 of its size. 144 px in patches of 24 px make 6 x 6 patches, pixel
shuffle by 2 makes 3 x 3 image tokens: one for each cell of the scene's grid, so that describing becomes looking up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from recaption.demo.scenes import sample_scene
from training.scene.captions import (
    BACKGROUND_TEXT,
    COUNTS,
    NEGATIONS,
    ONLY,
    OPENERS,
    PLACES,
    RELATIONS,
    SHORT_BACKGROUND,
    VERBS,
    describe_long,
    describe_short,
)
from training.scene.pool import SIDE, TRAIN_SEEDS
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS

if TYPE_CHECKING:
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast

PATCH = 24
SHUFFLE = 2
IMAGE_TOKENS = (SIDE // PATCH // SHUFFLE) ** 2
MAX_LENGTH = 2048

PAD, START, END = "<|pad|>", "<|im_start|>", "<end_of_utterance>"
AROUND, IMAGE, GLOBAL = "<fake_token_around_image>", "<image>", "<global-img>"
SPECIAL = (PAD, START, END, AROUND, IMAGE, GLOBAL)

# Messages with a list of parts or with a plain string; the image goes where the parts have it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif 'image' in part['type'] %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<end_of_utterance>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# Set phrases are one token each: a long caption of 64 words and 8 full stops is 35 tokens on average, which halves what
# it costs to learn. Each word about the content of the picture is a token of its own.
PHRASES = (
    *(f"{place} {verb} a" for place, verb in zip(PLACES, VERBS, strict=True)),
    *OPENERS.values(),
    "The background is",
    *(f" {text}" for text in BACKGROUND_TEXT.values()),
    *(f" {text}" for text in SHORT_BACKGROUND.values()),
    *(f" {count}" for count in COUNTS),
    *(f" is {where} the" for where in RELATIONS),
    *NEGATIONS.values(),
    ONLY,
    ": its objects with their",
    " colours, sizes, materials, number and places,",
    " how they relate to each other, and the background.",
    "user\n",
    "assistant\n",
)
# The rest is cut as GPT-2 cuts it (github.com/openai/gpt-2, src/encoder.py).
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on captions and prompts: each of their words is one token, any other text is bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = ["user\n", "assistant\n", *LONG_PROMPTS, *SHORT_PROMPTS] * 50
    for seed in range(TRAIN_SEEDS, TRAIN_SEEDS + 4000):
        scene = sample_scene(seed)
        texts += [describe_long(scene), describe_short(scene)]
    raw = Tokenizer(models.BPE())
    phrases = "|".join(
        " ?" * (p[0] != " ") + re.escape(p) + r"(?!\w)" for p in sorted(set(PHRASES), key=lambda p: (-len(p), p))
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{phrases}|{WORDS}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=5,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[AROUND, IMAGE, GLOBAL],
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """Any image is resized to one square of `SIDE` px, never split."""
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    images = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, width: int = 192, layers: int = 4, heads: int = 6, inner: int = 512
) -> Idefics3ForConditionalGeneration:
    """A model with fresh weights and a text model of these sizes; seed torch first."""
    from transformers import GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration

    ids: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        scale_factor=SHUFFLE,
        tie_word_embeddings=False,
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": MAX_LENGTH,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            **ids,
        },
        **ids,
    )
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**ids, do_sample=False, max_new_tokens=192)
    return model


def prompt_text(user: str) -> str:
    """What `CHAT_TEMPLATE` and the processor make of an image and `user` before tokenising."""
    image = AROUND + GLOBAL + IMAGE * IMAGE_TOKENS + AROUND
    return f"{START}user\n{image}{user}{END}\n{START}assistant\n"
