"""`--ask similar` by the embeddings of images, where a build has them: cosines by NumPy, the rest by DuckDB."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa

from recaption.embeddings import Embeddings
from recaption.inspect.paths import OutputPaths
from recaption.inspect.query import Values
from recaption.inspect.questions import Question
from recaption.io.store import Store
from recaption.output.paths import MANIFEST, embeddings_file

if TYPE_CHECKING:
    import duckdb

_SQL = """
WITH mine AS (SELECT DISTINCT lemma FROM objects WHERE key = $key),
shared AS (
    SELECT key, list(DISTINCT lemma ORDER BY lemma) AS objects
    FROM objects SEMI JOIN mine USING (lemma) WHERE key IN (SELECT key FROM nearest) GROUP BY key
)
SELECT key, round(nearest.cosine, 3) AS cosine, objects
FROM nearest LEFT JOIN shared USING (key) ORDER BY nearest.cosine DESC, key LIMIT $limit
"""


def by_embedding(
    connection: duckdb.DuckDBPyConnection, outputs: Sequence[OutputPaths], question: Question, values: Values
) -> Question:
    """The question `similar` over the nearest embeddings, which become a view `nearest` of the connection.

    Another question, or one about an image without an embedding, is returned unchanged. Raises DatasetError for a
    file of embeddings that is broken.
    """
    build = outputs[0].build
    if question.name != "similar" or build is None or len(outputs) > 1:
        return question
    found = _nearest(build, str(values["key"]), int(values["limit"]))
    if found is None:
        return question
    connection.register("nearest", found)
    return replace(question, sql=_SQL, description="The images most similar to one, by the cosine of their embeddings.")


def _nearest(build: Store, key: str, limit: int) -> pa.Table | None:
    """`key` and `cosine` of the nearest other images; None if the image has no embedding. Of several generations, the
    first that embeds the image is used. Memory holds the vectors of one shard."""
    manifest = orjson.loads(build.get(MANIFEST))
    for generation in manifest.get("embeddings", ()):
        files = [embeddings_file(generation, shard["name"]) for shard in manifest["shards"]]
        mine = next((found[key] for file in files if key in (found := image_embeddings(build, file))), None)
        if mine is None:
            continue
        best: list[tuple[float, str]] = []
        for file in files:
            images = image_embeddings(build, file)
            cosines = (unit(images.vectors) @ unit(mine)).tolist() if images else []
            pairs = ((cosine, other) for other, cosine in zip(images, cosines, strict=True) if other != key)
            best = heapq.nlargest(limit, (*best, *pairs))
        return pa.table({"key": [other for _, other in best], "cosine": [cosine for cosine, _ in best]})
    return None


def image_embeddings(build: Store, path: str) -> Embeddings:
    """The embeddings of images in a file of a build. Raises DatasetError."""
    local = build.local(path)
    return (Embeddings.open(local) if local is not None else Embeddings.read(build.get(path), path)).images()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Float32, of length 1; a vector of zeros is unchanged."""
    vectors = vectors.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
