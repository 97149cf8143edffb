"""Publishing a build, and removing the builds that are not published."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import needs_s3, s3_server

from recaption.errors import DatasetError, StoreError
from recaption.io.store import LocalStore, ObjectStore, Store, open_store
from recaption.output.locate import current_build
from recaption.write import prune, publish


def finished(store: LocalStore | ObjectStore, build: str) -> None:
    store.put(f"builds/{build}/manifest.json", build.encode())


def test_the_link_is_relative_and_survives_a_move(store: LocalStore, tmp_path: Path) -> None:
    finished(store, "one")
    assert current_build(store) is None
    publish(store, "one")
    assert current_build(store) == "one" and str((store.root / "dataset").readlink()) == "builds/one"
    moved = store.root.rename(tmp_path / "elsewhere")
    assert (moved / "dataset/manifest.json").read_text() == "one" and current_build(LocalStore(moved)) == "one"


def test_only_finished_builds_are_published(store: LocalStore) -> None:
    store.put("builds/one/data/00000.tar", b"")
    with pytest.raises(DatasetError, match="not finished"):
        publish(store, "one")
    assert current_build(store) is None


def test_a_reader_sees_one_build_or_the_other_never_none(store: LocalStore) -> None:
    for build in ("one", "two"):
        finished(store, build)
    publish(store, "one")
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add((store.root / "dataset/manifest.json").read_text())
            except OSError as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    with open(store.root / "dataset/manifest.json") as held:
        for turn in range(40):
            publish(store, ("two", "one")[turn % 2])
        assert held.read() == "one"  # who has the old build open is not disturbed
    stop.set()
    reader.join()
    assert failures == [] and seen <= {"one", "two"} and current_build(store) == "one"
    assert sorted(p.name for p in store.root.iterdir()) == ["builds", "dataset"]


def test_files_that_are_not_of_recaption_are_not_replaced(store: LocalStore) -> None:
    finished(store, "one")
    (store.root / "dataset").mkdir()
    with pytest.raises(StoreError, match="not a symlink"):
        publish(store, "one")
    assert current_build(store) is None
    (store.root / "dataset").rmdir()
    (store.root / "dataset").symlink_to("/etc")
    with pytest.raises(DatasetError, match="not a build"):
        current_build(store)


def test_an_object_store_has_the_published_build_in_a_file() -> None:
    import fsspec

    store = ObjectStore("memory://published/out")
    try:
        assert current_build(store) is None
        for build in ("one", "two"):
            finished(store, build)
            publish(store, build)
            assert current_build(store) == build and store.get("CURRENT") == f"builds/{build}".encode()
    finally:
        fsspec.filesystem("memory").rm("/published", recursive=True)


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
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(str(tmp_path / "out"))
        return
    with s3_server(monkeypatch) as server:
        yield open_store(server.bucket())


def test_all_builds_but_the_published_one_are_pruned(any_store: Store) -> None:
    assert (prune(any_store).builds, list(any_store.folders("builds"))) == (0, []), "there is nothing yet"
    fill(any_store)
    found = prune(any_store)
    assert (found.builds, found.bytes) == (2, 8 * 1000 + 100 + 20)
    assert str(found) == "pruned: 2 other builds, 0.0 MB"
    assert list(any_store.folders("builds")) == ["new"] and current_build(any_store) == "new"
    assert all(any_store.exists(f"{NEW}/{path}") for path in (*DATA, "manifest.json"))
    assert any_store.get("answers/long-0/00000.parquet") == b"paid for" and any_store.exists("index/00000.parquet")
    again = prune(any_store)
    assert (again.builds, again.bytes, str(again)) == (0, 0, "pruned: there is no other build")


def test_without_a_published_build_nothing_is_pruned(tmp_path: Path) -> None:
    any_store = LocalStore(tmp_path)
    any_store.put(f"{UNFINISHED}/data/00000.tar", b"x")
    assert prune(any_store).builds == 0 and any_store.exists(f"{UNFINISHED}/data/00000.tar")


def test_targets_of_links_are_not_pruned(tmp_path: Path) -> None:
    any_store = LocalStore(tmp_path / "out")
    fill(any_store)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_bytes(b"{}")
    (tmp_path / "out" / "builds" / "moved").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / OLD / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / OLD / "data" / ".tmp-1").write_bytes(b"left by a crash")
    assert prune(any_store).builds == 2
    assert (tmp_path / "elsewhere" / "manifest.json").exists() and not (tmp_path / "out" / OLD).exists()


class Killed(BaseException):
    pass


def test_a_prune_that_is_killed_at_any_file_can_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, points = Path.unlink, 0
    while True:
        any_store = LocalStore(tmp_path / f"{points}")
        fill(any_store)
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
                prune(any_store)
                break
            except Killed:
                points += 1
        for build in (OLD, NEW, UNFINISHED):
            whole = all(any_store.exists(f"{build}/{path}") for path in DATA)
            assert whole or not any_store.exists(f"{build}/manifest.json"), "it would be taken for finished"
            assert whole or not any_store.exists(f"{build}/.shards/00000.json"), "its shard would be taken for written"
        prune(any_store)
        assert list(any_store.folders("builds")) == ["new"]
        assert all(any_store.exists(f"{NEW}/{path}") for path in (*DATA, "manifest.json"))
    assert points >= 2 * len(DATA) + 2


@needs_s3
def test_a_build_with_more_files_than_a_page_of_s3_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as server:
        any_store = ObjectStore(server.bucket())
        fill(any_store)
        server.fill(any_store.url, (f"{OLD}/tags/{n:05d}.parquet" for n in range(45)))
        pages = any_store._s3_pages
        monkeypatch.setattr(any_store, "_s3_pages", lambda folder, **options: pages(folder, MaxKeys=10, **options))
        server.fault = lambda method, path: "refuse" if server.requests[method] % 20 == 7 else None
        monkeypatch.setattr(ObjectStore, "FIRST_WAIT", 0.001)
        assert prune(any_store).builds == 2
        assert list(any_store.folders("builds")) == ["new"]


def test_an_open_file_can_be_read_after_pruning(tmp_path: Path) -> None:
    any_store = LocalStore(tmp_path)
    fill(any_store)
    with open(tmp_path / OLD / DATA[0], "rb") as file:
        first = file.read(10)
        prune(any_store)
        assert first + file.read() == b"x" * 1000
    assert list(any_store.folders("builds")) == ["new"]
