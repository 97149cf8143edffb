"""Arms: the texts that a run draws for each image, and the control arms, which are made from one arm."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.reduction import DupFd
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from recaption.load.policy import Policy
from recaption.load.randomness import SampleGenerators
from recaption.tasks.change_words import ATTRIBUTES, NUMBERS, PLACES, RELATIONS
from recaption.types import Caption, Record, SubCaption

_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_CHANGES: Final[Mapping[str, Sequence[str]]] = {**RELATIONS, **PLACES, **NUMBERS, **ATTRIBUTES}
CORRUPTED: Final = 0.3
CONTROLS: Final = ("again", "corrupted", "other images")


class Records(Protocol):
    """The records of a caption set, in the order of the images."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Record: ...


class _Keyed(msgspec.Struct):
    """The part of a record that `Spool.key` reads."""

    key: str


class Spool:
    """Records in a temporary file, so that memory does not grow with them (8 bytes per record)."""

    _decode = msgspec.msgpack.Decoder(Record).decode
    _decode_key = msgspec.msgpack.Decoder(_Keyed).decode

    def __init__(self, records: Iterable[Record]) -> None:
        file = tempfile.TemporaryFile(prefix="recaption-probe-")  # noqa: SIM115 - closed with the object
        weakref.finalize(self, file.close)
        self._file, digest, encode = file.fileno(), hashlib.sha256(), msgspec.msgpack.Encoder().encode

        def put(record: Record) -> int:
            encoded = encode(record)
            digest.update(encoded)
            return file.write(encoded)

        self._ends = np.cumsum([put(record) for record in records], dtype=np.int64)
        file.flush()
        self.sha256 = digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """The state for a new process, which gets a file descriptor of its own."""
        return {"file": DupFd(self._file), "ends": self._ends, "sha256": self.sha256}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._file, self._ends, self.sha256 = state["file"].detach(), state["ends"], state["sha256"]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> Record:
        return self._decode(self._read(position))

    def key(self, position: int) -> str:
        """The key of a record; faster than `self[position].key`."""
        return self._decode_key(self._read(position)).key

    def _read(self, position: int) -> bytes:
        start = int(self._ends[position - 1]) if position else 0
        return os.pread(self._file, int(self._ends[position]) - start, start)


@dataclass(frozen=True, slots=True)
class Reordered:
    """Other records at each position: `of[positions[n]]`."""

    of: Records
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int) -> Record:
        return self.of[self.positions[position]]


def changed(records: Records, change: Callable[[Record, int], Record]) -> Spool:
    """The records, each changed by a function of (record, position)."""
    return Spool(change(records[position], position) for position in range(len(records)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A caption set and a policy. Equal seeds give equal draws in all arms with the same `salt`."""

    name: str
    records: Records
    policy: Policy
    salt: int = 0

    def drawer(self, seed: int) -> Callable[[int, int, int], list[str]]:
        """A function of (position, epoch, step): the texts of an image."""
        generators = SampleGenerators(2 * seed + self.salt)
        return lambda position, epoch, step: [
            drawn.text for drawn in self.policy(self.records[position], generators.of(epoch, position), step)
        ]


def controls(arm: Arm, corrupted: Records) -> list[Arm]:
    """The control arms, named as in CONTROLS: the arm with other draws, with corrupted captions of the same images, and
    with the records of other images."""
    n = len(arm.records)
    shifted = (np.arange(n) + 1 + n // 3) % n
    return [
        replace(arm, name="again", salt=1),
        replace(arm, name="corrupted", records=corrupted),
        replace(arm, name="other images", records=Reordered(arm.records, shifted)),
    ]


def corrupter(share: float) -> Callable[[Record, int], Record]:
    """Changes a share of the sentences of a record, always the same ones: one word that makes the sentence false (a
    colour, size, pattern, material, number, place or relation). Sentences without such a word stay as they are."""

    def change(record: Record, position: int) -> Record:
        rng = np.random.default_rng([position, round(share * 1e6)])
        return replace(record, captions=tuple([_corrupted(caption, share, rng) for caption in record.captions]))

    return change


def reworded(caption: Caption, change: Callable[[str], str]) -> Caption:
    """The caption with `change` applied to each sub-caption, or to the whole text if it has none."""
    if not caption.sub_captions:
        return replace(caption, text=change(caption.text))
    pieces: list[str] = []
    subs: list[SubCaption] = []
    end = length = 0
    for sub in caption.sub_captions:
        between, text = caption.text[end : sub.char_start], change(sub.text)
        start = length + len(between)
        length, end = start + len(text), sub.char_end
        subs.append(replace(sub, text=text, char_start=start, char_end=length, content_start=start))
        pieces += [between, text]
    return replace(caption, text="".join(pieces) + caption.text[end:], sub_captions=tuple(subs))


def _corrupted(caption: Caption, share: float, rng: np.random.Generator) -> Caption:
    return reworded(caption, lambda text: with_wrong_word(text, rng) if rng.random() < share else text)


def with_wrong_word(text: str, rng: np.random.Generator) -> str:
    """The text with one word replaced by a word that makes it false; the text itself if no word can be replaced."""
    found = [word for word in _WORD.finditer(text) if word[0].lower() in _CHANGES]
    if not found:
        return text
    word = found[int(rng.integers(len(found)))]
    others = _CHANGES[word[0].lower()]
    other = others[int(rng.integers(len(others)))]
    return text[: word.start()] + (other.capitalize() if word[0][:1].isupper() else other) + text[word.end() :]
