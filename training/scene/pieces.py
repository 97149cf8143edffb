"""Tokenizers without merges: a text is cut into pieces that are one token each, and anything else into bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from training.scene.build import END, MAX_LENGTH, PAD, START, WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def tokenizer_of(phrases: Iterable[str], texts: Iterable[str], special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which each of `phrases`, and each word of `texts`, is one token.

    Phrases are found first, the longest first, and have ids in the given order. The rest is cut as GPT-2 cuts it, and a
    word that is not in `texts` is encoded as bytes. `special` are the special tokens beside those of the chat.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    phrases = [*dict.fromkeys(phrases)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelt = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found = "|".join(
        re.escape(p) + (r"(?!\w)" if p[-1].isalnum() else "") for p in sorted(phrases, key=lambda p: (-len(p), p))
    )
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(f"{found}|{WORDS}"), "isolated"), spelt])
    words = {piece for text in texts for piece, _ in cut.pre_tokenize_str(text)}
    vocabulary: dict[str, int] = {}
    for token in (
        PAD,
        START,
        END,
        *special,
        *alphabet,
        *(spelt.pre_tokenize_str(p)[0][0] for p in phrases),
        *sorted(words),
    ):
        vocabulary.setdefault(token, len(vocabulary))
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    raw.pre_tokenizer = cut
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([PAD, START, END, *special])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(special),
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
