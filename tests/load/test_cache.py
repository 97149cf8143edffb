"""Remote files are fetched once, within a bound; indexes of tars are built once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from loading import raw_text, two_texts
from samples import jpeg, sample, write_tar

from recaption.load import CaptionDataset, loader, shards
from recaption.load.cache import Cache


def fetched(folder: Path, most: int, urls: str, sizes: dict[str, int]) -> list[str]:
    """Ask for these URLs, one letter each, in order; returns those that were downloaded."""
    cache, log = Cache(folder, most), []
    for number, url in enumerate(urls):

        def download(to: str, url: str = url) -> None:
            log.append(url)
            Path(to).write_bytes(url.encode() * sizes[url])

        path = Path(cache.file(f"mem://{url}", lambda url=url: sizes[url], download))  # type: ignore[misc]
        assert path.read_bytes() == url.encode() * sizes[url]
        import os

        os.utime(path, (number, number))  # times of files may be coarse
    return log


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    sizes = {"a": 40, "b": 40, "c": 40, "d": 200}
    assert fetched(tmp_path / "1", 100, "aabab", sizes) == ["a", "b"]
    assert fetched(tmp_path / "2", 100, "abacab", sizes) == ["a", "b", "c", "b"]
    assert fetched(tmp_path / "3", 100, "abda", sizes) == ["a", "b", "d", "a"]
    kept = [path for path in (tmp_path / "3").iterdir() if not path.name.startswith(".")]
    assert sum(path.stat().st_size for path in kept) <= 100


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(to: str) -> None:
        Path(to).write_bytes(b"half")
        raise OSError("gone")

    cache = Cache(tmp_path, 100)
    with pytest.raises(OSError, match="gone"):
        cache.file("mem://a", lambda: 4, fail)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert Path(cache.file("mem://a", lambda: 4, lambda to: Path(to).write_text("x") and None)).read_text() == "x"


def test_a_remote_build_is_fetched_once(built: Callable[[str], Path], tmp_path: Path) -> None:
    out, remote = built("webdataset"), fsspec.filesystem("memory")
    remote.put(str(out / "builds"), "/cached/builds", recursive=True)
    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "strings": True, "epochs": 1}
    made = CaptionDataset("memory://cached/builds/b", cache=tmp_path, **options)
    first = [batch["strings"] for batch in loader(made)]
    assert len([path for path in tmp_path.iterdir() if path.suffix in (".tar", ".idx")]) == 6
    remote.rm("/cached/builds/b/data", recursive=True)
    again = CaptionDataset("memory://cached/builds/b", cache=tmp_path, **options)
    assert [batch["strings"] for batch in loader(pickle.loads(pickle.dumps(again)))] == first


def test_the_index_of_a_tar_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = tmp_path / "data" / "t.tar"
    write_tar(tar, [sample(f"{n}", jpeg(n)) for n in range(3)])
    built = []
    build_index = shards.tar.build_index
    monkeypatch.setattr(shards.tar, "build_index", lambda *given: built.append(1) or build_index(*given))
    for _ in range(2):
        made = CaptionDataset(tar, policy=raw_text, batch_size=1, cache=tmp_path / "cache")
        assert sorted(made.sample(n).record.key for n in range(3)) == ["0", "1", "2"]
    assert built == [1]
    write_tar(tar, [sample(f"{n}", jpeg(n)) for n in range(5)])
    assert CaptionDataset(tar, policy=raw_text, batch_size=1, cache=tmp_path / "cache").steps.samples == 5


def test_arrays_come_back(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint64).reshape(3, 2)
    for _ in range(2):
        assert np.array_equal(Cache(tmp_path, 1).array("k", lambda: array), array)
