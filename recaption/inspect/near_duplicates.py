"""`--ask near-duplicates`: images that look like another one, by their embeddings or by hashes of their pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from PIL import Image

from recaption.errors import ImageError, UserError
from recaption.inspect.images import PLACE, ImageMissing, ImageRequest, open_image, read_images
from recaption.inspect.nearness import Pairs, different_bits, hash_tables, leaders, near_pairs, vector_tables
from recaption.inspect.paths import OutputPaths
from recaption.inspect.questions import Question
from recaption.inspect.similar import image_embeddings, unit
from recaption.inspect.sql import Row, fetch_rows
from recaption.io.store import Store
from recaption.output.paths import MANIFEST, embeddings_file
from recaption.threads import each

if TYPE_CHECKING:
    import duckdb

NAME: Final = "near-duplicates"
LEAST_COSINE: Final = 0.95
DISTANCE: Final = 8  # of the 128 bits of both hashes together
_MARGIN: Final = 2  # grey levels; in flat areas the sign of a difference is noise
_COLOURS: Final = 3 * 8 * 8
_FARTHEST: Final = 48  # difference of a colour, of 255
_PAIRS: Final = 1 << 16  # pairs whose colours are compared at a time
_BATCH: Final = 256  # images read at a time
# The largest image of a group is kept. Equal bytes count once: by sha256, source.exclude cannot tell them apart.
_IMAGES: Final = f"""
SELECT key, shard, split, sha256, place FROM (
    SELECT *, row_number() OVER (PARTITION BY coalesce(nullif(sha256, ''), key) ORDER BY key) AS copy
    FROM (SELECT *, {PLACE} FROM images) WHERE status IN ('ok', 'partial')
) WHERE copy = 1 ORDER BY coalesce(width * height, 0) DESC, key
"""
_SQL: Final = "SELECT key, same_as, round(similarity, 3) AS similarity, sha256 FROM near ORDER BY similarity DESC, key"


def near_duplicates(connection: duckdb.DuckDBPyConnection, output: OutputPaths, question: Question) -> Question:
    """The question over the table `near`, which becomes a view of the connection.

    Compares embeddings if the build has one for each image. Otherwise, it reads all images and compares hashes of
    their pixels. Memory: 2 bytes per dimension of an embedding, or 208 bytes, per image.

    Raises UserError if no image can be read.
    """
    images = fetch_rows(connection, _IMAGES)
    pairs = _by_embedding(output.build, images) if output.build is not None else None
    how = "embeddings" if pairs is not None else "pixels"
    found = leaders(pairs if pairs is not None else _by_pixels(connection, output, images), len(images))
    rows = [
        {"key": images[n].key, "same_as": images[kept].key, "similarity": value, "sha256": images[n].sha256}
        for n, (kept, value) in found.items()
    ]
    columns = [("key", pa.string()), ("same_as", pa.string()), ("similarity", pa.float64()), ("sha256", pa.string())]
    connection.register("near", pa.Table.from_pylist(rows, schema=pa.schema(columns)))
    return replace(question, sql=_SQL, description=f"{question.description.rstrip('.')}, by {how}.")


def _by_embedding(build: Store, images: Sequence[Row]) -> Pairs | None:
    """None if no generation embeds all images."""
    vectors = _vectors(build, {image.key: n for n, image in enumerate(images)})
    if vectors is None:
        return None

    def compare(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        cosines: npt.NDArray[np.float32] = vectors[a].astype(np.float32) @ vectors[b].astype(np.float32).T
        return cosines

    return near_pairs(vector_tables(vectors), compare, LEAST_COSINE)


def _vectors(build: Store, places: Mapping[str, int]) -> npt.NDArray[np.float16] | None:
    """The embeddings of the first generation that has all of these images, scaled to length 1, by their places."""
    manifest = orjson.loads(build.get(MANIFEST))
    for generation in manifest.get("embeddings", ()):
        parts = []
        for shard in manifest["shards"]:
            stored = image_embeddings(build, embeddings_file(generation, shard["name"]))
            if known := [(places[key], row) for row, key in enumerate(stored) if key in places]:
                at, rows = np.array(known).T
                parts.append((at, unit(stored.vectors[rows]).astype(np.float16)))
        if sum(len(at) for at, _ in parts) == len(places) > 0:
            vectors = np.empty((len(places), parts[0][1].shape[1]), np.float16)
            for at, some in parts:
                vectors[at] = some
            return vectors
    return None


def _by_pixels(connection: duckdb.DuckDBPyConnection, output: OutputPaths, images: Sequence[Row]) -> Pairs:
    across, down = np.zeros(len(images), np.uint64), np.zeros(len(images), np.uint64)
    colours = np.zeros((len(images), _COLOURS), np.uint8)
    read = np.zeros(len(images), np.bool_)
    for n, found in _hashes(connection, output, images):
        across[n], down[n], colours[n] = found
        read[n] = True
    if images and not read.any():
        raise UserError(
            f"no image of {output.given} can be read from here. Run this where its images are, or embed them first "
            "(task score, embed: images)"
        )

    at = np.flatnonzero(read)
    across, down, colours = across[at], down[at], colours[at]

    def compare(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        bits = different_bits(across[a], across[b]) + different_bits(down[a], down[b])
        return (1 - bits / 128).astype(np.float32)

    # of at most DISTANCE different bits, one of the hashes has at most half
    tables = (keys for codes in (across, down) for keys in hash_tables(codes, DISTANCE // 2))
    a, b, similar = near_pairs(tables, compare, 1 - DISTANCE / 128)
    alike = np.empty(len(a), np.bool_)
    for first in range(0, len(a), _PAIRS):
        some = slice(first, first + _PAIRS)
        differences = np.abs(colours[a[some]].astype(np.int16) - colours[b[some]])
        alike[some] = differences.max(1, initial=0) <= _FARTHEST
    return at[a[alike]], at[b[alike]], similar[alike]


def _hashes(
    connection: duckdb.DuckDBPyConnection, output: OutputPaths, images: Sequence[Row]
) -> Iterator[tuple[int, tuple[int, int, Any]]]:
    """The hashes of each image that can be read, with its number."""
    form = None if output.build is None else orjson.loads(output.build.get(MANIFEST))["format"]
    places = {image.key: n for n, image in enumerate(images)}
    ordered = sorted(images, key=lambda image: (image.shard, image.split, image.place))
    for first in range(0, len(ordered), _BATCH):
        wanted = [ImageRequest(**vars(image)) for image in ordered[first : first + _BATCH]]
        some = list(read_images(connection, output, form, wanted))
        for (key, _), made in zip(
            some, each(_hash_or_none, [data for _, data in some], os.cpu_count() or 1), strict=True
        ):
            if made is not None:
                yield places[key], made


def _hash_or_none(data: bytes | ImageMissing) -> tuple[int, int, Any] | None:
    try:
        return None if isinstance(data, ImageMissing) else pixel_hash(open_image(data, max_pixels=128 * 128))
    except ImageError:
        return None


def pixel_hash(image: Image.Image) -> tuple[int, int, npt.NDArray[np.uint8]]:
    """In a grid of 8 x 8: whether brightness rises to the right and downwards (64 bits each, dHash), and the mean
    colours, uint8 [192]."""
    grey = np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX), np.int64)
    across = (grey[:8, 1:] - grey[:8, :8]).ravel() > _MARGIN
    down = (grey[1:, :8] - grey[:8, :8]).ravel() > _MARGIN
    colours = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BOX)).ravel()
    return _bits(across), _bits(down), colours


def _bits(values: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(values).tobytes(), "big")
