"""Accepts a tokenizer as a name, or as an object of the tokenizers library, transformers or open_clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recaption.tokenizer import OPEN_CLIP, column_name, frame, load_tokenizer

_PADS: Final = ("[PAD]", "<pad>", "<|pad|>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Makes ids without start and end tokens, so that a long text can be cut between sentences."""

    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    name: str | None = None  # of its ids in a build, where it was given by name
    sha256: str | None = None


def encoder_of(given: Any) -> Encoder | None:
    """An encoder for a tokenizer. None for any other callable, which only has to return ids [n, L].

    A name is one of `recaption.tokenizer`: `clip`, `siglip`, a tokenizers JSON file, a hub id. Fast tokenizers of
    transformers run without Python; SimpleTokenizer of open_clip is called text by text, as open_clip does.
    Raises ConfigError for a name without a tokenizer.
    """
    if isinstance(given, str):
        made, digest = load_tokenizer(given, setting="tokenizer", extra="train")
        pad = (
            0 if given in ("clip", OPEN_CLIP) else None
        )  # open_clip/tokenizer.py pads with zeros, and tokenizer.json with the end
        return _of_library(made, pad, name=column_name(given), sha256=digest)
    if hasattr(given, "backend_tokenizer"):
        return _of_library(_copied(given.backend_tokenizer), given.pad_token_id)
    if hasattr(given, "encode_batch_fast"):
        return _of_library(_copied(given), None)
    if all(hasattr(given, name) for name in ("encode", "sot_token_id", "eot_token_id")):
        return Encoder(encode=_EachOf(given), start=(int(given.sot_token_id),), end=(int(given.eot_token_id),), pad=0)
    return None


def _copied(tokenizer: Any) -> Any:
    """Without truncation and padding, which belong to the one that was given."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer.to_str())
    made.no_truncation()
    made.no_padding()
    return made


def _of_library(tokenizer: Any, pad: int | None, **known: Any) -> Encoder:
    start, end = frame(tokenizer)
    if pad is None:
        ids = (tokenizer.token_to_id(token) for token in _PADS)
        pad = next((found for found in ids if found is not None), 0)
    return Encoder(encode=_Batch(tokenizer), start=start, end=end, pad=pad, **known)


class _Batch:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        made = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in made]


class _EachOf:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        return [self._tokenizer.encode(text) for text in texts]
