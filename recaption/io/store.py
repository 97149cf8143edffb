"""The output store: files that appear whole or not at all, on local disks and on object stores.

Paths are relative, `/`-separated. Locally a file is written under a temporary name, synced, and linked or renamed into
place; on object stores it is one conditional PUT. A buffered remote `open("wb")` is never used: when it fails, it
publishes what it has.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from recaption.errors import StoreError, in_words
from recaption.io.files import is_url
from recaption.io.objectstore import ObjectStore
from recaption.io.retrying import retried

__all__ = ["LocalStore", "ObjectStore", "Store", "open_store"]

T = TypeVar("T")
_TMP = ".tmp-"  # prefix of temporary files, which a crash may leave behind; listings omit them

# Errors of a network file system while a server restarts or a connection is bad. A full disk and a missing permission
# are permanent.
_TRANSIENT = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT}


class Store(Protocol):
    """A folder of immutable files. Every method raises StoreError if the store fails, after retries."""

    url: str

    @property
    def conditional(self) -> bool:
        """Whether `if_absent` is atomic when several processes put the same file; otherwise it only checks before it
        writes."""
        ...

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the file whole. With `if_absent` an existing file is kept and False returned."""
        ...

    def get(self, path: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError, StoreError."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file; False for a folder."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of the files directly in the folder `prefix`, sorted; nothing if there is no such folder.

        Memory holds the names only, so a folder may have a million files.
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly in the folder `prefix`, sorted; locally, empty ones too."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file if it exists."""
        ...

    def delete_many(self, paths: Sequence[str]) -> None:
        """Remove those of these files that exist, in no particular order."""
        ...

    def remove(self, folder: str) -> int:
        """Remove a folder with all its contents, including the remains of a crash. Returns the number of bytes removed.

        This is not atomic: a process that reads the folder meanwhile, or after a crash, must be able to detect it, for
        example because `delete` removed a marker first. Earlier calls of `delete` take effect before this one.
        """
        ...

    def local(self, path: str) -> Path | None:
        """The path of the file on this machine's disk; None on object stores."""
        ...

    def scratch(self) -> Path:
        """A fresh temporary file path on this machine, to be written and handed to `adopt`."""
        ...

    def remove_temporaries(self) -> None:
        """Remove the temporary files that killed writers left; only for the holder of the output's lease."""
        ...

    def adopt(self, source: Path, path: str) -> None:
        """Put a finished file made under `scratch` atomically, without holding it in memory. Removes `source`."""
        ...


def open_store(url: str) -> Store:
    """The store at a local path or an fsspec URL such as `s3://bucket/prefix`."""
    if is_url(url):
        return ObjectStore(url)
    return LocalStore(url.removeprefix("file://"))


def file_in_place(store: Store) -> Path | None:
    """The file that is where a local store needs a folder: at its root or above it. None if there is none."""
    if not isinstance(store, LocalStore):
        return None
    with suppress(OSError):  # such as a name that is too long; the store reports it
        return next((path for path in (store.root, *store.root.parents) if path.is_file()), None)
    return None


class LocalStore:
    """A folder on a local or network file system."""

    ATTEMPTS = 5  # about 10 seconds of waiting in all
    FIRST_WAIT = 1.0  # seconds
    conditional = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def _at(self, path: str) -> Path:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise StoreError(f"path {path!r} leaves the output")
        return self.root / path

    def _retried(self, verb: str, target: Path, call: Callable[[], T], expected: tuple[type[Exception], ...] = ()) -> T:
        return retried(
            call,
            attempts=self.ATTEMPTS,
            first_wait=self.FIRST_WAIT,
            is_transient=lambda error: isinstance(error, OSError) and error.errno in _TRANSIENT,
            failure=lambda error, tries: StoreError(f"cannot {verb} {target}{tries}: {in_words(error)}"),
            expected=expected,
        )

    def local(self, path: str) -> Path | None:
        return self._at(path)

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        target = self._at(path)
        temporary = target.with_name(f"{_TMP}{uuid.uuid4().hex}")

        def write() -> None:
            # Every attempt writes the whole file: after a failed fsync the kernel may have dropped unwritten pages.
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        try:
            self._retried("write", target, write)
            return self._publish(temporary, target, if_absent)
        finally:
            _remove(temporary)

    def adopt(self, source: Path, path: str) -> None:
        """Put a finished file that is on the same file system (made under `scratch`), without copying it."""
        target = self._at(path)
        try:
            self._retried("write", target, lambda: target.parent.mkdir(parents=True, exist_ok=True))
            try:
                _sync(source)  # no retry: after a failure its bytes may be lost, and only the caller has them
            except OSError as error:
                raise StoreError(f"cannot write {target}: {in_words(error)}") from error
            self._publish(source, target)
        finally:
            _remove(source)

    def scratch(self) -> Path:
        """A fresh temporary file path in this store, to be handed to `adopt`."""
        self._retried("write", self.root, lambda: self.root.mkdir(parents=True, exist_ok=True))
        return self.root / f"{_TMP}{uuid.uuid4().hex}"

    def remove_temporaries(self) -> None:
        """Remove the temporary files that killed writers left; only for the holder of the output's lease.

        Searches the root and at most three levels of folders below it. Those of unfinished shards' parts are deeper:
        they are removed with their folder when the shard is compacted.
        """

        def below(folder: Path, depth: int) -> None:
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in list(entries):
                    if entry.name.startswith(_TMP):
                        _remove(Path(entry.path))
                    elif depth and entry.is_dir(follow_symlinks=False):
                        below(Path(entry.path), depth - 1)

        below(self.root, 3)

    def _publish(self, temporary: Path, target: Path, if_absent: bool = False) -> bool:
        mine = self._retried("write", target, temporary.stat)

        def place() -> bool:
            try:
                if if_absent:
                    os.link(temporary, target)  # atomic and fails if the target exists, unlike rename
                else:
                    temporary.replace(target)
            except OSError as error:
                # A network file system may succeed, lose the reply, repeat the call by itself and report a failure.
                if _is(target, mine):
                    return True
                if if_absent and isinstance(error, FileExistsError):
                    return False
                raise
            return True

        placed = self._retried("write", target, place)
        if placed:
            self._retried("write", target, lambda: _sync(target.parent))
        return placed

    def get(self, path: str) -> bytes:
        target = self._at(path)
        return self._retried("read", target, target.read_bytes, expected=(FileNotFoundError,))

    def exists(self, path: str) -> bool:
        target = self._at(path)
        try:
            found = self._retried("look up", target, target.stat, expected=(FileNotFoundError, NotADirectoryError))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(found.st_mode)

    def list(self, prefix: str) -> Iterator[str]:
        folder = prefix.rstrip("/")
        for name in self._names(prefix, lambda entry: entry.is_file()):
            yield f"{folder}/{name}" if folder else name

    def folders(self, prefix: str) -> Iterator[str]:
        yield from self._names(prefix, lambda entry: entry.is_dir())

    def _names(self, prefix: str, wanted: Callable[[os.DirEntry[str]], bool]) -> Sequence[str]:
        folder = self._at(prefix)

        def names() -> list[str]:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if wanted(entry) and not entry.name.startswith(_TMP))

        try:
            return self._retried("list", folder, names, expected=(FileNotFoundError, NotADirectoryError))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, path: str) -> None:
        target = self._at(path)
        self._retried("delete", target, lambda: target.unlink(missing_ok=True))

    def delete_many(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.delete(path)

    def remove(self, folder: str) -> int:
        target = self._at(folder)
        size = 0
        if not target.is_dir():
            return size
        self._retried("delete", target, lambda: _sync(target))
        for where, _, names in os.walk(target, topdown=False):  # links are removed, not their targets
            for name in names:
                file = Path(where, name)
                size += file.lstat().st_size
                self._retried("delete", file, partial(file.unlink, missing_ok=True))
        self._retried("delete", target, lambda: shutil.rmtree(target), expected=(FileNotFoundError,))
        return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is(target: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(target.stat(), file)
    except OSError:
        return False


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # must not hide the error of the put
        temporary.unlink(missing_ok=True)
