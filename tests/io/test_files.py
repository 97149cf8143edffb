"""Reading and listing files. Folders are walked as `find -L` does, and what is left out is counted."""

from __future__ import annotations

import errno
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from recaption.errors import MissingExtra, ShardError, SourceError
from recaption.io import files
from recaption.io.files import (
    LeftOut,
    Unreachable,
    entries,
    is_file,
    matches,
    open_stream,
    read_all,
    read_range,
    remote,
    size,
    walk,
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_links_to_folders_are_followed_and_cycles_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path / "store/cats/1.jpg", root / "dogs/2.jpg", root / "a/3.jpg", root / "b/4.jpg")
    (root / "cats").symlink_to(tmp_path / "store/cats")
    (root / "again").symlink_to("dogs")
    (root / "up").symlink_to("..")
    (root / "dogs/self").symlink_to(".")
    (root / "a/b").symlink_to("../b")
    (root / "b/a").symlink_to("../a")
    (root / "broken.jpg").symlink_to("nowhere")
    (root / "loop.jpg").symlink_to("loop.jpg")
    left_out = LeftOut()
    found = sorted(walk(str(root), left_out=left_out))
    listed = subprocess.run(
        ["find", "-L", ".", "!", "-type", "d"], cwd=root, capture_output=True, text=True, check=False
    )
    as_find = {line.removeprefix("./") for line in listed.stdout.splitlines()}
    assert found == sorted({*as_find, "loop.jpg"}), "find leaves out a link to itself; here it becomes a reject"
    assert {"cats/1.jpg", "again/2.jpg", "up/store/cats/1.jpg", "a/b/4.jpg", "broken.jpg"} <= set(found)
    assert left_out.links == listed.stderr.count("File system loop detected")


def test_without_following_links_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "store/1.jpg", tmp_path / "root/2.jpg")
    (tmp_path / "root/store").symlink_to(tmp_path / "store")
    (tmp_path / "root/3.jpg").symlink_to(tmp_path / "store/1.jpg")
    left_out = LeftOut()
    assert sorted(walk(str(tmp_path / "root"), follow=False, left_out=left_out)) == ["2.jpg", "3.jpg"]
    assert left_out.links == 1


def test_what_is_hidden_or_cannot_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "1.jpg", tmp_path / ".2.jpg", tmp_path / ".git/3.jpg", tmp_path / "shut/4.jpg")
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if str(path).rstrip("/").endswith("shut"):
            raise OSError(code, os.strerror(code))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    code = errno.EACCES
    left_out = LeftOut()
    assert list(walk(str(tmp_path), left_out=left_out)) == ["1.jpg"]
    assert (left_out.hidden, left_out.unreadable) == (2, ["shut (Permission denied)"])
    code = errno.EIO
    with pytest.raises(ShardError, match="shut"):
        list(walk(str(tmp_path)))


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nowhere"):
        list(walk(str(tmp_path / "nowhere")))


def test_a_glob_ends_cycles_too(tmp_path: Path) -> None:
    touch(tmp_path / "root/a/x.tar", tmp_path / "store/y.tar", tmp_path / "store/b/z.tar")
    (tmp_path / "root/a/up").symlink_to("..")
    (tmp_path / "root/linked").symlink_to(tmp_path / "store")
    found = matches(f"{tmp_path}/root/**/*.tar")
    assert found == [f"{tmp_path}/root/{name}" for name in ("a/x.tar", "linked/b/z.tar", "linked/y.tar")]
    assert matches(f"{tmp_path}/root/a/up/a/*.tar") == [f"{tmp_path}/root/a/up/a/x.tar"], "named, so it is wanted"
    assert matches(f"{tmp_path}/*/**/x.tar") == [f"{tmp_path}/root/a/x.tar"]


def test_entries_pass_by_links_to_themselves(tmp_path: Path) -> None:
    touch(tmp_path / "1.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert entries(str(tmp_path)) == [str(tmp_path / "1.jpg")]


@pytest.fixture
def memory() -> Iterator[str]:
    folder = f"/{uuid.uuid4().hex}"
    store = fsspec.filesystem("memory")
    for name in ("a.tar", "b.txt", "sub/c.tar", ".hidden/d.tar"):
        store.pipe_file(f"{folder}/{name}", name.encode())
    yield f"memory:/{folder}"
    store.rm(folder, recursive=True)


def test_a_url_is_read_and_listed_like_a_folder(memory: str) -> None:
    assert (size(f"{memory}/a.tar"), read_range(f"{memory}/a.tar", 1, 3)) == (5, b".t")
    assert read_all(f"{memory}/b.txt") == b"b.txt"
    assert entries(memory) == [f"{memory}/a.tar", f"{memory}/b.txt"]
    assert matches(f"{memory}/*") == entries(memory) and matches(f"{memory}/s*", folders=True) == [f"{memory}/sub"]
    assert sorted(walk(memory)) == ["a.tar", "b.txt", "sub/c.tar"]
    with open_stream(f"{memory}/a.tar") as file:
        assert file.read() == b"a.tar"
    with pytest.raises(Unreachable, match=r"cannot read .*none"):
        read_all(f"{memory}/none")


def test_a_remote_call_is_retried(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FIRST_WAIT", 0.0)
    calls = []

    def failing(fs: Any, path: str) -> str:
        calls.append(path)
        if len(calls) < 3:
            raise OSError("connection reset")
        return "done"

    assert remote(memory, failing) == "done" and len(calls) == 3
    calls.clear()
    monkeypatch.setattr(files, "ATTEMPTS", 2)
    with pytest.raises(ShardError, match="connection reset"):
        remote(memory, failing)


def test_an_unknown_protocol_names_the_url() -> None:
    with pytest.raises(SourceError, match="cannot open 'nosuch://x'"):
        is_file("nosuch://x")


def test_s3_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingExtra, match=r"recaption\[s3\]"):
        read_all("s3://bucket/a")
    with pytest.raises(SourceError, match="Install s3fs"):
        read_all("other://bucket/a")
