"""Token ids of a data shard's texts, `tokens/<name>/<shard>.bin`: the layout of the file, and a reader.

The texts of a sample are its sub-captions, in the order of its captions; a caption without sub-captions is one text.
Ids are the tokenizer's own, without start and end tokens. `schemas/README.md` describes the layout for other readers.
"""

from __future__ import annotations

import json
import mmap
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError
from recaption.types import Record

MAGIC: Final = b"RCTOKENS"
VERSION: Final = 1
"""Version of the layout; a reader refuses any other."""
TAKES_STOP: Final = 1
"""Bit of a text's mark: the ids of `text + "."` are those of the text, then `stop`."""
LOSES_STOP: Final = 2
"""Bit of a text's mark: the text ends in a full stop, and its ids are those of the text without it, then `stop`."""

UNKNOWN: Final = 4
"""Bit of a text's mark: the tokenizer failed on the text during the build. It has no ids; a reader tokenises it."""

_START = struct.Struct("<8sII")  # magic, version, bytes of the JSON header that follows
_OFFSET = np.dtype("<u4")
_COUNTS = ("samples", "texts", "ids")

Ids = npt.NDArray[np.unsignedinteger[Any]]

Piece = tuple[int, int]
"""The number of a text in its sample, and its change: TAKES_STOP if a full stop is added, LOSES_STOP if its final full
stop is removed, 0 if it is unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFacts:
    """The properties of a tokenizer that are needed to use its ids.

    `composable`: the ids of texts joined by one space are the ids of the texts, one after another.
    """

    name: str  # as in the file's name
    sha256: str  # of the tokenizer in the JSON form of the tokenizers library
    vocabulary: int  # its size; ids are below it
    start: tuple[int, ...]  # ids that the tokenizer puts before a text
    end: tuple[int, ...]  # and after it
    stop: tuple[int, ...]  # ids of "."
    composable: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids on disk: two bytes if the vocabulary is small enough."""
        return np.dtype("<u2" if self.vocabulary <= 1 << 16 else "<u4")

    def to_json(self) -> dict[str, Any]:
        """The value in the file's header and in the manifest."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TokenizerFacts:
        """Raises KeyError if a field is missing; ignores unknown ones."""
        given = ((field.name, data[field.name]) for field in fields(cls))
        made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given}
        return cls(**made)


def texts_of(record: Record) -> list[str]:
    """The texts of a sample in the order of its ids: sub-captions, and captions without sub-captions."""
    return [text for c in record.captions for text in ([s.text for s in c.sub_captions] or [c.text])]


def pack(facts: TokenizerFacts, samples: Sequence[int], texts: Sequence[bytes], marks: bytes) -> list[bytes]:
    """The file, in pieces. `samples` has the number of texts of each sample, `texts` their ids as `facts.dtype`.

    Raises DatasetError if the offsets of one shard would not fit in 32 bits.
    """
    width = facts.dtype.itemsize
    of_samples = [0, *accumulate(samples)]
    of_texts = [0, *accumulate(len(ids) // width for ids in texts)]
    assert of_samples[-1] == len(texts) == len(marks)
    if max(of_samples[-1], of_texts[-1]) > np.iinfo(_OFFSET).max:
        raise DatasetError(f"{of_texts[-1]} token ids of {len(texts)} texts do not fit in one shard; make it smaller")
    described = {**facts.to_json(), "dtype": facts.dtype.name}
    counts = zip(_COUNTS, (len(samples), len(texts), of_texts[-1]), strict=True)
    header = json.dumps({**described, **dict(counts)}).encode()
    header += b" " * (-(_START.size + len(header)) % 8)  # aligns the arrays that follow
    return [
        _START.pack(MAGIC, VERSION, len(header)),
        header,
        np.array(of_samples, _OFFSET).tobytes(),
        np.array(of_texts, _OFFSET).tobytes(),
        *texts,
        marks,
    ]


class SampleIds(NamedTuple):
    """The token ids of one sample: text j has `ids[bounds[j] : bounds[j + 1]]`.

    Arrays of the standard library cut and join some dozens of numbers five times as fast as NumPy.
    """

    facts: TokenizerFacts
    ids: array[int]  # int64
    bounds: list[int]
    marks: list[int]

    def joined(self, pieces: Sequence[Piece]) -> array[int] | None:
        """The ids of the pieces joined by spaces. Raises IndexError.

        None if they do not follow from the ids of the texts, or a text has no ids: tokenise the joined text instead.
        """
        if len(pieces) > 1 and not self.facts.composable:
            return None
        made = array("q")
        for text, change in pieces:
            if not 0 <= text < len(self.marks):
                raise IndexError(f"text {text} of a sample that has {len(self.marks)}")
            if change & ~self.marks[text] or self.marks[text] & UNKNOWN:
                return None
            end = self.bounds[text + 1] - (len(self.facts.stop) if change & LOSES_STOP else 0)
            made += self.ids[self.bounds[text] : end]
            if change & TAKES_STOP:
                made.extend(self.facts.stop)
        return made


class TokenIds:
    """The token ids of one data file: `len` is its samples, in the data file's order (a sidecar's rejected rows have
    no texts). Opening one reads the header only; text j of sample i is found by two look-ups.

    Arrays are read-only views into the file, of dtype uint16 or uint32; torch wants them as int64.
    """

    def __init__(self, buffer: bytes | mmap.mmap, where: str) -> None:
        self._where = where
        header, at = self._header(buffer)
        try:
            self.facts = TokenizerFacts.from_json(header)
            usable = header["dtype"] == self.facts.dtype.name
            samples, texts, ids = (header[name] for name in _COUNTS)
        except (KeyError, TypeError) as error:
            raise self._broken(f"its header has no valid {error}") from error
        if not usable or not all(type(n) is int and n >= 0 for n in (samples, texts, ids)):
            raise self._broken(f"its header is {header}")
        of_samples, of_texts = (samples + 1) * 4, (texts + 1) * 4
        size = at + of_samples + of_texts + ids * self.facts.dtype.itemsize + texts
        if len(buffer) != size:
            raise self._broken(f"it has {len(buffer)} bytes; by its header it must have {size}")
        self._samples: Ids = np.frombuffer(buffer, _OFFSET, samples + 1, at)
        self._texts: Ids = np.frombuffer(buffer, _OFFSET, texts + 1, at + of_samples)
        self._ids: Ids = np.frombuffer(buffer, self.facts.dtype, ids, at + of_samples + of_texts)
        self._marks: Ids = np.frombuffer(buffer, np.uint8, texts, size - texts)

    @classmethod
    def open(cls, path: str | Path) -> TokenIds:
        """Map a file on a local disk. Raises DatasetError if it is broken, OSError if it is missing."""
        with open(path, "rb") as file:
            empty = file.seek(0, 2) == 0  # an empty file cannot be mapped
            return cls(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), str(path))

    def __len__(self) -> int:
        return len(self._samples) - 1

    def texts(self, sample: int) -> int:
        """The number of texts of a sample. Raises IndexError if there is no such sample."""
        first, end = self._span(self._samples, sample, len(self._texts) - 1, "sample")
        return end - first

    def ids(self, sample: int, text: int) -> Ids:
        """The ids of one text, without start and end; empty if it `is_unknown`. Raises IndexError."""
        first, end = self._span(self._texts, self._text(sample, text), len(self._ids), "text")
        return self._ids[first:end]

    def is_unknown(self, sample: int, text: int) -> bool:
        """Whether the tokenizer failed on the text when the build was written, so that it has no ids."""
        return bool(self._marks[self._text(sample, text)] & UNKNOWN)

    def of(self, sample: int) -> SampleIds:
        """The ids of all texts of a sample. Raises IndexError if there is no such sample."""
        first, end = self._span(self._samples, sample, len(self._texts) - 1, "sample")
        bounds = self._texts[first : end + 1].tolist()
        if bounds != sorted(bounds) or bounds[-1] > len(self._ids):
            raise self._broken(f"the offsets of sample {sample} are {bounds}, of {len(self._ids)}")
        start = bounds[0]
        ids = array("q", self._ids[start : bounds[-1]].astype(np.int64).tobytes())
        return SampleIds(self.facts, ids, [at - start for at in bounds], self._marks[first:end].tolist())

    def _text(self, sample: int, text: int) -> int:
        first, end = self._span(self._samples, sample, len(self._texts) - 1, "sample")
        if not 0 <= text < end - first:
            raise IndexError(f"text {text} of sample {sample}, which has {end - first} ({self._where})")
        return first + text

    def _span(self, offsets: Ids, at: int, limit: int, what: str) -> tuple[int, int]:
        if not 0 <= at < len(offsets) - 1:
            raise IndexError(f"{what} {at} of {len(offsets) - 1} ({self._where})")
        first, end = int(offsets[at]), int(offsets[at + 1])
        if not first <= end <= limit:
            raise self._broken(f"the offsets of {what} {at} are {first} and {end}, of {limit}")
        return first, end

    def _header(self, buffer: bytes | mmap.mmap) -> tuple[dict[str, Any], int]:
        if len(buffer) < _START.size:
            raise self._broken(f"it has {len(buffer)} bytes")
        magic, version, length = _START.unpack(buffer[: _START.size])
        if magic != MAGIC:
            raise self._broken(f"it begins with {magic!r}, not {MAGIC!r}")
        if version != VERSION:
            raise DatasetError(f"{self._where} has layout version {version}; this version of recaption reads {VERSION}")
        try:
            header = json.loads(buffer[_START.size : _START.size + length])
        except (ValueError, RecursionError) as error:
            raise self._broken(f"its header is not JSON: {error}") from error
        if not isinstance(header, dict):
            raise self._broken("its header is not a JSON object")
        return header, _START.size + length

    def _broken(self, why: str) -> DatasetError:
        return DatasetError(f"{self._where} is not a complete file of token ids: {why}. Build it again")


def check_tokens(tokens: TokenIds, texts: Iterable[Sequence[str]], listed: Mapping[str, Any]) -> Iterator[str]:
    """The problems of a shard's ids, one sentence each.

    `texts` has the texts of every sample of the data file, in order; `listed` is the tokenizer's entry in the
    manifest's `token_ids`. Texts are not tokenised again.
    """
    for name, value in tokens.facts.to_json().items():
        recorded = listed.get(name)
        # One shard whose texts do not compose makes the manifest's value false.
        if recorded != value and not (name == "composable" and value):
            yield f"its header has {name} {value}; the manifest has {recorded}"
    samples = 0
    for samples, of_sample in enumerate(texts, 1):
        if samples > len(tokens):
            continue
        try:
            yield from _check_sample(tokens, samples - 1, of_sample)
        except DatasetError as error:
            yield str(error)
    if samples != len(tokens):
        yield f"it has {len(tokens)} samples; the data has {samples}"


def _check_sample(tokens: TokenIds, sample: int, texts: Sequence[str]) -> Iterator[str]:
    if tokens.texts(sample) != len(texts):
        yield f"sample {sample} has {len(texts)} texts, but ids of {tokens.texts(sample)}"
        return
    for n in range(len(texts)):
        ids = tokens.ids(sample, n)
        if tokens.is_unknown(sample, n):
            if ids.size:
                yield f"text {n} of sample {sample} has ids, but is marked as a text without ids"
        elif ids.size and int(ids.max()) >= tokens.facts.vocabulary:
            yield f"text {n} of sample {sample} has id {ids.max()}; the vocabulary has {tokens.facts.vocabulary}"
