"""The texts of a batch as token ids, with integers for the origin of each text."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch.utils.data import get_worker_info

from recaption.errors import DatasetError, UserError
from recaption.load.compose import compose, numbered, shorter
from recaption.load.encode import Encoder, encoder_of
from recaption.load.files import Files
from recaption.load.layout import Layout
from recaption.load.policy import Drawn
from recaption.load.shards import Sample
from recaption.load.stored import StoredIds
from recaption.tokenids import SampleIds, TokenizerFacts, texts_of
from recaption.types import Record

Overflow = Literal["drop_tail_sentences", "truncate", "error"]
Role = Literal["long", "short"]
Length = int | Mapping[Role, int]
Tokenize = Callable[[list[str]], Any]
"""Texts -> ids [n, L], as open_clip's and transformers' (with `padding` and `return_tensors` bound) give them."""

DEFAULT_LENGTH: Final = 77  # of CLIP's text encoder
_SHORT: Final = frozenset({"raw", "short"})
_COMPARED: Final = 64  # texts that are tokenised to see whether stored ids are this tokenizer's

Ids = Sequence[int]
Made = tuple[dict[str, Any], list[list[Drawn]]]


class TextIds:
    """Texts -> int64 [B, K, L], L the greatest length: start token, ids, end token, padding.

    Stored ids are used where they make exactly the text that was drawn, else the text is tokenised. What is longer than
    its role allows loses sentences at its end, or is cut in front of the end token (`drop_tail_sentences` does that to
    a sentence that alone is too long). A text is `short` where all its captions are raw or short ones, else `long`.
    """

    def __init__(
        self, encoder: Encoder, *, length: Length, overflow: Overflow, mask: bool, stored: TokenizerFacts | None
    ) -> None:
        self._encoder, self._overflow, self._mask, self._stored = encoder, overflow, mask, stored
        frame = len(encoder.start) + len(encoder.end)
        lengths = {role: length if isinstance(length, int) else length.get(role, 0) for role in get_args(Role)}
        if wrong := [f"{role}: {given}" for role, given in lengths.items() if given <= frame]:
            raise UserError(
                f"length has {', '.join(wrong)}; give a number, or one for each of {', '.join(get_args(Role))}, above "
                f"the {frame} tokens that this tokenizer puts around a text"
            )
        self.length = max(lengths.values())
        self._rooms = {role: given - frame for role, given in lengths.items()}
        self._least, self._frame = min(self._rooms.values()), frame
        self._start, self._end = array("q", encoder.start), array("q", encoder.end)
        self._pads = array("q", [encoder.pad]) * self.length
        self._agreed = stored is None or stored.sha256 == encoder.sha256
        if stored is not None and (stored.start, stored.end) != (encoder.start, encoder.end):
            raise UserError(
                f"the stored token ids {stored.name!r} are framed by {stored.start} and "
                f"{stored.end}, the tokenizer's by {encoder.start} and {encoder.end}: it is another one"
            )

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Sequence[Drawn]]) -> Made:
        """`texts`, `cut` float32 [B, K] (the share of a text's tokens that was cut) and with `mask` `text_mask` bool
        [B, K, L] (False at padding); and the texts as they are after that.

        Raises UserError for other numbers of texts and, with overflow "error", for one that is too long.
        """
        k = _same_number(drawn)
        ids = iter(self._ids(samples, drawn))
        kept = [list(of) for of in drawn]
        cut: list[float] = []
        ends: list[int] = []
        made = array("q")
        for sample, of in zip(samples, kept, strict=True):
            for n, (one, found) in enumerate(zip(of, islice(ids, k), strict=True)):
                fits, share = found, 0.0
                if len(found) > self._least and len(found) > (room := self._rooms[_role(sample.record, one)]):
                    of[n], fits = self._fitted(sample, one, found, room)
                    share = 1 - len(fits) / len(found)
                end = self._frame + len(fits)
                made += self._start
                made.extend(fits)
                made += self._end
                made += self._pads[end:]
                ends.append(end)
                cut.append(share)
        shape = len(samples), k
        out = {
            "texts": torch.frombuffer(made, dtype=torch.int64).view(*shape, self.length),
            "cut": torch.from_numpy(np.array(cut, np.float32)).view(*shape),
        }
        if self._mask:
            real = np.arange(self.length) < np.array(ends)[:, None]
            out["text_mask"] = torch.from_numpy(real).view(*shape, self.length)
        return out, kept

    def _ids(self, samples: Sequence[Sample], drawn: Sequence[Sequence[Drawn]]) -> list[Ids]:
        """The ids of every text, uncut, without start and end tokens."""
        found: list[Ids | None] = []
        for sample, of in zip(samples, drawn, strict=True):
            if sample.ids is not None:
                _check_number(sample.record, sample.ids)
                self._agreed = self._agreed or self._compared(sample.record, sample.ids)
            found += _composed(sample, of)
        texts = [one.text for of in drawn for one in of]
        live = [n for n, ids in enumerate(found) if ids is None]
        for n, ids in zip(live, self._encode([texts[n] for n in live]), strict=True):
            found[n] = ids
        return [ids for ids in found if ids is not None]

    def _fitted(self, sample: Sample, drawn: Drawn, ids: Ids, room: int) -> tuple[Drawn, Ids]:
        if self._overflow == "error":
            raise UserError(
                f"a text of {sample.record.key} (shard {sample.record.shard}) has {len(ids)} tokens, and there is room "
                f"for {room}: {drawn.text[:80]!r}. Give a greater length, or another overflow"
            )
        if self._overflow == "drop_tail_sentences":
            for less in shorter(sample.record, drawn):
                made = _composed(sample, [less])[0]
                drawn, ids = less, self._encode([less.text])[0] if made is None else made
                if len(ids) <= room:
                    return drawn, ids
        return drawn, ids[:room]

    def _encode(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if not texts:
            return ()
        if get_worker_info() is not None:  # a thread for each core in each worker are too many
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return self._encoder.encode(texts)

    def _compared(self, record: Record, found: SampleIds) -> bool:
        """Whether the tokenizer makes the ids of most of a record's texts; False if it has too few to tell.

        Of most: open_clip's straightens quotes and resolves HTML first, which tokenizer.json does not.
        """
        assert self._stored is not None
        joined = [(text, found.joined([(n, 0)])) for n, text in enumerate(texts_of(record)[:_COMPARED])]
        known = [(text, stored.tolist()) for text, stored in joined if stored is not None]
        texts = [text for text, _ in known]
        made = self._encode(texts)
        other = [text for (text, stored), ids in zip(known, made, strict=True) if list(ids) != stored]
        if 2 * len(other) > len(texts):
            raise UserError(
                f"the stored token ids {self._stored.name!r} are not those of the tokenizer that was given: it "
                f"makes others of {other[0][:80]!r}. Give the tokenizer that they were made with, or token_ids=False"
            )
        return len(texts) > 4


class TextIdsOf:
    """Token ids from a callable that returns ids [n, L] and determines length and padding itself."""

    def __init__(self, tokenizer: Tokenize) -> None:
        self._tokenizer = tokenizer

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Sequence[Drawn]]) -> Made:
        """`texts` int64 [B, K, L]. Raises UserError if samples have different numbers of texts, or ids are not
        [texts, L]."""
        k = _same_number(drawn)
        made = self._tokenizer([one.text for of in drawn for one in of])
        ids = torch.as_tensor(made["input_ids"] if isinstance(made, Mapping) else made)
        if ids.ndim != 2 or len(ids) != len(drawn) * k:
            raise UserError(
                f"the tokenizer gave {list(ids.shape)} for {len(drawn) * k} texts; it has to give [texts, length]"
            )
        return {"texts": ids.to(torch.int64).view(len(drawn), k, ids.shape[1])}, [list(of) for of in drawn]


class Strings:
    """Without a tokenizer: B lists of K strings."""

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Sequence[Drawn]]) -> Made:
        return {"texts": [[one.text for one in of] for of in drawn]}, [list(of) for of in drawn]


Maker = Callable[[Sequence[Sample], Sequence[Sequence[Drawn]]], Made]


def maker(
    tokenizer: Any,
    layout: Layout,
    files: Files,
    *,
    length: Length | None,
    overflow: Overflow,
    token_ids: bool | str,
    mask: bool,
) -> tuple[Maker, StoredIds | None]:
    """The function that makes the texts of a batch, and the stored ids that it needs. Arguments: see CaptionDataset."""
    if overflow not in get_args(Overflow):
        raise UserError(f"overflow is {overflow!r}; it can be {' or '.join(get_args(Overflow))}")
    encoder = None if tokenizer is None else encoder_of(tokenizer)
    if encoder is None:
        if length is not None or mask or isinstance(token_ids, str):
            raise UserError(
                'length, text_mask and token_ids need a tokenizer that is known here: a name such as "clip", or one '
                "of transformers, the tokenizers library or open_clip. Of a function only the ids are known"
            )
        return (Strings() if tokenizer is None else TextIdsOf(tokenizer)), None
    stored = None
    listed = {one["name"] for one in layout.manifest.get("token_ids", ())}
    if name := token_ids if isinstance(token_ids, str) else encoder.name if token_ids else None:
        stored = StoredIds(layout, files, name) if isinstance(token_ids, str) or name in listed else None
    made = TextIds(
        encoder,
        length=DEFAULT_LENGTH if length is None else length,
        overflow=overflow,
        mask=mask,
        stored=stored.facts if stored else None,
    )
    return made, stored


def provenance(
    records: Sequence[Record], drawn: Sequence[Sequence[Drawn]], generations: Sequence[str]
) -> dict[str, Any]:
    """[B, K] each. If a sample has fewer texts than others, the rest is -1, with weight 0.

    `caption`: position in `record.captions`, -1 of several. `idx`: of the first sub-caption in the text, -1 the whole
    caption. `generation`: position in `generations`, -1 of several. `weight`: float32.
    """
    import torch

    numbers = {name: n for n, name in enumerate(generations)}
    most = max(map(len, drawn))
    caption, idx, generation, weight = [], [], [], []
    for record, ones in zip(records, drawn, strict=True):
        none = [-1] * (most - len(ones))
        of = [one.caption for one in ones]
        named = [numbers.get(one.generation, -1) for one in record.captions]
        caption.append(of + none)
        idx.append([one.parts[0][1] if one.parts else -1 for one in ones] + none)
        generation.append([named[at] if at >= 0 else -1 for at in of] + none)
        weight.append([one.weight for one in ones] + [0.0] * len(none))
    made = {"caption": caption, "idx": idx, "generation": generation}
    return {
        **{name: torch.from_numpy(np.array(rows, np.int64)) for name, rows in made.items()},
        "weight": torch.from_numpy(np.array(weight, np.float32)),
    }


def _composed(sample: Sample, drawn: Sequence[Drawn]) -> list[Ids | None]:
    """For each text, the ids if they can be composed from stored ones, else None."""
    stored, record = sample.ids, sample.record
    if stored is None:
        return [None] * len(drawn)
    first = numbered(record)
    made = [compose(record, one, first) for one in drawn]
    return [None if pieces is None else stored.joined(pieces) for pieces in made]


def _check_number(record: Record, stored: SampleIds) -> None:
    """Raises DatasetError if the ids belong to other texts."""
    texts = numbered(record)[-1]
    if texts != len(stored.marks):
        raise DatasetError(
            f"it has {texts} texts, and there are token ids of {len(stored.marks)}: they are of another build or "
            "shard. Build again",
            key=record.key,
            shard=record.shard,
        )


def _role(record: Record, drawn: Drawn) -> Role:
    return "short" if all(record.captions[n].granularity in _SHORT for n, _ in drawn.parts) else "long"


def _same_number(drawn: Sequence[Sequence[Drawn]]) -> int:
    counts = sorted({len(texts) for texts in drawn})
    if len(counts) > 1:
        raise UserError(
            f"the policy gave {counts} texts for images of one batch; with a tokenizer all need equally many"
        )
    return counts[0]
