"""Stores: whole or not at all, on a local disk and on an object store."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.errors import StoreError
from recaption.store import LocalStore, ObjectStore, Store, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_put_get_list_delete(store: Store) -> None:
    assert not store.exists("a/b.bin")
    assert list(store.list("a")) == []
    with pytest.raises(FileNotFoundError):
        store.get("a/b.bin")
    assert store.put("a/b.bin", b"1")
    assert store.put("a/a.bin", b"2")
    assert store.put("a/deep/c.bin", b"3")
    assert store.get("a/b.bin") == b"1"
    assert list(store.list("a")) == ["a/a.bin", "a/b.bin"]
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert list(store.list("a/")) == ["a/a.bin"]


def test_if_absent_keeps_the_first(store: Store) -> None:
    assert store.put("x", b"first", if_absent=True)
    assert not store.put("x", b"second", if_absent=True)
    assert store.get("x") == b"first"
    assert store.put("x", b"third")
    assert store.get("x") == b"third"


def test_a_local_path_may_not_leave_the_output(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(StoreError, match="leaves the output"):
            store.put(path, b"")


def test_nothing_is_left_of_a_failed_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="No space left on device"):
        store.put("a/x", b"data")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_adopt_moves_a_finished_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    scratch = store.scratch()
    scratch.write_bytes(b"tar")
    assert list(store.list("")) == []
    assert store.adopt(scratch, "data/x.tar")
    assert store.get("data/x.tar") == b"tar"
    assert not scratch.exists()


def _put_if_absent(root: str, name: int, won: object) -> None:
    if LocalStore(root).put("only", str(name).encode(), if_absent=True):
        won.put(name)  # type: ignore[attr-defined]


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    processes = [context.Process(target=_put_if_absent, args=(str(tmp_path), n, won)) for n in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    winner = won.get(timeout=5)
    assert won.empty()
    assert LocalStore(tmp_path).get("only") == str(winner).encode()


def test_a_flaky_object_store_is_asked_again_and_a_dead_one_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr("recaption.store.time.sleep", lambda seconds: None)
    real: Callable[..., object] = store.fs.pipe_file
    calls = 0

    def flaky(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionError("503 slow down")
        return real(*args, **options)

    monkeypatch.setattr(store.fs, "pipe_file", flaky)
    assert store.put("x", b"data")
    assert store.get("x") == b"data"
    assert calls == 3

    def dead(*args: object, **options: object) -> object:
        raise ConnectionError("no route")

    monkeypatch.setattr(store.fs, "pipe_file", dead)
    with pytest.raises(StoreError, match="after 5 tries: ConnectionError: no route"):
        store.put("y", b"data")
