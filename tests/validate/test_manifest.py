"""Problems of the manifest and of the files derived from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from damage import check_found, counts, edit_json, found, in_manifest, in_text

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
    (lambda m: m.update(extra="x"), "$: Additional properties are not allowed ('extra' was unexpected)"),
    (
        lambda m: m["shards"][1]["files"][0].update(sha256="ab\n"),
        r"$.shards[1].files[0].sha256: 'ab\n' does not match ^[0-9a-f]{64}$",
    ),
    (
        lambda m: m["shards"][0]["files"][0].update(sha256="0" * 64 + "\n"),
        rf"$.shards[0].files[0].sha256: '{'0' * 64}\n' does not match ^[0-9a-f]{{64}}$",
    ),
    (lambda m: m["shards"][0]["rejects"].update(unknown=1), "$.shards[0].rejects: 'unknown' is not one of ["),
]


@pytest.mark.parametrize(("change", "message"), VIOLATIONS, ids=[message[:60] for _, message in VIOLATIONS])
def test_a_violation_is_located_and_explained(change: Callable[[Any], Any], message: str, manifest: Any) -> None:
    assert schema_errors(manifest) == []
    change(manifest)
    (error,) = schema_errors(manifest)
    assert error.startswith(message)


def test_a_later_minor_version_may_have_more_fields(manifest: Any) -> None:
    manifest["extra"] = manifest["shards"][0]["extra"] = "x"
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


def first_file(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["shards"][0]["files"][0].update(changes)


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    ("manifest", "webdataset", "missing", lambda b: (b / "manifest.json").unlink()),
    ("manifest", "webdataset", "not JSON", lambda b: (b / "manifest.json").write_bytes(b"{")),
    ("manifest", "webdataset", "missing field", in_manifest(lambda m: m.pop("splits"))),
    ("manifest", "webdataset", "unknown field", in_manifest(lambda m: m.update(extra="x"))),
    ("manifest", "webdataset", "a path that leaves the build", in_manifest(first_file(path="../../../../etc/passwd"))),
    ("manifest", "webdataset", "duplicate shard", in_manifest(lambda m: m["shards"].append(m["shards"][0]))),
    ("manifest", "webdataset", "invalid shard name", in_manifest(lambda m: m["shards"][0].update(name="../x"))),
    ("manifest", "webdataset", "unlisted table", in_manifest(lambda m: m["shards"][0]["files"].pop())),
    ("manifest", "webdataset", "counts of a wrong type", in_manifest(lambda m: m["counts"].update(ok="15"))),
    ("version", "webdataset", "newer manifest", in_manifest(lambda m: m.update(schema_version="2.0"))),
    ("version", "webdataset", "no version", in_manifest(lambda m: m.update(schema_version=[1]))),
    ("missing file", "sidecar", "views.sql", lambda b: (b / "views.sql").unlink()),
    ("missing file", "webdataset", "sizes.json", lambda b: (b / "data/sizes.json").unlink()),
    ("missing file", "sidecar", "README.md", lambda b: (b / "README.md").unlink()),
    ("unlisted file", "webdataset", "tar", lambda b: shutil.copy(b / "data/00000.tar", b / "data/old.tar")),
    ("unlisted file", "parquet", "folder", lambda b: (b / "more").mkdir() or (b / "more/x").touch()),
    (
        "loader file",
        "webdataset",
        "sizes.json",
        lambda b: edit_json(b / "data/sizes.json", lambda s: s.update({"00000.tar": 1})),
    ),
    ("loader file", "webdataset", "_info.json", lambda b: (b / "_info.json").write_bytes(b"[")),
    ("views", "webdataset", "another view", in_text("views.sql", "FROM tags WHERE", "FROM tags WHERE true OR")),
    ("views", "sidecar", "additional statement", in_text("views.sql", "-- runs", "INSTALL 'x';\n-- runs")),
    (
        "views",
        "parquet",
        "after a semicolon",
        in_text("views.sql", "kind = 'object';", "kind = 'object'; DROP VIEW tags;"),
    ),
    ("views", "parquet", "missing view", lambda b: (b / "views.sql").write_bytes(b"-- nothing\n")),
    ("views", "parquet", "not text", lambda b: (b / "views.sql").write_bytes(b"\xff\x00")),
    ("manifest", "sidecar", "invalid share", in_manifest(lambda m: m.update(holdout=1.5))),
    ("sum+count", "webdataset", "images", in_manifest(counts(images=1))),
    ("sum+count", "webdataset", "asked", in_manifest(lambda m: m["shards"][0]["generations"]["long"].update(asked=99))),
    ("sum+count", "webdataset", "splits", in_manifest(lambda m: m["shards"][0]["splits"].update(train=99))),
    ("count", "webdataset", "total", in_manifest(lambda m: m["counts"].update(words=1))),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)


def test_comments_and_line_breaks_in_views_sql_are_allowed(out: Path) -> None:
    views = out / "builds/parquet/views.sql"
    views.write_text(f"-- a comment\n{views.read_text().replace(' FROM', chr(10) + '  FROM')}\n-- the end\n")
    assert found(out / "builds/parquet") == []
