"""Small tokenizers and CLIP's own, as the JSON files that pipelines name; made without network."""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from recaption.tokenizer import end_as_clip, load_tokenizer, split_as_clip

TEXTS = [
    "A red dog runs by. It barks twice!",
    "Two kites fly above pale dunes",
    "no people are visible",
    "the dog's 12 toys",
    " ".join(string.printable),
]


def clip_like(folder: Path, *, vocabulary: int = 700) -> Path:
    """A tiny BPE, trained here, that normalises and splits as CLIP's does."""
    tokenizer = split_as_clip(Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>")))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _saved(end_as_clip(tokenizer), folder / "clip_like.json")


def gpt2_like(folder: Path) -> Path:
    """A byte-level BPE whose words begin with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _saved(tokenizer, folder / "gpt2_like.json")


def words(folder: Path, *, vocabulary: int = 300) -> Path:
    """A word-level tokenizer of `vocabulary` words, w0, w1, …"""
    known = {"[UNK]": 0, **{f"w{n}": n for n in range(1, vocabulary)}}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _saved(tokenizer, folder / "words.json")


def merging(folder: Path, *, split: bool) -> Path:
    """A SentencePiece-like model that knows "a dog" as one piece; with `split` it never sees two words at once."""
    pieces = [("<unk>", -9.0), ("\u2581", -5.0), ("\u2581a", -2.0), ("\u2581dog", -2.0), ("\u2581a\u2581dog", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=split)
    return _saved(tokenizer, folder / f"merging_{split}.json".lower())


def clip(folder: Path) -> Path:
    """CLIP's own tokenizer, of the merges that open_clip ships."""
    made, _ = load_tokenizer("clip", setting="tokenizer", extra="train")
    return _saved(made, folder / "clip.json")


def _saved(tokenizer: Tokenizer, path: Path) -> Path:
    tokenizer.save(str(path))
    return path
