"""Token ids of a data shard, `tokens/<name>/<shard>.bin`; `recaption.tokenids` has the layout and the reader.

Ids compose if the ids of "A. B." are those of "A." followed by those of "B.". A tokenizer first cuts a text into
pieces, and its model sees one piece at a time. So ids compose exactly if a space always ends a piece and is not part of
the next one. CLIP's pieces are matches of `'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`
(open_clip, src/open_clip/tokenizer.py): none contains white space, none depends on its neighbours, and NFC and
lower-casing do not cross a space. GPT-2's pieces begin with the space before them, and SentencePiece models that do not
split first may merge across it: their ids do not compose.
A full stop is a separate piece after a letter or digit, but joins other marks (`!.`). So each text has a mark:
whether adding a full stop, or removing the one that it has, changes the ids by exactly that piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recaption.errors import ConfigError
from recaption.guard import Failed, attempt
from recaption.io.outfile import Sink, outfile
from recaption.io.store import Store
from recaption.tokenids import LOSES_STOP, TAKES_STOP, UNKNOWN, TokenizerFacts, pack, texts_of
from recaption.tokenizer import column_name, frame, load_tokenizer
from recaption.types import CaptionFailure, Record

_BATCH = 1024
# Words of every kind: letters with and without case, digits, punctuation, contractions, characters that NFC composes,
# characters whose lower case is longer or depends on the context, and special tokens.
_PROBES = (
    "a", "A dog", "dogs'", "it's", "'s", "'ll go", "x2", "2", "3.5", "10,000", "The end.", "Really?!", "!", "...",
    '"no"', "(left", "right)", "-", "- item", "#1", "@", "$5", "50%", "& co", "a/b", "a_b", "_", "e\u0301", "\u0301",
    "\u00df", "\u0130", "\u03a3\u039f\u03a3", "\u03a3", "\u732b", "\u3002", "\u0e41\u0e21\u0e27",
    "\u1112\u1161\u11ab", "\u11ab", "\U0001f431", "\u200d", "\ufe0f", "\u0120", "##ing",
    "<s>", "</s>", "<|endoftext|>", "[SEP]", "<unk>",
)  # fmt: skip


class Encoder:
    """A tokenizer that returns ids without start and end tokens. Raises ConfigError if it is not available."""

    def __init__(self, name: str) -> None:
        self._tokenizer, digest = load_tokenizer(name, setting="output.token_ids", extra="run")
        start, end = frame(self._tokenizer)
        self.facts = TokenizerFacts(
            name=column_name(name),
            sha256=digest,
            vocabulary=max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1,
            start=start,
            end=end,
            stop=tuple(self._tokenizer.encode(".", add_special_tokens=False).ids),
            composable=False,
        )
        self.facts = replace(self.facts, composable=self._composes())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        out: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            batch = self._tokenizer.encode_batch_fast(texts[start : start + _BATCH], add_special_tokens=False)
            out += [encoding.ids for encoding in batch]
        return out

    def encode_each(self, texts: Sequence[str]) -> list[list[int] | Failed]:
        """The ids of each text, or the tokenizer's error. A failure on one text does not affect the others."""
        out: list[list[int] | Failed] = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            made = attempt(self.encode, batch)
            if isinstance(made, Failed):
                alone = [attempt(self.encode, [text]) for text in batch]
                out += [ids if isinstance(ids, Failed) else ids[0] for ids in alone]
            else:
                out += made
        return out

    def _composes(self) -> bool:
        """Whether a space separates the pieces of any two probes. Equal ids are not enough, because a model that merges
        across spaces does so only for some words."""
        if not getattr(self._tokenizer, "composes", True):
            return False
        if any(" " in token.content for token in self._tokenizer.get_added_tokens_decoder().values()):
            return False
        alone = {probe: self._pieces(probe) for probe in _PROBES}
        pairs = [(a, b) for a in _PROBES for b in _PROBES]
        if any(self._pieces(f"{a} {b}") != alone[a] + alone[b] for a, b in pairs):
            return False
        ids = dict(zip(_PROBES, self.encode(_PROBES), strict=True))
        joined = self.encode([f"{a} {b}" for a, b in pairs])
        return all(one == ids[a] + ids[b] for one, (a, b) in zip(joined, pairs, strict=True))

    def _pieces(self, text: str) -> list[str]:
        """The pieces that the model receives."""
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        if self._tokenizer.pre_tokenizer is None:
            return [text]
        return [piece for piece, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def encoders(names: Sequence[str]) -> tuple[Encoder, ...]:
    """The encoders of `output.token_ids`. Raises ConfigError if one is not available, or if two would share a file."""
    columns = [column_name(name) for name in names]
    if len(set(columns)) < len(columns):
        raise ConfigError(
            f"output.token_ids: {', '.join(names)} would be written to files named {', '.join(columns)}, "
            "which must differ; rename the file or folder of a tokenizer"
        )
    return tuple(Encoder(name) for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """A written file of token ids.

    `composable`: whether the ids of joined texts are those of the parts. `failures` has one entry per caption with a
    text on which the tokenizer failed.
    """

    sink: Sink  # closed
    composable: bool
    failures: tuple[CaptionFailure, ...] = ()


def write_tokens(store: Store, path: str, records: Sequence[Record], encoder: Encoder) -> Tokens:
    """Write the ids of the samples of one data file, in its order.

    `composable` follows from the tokenizer, and is checked on the words where two texts of a sample meet. A text on
    which the tokenizer fails gets no ids, and the mark UNKNOWN.
    """
    samples = [texts_of(record) for record in records]
    distinct = list(dict.fromkeys(text for texts in samples for text in texts))
    made = dict(zip(distinct, encoder.encode_each(distinct), strict=True))
    failed = {text: why for text, why in made.items() if isinstance(why, Failed)}
    ids = {text: of_text for text, of_text in made.items() if not isinstance(of_text, Failed)}
    known = [[text for text in texts if text in ids] for texts in samples]
    composable = encoder.facts.composable and _compose(known, encoder)
    facts = replace(encoder.facts, composable=composable)
    stored = {text: np.array(of_text, facts.dtype).tobytes() for text, of_text in ids.items()}
    stored |= dict.fromkeys(failed, b"")
    marked = _marks(ids, composable, encoder) | dict.fromkeys(failed, UNKNOWN)
    texts = [text for of_sample in samples for text in of_sample]
    marks = bytes(marked[text] for text in texts)
    with outfile(store, path) as sink:
        for piece in pack(facts, [len(of_sample) for of_sample in samples], [stored[text] for text in texts], marks):
            sink.write(piece)
    return Tokens(sink=sink, composable=composable, failures=_failures(records, failed, encoder) if failed else ())


def _failures(records: Iterable[Record], failed: Mapping[str, Failed], encoder: Encoder) -> tuple[CaptionFailure, ...]:
    """One failure per caption with such a text, with the error of its first one."""
    found: list[CaptionFailure] = []
    for caption in (caption for record in records for caption in record.captions):
        texts = [sub.text for sub in caption.sub_captions] or [caption.text]
        if (text := next((text for text in texts if text in failed), None)) is not None:
            name, error = encoder.facts.name, failed[text].error
            found.append(CaptionFailure(caption_id=caption.caption_id, tokenizer=name, error=error))
    return tuple(found)


def _compose(samples: Sequence[Sequence[str]], encoder: Encoder) -> bool:
    """Whether the ids of joined texts are those of the texts, for each text of a sample and the next one; the first
    text follows the last.

    Only the words next to a space matter, and few pairs of them are distinct, so this is cheaper than tokenising the
    joined texts.
    """
    pairs = {
        (left.rpartition(" ")[2], right.partition(" ")[0])
        for texts in samples
        for left, right in zip(texts, [*texts[1:], *texts[:1]], strict=True)
    }
    words = list({word for pair in pairs for word in pair})
    ids = dict(zip(words, encoder.encode_each(words), strict=True))
    edges = list(pairs)
    joined = encoder.encode_each([f"{left} {right}" for left, right in edges])
    return all(
        not isinstance(a := ids[left], Failed) and not isinstance(b := ids[right], Failed) and made == a + b
        for made, (left, right) in zip(joined, edges, strict=True)
    )


def _marks(texts: Iterable[str], composable: bool, encoder: Encoder) -> dict[str, int]:
    """The mark of each text: whether adding a full stop, or removing its final one, changes the ids by exactly that.

    If ids compose, only the last word matters, and few last words are distinct. If the tokenizer fails, the mark is 0.
    """
    ends = {text: text.rpartition(" ")[2] if composable else text for text in texts}
    distinct = list(dict.fromkeys(ends.values()))
    others = [end[:-1] if end.endswith(".") else f"{end}." for end in distinct]
    stop, marked = list(encoder.facts.stop), {}
    for end, ids, other in zip(distinct, encoder.encode_each(distinct), encoder.encode_each(others), strict=True):
        if isinstance(ids, Failed) or isinstance(other, Failed):
            marked[end] = 0
            continue
        closed = end.endswith(".")
        longer, shorter = (ids, other) if closed else (other, ids)
        marked[end] = (LOSES_STOP if closed else TAKES_STOP) if longer == shorter + stop else 0
    return {text: marked[end] for text, end in ends.items()}
