"""Reads ranges of files, on local disks and behind fsspec URLs. Each process keeps some files open."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from recaption.errors import ShardError
from recaption.io import files
from recaption.io.files import is_url, remote
from recaption.load.cache import Cache

_OPEN: Final = 128  # files kept open; a full shuffle goes through all shards, and opening one costs some 10 us


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The size in bytes that a file must have when it is opened, and the sha256 (hex) if its content is checked."""

    size: int
    sha256: str | None = None


class Files:
    """Reads whole files and ranges. All methods raise OSError, and FileNotFoundError for a missing file.

    A file passed to `expect` is checked when it is opened: its size always, and its content once per process if a
    sha256 is given.

    With a cache, the first read of a range fetches the whole remote file; without one, only the range is requested.
    Instances can be pickled and forked: each process opens its own files.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache
        self._expected: Mapping[str, Expected] = {}
        self._forget()

    def expect(self, expected: Mapping[str, Expected]) -> None:
        """Set the expected size and content of the files at these paths."""
        self._expected = expected

    def read(self, path: str) -> bytes:
        """The whole file."""
        self._check(path)
        if is_url(path):
            return self._remote(path, lambda fs, name: fs.cat_file(name))
        return Path(path).read_bytes()

    def pread(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, or fewer at the end of the file."""
        if self.by_requests(path):
            self._check(path)
            return self._remote(path, lambda fs, name: fs.cat_file(name, start=offset, end=offset + size))
        file = self._opened(path)
        data = os.pread(file, size, offset)
        while 0 < len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
            data += more
        return data

    def by_requests(self, path: str) -> bool:
        """Whether each read of a range is a request to a store."""
        return is_url(path) and self.cache is None

    def size(self, path: str) -> int:
        """In bytes."""
        if is_url(path):
            return int(self._remote(path, lambda fs, name: fs.size(name)))
        return Path(path).stat().st_size

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading and seeking; remote ones are read ahead. The caller closes it."""
        self._check(path)
        return self._unchecked(path)

    def _unchecked(self, path: str) -> BinaryIO:
        if is_url(path) and self.cache is not None:
            return open(self.local(path), "rb")
        if is_url(path):
            made: BinaryIO = self._remote(path, lambda fs, name: fs.open(name, "rb", block_size=4 << 20))
            return made
        return open(path, "rb")

    def stamp(self, path: str) -> str:
        """A text that changes when the file changes, without reading it."""
        if is_url(path):
            return str(self._remote(path, lambda fs, name: fs.ukey(name)))
        return str(files.stamp(path))

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _opened(self, path: str) -> int:
        if self._process != os.getpid():
            self._forget()  # the parent process closes its own files
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= _OPEN:
                os.close(self._files.popitem(last=False)[1])
            self._checked.discard(path)
            self._check(path)
            file = self._files[path] = os.open(self.local(path), os.O_RDONLY | os.O_CLOEXEC)
        else:
            self._files.move_to_end(path)
        return file

    def local(self, path: str) -> str:
        """The path of the file on a local disk; a remote file is fetched whole, which needs a cache."""
        if self.cache is None or not is_url(path):
            return path
        return self.cache.file(
            path,
            lambda: self.size(path),
            lambda to: self._remote(path, lambda fs, name: fs.get_file(name, to)),
        )

    def _check(self, path: str) -> None:
        """Raises OSError if a file is not as expected."""
        expected = self._expected.get(path)
        if expected is None or path in self._checked:
            return
        size = Path(self.local(path)).stat().st_size if self.cache or not is_url(path) else self.size(path)
        if size != expected.size:
            raise OSError(
                f"{path} has {size:,} bytes, and {expected.size:,} were expected: it was cut off or replaced. Copy it "
                "again, or open the dataset again if the change is intended"
            )
        if expected.sha256 is not None and path not in self._verified:
            if self.sha256(path) != expected.sha256:
                raise OSError(
                    f"{path} has the expected size, but not the expected sha256: it was changed. Copy it again"
                )
            self._verified.add(path)
        self._checked.add(path)

    def sha256(self, path: str) -> str:
        """The sha256 of the whole content, in hex."""
        digest = hashlib.sha256()
        with self._unchecked(path) as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def _remote(self, path: str, call: Callable[[Any, str], Any]) -> Any:
        try:
            return remote(path, call)
        except ShardError as error:
            cause = error.__cause__
            raise cause if isinstance(cause, OSError) else OSError(str(error)) from error

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._checked: set[str] = set()  # open files that were as expected
        self._verified: set[str] = set()  # files whose content was as expected

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache, "expected": self._expected}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.cache, self._expected = state["cache"], state["expected"]
        self._forget()

    def __del__(self) -> None:
        if (
            os is not None and self._process == os.getpid()
        ):  # when the interpreter exits, modules are None and files closed
            self.close()


def join(folder: str, *names: str) -> str:
    """A path below a folder or URL."""
    return "/".join([folder.rstrip("/") or "/", *names]) if folder != "/" else "/" + "/".join(names)
