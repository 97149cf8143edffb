"""Captions against the models' own words, where the output that the build was made in is at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.problems import Problem
from recaption.store import Store
from recaption.text import normalise
from recaption.validate.files import unreadable
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard


def check_answers(shard: Shard) -> Iterator[Problem]:
    """Every caption is what a model said to an image with this sha256, normalised."""
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
            answers = _answers(out, folder, shard.name)
        except Exception as error:  # noqa: BLE001 - Arrow says in many ways that bytes are no Parquet
            yield unreadable(folder, error)
            continue
        if answers is None:
            yield problem("no answers", f"{folder}/{shard.name}.parquet", "is not there", warning=True)
            continue
        for caption_id, key, of, text in shard.columns("captions", "caption_id", "key", "generation", "text"):
            if of == name and text not in answers.get(sha256_of.get(key, ""), ()):
                where = f"{shard.path('captions')}, {caption_id}"
                yield problem("answer", where, f"no answer in {folder} to this image is this text")


def _answers(out: Store, folder: str, shard: str) -> dict[str, set[str]] | None:
    """By the image's sha256, since an image may have been asked in several words; None where there are none."""
    texts: dict[str, set[str]] = defaultdict(set)
    number = 0
    while out.exists(path := f"{folder}/{shard}{f'.{number}' if number else ''}.parquet"):
        table = pq.read_table(pa.BufferReader(out.get(path)), columns=["sha256", "text"])
        for sha256, text in zip(table["sha256"].to_pylist(), table["text"].to_pylist(), strict=True):
            texts[sha256].add(normalise(text))
        number += 1
    return texts if number else None
