"""The contents of `croissant.json`; tests/compat/test_mlcroissant.py checks that mlcroissant accepts it."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from recaption.write import croissant

GOLDEN = Path(__file__).parent.parent / "golden/output/builds"


@pytest.fixture(params=["sidecar", "webdataset", "parquet"])
def manifest(request: pytest.FixtureRequest) -> Any:
    return json.loads((GOLDEN / request.param / "manifest.json").read_bytes())


def rendered(manifest: Any, data: bytes = b"{}") -> Any:
    return json.loads(croissant.render(manifest, data))


def test_provenance_has_models_prompts_and_the_source(manifest: Any) -> None:
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


def test_only_captions_of_models_are_marked_as_synthetic(manifest: Any) -> None:
    assert "synthetic" in rendered(manifest)["keywords"]
    from_columns = deepcopy(manifest)
    for generation in from_columns["generations"]:
        generation |= {"column": "caption_llava", "prompt": None, "sampling": None}
    made = rendered(from_columns)
    assert "synthetic" not in made["keywords"] and "rai:hasSyntheticData" not in made
    assert made["prov:wasGeneratedBy"][0]["description"] == "column caption_llava of the source"


def test_missing_facts_are_left_out(manifest: Any) -> None:
    made = rendered({**manifest, "provenance": {}})
    assert not {"license", "citeAs", "datePublished", "creator", "url", "inLanguage", "prov:wasDerivedFrom"} & set(made)


def test_equal_manifests_give_equal_bytes_and_the_size_does_not_depend_on_shards(manifest: Any) -> None:
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
