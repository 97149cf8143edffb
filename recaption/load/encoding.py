"""Token ids of texts: made by the user's tokenizer, or composed from the ids that are stored with a build."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Final

from recaption.errors import DatasetError, UserError
from recaption.io.files import is_url
from recaption.load.files import Files, join
from recaption.load.layout import Layout
from recaption.load.lru_cache import LruCache
from recaption.load.policy.base import WHOLE, DrawnText, Sentence, joined, joined_without_stop
from recaption.output.paths import tokens_file
from recaption.tokenids import LOSES_STOP, TAKES_STOP, Piece, SampleIds, TokenIds, TokenizerFacts
from recaption.tokenizer import OPEN_CLIP, column_name, frame, load_tokenizer
from recaption.types import Record

_PADS: Final = ("[PAD]", "<pad>", "<|pad|>")
_OPEN = 256  # files that are mapped, or were read whole from a URL


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Makes ids without start and end tokens, so that long texts can be cut between sentences."""

    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    name: str | None = None  # of its ids in a build, if the tokenizer was given by name
    sha256: str | None = None


def encoder_for(given: Any) -> Encoder | None:
    """The encoder for a tokenizer; None for any other callable, which makes ids [n, L] itself.

    Names are those of `recaption.tokenizer`: `clip`, `siglip`, a tokenizers JSON file, a hub id. Fast tokenizers of
    transformers run without Python; SimpleTokenizer of open_clip is called text by text, as open_clip does.
    Raises ConfigError for an unknown name.
    """
    if isinstance(given, str):
        made, digest = load_tokenizer(given, setting="tokenizer", extra="train")
        pad = 0 if given in ("clip", OPEN_CLIP) else None  # as open_clip/tokenizer.py; tokenizer.json pads with the end
        return _from_library(made, pad, name=column_name(given), sha256=digest)
    if hasattr(given, "backend_tokenizer"):
        return _from_library(_copied(given.backend_tokenizer), given.pad_token_id)
    if hasattr(given, "encode_batch_fast"):
        return _from_library(_copied(given), None)
    if all(hasattr(given, name) for name in ("encode", "sot_token_id", "eot_token_id")):
        start, end = int(given.sot_token_id), int(given.eot_token_id)
        return Encoder(encode=partial(_text_by_text, given), start=(start,), end=(end,), pad=0)
    return None


def _copied(tokenizer: Any) -> Any:
    """A copy without truncation and padding; the given tokenizer is not changed."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer.to_str())
    made.no_truncation()
    made.no_padding()
    return made


def _from_library(tokenizer: Any, pad: int | None, **known: Any) -> Encoder:
    start, end = frame(tokenizer)
    if pad is None:
        ids = (tokenizer.token_to_id(token) for token in _PADS)
        pad = next((found for found in ids if found is not None), 0)
    return Encoder(encode=partial(_batch, tokenizer), start=start, end=end, pad=pad, **known)


def _batch(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [made.ids for made in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _text_by_text(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [tokenizer.encode(text) for text in texts]


class StoredIds:
    """The stored ids of one tokenizer. Local files are mapped; remote ones are read whole, through a cache if given."""

    def __init__(self, layout: Layout, files: Files, name: str) -> None:
        listed = {str(one["name"]): one for one in layout.manifest.get("token_ids", ())}
        if name not in listed:
            known = f"it has those of {', '.join(listed)}" if listed else "it has none"
            raise UserError(
                f"there are no token ids {name!r} in this build; {known}. Name the tokenizer in output.token_ids and "
                "build again (no GPU is needed), or leave token_ids out"
            )
        try:
            self.facts = TokenizerFacts.from_json(listed[name])
        except (KeyError, TypeError) as error:
            raise DatasetError(f"token_ids of the manifest does not describe {name!r}: {error!r}") from error
        self._files, self._kept = files, LruCache(_OPEN)
        self._paths = [
            (join(layout.root, tokens_file(file.path.removeprefix(f"{layout.root}/"), name)), file.shard)
            for file in layout.files
        ]

    def of(self, file: int, row: int) -> SampleIds:
        """The ids of a sample. Raises DatasetError if the file is missing or broken, or has no such row."""
        tokens: TokenIds = self._kept.get(file, lambda: self._open(file))
        try:
            return tokens.of(row)
        except IndexError as error:
            raise DatasetError(f"there are no token ids of {error}", shard=self._paths[file][1]) from error

    def _open(self, file: int) -> TokenIds:
        path, shard = self._paths[file]
        try:
            if is_url(path) and self._files.cache is None:
                return TokenIds(self._files.read(path), path)
            return TokenIds.open(self._files.local(path))
        except OSError as error:
            raise DatasetError(f"{path}, stored token ids, cannot be read: {error}", shard=shard) from error


def text_offsets(record: Record) -> list[int]:
    """The number of each caption's first text among those with ids (recaption.tokenids.texts_of), then the count
    of all."""
    return [0, *accumulate(len(caption.sub_captions) or 1 for caption in record.captions)]


def compose(record: Record, drawn: DrawnText, first: Sequence[int]) -> list[Piece] | None:
    """A text as stored texts joined by one space. `first` is `text_offsets(record)`; a whole caption is all of its
    sub-captions.

    None for a text that is not made of its parts in this way, which must be tokenised. The text itself is compared, so
    that a policy that changes its sentences never gets the ids of another text.
    """
    captions, text = record.captions, drawn.text
    parts: Sequence[tuple[int, int]] = drawn.parts
    if len(parts) == 1 and parts[0][1] == WHOLE:
        n = parts[0][0]
        parts = [(n, idx) for idx in range(len(captions[n].sub_captions))] or parts
    made: list[Piece] = []
    at = 0
    for n, idx in parts:
        subs = captions[n].sub_captions
        if 0 <= idx < len(subs):
            number, part = first[n] + idx, subs[idx].text
        elif idx == WHOLE and not subs:
            number, part = first[n], captions[n].text
        else:
            return None
        if made:
            if not text.startswith(" ", at):
                return None
            at += 1
        change = 0
        if text.startswith(part, at):
            at += len(part)
            if text.startswith(".", at):
                change = TAKES_STOP
                at += 1
        elif part[-1:] == "." and text.startswith(part[:-1], at):
            change = LOSES_STOP
            at += len(part) - 1
        else:
            return None
        made.append((number, change))
    return made if made and at == len(text) else None


def shortened(record: Record, drawn: DrawnText) -> Iterator[DrawnText]:
    """The text without its last sentence, without its last two, and so on down to the first. Nothing for a single
    sentence, or if the policy joined the sentences in an unknown way."""
    parts = drawn.parts
    if len(parts) == 1 and parts[0][1] == WHOLE:
        caption = record.captions[parts[0][0]]
        if caption.text == drawn.text:
            for sub in reversed(caption.sub_captions[:-1]):
                yield DrawnText(text=caption.text[: sub.char_end], parts=parts, weight=drawn.weight)
        return
    chosen: list[Sentence] = []
    for n, idx in parts:
        if idx == WHOLE or idx >= len(record.captions[n].sub_captions):
            return
        chosen.append((n, record.captions[n].sub_captions[idx]))
    for join_sentences in (joined, joined_without_stop):
        if len(chosen) > 1 and join_sentences(chosen).text == drawn.text:
            for size in range(len(chosen) - 1, 0, -1):
                yield join_sentences(chosen[:size])
            return
