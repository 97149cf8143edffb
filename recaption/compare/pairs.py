"""The images that two outputs have in common, a sample of them, and the source of a run that judges their captions."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import DatasetError, UserError
from recaption.formatting import number_of
from recaption.inspect.connection import open_outputs
from recaption.inspect.images import PLACE
from recaption.inspect.paths import OutputPaths, find, names
from recaption.inspect.sql import Row, fetch, fetch_rows
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import read_manifest
from recaption.io.store import Store
from recaption.load.files import Files
from recaption.load.layout import find as find_layout
from recaption.load.plain import open_shards
from recaption.tasks.compare import CAPTION_A, CAPTION_B

FOLDER: Final = "compared"  # in the output of the comparison
_ROWS: Final = 500  # in a file of the source
_SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.binary()),
        (CAPTION_A, pa.string()),
        (CAPTION_B, pa.string()),
        ("caption", pa.list_(pa.string())),  # both captions, as raw captions: a record needs at least one
    ]
)
_COMMON: Final = f"""
WITH usable_a AS (
    SELECT coalesce(nullif(sha256, ''), key) AS image, key, shard, split, place
    FROM (SELECT *, {PLACE} FROM {{images_a}}) WHERE status IN ('ok', 'partial')
),
usable_b AS (
    SELECT coalesce(nullif(sha256, ''), key) AS image, key FROM {{images_b}} WHERE status IN ('ok', 'partial')
),
captions_a AS (
    SELECT key, arg_min(text, caption_id) AS text FROM {{captions_a}} WHERE generation = $generation_a GROUP BY key
),
captions_b AS (
    SELECT key, arg_min(text, caption_id) AS text FROM {{captions_b}} WHERE generation = $generation_b GROUP BY key
),
common AS (
    SELECT DISTINCT ON (image) a.*, b.key AS key_b FROM usable_a AS a JOIN usable_b AS b USING (image)
    ORDER BY image, a.key, b.key
),
captioned AS (
    SELECT common.*, a.text AS caption_a, b.text AS caption_b
    FROM common LEFT JOIN captions_a AS a ON a.key = common.key LEFT JOIN captions_b AS b ON b.key = common.key_b
)
"""
_COUNTS: Final = """
SELECT
    (SELECT count(DISTINCT image) FROM usable_a) AS a, (SELECT count(DISTINCT image) FROM usable_b) AS b,
    count(*) AS common, count(*) FILTER (caption_a IS NOT NULL AND caption_b IS NOT NULL) AS captioned
FROM captioned
"""
# By a hash, so that a larger sample contains a smaller one.
_SAMPLE: Final = """
SELECT * FROM captioned WHERE caption_a IS NOT NULL AND caption_b IS NOT NULL
ORDER BY md5('compare/' || image), image LIMIT $most
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two caption sets."""

    output: OutputPaths
    name: str
    generation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Sampled images with both captions (`rows`), and the number of images of each kind.

    `captioned` images are in both outputs and have both captions.
    """

    a: Side
    b: Side
    rows: Sequence[Row]
    images_a: int
    images_b: int
    common: int
    captioned: int


def select(one: str, other: str, generations: tuple[str | None, str | None], most: int) -> Pairs:
    """At most `most` images that both outputs have. They are matched by sha256, or by key if an image has no sha256.

    `generations`: the generation of each side whose captions are compared. None: the first one with long captions; if
    there is none, the first one with captions.

    Raises UserError for an output without a build, a generation without captions, one generation compared with
    itself, and outputs without an image in common.
    """
    outputs = [find(one), find(other)]
    a, b = (
        Side(output=output, name=name, generation=_generation(output, wanted, option))
        for output, name, wanted, option in zip(outputs, names(outputs), generations, ("--a", "--b"), strict=True)
    )
    same = a.output.roots[-1].url == b.output.roots[-1].url
    if same and a.generation == b.generation:
        raise UserError(
            f"both captions are {a.generation} of {one}. Give another output, or two generations with --a ID --b ID"
        )
    with closing(open_outputs(*outputs[: 1 if same else 2])) as connection:

        def of(view: str, number: int) -> str:
            """The rows of one output; the only output has no column `dataset`."""
            return view if same else f"(FROM {view} WHERE dataset = $name_{'ab'[number]})"

        values: dict[str, Any] = {"generation_a": a.generation, "generation_b": b.generation}
        if not same:
            values |= {"name_a": a.name, "name_b": b.name}
        common = _COMMON.format(
            images_a=of("images", 0),
            images_b=of("images", 1),
            captions_a=of("captions", 0),
            captions_b=of("captions", 1),
        )
        (counts,) = fetch(connection, common + _COUNTS, values)
        rows = fetch_rows(connection, common + _SAMPLE, values | {"most": most})
    images_a, images_b, in_both, captioned = counts
    if not in_both:
        raise UserError(
            f"{one} and {other} have no image in common; images are compared by sha256. Give outputs of the same images"
        )
    if not captioned:
        raise UserError(
            f"{one} and {other} have {number_of(in_both, 'image')} in common, but none has both a caption of "
            f"{a.generation} in {one} and a caption of {b.generation} in {other}. Give others with --a and --b"
        )
    return Pairs(a=a, b=b, rows=rows, images_a=images_a, images_b=images_b, common=in_both, captioned=captioned)


def _generation(output: OutputPaths, wanted: str | None, option: str) -> str:
    """The generation whose captions are compared. Raises UserError."""
    manifest = read_manifest(output)
    order = [one["id"] for one in manifest["generations"]]
    with closing(open_outputs(output)) as connection:
        found = dict(fetch(connection, "SELECT generation, any_value(granularity) FROM captions GROUP BY generation"))
    if wanted is not None:
        if wanted not in found:
            raise UserError(
                f"{option} {wanted}: {output.given} has no captions of this generation; it has "
                f"{', '.join(sorted(found)) or 'none'}"
            )
        return wanted
    own = sorted(found.keys() - {"raw"}, key=lambda id: (found[id] != "long", order.index(id) if id in order else -1))
    if not own:
        raise UserError(f"{output.given} has no generated captions. Give {option} raw to compare its raw captions")
    return own[0]


def write_source(pairs: Pairs, store: Store) -> str:
    """Write the images with both captions as Parquet files into the output of the comparison; returns `source.path`.

    File names are derived from the sample, so another sample gets other files and never uses an index of these. Raises
    DatasetError for an image that cannot be read.
    """
    digest = hashlib.sha256()
    for row in pairs.rows:
        digest.update(repr((row.image, row.key, row.caption_a, row.caption_b)).encode())
    name = f"{FOLDER}/{digest.hexdigest()[:16]}"
    existing = set(store.list(FOLDER))
    for number, first in enumerate(range(0, len(pairs.rows), _ROWS)):
        file = f"{name}-{number:05d}.parquet"
        if file not in existing:
            store.put(file, _parquet(pairs.a.output, pairs.rows[first : first + _ROWS]))
    return f"{store.url}/{name}-*.parquet"


def _parquet(output: OutputPaths, rows: Sequence[Row]) -> bytes:
    data = dict(_images(output, rows))
    a, b = [row.caption_a for row in rows], [row.caption_b for row in rows]
    both = list(zip(a, b, strict=True))
    columns = [[row.key for row in rows], [data[row.key] for row in rows], a, b, both]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, row_group_size=64)
    return sink.getvalue()


def _images(output: OutputPaths, rows: Sequence[Row]) -> Iterator[tuple[str, bytes]]:
    """The bytes of each image by key, as they are stored; the source applies their EXIF orientation."""
    of_split: Mapping[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_split[row.split].append(row)
    for split, wanted in of_split.items():
        layout = find_layout(output.given, split, files := Files())
        files.expect(layout.expected)
        shards = open_shards(layout, files, split=split, tags=False, source=None)
        numbers = {file.shard: number for number, file in enumerate(layout.files)}
        for row in sorted(wanted, key=lambda row: (row.shard, row.place)):
            try:
                sample = shards.read(numbers[row.shard], row.place)
            except OSError as error:
                raise DatasetError(f"the image cannot be read: {error}", key=row.key, shard=row.shard) from error
            if sample.record.key != row.key:
                what = f"the shard has the image {sample.record.key} at this position. Build the dataset again"
                raise DatasetError(what, key=row.key, shard=row.shard)
            yield row.key, sample.image
