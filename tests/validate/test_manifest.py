"""Violations of the manifest's JSON Schema: the path, the value that was found, and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from recaption.validate.manifest import schema_errors

GOLDEN = Path(__file__).parent.parent / "golden/output/builds/webdataset/manifest.json"


@pytest.fixture
def manifest() -> Any:
    return json.loads(GOLDEN.read_bytes())


VIOLATIONS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: m["counts"].update(ok="15"), "$.counts.ok: '15' is not of type 'integer'"),
    (lambda m: m["counts"].update(ok=15.0), "$.counts.ok: 15.0 is not of type 'integer'"),
    (lambda m: m["counts"].update(ok=True), "$.counts.ok: True is not of type 'integer'"),
    (lambda m: m["counts"].update(ok=-1), "$.counts.ok: -1 is less than the minimum of 0"),
    (lambda m: m.update(format="tar"), "$.format: 'tar' is not one of ['sidecar', 'webdataset', 'parquet']"),
    (lambda m: m.pop("splits"), "$: 'splits' is a required property"),
    (lambda m: m.update(mood="good"), "$: Additional properties are not allowed ('mood' was unexpected)"),
    (
        lambda m: m["shards"][1]["files"][0].update(sha256="ab\n"),
        r"$.shards[1].files[0].sha256: 'ab\n' does not match ^[0-9a-f]{64}$",
    ),
    (
        lambda m: m["shards"][0]["files"][0].update(sha256="0" * 64 + "\n"),
        rf"$.shards[0].files[0].sha256: '{'0' * 64}\n' does not match ^[0-9a-f]{{64}}$",
    ),
    (lambda m: m["shards"][0]["rejects"].update(tired=1), "$.shards[0].rejects: 'tired' is not one of ["),
]


@pytest.mark.parametrize(("change", "message"), VIOLATIONS, ids=[message[:60] for _, message in VIOLATIONS])
def test_a_violation_is_located_and_explained(change: Callable[[Any], Any], message: str, manifest: Any) -> None:
    assert schema_errors(manifest) == []
    change(manifest)
    (error,) = schema_errors(manifest)
    assert error.startswith(message)


def test_a_later_minor_version_may_have_more_fields(manifest: Any) -> None:
    manifest["mood"] = manifest["shards"][0]["mood"] = "good"
    assert len(schema_errors(manifest)) == 2
    assert schema_errors(manifest, newer=True) == []
    manifest["counts"]["ok"] = None
    assert schema_errors(manifest, newer=True) == ["$.counts.ok: None is not of type 'integer'"]


def test_errors_are_bounded_in_number_and_size(manifest: Any) -> None:
    manifest["shards"] = [{"x" * 10_000: 1}] * 10_000
    errors = schema_errors(manifest)
    assert len(errors) == 21 and errors[-1] == "$: more errors of this kind"
    manifest["shards"], manifest["format"] = [], "x" * 1_000_000
    (error, *_) = schema_errors(manifest)
    assert len(error) < 400 and error.endswith("is not one of ['sidecar', 'webdataset', 'parquet']")


@pytest.mark.parametrize("depth", [100, 1000])
def test_deep_nesting_is_an_error_and_no_traceback(depth: int, manifest: Any) -> None:
    manifest["name"] = orjson.loads("[" * depth + "]" * depth)
    (error,) = schema_errors(manifest)
    assert error.startswith("$.name: [[[") or error == "$: the values are nested too deeply"
