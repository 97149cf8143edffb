"""Captions against the models' own words, where the output that the build was made in is at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from recaption.io.store import Store
from recaption.problems import Problem
from recaption.tablefile import read_table
from recaption.tasks.caption import clean
from recaption.validate.files import unreadable
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard


def check_answers(shard: Shard) -> Iterator[Problem]:
    """Every caption is what a model said to an image with this sha256, cleaned."""
    out = shard.build.out
    if out is None:
        return
    sha256_of = dict(shard.columns("images", "key", "sha256"))
    said = shard.column("captions", "generation")
    for generation in shard.manifest["generations"]:
        name = generation["id"]
        if name not in said:
            continue
        folder = f"answers/{name}-{generation['fingerprint']}"
        try:
            answers = _answers(out, folder, shard)
        except Exception as error:  # noqa: BLE001 - Arrow says in many ways that bytes are no Parquet
            yield unreadable(folder, error)
            continue
        if answers is None:
            where = folder if _is_repacked(shard) else f"{folder}/{shard.name}.parquet"
            yield problem("no answers", where, "is not there", warning=True)
            continue
        for caption_id, key, of, text in shard.columns("captions", "caption_id", "key", "generation", "text"):
            if of == name and _hash(sha256_of.get(key, ""), text) not in answers:
                where = f"{shard.path('captions')}, {caption_id}"
                yield problem("answer", where, f"no answer in {folder} to this image is this text")


def _is_repacked(shard: Shard) -> bool:
    return "samples_per_shard" in shard.manifest["provenance"]


def _answers(out: Store, folder: str, shard: Shard) -> Hashes | None:
    """What the models said to the images of the shard, which is a source shard's; with equal shards, to all images of
    the output: read once, and eight bytes of each are kept. None where there is nothing."""
    if not _is_repacked(shard):
        return _of(out, _files(out, folder, shard.name))
    if folder not in shard.answers:
        paths = [path for path in sorted(out.list(folder)) if path.endswith(".parquet")]
        shard.answers[folder] = _of(out, paths)
    return shard.answers[folder]


def _files(out: Store, folder: str, shard: str) -> list[str]:
    """A shard's answers, with those that came later."""
    found: list[str] = []
    while out.exists(path := f"{folder}/{shard}{f'.{len(found)}' if found else ''}.parquet"):
        found.append(path)
    return found


class Hashes:
    """A set of 64-bit hashes in eight bytes each."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._sorted = np.unique(np.concatenate(parts))

    def __contains__(self, value: int) -> bool:
        at = int(np.searchsorted(self._sorted, np.uint64(value)))
        return at < len(self._sorted) and int(self._sorted[at]) == value


def _of(out: Store, paths: list[str]) -> Hashes | None:
    """By the image's sha256, since an image may have been asked in several words."""
    parts = []
    for path in paths:
        table = read_table(pa.BufferReader(out.get(path)), columns=["sha256", "text"])
        pairs = zip(table["sha256"].to_pylist(), table["text"].to_pylist(), strict=True)
        parts.append(np.array([_hash(sha256, clean(text).text) for sha256, text in pairs], np.uint64))
    return Hashes(parts) if parts else None


def _hash(sha256: str, text: str) -> int:
    data = f"{sha256}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
