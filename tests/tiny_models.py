"""Models of a few megabytes with random weights, made without a network: real architectures for real engines."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

QWEN_PATCH = 28  # px: a square of 2 x 2 patches of 14 px is one image token
QWEN_SMALLEST = 4 * QWEN_PATCH**2  # px that smaller images are blown up to
QWEN_LARGEST = 64 * QWEN_PATCH**2  # px that larger images are scaled down to: 64 image tokens

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif 'image' in part['type'] %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen2.5-VL-7B-Instruct's chat_template.json has it, without its default system message and video."""

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def make_tiny_qwen(folder: Path) -> Path:
    """Save Qwen2.5-VL's architecture with two layers of each kind into `folder`. Its processor needs torchvision."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    logging.getLogger("transformers").setLevel(logging.ERROR)
    bytes_only = Tokenizer(models.BPE())
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytes_only.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=list(_SPECIAL)))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_SPECIAL[3:]),
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIAL}
    size = {"shortest_edge": QWEN_SMALLEST, "longest_edge": QWEN_LARGEST}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=QWEN_TEMPLATE,
    )
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 320,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.2,  # else every answer is the same
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "out_hidden_size": 128,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


TEXT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<>{% endif %}"
    "{% if enable_thinking is true %}<think>\n{% endif %}{% endif %}"
)
"""With enable_thinking=False, two characters follow: two tokens. With True, the opening tag of a thought follows."""


def make_tiny_text(folder: Path, *, hidden_size: int = 128, layers: int = 2, vocab_size: int = 320) -> Path:
    """Save a text-only model (Qwen2's architecture, two layers) into `folder`.

    Other sizes are for benchmarks. Its tokenizer is byte-level; yes and no have tokens of their own, with and without a
    space or a capital.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    logging.getLogger("transformers").setLevel(logging.ERROR)
    special = list(_SPECIAL[:3])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=special
    )
    tokenizer.train_from_iterator(["yes", "no", "Yes", "No", "a yes no Yes No"] * 9, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEXT_TEMPLATE
    )
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.2,  # else every answer is the same
        tie_word_embeddings=False,
        eos_token_id=fast.eos_token_id,
        bos_token_id=fast.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [fast.eos_token_id, fast.pad_token_id]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_tiny_dual_encoder(folder: Path, kind: str) -> Path:
    """Save a dual encoder with one layer of each kind into `folder`; `kind`: clip, siglip or siglip2 (NaFlex).

    Texts have up to 16 tokens: begin, bytes, end.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    begin, end, pad = "<|startoftext|>", "<|endoftext|>", "<pad>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=[begin, end, pad]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, 0), (end, 1)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad, model_max_length=16
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 300, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    text |= {"pad_token_id": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model = transformers.CLIPModel(config)
        images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        processor = transformers.CLIPProcessor(image_processor=images, tokenizer=fast)
    elif kind == "siglip2":
        vision = {**sizes, "num_patches": 16, "patch_size": 8}
        model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
        images = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
        processor = transformers.Siglip2Processor(image_processor=images, tokenizer=fast)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
        images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        processor = transformers.SiglipProcessor(image_processor=images, tokenizer=fast)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_tiny_detector(folder: Path, kind: str) -> Path:
    """Save an open-vocabulary detector into `folder`; `kind`: Owlv2, OwlViT, GroundingDino or MMGroundingDino.

    Its tokenizer has a token for each letter. Those of Grounding DINO separate phrases at the ids that the model knows
    (modeling_grounding_dino.py, SPECIAL_TOKENS).
    """
    import string

    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    logging.getLogger("transformers").setLevel(logging.ERROR)
    names = ["[PAD]", *(f"[unused{n}]" for n in range(1, 1040))]
    for at, token in {100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}.items():
        names[at] = token
    for at, letter in enumerate(string.ascii_lowercase, 200):
        names[at], names[at + 100] = letter, f"##{letter}"
    vocabulary = {token: at for at, token in enumerate(names)}
    letters = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=letters,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=16 if kind.startswith("Owl") else 512,
    )
    torch.manual_seed(0)
    if kind.startswith("Owl"):
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        text = {**sizes, "vocab_size": len(names), "max_position_embeddings": 16}
        text |= {"pad_token_id": 0, "bos_token_id": 101, "eos_token_id": 102}
        vision = {**sizes, "image_size": 64, "patch_size": 16}
        config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, projection_dim=32)
        model = getattr(transformers, f"{kind}ForObjectDetection")(config)
        for weights in model.box_head.parameters():
            weights.data *= 0.05  # else all boxes end at the edges
        images = getattr(transformers, f"{kind}ImageProcessor")(size={"height": 64, "width": 64})
        processor = getattr(transformers, f"{kind}Processor")(image_processor=images, tokenizer=tokenizer)
    else:
        backbone = transformers.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_indices=[2, 3, 4],
        )
        text = transformers.BertConfig(
            vocab_size=len(names), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
        )
        config = getattr(transformers, f"{kind}Config")(
            backbone_config=backbone,
            text_config=text,
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_queries=20,
            disable_custom_kernels=True,
        )
        model = getattr(transformers, f"{kind}ForObjectDetection")(config)
        images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 256})
        processor = transformers.GroundingDinoProcessor(image_processor=images, tokenizer=tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_tiny_grounding(folder: Path, kind: str) -> Path:
    """Save a grounding model with one layer of each kind into `folder`; `kind`: Florence2, Kosmos2 or PaliGemma.

    As published, they have no chat template. Their tokenizer is byte-level; those of the places are special tokens in
    Florence-2's only.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    names: dict[str, str] = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    letters = Tokenizer(models.BPE())
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    letters.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=list(names.values())))
    more: dict[str, Any] = {}
    if kind == "Florence2":
        letters.add_special_tokens(["<image>", *(f"<loc_{n}>" for n in range(1000))])
        more = {"extra_special_tokens": {"image_token": "<image>"}}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, **names, **more)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    seen = {**sizes, "image_size": 32, "patch_size": 8}
    images = transformers.CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = {"Florence2": 2, "PaliGemma": 16}.get(kind, 64)
    processor = getattr(transformers, f"{kind}Processor")(images, tokenizer)  # adds the tokens of the places
    text: dict[str, Any] = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": len(tokenizer)}
    text |= {"max_position_embeddings": 256}
    torch.manual_seed(0)
    if kind == "Florence2":
        text |= {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
        text |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 32, "init_std": 0.5}
        text |= {"model_type": "bart", "decoder_start_token_id": 2}
        seen = {"depths": [1] * 4, "embed_dim": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2], "num_groups": [1, 1, 2, 2]}
        more = {"image_token_id": tokenizer.image_token_id}
        seen |= {"window_size": 2, "projection_dim": 32}
    elif kind == "Kosmos2":
        text |= {"embed_dim": 32, "layers": 1, "ffn_dim": 64, "attention_heads": 2, "init_std": 0.5}
        more = {"latent_query_num": 64}
    else:
        text |= {**sizes, "model_type": "gemma", "num_key_value_heads": 1, "head_dim": 16, "initializer_range": 0.5}
        seen |= {"model_type": "siglip_vision_model", "projection_dim": 32}
        more = {"image_token_index": processor.image_token_id, "projection_dim": 32}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=seen, **more)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    if kind == "Florence2":
        model.generation_config.forced_bos_token_id = 0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_scene(folder: Path, layers: int | None = None) -> Path:
    """The scene captioner's architecture with random weights; `layers` of each kind instead of its own number."""
    import logging

    import torch
    import transformers

    from training.scene import build

    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    tokenizer = build.build_tokenizer()
    config = build.build_model(tokenizer).config
    for part in (config.text_config, config.vision_config):
        part.num_hidden_layers = layers or part.num_hidden_layers
    model = transformers.Idefics3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    build.build_processor(tokenizer).save_pretrained(folder)
    return folder
