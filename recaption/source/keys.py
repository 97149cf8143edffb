"""Keys of images: the rules by which they are made."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SLUG = 100  # characters of a path that stay readable in a key

KeyRule = Literal["source", "positional", "path"]
"""How the keys of a build are made: from the source's own keys where they are plain and unique in a shard, else as
`<shard>_<row>`; always as `<shard>_<row>`; or from the image's path relative to the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderRule:
    """`path`: key and shard are functions of an image's relative path; `shards` is the number of shards.
    `source`: shards are cut out of the sorted list of files, as in all outputs that record no rule. `beside`: text and
    JSON files with the same stem as an image are read; earlier outputs do not read them, so that their questions do not
    change."""

    keys: Literal["source", "path"]
    shards: int = 1
    beside: bool = False


POSITIONS: Final = FolderRule(keys="source")


def assign_keys(shard_number: int, source_keys: Sequence[str]) -> list[str]:
    """Keys of a shard's rows: the source's where it is plain and unique in the shard, else `<shard>_<row>`.

    A plain source key that equals the positional key of another row is replaced, so keys are always unique.
    """
    counts = Counter(source_keys)
    positional = [f"{shard_number:06d}_{row:06d}" for row in range(len(source_keys))]
    rows_of = {key: row for row, key in enumerate(source_keys)}
    own = [counts[key] == 1 and _KEY.fullmatch(key) is not None for key in source_keys]
    waiting = [row for row, kept in enumerate(own) if not kept]
    while waiting:
        rival = rows_of.get(positional[waiting.pop()])
        if rival is not None and own[rival] and source_keys[rival] != positional[rival]:
            own[rival] = False
            waiting.append(rival)
    return [key if kept else positional[row] for row, (key, kept) in enumerate(zip(source_keys, own, strict=True))]


def path_key(name: str) -> str:
    """The key of an image at this path relative to the folder: readable, and different for different paths.

    `2024/07/IMG 0004.jpg` is `2024-07-IMG-0004-` and 16 hex digits of the path's sha256.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", posixpath.splitext(name)[0]).strip("_-")
    return f"{stem[-_SLUG:].lstrip('_-') or 'image'}-{path_digest(name)}"


def path_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
