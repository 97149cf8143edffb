"""Checks of embeddings: each is a finite vector of an image or text of its shard."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from recaption.embeddings import Embeddings
from recaption.errors import DatasetError
from recaption.output.paths import EMBEDDINGS
from recaption.problems import Problem
from recaption.validate import files
from recaption.validate.base import USABLE, Shard, problem


def check_embeddings(shard: Shard) -> Iterator[Problem]:
    """Check the contents of the files that could be read. No model is needed."""
    listed = [file for file in shard.entry["files"] if file["table"] == EMBEDDINGS and file["path"] in shard.embeddings]
    if not listed:
        return
    statuses = zip(shard.column("images", "key"), shard.column("images", "status"), strict=True)
    known = {key for key, status in statuses if status in USABLE}
    known |= {*shard.column("captions", "caption_id"), *shard.column("sub_captions", "sub_id")}
    for file in listed:
        path = file["path"]
        try:
            found = Embeddings.read(shard.embeddings[path], path)
        except DatasetError as error:
            yield problem("embeddings", path, str(error))
            continue
        rows = len(found.vectors)
        if not rows == len(found) == file["rows"]:
            yield problem("embeddings", path, f"has {rows} rows of {len(found)} ids, not {file['rows']}")
            continue
        if unknown := found.keys() - known:
            what = f"ids of no image, caption or sub-caption of the shard: {len(unknown)}, such as {min(unknown)}"
            yield problem("embeddings", path, what)
        if len(found.images()) != sum("/" not in id for id in found):
            yield problem("embeddings", path, "has rows of images that are not before all other rows")
        if not np.isfinite(found.vectors).all():
            yield problem("embeddings", path, "has numbers that are not finite")


def read_embeddings(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Size and hash of the file; `check_embeddings` checks the contents once the tables are read."""
    data = shard.embeddings[file["path"]] = shard.build.store.get(file["path"])
    yield from files.Hashed(io.BytesIO(data)).finish(file)
