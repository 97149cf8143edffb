"""The output store: files that appear whole or not at all, on local disks and on object stores.

Paths are relative, `/`-separated. Locally a file is written under a temporary name, synced, and linked or renamed into
place; on object stores it is one conditional PUT. Never a buffered remote `open("wb")`: that publishes what it has
when it fails.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from recaption.errors import ConfigError, StoreError

T = TypeVar("T")
_TMP = ".tmp-"  # no name of ours begins with it; lists leave it out, a crash may leave one behind


class Store(Protocol):
    """A folder of immutable files."""

    url: str

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the file whole. With `if_absent` an existing file is kept and False returned. Raises StoreError."""
        ...

    def get(self, path: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError, StoreError."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of the files directly in the folder `prefix`, sorted; nothing if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""
        ...

    def local(self, path: str) -> Path | None:
        """Where the file lies on this machine's disk; None on object stores."""
        ...

    def scratch(self) -> Path:
        """A fresh temporary file path on this machine, to be written and handed to `adopt`."""
        ...

    def adopt(self, source: Path, path: str) -> bool:
        """Put a finished file made under `scratch`, whole, without holding it in memory; `source` is gone after it."""
        ...


def open_store(url: str) -> Store:
    """The store at a local path or an fsspec URL such as `s3://bucket/prefix`."""
    if "://" in url and not url.startswith("file://"):
        return ObjectStore(url)
    return LocalStore(url.removeprefix("file://"))


class LocalStore:
    """A folder on a local or network file system."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def _at(self, path: str) -> Path:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise StoreError(f"path {path!r} leaves the output")
        return self.root / path

    def local(self, path: str) -> Path | None:
        return self._at(path)

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        target = self._at(path)
        temporary = target.with_name(f"{_TMP}{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            return self._publish(temporary, target, if_absent)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, source: Path, path: str, *, if_absent: bool = False) -> bool:
        """Put a finished file that lies on the same file system (made under `scratch`), without copying it."""
        target = self._at(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(source, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return self._publish(source, target, if_absent)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            source.unlink(missing_ok=True)

    def scratch(self) -> Path:
        """A fresh temporary file path in this store, to be handed to `adopt`."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root / f"{_TMP}{uuid.uuid4().hex}"

    @staticmethod
    def _publish(temporary: Path, target: Path, if_absent: bool) -> bool:
        if if_absent:
            try:
                os.link(temporary, target)  # atomic and fails if the target exists, unlike rename
            except FileExistsError:
                return False
        else:
            temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def get(self, path: str) -> bytes:
        try:
            return self._at(path).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"cannot read {self._at(path)}: {error.strerror or error}") from error

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self._at(prefix)) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith(_TMP))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StoreError(f"cannot list {self._at(prefix)}: {error.strerror or error}") from error
        for name in names:
            yield f"{prefix.rstrip('/')}/{name}" if prefix else name

    def delete(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)


class ObjectStore:
    """An object store behind fsspec, with retries and backoff. Puts are whole by nature; `if_absent` is conditional."""

    ATTEMPTS = 5

    def __init__(self, url: str) -> None:
        import fsspec

        protocol = url.split("://", 1)[0]
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"cannot open the store {url!r}: {error}") from error
        self.root = self.root.rstrip("/")
        self.url = url.rstrip("/")
        self._creates = protocol in {"s3", "s3a", "gs", "gcs", "memory"}

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def local(self, path: str) -> Path | None:
        return None

    def _retried(self, what: str, call: Callable[[], T]) -> T:
        for attempt in range(1, self.ATTEMPTS + 1):
            try:
                return call()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:  # each protocol has errors of its own; all are worth a retry
                if attempt == self.ATTEMPTS:
                    raise StoreError(f"cannot {what} after {attempt} tries: {type(error).__name__}: {error}") from error
                time.sleep(
                    min(10.0, 0.2 * 2**attempt) * (0.5 + random.random() / 2)
                )  # jitter: many actors fail at once
        raise AssertionError("unreachable")

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        if not if_absent:
            self._retried(f"write {self.url}/{path}", lambda: self.fs.pipe_file(self._at(path), data))
            return True
        if self.exists(path):
            return False
        options: dict[str, Any] = {"mode": "create"} if self._creates else {}
        try:
            self._retried(f"write {self.url}/{path}", lambda: self.fs.pipe_file(self._at(path), data, **options))
        except FileExistsError:
            return False
        return True

    def scratch(self) -> Path:
        return Path(tempfile.gettempdir()) / f"{_TMP}recaption-{uuid.uuid4().hex}"

    def adopt(self, source: Path, path: str) -> bool:
        try:  # one PUT or a completed multipart upload: it appears when it is whole
            self._retried(f"write {self.url}/{path}", lambda: self.fs.put_file(str(source), self._at(path)))
        finally:
            source.unlink(missing_ok=True)
        return True

    def get(self, path: str) -> bytes:
        return self._retried(f"read {self.url}/{path}", lambda: self.fs.cat_file(self._at(path)))

    def exists(self, path: str) -> bool:
        return self._retried(f"look up {self.url}/{path}", lambda: self.fs.exists(self._at(path)))

    def list(self, prefix: str) -> Iterator[str]:
        def entries() -> list[str]:
            self.fs.invalidate_cache(self._at(prefix))
            return [str(e["name"]) for e in self.fs.ls(self._at(prefix), detail=True) if e["type"] == "file"]

        try:
            found = self._retried(f"list {self.url}/{prefix}", entries)
        except FileNotFoundError:
            return
        for name in sorted(found):
            yield f"{prefix.rstrip('/')}/{PurePosixPath(name).name}" if prefix else PurePosixPath(name).name

    def delete(self, path: str) -> None:
        try:
            self._retried(f"delete {self.url}/{path}", lambda: self.fs.rm_file(self._at(path)))
        except FileNotFoundError:
            return
