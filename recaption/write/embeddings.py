"""Writes the embeddings of a generation for a shard; `recaption.embeddings` has the layout and the reader."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recaption.errors import DatasetError
from recaption.io.outfile import Sink, outfile
from recaption.io.store import Store


def write_embeddings(store: Store, path: str, embeddings: Mapping[str, bytes]) -> Sink:
    """Write the embeddings (float16, little-endian) by id. Returns the closed sink, for its size and hash.

    Raises DatasetError if they do not have the same length.
    """
    sizes = {len(data): id for id, data in embeddings.items()}
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise DatasetError(
            f"{path}: the embedding of {first} has {one // 2} numbers, that of {second} {other // 2}. The engine of a "
            "generation has to return embeddings of one length"
        )
    embeddings = {id: embeddings[id] for id in sorted(embeddings, key=lambda id: "/" in id)}  # images first
    ids = [id.encode() for id in embeddings]
    width = max(map(len, ids), default=0) // 2 * 2 + 2  # even, so that the numbers are aligned
    size = next(iter(sizes), 0) // 2
    rows = np.zeros(len(ids), [("id", f"S{width}"), ("embedding", "<f2", (size,))])
    rows["id"] = ids
    rows["embedding"] = np.frombuffer(b"".join(embeddings.values()), "<f2").reshape(len(ids), size)
    with outfile(store, path) as sink:
        # Not np.save, which writes past the sink where that is a buffered file, so that bytes are not hashed.
        np.lib.format.write_array_header_1_0(sink, np.lib.format.header_data_from_array_1_0(rows))
        sink.write(rows.tobytes())
    return sink
