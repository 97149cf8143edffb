"""The texts of a batch as token ids, and integers that identify the origin of each text."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch.utils.data import get_worker_info

from recaption.errors import DatasetError, UserError
from recaption.load.encoding import Encoder, StoredIds, compose, encoder_for, shortened, text_offsets
from recaption.load.files import Files
from recaption.load.layout import Layout
from recaption.load.policy import DrawnText
from recaption.load.shards import Sample
from recaption.tokenids import SampleIds, TokenizerFacts, texts_of
from recaption.types import Record

Overflow = Literal["drop_tail_sentences", "truncate", "error"]
Role = Literal["long", "short"]
Length = int | Mapping[Role, int]
Tokenize = Callable[[list[str]], Any]
"""Texts -> ids [n, L], as tokenizers of open_clip and transformers (with `padding`, `return_tensors`) return them."""

DEFAULT_LENGTH: Final = 77  # of CLIP's text encoder
_SHORT: Final = frozenset({"raw", "short"})
_COMPARED: Final = 64  # texts that are tokenised to check whether stored ids are from this tokenizer

Ids = Sequence[int]
Made = tuple[dict[str, Any], list[list[DrawnText]]]


class TextIds:
    """Texts -> int64 [B, K, L]: start token, ids, end token, padding. L is the greatest of the roles' lengths.

    Stored ids are used if they make exactly the drawn text; otherwise the text is tokenised. If a text is longer
    than the length of its role, `truncate` cuts it, and `drop_tail_sentences` drops sentences at its end and cuts only
    if that is not enough. The end token is kept. The role is `short` if all captions of the text are raw or short
    ones, otherwise `long`.
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
                f"the {frame} tokens that this tokenizer adds around a text"
            )
        self.length = max(lengths.values())
        self._rooms = {role: given - frame for role, given in lengths.items()}
        self._least, self._frame = min(self._rooms.values()), frame
        self._start, self._end = array("q", encoder.start), array("q", encoder.end)
        self._pads = array("q", [encoder.pad]) * self.length
        self._agreed = stored is None or stored.sha256 == encoder.sha256
        if stored is not None and (stored.start, stored.end) != (encoder.start, encoder.end):
            raise UserError(
                f"the stored token ids {stored.name!r} are framed by {stored.start} and {stored.end}, the tokenizer's "
                f"by {encoder.start} and {encoder.end}: give the tokenizer that made them, or token_ids=False"
            )

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Sequence[DrawnText]]) -> Made:
        """`texts`; `cut` float32 [B, K], the share of a text's tokens that was cut; with `mask` also `text_mask` bool
        [B, K, L], False at padding. The second value has the texts after cutting.

        Raises UserError if samples have different numbers of texts, and with overflow "error" if a text is too long.
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

    def _ids(self, samples: Sequence[Sample], drawn: Sequence[Sequence[DrawnText]]) -> list[Ids]:
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

    def _fitted(self, sample: Sample, drawn: DrawnText, ids: Ids, room: int) -> tuple[DrawnText, Ids]:
        if self._overflow == "error":
            raise UserError(
                f"a text of {sample.record.key} (shard {sample.record.shard}) has {len(ids)} tokens, and there is room "
                f"for {room}: {drawn.text[:80]!r}. Give a greater length, or another value of overflow"
            )
        if self._overflow == "drop_tail_sentences":
            for less in shortened(sample.record, drawn):
                made = _composed(sample, [less])[0]
                drawn, ids = less, self._encode([less.text])[0] if made is None else made
                if len(ids) <= room:
                    return drawn, ids
        return drawn, ids[:room]

    def _encode(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if not texts:
            return ()
        if get_worker_info() is not None:  # one thread per core in each worker is too many
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return self._encoder.encode(texts)

    def _compared(self, record: Record, found: SampleIds) -> bool:
        """Whether the tokenizer makes the stored ids of most texts of a record; False if they are too few to decide.

        Most are enough: open_clip's tokenizer first replaces curly quotes and HTML entities, tokenizer.json does not.
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
                f"makes other ids of {other[0][:80]!r}. Give the tokenizer that made them, or token_ids=False"
            )
        return len(texts) > 4


def callable_ids(tokenizer: Tokenize, samples: Sequence[Sample], drawn: Sequence[Sequence[DrawnText]]) -> Made:
    """`texts` int64 [B, K, L], by any function that makes ids [n, L]; it decides on length and padding.

    Raises UserError if samples have different numbers of texts, or ids are not [texts, L].
    """
    k = _same_number(drawn)
    made = tokenizer([one.text for of in drawn for one in of])
    ids = torch.as_tensor(made["input_ids"] if isinstance(made, Mapping) else made)
    if ids.ndim != 2 or len(ids) != len(drawn) * k:
        raise UserError(
            f"the tokenizer gave {list(ids.shape)} for {len(drawn) * k} texts; it must give [texts, length]"
        )
    return {"texts": ids.to(torch.int64).view(len(drawn), k, ids.shape[1])}, [list(of) for of in drawn]


def strings(samples: Sequence[Sample], drawn: Sequence[Sequence[DrawnText]]) -> Made:
    """Without a tokenizer: B lists of K strings."""
    return {"texts": [[one.text for one in of] for of in drawn]}, [list(of) for of in drawn]


Maker = Callable[[Sequence[Sample], Sequence[Sequence[DrawnText]]], Made]


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
    """The function that makes the texts of a batch, and the stored ids that it needs. Arguments: see `LoaderConfig`.

    Raises UserError for settings that do not fit the tokenizer, DatasetError for broken metadata of stored ids.
    """
    if overflow not in get_args(Overflow):
        raise UserError(f"overflow is {overflow!r}; it can be {' or '.join(get_args(Overflow))}")
    encoder = None if tokenizer is None else encoder_for(tokenizer)
    if encoder is None:
        if length is not None or mask or isinstance(token_ids, str):
            raise UserError(
                'length, text_mask and token_ids need a tokenizer that is known here: a name such as "clip", or one '
                "of transformers, the tokenizers library or open_clip. Any other function only gives ids"
            )
        return (strings if tokenizer is None else partial(callable_ids, tokenizer)), None
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
    records: Sequence[Record], drawn: Sequence[Sequence[DrawnText]], generations: Sequence[str]
) -> dict[str, Any]:
    """Tensors [B, K]; where a sample has fewer texts than another, the rest is -1 with weight 0.

    `caption`: position in `record.captions`, -1 for several. `idx`: the first sub-caption of the text, -1 for a whole
    caption. `generation`: position in `generations`, -1 for several. `weight`: float32.
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


def _composed(sample: Sample, drawn: Sequence[DrawnText]) -> list[Ids | None]:
    """The ids of each text made of stored ones, or None if it cannot be."""
    stored, record = sample.ids, sample.record
    if stored is None:
        return [None] * len(drawn)
    first = text_offsets(record)
    made = [compose(record, one, first) for one in drawn]
    return [None if pieces is None else stored.joined(pieces) for pieces in made]


def _check_number(record: Record, stored: SampleIds) -> None:
    """Raises DatasetError if the ids belong to other texts."""
    texts = text_offsets(record)[-1]
    if texts != len(stored.marks):
        raise DatasetError(
            f"it has {texts} texts, but token ids of {len(stored.marks)}: they belong to another build or shard. "
            "Build again",
            key=record.key,
            shard=record.shard,
        )


def _role(record: Record, drawn: DrawnText) -> Role:
    return "short" if all(record.captions[n].granularity in _SHORT for n, _ in drawn.parts) else "long"


def _same_number(drawn: Sequence[Sequence[DrawnText]]) -> int:
    counts = sorted({len(texts) for texts in drawn})
    if len(counts) > 1:
        raise UserError(
            f"the policy gave {counts} texts for images of one batch; with a tokenizer all images need the same number"
        )
    return counts[0]
