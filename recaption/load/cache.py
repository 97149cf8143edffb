"""A cache on a local disk: whole remote files up to a total size, and indexes of tars.

The processes of a machine share it. Files appear whole or not at all; the least recently used are removed first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_INDEX: Final = ".npy"  # small; never removed


MOST_BYTES: Final = 200 << 30
"""The default limit."""


class Cache:
    """`most_bytes` limits the size of remote files; a larger file is the only one that is kept."""

    def __init__(self, folder: str | Path, most_bytes: int) -> None:
        self._folder, self._most = Path(folder).expanduser().absolute(), most_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def file(self, url: str, size: Callable[[], int], download: Callable[[str], None]) -> str:
        """The path of the local copy of `url`, which never changes; `download` writes it to a path. Raises OSError."""
        path = self._folder / f"{_digest(url)}-{url.rpartition('/')[2][-80:]}"
        if not self._used(path):
            with self._alone(path):
                if not self._used(path):
                    self._make_room(size())
                    self._put(path, lambda to: download(str(to)))
        return str(path)

    def array(self, key: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The array of this key, mapped from disk; `make` makes it once. The key must change with the content."""
        path = self._folder / f"{_digest(key)}{_INDEX}"
        if not path.exists():
            with self._alone(path):
                if not path.exists():
                    made = make()

                    def write(to: Path) -> None:
                        with to.open("wb") as file:
                            np.save(file, made)

                    self._put(path, write)
        loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r")
        return loaded

    def _used(self, path: Path) -> bool:
        try:
            os.utime(path)  # the time of the last use
        except FileNotFoundError:
            return False
        return True

    def _make_room(self, size: int) -> None:
        kept = []
        for path in self._folder.iterdir():
            if path.suffix != _INDEX and not path.name.startswith("."):
                try:
                    found = path.stat()
                except FileNotFoundError:  # another process made room as well
                    continue
                kept.append((found.st_mtime_ns, found.st_size, path))
        held = sum(bytes for _, bytes, _ in kept)
        for _, bytes, path in sorted(kept):
            if held + size <= self._most:
                break
            path.unlink(missing_ok=True)  # processes that have it open can still read it
            held -= bytes

    def _put(self, path: Path, write: Callable[[Path], None]) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """One process of this machine at a time makes a file; the others wait."""
        lock = path.with_name(f".{path.name}.lock")
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
