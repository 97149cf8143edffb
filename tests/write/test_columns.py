from __future__ import annotations

import pyarrow as pa

from recaption import schema
from recaption.types import Caption, Record, SubCaption, Tag
from recaption.write.columns import Columns, by_key


def tag(lemma: str, kind: str = "object") -> Tag:
    return Tag(lemma=lemma, text=lemma, char_start=0, char_end=len(lemma), attributes=("red",), kind=kind)  # type: ignore[arg-type]


def record(key: str, *sentences: tuple[Tag, ...]) -> Record:
    subs = tuple(
        SubCaption(
            sub_id=f"{key}/long/0#{i}",
            idx=i,
            text="A dog.",
            char_start=0,
            char_end=6,
            n_words=2,
            content_start=0,
            n_tokens={"clip": 4},
            tags=tags,
        )
        for i, tags in enumerate(sentences)
    )
    caption = Caption(
        caption_id=f"{key}/long/0",
        generation="long",
        source="m:p",
        granularity="long",
        text="A dog.",
        sub_captions=subs,
    )
    return Record(
        key=key, source_key=key, shard="0", row=0, sha256="0" * 64, status="ok", captions=(caption,) if subs else ()
    )


RECORDS = [record("b", (tag("dog"), tag("mood", "abstract")), (tag("cat"),)), record("a", (tag("cup"),)), record("c")]


def test_nested_and_flat_tables_have_the_same_values() -> None:
    columns = Columns(RECORDS, ["clip"])
    nested = columns.nested().to_pylist()
    assert [row["key"] for row in nested] == ["b", "a", "c"], "nested records stay in order"
    subs = {s["sub_id"]: s for row in nested for c in row["captions"] for s in c["sub_captions"]}
    for row in columns.sub_captions().to_pylist():
        inner = subs[row["sub_id"]]
        assert {name: row[name] for name in inner if name != "tags"} == {n: v for n, v in inner.items() if n != "tags"}
    tags = [{**t, "sub_id": id} for id, s in sorted(subs.items()) for t in s["tags"]]
    assert [{k: row[k] for k in tags[0]} for row in columns.tags().to_pylist()] == tags


def test_flat_tables_are_sorted_by_key_and_know_what_they_belong_to() -> None:
    columns = Columns(RECORDS, ["clip"])
    assert columns.captions()["key"].to_pylist() == ["a", "b"]
    assert columns.sub_captions()["caption_id"].to_pylist() == ["a/long/0", "b/long/0", "b/long/0"]
    assert columns.tags()["key"].to_pylist() == ["a", "b", "b", "b"]
    assert columns.images()["n_sub_captions"].to_pylist() == [2, 1, 0]


def test_only_objects_are_lemmas_of_a_sub_caption() -> None:
    assert Columns(RECORDS).sub_captions()["tag_lemmas"].to_pylist() == [["cup"], ["dog"], ["cat"]]


def test_without_records_all_tables_have_their_schemas() -> None:
    columns = Columns([], ["clip"])
    flat = schema.flat(["clip"])
    made = {"captions": columns.captions(), "sub_captions": columns.sub_captions(), "tags": columns.tags()}
    assert all(table.schema.equals(flat[name]) and table.num_rows == 0 for name, table in made.items())
    assert columns.nested().schema.equals(schema.records(["clip"]))


def test_rows_with_equal_keys_keep_their_order() -> None:
    table = pa.table({"key": ["b", "a", "b", "a"], "n": [0, 1, 2, 3]})
    assert by_key(table).to_pydict() == {"key": ["a", "a", "b", "b"], "n": [1, 3, 0, 2]}
    in_order = by_key(table)
    assert by_key(in_order) is in_order
