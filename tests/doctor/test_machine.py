"""Checks of the machine, each with a good and a bad state."""

from __future__ import annotations

import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from recaption.doctor import machine
from recaption.errors import ConfigError
from recaption.run import connect

Usage = namedtuple("Usage", "total used free")


def free(monkeypatch: pytest.MonkeyPatch, size: float, total: float = 1e12) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(int(total), int(total - size), int(size)))


@pytest.mark.parametrize(
    ("version", "system", "status", "word"),
    [
        ((3, 11), "linux", "ok", ""),
        ((3, 13), "linux", "ok", ""),
        ((3, 15), "linux", "warning", "try Python 3.11 to 3.13"),
        ((3, 12), "darwin", "warning", "run on Linux"),
    ],
)
def test_untested_pythons_and_systems_are_warnings(
    version: tuple[int, int], system: str, status: str, word: str
) -> None:
    found = machine.python(version, system)
    assert found.status == status and word in found.todo


def test_little_memory_is_a_warning_and_a_container_limit_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP", limit)
    assert "core" in machine.cores().found, "no such file: no container"
    limit.write_text("max\n")
    assert "2.1 GB of memory" not in machine.cores().found, "no limit"
    limit.write_text(f"{2**31}\n")
    found = machine.cores()
    assert found.status == "warning" and "2.1 GB of memory" in found.found


@pytest.mark.parametrize(
    ("size", "needed", "status"),
    [(100e9, 0, "ok"), (100e9, int(200e9), "warning"), (5e9, 0, "warning"), (0.2e9, 0, "error")],
)
def test_little_space_is_a_warning_and_almost_none_an_error(
    size: float, needed: int, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free(monkeypatch, size)
    found = machine.disk("disk", tmp_path / "not" / "there" / "yet", needed)
    assert found.status == status and bool(found.todo) == (status != "ok")
    assert not (tmp_path / "not").exists()


def test_a_folder_that_another_check_removes_meanwhile_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone, real = tmp_path / "out", shutil.disk_usage

    def removed(path: Path) -> object:
        if path == gone:
            gone.rmdir()
        return real(path)

    gone.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", removed)
    assert machine.disk("disk", gone).status != "error"


def test_a_disk_without_inodes_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 100e9)
    Stat = namedtuple("Stat", "f_files f_favail")
    monkeypatch.setattr(os, "statvfs", lambda path: Stat(1_000_000, 12))
    found = machine.disk("disk", tmp_path)
    assert found.status == "error" and "only 12 more files" in found.found


def test_temporary_files_need_a_writable_folder_and_space_for_ray(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for folder, fault in (("tmp", "not an absolute path"), ("/missing", "does not exist"), ("/proc", "cannot be used")):
        monkeypatch.setenv("RAY_TMPDIR", folder)
        with pytest.raises(ConfigError, match=f"RAY_TMPDIR is '{folder}', which .*{fault}"):  # as in a run
            machine.temporary()
    monkeypatch.setattr(connect, "check_temporary_folder", lambda: None)  # pytest's folders have long paths
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    free(monkeypatch, 500e9)
    assert machine.temporary().status == "ok"
    free(monkeypatch, 20e9)
    found = machine.temporary()
    assert found.status == "warning" and "95 % full" in found.todo


@pytest.mark.parametrize(
    ("soft", "hard", "status", "todo"),
    [
        (65536, 65536, "ok", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", ""),
        (1024, resource.RLIM_INFINITY, "warning", "ulimit -n 65536 before the run"),
        (1024, 1048576, "warning", "ulimit -n 65536 before the run"),
        (1024, 4096, "warning", "raise the hard limit to 65536"),
    ],
)
def test_a_low_limit_on_open_files_is_a_warning_with_a_command(
    soft: int, hard: int, status: str, todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    found = machine.open_files()
    assert found.status == status and found.todo.startswith(todo)


def test_little_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 8e9)
    assert machine.shared_memory(4, tmp_path).status == "ok"
    free(monkeypatch, 64 * 2**20)
    found = machine.shared_memory(1, tmp_path)
    assert found.status == "warning" and "67.1 MB free" in found.found and "--shm-size" in found.todo
    assert machine.shared_memory(1, tmp_path / "none").status == "warning"
