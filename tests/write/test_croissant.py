"""What mlcroissant makes of it is in tests/compat; here is what it says."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from recaption import schema
from recaption.write import croissant, record_sets

GOLDEN = Path(__file__).parent.parent / "golden/output/builds"


@pytest.fixture(params=["sidecar", "webdataset", "parquet"])
def manifest(request: pytest.FixtureRequest) -> Any:
    return json.loads((GOLDEN / request.param / "manifest.json").read_bytes())


def rendered(manifest: Any, data: bytes = b"{}") -> Any:
    return json.loads(croissant.render(manifest, data))


def test_it_says_where_the_texts_come_from(manifest: Any) -> None:
    made = rendered(manifest)
    assert made["conformsTo"][0] == "http://mlcommons.org/croissant/1.1" and made["rai:hasSyntheticData"]
    assert made["prov:wasDerivedFrom"]["prov:label"] == "source/{00000..00001}.tar"
    long, short, writing = made["prov:wasGeneratedBy"]
    assert (
        long["prov:wasAssociatedWith"]["prov:label"]
        == short["prov:wasAssociatedWith"]["prov:label"]
        == "example/golden"
    )
    assert json.loads(long["prov:wasAssociatedWith"]["description"])["commit"] == "0123456789abcdef"
    sha256 = manifest["provenance"]["prompts"]["describe_long"]["sha256"]
    assert f"prompt describe_long, sha256 {sha256}; sampling " in long["description"]
    assert '"temperature":0.6' in long["description"]
    assert "recaption=golden" in writing["prov:wasAssociatedWith"]["description"]
    assert made["rai:machineAnnotationTools"] == ["example/golden@0123456789abcdef", "recaption golden"]
    assert made["rai:annotationsPerItem"] == "2.88 captions per image"


def test_fields_are_the_columns(manifest: Any) -> None:
    found = {r["name"]: {f["name"]: f.get("dataType") for f in r["field"]} for r in rendered(manifest)["recordSet"]}
    assert list(found["sub_captions"]) == schema.sub_captions(["clip"]).names
    assert list(found["tags"]) == schema.TAGS.names and list(found["rejects"]) == schema.REJECTS.names
    assert (
        found["sub_captions"] | {"idx": "cr:Int32", "weight": "cr:Float64", "is_meta": "sc:Boolean"}
        == found["sub_captions"]
    )
    columns = schema.records(["clip"], image=manifest["format"] != "sidecar").names
    flat = ["raw_caption", "caption_long", "caption_short"] if manifest["format"] == "webdataset" else []
    assert list(found["data"]) == [*columns, *flat]


def test_what_a_model_wrote_is_marked_and_what_was_there_is_not(manifest: Any) -> None:
    marked = {r["name"] for r in rendered(manifest)["recordSet"] if r.get("digitalSourceType") == record_sets.SYNTHETIC}
    assert marked == {"captions", "sub_captions"}
    replayed = deepcopy(manifest)
    for generation in replayed["generations"]:
        generation |= {"column": "caption_llava", "prompt": None, "sampling": None}
    made = rendered(replayed)
    assert not any("digitalSourceType" in r for r in made["recordSet"]) and "synthetic" not in made["keywords"]
    assert "rai:hasSyntheticData" not in made
    assert made["prov:wasGeneratedBy"][0]["description"] == "column caption_llava of the source"


def test_nothing_is_made_up(manifest: Any) -> None:
    made = rendered({**manifest, "provenance": {}})
    assert not {"license", "citeAs", "datePublished", "creator", "url", "inLanguage", "prov:wasDerivedFrom"} & set(made)


def test_the_same_manifest_gives_the_same_bytes_however_many_shards(manifest: Any) -> None:
    data = json.dumps(manifest).encode()
    assert croissant.render(manifest, data) == croissant.render(json.loads(data), data)
    many = {**manifest, "shards": manifest["shards"] * 1000}
    assert len(croissant.render(many, data)) - len(croissant.render(manifest, data)) < 200
    assert rendered(manifest, data)["distribution"][0]["sha256"] == hashlib.sha256(data).hexdigest()


def test_members_of_tars_are_found_by_their_suffix() -> None:
    manifest = json.loads((GOLDEN / "webdataset/manifest.json").read_bytes())
    for images, formats, patterns in (
        ("jpeg", "image/jpeg", ["*.jpg"]),
        ("passthrough", ["image/jpeg", "image/png", "image/webp"], ["*.jpg", "*.png", "*.webp"]),
    ):
        files = {f["@id"]: f for f in rendered({**manifest, "images": images})["distribution"]}
        assert (files["data-images"]["encodingFormat"], files["data-images"]["includes"]) == (formats, patterns)
        assert files["data-json"]["containedIn"] == {"@id": "data-files"} and "data-files" in files


def test_a_profiles_lists_are_fields_in_place_of_the_flat_texts() -> None:
    manifest = json.loads((GOLDEN / "webdataset/manifest.json").read_bytes())
    manifest["provenance"]["profile"] = {"name": "flair", "lists": {"raw_caption": "raw", "longIB_captions": "long"}}
    (data,) = (r for r in rendered(manifest)["recordSet"] if r["name"] == "data")
    fields = {f["name"]: f for f in data["field"]}
    assert fields["longIB_captions"]["isArray"] and fields["raw_caption"]["isArray"] and "caption_long" not in fields
