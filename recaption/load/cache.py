"""A cache on a local disk for data that is slow to get: whole remote files, up to a total size, and indexes of tars.

The processes of one machine share it. Files are written atomically; the least recently used ones are removed first.
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

_INDEX: Final = ".npy"  # these are small and stay


class Cache:
    """`most_bytes` bounds the total size of the files from `file`; a larger file is kept alone."""

    def __init__(self, folder: str | Path, most_bytes: int) -> None:
        self._folder, self._most = Path(folder).expanduser().absolute(), most_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def file(self, url: str, size: Callable[[], int], download: Callable[[str], None]) -> str:
        """The local copy of the immutable file at `url`. `download` writes it to a path. Raises OSError."""
        path = self._folder / f"{_digest(url)}-{url.rpartition('/')[2][-80:]}"
        if not self._used(path):
            with self._alone(path):
                if not self._used(path):
                    self._make_room(size())
                    self._put(path, lambda to: download(str(to)))
        return str(path)

    def array(self, key: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The array of this key, memory-mapped from disk; created if it is missing. The key must change with the inputs
        of the array."""
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
            os.utime(path)  # the modification time records the last use
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
            path.unlink(missing_ok=True)  # who has it open reads on
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
        """One process of this machine at a time gets a file; the others wait for it."""
        lock = path.with_name(f".{path.name}.lock")
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
