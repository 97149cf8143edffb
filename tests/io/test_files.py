"""Walking through folders: as `find -L` does, and nothing is passed by without a word."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import ShardError
from recaption.io.files import LeftOut, entries, matches, walk


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
