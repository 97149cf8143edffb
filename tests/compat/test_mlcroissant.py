"""mlcroissant: `croissant.json` is valid, and its records are the tables."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pixels import pixels_of

# rdflib's own parser of JSON-LD uses what rdflib has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
TARS_APART = {
    "sidecar": {"data"},
    "parquet": {"data"},
    "webdataset": set(),
}  # Croissant has no word for samples in tars


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


@pytest.mark.parametrize("format", TARS_APART)
def test_it_is_valid_and_every_table_loads(out: Path, format: str) -> None:
    import pyarrow.parquet as pq

    build = out / "builds" / format
    dataset = opened(build)
    assert not dataset.metadata.ctx.issues.errors
    names = {record_set.id for record_set in dataset.metadata.record_sets}
    assert names == {"images", "captions", "sub_captions", "tags", "rejects"} | TARS_APART[format]
    for name in names - {"data"}:
        rows = [{k.partition("/")[2]: plain(v) for k, v in row.items()} for row in dataset.records(name)]
        assert rows == pq.read_table(build / name).to_pylist()


def test_images_come_out_of_parquet(out: Path, expected: list[Any]) -> None:
    rows = list(opened(out / "builds/parquet").records("data"))
    assert sorted(plain(row["data/key"]) for row in rows) == sorted(e.key for e in expected)
    pixels = {plain(row["data/key"]): pixels_of(row["data/image"]) for row in rows}
    assert all(pixels[e.key] == e.pixels for e in expected if e.jpeg)


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


@pytest.mark.parametrize("format", TARS_APART)
def test_the_manifest_is_vouched_for(out: Path, format: str) -> None:
    """croissant.json has the hash of the manifest, the manifest that of every file."""
    build = out / "builds" / format
    files = {f.id: f for f in opened(build).metadata.distribution}
    assert files["manifest.json"].sha256 == hashlib.sha256((build / "manifest.json").read_bytes()).hexdigest()
    globbed = {p for f in files.values() for g in getattr(f, "includes", None) or [] for p in build.glob(g)}
    listed = {
        build / f["path"] for s in json.loads((build / "manifest.json").read_bytes())["shards"] for f in s["files"]
    }
    assert globbed == {path for path in listed if path.suffix != ".idx"}
