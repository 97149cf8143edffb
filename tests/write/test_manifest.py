from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from verified import CHECK, VERIFICATIONS, verification
from writing import write_manifest, write_shard

from recaption import schema
from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.output.locate import read_manifest
from recaption.resources import shipped
from recaption.write import Encoder, GenerationCounts, ShardEntry, views_sql, written_shard

SAMPLING = {"policy": "weighted", "k": 8, "max_merge": 3, "p_raw": 0.1}


def write(store: LocalStore, one: Any, format: Any = "webdataset", build: str = "b", **more: Any) -> ShardEntry:
    made = one.assembled()
    return write_shard(
        store,
        f"builds/{build}",
        one.name,
        one.records(),
        one.images,
        format=format,
        tokenizers=["clip"],
        primary=["long"],
        rejects=made.rejects,
        asked=made.asked,
        **more,
    )


def describe(
    store: LocalStore, entries: list[ShardEntry], one: Any, format: Any = "webdataset", build: str = "b", **more: Any
) -> dict[str, Any]:
    return write_manifest(
        store,
        f"builds/{build}",
        name="test",
        build=build,
        format=format,
        image_mode="jpeg",
        shards=entries,
        generations=one.generations,
        require=["long"],
        primary=["long", "raw"],
        tokenizers=["clip"],
        sampling=SAMPLING,
        provenance={"x": 1},
        **more,
    )


def validate(name: str, body: Any) -> None:
    paths = shipped("schemas").glob("*.schema.json")
    contents = {path.name: json.loads(path.read_bytes()) for path in paths}
    ours = ((n, Resource.from_contents(c)) for n, c in contents.items() if "pipeline" not in n)
    registry = Registry().with_resources(ours)
    Draft202012Validator(contents[f"{name}.schema.json"], registry=registry).validate(body)


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_written_files_are_valid_by_the_schemas(store: LocalStore, shard: Any, format: str) -> None:
    one, two = shard(20, holdout=0.3), shard(5, name="00001")
    made = describe(store, [write(store, one, format), write(store, two, format)], one, format)
    root = store.root / "builds/b"
    manifest = json.loads((root / "manifest.json").read_bytes())
    assert manifest == made == read_manifest(store, "builds/b")
    validate("manifest", manifest)
    assert (root / "data/sizes.json").exists() == (format == "webdataset")
    for path in ("sizes.json", "data/sizes.json")[: 2 if format == "webdataset" else 1]:
        validate("sizes", json.loads((root / path).read_bytes()))
    info = json.loads((root / "_info.json").read_bytes())
    validate("_info", info)
    assert manifest["counts"]["images"] == 25 and manifest["rejects"] == {"repetition": 2}
    assert sum(manifest["splits"].values()) == 23 == sum(s["num_samples"] for s in info["splits"].values())
    assert manifest["generations"][0] | {"asked": 25, "answered": 23, "rejected": 2} == manifest["generations"][0]
    assert sum(manifest["distinct_texts"].values()) == 23
    for split in info["splits"].values():
        assert all((root / name).is_file() for name in split["filenames"])
    listed = {f["path"] for s in manifest["shards"] for f in s["files"]}
    beside = {"manifest.json", "sizes.json", "_info.json", "views.sql", "data/sizes.json", "data/val/sizes.json"}
    beside |= {"README.md", "croissant.json"}
    assert {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} - beside == listed


def test_token_ids_are_composable_if_they_are_in_every_shard(store: LocalStore, shard: Any) -> None:
    one, two, scene = shard(3), shard(3, name="00001"), Encoder("scene")
    entries = [write(store, of, token_ids=[scene]) for of in (one, two)]
    assert [written_shard(store, "builds/b", of.name) for of in (one, two)] == entries
    for composable in ([True, True], [True, False]):
        changed = [replace(e, composable={"scene": yes}) for e, yes in zip(entries, composable, strict=True)]
        made = describe(store, changed, one, token_ids=[scene.facts])
        validate("manifest", json.loads((store.root / "builds/b/manifest.json").read_bytes()))
        assert made["token_ids"] == [{**scene.facts.to_json(), "composable": all(composable)}]
    failed = [replace(entry, token_failures={"scene": n}) for n, entry in enumerate(entries, 1)]
    assert "token_failures" not in made
    counted = describe(store, failed, one, token_ids=[scene.facts])
    validate("manifest", json.loads((store.root / "builds/b/manifest.json").read_bytes()))
    assert counted["token_failures"] == {"scene": 3}
    tokens = [f for s in made["shards"] for f in s["files"] if f["table"] == "tokens"]
    assert [f["path"] for f in tokens] == ["tokens/scene/00000.bin", "tokens/scene/00001.bin"]
    assert "token_ids" not in describe(store, [write(store, one)], one)


def test_sizes_json_is_in_the_folder_of_the_shards(store: LocalStore, shard: Any) -> None:
    """open_clip's get_dataset_size: `sizes.json` in the folder of the first shard, keys are base names."""
    one = shard(20, holdout=0.3)
    entry = write(store, one)
    describe(store, [entry], one)
    for folder, split in (("data", "train"), ("data/val", "val")):
        sizes = json.loads((store.root / f"builds/b/{folder}/sizes.json").read_bytes())
        assert sizes == {"00000.tar": entry.splits[split]}


def broken(entry: ShardEntry, what: str) -> ShardEntry:
    counts, asked = dict(entry.counts), dict(entry.generations)
    if what == "images":
        return replace(entry, counts={**counts, "images": counts["images"] + 1})
    if what == "splits":
        return replace(entry, splits={"train": 1, "val": 0})
    if what == "missing":
        return replace(entry, generations={"long": asked["long"]})
    long = asked["long"]
    changed = {
        "unanswered": replace(long, answered=long.answered - 1),
        "twice": replace(long, answered=long.answered + 1),
    }
    many = replace(long, asked=100, answered=100 - long.rejected)
    return replace(entry, generations={**asked, "long": changed.get(what, many)})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("images", "7 images, but"),
        ("splits", "usable images, but splits"),
        ("unanswered", "images with neither: 1"),
        ("twice", "1 are counted twice"),
        ("many", "more than there are images"),
        ("missing", "no counts of generation short"),
    ],
)
def test_a_wrong_sum_is_a_dataset_error(store: LocalStore, shard: Any, what: str, message: str) -> None:
    one = shard(6)
    entry = write(store, one)
    with pytest.raises(DatasetError, match=message) as caught:
        describe(store, [broken(entry, what)], one)
    assert caught.value.shard == "00000"
    assert not store.exists("builds/b/manifest.json")


def test_an_incomplete_generation_is_a_dataset_error(store: LocalStore, shard: Any) -> None:
    one = shard(6)
    del one.answers["short"][one.pairs[4][0].key]  # neither answered nor rejected
    with pytest.raises(DatasetError, match=r"short: asked 6, but answered 4 \+ rejected 1"):
        describe(store, [write(store, one)], one)


def test_generations_without_captions_and_their_tables(store: LocalStore, shard: Any) -> None:
    one = shard(6)
    subs = [(r.key, s.sub_id) for r in one.records() for c in r.captions for s in c.sub_captions]
    rows = [verification({"key": key, "sub_id": sub_id}, 0.5) for key, sub_id in reversed(subs)]
    rows.append(verification({"key": "k001", "sub_id": "k001/long/0#0"}, 0.5))  # its image is rejected
    table = pa.Table.from_pylist(rows, schema=schema.task_table("verifications", VERIFICATIONS.columns))
    made = one.assembled()
    entry = write_shard(
        store,
        "builds/b",
        one.name,
        one.records(),
        one.images,
        format="sidecar",
        tokenizers=["clip"],
        rejects=made.rejects,
        asked={
            **made.asked,
            "check": GenerationCounts(asked=20, answered=19, rejected=1, reasons={"unclear": 1}, skipped=2),
        },
        custom_tables={"verifications": table},
    )
    one.generations = [*one.generations, CHECK]
    oneline = replace(VERIFICATIONS, description="Rows;\nDROP VIEW images;")
    manifest = describe(store, [entry], one, "sidecar", tables=[oneline])
    validate("manifest", json.loads((store.root / "builds/b/manifest.json").read_bytes()))
    assert [g["id"] for g in manifest["generations"]] == ["long", "short"]
    assert not {"task", "over", "skipped", "unanswered"} & set().union(*manifest["generations"])
    (check,) = manifest["tasks"]
    assert check["task"] == "verify" and check["over"] == ["long"] and "kind" not in check
    assert [check[n] for n in ("asked", "answered", "rejected", "skipped", "unanswered")] == [20, 19, 1, 2, 0]
    assert [spec["name"] for spec in manifest["tables"]] == ["verifications"]
    written = pq.read_table(store.root / "builds/b/verifications/00000.parquet")
    assert written["key"].to_pylist() == sorted(key for key, _ in subs)
    views = (store.root / "builds/b/views.sql").read_text()
    assert '-- verifications: Rows; DROP VIEW images;\nCREATE OR REPLACE VIEW "verifications" AS' in views
    card = (store.root / "builds/b/README.md").read_text()
    assert f"| `verifications/` | Rows; DROP VIEW images; | {len(subs)} |" in card
    assert "check: asked 20 = answered 19 + rejected 1; images skipped: 2" in card
    assert "| `check` | `verify` over `long` | `judge` | `is_it_true` |" in card and "| `unclear` | check | 1 |" in card
    sets = {
        one["@id"]: one for one in json.loads((store.root / "builds/b/croissant.json").read_bytes())["distribution"]
    }
    assert sets["verifications-files"]["description"].startswith("Rows;\nDROP VIEW images;. 1 file,")


def test_the_units_of_a_task_may_be_more_than_the_images_but_their_sum_has_to_hold(
    store: LocalStore, shard: Any
) -> None:
    one = shard(4)
    entry = write(store, one)
    one.generations = [*one.generations, CHECK]
    good = {**entry.generations, "check": GenerationCounts(asked=100, answered=98, rejected=2, unanswered=7)}
    assert describe(store, [replace(entry, generations=good)], one)["tasks"][0]["unanswered"] == 7
    bad = {**entry.generations, "check": GenerationCounts(asked=100, answered=98)}
    with pytest.raises(DatasetError, match="units with neither: 2"):
        describe(store, [replace(entry, generations=bad)], one)


def test_a_duplicate_shard_is_refused(store: LocalStore, shard: Any) -> None:
    entry = write(store, shard(4))
    with pytest.raises(DatasetError, match="twice"):
        describe(store, [entry, entry], shard(4))


def test_entries_are_read_back_until_the_manifest_is_written(store: LocalStore, shard: Any) -> None:
    one = shard(6)
    entry = write(store, one)
    assert ShardEntry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    assert written_shard(store, "builds/b", "00000") == entry and written_shard(store, "builds/b", "00001") is None
    describe(store, [entry], one)
    assert written_shard(store, "builds/b", "00000") is None
    assert not (store.root / "builds/b/.shards").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [(None, "not finished"), (b"{", "not a manifest"), (b'{"schema_version":"2.0"}', "2.0"), (b"[]", "not a manifest")],
)
def test_unfinished_broken_and_newer_builds_are_refused(store: LocalStore, body: bytes | None, message: str) -> None:
    if body is not None:
        store.put("builds/b/manifest.json", body)
    with pytest.raises(DatasetError, match=message):
        read_manifest(store, "builds/b")


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_views_open_the_build(store: LocalStore, shard: Any, format: str) -> None:
    one = shard(20, holdout=0.3)
    entry = write(store, one, format)
    describe(store, [entry], one, format)
    store.put("metrics/000001.json", b'{"v":"1.0","run":"000001","started":"2026-01-31T12:00:00Z"}')
    for generation in ("long-1", "short-2"):
        data = (store.root / "builds/b/images/00000.parquet").read_bytes()  # any table will do for the view to bind
        store.put(f"answers/{generation}/00000.parquet", data)
    con = duckdb.connect()
    con.execute(views_sql(str(store.root / "builds/b"), str(store.root)))
    views = ("images", "records", "captions", "sub_captions", "tags", "rejects", "shards", "runs", "answers")
    rows = {view: con.execute(f"SELECT count(*) FROM {view}").fetchone()[0] for view in views}
    counts = entry.counts
    assert [rows[v] for v in ("images", "records", "shards", "runs", "answers")] == [20, 20, 1, 1, 40]
    flat = ("captions", "sub_captions", "tags")
    assert [rows[view] for view in flat] == [counts[view] for view in flat]
    assert rows["rejects"] == 2
    assert con.execute("SELECT shard, images, ok, train + val, bytes FROM shards").fetchall() == [
        ("00000", 20, counts["ok"], entry.samples, entry.bytes)
    ]
    made_by = con.execute("SELECT DISTINCT generation, fingerprint FROM answers ORDER BY 1").fetchall()
    assert made_by == [("long", "1"), ("short", "2")]
    wrong = """SELECT count(*) FROM sub_captions s JOIN captions c USING (caption_id)
               WHERE substr(c.text, s.char_start + 1, s.char_end - s.char_start) <> s.text"""
    assert con.execute(wrong).fetchone() == (0,)


def test_views_sql_of_a_build_works_in_its_folder(
    store: LocalStore, shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shard(4)
    describe(store, [write(store, one)], one)
    (store.root / "dataset").symlink_to("builds/b")
    monkeypatch.chdir(store.root / "dataset")
    con = duckdb.connect()
    own, _, rest = (store.root / "dataset/views.sql").read_text().partition("-- second group: the rest")
    con.execute(own)
    assert con.execute("SELECT count(*) FROM images").fetchone() == (4,)
    with pytest.raises(duckdb.IOException):
        con.execute("--" + rest)  # there are no answers beside this build
    store.put("answers/long-1/00000.parquet", (store.root / "builds/b/images/00000.parquet").read_bytes())
    store.put("metrics/1.json", b'{"v":"1.0","run":"1","started":"2026-01-31T12:00:00Z"}')
    con.execute("--" + rest)
    assert con.execute("SELECT count(*) FROM answers").fetchone() == (4,)


def test_quotes_in_paths_are_escaped() -> None:
    assert "read_parquet('it''s/images/*.parquet'" in views_sql("it's", "o")


def test_leftovers_of_a_killed_run_are_removed_with_the_entries(store: LocalStore, shard: Any) -> None:
    one = shard(3)
    entries = [write(store, one)]
    (store.root / "builds/b/.shards/.tmp-0").write_bytes(b"half an entry")
    describe(store, entries, one)
    assert not (store.root / "builds/b/.shards").exists()
