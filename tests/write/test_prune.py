"""Pruning: all builds but the published one go, and a build that is half gone is never taken for a whole one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import needs_s3, s3_server

from recaption.io.store import LocalStore, ObjectStore, Store, open_store
from recaption.write import current_build, prune, publish

DATA = ("data/00000.tar", "data/00000.tar.idx", "data/val/00000.tar", "images/00000.parquet")
OLD, NEW, UNFINISHED = "builds/old", "builds/new", "builds/unfinished"


def fill(store: Store) -> None:
    """Two finished builds, the newer one published, and one that a run was stopped at; and what is no build."""
    for build in (OLD, NEW, UNFINISHED):
        for path in DATA:
            store.put(f"{build}/{path}", b"x" * 1000)
    for build in (OLD, NEW):
        store.put(f"{build}/manifest.json", b"{}" * 50)
    store.put(f"{UNFINISHED}/.shards/00000.json", b"{}" * 10)
    store.put("answers/long-0/00000.parquet", b"paid for")
    store.put("index/00000.parquet", b"index")
    publish(store, "old")
    publish(store, "new")


@pytest.fixture(params=["local", pytest.param("s3", marks=needs_s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(str(tmp_path / "out"))
        return
    with s3_server(monkeypatch) as server:
        yield open_store(server.bucket())


def test_all_but_the_published_build_go(store: Store) -> None:
    assert (prune(store).builds, list(store.folders("builds"))) == (0, []), "there is nothing yet"
    fill(store)
    found = prune(store)
    assert (found.builds, found.bytes) == (2, 8 * 1000 + 100 + 20)
    assert str(found) == "pruned: 2 other builds, 0.0 MB"
    assert list(store.folders("builds")) == ["new"] and current_build(store) == "new"
    assert all(store.exists(f"{NEW}/{path}") for path in (*DATA, "manifest.json"))
    assert store.get("answers/long-0/00000.parquet") == b"paid for" and store.exists("index/00000.parquet")
    again = prune(store)
    assert (again.builds, again.bytes, str(again)) == (0, 0, "pruned: there is no other build")


def test_where_nothing_is_published_nothing_goes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(f"{UNFINISHED}/data/00000.tar", b"x")
    assert prune(store).builds == 0 and store.exists(f"{UNFINISHED}/data/00000.tar")


def test_what_is_linked_from_elsewhere_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    fill(store)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_bytes(b"{}")
    (tmp_path / "out" / "builds" / "moved").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / OLD / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / OLD / "data" / ".tmp-1").write_bytes(b"left by a crash")
    assert prune(store).builds == 2
    assert (tmp_path / "elsewhere" / "manifest.json").exists() and not (tmp_path / "out" / OLD).exists()


class Killed(BaseException):
    pass


def test_killed_at_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, points = Path.unlink, 0
    while True:
        store = LocalStore(tmp_path / f"{points}")
        fill(store)
        left = points

        def dying(path: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying)
            try:
                prune(store)
                break
            except Killed:
                points += 1
        for build in (OLD, NEW, UNFINISHED):
            whole = all(store.exists(f"{build}/{path}") for path in DATA)
            assert whole or not store.exists(f"{build}/manifest.json"), "it would be taken for finished"
            assert whole or not store.exists(f"{build}/.shards/00000.json"), "its shard would be taken for written"
        prune(store)
        assert list(store.folders("builds")) == ["new"]
        assert all(store.exists(f"{NEW}/{path}") for path in (*DATA, "manifest.json"))
    assert points >= 2 * len(DATA) + 2


@needs_s3
def test_more_files_than_s3_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as server:
        store = ObjectStore(server.bucket())
        fill(store)
        server.fill(store.url, (f"{OLD}/tags/{n:05d}.parquet" for n in range(45)))
        pages = store._s3_pages
        monkeypatch.setattr(store, "_s3_pages", lambda folder, **options: pages(folder, MaxKeys=10, **options))
        server.fault = lambda method, path: "refuse" if server.requests[method] % 20 == 7 else None
        monkeypatch.setattr(ObjectStore, "FIRST_WAIT", 0.001)
        assert prune(store).builds == 2
        assert list(store.folders("builds")) == ["new"]


def test_a_file_that_is_open_can_be_read_to_its_end(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    fill(store)
    with open(tmp_path / OLD / DATA[0], "rb") as file:
        first = file.read(10)
        prune(store)
        assert first + file.read() == b"x" * 1000
    assert list(store.folders("builds")) == ["new"]
