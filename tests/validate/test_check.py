"""The checks of a whole build, also of hostile ones: problems, no tracebacks, bounded memory, no other files."""

from __future__ import annotations

import json
import random
import shutil
import tarfile
import weakref
from pathlib import Path
from typing import Any

import fsspec
import pytest
from damage import edit_json, flip, found, kinds, seal

from recaption.errors import DatasetError, UserError
from recaption.validate import check, validate_output

FORMATS = ("sidecar", "webdataset", "parquet")


def test_a_good_dataset_has_no_problems(out: Path) -> None:
    assert [found(path) for path in (out, out / "dataset", *(out / "builds" / f for f in FORMATS))] == [[]] * 5


def test_only_sizes_and_hashes_of_a_build_of_an_older_version_are_checked(out: Path) -> None:
    build = out / "builds/parquet"
    edit_json(build / "manifest.json", lambda body: body.update(schema_version="1.0"))
    (problem,) = found(build)
    assert (problem.kind, problem.severity) == ("version", "warning")
    flip(build / "tags/00000.parquet", 100)
    (build / "data/00001.parquet").unlink()
    assert [problem.kind for problem in found(build)] == ["version", "sha256", "missing file"]


def damaged(data: bytes, rng: random.Random) -> bytes:
    how = rng.randrange(4)
    if how == 0:
        return data[: rng.randrange(len(data) + 1)]
    if how == 1:
        return rng.randbytes(rng.randrange(2000))
    made = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        made[rng.randrange(len(made))] = rng.randrange(256)
    return bytes(made)


@pytest.mark.parametrize("format", FORMATS)
def test_any_damage_is_a_problem_and_no_traceback(format: str, out: Path) -> None:
    """Files of the build and of its output, with and without an updated manifest."""
    rng = random.Random(format)
    build = out / "builds" / format
    outside = [p for folder in ("answers", "index") for p in (out / folder).rglob("*.parquet")]
    described = ("README.md", "croissant.json")  # only their existence is checked
    of_build = [p for p in build.rglob("*") if p.is_file() and p.name not in described]
    for path in rng.choices([*of_build, *outside], k=12):
        kept = path.read_bytes()
        manifest = (build / "manifest.json").read_bytes()
        path.write_bytes(damaged(kept, rng))
        sealed = rng.random() < 0.6 and path.name != "manifest.json"
        if sealed:
            seal(build)
        problems = found(build)
        assert problems or sealed or path in outside or path.read_bytes() == kept
        (build / "manifest.json").write_bytes(manifest)
        path.write_bytes(kept)


@pytest.mark.parametrize("value", [None, [], {}, "x", "../../x", -1, 1e300, 2**62, True, ["a"], {"a": {}}])
def test_any_value_in_a_manifest_is_a_problem_and_no_traceback(value: Any, out: Path) -> None:
    """A wrong value is a problem of the manifest, so that the checks can rely on its types."""
    build = out / "builds/webdataset"
    whole = json.loads((build / "manifest.json").read_bytes())
    for place in [(name,) for name in whole] + [("shards", 0, name) for name in whole["shards"][0]]:
        body = json.loads(json.dumps(whole))
        part = body
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = value
        (build / "manifest.json").write_text(json.dumps(body))
        next(validate_output(str(build)), None)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[" * 100_000, b'{"schema_version": "1.3"}', b"\xff\xfe", b'"\\ud800"']
)
def test_a_manifest_without_contents_is_a_problem_and_no_traceback(body: bytes, out: Path) -> None:
    (out / "builds/webdataset/manifest.json").write_bytes(body)
    assert kinds(out / "builds/webdataset") <= {"manifest", "version"}


def test_nothing_outside_the_build_is_read(out: Path) -> None:
    secret = out.parent / "secret.parquet"
    secret.write_bytes(b"secret")
    for path in ("../../../secret.parquet", str(secret), "images/../../../../secret.parquet", "images/\0", ""):
        edit_json(out / "builds/parquet/manifest.json", lambda m, p=path: m["shards"][0]["files"][0].update(path=p))
        assert kinds(out / "builds/parquet") == {"manifest"}


def test_folders_in_place_of_files_are_missing_files(out: Path) -> None:
    build = out / "builds/parquet"
    for name in ("tags/00000.parquet", "data/00001.parquet"):
        (build / name).unlink()
        (build / name).mkdir()
    assert kinds(build) == {"missing file"}


def test_a_tar_member_with_a_huge_size_is_unreadable(out: Path) -> None:
    path = out / "builds/webdataset/data/00000.tar"
    huge = tarfile.TarInfo("000000000.jpg")
    huge.size = 10**17
    path.write_bytes(huge.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    seal(out / "builds/webdataset")
    assert kinds(out / "builds/webdataset") == {"unreadable"}


def test_one_shard_at_a_time_is_in_memory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []

    class Watched(check.Shard):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            alive.append(weakref.ref(self))
            assert sum(bool(ref() and ref().tables) for ref in alive) <= 1  # type: ignore[union-attr]

    monkeypatch.setattr(check, "Shard", Watched)
    edit_json(out / "builds/parquet/manifest.json", lambda m: m["shards"].extend(copies(out / "builds/parquet", m)))
    assert kinds(out / "builds/parquet") >= {"duplicate key"}
    assert len(alive) == 6


def copies(build: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The first shard with four more names."""
    made = []
    for number in range(2, 6):
        text = json.dumps(manifest["shards"][0]).replace("00000.parquet", f"{number:05d}.parquet")
        made.append({**json.loads(text), "name": f"{number:05d}"})
        for old, new in zip(manifest["shards"][0]["files"], made[-1]["files"], strict=True):
            shutil.copy(build / old["path"], build / new["path"])
    return made


def test_a_path_without_a_build_is_a_user_error(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("nowhere", "no such folder"),
        ("empty", "no finished build"),
        ("source/00000.tar", "a file"),
    ):
        with pytest.raises(UserError, match=message):
            found(tmp_path / path)
    (out / "dataset").unlink()
    with pytest.raises(UserError, match="no finished build"):
        found(out)
    (out / "CURRENT").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match="is not text"):
        found(out)
    (out / "CURRENT").write_bytes(b"builds/parquet\n")
    assert found(out) == []


def test_a_copied_build_has_no_problems(out: Path, tmp_path: Path) -> None:
    assert found(shutil.copytree(out / "builds/webdataset", tmp_path / "copy")) == []
    whole = shutil.copytree(out, tmp_path / "whole")  # follows links
    assert found(whole) == [] and found(whole / "dataset") == []


def test_a_build_on_an_object_store_is_read(out: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        memory.put(f"{out}/", "/validated/out/", recursive=True)
        memory.pipe("/validated/out/CURRENT", b"builds/parquet")
        for path in ("out", "out/dataset", "out/builds/webdataset", "out/builds/sidecar"):
            assert found(f"memory://validated/{path}") == []
        memory.pipe("/validated/out/builds/parquet/data/00000.parquet", b"PAR1")
        assert kinds("memory://validated/out") == {"size", "unreadable"}
    finally:
        memory.rm("/validated", recursive=True)
