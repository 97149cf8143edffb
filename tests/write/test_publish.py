from __future__ import annotations

import threading
from pathlib import Path

import pytest

from recaption.errors import DatasetError, StoreError
from recaption.io.store import LocalStore, ObjectStore
from recaption.write import current_build, publish


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


def test_what_is_not_ours_is_left_alone(store: LocalStore) -> None:
    finished(store, "one")
    (store.root / "dataset").mkdir()
    with pytest.raises(StoreError, match="not a symlink"):
        publish(store, "one")
    assert current_build(store) is None
    (store.root / "dataset").rmdir()
    (store.root / "dataset").symlink_to("/etc")
    with pytest.raises(DatasetError, match="not a build"):
        current_build(store)


def test_object_stores_have_a_file_that_names_the_build() -> None:
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
