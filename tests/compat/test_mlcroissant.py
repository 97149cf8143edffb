"""mlcroissant: `croissant.json` is valid, and its records are the tables."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from pixels import pixels_of

# rdflib's own parser of JSON-LD uses what rdflib has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
FORMATS = ("sidecar", "webdataset", "parquet")


LISTS = ("sub_captions", "cleaned")
"""Lists in the list of captions: Croissant's fields have no lists in lists."""


def opened(build: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(str(build / "croissant.json"))


def plain(value: Any) -> Any:
    """mlcroissant gives texts as bytes and numbers as NumPy's."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_valid_and_every_table_loads(out: Path, format: str) -> None:
    import pyarrow.parquet as pq

    build = out / "builds" / format
    dataset = opened(build)
    assert not dataset.metadata.ctx.issues.errors
    names = {record_set.id for record_set in dataset.metadata.record_sets}
    assert names == {"images", "captions", "sub_captions", "tags", "rejects", "data"}
    for name in names - {"data"}:
        rows = [{k.partition("/")[2]: plain(v) for k, v in row.items()} for row in dataset.records(name)]
        assert rows == pq.read_table(build / name).to_pylist()


def test_images_come_out_of_parquet(out: Path, expected: list[Any]) -> None:
    rows = list(opened(out / "builds/parquet").records("data"))
    assert sorted(plain(row["data/key"]) for row in rows) == sorted(e.key for e in expected)
    pixels = {plain(row["data/key"]): pixels_of(row["data/image"]) for row in rows}
    assert all(pixels[e.key] == e.pixels for e in expected if e.jpeg)


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_captions_come_out_of_the_nested_column(out: Path, format: str) -> None:
    import pyarrow.parquet as pq

    build = out / "builds" / format
    rows = {plain(row["data/key"]): row["data/captions"] for row in opened(build).records("data")}
    whole = pq.read_table(sorted((build / "data").rglob("*.parquet"))[0]).to_pylist()
    assert any(row["captions"] for row in whole)
    for row in whole:
        expected = [{k: v for k, v in caption.items() if k not in LISTS} for caption in row["captions"]]
        found = [{k.rpartition("/")[2]: plain(v) for k, v in caption.items()} for caption in rows[row["key"]]]
        assert found == expected


def test_tars_hold_what_is_said_of_them(out: Path, expected: list[Any]) -> None:
    """mlcroissant opens archives only that are named one by one, so the description is followed here."""
    build = out / "builds/webdataset"
    body = json.loads((build / "croissant.json").read_bytes())
    files = {f["@id"]: f for f in body["distribution"]}
    members: dict[str, dict[str, bytes]] = {"data-json": {}, "data-images": {}}
    for pattern in files["data-files"]["includes"]:
        for path in build.glob(pattern):
            with tarfile.open(path) as tar:
                for name in tar.getnames():
                    of = [m for m in members if any(fnmatch(name, glob) for glob in files[m]["includes"])]
                    if of:
                        members[of[0]][name] = tar.extractfile(name).read()  # type: ignore[union-attr]
    (data,) = (r for r in body["recordSet"] if r["@id"] == "data")
    fields = {f["name"]: f for f in data["field"]}
    key = fields["key"]["references"]
    joined = {re.match(key["transform"]["regex"], name)[1]: b for name, b in members["data-images"].items()}  # type: ignore[index]
    leaves = [
        f for f in fields.values() for f in f.get("subField", [f]) if f["source"]["fileSet"]["@id"] == "data-json"
    ]
    keys = []
    for text in members["data-json"].values():
        record = json.loads(text)
        keys.append(only(fields["key"], record))
        assert record["captions"]
        for field in leaves:
            assert values(field["source"]["extract"]["jsonPath"], record) or field["name"] in OPTIONAL, field["@id"]
        assert values("$.captions[*].text", record) == [c["text"] for c in record["captions"]]
        assert only(fields["image_sha256"], record) == hashlib.sha256(joined[keys[-1]]).hexdigest()
    assert sorted(keys) == sorted(joined) == sorted(e.key for e in expected)


OPTIONAL = {"url", "width", "height", "reason", "raw_caption", "caption_short", "orientation"}


def values(path: str, record: Any) -> list[Any]:
    import jsonpath_rw

    return [match.value for match in jsonpath_rw.parse(path).find(record)]


def only(field: Any, record: Any) -> Any:
    (value,) = values(field["source"]["extract"]["jsonPath"], record)
    return value


def test_nothing_is_missing_where_the_card_says_everything(out: Path, golden: Any) -> None:
    from recaption.write import croissant, read_manifest

    manifest = read_manifest(golden.LocalStore(out), "builds/parquet")
    assert "recommended" in str(opened(out / "builds/parquet").metadata.ctx.issues.warnings)
    said = {
        "license": "cc-by-4.0",
        "citation": "@misc{x}",
        "published": "2026-01-31",
        "creator": "Lab",
        "url": "https://x.org",
    }
    manifest["provenance"] = {**manifest["provenance"], "card": said}
    import mlcroissant

    metadata = mlcroissant.Dataset(json.loads(croissant.render(manifest, b""))).metadata
    assert not metadata.ctx.issues.warnings and not metadata.ctx.issues.errors
    assert (metadata.license, metadata.cite_as, metadata.url) == (["cc-by-4.0"], "@misc{x}", "https://x.org")


@pytest.mark.parametrize("format", FORMATS)
def test_the_manifest_is_vouched_for(out: Path, format: str) -> None:
    """croissant.json has the hash of the manifest, the manifest that of every file."""
    build = out / "builds" / format
    files = {f.id: f for f in opened(build).metadata.distribution}
    assert files["manifest.json"].sha256 == hashlib.sha256((build / "manifest.json").read_bytes()).hexdigest()
    globbed = {
        p
        for f in files.values()
        if not getattr(f, "contained_in", None)
        for g in getattr(f, "includes", None) or []
        for p in build.glob(g)
    }
    listed = {
        build / f["path"] for s in json.loads((build / "manifest.json").read_bytes())["shards"] for f in s["files"]
    }
    assert globbed == {path for path in listed if path.suffix != ".idx"}
