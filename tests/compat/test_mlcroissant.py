"""mlcroissant: `croissant.json` is valid, and its FileSets are the files of the build."""

from __future__ import annotations

import hashlib
import json
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

# rdflib's own parser of JSON-LD uses what rdflib has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
FORMATS = ("sidecar", "webdataset", "parquet")


def opened(build: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(str(build / "croissant.json"))


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_valid(out: Path, format: str) -> None:
    metadata = opened(out / "builds" / format).metadata
    assert not metadata.ctx.issues.errors
    names = {file.id for file in metadata.distribution}
    assert names >= {f"{name}-files" for name in ("data", "images", "captions", "sub_captions", "tags", "rejects")}


def test_the_tars_members_are_those_of_the_file_sets(out: Path, expected: list[Any]) -> None:
    build = out / "builds/webdataset"
    files = {f["@id"]: f for f in json.loads((build / "croissant.json").read_bytes())["distribution"]}
    found: dict[str, set[str]] = {"data-json": set(), "data-images": set()}
    for path in (path for pattern in files["data-files"]["includes"] for path in build.glob(pattern)):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                for file_set, keys in found.items():
                    if any(fnmatch(name, pattern) for pattern in files[file_set]["includes"]):
                        keys.add(name.partition(".")[0])
    assert found["data-json"] == found["data-images"] == {image.key for image in expected}


def test_nothing_is_missing_where_the_card_says_everything(out: Path, golden: Any) -> None:
    from recaption.output.locate import read_manifest
    from recaption.write import croissant

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
def test_the_hash_of_the_manifest_and_the_files_of_the_manifest(out: Path, format: str) -> None:
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
