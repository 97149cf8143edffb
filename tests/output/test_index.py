from __future__ import annotations

import io
import math
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.errors import DatasetError
from recaption.output.index import index_digest, index_from_table, index_to_table
from recaption.schema import INDEX
from recaption.types import REASONS, Image, Locator

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
SIZES = st.integers(0, 2**63 - 1)
IMAGES = st.builds(
    Image,
    key=TEXT,
    source_key=TEXT,
    shard=st.just("s"),
    row=SIZES,
    sha256=TEXT,
    locator=st.builds(
        Locator, path=TEXT, size=SIZES, member=st.none() | TEXT, offset=SIZES, row=st.none() | SIZES
    ),
    url=st.none() | TEXT,
    raw_captions=st.lists(TEXT, max_size=3).map(tuple),
    columns=st.dictionaries(TEXT, JSON, max_size=2),
    reason=st.none() | st.sampled_from(sorted(REASONS)),
    detail=st.none() | TEXT,
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(IMAGES, max_size=3))
def test_an_index_comes_back_as_it_was(images: list[Image]) -> None:
    out = io.BytesIO()
    pq.write_table(index_to_table(images), out)
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table.schema.equals(INDEX)
    again = index_from_table(table, "s")
    assert again == images
    assert repr(again) == repr(images)  # 1 and 1.0 and True are equal
    assert index_digest(again) == index_digest(images)


def test_an_index_of_an_earlier_version_has_one_raw_caption() -> None:
    table = index_to_table([replace(image(0), raw_captions=("a", "b")), replace(image(1), raw_captions=("c",))])
    earlier = index_from_table(table.drop_columns(["raw_captions"]), "s")
    assert [each.raw_captions for each in earlier] == [("a",), ("c",)]
    with pytest.raises(DatasetError, match="lacks sha256"):
        index_from_table(table.drop_columns(["sha256"]), "s")


def image(row: int, key: str = "k", sha256: str = "0" * 64) -> Image:
    return Image(key=key, source_key=key, shard="s", row=row, sha256=sha256, locator=Locator(path="p", size=1))


def test_the_digest_is_of_row_key_and_bytes() -> None:
    base = index_digest([image(0), image(1, "l")])
    assert base == index_digest([image(0), image(1, "l")])
    assert len(base) == 12
    others = [[image(0)], [image(1, "l"), image(0)], [image(0), image(1, "m")], [image(0), image(1, "l", "1" * 64)], []]
    assert len({base, *map(index_digest, others)}) == 6


def test_tables_that_are_no_index() -> None:
    table = index_to_table([image(0)])
    with pytest.raises(DatasetError, match="lacks offset"):
        index_from_table(table.drop_columns(["offset"]), "s")
    bad = table.set_column(table.column_names.index("reason"), "reason", [["tired"]])
    with pytest.raises(DatasetError, match="unknown reason 'tired'"):
        index_from_table(bad, "s")


def test_only_strict_json_is_written() -> None:
    odd = Image(**{name: getattr(image(0), name) for name in Image.__slots__} | {"columns": {"x": math.nan}})
    with pytest.raises(ValueError, match="JSON"):
        index_to_table([odd])
