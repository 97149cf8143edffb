"""A change must not break what is on disk already: today's readers read the committed dataset, and today's writers make
it again, to the byte where the libraries are those that it was made with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import struct
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from PIL import Image as Pil
from referencing import Registry, Resource

from recaption import schema
from recaption.io.store import LocalStore
from recaption.output.locate import current_build, read_manifest
from recaption.resources import shipped
from recaption.write import views_sql

HERE = Path(__file__).parent
OUT = HERE / "output"
FORMATS = ("sidecar", "webdataset", "parquet")
TABLES = ("images", "captions", "sub_captions", "tags", "rejects")


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def again(golden: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    golden.make(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(
        str(p.relative_to(folder)) for d in ("source", "output") for p in (folder / d).rglob("*") if p.is_file()
    )


def validator(name: str) -> Draft202012Validator:
    found = {p.name: json.loads(p.read_bytes()) for p in shipped("schemas").glob("*.schema.json")}
    registry = Registry().with_resources((n, Resource.from_contents(c)) for n, c in found.items() if "$id" in c)
    return Draft202012Validator(found[f"{name}.schema.json"], registry=registry)


def samples(path: Path) -> list[dict[str, Any]]:
    with tarfile.open(path) as tar:
        return [json.loads(tar.extractfile(m).read()) for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]


# reading what was written once


def test_every_status_is_there() -> None:
    assert current_build(LocalStore(OUT)) == "webdataset"
    for format in FORMATS:
        counts = read_manifest(LocalStore(OUT), f"builds/{format}")["counts"]
        assert [counts[s] for s in ("images", "ok", "partial", "reject", "excluded")] == [20, 15, 1, 3, 1]
        statuses = [
            s
            for f in sorted((OUT / f"builds/{format}/images").iterdir())
            for s in pq.read_table(f)["status"].to_pylist()
        ]
        assert {s: statuses.count(s) for s in statuses} == {"ok": 15, "partial": 1, "reject": 3, "excluded": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_the_manifest_tells_the_truth_about_every_file(format: str) -> None:
    manifest = read_manifest(LocalStore(OUT), f"builds/{format}")
    validator("manifest").validate(manifest)
    for entry in manifest["shards"]:
        for file in entry["files"]:
            data = (OUT / f"builds/{format}" / file["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"]), file["path"]
            if file["path"].endswith(".parquet"):
                assert pq.ParquetFile(io.BytesIO(data)).metadata.num_rows == file["rows"]


def test_every_row_of_every_table_is_valid() -> None:
    tables = {"index": "index/*.parquet", "answers": "answers/*/*.parquet", "rejects": "rejects/*/*.parquet"}
    tables |= {name: f"builds/*/{name}/*.parquet" for name in ("images", "captions", "sub_captions", "tags")}
    tables |= {"records": "builds/*/data/**/*.parquet"}
    for name, pattern in tables.items():
        check = validator(name)
        found = sorted(OUT.glob(pattern))
        assert found
        for path in found:
            table = pq.read_table(path, partitioning=None)
            schema.check_version(table.schema, str(path))
            assert table.schema.metadata[schema.TABLE_KEY].decode() == name
            for row in table.drop_columns(["image"] if "image" in table.column_names else []).to_pylist():
                check.validate(row)


def test_the_tars_hold_what_the_contract_says() -> None:
    check, held = validator("sample"), []
    for path in sorted((OUT / "builds/webdataset/data").rglob("*.tar")):
        raw = Path(f"{path}.idx").read_bytes()
        *offsets, size = struct.unpack(f"<{len(raw) // 8}Q", raw)
        assert size == path.stat().st_size
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert [m.offset for m in members[::3]] == offsets
            for image, text, described in zip(members[::3], members[1::3], members[2::3], strict=True):
                read = {m.name.split(".")[1]: tar.extractfile(m).read() for m in (image, text, described)}  # type: ignore[union-attr]
                assert (
                    list(read) == ["jpg", "txt", "json"]
                    and len({m.name.split(".")[0] for m in (image, text, described)}) == 1
                )
                sample = json.loads(read["json"])
                check.validate(sample)
                assert hashlib.sha256(read["jpg"]).hexdigest() == sample["image"]["sha256"]
                assert sample["split"] == ("val" if path.parent.name == "val" else "train") and read["txt"]
                with Pil.open(io.BytesIO(read["jpg"])) as opened:
                    assert opened.format == "JPEG" and opened.size == (sample["width"], sample["height"])
                held.append(sample)
    assert len(held) == 16 and {s["image"]["source_format"] for s in held} == {"jpeg", "png", "webp"}


def test_offsets_hold_everywhere() -> None:
    found = [s for p in sorted((OUT / "builds/webdataset/data").rglob("*.tar")) for s in samples(p)]
    for path in sorted((OUT / "builds").glob("*/data/**/*.parquet")):
        found += pq.read_table(path, columns=["key", "captions"], partitioning=None).to_pylist()
    spans = 0
    for caption in (caption for record in found for caption in record["captions"]):
        for sub in caption["sub_captions"]:
            for span in (sub, *sub["tags"]):
                spans += 1
                assert caption["text"][span["char_start"] : span["char_end"]] == span["text"]
            assert sub["char_start"] <= sub["content_start"] < sub["char_end"]
    assert spans > 300


def test_row_i_of_a_sidecar_is_sample_i_of_its_source() -> None:
    for path in sorted((OUT / "builds/sidecar/data").glob("*.parquet")):
        rows = pq.read_table(path, columns=["source_key", "sha256"]).to_pylist()
        with tarfile.open(HERE / "source" / f"{path.stem}.tar") as tar:
            images = [(m.name.rpartition(".")[0], tar.extractfile(m).read()) for m in tar if not m.name.endswith("txt")]  # type: ignore[union-attr]
        assert [(r["source_key"], r["sha256"]) for r in rows] == [(k, hashlib.sha256(d).hexdigest()) for k, d in images]


def test_the_index_gives_the_bytes() -> None:
    for path in sorted((OUT / "index").glob("*.parquet")):
        tar = (HERE / "source" / f"{path.stem}.tar").read_bytes()
        for row in pq.read_table(path).to_pylist():
            assert hashlib.sha256(tar[row["offset"] : row["offset"] + row["size"]]).hexdigest() == row["sha256"]


@pytest.mark.parametrize("format", FORMATS)
def test_duckdb_opens_it(format: str) -> None:
    con = duckdb.connect()
    con.execute(views_sql(str(OUT / "builds" / format), str(OUT)))
    assert con.execute("SELECT status, count(*) FROM images GROUP BY 1 ORDER BY 1").fetchall() == [
        ("excluded", 1),
        ("ok", 15),
        ("partial", 1),
        ("reject", 3),
    ]
    assert con.execute("SELECT sum(images) FROM shards").fetchone() == (20,)
    assert con.execute("SELECT count(*) FROM sub_captions WHERE dup_of IS NOT NULL").fetchone() == (1,)
    assert con.execute("SELECT lemma FROM tags WHERE count = 4").fetchall() == [("leg",)]
    assert con.execute("SELECT count(*) FROM answers").fetchone() == (30,)
    assert con.execute("SELECT run FROM runs").fetchone() is not None


# writing it again


def test_the_same_files_are_made(again: Path) -> None:
    assert files(again) == files(HERE)


def test_making_it_again_gives_the_same_bytes(golden: ModuleType, again: Path) -> None:
    provenance = read_manifest(LocalStore(OUT), "builds/webdataset")["provenance"]
    made_with = {name: provenance[name] for name in golden.VERSIONS}
    if made_with != golden.VERSIONS:
        pytest.skip(f"made with {made_with}, here are {golden.VERSIONS}; compared by meaning instead")
    for path in files(HERE):
        assert (HERE / path).read_bytes() == (again / path).read_bytes(), f"{path}: python tests/golden/make.py"


def test_making_it_again_means_the_same(again: Path) -> None:
    """Whatever the versions: equal rows and equal texts. Encoders may differ in the bytes of images and files."""
    encoded = {"image", "image_sha256", "sha256"}
    for path in files(HERE):
        if path.endswith(".parquet") and not path.startswith("output/index"):
            ours, theirs = (pq.read_table(f / path, partitioning=None) for f in (HERE, again))
            assert ours.schema.equals(theirs.schema), path
            drop = [name for name in ours.column_names if name in encoded]
            assert ours.drop_columns(drop).equals(theirs.drop_columns(drop)), path
        elif path.endswith(".tar") and path.startswith("output"):
            for ours_json, theirs_json in zip(samples(HERE / path), samples(again / path), strict=True):
                drop_json = {"image", "sha256"}
                assert {k: v for k, v in ours_json.items() if k not in drop_json} == {
                    k: v for k, v in theirs_json.items() if k not in drop_json
                }
