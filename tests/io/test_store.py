"""Stores: whole or not at all, on a local disk and on an object store."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import StoreError
from recaption.io.store import LocalStore, ObjectStore, Store, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the retries would have waited."""
    waited: list[float] = []
    monkeypatch.setattr("recaption.io.retrying.time.sleep", waited.append)
    return waited


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_put_get_list_delete(store: Store) -> None:
    assert not store.exists("a/b.bin")
    assert list(store.list("a")) == []
    with pytest.raises(FileNotFoundError):
        store.get("a/b.bin")
    assert store.put("a/b.bin", b"1")
    assert store.put("a/a.bin", b"2")
    assert store.put("a/deep/c.bin", b"3")
    assert store.get("a/b.bin") == b"1"
    assert store.exists("a/b.bin") and not store.exists("a/deep")
    assert list(store.list("a")) == ["a/a.bin", "a/b.bin"]
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert list(store.list("a/")) == ["a/a.bin"]


def test_folders_are_named_in_order(store: Store) -> None:
    for path in ("p/b/1", "p/b/2", "p/a-1/x", "p/a/x", "p/.parts/x", "p/file", "q/c/x"):
        store.put(path, b"")
    assert list(store.folders("p")) == list(store.folders("p/")) == [".parts", "a", "a-1", "b"]
    assert list(store.folders("")) == ["p", "q"]
    assert list(store.folders("nowhere")) == list(store.folders("p/file")) == []


def test_a_folder_goes_with_all_that_is_in_it(store: Store) -> None:
    for path in ("a/b/1", "a/b/.parts/2", "a/c/d/3", "ab/4", "a-b/5"):
        store.put(path, b"12345")
    assert store.remove("a") == 15
    assert list(store.folders("")) == ["a-b", "ab"] and store.get("ab/4") == b"12345"
    assert store.remove("a") == store.remove("never/there") == 0


def test_if_absent_keeps_the_first(store: Store) -> None:
    assert store.conditional
    assert store.put("x", b"first", if_absent=True)
    assert not store.put("x", b"second", if_absent=True)
    assert not store.put("x", b"first", if_absent=True)
    assert store.get("x") == b"first"
    assert store.put("x", b"third")
    assert store.get("x") == b"third"


def test_adopt_moves_a_finished_file(store: Store) -> None:
    scratch = store.scratch()
    scratch.write_bytes(b"tar")
    assert list(store.list("")) == []
    store.adopt(scratch, "data/x.tar")
    assert store.get("data/x.tar") == b"tar"
    assert not scratch.exists()


# On a local disk.


def test_a_local_path_may_not_leave_the_output(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(StoreError, match="leaves the output"):
            store.put(path, b"")


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
    winner = won.get(timeout=120)
    assert won.empty()
    assert LocalStore(tmp_path).get("only") == str(winner).encode()


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, times: int, *, after: bool = False) -> list[str]:
    """Let `os.<name>` fail `times` times, before or after it has done its work. Returns a list that logs the calls."""
    real = getattr(os, name)
    calls: list[str] = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(name)
        fails = len(calls) <= times
        result = None if fails and not after else real(*args, **options)
        if fails:
            raise OSError(number, os.strerror(number))
        return result

    monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space left on device. Free some space, then run the same command again"),
        (errno.EDQUOT, "Disk quota exceeded. Free some space of your quota"),
        (errno.EROFS, "Read-only file system. Mount it for writing"),
        (errno.EACCES, "Permission denied"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_what_stays_is_told_at_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], call: str, number: int, words: str
) -> None:
    store = LocalStore(tmp_path)
    store.put("a/before", b"kept")
    calls = failing(monkeypatch, call, number, times=99)
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/a/x: {words}"):
        store.put("a/x", b"data", if_absent=True)
    assert (len(calls), waits) == (1, [])
    assert files(tmp_path) == ["a/before"] and store.get("a/before") == b"kept"


def test_a_disk_that_fills_up_in_the_middle_of_a_file_leaves_nothing_of_it(tmp_path: Path) -> None:
    code = f"""
import resource
from recaption.errors import StoreError
from recaption.io.store import LocalStore
store = LocalStore({str(tmp_path)!r})
store.put("a/before", b"kept")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.put("a/x", bytes(1 << 20))
except StoreError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"cannot write {tmp_path}/a/x: File too large\n"
    assert files(tmp_path) == ["a/before"] and (tmp_path / "a/before").read_bytes() == b"kept"


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path, waits: list[float]) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"")
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/a/b/c: (Not a directory|File exists)"):
        store.put("a/b/c", b"")
    with pytest.raises(StoreError, match=f"cannot read {tmp_path}/a/b: Not a directory"):
        store.get("a/b")
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/a/out: (Not a directory|File exists)"):
        LocalStore(tmp_path / "a/out").scratch()
    assert not store.exists("a/b") and list(store.list("a")) == [] and waits == []
    assert files(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR])
def test_what_passes_on_a_network_file_system_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], number: int
) -> None:
    store = LocalStore(tmp_path)
    failing(monkeypatch, "fsync", number, times=2)
    failing(monkeypatch, "scandir", number, times=2)
    failing(monkeypatch, "unlink", number, times=2)
    assert store.put("a/x", b"data")
    assert store.get("a/x") == b"data"
    assert list(store.list("a")) == ["a/x"]
    assert files(tmp_path) == ["a/x"]
    store.delete("a/x")
    assert files(tmp_path) == []
    assert len(waits) >= 4 and max(waits) <= 2 * LocalStore.FIRST_WAIT


def test_what_does_not_pass_after_all_is_told_with_the_number_of_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, times=99)
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/x after 5 tries: Input/output error"):
        LocalStore(tmp_path).put("x", b"data")
    assert len(waits) == 4 and files(tmp_path) == []


@pytest.mark.parametrize(("call", "if_absent"), [("link", True), ("replace", False)])
def test_a_file_that_was_placed_although_the_server_said_otherwise_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float], call: str, if_absent: bool
) -> None:
    store = LocalStore(tmp_path)
    failing(monkeypatch, call, errno.EIO, times=1, after=True)
    assert store.put("x", b"data", if_absent=if_absent)
    assert store.get("x") == b"data" and files(tmp_path) == ["x"]


def test_bytes_that_an_adopted_file_may_have_lost_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    store = LocalStore(tmp_path)
    scratch = store.scratch()
    scratch.write_bytes(b"tar")
    failing(monkeypatch, "fsync", errno.EIO, times=1)
    with pytest.raises(StoreError, match="Input/output error"):
        store.adopt(scratch, "x")
    assert files(tmp_path) == []


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_many_files_are_listed_in_order(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / ".tmp-left-by-a-crash").write_bytes(b"")
    (folder / "sub").mkdir()
    at = os.open(folder, os.O_RDONLY)
    try:
        for number in range(count):
            os.mknod(f"{number * 7919 % count:06d}", dir_fd=at)
    finally:
        os.close(at)
    assert list(LocalStore(tmp_path).list("many")) == [f"many/{number:06d}" for number in range(count)]


# On an object store; what only a real S3 shows is in test_objectstore.py.


def test_a_flaky_object_store_is_asked_again_and_a_dead_one_reported(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")
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
    del waits[:]
    with pytest.raises(StoreError, match=f"cannot write {store.url}/y after 7 tries: ConnectionError: no route"):
        store.put("y", b"data")
    assert len(waits) == 6 and all(0 < wait <= 10 for wait in waits) and waits[-1] > waits[0]


def test_what_no_repetition_helps_is_told_at_once(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")

    def forbidden(*args: object, **options: object) -> object:
        raise PermissionError("Access Denied")

    for name in ("pipe_file", "cat_file", "ls", "rm_file"):
        monkeypatch.setattr(store.fs, name, forbidden)
    for call in (
        lambda: store.put("x", b""),
        lambda: store.get("x"),
        lambda: list(store.list("")),
        lambda: store.delete("x"),
    ):
        with pytest.raises(StoreError, match=r"^cannot \w+ memory://.*: PermissionError: Access Denied"):
            call()
    assert waits == []


class Flaky:
    """A file system that fails a share of its calls: half of those before, half of them after the work is done."""

    def __init__(self, fs: Any, share: float, seed: int) -> None:
        self._fs, self._share, self._dice = fs, share, random.Random(seed)
        self.failed: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._fs, name)
        if name not in ("pipe_file", "put_file", "cat_file", "info", "ls", "rm_file"):
            return real

        def call(*args: Any, **options: Any) -> Any:
            fails = self._dice.random() < self._share
            if fails and self._dice.random() < 0.5:
                self.failed["before"] += 1
                raise ConnectionError("refused")
            result = real(*args, **options)
            if fails:
                self.failed["after"] += 1
                raise ConnectionError("the answer was lost")
            return result

        return call


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_fails_a_fifth_of_all_calls_loses_nothing(seed: int, waits: list[float]) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")
    real = store.fs
    store.fs = flaky = Flaky(real, 0.2, seed)
    content = {f"a/{number:03d}": bytes([number]) * number for number in range(100)}
    for number, (path, data) in enumerate(content.items()):
        if number % 3 == 0:
            scratch = store.scratch()
            scratch.write_bytes(data)
            store.adopt(scratch, path)
        else:
            assert store.put(path, data, if_absent=number % 3 == 1)
    assert not any(store.put(path, b"another's", if_absent=True) for path in content)
    assert list(store.list("a")) == list(content)
    assert {path: store.get(path) for path in content} == content
    assert {real.cat_file(f"{store.root}/{path}") for path in content} == set(content.values())
    for path in content:
        store.delete(path)
    assert list(store.list("a")) == []
    assert flaky.failed["before"] > 20 and flaky.failed["after"] > 20
    assert len(waits) == flaky.failed.total()


def test_without_conditional_writes_a_store_says_so() -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")
    assert store.conditional
    store.conditional = False
    assert store.put("x", b"1", if_absent=True) and not store.put("x", b"2", if_absent=True)
