"""write_shard and write_manifest with plain keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from recaption import write
from recaption.io.store import Store
from recaption.types import Record
from recaption.write import BuildInfo, ShardContent, ShardEntry, ShardFormat

_CONTENT = {field.name for field in fields(ShardContent)}


def write_shard(
    store: Store, prefix: str, name: str, records: Iterable[Record], images: Any, **more: Any
) -> ShardEntry:
    """`more` has the other fields of ShardContent and those of ShardFormat."""
    content = ShardContent(
        name=name, records=list(records), images=images, **{k: v for k, v in more.items() if k in _CONTENT}
    )
    shape = ShardFormat(**{k: v for k, v in more.items() if k not in _CONTENT})
    return write.write_shard(store, prefix, content, shape)


def write_manifest(store: Store, prefix: str, *, shards: Sequence[ShardEntry], **info: Any) -> dict[str, Any]:
    """`info` has the fields of BuildInfo."""
    return write.write_manifest(store, prefix, shards, BuildInfo(**info))
