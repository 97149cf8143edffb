"""Every kind of problem is made, and validate sees that kind and no other."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import edit_json, edit_rows, edit_table, flip, found, seal

from recaption import schema
from recaption.types import Caption, Record, SubCaption
from recaption.validate import KINDS

FORMATS = ("sidecar", "webdataset", "parquet")
LONG = "answers/long-00000000000000a1/00000.parquet"
KITE, TAXI = "000000000", "000000005"  # ok; partial


# Records that should never have been written; flat tables and data agree about them


def with_captions(change: Callable[[Caption], Caption]) -> Callable[[Record], Record]:
    """Changes the captions of one image, each by itself."""

    def of(record: Record) -> Record:
        return replace(record, captions=tuple(map(change, record.captions))) if record.key == KITE else record

    return of


def with_first_sub(**changes: Any) -> Callable[[Record], Record]:
    """Changes the first sub-caption of the long caption; a value may be a function of it."""

    def sub(old: SubCaption) -> SubCaption:
        return replace(old, **{n: v(old) if callable(v) else v for n, v in changes.items()})

    def caption(old: Caption) -> Caption:
        return replace(old, sub_captions=(sub(old.sub_captions[0]), *old.sub_captions[1:])) if is_long(old) else old

    return with_captions(caption)


def with_first_tag(**changes: Any) -> Callable[[Record], Record]:
    return with_first_sub(tags=lambda sub: (replace(sub.tags[0], **changes), *sub.tags[1:]))


def is_long(caption: Caption) -> bool:
    return caption.generation == "long"


def with_is_last(caption: Caption, is_last: bool) -> Caption:
    return replace(caption, sub_captions=tuple(replace(sub, is_last=is_last) for sub in caption.sub_captions))


def without_last_sub(caption: Caption) -> Caption:
    only = replace(caption, sub_captions=caption.sub_captions[:1])
    return with_is_last(only, True) if is_long(caption) else caption


def without_first_sub(caption: Caption) -> Caption:
    second = replace(caption.sub_captions[-1], sub_id=f"{caption.caption_id}#0", idx=0, is_first=True)
    return replace(caption, sub_captions=(second,)) if is_long(caption) else caption


def moved(record: Record) -> Record:
    """To the other side of the holdout."""
    return replace(record, split="val" if record.split == "train" else "train") if record.key == KITE else record


RECORDS: list[tuple[str, str, Callable[[Record], Record]]] = [
    ("value", "weight", with_first_sub(weight=1.5)),
    ("value+data", "weight is no number", with_first_sub(weight=float("nan"))),
    ("value", "negative tokens", with_first_sub(n_tokens={"clip": 1})),
    ("value", "sha256", lambda r: replace(r, sha256="F" * 64) if r.status == "excluded" else r),
    ("value", "finish_reason", with_captions(lambda c: replace(c, finish_reason="tired"))),  # type: ignore[arg-type]
    ("span", "shifted", with_first_sub(char_start=1, content_start=1)),
    ("span", "other text", with_first_sub(text="Two red kites fly above pale dunes")),
    ("span", "behind the end", with_first_sub(char_end=10_000)),
    ("span", "content_start", with_first_sub(content_start=99)),
    ("sub-caption", "sub_id", with_first_sub(sub_id=f"{KITE}/long/0#7")),
    ("sub-caption", "is_first", with_first_sub(is_first=False)),
    ("sub-caption", "is_last", with_captions(lambda c: with_is_last(c, False))),
    ("sub-caption", "idx", with_first_sub(idx=3, sub_id=f"{KITE}/long/0#3")),
    ("gap", "at the start", with_captions(without_first_sub)),
    ("gap", "at the end", with_captions(without_last_sub)),
    ("dup_of", "of itself", with_first_sub(dup_of=f"{KITE}/long/0#0")),
    ("dup_of", "of another image's", with_first_sub(dup_of=f"{TAXI}/raw/0#0")),
    ("tag", "span", with_first_tag(char_start=1)),
    ("tag", "outside its sub-caption", with_first_tag(char_start=36, char_end=38, text="No")),
    (
        "caption",
        "id",
        with_captions(lambda c: replace(c, caption_id=c.caption_id.replace(KITE, TAXI), sub_captions=())),
    ),
    (
        "caption",
        "text not normalised",
        with_captions(lambda c: replace(c, text=c.text + "\0", sub_captions=()) if c.generation == "raw" else c),
    ),
    ("caption", "source", with_captions(lambda c: replace(c, source="other:prompt"))),
    ("answer", "text", with_captions(lambda c: replace(c, text="Never said.", sub_captions=()) if is_long(c) else c)),
    ("status", "ok without an answer", lambda r: replace(r, status="ok", reason=None) if r.key == TAXI else r),
    ("status", "partial with all", lambda r: replace(r, status="partial") if r.key == KITE else r),
    ("status", "ok with a reason", lambda r: replace(r, reason="refusal") if r.key == KITE else r),
    ("status", "shard", lambda r: replace(r, shard="00001") if r.status == "excluded" else r),
    ("split", "moved", moved),
]


@pytest.mark.parametrize(("kind", "name", "change"), RECORDS, ids=[f"{k}: {n}" for k, n, _ in RECORDS])
def test_records_that_are_wrong(kind: str, name: str, change: Any, remake: Any) -> None:
    problems = found(remake(change))
    assert {problem.kind for problem in problems} == set(kind.split("+")), problems


# Files that were damaged


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda build: edit_json(build / "manifest.json", change)


def rows(path: str, change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    """Changes rows of a table that the manifest then agrees with."""

    def damage(build: Path) -> None:
        edit_rows(build / path, change)
        seal(build, rows=True)

    return damage


def table(path: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        edit_table(build / path, change)
        seal(build)

    return damage


def tar(change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], Any], *, index: bool = True) -> Callable[[Path], None]:
    """Changes the members of the train tar; its index and the manifest then agree with it."""

    def damage(build: Path) -> None:
        path = build / "data/00000.tar"
        with tarfile.open(path) as opened:
            members = [(m, opened.extractfile(m).read()) for m in opened]  # type: ignore[union-attr]
        result = change(members)
        members = result if isinstance(result, list) else members
        starts = []
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as made:
            for info, data in members:
                if info.name.endswith(".jpg"):
                    starts.append(made.offset)
                info.size = len(data) if info.isreg() else 0
                made.addfile(info, io.BytesIO(data))
        offsets = [*starts, path.stat().st_size]
        (build / "data/00000.tar.idx").write_bytes(struct.pack(f"<{len(offsets)}Q", *offsets))
        seal(build)

    return damage


def sample(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes the JSON of the first sample."""

    def members(all_of: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        body = orjson.loads(all_of[2][1])
        change(body)
        all_of[2] = all_of[2][0], orjson.dumps(body)

    return tar(members)


def renamed(name: str) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[1][0].name = name

    return change


def stamped(at: int = 1, **changes: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    """One member with another time, owner or mode."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for name, value in changes.items():
            setattr(members[at][0], name, value)

    return change


def in_pax_form(build: Path) -> None:
    """One member says nothing else, but in a header of three blocks."""
    path = build / "data/00000.tar"
    data = path.read_bytes()
    with tarfile.open(path) as opened:
        text = opened.getmembers()[1]
    text.pax_headers = {"comment": "x"}
    longer = text.tobuf(tarfile.PAX_FORMAT)
    path.write_bytes(data[: text.offset] + longer + data[text.offset_data :])
    index = build / "data/00000.tar.idx"
    first, *rest = struct.unpack(f"<{index.stat().st_size // 8}Q", index.read_bytes())
    moved = [first, *(at + len(longer) - tarfile.BLOCKSIZE for at in rest)]
    index.write_bytes(struct.pack(f"<{len(moved)}Q", *moved))
    seal(build)


def text(path: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        said = (build / path).read_text()
        assert old in said
        (build / path).write_text(said.replace(old, new))

    return damage


def bytes_of(path: str, data: bytes) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        (build / path).write_bytes(data)
        seal(build)

    return damage


def first(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda all_of: all_of[0].update(changes)


def key_twice(build: Path) -> None:
    """The first image of the second shard, a rejected one so that it has no captions, takes a key of the first."""
    images = pq.read_table(build / "images/00001.parquet").to_pylist()
    old = next(row["key"] for row in images if row["status"] in ("reject", "excluded"))
    tables = [build / f"{name}/00001.parquet" for name in ("images", "data", "rejects")]
    for path in (*tables, build.parent.parent / "index/00001.parquet"):
        edit_rows(path, lambda all_of: [{**row, "key": KITE} if row["key"] == old else row for row in all_of])
    seal(build)


def around(build: Path) -> Path:
    """The output that the build lies in."""
    return build.parent.parent


def said_to_be(name: str, version: str) -> Callable[[pa.Table], pa.Table]:
    metadata = {schema.VERSION_KEY: version.encode(), schema.TABLE_KEY: name.encode()}
    return lambda table: table.replace_schema_metadata(metadata)


def wider_count(tags: pa.Table) -> pa.Table:
    return tags.set_column(tags.column_names.index("count"), "count", tags["count"].cast(pa.int64()))


def all_nullable(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata))


def cut(path: str, end: int) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        (build / path).write_bytes((build / path).read_bytes()[:end])
        seal(build)

    return damage


def rows_of(table: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: next(f for f in body["shards"][0]["files"] if f["table"] == table).update(rows=99)


def in_both(field: str, name: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        body[field][name] = body["shards"][0][field][name] = 1

    return change


def other_reason(rejects: list[dict[str, Any]]) -> None:
    next(row for row in rejects if row["generation"] == "short")["reason"] = "refusal"


def reject_of_nobody(rejects: list[dict[str, Any]]) -> None:
    rejects.append({**rejects[0], "key": "nobody", "generation": None, "stage": "build", "reason": "changed"})


def first_tag(record: dict[str, Any]) -> dict[str, Any]:
    tag: dict[str, Any] = record["captions"][1]["sub_captions"][0]["tags"][0]
    return tag


def content(at: int, data: bytes) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[at] = members[at][0], data

    return change


def backwards(index: list[dict[str, Any]]) -> None:
    for row in index:
        row["offset"] = 100_000 - row["offset"]


def counts(**changes: int) -> Callable[[dict[str, Any]], None]:
    """In the shard and in the total."""

    def change(body: dict[str, Any]) -> None:
        for name, by in changes.items():
            body["shards"][0]["counts"][name] += by
            body["counts"][name] += by

    return change


def one_byte_more(body: dict[str, Any]) -> None:
    body["shards"][0]["files"][0]["bytes"] += 1
    body["counts"]["bytes"] += 1


def padding(build: Path) -> None:
    with tarfile.open(build / "data/00000.tar") as opened:
        text = opened.getmembers()[1]
    flip(build / "data/00000.tar", text.offset_data + text.size)


def first_file(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["shards"][0]["files"][0].update(changes)


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    ("manifest", "webdataset", "gone", lambda b: (b / "manifest.json").unlink()),
    ("manifest", "webdataset", "no JSON", lambda b: (b / "manifest.json").write_bytes(b"{")),
    ("manifest", "webdataset", "a field is gone", manifest(lambda m: m.pop("splits"))),
    ("manifest", "webdataset", "a field too many", manifest(lambda m: m.update(mood="good"))),
    ("manifest", "webdataset", "a path that leaves the build", manifest(first_file(path="../../../../etc/passwd"))),
    ("manifest", "webdataset", "a shard twice", manifest(lambda m: m["shards"].append(m["shards"][0]))),
    ("manifest", "webdataset", "a shard that is no name", manifest(lambda m: m["shards"][0].update(name="../x"))),
    ("manifest", "webdataset", "a table is not listed", manifest(lambda m: m["shards"][0]["files"].pop())),
    ("manifest", "webdataset", "counts of a wrong type", manifest(lambda m: m["counts"].update(ok="15"))),
    ("version", "webdataset", "newer manifest", manifest(lambda m: m.update(schema_version="2.0"))),
    ("version", "webdataset", "no version", manifest(lambda m: m.update(schema_version=[1]))),
    ("version", "parquet", "newer table", table("tags/00000.parquet", said_to_be("tags", "2.0"))),
    ("version", "parquet", "version that is none", table("data/00000.parquet", said_to_be("records", "new"))),
    ("missing file", "webdataset", "tar", lambda b: (b / "data/val/00000.tar").unlink()),
    ("missing file", "sidecar", "table", lambda b: (b / "tags/00001.parquet").unlink()),
    ("missing file", "sidecar", "views.sql", lambda b: (b / "views.sql").unlink()),
    ("missing file", "webdataset", "sizes.json", lambda b: (b / "data/sizes.json").unlink()),
    ("missing file", "sidecar", "README.md", lambda b: (b / "README.md").unlink()),
    ("size", "webdataset", "table", manifest(one_byte_more)),
    ("sha256", "webdataset", "padding of a tar", padding),
    ("sha256", "parquet", "table", manifest(lambda m: m["shards"][1]["files"][-1].update(sha256="0" * 64))),
    ("unreadable", "sidecar", "table cut off", cut("captions/00000.parquet", -9)),
    (
        "unreadable",
        "parquet",
        "data that are none",
        bytes_of("data/00000.parquet", b"PAR1 and then nothing of the kind"),
    ),
    ("unreadable", "webdataset", "tar cut off", cut("data/00000.tar", 5000)),
    ("rows", "sidecar", "table", manifest(rows_of("rejects"))),
    ("rows", "sidecar", "data", manifest(rows_of("data"))),
    ("unlisted file", "webdataset", "tar", lambda b: shutil.copy(b / "data/00000.tar", b / "data/old.tar")),
    ("unlisted file", "parquet", "folder", lambda b: (b / "more").mkdir() or (b / "more/x").touch()),
    (
        "beside",
        "webdataset",
        "sizes.json",
        lambda b: edit_json(b / "data/sizes.json", lambda s: s.update({"00000.tar": 1})),
    ),
    ("beside", "webdataset", "_info.json", lambda b: (b / "_info.json").write_bytes(b"[")),
    ("views", "webdataset", "another view", text("views.sql", "FROM tags WHERE", "FROM tags WHERE true OR")),
    ("views", "sidecar", "a statement more", text("views.sql", "-- runs", "INSTALL 'mine';\n-- runs")),
    (
        "views",
        "parquet",
        "behind a semicolon",
        text("views.sql", "kind = 'object';", "kind = 'object'; DROP VIEW tags;"),
    ),
    ("views", "parquet", "a view gone", lambda b: (b / "views.sql").write_bytes(b"-- nothing\n")),
    ("views", "parquet", "no text", lambda b: (b / "views.sql").write_bytes(b"\xff\x00")),
    ("columns", "parquet", "gone", table("captions/00000.parquet", lambda t: t.drop_columns(["lang"]))),
    ("columns", "parquet", "of another type", table("tags/00000.parquet", wider_count)),
    (
        "columns",
        "parquet",
        "one more",
        table("images/00000.parquet", lambda t: t.append_column("mood", pa.array(["good"] * len(t)))),
    ),
    ("columns", "sidecar", "of the data", table("data/00000.parquet", lambda t: t.drop_columns(["url"]))),
    ("columns", "sidecar", "nullable", table("rejects/00000.parquet", all_nullable)),
    ("columns", "sidecar", "another table", table("rejects/00000.parquet", said_to_be("images", "1.3"))),
    (
        "order",
        "sidecar",
        "captions",
        rows("captions/00000.parquet", lambda all_of: sorted(all_of, key=lambda r: r["key"], reverse=True)),
    ),
    ("duplicate key", "sidecar", "over shards", key_twice),
    ("split", "parquet", "smaller share", manifest(lambda m: m.update(holdout=0.01))),
    ("split", "sidecar", "larger share", manifest(lambda m: m.update(holdout=0.6))),
    ("manifest", "sidecar", "share that is none", manifest(lambda m: m.update(holdout=1.5))),
    ("sum+count", "webdataset", "images", manifest(counts(images=1))),
    ("sum+count", "webdataset", "asked", manifest(lambda m: m["shards"][0]["generations"]["long"].update(asked=99))),
    ("sum+count", "webdataset", "splits", manifest(lambda m: m["shards"][0]["splits"].update(train=99))),
    ("count", "webdataset", "total", manifest(lambda m: m["counts"].update(words=1))),
    ("count", "webdataset", "tags", manifest(counts(tags=1))),
    ("count", "webdataset", "histogram", manifest(in_both("distinct_texts", "77"))),
    ("count", "webdataset", "reasons", manifest(in_both("rejects", "poison"))),
    ("count", "webdataset", "n_texts", rows("images/00000.parquet", first(n_texts=9))),
    ("count", "webdataset", "why not answered", rows("rejects/00000.parquet", other_reason)),
    ("reject", "webdataset", "of no image", rows("rejects/00000.parquet", reject_of_nobody)),
    ("image", "webdataset", "bytes", tar(content(0, b"\xff\xd8\xff other"))),
    ("image", "webdataset", "source", sample(lambda s: s["image"].update(source_sha256="0" * 64))),
    ("image", "webdataset", "format", sample(lambda s: s["image"].update(format="png"))),
    ("image", "parquet", "bytes", rows("data/00000.parquet", lambda all_of: all_of[0]["image"].update(bytes=b"other"))),
    ("image", "parquet", "name", rows("data/00000.parquet", lambda all_of: all_of[0]["image"].update(path="x.jpg"))),
    ("image", "parquet", "null", rows("data/00000.parquet", lambda all_of: all_of[0].update(image=None))),
    ("data", "sidecar", "row gone", rows("data/00000.parquet", lambda all_of: all_of[1:])),
    ("data", "sidecar", "row swapped", rows("data/00000.parquet", lambda all_of: all_of[::-1])),
    ("data+beside", "parquet", "row gone", rows("data/val/00000.parquet", lambda all_of: all_of[1:])),
    ("data", "parquet", "url", rows("data/00000.parquet", first(url="https://example.org/other"))),
    (
        "data",
        "sidecar",
        "text of a tag",
        rows("data/00000.parquet", lambda all_of: first_tag(all_of[0]).update(lemma="bird")),
    ),
    ("data", "sidecar", "caption gone", rows("data/00000.parquet", lambda all_of: all_of[0]["captions"].pop())),
    ("data", "webdataset", "weight", sample(lambda s: s["captions"][1]["sub_captions"][0].update(weight=0.5))),
    ("data", "webdataset", "status", sample(lambda s: s.update(status="partial"))),
    ("tar", "webdataset", "renamed", tar(renamed("other.txt"))),
    ("tar", "webdataset", "traversal", tar(renamed("../../../etc/x.txt"))),
    ("tar", "webdataset", "dotted key", tar(renamed(f"{KITE}.en.txt"))),
    ("tar", "webdataset", "member gone", tar(lambda m: m.pop(1))),
    ("tar", "webdataset", "members out of order", tar(lambda m: [m[0], m[2], m[1], *m[3:]])),
    ("tar", "webdataset", "one more member", tar(lambda m: [(tarfile.TarInfo("README"), b"read me"), *m])),
    ("tar", "webdataset", "link", tar(lambda m: setattr(m[1][0], "type", tarfile.SYMTYPE))),
    ("header", "webdataset", "time", tar(stamped(mtime=1_700_000_000))),
    ("header", "webdataset", "user", tar(stamped(uid=1000))),
    ("header", "webdataset", "group", tar(stamped(gid=1000))),
    ("header", "webdataset", "name of the user", tar(stamped(uname="root"))),
    ("header", "webdataset", "mode", tar(stamped(mode=0o600))),
    ("header", "webdataset", "of an image", tar(stamped(0, mtime=1))),
    ("header", "webdataset", "in pax form", in_pax_form),
    ("tar index", "webdataset", "offset", lambda b: (flip(b / "data/00000.tar.idx", 8), seal(b))),
    ("tar index", "webdataset", "length", bytes_of("data/00000.tar.idx", b"1234567")),
    ("sample", "webdataset", "no JSON", tar(content(2, b"{"))),
    ("sample", "webdataset", "version", sample(lambda s: s.update(v="2.0"))),
    ("sample", "webdataset", "field", sample(lambda s: s.update(mood="good"))),
    ("sample", "webdataset", "null", sample(lambda s: s.update(reason=None))),
    ("sample", "webdataset", "type", sample(lambda s: s["captions"][0].update(text=["a", "b"]))),
    ("sample", "webdataset", "flat text", sample(lambda s: s.update(caption_long="Something else."))),
    ("sample", "webdataset", "flat text gone", sample(lambda s: s.pop("raw_caption"))),
    ("sample", "webdataset", "field of a tag", sample(lambda s: first_tag(s).update(x=1))),
    ("txt", "webdataset", "text", tar(content(1, b"Something else."))),
    ("txt", "webdataset", "line end", tar(content(1, b"Two red kites above dunes.\n"))),
    ("tag+data", "parquet", "lemmas", rows("sub_captions/00000.parquet", first(tag_lemmas=["x"]))),
    ("answer", "parquet", "of the store", lambda b: edit_rows(around(b) / LONG, first(text="Something else."))),
    ("unreadable", "parquet", "answers", lambda b: (around(b) / LONG).write_bytes(b"PAR1")),
    ("no answers", "parquet", "gone", lambda b: shutil.rmtree(around(b) / "answers")),
    ("source", "sidecar", "bytes", lambda b: flip(around(b) / "../source/00000.tar", 600)),
    ("source", "sidecar", "cut off", lambda b: (around(b) / "../source/00000.tar").write_bytes(b"")),
    (
        "source",
        "sidecar",
        "another order",
        lambda b: edit_rows(around(b) / "index/00000.parquet", lambda all_of: backwards(all_of)),
    ),
    ("source", "sidecar", "another image", lambda b: edit_rows(around(b) / "index/00000.parquet", first(key="other"))),
    ("no source", "sidecar", "gone", lambda b: shutil.rmtree(around(b) / "../source")),
    ("no source", "sidecar", "no index", lambda b: shutil.rmtree(around(b) / "index")),
    ("unreadable", "sidecar", "index", lambda b: (around(b) / "index/00000.parquet").write_bytes(b"")),
]


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_files_that_were_damaged(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    damage(out / "builds" / format)
    problems = found(out / "builds" / format)
    assert {problem.kind for problem in problems} == set(kind.split("+")), problems
    warning = kind in ("unlisted file", "no answers", "no source")
    assert {problem.severity for problem in problems} == {"warning" if warning else "error"}


def test_every_kind_is_made() -> None:
    elsewhere = {"token ids", "pixels"}  # test_texts.py, tests/run/test_pixels.py
    assert {kind for made, *_ in (*RECORDS, *FILES) for kind in made.split("+")} | elsewhere == set(KINDS)


def test_a_good_dataset_has_no_problems(out: Path) -> None:
    assert [found(path) for path in (out, out / "dataset", *(out / "builds" / f for f in FORMATS))] == [[]] * 5


def test_comments_and_breaks_of_the_views_do_not_matter(out: Path) -> None:
    views = out / "builds/parquet/views.sql"
    views.write_text(f"-- mine\n{views.read_text().replace(' FROM', chr(10) + '  FROM')}\n-- read\n")
    assert found(out / "builds/parquet") == []


def test_lists_that_no_profile_asked_for(out: Path) -> None:
    build = out / "builds/webdataset"
    sample(lambda body: body.update(raw_caption=["red kite over the dunes"]))(build)
    assert {problem.kind for problem in found(build)} == {"sample"}


def test_tables_of_the_pipelines_own(out: Path) -> None:
    build = out / "builds/parquet"
    target = schema.custom_table("moods", pa.schema([pa.field("mood", pa.string())]))
    (build / "moods").mkdir()

    def list_them(manifest: dict[str, Any]) -> None:
        for shard in manifest["shards"]:
            path = f"moods/{shard['name']}.parquet"
            subs = pq.read_table(build / f"sub_captions/{shard['name']}.parquet", columns=["sub_id", "key"])
            subs = subs.append_column("mood", pa.array(["calm"] * len(subs)))
            pq.write_table(pa.table(subs.columns, schema=target), build / path)
            entry = {"path": path, "table": "moods", "split": None, "rows": len(subs), "bytes": 0, "sha256": "0" * 64}
            shard["files"].append(entry)

    edit_json(build / "manifest.json", list_them)
    seal(build)
    assert {problem.kind for problem in found(build)} == {"views"}
    with open(build / "views.sql", "a") as views:
        views.write(
            "CREATE OR REPLACE VIEW \"moods\" AS SELECT * FROM read_parquet('./moods/*.parquet', union_by_name = true);"
        )
    assert found(build) == []
    rows("moods/00000.parquet", first(sub_id="nobody/raw/0#0"))(build)
    assert {problem.kind for problem in found(build)} == {"tag"}


def test_a_holdout_that_is_no_share_of_the_images_is_seen_across_shards(remake: Any) -> None:
    """Each shard by itself is consistent: all of the second is val."""
    out = remake(lambda record: replace(record, split="val" if record.shard == "00001" else record.split))
    (problem,) = found(out)
    assert problem.kind == "split" and "is val, though its sha256 is not within" in problem.what
    edit_json(out / "builds/webdataset/manifest.json", lambda body: body.pop("holdout"))
    (problem,) = found(out)
    assert problem.kind == "split" and "which is train, has a lower sha256" in problem.what


def test_problems_say_where_and_what_to_do(out: Path) -> None:
    build = out / "builds/parquet"
    rows("sub_captions/00000.parquet", first(char_end=4))(build)
    first_of, *_ = found(build)
    assert first_of.where == f"sub_captions/00000.parquet, {KITE}/raw/0#0"
    assert "[0:4]" in first_of.what and first_of.advice == KINDS["span"]


def test_flairs_own_split_may_drop_full_stops(remake: Any) -> None:
    def bare(sub: SubCaption) -> SubCaption:
        return replace(sub, text=sub.text.removesuffix("."), char_end=sub.char_start + len(sub.text.removesuffix(".")))

    out = remake(with_captions(lambda c: replace(c, sub_captions=tuple(map(bare, c.sub_captions)))))
    assert {problem.kind for problem in found(out)} == {"gap"}
    splitter = {"annotate": {"splitter": "flair_regex-1"}}
    edit_json(out / "builds/webdataset/manifest.json", lambda body: body["provenance"].update(splitter))
    assert found(out) == []


def test_of_an_older_build_the_files_are_compared(out: Path) -> None:
    build = out / "builds/parquet"
    edit_json(build / "manifest.json", lambda body: body.update(schema_version="1.0"))
    (problem,) = found(build)
    assert (problem.kind, problem.severity) == ("version", "warning")
    flip(build / "tags/00000.parquet", 100)
    (build / "data/00001.parquet").unlink()
    assert [problem.kind for problem in found(build)] == ["version", "sha256", "missing file"]
